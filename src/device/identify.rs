//! What an NVMe controller says about itself (NVMe Base Specification, Identify Controller).
//!
//! Amazon writes the volume's id and the name it was attached by into this page. The page comes from outside,
//! the name was typed by whoever attached the volume: nothing here trusts either.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc;
use serde::{Deserialize, Serialize};

use crate::{printable, sys};

pub use crate::evidence::source::ebs_volume_id;

/// Amazon's PCI vendor number.
pub const AMAZON: u16 = 0x1d0f;
/// The model of an EBS volume.
pub const EBS_MODEL: &str = "Amazon Elastic Block Store";
/// The model of an instance store.
pub const INSTANCE_STORE_MODEL: &str = "Amazon EC2 NVMe Instance Storage";

/// The length of the page.
const PAGE: usize = 4096;

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
    /// The name given when the volume was attached, as it stands at byte 3072, without padding; empty if the
    /// controller is not Amazon's.
    pub attachment: String,
}

impl ControllerIdentity {
    /// Reads the page; none if it is too short to be one.
    #[must_use]
    pub fn parse(page: &[u8]) -> Option<Self> {
        if page.len() < PAGE {
            return None;
        }
        let vendor = u16::from_le_bytes([*page.first()?, *page.get(1)?]);
        // The vendor's area means this only where the vendor is Amazon.
        let attachment = if vendor == AMAZON {
            text(page.get(3072..3104)?)
        } else {
            String::new()
        };
        Some(Self {
            vendor,
            serial: text(page.get(4..24)?),
            model: text(page.get(24..64)?),
            attachment,
        })
    }

    /// Asks the controller of a disk; none if it is not there any more or does not answer.
    #[must_use]
    pub(super) fn ask(node: &Path) -> Option<Self> {
        let device = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(node)
            .ok()?;
        Self::parse(&sys::nvme_identify_controller(&device).ok()?)
    }

    /// Whether this is a volume of EBS.
    #[must_use]
    pub fn is_ebs(&self) -> bool {
        self.vendor == AMAZON && self.model == EBS_MODEL
    }
}

/// A field that is padded with spaces or NULs, printable.
fn text(field: &[u8]) -> String {
    let text = String::from_utf8_lossy(field);
    printable::line(text.trim_matches([' ', '\0']), field.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn page(serial: &[u8], model: &[u8], attachment: &[u8]) -> Vec<u8> {
        let mut page = vec![0; PAGE];
        page[..2].copy_from_slice(&AMAZON.to_le_bytes());
        page[4..64].fill(b' ');
        page[4..4 + serial.len()].copy_from_slice(serial);
        page[24..24 + model.len()].copy_from_slice(model);
        page[3072..3072 + attachment.len()].copy_from_slice(attachment);
        page
    }

    #[test]
    fn an_ebs_volume_tells_its_id_and_its_attachment() {
        for padding in [b' ', b'\0'] {
            let mut name = b"/dev/sdj".to_vec();
            name.resize(32, padding);
            let page = page(b"vol0123456789abcdef0", EBS_MODEL.as_bytes(), &name);
            let identity = ControllerIdentity::parse(&page).unwrap();
            assert_eq!(identity.vendor, 0x1d0f);
            assert_eq!(identity.serial, "vol0123456789abcdef0");
            assert_eq!(identity.model, "Amazon Elastic Block Store");
            assert_eq!(identity.attachment, "/dev/sdj");
            assert!(identity.is_ebs());
        }
    }

    #[test]
    fn another_vendor_s_area_is_no_attachment() {
        let mut page = page(b"S4EV", b"Disk", b"/dev/sdf");
        page[..2].copy_from_slice(&0x144d_u16.to_le_bytes());
        let identity = ControllerIdentity::parse(&page).unwrap();
        assert_eq!(identity.attachment, "");
        assert!(!identity.is_ebs());
    }

    #[test]
    fn a_short_page_is_none() {
        assert_eq!(ControllerIdentity::parse(&[]), None);
        assert_eq!(ControllerIdentity::parse(&[0; PAGE - 1]), None);
    }

    proptest! {
        #[test]
        fn whatever_the_page_holds_the_fields_are_printable(
            serial in proptest::collection::vec(any::<u8>(), 20),
            model in proptest::collection::vec(any::<u8>(), 40),
            attachment in proptest::collection::vec(any::<u8>(), 32),
        ) {
            let identity = ControllerIdentity::parse(&page(&serial, &model, &attachment)).unwrap();
            for field in [&identity.serial, &identity.model, &identity.attachment] {
                prop_assert!(!field.chars().any(char::is_control));
            }
        }
    }
}
