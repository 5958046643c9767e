//! The names under which a device can be listed in an `[attach]` table.
//!
//! They are text to compare, never paths to open. Names from the content of a disk are left out.

use super::Kind;
use crate::device::DeviceSnapshot;
use crate::printable;

/// A name that is shown, in characters.
const LONGEST_NAME: usize = 120;

/// Links whose names come from the content of the disk, and from the order of attaching.
const UNTRUSTED_LINKS: [&str; 6] = [
    "/dev/disk/by-label/",
    "/dev/disk/by-uuid/",
    "/dev/disk/by-partlabel/",
    "/dev/disk/by-partuuid/",
    "/dev/disk/by-diskseq/",
    "/dev/disk/by-id/lvm-pv-uuid-",
];

/// The names under which a device can be listed, the one that best tells it first.
pub(super) fn of(device: &DeviceSnapshot, kind: Kind) -> Result<Vec<String>, String> {
    let node = device.node.to_string_lossy().into_owned();
    match (kind, &device.controller) {
        (Kind::Ebs, Some(controller)) => Ok(with_alias(attachment(&controller.attachment)?)),
        (Kind::Xen, _) => Ok(with_alias(node)),
        (Kind::Loop, _) => Ok(vec![node]),
        (Kind::Ebs, None) => links(device).map_err(|why| {
            format!("its controller did not say where it is attached, and {why}; it is asked again")
        }),
        (Kind::Other, _) => links(device),
    }
}

/// EC2 gives `sdf` or `xvdf` for volumes attached at launch, and `/dev/sdf` for later ones. It is what somebody
/// typed.
fn attachment(name: &str) -> Result<String, String> {
    let short = name.strip_prefix("/dev/").unwrap_or(name);
    if short.is_empty() {
        return Err("its attachment name is empty, so that no [attach] table can list it".into());
    }
    if short.len() > 32 || !short.bytes().all(|b| b.is_ascii_alphanumeric()) {
        let shown = printable::line(name, LONGEST_NAME);
        return Err(format!(
            "its attachment name \"{shown}\" is no name of a device such as /dev/sdf"
        ));
    }
    Ok(format!("/dev/{short}"))
}

/// `/dev/sdf` and `/dev/xvdf` are the same attachment; which of the two is used depends on the image.
fn with_alias(name: String) -> Vec<String> {
    let alias = match (name.strip_prefix("/dev/xvd"), name.strip_prefix("/dev/sd")) {
        (Some(rest), _) => Some(format!("/dev/sd{rest}")),
        (_, Some(rest)) => Some(format!("/dev/xvd{rest}")),
        _ => None,
    };
    std::iter::once(name).chain(alias).collect()
}

fn links(device: &DeviceSnapshot) -> Result<Vec<String>, String> {
    let mut links: Vec<String> = device
        .links()
        .filter(|link| !UNTRUSTED_LINKS.iter().any(|one| link.starts_with(one)))
        .map(|link| printable::line(link, LONGEST_NAME))
        .collect();
    if links.is_empty() {
        return Err(
            "udev has no lasting name for it, so that no [attach] table can list it".into(),
        );
    }
    links.sort();
    Ok(links)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attachment_is_a_short_plain_name() {
        for name in ["sdf", "/dev/sdf", "xvdba", "/dev/sda1"] {
            assert!(attachment(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "/dev/",
            "/dev/../sdf",
            "sd f",
            "sdf\u{1b}[2J",
            "*",
            "/etc/sdf",
        ] {
            assert!(attachment(name).is_err(), "{name}");
        }
        assert!(attachment(&"s".repeat(33)).is_err());
    }

    #[test]
    fn names_of_both_drivers_stand_for_one_attachment() {
        assert_eq!(with_alias("/dev/sdf".into()), ["/dev/sdf", "/dev/xvdf"]);
        assert_eq!(with_alias("/dev/xvdba".into()), ["/dev/xvdba", "/dev/sdba"]);
        assert_eq!(with_alias("/dev/hdf".into()), ["/dev/hdf"]);
    }

    #[test]
    fn the_content_of_a_disk_gives_it_no_name() {
        let links = "/dev/disk/by-label/case-7 /dev/disk/by-uuid/1 /dev/disk/by-path/x /dev/disk/by-diskseq/3 \
                     /dev/disk/by-id/lvm-pv-uuid-a";
        let device = DeviceSnapshot {
            properties: [("DEVLINKS".to_owned(), links.to_owned())].into(),
            ..DeviceSnapshot::default()
        };
        assert_eq!(of(&device, Kind::Other).unwrap(), ["/dev/disk/by-path/x"]);
    }
}
