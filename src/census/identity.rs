//! Who a filesystem belongs to, read from a handful of small files; runs only in the cage.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::link::{Resolved, on_disk, resolve};
use super::report::Identity;
use crate::printable::{self, EvidencePath};

/// More than any of these files honestly has.
const MOST_BYTES: u64 = 64 * 1024;

/// Reads what the filesystem under `root` says about itself.
#[must_use]
pub fn read(root: &Path) -> Identity {
    Identity {
        hostname: first_line(root, "/etc/hostname"),
        distribution: distribution(root),
        time_zone: time_zone(root),
        machine_id: first_line(root, "/etc/machine-id"),
        cloud_instance_id: first_line(root, "/var/lib/cloud/data/instance-id"),
    }
}

/// Folders of container logs that the evidence's own configuration names.
#[must_use]
pub fn container_roots(root: &Path) -> Vec<EvidencePath> {
    let mut roots = Vec::new();
    if let Some(text) = text(root, "/etc/docker/daemon.json")
        && let Ok(json) = serde_json::from_str::<serde_json::Value>(&text)
    {
        for key in ["data-root", "graph"] {
            roots.extend(
                json.get(key)
                    .and_then(|value| value.as_str())
                    .map(str::to_owned),
            );
        }
    }
    for file in [
        "/etc/containers/storage.conf",
        "/usr/share/containers/storage.conf",
    ] {
        let value = text(root, file).and_then(|text| setting(&text, "graphroot"));
        roots.extend(value);
    }
    let absolute = roots
        .into_iter()
        .filter(|path| path.starts_with('/') && path.len() < 4096);
    let folders = absolute.map(|path| {
        let base = EvidencePath::new(path.trim_end_matches('/').as_bytes());
        [base.join(b"containers"), base.join(b"overlay-containers")]
    });
    folders
        .flatten()
        .filter(|folder| matches!(resolve(root, folder), Resolved::To(_)))
        .collect()
}

fn text(root: &Path, path: &str) -> Option<String> {
    let Resolved::To(real) = resolve(root, &EvidencePath::new(path.as_bytes())) else {
        return None;
    };
    let place = on_disk(root, &real);
    if !std::fs::symlink_metadata(&place).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(place)
        .ok()?
        .take(MOST_BYTES)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn first_line(root: &Path, path: &str) -> Option<String> {
    let text = text(root, path)?;
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))?;
    Some(printable::line(line, 120))
}

fn distribution(root: &Path) -> Option<String> {
    let text = text(root, "/etc/os-release").or_else(|| text(root, "/usr/lib/os-release"))?;
    setting(&text, "PRETTY_NAME").map(|name| printable::line(&name, 120))
}

/// `KEY=value` or `KEY = "value"` in a configuration file.
fn setting(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == key).then(|| value.trim().trim_matches(['"', '\'']).to_owned())
    })
}

fn time_zone(root: &Path) -> Option<String> {
    let link = std::fs::read_link(on_disk(root, &EvidencePath::new(*b"/etc/localtime"))).ok();
    let from_link = link.and_then(|target| {
        let target = target.to_str()?.to_owned();
        Some(target.split_once("zoneinfo/")?.1.to_owned())
    });
    let from_sysconfig =
        || text(root, "/etc/sysconfig/clock").and_then(|text| setting(&text, "ZONE"));
    from_link
        .or_else(|| first_line(root, "/etc/timezone"))
        .or_else(from_sysconfig)
        .map(|zone| {
            zone.trim_start_matches("posix/")
                .trim_start_matches("right/")
                .to_owned()
        })
        .filter(|zone| is_zone_name(zone))
}

/// The characters of names in the time zone database; anything else is no zone.
fn is_zone_name(zone: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+');
    !zone.is_empty() && zone.len() < 64 && !zone.starts_with(['-', '/']) && zone.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn identity_is_read_through_links_that_stay_inside() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for path in ["etc", "usr/lib", "var/lib/cloud/data"] {
            std::fs::create_dir_all(root.join(path)).unwrap();
        }
        let put = |path: &str, text: &str| {
            crate::durable::write(&root.join(path), text.as_bytes()).unwrap();
        };
        put("etc/hostname", "web\u{1b}[31m-1\n");
        put(
            "usr/lib/os-release",
            "NAME=x\nPRETTY_NAME=\"Amazon Linux 2023\"\n",
        );
        put("var/lib/cloud/data/instance-id", "i-0123456789abcdef0\n");
        symlink("../usr/lib/os-release", root.join("etc/os-release")).unwrap();
        symlink(
            "/usr/share/zoneinfo/Europe/Berlin",
            root.join("etc/localtime"),
        )
        .unwrap();
        symlink("/etc/passwd", root.join("etc/machine-id")).unwrap();
        let found = read(root);
        assert_eq!(found.hostname.as_deref(), Some(r"web\u{1b}[31m-1"));
        assert_eq!(found.distribution.as_deref(), Some("Amazon Linux 2023"));
        assert_eq!(found.time_zone.as_deref(), Some("Europe/Berlin"));
        assert_eq!(
            found.cloud_instance_id.as_deref(),
            Some("i-0123456789abcdef0")
        );
        assert_eq!(
            found.machine_id, None,
            "a link that leads to nothing on the evidence"
        );
    }

    #[test]
    fn a_zone_that_is_an_option_or_a_path_is_no_zone() {
        for zone in ["-z", "/etc/passwd", "Europe/Ber lin", "", "a\nb"] {
            assert!(!is_zone_name(zone), "{zone:?}");
        }
    }

    #[test]
    fn configured_container_folders_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("etc/docker")).unwrap();
        std::fs::create_dir_all(root.join("data/docker/containers")).unwrap();
        let json = br#"{"data-root": "/data/docker/"}"#;
        crate::durable::write(&root.join("etc/docker/daemon.json"), json).unwrap();
        assert_eq!(
            container_roots(root),
            [EvidencePath::new(*b"/data/docker/containers")]
        );
    }
}
