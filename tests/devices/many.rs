//! Ten thousand real messages of a real udevd, passed on late, in another order, twice or not at all.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use dfagent::device::monitor::listen;
use dfagent::device::{DeviceSnapshot, Scanner, Watcher, scan};
use libtest_mimic::Failed;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::lab::dice::Dice;
use super::{CONTROL, Loop, settle, wait};

const EVENTS: usize = 10_000;
const DISKS: usize = 8;

/// Events that udevd has not dealt with yet, at the most.
const AHEAD: usize = 400;

/// What may be lost is found by looking again.
const RECONCILE: Duration = Duration::from_secs(1);

/// Messages that the relay keeps back.
const KEPT: usize = 100;

/// Between udevd and the watcher.
struct Relay {
    heard: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    thread: thread::JoinHandle<usize>,
}

impl Relay {
    fn start(from: OwnedFd, to: UnixDatagram) -> Self {
        let (heard, over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (count, is_over) = (Arc::clone(&heard), Arc::clone(&over));
        let thread = thread::spawn(move || pass_on(File::from(from), &to, &count, &is_over));
        Self {
            heard,
            over,
            thread,
        }
    }

    fn heard(&self) -> usize {
        self.heard.load(Ordering::SeqCst)
    }

    /// What is still kept back is lost; how many messages it sent.
    fn end(self) -> usize {
        self.over.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

fn pass_on(mut from: File, to: &UnixDatagram, heard: &AtomicUsize, over: &AtomicBool) -> usize {
    let (mut dice, mut sent) = (Dice::new("messages"), 0);
    let mut kept: Vec<Vec<u8>> = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    while !over.load(Ordering::SeqCst) {
        let mut waiting = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
        poll(&mut waiting, PollTimeout::from(50_u16)).unwrap();
        while let Ok(count) = from.read(&mut buffer) {
            heard.fetch_add(1, Ordering::SeqCst);
            kept.push(buffer[..count].to_vec());
            // None, one or two of those that came so far, of which each may come again.
            for _ in 0..dice.roll_below(3) {
                let Some(place) = (!kept.is_empty()).then(|| dice.index(kept.len())) else {
                    break;
                };
                // What finds no room is lost, as it is on udev's own socket.
                sent += usize::from(to.send(&kept[place]).is_ok());
                if dice.roll_below(2) == 0 {
                    kept.swap_remove(place);
                }
            }
            if kept.len() > KEPT {
                kept.swap_remove(dice.index(kept.len()));
            }
        }
    }
    sent
}

/// What counts about a device: its size, its attachment, its file.
type Facts = (u64, Option<u64>, String);

/// Those of the disks that are attached, by the kernel's own word.
fn truth(disks: &[Loop]) -> BTreeMap<String, Facts> {
    let facts = |disk: &Loop| {
        let folder = format!("/sys/block/{}", disk.name());
        let text = |name: &str| {
            let text = fs::read_to_string(format!("{folder}/{name}")).ok()?;
            Some(text.trim().to_owned())
        };
        let file = text("loop/backing_file")?;
        let sectors: u64 = text("size")?.parse().unwrap();
        let sequence = text("diskseq").map(|text| text.parse().unwrap());
        Some((disk.name(), (sectors * 512, sequence, file)))
    };
    disks.iter().filter_map(facts).collect()
}

/// The same as the watcher's list says.
fn told(disks: &[Loop], list: &[DeviceSnapshot]) -> BTreeMap<String, Facts> {
    let facts = |disk: &Loop| {
        let device = disk.found(list)?;
        let file = device.attributes.get("loop/backing_file").cloned();
        let facts = (device.size, device.sequence, file.unwrap_or_default());
        Some((disk.name(), facts))
    };
    disks.iter().filter_map(facts).collect()
}

/// Takes a device away or makes it again, through loop-control; whether that was possible.
fn add_or_remove(disk: &Loop) -> bool {
    let is_there = fs::exists(format!("/sys/block/{}", disk.name())).unwrap();
    let request = if is_there { "0x4C81" } else { "0x4C80" };
    let mut control = Command::new("python3");
    control.args(["-c", CONTROL, request, &disk.number.to_string()]);
    control.output().is_ok_and(|done| done.status.success())
}

pub fn ten_thousand() -> Result<(), Failed> {
    let disks: Vec<Loop> = (0..DISKS).map(|_| Loop::add()).collect();
    let (theirs, ours) = UnixDatagram::pair()?;
    theirs.set_nonblocking(true)?;
    ours.set_nonblocking(true)?;
    let relay = Relay::start(listen()?, ours);
    let mut scanner = Scanner::default();
    let (_watcher, mut devices) = Watcher::over(theirs.into(), RECONCILE, move || scanner.scan())?;
    let mut dice = Dice::new("deeds");
    let (mut made, mut toggled, mut controlled) = (0, 0, 0);
    while relay.heard() < EVENTS {
        if made >= relay.heard() + AHEAD {
            thread::park_timeout(Duration::from_millis(5));
            continue;
        }
        let disk = &disks[dice.index(DISKS)];
        match dice.roll_below(100) {
            // Refused while udevd looks at it or an image is attached.
            0 => controlled += usize::from(add_or_remove(disk)),
            1..5 => toggled += usize::from(disk.toggle()),
            _ => made += usize::from(disk.poked()),
        }
    }
    settle();
    let (heard, sent) = (relay.heard(), relay.end());
    eprintln!(
        "{heard} messages, {sent} passed on; {toggled} changes, {controlled} added or removed"
    );
    assert!(toggled > 50 && controlled > 10, "{toggled} {controlled}");
    assert!(sent > heard / 2, "{sent}");
    let truth = truth(&disks);
    wait(&mut devices, |list| told(&disks, list) == truth);
    assert_eq!(told(&disks, &scan()?), truth);
    Ok(())
}
