//! Real block devices.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libtest_mimic::{Failed, Trial};
use nix::libc;
use tempfile::TempDir;

use crate::case::{
    CLEANED_UP, Case, FEW_PATHS, HANGING, Undo, assert_custody, holds_within, in_job, make_tree,
    timeline,
};
use crate::lab::{self, Need, manifest, tool, trial};

const ZRAM: &str = "/sys/class/zram-control";

pub fn trials() -> Vec<Trial> {
    drop(
        Command::new("modprobe")
            .args(["-q", "zram"])
            .stderr(Stdio::null())
            .status(),
    );
    let there = Path::new(ZRAM).join("hot_add").exists();
    let zram = Need::Other(
        there,
        "a kernel with zram, for a block device that is no loop",
    );
    let needs = [Need::Root, Need::Plaso, Need::Driver("ext4"), zram];
    vec![
        trial(
            "a_device_is_set_read_only_held_and_untouched",
            &needs,
            device_is_held,
        ),
        trial(
            "a_mounted_device_is_refused_by_its_mount_point",
            &needs,
            mounted_is_refused,
        ),
        trial(
            "a_device_that_somebody_holds_unseen_is_refused_and_keeps_its_flags",
            &needs,
            held_is_refused,
        ),
        trial(
            "a_device_in_use_as_swap_is_refused",
            &needs,
            swap_is_refused,
        ),
    ]
}

/// A block device in memory, gone when dropped.
struct Zram(String);

impl Zram {
    fn with_ext4(tree: &Path) -> Self {
        let number = fs::read_to_string(Path::new(ZRAM).join("hot_add")).unwrap();
        let disk = Self(number.trim().to_owned());
        fs::write(format!("/sys/block/zram{}/disksize", disk.0), "64M").unwrap();
        let node = disk.node();
        assert!(
            holds_within(HANGING, || node.exists()),
            "{}",
            node.display()
        );
        make_tree(tree);
        // Blocks of 4 KiB, as the device has sectors of that size.
        let (node, tree) = (node.to_str().unwrap(), tree.to_str().unwrap());
        tool("mkfs.ext4", &["-q", "-F", "-b", "4096", "-d", tree, node]);
        disk
    }

    fn node(&self) -> PathBuf {
        format!("/dev/zram{}", self.0).into()
    }

    fn case(&self, work: TempDir) -> Case {
        tool(
            "blockdev",
            &["--flushbufs".as_ref(), self.node().as_os_str()],
        );
        Case::over(work, self.node())
    }

    fn is_read_only(&self) -> bool {
        tool("blockdev", &["--getro".as_ref(), self.node().as_os_str()]).trim() == "1"
    }
}

impl Drop for Zram {
    fn drop(&mut self) {
        let removed = || fs::write(Path::new(ZRAM).join("hot_remove"), &self.0).is_ok();
        if !holds_within(CLEANED_UP, removed) {
            eprintln!("zram{} could not be removed", self.0);
        }
    }
}

fn device_is_held() -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    let disk = Zram::with_ext4(&work.path().join("tree"));
    let case = disk.case(work);
    assert!(!disk.is_read_only(), "the flag is ours to set");
    let mut command = case.command(&case.out(), &[FEW_PATHS]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let begun = holds_within(HANGING, || in_job(&case.out(), "job.json"));
    let mut exclusive = OpenOptions::new();
    exclusive.read(true).custom_flags(libc::O_EXCL);
    let held = exclusive.open(&case.source).err();
    let done = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{said}");
    assert!(begun, "{said}");
    let busy = held.and_then(|error| error.raw_os_error());
    assert_eq!(busy, Some(libc::EBUSY), "it is held while it is read");
    exclusive.open(&case.source)?; // and released

    assert!(disk.is_read_only(), "it stays read-only");
    // The same byte as before, in case that it gets through.
    let mut byte = [0];
    File::open(&case.source)?.read_exact_at(&mut byte, 0)?;
    let writing = OpenOptions::new().write(true).open(&case.source);
    let written = writing.and_then(|file| file.write_all_at(&byte, 0));
    let refused = written.err().and_then(|error| error.raw_os_error());
    assert_eq!(refused, Some(libc::EPERM), "the kernel lets nobody write");
    tool(
        "blockdev",
        &["--flushbufs".as_ref(), case.source.as_os_str()],
    );
    case.assert_untouched();
    let manifest = manifest(&case.out());
    assert_custody(&manifest);
    assert_eq!(manifest["source"]["kind"], "device");
    assert!(manifest["source"]["disk_sequence"].is_u64());
    let protection = manifest["source"]["protection"].to_string();
    for word in [
        "held with O_EXCL",
        &format!("read-only flag set on zram{}", disk.0),
    ] {
        assert!(
            protection.contains(word),
            "{word:?} is not in: {protection}"
        );
    }
    let writes = &manifest["custody"]["before"]["writes"];
    assert!(
        writes["sectors"].as_u64() > Some(0),
        "mkfs was counted: {writes}"
    );
    assert_eq!(writes, &manifest["custody"]["after"]["writes"]);
    assert!(timeline(&case).contains("Failed password"));
    Ok(())
}

fn held_is_refused() -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    let disk = Zram::with_ext4(&work.path().join("tree"));
    let case = disk.case(work);
    let mut exclusive = OpenOptions::new();
    let held = exclusive
        .read(true)
        .custom_flags(libc::O_EXCL)
        .open(&case.source)?;
    case.assert_refused(&["somebody else holds it"]);
    assert!(!disk.is_read_only(), "it is not ours to set");
    drop(held);
    Ok(())
}

fn mounted_is_refused() -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    let disk = Zram::with_ext4(&work.path().join("tree"));
    let case = disk.case(work);
    let point = case.at("in-use");
    fs::create_dir(&point)?;
    let words = ["-t", "ext4", "-o", "ro,noload"].map(AsRef::as_ref);
    tool(
        "mount",
        &[&words[..], &[case.source.as_os_str(), point.as_os_str()]].concat(),
    );
    let mounted = Undo::by(&["umount", point.to_str().unwrap()]);
    case.assert_refused(&[
        &format!("is mounted at {}", point.display()),
        "unmount it first",
    ]);
    assert!(!disk.is_read_only(), "a disk that is refused is left alone");
    drop(mounted);
    Ok(())
}

fn swap_is_refused() -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    let disk = Zram::with_ext4(&work.path().join("tree"));
    let node = disk.node();
    tool("mkswap", &["--quiet".as_ref(), node.as_os_str()]);
    let case = disk.case(work);
    let done = lab::finish(Command::new("swapon").arg(&node));
    if done.code != 0 {
        eprintln!(
            "NOTE: swap cannot be switched on here, so nothing is shown: {}",
            done.err
        );
        return Ok(());
    }
    let swapping = Undo::by(&["swapoff", node.to_str().unwrap()]);
    case.assert_refused(&["in use as swap", "switch it off first"]);
    assert!(!disk.is_read_only(), "a disk that is refused is left alone");
    drop(swapping);
    Ok(())
}
