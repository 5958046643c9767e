//! What a volume is called: the same at every attachment, and safe as the name of a file.

use sha2::{Digest, Sha256};

use super::Kind;
use crate::device::DeviceSnapshot;
use crate::device::identify::ebs_volume_id;
use crate::durable;

/// The longest id, in characters; a job's folder has its name from it.
const LONGEST_ID: usize = 60;

/// The identity; none if nothing tells this volume from others.
pub(super) fn of(device: &DeviceSnapshot, kind: Kind) -> Option<String> {
    match kind {
        Kind::Ebs => serial(device).map(|one| ebs_volume_id(one).unwrap_or_else(|| safe(one))),
        Kind::Other => serial(device).map(safe),
        Kind::Xen => serial(device).map(safe).or_else(|| Some(xen_id(device))),
        Kind::Loop => loop_id(device),
    }
}

fn serial(device: &DeviceSnapshot) -> Option<&str> {
    let attribute = |name: &str| device.attributes.get(name).map(String::as_str);
    let property = |name: &str| device.properties.get(name).map(String::as_str);
    let controller = device.controller.as_ref().map(|one| one.serial.as_str());
    let serials = [
        controller,
        property("ID_SERIAL_SHORT"),
        attribute("device/serial"),
        attribute("serial"),
        property("ID_SERIAL"),
    ];
    let mut there = serials.into_iter().flatten().map(str::trim);
    there.find(|serial| !serial.is_empty())
}

/// Xen tells nothing about a volume but its size; its partition table and filesystem have to do.
fn xen_id(device: &DeviceSnapshot) -> String {
    let mut all = device.size.to_string();
    for name in ["ID_PART_TABLE_UUID", "ID_FS_UUID", "ID_FS_TYPE"] {
        all.push('\0');
        all.push_str(device.properties.get(name).map_or("", String::as_str));
    }
    format!("{}-{}", safe(&device.name), short_hash(&all))
}

fn loop_id(device: &DeviceSnapshot) -> Option<String> {
    let attribute = |name: &str| device.attributes.get(name).map_or("", String::as_str);
    let file = device.attributes.get("loop/backing_file")?;
    let name = file.rsplit('/').next().unwrap_or_default();
    let (offset, limit) = (attribute("loop/offset"), attribute("loop/sizelimit"));
    let hash = short_hash(&format!("{file}\0{offset}\0{limit}"));
    Some(format!("{}-{hash}", cleaned(name, LONGEST_ID - 9)))
}

/// The text itself if it can be the name of a file; else one made of it, with a hash of the whole, so that two
/// texts that differ give two names.
fn safe(text: &str) -> String {
    let clean = cleaned(text, LONGEST_ID);
    if clean == text {
        clean
    } else {
        format!("{}-{}", cleaned(text, LONGEST_ID - 9), short_hash(text))
    }
}

/// Letters, digits and `._-`, not too many, no dot or dash at the front.
fn cleaned(text: &str, limit: usize) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let one = |(place, c): (usize, char)| {
        let leads = place == 0 && matches!(c, '.' | '-');
        if fits(c) && !leads { c } else { '_' }
    };
    let clean: String = text.chars().take(limit).enumerate().map(one).collect();
    if clean.is_empty() { "_".into() } else { clean }
}

fn short_hash(text: &str) -> String {
    durable::hex(&Sha256::digest(text)[..4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_had_to_be_changed_stay_apart() {
        let (one, other) = (safe("disk/1"), safe("disk 1"));
        assert!(one.starts_with("disk_1-") && other.starts_with("disk_1-"));
        assert_ne!(one, other);
        assert_eq!(safe("S4EV-1.2_x"), "S4EV-1.2_x");
        assert!(safe("..").starts_with("_.-"));
        assert_eq!(safe(&"x".repeat(60)), "x".repeat(60));
        assert_eq!(safe(&"x".repeat(61)).len(), 60);
    }

    fn with(pairs: &[(&str, &str)]) -> DeviceSnapshot {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        DeviceSnapshot {
            name: "xvdf".into(),
            size: 1 << 30,
            properties: pairs.iter().map(owned).collect(),
            attributes: pairs.iter().map(owned).collect(),
            ..DeviceSnapshot::default()
        }
    }

    #[test]
    fn xen_volumes_are_told_apart_by_what_is_on_them() {
        let plain = of(&with(&[]), Kind::Xen).unwrap();
        let formatted = of(&with(&[("ID_FS_UUID", "1")]), Kind::Xen).unwrap();
        assert!(plain.starts_with("xvdf-") && plain.len() == 13, "{plain}");
        assert_ne!(plain, formatted);
    }

    #[test]
    fn loops_are_told_apart_by_file_and_place_in_it() {
        let first = [
            ("loop/backing_file", "/images/a b.raw"),
            ("loop/offset", "0"),
        ];
        let second = [
            ("loop/backing_file", "/images/a b.raw"),
            ("loop/offset", "512"),
        ];
        let other = [("loop/backing_file", "/more/a b.raw"), ("loop/offset", "0")];
        let ids = [first, second, other].map(|one| of(&with(&one), Kind::Loop).unwrap());
        assert!(ids.iter().all(|id| id.starts_with("a_b.raw-")), "{ids:?}");
        assert!(ids[0] != ids[1] && ids[0] != ids[2] && ids[1] != ids[2]);
    }

    #[test]
    fn a_disk_without_a_serial_number_has_no_identity() {
        assert_eq!(of(&with(&[]), Kind::Other), None);
        assert_eq!(of(&with(&[("serial", "  ")]), Kind::Other), None);
        assert_eq!(
            of(&with(&[("serial", "s1")]), Kind::Other).as_deref(),
            Some("s1")
        );
    }
}
