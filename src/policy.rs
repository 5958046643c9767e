//! What is ours: a pure function over a device and the configuration. Unknown means not ours.
//!
//! Everything a device says is hostile here: names are compared as text and never used as a path, ids are made
//! safe, reasons are printable. Names that come from the content of a disk (labels, UUIDs) decide nothing, or the
//! evidence would choose its own case.

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
const LONGEST_NAME: usize = 120;

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
