//! Symbolic links, resolved inside the evidence and nowhere else.
//!
//! No link is ever followed by the kernel here: each name is looked at by itself, and a link's text is
//! applied by this code, with the evidence's root as the only root there is.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::printable::EvidencePath;

/// Links behind links, as the kernel counts them (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// To this, which is no link.
    To(EvidencePath),
    /// Above the root of the evidence.
    Out,
    /// To nothing.
    Nowhere,
    /// Round and round.
    Loop,
}

/// Where a path on the evidence is in the mounted tree.
#[must_use]
pub fn on_disk(root: &Path, path: &EvidencePath) -> PathBuf {
    let relative = path
        .as_bytes()
        .strip_prefix(b"/")
        .unwrap_or(path.as_bytes());
    root.join(OsStr::from_bytes(relative))
}

/// Resolves a path on the evidence whose names may be links.
#[must_use]
pub fn resolve(root: &Path, path: &EvidencePath) -> Resolved {
    let mut waiting: Vec<Vec<u8>> = path.segments().map(<[u8]>::to_vec).collect();
    waiting.reverse();
    let mut done: Vec<Vec<u8>> = Vec::new();
    let mut links = 0;
    while let Some(name) = waiting.pop() {
        match name.as_slice() {
            b"." => continue,
            b".." => {
                if done.pop().is_none() {
                    return Resolved::Out;
                }
                continue;
            }
            _ => done.push(name),
        }
        let place = on_disk(root, &joined(&done));
        let Ok(about) = fs::symlink_metadata(&place) else {
            return Resolved::Nowhere;
        };
        if !about.is_symlink() {
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return Resolved::Loop;
        }
        let Ok(target) = fs::read_link(&place) else {
            return Resolved::Nowhere;
        };
        let target = target.as_os_str().as_bytes();
        done.pop();
        if target.starts_with(b"/") {
            done.clear();
        }
        let names = target
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty());
        waiting.extend(names.rev().map(<[u8]>::to_vec));
    }
    Resolved::To(joined(&done))
}

fn joined(names: &[Vec<u8>]) -> EvidencePath {
    let mut bytes = Vec::new();
    for name in names {
        bytes.push(b'/');
        bytes.extend_from_slice(name);
    }
    if bytes.is_empty() {
        bytes.push(b'/');
    }
    EvidencePath::new(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_inside_the_evidence() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("var/log/pods")).unwrap();
        crate::durable::write(&root.join("var/log/pods/a.log"), b"x").unwrap();
        for (link, target) in [
            ("var/log/absolute", "/var/log/pods/a.log"),
            ("var/log/relative", "pods/../pods/a.log"),
            ("var/log/folder", "/var/log/pods"),
            ("var/log/out", "../../../../../etc/passwd"),
            ("var/log/absent", "/etc/shadow"),
            ("var/log/self", "self"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        let at = |path: &str| resolve(root, &EvidencePath::new(path.as_bytes()));
        let pod = Resolved::To(EvidencePath::new(*b"/var/log/pods/a.log"));
        assert_eq!(at("/var/log/absolute"), pod);
        assert_eq!(at("/var/log/relative"), pod);
        assert_eq!(at("/var/log/folder/a.log"), pod);
        assert_eq!(at("/var/log/out"), Resolved::Out);
        assert_eq!(at("/var/log/absent"), Resolved::Nowhere);
        assert_eq!(at("/var/log/self"), Resolved::Loop);
    }
}
