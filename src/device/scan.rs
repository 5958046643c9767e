//! The block devices that are there now, as owned data.
//!
//! Only devices that udev has dealt with are listed: before that, links and serial numbers are missing. What a
//! device says is made printable here. Nothing here decides which of them is evidence.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;

use super::{ControllerIdentity, DeviceSnapshot};
use crate::evidence::claims;
use crate::printable;

/// Attributes of sysfs that tell what a device is.
const ATTRIBUTES: [&str; 12] = [
    "removable",
    "ro",
    "serial",
    "device/serial",
    "device/model",
    "device/vendor",
    "diskseq",
    "loop/backing_file",
    "loop/offset",
    "loop/sizelimit",
    "loop/autoclear",
    "size",
];

/// The kernel counts in sectors of this size, whatever the device's own are.
const SECTOR: u64 = 512;

/// Longer than any path of the kernel's; a list of links may be this long.
const LONGEST: usize = 8_192;

/// Lists block devices, and asks each NVMe controller only once for each attachment.
#[derive(Debug, Default)]
pub struct Scanner {
    /// By kernel name and sequence number; without a number a device cannot be told from the one before.
    known: HashMap<(String, u64), ControllerIdentity>,
}

impl Scanner {
    /// The devices that are there now, in the order of their names.
    ///
    /// # Errors
    /// The device tree cannot be read.
    pub fn scan(&mut self) -> io::Result<Vec<DeviceSnapshot>> {
        let mut enumerator = udev::Enumerator::new()?;
        enumerator.match_subsystem("block")?;
        enumerator.match_is_initialized()?;
        let mut devices: Vec<DeviceSnapshot> = enumerator
            .scan_devices()?
            .filter_map(|device| self.look_at(&device))
            .collect();
        devices.sort_by(|one, other| one.name.cmp(&other.name));
        self.known.retain(|(name, sequence), _| {
            let there = |one: &DeviceSnapshot| one.name == *name && one.sequence == Some(*sequence);
            devices.iter().any(there)
        });
        Ok(devices)
    }

    /// None for what has no node, is gone by now, is left from an earlier device, or is an unused number.
    fn look_at(&mut self, device: &udev::Device) -> Option<DeviceSnapshot> {
        let sysfs = device.syspath();
        let mut snapshot = DeviceSnapshot {
            name: text(device.sysname()),
            node: device.devnode()?.to_path_buf(),
            path: text(device.devpath()),
            kind: text(device.devtype()?),
            attributes: attributes(sysfs),
            properties: properties(device),
            ..DeviceSnapshot::default()
        };
        let number = |name: &str| snapshot.attributes.get(name)?.parse::<u64>().ok();
        snapshot.sequence = number("diskseq");
        snapshot.size = number("size")?.saturating_mul(SECTOR);
        let unused = snapshot.size == 0 && is_numbered(&snapshot.name);
        if unused || is_outdated(&snapshot) {
            return None;
        }
        if snapshot.kind == "disk" {
            snapshot.users = claims::user_of(sysfs).into_iter().collect();
            snapshot.controller = self.controller(&snapshot);
        }
        Some(snapshot)
    }

    fn controller(&mut self, device: &DeviceSnapshot) -> Option<ControllerIdentity> {
        if !device.name.starts_with("nvme") {
            return None;
        }
        let Some(sequence) = device.sequence else {
            return ControllerIdentity::ask(&device.node);
        };
        let key = (device.name.clone(), sequence);
        if let Some(known) = self.known.get(&key) {
            return Some(known.clone());
        }
        let identity = ControllerIdentity::ask(&device.node)?;
        self.known.insert(key, identity.clone());
        Some(identity)
    }
}

/// The devices that are there now.
///
/// # Errors
/// The device tree cannot be read.
pub fn scan() -> io::Result<Vec<DeviceSnapshot>> {
    Scanner::default().scan()
}

/// One device, as a rule of udev's sees it: udev itself does not know it yet. None if it is gone by now.
#[must_use]
pub fn one(node: &Path) -> Option<DeviceSnapshot> {
    let name = node.file_name()?.to_str()?;
    let device = udev::Device::from_subsystem_sysname("block".into(), name.into()).ok()?;
    Scanner::default().look_at(&device)
}

/// Devices that exist by the dozen before anything is behind them.
fn is_numbered(name: &str) -> bool {
    ["loop", "zram", "ram"]
        .iter()
        .any(|kind| name.starts_with(kind))
}

/// Whether udev still shows the device that had this name before: its link by sequence number is another's.
fn is_outdated(device: &DeviceSnapshot) -> bool {
    let Some(now) = device.sequence else {
        return false;
    };
    device
        .links()
        .filter_map(|link| link.strip_prefix("/dev/disk/by-diskseq/"))
        .any(|sequence| sequence.parse() != Ok(now))
}

fn attributes(sysfs: &Path) -> BTreeMap<String, String> {
    let read = |name: &&str| {
        let bytes = fs::read(sysfs.join(name)).ok()?;
        let value = String::from_utf8_lossy(&bytes);
        let value = value.trim_matches([' ', '\n', '\0']);
        (!value.is_empty()).then(|| ((*name).to_owned(), printable::line(value, LONGEST)))
    };
    ATTRIBUTES.iter().filter_map(read).collect()
}

fn properties(device: &udev::Device) -> BTreeMap<String, String> {
    let properties = device.properties();
    properties
        .map(|one| (text(one.name()), text(one.value())))
        .collect()
}

fn text(raw: &OsStr) -> String {
    printable::line(&raw.to_string_lossy(), LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linked(links: &str, sequence: Option<u64>) -> DeviceSnapshot {
        DeviceSnapshot {
            name: "nvme1n1".into(),
            sequence,
            properties: [("DEVLINKS".to_owned(), links.to_owned())].into(),
            ..DeviceSnapshot::default()
        }
    }

    #[test]
    fn what_udev_knows_of_an_earlier_device_of_that_name_is_outdated() {
        let links = "/dev/disk/by-id/nvme-x /dev/disk/by-diskseq/12";
        assert!(is_outdated(&linked(links, Some(13))));
        assert!(!is_outdated(&linked(links, Some(12))));
        assert!(!is_outdated(&linked("/dev/disk/by-id/nvme-x", Some(13))));
        assert!(!is_outdated(&linked(links, None)));
    }

    #[test]
    fn numbers_without_a_device_are_known_by_name() {
        for name in ["loop7", "zram0", "ram15"] {
            assert!(is_numbered(name), "{name}");
        }
        assert!(!is_numbered("nvme0n1"));
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a stand-in for sysfs is no state"
    )]
    fn attributes_are_printable_and_empty_ones_are_absent() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("device")).unwrap();
        fs::write(folder.path().join("serial"), "a\u{1b}[2Jb  \n").unwrap();
        fs::write(folder.path().join("device/model"), "   \n").unwrap();
        let found = attributes(folder.path());
        assert_eq!(
            found,
            [("serial".to_owned(), r"a\u{1b}[2Jb".to_owned())].into()
        );
    }
}
