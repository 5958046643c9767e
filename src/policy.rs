//! What is ours: a pure function over a device and the configuration. Unknown means not ours.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::worker::{AttachTable, DeviceSettings};
use crate::device::DeviceSnapshot;

/// A volume that is ours.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Its identity, stable over attachments, safe as a name of a file: the EBS volume id, another cloud's
    /// serial number, or a name made of what else identifies it.
    pub id: String,
    /// Its node now.
    pub node: PathBuf,
    /// The kernel's sequence number of this attachment.
    pub sequence: Option<u64>,
    /// Bytes.
    pub size: u64,
    /// The attachment point that was matched: `/dev/sdf`.
    pub point: String,
    /// The name of the `[attach.NAME]` table that matched.
    pub entry: String,
}

/// A device that is not ours, and why.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ignored {
    /// Its node.
    pub node: PathBuf,
    /// Bytes.
    pub size: u64,
    /// One sentence, printable.
    pub reason: String,
}

/// What is decided about a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is evidence.
    Ours(Volume),
    /// It is not, and `status` says why.
    Ignored(Ignored),
    /// Nothing to speak of: a partition of a disk that is decided as a whole.
    PartOfDisk,
}

/// Decides.
#[must_use]
pub fn assess(device: &DeviceSnapshot, devices: &DeviceSettings, attach: &AttachTable) -> Decision {
    let _ = (devices, attach);
    Decision::Ignored(Ignored {
        node: device.node.clone(),
        size: device.size,
        reason: String::new(),
    })
}
