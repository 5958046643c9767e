//! A thread that keeps a list of the block devices fresh.
//!
//! It listens first and enumerates then, so that nothing falls between. What an event says is never read: it is
//! a hint to enumerate again, and so is an event that was lost because the socket overflowed. It must not decide
//! anything, and nothing that reads the list can make it wait.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::watch;

use super::{DeviceSnapshot, Scanner};

/// Events of one attachment come close together; one enumeration serves them all.
const QUIET: Duration = Duration::from_millis(30);

/// A storm of events may not hold up the list for longer.
const STORM: Duration = Duration::from_millis(300);

/// `FileDescriptorName=` of the socket.
const SOCKET: &str = "devices";

/// The newest list of devices.
pub type Devices = watch::Receiver<Vec<DeviceSnapshot>>;

/// Watches block devices until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    waker: Waker,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Asks for an enumeration now.
#[derive(Clone, Debug)]
pub struct Waker(Arc<UnixStream>);

impl Waker {
    /// Asks. A list that was begun after this call follows.
    pub fn wake(&self) {
        // A full socket has woken the thread already, and a closed one has no thread to wake.
        drop((&*self.0).write(&[0]));
    }
}

/// The socket on which the service manager listens for us (`dfagent.socket`): udev's messages come to the machine's own
/// network namespace only, and the agent is in one of its own.
fn handed_over() -> Option<OwnedFd> {
    let mut given = sd_notify::listen_fds_with_names().ok()?;
    let (number, _) = given.find(|(_, name)| name == SOCKET)?;
    let socket = crate::sys::take_descriptor(number);
    fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).ok()?;
    Some(socket)
}

/// Joins the multicast group in which udev tells of block devices that it has dealt with.
///
/// # Errors
/// There is no such group, or no descriptor is left.
pub fn listen() -> io::Result<OwnedFd> {
    let socket = udev::MonitorBuilder::new()?
        .match_subsystem("block")?
        .listen()?;
    // The copy stays bound when libudev closes its own; the thread needs no more of it than that it is readable.
    socket.as_fd().try_clone_to_owned()
}

impl Watcher {
    /// Starts to watch. The first list is there when this returns; the receiver counts it as new, as it does
    /// each later enumeration, also one that found nothing new. Without hints there is one each `reconcile`.
    ///
    /// # Errors
    /// udev cannot be listened to, or the first enumeration fails.
    pub fn start(reconcile: Duration) -> io::Result<(Self, Devices)> {
        let mut scanner = Scanner::default();
        let events = handed_over().map_or_else(listen, Ok)?;
        Self::over(events, reconcile, move || scanner.scan())
    }

    /// The same over another source of hints, which must not block when read, and another enumeration.
    ///
    /// # Errors
    /// The first enumeration fails, or no thread can be started.
    pub fn over(
        events: OwnedFd,
        reconcile: Duration,
        mut scan: impl FnMut() -> io::Result<Vec<DeviceSnapshot>> + Send + 'static,
    ) -> io::Result<(Self, Devices)> {
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let (sender, mut devices) = watch::channel(scan()?);
        devices.mark_changed();
        let stop = Arc::new(AtomicBool::new(false));
        let mut ear = Ear {
            events: Some(File::from(events)),
            wake,
            stop: Arc::clone(&stop),
        };
        let work = move || {
            while ear.hears(reconcile) {
                match scan() {
                    Ok(list) => drop(sender.send_replace(list)),
                    Err(error) => tracing::warn!(%error, "failed to list block devices"),
                }
            }
        };
        let thread = thread::Builder::new().name("devices".into()).spawn(work)?;
        let watcher = Self {
            waker: Waker(Arc::new(waker)),
            stop,
            thread: Some(thread),
        };
        Ok((watcher, devices))
    }

    /// A handle that asks for an enumeration now.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// What the thread listens to.
struct Ear {
    /// None after it broke.
    events: Option<File>,
    wake: UnixStream,
    stop: Arc<AtomicBool>,
}

impl Ear {
    /// Waits for a hint or the time; false when it is time to stop.
    fn hears(&mut self, reconcile: Duration) -> bool {
        if self.ready_within(reconcile) {
            self.settle();
        }
        !self.stop.load(Ordering::SeqCst)
    }

    /// Takes hints until none has come for a while, so that a storm is one enumeration. What comes after this
    /// is seen by the next call, so every hint is followed by an enumeration that began after it.
    fn settle(&mut self) {
        let end = Instant::now() + STORM;
        loop {
            self.drain(end);
            let left = end.saturating_duration_since(Instant::now());
            let stopped = self.stop.load(Ordering::SeqCst);
            if stopped || left.is_zero() || !self.ready_within(QUIET.min(left)) {
                return;
            }
        }
    }

    /// Whether there is something to read, at the latest after this time.
    fn ready_within(&mut self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut waiting = vec![PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
            let events = self.events.as_ref();
            waiting.extend(events.map(|file| PollFd::new(file.as_fd(), PollFlags::POLLIN)));
            match poll(&mut waiting, timeout) {
                Ok(count) => return count > 0,
                Err(Errno::EINTR) => {}
                Err(error) => {
                    tracing::warn!(%error, "failed to wait for events of block devices");
                    return false;
                }
            }
        }
    }

    /// Reads what is there, until `end` at the latest.
    fn drain(&mut self, end: Instant) {
        let mut buffer = [0; 256];
        while Instant::now() < end && matches!((&self.wake).read(&mut buffer), Ok(1..)) {}
        let Some(mut events) = self.events.as_ref() else {
            return;
        };
        // A datagram is taken whole even though the buffer is shorter.
        while Instant::now() < end {
            match events.read(&mut buffer) {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Events were lost, which is a hint like any other.
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => {}
                other => {
                    let reason = other.err().map(|error| error.to_string());
                    let reason = reason.unwrap_or_else(|| "it was closed".into());
                    tracing::warn!(%reason, "failed to hear of block devices; they are only looked for from time to time");
                    self.events = None;
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::os::unix::net::UnixDatagram;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(3600);
    const LIMIT: Duration = Duration::from_secs(20);

    /// A machine whose devices are a set of names, and a watcher over it.
    struct Machine {
        truth: Arc<Mutex<BTreeSet<String>>>,
        scans: Arc<AtomicUsize>,
        events: UnixDatagram,
        watcher: Watcher,
        devices: Devices,
    }

    impl Machine {
        fn new(reconcile: Duration) -> Self {
            let (theirs, events) = UnixDatagram::pair().unwrap();
            theirs.set_nonblocking(true).unwrap();
            let truth = Arc::new(Mutex::new(BTreeSet::new()));
            let scans = Arc::new(AtomicUsize::new(0));
            let (names, count) = (Arc::clone(&truth), Arc::clone(&scans));
            let scan = move || {
                count.fetch_add(1, Ordering::SeqCst);
                Ok(list(&names.lock().unwrap()))
            };
            let (watcher, devices) = Watcher::over(theirs.into(), reconcile, scan).unwrap();
            Self {
                truth,
                scans,
                events,
                watcher,
                devices,
            }
        }

        fn wait_for_truth(&mut self) {
            let truth = list(&self.truth.lock().unwrap());
            wait(&mut self.devices, |devices| *devices == truth);
        }
    }

    fn list(names: &BTreeSet<String>) -> Vec<DeviceSnapshot> {
        let device = |name: &String| DeviceSnapshot {
            name: name.clone(),
            ..DeviceSnapshot::default()
        };
        names.iter().map(device).collect()
    }

    fn wait(devices: &mut Devices, until: impl FnMut(&Vec<DeviceSnapshot>) -> bool) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let waiting = async { tokio::time::timeout(LIMIT, devices.wait_for(until)).await };
        drop(runtime.block_on(waiting).unwrap().unwrap());
    }

    /// Numbers that look random and are the same each time (xorshift).
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % limit
        }
    }

    #[test]
    fn the_first_list_is_there_at_once_and_counts_as_new() {
        let machine = Machine::new(LONG);
        assert!(machine.devices.has_changed().unwrap());
        assert_eq!(machine.scans.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn after_ten_thousand_events_doubled_late_and_lost_the_list_is_the_truth() {
        let mut machine = Machine::new(Duration::from_millis(500));
        let mut dice = Dice(0x5eed);
        let mut late = 0;
        for _ in 0..10_000 {
            let name = format!("nvme{}n1", dice.below(40));
            let mut truth = machine.truth.lock().unwrap();
            if !truth.remove(&name) {
                truth.insert(name);
            }
            drop(truth);
            // None, one or two now, and up to one that comes when something else has happened since.
            let now = dice.below(3) + std::mem::take(&mut late);
            late = dice.below(2);
            for _ in 0..now {
                machine.events.send(b"add@/devices/x").unwrap();
            }
        }
        machine.wait_for_truth();
        let scans = machine.scans.load(Ordering::SeqCst);
        assert!(scans < 500, "a storm is few enumerations, not {scans}");
    }

    #[test]
    fn without_hints_nothing_is_enumerated() {
        let mut machine = Machine::new(LONG);
        machine.devices.borrow_and_update();
        machine.truth.lock().unwrap().insert("sda".into());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let changed = async {
            tokio::time::timeout(Duration::from_millis(500), machine.devices.changed()).await
        };
        assert!(runtime.block_on(changed).is_err());
        assert_eq!(machine.scans.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn without_hints_the_time_brings_the_truth() {
        let mut machine = Machine::new(Duration::from_millis(50));
        machine.truth.lock().unwrap().insert("sda".into());
        machine.wait_for_truth();
    }

    #[test]
    fn the_waker_brings_the_truth() {
        let mut machine = Machine::new(LONG);
        machine.truth.lock().unwrap().insert("sda".into());
        machine.watcher.waker().wake();
        machine.wait_for_truth();
    }

    #[test]
    fn a_burst_is_one_enumeration() {
        let mut machine = Machine::new(LONG);
        machine.truth.lock().unwrap().insert("sda".into());
        for _ in 0..5 {
            machine.events.send(b"add").unwrap();
        }
        machine.wait_for_truth();
        let scans = machine.scans.load(Ordering::SeqCst);
        // The second may begin before the last event is sent on a busy machine.
        assert!((2..=3).contains(&scans), "{scans}");
    }

    #[test]
    fn a_failed_enumeration_is_followed_by_the_next() {
        let (theirs, events) = UnixDatagram::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let (told, hear) = mpsc::channel();
        let mut count = 0;
        let scan = move || {
            count += 1;
            told.send(count).unwrap();
            match count {
                2 => Err(io::Error::other("no device tree")),
                _ => Ok(list(&BTreeSet::from([format!("sd{count}")]))),
            }
        };
        let (_watcher, mut devices) = Watcher::over(theirs.into(), LONG, scan).unwrap();
        assert_eq!(hear.recv_timeout(LIMIT), Ok(1));
        events.send(b"add").unwrap();
        assert_eq!(hear.recv_timeout(LIMIT), Ok(2));
        events.send(b"add").unwrap();
        wait(&mut devices, |devices| {
            devices.iter().any(|one| one.name == "sd3")
        });
    }

    #[test]
    fn a_closed_source_of_events_leaves_the_timer() {
        let (theirs, events) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let scans = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&scans);
        let scan = move || {
            let number = count.fetch_add(1, Ordering::SeqCst);
            Ok(list(&BTreeSet::from([format!("sd{number}")])))
        };
        let (_watcher, mut devices) =
            Watcher::over(theirs.into(), Duration::from_millis(50), scan).unwrap();
        drop(events);
        wait(&mut devices, |devices| {
            devices.iter().any(|one| one.name == "sd4")
        });
    }

    #[test]
    fn the_end_is_prompt_and_a_waker_may_outlive_it() {
        let machine = Machine::new(LONG);
        let waker = machine.watcher.waker();
        let mut devices = machine.devices.clone();
        drop(machine.watcher);
        waker.wake();
        devices.mark_unchanged();
        assert!(devices.has_changed().is_err(), "the sender is gone");
    }
}
