//! Block devices as a real systemd-udevd shows them, seen by the watcher and judged by the policy.
//!
//! The program starts itself again next to a udevd in namespaces of its own (tests/lab/udev.sh). The devices are
//! loops with numbers that nobody uses, made and removed here.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test fails by panicking and keeps no state that a crash may not tear"
)]

mod lab;
#[path = "devices/many.rs"]
mod many;
#[path = "devices/meant.rs"]
mod meant;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use dfagent::config::worker::{AttachSettings, AttachTable, DeviceSettings};
use dfagent::device::monitor::{Devices, listen};
use dfagent::device::{DeviceSnapshot, Scanner, Watcher, scan};
use dfagent::policy::{Decision, assess};
use lab::{Need, tool, trial};
use libtest_mimic::{Failed, Trial};
use nix::sys::socket::{setsockopt, sockopt};
use tempfile::TempDir;

/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(30);
/// No reconcile of its own accord: what is seen was brought by an event.
const NEVER: Duration = Duration::from_secs(3600);
/// `LOOP_CTL_ADD` and `LOOP_CTL_REMOVE` of linux/loop.h, which losetup does not offer.
const CONTROL: &str = "import fcntl,sys; \
    fcntl.ioctl(open('/dev/loop-control','rb'), int(sys.argv[1],16), int(sys.argv[2]))";

fn main() {
    let inside = std::env::var_os("DFAGENT_TEST_UDEV").is_some();
    let able = [
        Need::Root,
        Need::Program("udevadm"),
        Need::Program("unshare"),
        Need::Program("losetup"),
        Need::Other(
            Path::new("/dev/loop-control").exists(),
            "a kernel with loop devices",
        ),
    ];
    let list = trials(&able);
    if inside || list.iter().all(Trial::has_ignored_flag) {
        lab::run(list);
    }
    let script = lab::root().join("tests/lab/udev.sh");
    let myself = std::env::current_exe().expect("a program knows itself");
    let error = Command::new(&script)
        .arg(myself)
        .args(std::env::args_os().skip(1))
        .exec();
    panic!("{} cannot be run: {error}", script.display());
}

fn trials(needs: &[Need]) -> Vec<Trial> {
    vec![
        trial(
            "an_attached_loop_is_seen_with_its_file_and_a_removed_one_is_gone",
            needs,
            comes_and_goes,
        ),
        trial(
            "a_change_of_a_device_brings_a_new_list",
            needs,
            changes_are_seen,
        ),
        trial("without_events_there_is_no_new_list", needs, idle),
        trial(
            "after_a_storm_of_real_events_the_list_is_the_truth",
            needs,
            storm,
        ),
        trial(
            "after_ten_thousand_events_shuffled_doubled_and_lost_the_list_is_what_sysfs_says",
            needs,
            many::ten_thousand,
        ),
        trial(
            "after_an_overflow_of_the_socket_the_list_is_the_truth",
            needs,
            overflow,
        ),
        trial("a_loop_is_ours_only_as_configured", needs, decided),
        trial("a_mounted_loop_is_in_use", needs, mounted),
        trial(
            "a_volume_that_was_replaced_before_it_was_opened_is_not_read",
            &meant::needs(needs),
            meant::replaced,
        ),
        trial(
            "a_list_is_in_order_and_without_unused_loops",
            needs,
            list_is_in_order,
        ),
    ]
}

/// A loop device with a number that was free, attached to an image; gone when dropped.
struct Loop {
    number: u32,
    folder: TempDir,
}

impl Loop {
    fn add() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("disk.raw");
        File::create(&image).unwrap().set_len(1 << 24).unwrap();
        let free = |number: &u32| !Path::new(&format!("/sys/block/loop{number}")).exists();
        let number = (200..4000).find(free).expect("a free number");
        control("0x4C80", number);
        Self { number, folder }
    }

    fn attached() -> Self {
        let added = Self::add();
        added.attach();
        added
    }

    fn attach(&self) {
        tool("losetup", &[self.node(), self.image()]);
    }

    fn detach(&self) {
        tool("losetup", &[PathBuf::from("-d"), self.node()]);
    }

    fn is_attached(&self) -> bool {
        Path::new(&format!("/sys/block/{}/loop/backing_file", self.name())).exists()
    }

    /// Attaches or detaches, and tells whether that was possible.
    fn toggle(&self) -> bool {
        let mut losetup = Command::new("losetup");
        if self.is_attached() {
            losetup.arg("-d").arg(self.node());
        } else {
            losetup.arg(self.node()).arg(self.image());
        }
        losetup.output().is_ok_and(|done| done.status.success())
    }

    fn name(&self) -> String {
        format!("loop{}", self.number)
    }

    fn node(&self) -> PathBuf {
        Path::new("/dev").join(self.name())
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("disk.raw")
    }

    /// Makes the kernel send an event of this device.
    fn poke(&self) {
        assert!(self.poked(), "{} is there", self.name());
    }

    /// The same for one that may be gone; whether there is an event.
    fn poked(&self) -> bool {
        let file = format!("/sys/block/{}/uevent", self.name());
        let file = File::options().write(true).open(file);
        file.is_ok_and(|mut file| file.write_all(b"change").is_ok())
    }

    fn is_in(&self, devices: &[DeviceSnapshot]) -> bool {
        self.found(devices).is_some()
    }

    fn found<'a>(&self, devices: &'a [DeviceSnapshot]) -> Option<&'a DeviceSnapshot> {
        devices.iter().find(|one| one.name == self.name())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.node()).output());
        drop(Command::new("losetup").arg("-d").arg(self.node()).output());
        // udevd may hold it open for a moment.
        drop(Command::new("udevadm").arg("settle").output());
        let number = self.number.to_string();
        let done = Command::new("python3")
            .args(["-c", CONTROL, "0x4C81", &number])
            .output();
        if !done.is_ok_and(|done| done.status.success()) {
            eprintln!("loop{number} could not be removed");
        }
    }
}

fn control(request: &str, number: u32) {
    tool("python3", &["-c", CONTROL, request, &number.to_string()]);
}

fn settle() {
    tool("udevadm", &["settle"]);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
}

/// The list once it is as it is expected.
fn wait(
    devices: &mut Devices,
    until: impl FnMut(&Vec<DeviceSnapshot>) -> bool,
) -> Vec<DeviceSnapshot> {
    let waiting = async {
        let found = tokio::time::timeout(LIMIT, devices.wait_for(until)).await;
        found.expect("in time").expect("it is watched").clone()
    };
    runtime().block_on(waiting)
}

fn comes_and_goes() -> Result<(), Failed> {
    let (_watcher, mut devices) = Watcher::start(NEVER)?;
    let disk = Loop::add();
    settle();
    assert!(!disk.is_in(&scan()?), "nothing is attached to it");
    disk.attach();
    let list = wait(&mut devices, |list| disk.is_in(list));
    let seen = disk.found(&list).unwrap();
    assert_eq!(
        (seen.kind.as_str(), seen.size, &seen.node),
        ("disk", 1 << 24, &disk.node())
    );
    assert_eq!(
        Path::new(&seen.attributes["loop/backing_file"]),
        disk.image()
    );
    assert!(seen.sequence.is_some() && seen.users.is_empty(), "{seen:?}");
    let first = seen.sequence;
    disk.detach();
    wait(&mut devices, |list| !disk.is_in(list));
    disk.attach();
    let list = wait(&mut devices, |list| disk.is_in(list));
    assert!(
        disk.found(&list).unwrap().sequence > first,
        "a later attachment"
    );
    Ok(())
}

fn changes_are_seen() -> Result<(), Failed> {
    let disk = Loop::attached();
    let (_watcher, mut devices) = Watcher::start(NEVER)?;
    wait(&mut devices, |list| disk.is_in(list));
    // A filesystem appears; closing the device after the write is what udev hears of.
    tool(
        "mkfs.ext4",
        &["-q", "-F", "-L", "fresh", disk.node().to_str().unwrap()],
    );
    wait(&mut devices, |list| {
        let label = |one: &DeviceSnapshot| one.properties.get("ID_FS_LABEL").cloned();
        disk.found(list).and_then(label).as_deref() == Some("fresh")
    });
    Ok(())
}

fn idle() -> Result<(), Failed> {
    let disk = Loop::attached();
    settle();
    let (_watcher, mut devices) = Watcher::start(NEVER)?;
    wait(&mut devices, |list| disk.is_in(list));
    // Other work on this machine makes events too; a whole quiet second must come.
    let quiet = async {
        let second = Duration::from_secs(1);
        for _ in 0..20 {
            devices.borrow_and_update();
            if tokio::time::timeout(second, devices.changed())
                .await
                .is_err()
            {
                return true;
            }
        }
        false
    };
    assert!(
        runtime().block_on(quiet),
        "lists come though nothing happens"
    );
    Ok(())
}

fn storm() -> Result<(), Failed> {
    let disks = [Loop::add(), Loop::add(), Loop::add()];
    let (_watcher, mut devices) = Watcher::start(NEVER)?;
    let mut changed = 0;
    for round in 0..60 {
        let disk = &disks[round % disks.len()];
        (0..round % 5).for_each(|_| disk.poke());
        // Refused while udevd looks at it, which is a part of the storm.
        changed += u32::from(disk.toggle());
        disk.poke();
    }
    assert!(changed > 20, "only {changed} changes");
    settle();
    if !disks[0].is_attached() {
        disks[0].attach();
    }
    settle();
    let attached = disks.iter().filter(|disk| disk.is_attached());
    let truth: BTreeSet<String> = attached.map(Loop::name).collect();
    assert!(truth.contains(&disks[0].name()));
    wait(&mut devices, |list| names(&disks, list) == truth);
    assert_eq!(names(&disks, &scan()?), truth);
    Ok(())
}

fn names(disks: &[Loop], list: &[DeviceSnapshot]) -> BTreeSet<String> {
    let there = disks.iter().filter(|disk| disk.is_in(list));
    there.map(Loop::name).collect()
}

/// Events that a socket has lost, as proc shows it.
fn lost(socket: &OwnedFd) -> u64 {
    let inode = File::from(socket.try_clone().unwrap())
        .metadata()
        .unwrap()
        .ino()
        .to_string();
    let table = fs::read_to_string("/proc/net/netlink").unwrap();
    let rows = table.lines().map(|row| row.split_whitespace().collect());
    let row: Vec<&str> = { rows }
        .find(|row: &Vec<&str>| row.last() == Some(&inode.as_str()))
        .unwrap();
    // Its last columns are the events lost and the inode.
    row[row.len() - 2].parse().unwrap()
}

fn overflow() -> Result<(), Failed> {
    let socket = listen()?;
    setsockopt(&socket.as_fd(), sockopt::RcvBuf, &1)?;
    let ours = socket.try_clone()?;
    let (begun, begins) = mpsc::channel();
    let (gate, gated) = mpsc::channel::<()>();
    let mut scanner = Scanner::default();
    let mut first = true;
    let enumerate = move || {
        let list = scanner.scan();
        if !std::mem::take(&mut first) {
            // Later enumerations are held after they looked; when the gate is gone they are not.
            begun.send(()).ok();
            gated.recv().ok();
        }
        list
    };
    let (watcher, mut devices) = Watcher::over(socket, NEVER, enumerate)?;
    // Dropped before the watcher, which waits for its thread.
    let gate = gate;
    let disk = Loop::add();
    watcher.waker().wake();
    begins.recv_timeout(LIMIT)?;
    // The thread is held in an enumeration that has not seen the disk attached, and does not read.
    disk.attach();
    for _ in 0..50 {
        disk.poke();
    }
    settle();
    assert!(lost(&ours) > 0, "the socket overflowed");
    drop(gate);
    wait(&mut devices, |list| disk.is_in(list));
    // And it still hears.
    disk.detach();
    wait(&mut devices, |list| !disk.is_in(list));
    Ok(())
}

fn table(point: &str) -> AttachTable {
    let settings = AttachSettings {
        points: vec![point.into()],
        ..AttachSettings::default()
    };
    [("images".to_owned(), settings)].into()
}

fn decided() -> Result<(), Failed> {
    let disk = Loop::attached();
    settle();
    let list = scan()?;
    let device = disk.found(&list).expect("it is attached");
    let (on, off) = (
        DeviceSettings {
            loops: true,
            ..DeviceSettings::default()
        },
        DeviceSettings {
            loops: false,
            ..DeviceSettings::default()
        },
    );
    let all = table("/dev/loop*");
    let Decision::Ours(volume) = assess(device, &on, &all) else {
        panic!("it is listed");
    };
    assert!(volume.id.starts_with("disk.raw-"), "{}", volume.id);
    assert_eq!(volume.node, disk.node());
    for (settings, attach) in [
        (&off, &all),
        (&on, &table("/dev/loop0")),
        (&on, &AttachTable::new()),
    ] {
        assert!(matches!(
            assess(device, settings, attach),
            Decision::Ignored(_)
        ));
    }

    // Such a loop is what evidence is read through.
    let over = Loop::add();
    tool(
        "losetup",
        &[
            "-r",
            over.node().to_str().unwrap(),
            disk.node().to_str().unwrap(),
        ],
    );
    settle();
    let list = scan()?;
    let found = over.found(&list).expect("it is attached");
    let Decision::Ignored(ignored) = assess(found, &on, &all) else {
        panic!("it is a loop over a loop");
    };
    assert_eq!(ignored.reason, "it is a loop over another device");
    let below = disk.found(&list).unwrap();
    assert!(below.users.is_empty(), "reading it is no use of it");
    Ok(())
}

fn mounted() -> Result<(), Failed> {
    let disk = Loop::attached();
    let place = tempfile::tempdir()?;
    tool("mkfs.ext4", &["-q", "-F", disk.node().to_str().unwrap()]);
    settle();
    tool(
        "mount",
        &["-o".into(), "ro".into(), disk.node(), place.path().into()],
    );
    let list = scan()?;
    let device = disk.found(&list).unwrap();
    let decision = assess(
        device,
        &DeviceSettings {
            loops: true,
            ..DeviceSettings::default()
        },
        &table("/dev/loop*"),
    );
    let Decision::Ignored(ignored) = decision else {
        panic!("it is mounted");
    };
    let start = format!(
        "{} is mounted at {}",
        disk.node().display(),
        place.path().display()
    );
    assert!(ignored.reason.starts_with(&start), "{}", ignored.reason);
    Ok(())
}

fn list_is_in_order() -> Result<(), Failed> {
    let (used, unused) = (Loop::attached(), Loop::add());
    settle();
    let list = scan()?;
    assert!(used.is_in(&list) && !unused.is_in(&list));
    assert!(list.is_sorted_by(|one, other| one.name < other.name));
    for device in &list {
        assert!(device.node.starts_with("/dev"), "{device:?}");
        assert!(["disk", "partition"].contains(&device.kind.as_str()));
    }
    Ok(())
}
