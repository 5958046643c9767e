//! The real agent beside a real udevd: volumes come and go, the agent and the machine fail, and every volume gets
//! its timeline once.
//!
//! The program starts itself again inside tests/lab/udev.sh, so that udevd, /dev and /run are its own. Loop devices
//! belong to the whole machine: only numbers that were added here are touched, and they are removed at the end.
//!
//! Agent, cage, disks and udevd are real everywhere. Plaso is real where it matters what it reads; where an agent is
//! killed a hundred times, a recording of a real run stands for it, because its start alone takes seconds.
//! `DFAGENT_TEST_KILLS=30` is fewer of these kills, for a quick look; `DFAGENT_TEST_SEED` repeats.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    dead_code,
    unreachable_pub,
    reason = "a test fails by panicking and keeps no state that a crash may not tear; it uses a part of what \
              it shares"
)]

#[path = "agent/crashes.rs"]
mod crashes;
#[path = "agent/daemon.rs"]
mod daemon;
#[path = "agent/deliveries.rs"]
mod deliveries;
#[path = "agent/disks.rs"]
mod disks;
#[path = "agent/ec2.rs"]
mod ec2;
#[path = "agent/endings.rs"]
mod endings;
mod lab;
#[path = "agent/life.rs"]
mod life;
#[path = "agent/loops.rs"]
mod loops;
#[path = "agent/scene.rs"]
mod scene;
#[path = "agent/settings.rs"]
mod settings;
#[path = "cage/standin.rs"]
mod standin;
#[path = "agent/storage.rs"]
mod storage;
#[path = "agent/streams.rs"]
mod streams;
#[path = "agent/swaps.rs"]
mod swaps;
#[path = "agent/volumes.rs"]
mod volumes;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Set for the program inside the namespaces.
const INSIDE: &str = "DFAGENT_TEST_INSIDE";

fn main() {
    if std::env::var_os(INSIDE).is_none() && can_be_inside() {
        let own = std::env::current_exe().unwrap();
        let mut command = Command::new(lab::root().join("tests/lab/udev.sh"));
        command.arg(own).args(std::env::args_os().skip(1));
        let error = command.env(INSIDE, "1").exec();
        panic!("tests/lab/udev.sh cannot be started: {error}");
    }
    let (one, two) = (disks::LazyDisk::with_logs(1), disks::LazyDisk::with_logs(2));
    let mut trials = volumes::trials(&one, &two);
    trials.extend(swaps::trials(&two));
    trials.extend(storage::trials(&one, &two));
    trials.extend(settings::trials(&one));
    trials.extend(life::trials(&one, &two));
    trials.extend(deliveries::trials(&two));
    trials.extend(streams::trials(&two));
    trials.extend(ec2::trials(&two));
    trials.extend(endings::trials(&two));
    trials.extend(crashes::trials(&two));
    lab::run(trials);
}

fn can_be_inside() -> bool {
    nix::unistd::geteuid().is_root() && has_udevd() && Path::new("/dev/loop-control").exists()
}

fn has_udevd() -> bool {
    [
        "/usr/lib/systemd/systemd-udevd",
        "/lib/systemd/systemd-udevd",
    ]
    .iter()
    .any(|path| Path::new(path).exists())
}

/// What every trial here needs.
fn needs() -> Vec<lab::Need> {
    use lab::Need;
    vec![
        Need::Root,
        Need::Plaso,
        Need::Driver("ext4"),
        Need::Other(has_udevd(), "systemd-udevd"),
        Need::Other(Path::new("/dev/loop-control").exists(), "loop devices"),
        Need::Program("mkfs.ext4"),
        Need::Program("losetup"),
    ]
}
