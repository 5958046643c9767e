//! Who else uses a block device or an image: mounts, swap, holders, writable loop devices.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

/// Kernel names of the device and its partitions.
pub(super) fn family(sysfs: &Path) -> Vec<String> {
    let Ok(real) = fs::canonicalize(sysfs) else {
        return Vec::new();
    };
    let mut names: Vec<String> = children(&real)
        .into_iter()
        .filter(|child| child.join("partition").exists())
        .filter_map(|child| Some(child.file_name()?.to_str()?.to_owned()))
        .collect();
    names.extend(
        real.file_name()
            .and_then(|name| name.to_str())
            .map(str::to_owned),
    );
    names
}

/// A sentence about the user of the device, its partitions or its whole disk; none if it is free.
pub(crate) fn user_of(sysfs: &Path) -> Option<String> {
    let real = fs::canonicalize(sysfs).ok()?;
    let mut nodes = vec![real.clone()];
    nodes.extend(
        children(&real)
            .into_iter()
            .filter(|child| child.join("partition").exists()),
    );
    if real.join("partition").exists() {
        nodes.extend(real.parent().map(Path::to_path_buf));
    }
    nodes.iter().find_map(|node| user_of_node(node))
}

fn user_of_node(node: &Path) -> Option<String> {
    let name = node.file_name()?.to_str()?;
    if let Some(holder) = children(&node.join("holders")).first() {
        let holder = holder.file_name()?.to_string_lossy();
        return Some(format!(
            "/dev/{name} is part of /dev/{holder}; deactivate that first"
        ));
    }
    let number = fs::read_to_string(node.join("dev")).ok()?;
    let number = number.trim();
    // A mount point may be any bytes; such a line must not hide the others.
    let mounts = fs::read("/proc/self/mountinfo").ok()?;
    if let Some(place) = mounted_at(number, &String::from_utf8_lossy(&mounts)) {
        return Some(format!(
            "/dev/{name} is mounted at {place}; unmount it first"
        ));
    }
    let swaps = fs::read("/proc/swaps").unwrap_or_default();
    String::from_utf8_lossy(&swaps)
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .any(|path| device_number(path).as_deref() == Some(number))
        .then(|| format!("/dev/{name} is in use as swap; switch it off first"))
}

/// The mount point of a device in the text of mountinfo (proc(5)): by number, or by the node of
/// filesystems with numbers of their own, such as btrfs.
pub(super) fn mounted_at(number: &str, mountinfo: &str) -> Option<String> {
    mountinfo.lines().find_map(|line| {
        let (place, origin) = line.split_once(" - ")?;
        let mut fields = place.split(' ').skip(2);
        let device = fields.next()?;
        let point = fields.nth(1)?;
        let node = origin.split(' ').nth(1)?;
        (device == number || device_number(node).as_deref() == Some(number))
            .then(|| crate::printable::line(point, 120))
    })
}

fn device_number(node: &str) -> Option<String> {
    use std::os::unix::fs::FileTypeExt;
    let about = node
        .starts_with("/dev/")
        .then(|| fs::metadata(node))?
        .ok()?;
    let number = about.rdev();
    about
        .file_type()
        .is_block_device()
        .then(|| format!("{}:{}", major(number), minor(number)))
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

/// Whether a loop device can be written.
pub(super) fn is_writable(node: &Path) -> bool {
    File::open(node).is_ok_and(|file| !crate::sys::block_is_read_only(&file).unwrap_or(false))
}

/// A sentence about a writable loop device over the file; none if there is none.
pub(super) fn writable_loop_over(image: &Path) -> Option<String> {
    let entries = fs::read_dir("/sys/block").ok()?;
    entries.filter_map(Result::ok).find_map(|entry| {
        let backing = fs::read_to_string(entry.path().join("loop/backing_file")).ok()?;
        let node = Path::new("/dev").join(entry.file_name());
        (Path::new(backing.trim_end()) == image && is_writable(&node)).then(|| {
            format!(
                "{} is a writable loop device over it; detach it first",
                node.display()
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mounted_device_is_found_by_its_number() {
        let info = "24 1 254:0 / / rw,relatime - ext4 /dev/root rw\n\
                    30 24 259:3 / /mnt/some\\040where rw shared:1 - xfs /dev/nope rw\n";
        assert_eq!(
            mounted_at("259:3", info).as_deref(),
            Some("/mnt/some\\040where")
        );
        assert_eq!(mounted_at("259:4", info), None);
    }
}
