//! What is attached now, against the jobs there are.

use std::collections::BTreeMap;
use std::path::Path;

use super::job::{Job, State};
use super::{Dispatcher, Effect, Entry, Now, Why};
use crate::device::DeviceSnapshot;
use crate::policy::{Decision, Ignored, Volume, assess};

impl Dispatcher {
    /// The devices that are there now: new volumes get jobs, jobs without their volume are interrupted, jobs
    /// whose volume came back go on. The same list twice changes nothing.
    pub fn devices(&mut self, devices: &[DeviceSnapshot], now: &Now) -> Vec<Effect> {
        let (volumes, ignored) = self.sort_out(devices);
        self.ignored = ignored;
        let mut effects = Vec::new();
        for id in self.ids(|_| true) {
            if !volumes.contains_key(&id) {
                self.absent(&id, devices, now, &mut effects);
            }
        }
        for (id, volume) in volumes {
            if !self.entries.contains_key(&id) {
                self.open(&volume, now, &mut effects);
            }
            self.attached(&id, volume, now, &mut effects);
        }
        self.start_queued(now, &mut effects);
        effects
    }

    /// Ours by identity, and the rest with reasons, but for the loops that a volume is read by. Of two devices
    /// with one identity the one that is known already is taken, else the one that was attached first.
    fn sort_out(&self, devices: &[DeviceSnapshot]) -> (BTreeMap<String, Volume>, Vec<Ignored>) {
        let (mut volumes, mut ignored) = (BTreeMap::<String, Volume>::new(), Vec::new());
        for device in devices {
            let decision = match self.at_work(device) {
                Some(volume) => Decision::Ours(volume.clone()),
                None => assess(device, &self.rules.devices, &self.rules.attach),
            };
            match decision {
                Decision::PartOfDisk => {}
                Decision::Ignored(_) if self.is_read_by(device) => {}
                Decision::Ignored(one) => ignored.push(one),
                Decision::Ours(volume) => {
                    let Some(other) = volumes.remove(&volume.id) else {
                        volumes.insert(volume.id.clone(), volume);
                        continue;
                    };
                    let (taken, left) = self.prefer(other, volume);
                    ignored.push(Ignored {
                        reason: format!(
                            "it is {}, which is attached as {} already",
                            left.id,
                            taken.node.display()
                        ),
                        node: left.node,
                        size: left.size,
                    });
                    volumes.insert(taken.id.clone(), taken);
                }
            }
        }
        (volumes, ignored)
    }

    /// The volume that is read from this device: it stays ours to its end, whatever newer rules say.
    fn at_work(&self, device: &DeviceSnapshot) -> Option<&Volume> {
        let at_work = self.entries.values().filter(|one| one.attempt.is_some());
        let mut volumes = at_work.map(|entry| &entry.job.volume);
        volumes.find(|volume| is_on(volume, device))
    }

    /// Whether it is a loop over a volume that is at work.
    fn is_read_by(&self, device: &DeviceSnapshot) -> bool {
        let backing = device.attributes.get("loop/backing_file");
        let mut at_work = self
            .entries
            .values()
            .filter(|entry| entry.attempt.is_some());
        backing.is_some_and(|path| at_work.any(|entry| entry.job.volume.node == Path::new(path)))
    }

    fn prefer(&self, one: Volume, other: Volume) -> (Volume, Volume) {
        let known = self
            .entries
            .get(&one.id)
            .and_then(|entry| entry.present.as_ref());
        let is_known = |volume: &Volume| known.is_some_and(|known| same_attachment(known, volume));
        if is_known(&one) {
            (one, other)
        } else if is_known(&other) || other.sequence < one.sequence {
            (other, one)
        } else {
            (one, other)
        }
    }

    fn open(&mut self, volume: &Volume, now: &Now, effects: &mut Vec<Effect>) {
        let rule = self
            .rules
            .attach
            .get(&volume.entry)
            .cloned()
            .unwrap_or_default();
        let some = |text: String| (!text.is_empty()).then_some(text);
        let mountpoint = Some(rule.mountpoint).filter(|path| !path.as_os_str().is_empty());
        let job = Job {
            id: volume.id.clone(),
            volume: volume.clone(),
            case: some(rule.case),
            priority: rule.priority,
            folder: self.rules.jobs.join(&volume.id),
            mountpoint,
            state: State::Queued,
            starts: 0,
            crashes: 0,
            created: now.wall.clone(),
            changed: now.wall.clone(),
            hooks_due: Vec::new(),
            hooks_done: Vec::new(),
            wish: None,
            delivery: None,
        };
        let what = format!("attached as {}", volume.point);
        let entry = Entry {
            job: job.clone(),
            present: None,
            attempt: None,
        };
        self.entries.insert(volume.id.clone(), entry);
        effects.push(Effect::Keep {
            job: Box::new(job),
            what,
        });
    }

    fn attached(&mut self, id: &str, volume: Volume, now: &Now, effects: &mut Vec<Effect>) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        let returned = entry.present.is_none();
        entry.present = Some(volume.clone());
        if entry.attempt.is_some() {
            // What is being read is the attachment of then.
            if !same_attachment(&entry.job.volume, &volume) {
                self.stop_attempt(id, Why::Gone, effects);
            }
            return;
        }
        self.requeue(id, returned, now, effects);
    }

    /// Queues a job whose volume is here again: one that was interrupted, or released from an earlier
    /// attachment. An attachment that broke is not tried again, whatever a late list of devices says.
    pub(super) fn requeue(
        &mut self,
        id: &str,
        returned: bool,
        now: &Now,
        effects: &mut Vec<Effect>,
    ) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        let Some(volume) = entry.present.clone() else {
            return;
        };
        let new = !same_attachment(&entry.job.volume, &volume);
        let goes_on = match entry.job.state {
            State::Interrupted { .. } => (new || returned) && !self.stopping,
            State::Released => new && !self.stopping,
            // A job that waits for its turn or for a person is begun from where its volume is by then.
            State::Queued | State::Waiting { .. } | State::NeedsOperator { .. } | State::Parked => {
                entry.job.volume = volume;
                return;
            }
            // Nothing of the volume is needed any more.
            State::Delivering { .. } => return,
            State::Running | State::Cancelled | State::Done { .. } => return,
        };
        if goes_on {
            let what = format!("attached as {}", volume.point);
            entry.job.volume = volume;
            self.change(id, State::Queued, &what, now, effects);
        }
    }

    fn absent(&mut self, id: &str, all: &[DeviceSnapshot], now: &Now, effects: &mut Vec<Effect>) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        entry.present = None;
        if entry.attempt.is_some() {
            self.stop_attempt(id, Why::Gone, effects);
        } else if matches!(entry.job.state, State::Queued | State::Waiting { .. }) {
            let volume = &entry.job.volume;
            let (why, what) = if all.iter().any(|device| is_on(volume, device)) {
                let why = "the volume is attached, but the configuration does not take it any more, or it is in use";
                (why, "no longer evidence before its turn")
            } else {
                ("the volume is not attached", "detached before its turn")
            };
            let why = why.to_owned();
            self.change(id, State::Interrupted { why }, what, now, effects);
        }
    }
}

/// Whether the device is this attachment of the volume.
fn is_on(volume: &Volume, device: &DeviceSnapshot) -> bool {
    volume.node == device.node && volume.sequence == device.sequence
}

/// Whether both are one attachment: the same node since the same moment.
fn same_attachment(one: &Volume, other: &Volume) -> bool {
    one.node == other.node && one.sequence == other.sequence
}
