//! What udev's rule does about a disk before anything else sees it: a pure function, like [`super::assess`]. In doubt a
//! disk is left alone: a disk of the machine itself that is set read-only may keep it from starting.

use glob::Pattern;

use super::{Kind, MATCHING, find, identity, names};
use crate::config::worker::{AttachTable, DeviceSettings, Guarded};
use crate::device::DeviceSnapshot;

/// What a disk is to this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// The machine's own.
    Own,
    /// To be set read-only.
    Evidence,
    /// Neither is known.
    Unknown,
}

/// What is known about a disk, for udev's database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// What it is to this machine.
    pub role: Role,
    /// Its identity.
    pub id: Option<String>,
    /// The name that it was attached by.
    pub point: Option<String>,
    /// Whether its identity takes nothing of what udev reads from its content.
    pub known_without_content: bool,
}

/// Decides.
#[must_use]
pub fn guard(device: &DeviceSnapshot, devices: &DeviceSettings, attach: &AttachTable) -> Guard {
    let Ok(kind) = Kind::of(device) else {
        return Guard::unknown();
    };
    let names = names::of(device, kind).unwrap_or_default();
    let role = if kind == Kind::Loop {
        Role::Unknown
    } else if !device.users.is_empty() || is_own(device, kind, &names, devices) {
        Role::Own
    } else if is_guarded(kind, &names, devices, attach) {
        Role::Evidence
    } else {
        Role::Unknown
    };
    Guard {
        role,
        id: identity::of(device, kind),
        point: names.into_iter().next(),
        known_without_content: kind == Kind::Ebs,
    }
}

impl Guard {
    const fn unknown() -> Self {
        Self {
            role: Role::Unknown,
            id: None,
            point: None,
            known_without_content: false,
        }
    }
}

/// Whether the configuration lists a disk as the machine's own.
pub(super) fn is_own(
    device: &DeviceSnapshot,
    kind: Kind,
    names: &[String],
    devices: &DeviceSettings,
) -> bool {
    let id = identity::of(device, kind);
    let known: Vec<&String> = names.iter().chain(&id).collect();
    let patterns = devices.own.iter().filter_map(|one| Pattern::new(one).ok());
    let mut patterns = patterns.peekable();
    patterns.any(|pattern| {
        known
            .iter()
            .any(|name| pattern.matches_with(name, MATCHING))
    })
}

fn is_guarded(
    kind: Kind,
    names: &[String],
    devices: &DeviceSettings,
    attach: &AttachTable,
) -> bool {
    match devices.guard {
        Guarded::Off => false,
        Guarded::All => true,
        Guarded::Volumes => kind == Kind::Ebs || find(names, attach).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::ControllerIdentity;
    use crate::device::identify::{AMAZON, EBS_MODEL, INSTANCE_STORE_MODEL};

    fn nvme(model: &str, attachment: &str) -> DeviceSnapshot {
        DeviceSnapshot {
            name: "nvme1n1".into(),
            node: "/dev/nvme1n1".into(),
            kind: "disk".into(),
            size: 1 << 30,
            controller: Some(ControllerIdentity {
                vendor: AMAZON,
                serial: "vol0123456789abcdef0".into(),
                model: model.into(),
                attachment: attachment.into(),
            }),
            ..DeviceSnapshot::default()
        }
    }

    fn virtual_disk(serial: &str) -> DeviceSnapshot {
        DeviceSnapshot {
            name: "vda".into(),
            node: "/dev/vda".into(),
            kind: "disk".into(),
            size: 1 << 30,
            attributes: [("serial".to_owned(), serial.to_owned())].into(),
            ..DeviceSnapshot::default()
        }
    }

    fn role(device: &DeviceSnapshot, devices: &DeviceSettings) -> Role {
        guard(device, devices, &AttachTable::new()).role
    }

    #[test]
    fn a_volume_is_evidence_unless_it_is_attached_where_the_root_is() {
        let devices = DeviceSettings::default();
        for (attachment, wanted) in [
            ("/dev/sdf", Role::Evidence),
            ("sdb", Role::Evidence),
            ("xvda", Role::Own),
            ("/dev/sda1", Role::Own),
            // A name that is none is no reason to let it be written to.
            ("../xvda", Role::Evidence),
            ("", Role::Evidence),
        ] {
            assert_eq!(
                role(&nvme(EBS_MODEL, attachment), &devices),
                wanted,
                "{attachment}"
            );
        }
    }

    #[test]
    fn a_disk_in_use_and_the_instance_store_are_never_set_read_only() {
        for devices in [Guarded::All, Guarded::Volumes].map(|guard| DeviceSettings {
            guard,
            ..DeviceSettings::default()
        }) {
            let mut used = nvme(EBS_MODEL, "/dev/sdf");
            used.users = vec!["/dev/nvme1n1 is mounted at /srv; unmount it first".into()];
            assert_eq!(role(&used, &devices), Role::Own);
            let store = nvme(INSTANCE_STORE_MODEL, "");
            assert_eq!(role(&store, &devices), Role::Unknown);
        }
    }

    #[test]
    fn a_disk_that_no_cloud_names_is_left_alone_unless_all_are_guarded() {
        let mut devices = DeviceSettings::default();
        assert_eq!(role(&virtual_disk("x"), &devices), Role::Unknown);
        devices.guard = Guarded::All;
        assert_eq!(role(&virtual_disk("x"), &devices), Role::Evidence);
        devices.own.push("root-*".into());
        assert_eq!(role(&virtual_disk("root-1"), &devices), Role::Own);
        devices.guard = Guarded::Off;
        assert_eq!(role(&nvme(EBS_MODEL, "/dev/sdf"), &devices), Role::Unknown);
    }
}
