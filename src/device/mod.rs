//! Block devices as udev and the kernel show them: found, watched, identified.
//!
//! Events are hints. What counts is the list of devices that are there now, taken anew after every hint.
//! A [`DeviceSnapshot`] is owned, plain data; nothing of udev leaves this module.

pub mod identify;
pub mod monitor;
pub mod scan;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use identify::ControllerIdentity;
pub use monitor::Watcher;
pub use scan::{Scanner, scan};

/// A block device at one moment.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct DeviceSnapshot {
    /// The kernel's name: `nvme1n1`. It says nothing about which volume it is.
    pub name: String,
    /// The node: `/dev/nvme1n1`.
    pub node: PathBuf,
    /// Path below /sys, which shows the way to the device.
    pub path: String,
    /// `disk` or `partition`.
    pub kind: String,
    /// Bytes.
    pub size: u64,
    /// The kernel's sequence number of this attachment (`diskseq`).
    pub sequence: Option<u64>,
    /// Attributes of sysfs that identify it: `device/serial`, `loop/backing_file`.
    pub attributes: BTreeMap<String, String>,
    /// Properties of udev's database: `ID_SERIAL_SHORT`, `DEVLINKS`.
    pub properties: BTreeMap<String, String>,
    /// What an NVMe controller says about itself.
    pub controller: Option<ControllerIdentity>,
    /// Sentences about who uses it or one of its partitions: mounts, swap, holders.
    pub users: Vec<String>,
}

impl DeviceSnapshot {
    /// The links to its node that udev made.
    pub fn links(&self) -> impl Iterator<Item = &str> {
        let links = self.properties.get("DEVLINKS").map(String::as_str);
        links.unwrap_or_default().split_whitespace()
    }
}
