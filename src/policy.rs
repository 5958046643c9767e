//! What is ours: a pure function over a device and the configuration. Unknown means not ours.
//!
//! Everything a device says is hostile here: names are compared as text and never used as a path, ids are made
//! safe, reasons are printable. Names that come from the content of a disk (labels, UUIDs) decide nothing, or the
//! evidence would choose its own case.

pub mod guard;
mod identity;
mod names;

use std::path::PathBuf;

use glob::{MatchOptions, Pattern};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::worker::{AttachTable, DeviceSettings};
use crate::device::DeviceSnapshot;
use crate::device::identify::{AMAZON, EBS_MODEL, INSTANCE_STORE_MODEL};
use crate::printable;

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

/// The longest reason, in characters.
const LONGEST_REASON: usize = 400;

/// `*` in a point stands for no slash: `/dev/sd*` is about names in /dev and nowhere below.
const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// Decides.
#[must_use]
pub fn assess(device: &DeviceSnapshot, devices: &DeviceSettings, attach: &AttachTable) -> Decision {
    if device.kind == "partition" {
        return Decision::PartOfDisk;
    }
    match examine(device, devices, attach) {
        Ok(volume) => Decision::Ours(volume),
        Err(reason) => Decision::Ignored(Ignored {
            node: device.node.clone(),
            size: device.size,
            reason: printable::line(&reason, LONGEST_REASON),
        }),
    }
}

/// The volume, or the first reason against it.
fn examine(
    device: &DeviceSnapshot,
    devices: &DeviceSettings,
    attach: &AttachTable,
) -> Result<Volume, String> {
    let kind = Kind::of(device)?;
    if kind == Kind::Loop {
        check_loop(device, devices)?;
    }
    if device.size == 0 {
        return Err("it is empty (0 bytes)".into());
    }
    if let Some(user) = device.users.first() {
        return Err(user.clone());
    }
    if attach.is_empty() {
        return Err("no [attach] table is configured".into());
    }
    let names = names::of(device, kind)?;
    if guard::is_own(device, kind, &names, devices) {
        return Err("it is one of the machine's own disks ([devices] own)".into());
    }
    let (entry, point) = find(&names, attach).ok_or_else(|| unlisted(&names))?;
    let id = identity::of(device, kind).ok_or(
        "it has no serial number and nothing else that tells it from other volumes; \
         attach it in a way that gives it a serial number",
    )?;
    Ok(Volume {
        id,
        node: device.node.clone(),
        sequence: device.sequence,
        size: device.size,
        point,
        entry,
    })
}

/// The kinds of device that can be evidence; each has names and an identity of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ebs,
    Xen,
    Loop,
    Other,
}

impl Kind {
    fn of(device: &DeviceSnapshot) -> Result<Self, String> {
        let name = device.name.as_str();
        if let Some(what) = never_evidence(name) {
            return Err(format!("it is {what}, which is never evidence"));
        }
        if device.kind != "disk" {
            return Err(format!("it is a {}, not a disk", device.kind));
        }
        if is_numbered(name, "loop") {
            return Ok(Self::Loop);
        }
        if is_lettered(name, "xvd") {
            return Ok(Self::Xen);
        }
        if is_lettered(name, "sd") || is_lettered(name, "vd") {
            return Ok(Self::Other);
        }
        if !name.starts_with("nvme") {
            return Err("it is of a kind that is not known as a volume".into());
        }
        let model = model(device).replace('_', " ");
        if model == INSTANCE_STORE_MODEL {
            return Err("it is the instance store, which is never evidence".into());
        }
        match &device.controller {
            Some(controller) if controller.is_ebs() => Ok(Self::Ebs),
            Some(controller) if controller.vendor == AMAZON => Err(format!(
                "it is a disk of Amazon's that is no EBS volume (model \"{model}\")"
            )),
            None if model == EBS_MODEL => Ok(Self::Ebs),
            _ => Ok(Self::Other),
        }
    }
}

/// `sda`, `sdba`; not `sdx1` and not `sd`.
fn is_lettered(name: &str, family: &str) -> bool {
    name.strip_prefix(family)
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_lowercase()))
}

/// `loop7`; not `loop`.
fn is_numbered(name: &str, family: &str) -> bool {
    name.strip_prefix(family)
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
}

fn never_evidence(name: &str) -> Option<&'static str> {
    let families = [
        ("dm-", "a logical or mapped volume over other devices"),
        ("md", "a software RAID over other devices"),
        ("bcache", "a cache over other devices"),
        ("drbd", "a copy of another machine's disk"),
        ("nbd", "a network block device"),
        ("zram", "memory"),
        ("ram", "memory"),
        ("sr", "an optical drive"),
        ("fd", "a floppy drive"),
    ];
    let found = families.into_iter().find(|(family, _)| {
        name.strip_prefix(family)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit() || c == '_'))
    });
    found.map(|(_, what)| what)
}

/// The model as the controller, the kernel or udev has it.
fn model(device: &DeviceSnapshot) -> &str {
    let controller = device.controller.as_ref().map(|one| one.model.as_str());
    let attribute = device.attributes.get("device/model").map(String::as_str);
    let property = device.properties.get("ID_MODEL").map(String::as_str);
    let models = [controller, attribute, property].into_iter().flatten();
    models
        .map(str::trim)
        .find(|model| !model.is_empty())
        .unwrap_or_default()
}

fn check_loop(device: &DeviceSnapshot, devices: &DeviceSettings) -> Result<(), String> {
    let backing = device.attributes.get("loop/backing_file");
    if backing.is_some_and(|file| file.starts_with("/dev/")) {
        return Err("it is a loop over another device".into());
    }
    if !devices.loops {
        return Err("it is a loop device, and [devices] loops is false".into());
    }
    if device.attributes.get("loop/autoclear").map(String::as_str) == Some("1") {
        return Err("it is a loop that a program made for itself (autoclear)".into());
    }
    Ok(())
}

/// The first table in the order of their names that lists one of the names, and that name.
fn find(names: &[String], attach: &AttachTable) -> Option<(String, String)> {
    attach.iter().find_map(|(entry, settings)| {
        let patterns = settings.points.iter();
        let point = patterns
            .filter_map(|point| Pattern::new(point).ok())
            .find_map(|pattern| {
                names
                    .iter()
                    .find(|name| pattern.matches_with(name, MATCHING))
            })?;
        Some((entry.clone(), point.clone()))
    })
}

fn unlisted(names: &[String]) -> String {
    let name = names.first().map(String::as_str).unwrap_or_default();
    format!("it is attached as {name}, and no [attach] table lists that")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::worker::AttachSettings;
    use crate::device::ControllerIdentity;
    use proptest::prelude::*;
    use std::fs;

    /// A file of tests/fixtures/devices.
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Fixture {
        device: DeviceSnapshot,
        attach: Vec<String>,
        loops: bool,
        expect: Expected,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Expected {
        Ours { id: String, point: String },
        Ignored(String),
        PartOfDisk,
    }

    fn table(points: &[String]) -> AttachTable {
        let settings = AttachSettings {
            points: points.to_vec(),
            ..AttachSettings::default()
        };
        let tables = (!points.is_empty()).then(|| ("evidence".to_owned(), settings));
        tables.into_iter().collect()
    }

    fn is_safe(id: &str) -> bool {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        !id.is_empty() && id.len() <= 60 && !id.starts_with(['.', '-']) && id.chars().all(fits)
    }

    fn check(name: &str, fixture: &Fixture) {
        let loops = DeviceSettings {
            loops: fixture.loops,
            ..DeviceSettings::default()
        };
        match (
            &fixture.expect,
            assess(&fixture.device, &loops, &table(&fixture.attach)),
        ) {
            (Expected::Ours { id, point }, Decision::Ours(volume)) => {
                assert_eq!((&volume.id, &volume.point), (id, point), "{name}");
                assert_eq!(volume.entry, "evidence", "{name}");
                assert_eq!(volume.node, fixture.device.node, "{name}");
                assert_eq!(volume.sequence, fixture.device.sequence, "{name}");
                assert!(is_safe(&volume.id), "{name}: {}", volume.id);
            }
            (Expected::Ignored(part), Decision::Ignored(ignored)) => {
                let reason = &ignored.reason;
                assert!(reason.contains(part), "{name}: {reason}");
                assert_eq!(printable::line(reason, 1_000), *reason, "{name}");
            }
            (Expected::PartOfDisk, Decision::PartOfDisk) => {}
            (_, other) => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn every_device_of_the_fixtures_is_decided_as_written() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/devices");
        let mut count = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let fixture = serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            check(&path.display().to_string(), &fixture);
            count += 1;
        }
        assert!(count >= 25, "{count} fixtures");
    }

    fn ebs(attachment: &str) -> DeviceSnapshot {
        DeviceSnapshot {
            name: "nvme1n1".into(),
            node: "/dev/nvme1n1".into(),
            kind: "disk".into(),
            size: 1 << 30,
            controller: Some(ControllerIdentity {
                vendor: AMAZON,
                serial: "vol0123456789abcdef0".into(),
                model: EBS_MODEL.into(),
                attachment: attachment.into(),
            }),
            ..DeviceSnapshot::default()
        }
    }

    #[test]
    fn the_first_table_by_name_that_lists_a_device_has_it() {
        let one = |point: &str| AttachSettings {
            points: vec![point.into()],
            ..AttachSettings::default()
        };
        let attach: AttachTable = [
            ("c".to_owned(), one("/dev/sd*")),
            ("a".to_owned(), one("/dev/sdb")),
            ("b".to_owned(), one("/dev/xvd[f-p]")),
        ]
        .into();
        let Decision::Ours(volume) = assess(&ebs("/dev/sdf"), &DeviceSettings::default(), &attach)
        else {
            panic!("it is listed");
        };
        assert_eq!(
            (volume.entry.as_str(), volume.point.as_str()),
            ("b", "/dev/xvdf")
        );
    }

    #[test]
    fn the_machine_s_own_disk_is_not_evidence_though_a_table_lists_it() {
        let attach = table(&["/dev/xvd*".to_owned()]);
        for own in ["/dev/xvda", "/dev/sda", "vol-0123456789abcdef0"] {
            let devices = DeviceSettings {
                own: vec![own.into()],
                ..DeviceSettings::default()
            };
            let Decision::Ignored(ignored) = assess(&ebs("xvda"), &devices, &attach) else {
                panic!("{own} is the machine's own");
            };
            assert!(
                ignored.reason.contains("[devices] own"),
                "{}",
                ignored.reason
            );
        }
        let other = assess(&ebs("xvdf"), &DeviceSettings::default(), &attach);
        assert!(matches!(other, Decision::Ours(_)));
    }

    fn names_of_devices() -> impl Strategy<Value = String> {
        let known = vec![
            "nvme1n1", "sda", "vdb", "xvdf", "loop3", "dm-0", "md127", "sr0", "nbd1", "mmcblk0",
        ];
        prop_oneof![
            proptest::sample::select(known).prop_map(str::to_owned),
            ".{0,12}"
        ]
    }

    prop_compose! {
        fn any_device()(
            name in names_of_devices(),
            kind in prop_oneof![Just("disk".to_owned()), Just("partition".to_owned()), ".{0,8}"],
            size in prop_oneof![Just(0_u64), any::<u64>()],
            link in prop_oneof![Just("/dev/disk/by-id/x".to_owned()), Just("/dev/sdf".to_owned()), ".{0,80}"],
            serial in proptest::option::of(".{0,90}"),
            backing in proptest::option::of(".{0,90}"),
            user in proptest::option::weighted(0.1, ".{0,600}"),
            controller in proptest::option::of((
                prop_oneof![Just(AMAZON), any::<u16>()],
                prop_oneof![Just("vol0123456789abcdef0".to_owned()), ".{0,20}"],
                prop_oneof![Just(EBS_MODEL.to_owned()), ".{0,40}"],
                prop_oneof![Just("/dev/sdf".to_owned()), Just("xvdq".to_owned()), ".{0,32}"],
            )),
        ) -> DeviceSnapshot {
            let pair = |key: &str, value: String| (key.to_owned(), value);
            let mut properties = vec![pair("DEVLINKS", link)];
            properties.extend(serial.map(|value| pair("ID_SERIAL_SHORT", value)));
            DeviceSnapshot {
                node: format!("/dev/{name}").into(),
                name,
                kind,
                size,
                attributes: backing.map(|value| pair("loop/backing_file", value)).into_iter().collect(),
                properties: properties.into_iter().collect(),
                users: user.into_iter().collect(),
                controller: controller.map(|(vendor, serial, model, attachment)| {
                    ControllerIdentity { vendor, serial, model, attachment }
                }),
                ..DeviceSnapshot::default()
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_a_device_says_ours_is_listed_and_safe_and_reasons_are_printable(
            device in any_device(),
            loops in any::<bool>(),
            points in proptest::sample::subsequence(
                vec!["/dev/sd[f-p]", "/dev/loop*", "/dev/disk/by-id/*", "/dev/xvd*"], 0..=4),
        ) {
            let points: Vec<String> = points.into_iter().map(str::to_owned).collect();
            match assess(&device, &DeviceSettings { loops, ..DeviceSettings::default() }, &table(&points)) {
                Decision::Ours(volume) => {
                    let listed = points.iter().any(|point| {
                        Pattern::new(point).unwrap().matches_with(&volume.point, MATCHING)
                    });
                    prop_assert!(listed, "{} of {:?}", volume.point, points);
                    prop_assert!(is_safe(&volume.id), "{}", volume.id);
                    prop_assert_eq!(printable::line(&volume.point, usize::MAX), volume.point.clone());
                    prop_assert!(device.users.is_empty() && device.size > 0);
                }
                Decision::Ignored(ignored) => {
                    prop_assert!(!ignored.reason.is_empty() || device.users == [""]);
                    prop_assert_eq!(printable::line(&ignored.reason, usize::MAX), ignored.reason);
                }
                Decision::PartOfDisk => prop_assert_eq!(device.kind, "partition"),
            }
        }
    }
}
