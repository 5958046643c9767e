//! What an NVMe controller says about itself (NVMe Base Specification, Identify Controller).

use serde::{Deserialize, Serialize};

/// The fields by which Amazon's volumes are known.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct ControllerIdentity {
    /// PCI vendor.
    pub vendor: u16,
    /// Serial number; on EBS `vol` and 17 hex digits.
    pub serial: String,
    /// Model.
    pub model: String,
    /// The name given when the volume was attached, as it stands at byte 3072, without padding.
    pub attachment: String,
}
