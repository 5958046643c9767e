//! The world around a dispatcher under test, and what must hold in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::job::{HookRecord, Job, State};
use super::super::{Action, Dispatcher, Effect, MOST_CRASHES, Now, Outcome, Rules};
use super::steps::{Step, VOLUMES};
use crate::config::worker::{AttachSettings, DeviceSettings, HookSettings};
use crate::delivery::receipt::Delivered;
use crate::device::DeviceSnapshot;
use crate::plaso::verdict::Level;

/// Rules that take these volumes.
fn rules(taken: &BTreeSet<usize>) -> Rules {
    let evidence = AttachSettings {
        points: taken.iter().map(|one| point(*one)).collect(),
        case: "4711".into(),
        ..AttachSettings::default()
    };
    let hook = HookSettings {
        on: vec![Level::Complete],
        run: vec!["/bin/true".into()],
        ..HookSettings::default()
    };
    Rules {
        jobs: "/jobs".into(),
        devices: DeviceSettings::default(),
        attach: BTreeMap::from([("evidence".into(), evidence)]),
        hooks: BTreeMap::from([("a".into(), hook.clone()), ("b".into(), hook)]),
    }
}

fn point(number: usize) -> String {
    format!("/dev/sd{}", ["f", "g", "h"][number])
}

pub(super) fn device(number: usize, sequence: u64) -> DeviceSnapshot {
    let controller = crate::device::ControllerIdentity {
        vendor: 0x1d0f,
        serial: format!("vol{number:017x}"),
        model: "Amazon Elastic Block Store".into(),
        attachment: point(number),
    };
    DeviceSnapshot {
        name: format!("nvme{number}n1"),
        node: format!("/dev/nvme{number}n1").into(),
        path: format!("/devices/pci/nvme{number}"),
        kind: "disk".into(),
        size: 1 << 30,
        sequence: Some(sequence),
        controller: Some(controller),
        ..DeviceSnapshot::default()
    }
}

pub(super) fn id(number: usize) -> String {
    format!("vol-{number:017x}")
}

/// The world around a dispatcher: devices, attempts at work, and the ledger, checked at every effect.
pub(super) struct World {
    pub(super) dispatcher: Dispatcher,
    pub(super) kept: BTreeMap<String, Job>,
    pub(super) attached: BTreeMap<usize, u64>,
    before: Vec<DeviceSnapshot>,
    /// What the dispatcher was shown last.
    shown: Vec<DeviceSnapshot>,
    sequence: u64,
    pub(super) at_work: BTreeSet<String>,
    pub(super) told_to_end: BTreeSet<String>,
    hooks: BTreeSet<(String, String)>,
    done: BTreeMap<String, u32>,
    asked_anew: BTreeMap<String, u32>,
    seconds: u64,
    stopping: bool,
    /// What was handed over: the number of the try.
    pub(super) outbox: BTreeMap<String, u32>,
    held: bool,
    pub(super) taken: BTreeSet<usize>,
    /// Effects that are still carried out before the agent is killed.
    pub(super) fuse: Option<usize>,
}

impl World {
    pub(super) fn new() -> Self {
        let taken = BTreeSet::from_iter(0..VOLUMES);
        let (dispatcher, effects) = Dispatcher::restore(rules(&taken), Vec::new(), &now(0));
        assert!(effects.is_empty());
        Self {
            dispatcher,
            kept: BTreeMap::new(),
            attached: BTreeMap::new(),
            before: Vec::new(),
            shown: Vec::new(),
            sequence: 0,
            at_work: BTreeSet::new(),
            told_to_end: BTreeSet::new(),
            hooks: BTreeSet::new(),
            done: BTreeMap::new(),
            asked_anew: BTreeMap::new(),
            seconds: 0,
            stopping: false,
            outbox: BTreeMap::new(),
            held: false,
            taken,
            fuse: None,
        }
    }

    pub(super) fn now(&self) -> Now {
        now(self.seconds)
    }

    fn list(&self) -> Vec<DeviceSnapshot> {
        let attached = self.attached.iter();
        attached
            .map(|(one, sequence)| device(*one, *sequence))
            .collect()
    }

    pub(super) fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match &mut self.fuse {
                Some(0) => return,
                Some(left) => *left -= 1,
                None => {}
            }
            match effect {
                Effect::Keep { job, .. } => {
                    let was_running = self.kept.get(&job.id);
                    let was_running = was_running.is_some_and(|one| one.state == State::Running);
                    if was_running && has_result(&job) {
                        *self.done.entry(job.id.clone()).or_default() += 1;
                    }
                    self.kept.insert(job.id.clone(), *job);
                }
                Effect::Start { id } => {
                    let kept = &self.kept[&id];
                    assert_eq!(
                        kept.state,
                        State::Running,
                        "the intent is kept before the act"
                    );
                    assert!(!self.stopping, "nothing is started while stopping");
                    assert!(!self.held, "nothing is started while jobs are held");
                    assert!(self.at_work.insert(id.clone()), "{id} is at work twice");
                    let done = self.done.get(&id).copied().unwrap_or_default();
                    let anew = self.asked_anew.get(&id).copied().unwrap_or_default();
                    assert!(done <= anew, "{id} was done and nobody asked for it again");
                }
                Effect::Stop { id } => {
                    assert!(self.at_work.contains(&id), "{id} is not at work");
                    self.told_to_end.insert(id);
                }
                Effect::Abandon { id } => {
                    assert!(self.at_work.contains(&id), "{id} is not at work");
                    let node = &self.kept[&id].volume.node;
                    let sequence = self.kept[&id].volume.sequence;
                    let there = self
                        .shown
                        .iter()
                        .any(|one| one.node == *node && one.sequence == sequence);
                    assert!(!there, "{id} is read from a volume that is there");
                    self.told_to_end.insert(id);
                }
                Effect::RunHook { id, name } => {
                    assert!(!self.stopping, "no hook begins while stopping");
                    assert!(self.kept[&id].hooks_due.contains(&name));
                    assert!(self.hooks.insert((id, name)), "a hook runs twice at once");
                }
                Effect::SetAside { folder } => {
                    let id = folder.file_name().unwrap().to_str().unwrap();
                    assert!(!self.outbox.contains_key(id), "{id} is still delivered");
                }
                Effect::Withdraw { id } => {
                    self.outbox.remove(&id);
                }
                Effect::Redeliver { id } => self.remind(&id),
                Effect::Tidy { id } => {
                    let kept = &self.kept[&id];
                    assert!(matches!(kept.state, State::Done { .. }), "{kept:?}");
                    let level = kept.delivery.as_ref().and_then(|one| one.level);
                    assert_eq!(level, Some(Level::Complete));
                    self.outbox.remove(&id);
                }
            }
        }
    }

    pub(super) fn ended(&mut self, id: &str, how: u8) {
        if !self.at_work.remove(id) {
            return;
        }
        let asked = self.told_to_end.remove(id);
        let outcome = match how {
            0 | 1 => Outcome::Done([Level::Complete, Level::Partial][usize::from(how)]),
            2 => Outcome::Gone,
            3 => Outcome::Waits("room".into()),
            4 => Outcome::NeedsOperator {
                why: "why".into(),
                help: "help".into(),
            },
            6 | 7 => Outcome::Extracted([Level::Complete, Level::Partial][usize::from(how - 6)]),
            _ if asked => Outcome::Stopped,
            _ => Outcome::Done(Level::Complete),
        };
        if matches!(outcome, Outcome::Extracted(_)) {
            self.outbox.entry(id.to_owned()).or_default();
        }
        let now = self.now();
        let effects = self.dispatcher.ended(id, outcome.clone(), &now);
        self.carry_out(effects);
        if self.fuse.is_none() && !self.at_work.contains(id) {
            let twice = self.dispatcher.ended(id, outcome, &now);
            assert!(twice.is_empty(), "an attempt ended twice: {twice:?}");
        }
    }

    /// What the wish to try again comes to.
    fn remind(&mut self, id: &str) {
        let kept = &self.kept[id];
        assert!(matches!(kept.state, State::Delivering { .. }), "{kept:?}");
        let again = kept.delivery.as_ref().unwrap().again;
        if let Some(order) = self.outbox.get_mut(id) {
            *order = again.max(*order);
        }
    }

    /// A receipt is only believed where there is an order; the dispatcher is told of every one here.
    fn delivered(&mut self, id: &str, level: Level) {
        let before = self.dispatcher.job(id).cloned();
        let delivering = |job: &Job| matches!(job.state, State::Delivering { .. });
        if before.as_ref().is_some_and(delivering) && !self.outbox.contains_key(id) {
            return;
        }
        let delivered = Delivered {
            level,
            reasons: Vec::new(),
            documents: 1,
        };
        let now = self.now();
        let effects = self.dispatcher.delivered(id, delivered.clone(), None, &now);
        assert_eq!(effects.is_empty(), !before.as_ref().is_some_and(delivering));
        self.carry_out(effects);
        let twice = self.dispatcher.delivered(id, delivered, None, &now);
        assert!(twice.is_empty(), "delivered twice: {twice:?}");
    }

    pub(super) fn act(&mut self, id: &str, what: u8) {
        let action = match what {
            0 => Action::Retry { anew: false },
            1 => Action::Retry { anew: true },
            2 => Action::Cancel,
            _ => Action::Release,
        };
        let now = self.now();
        if let Ok((sentence, effects)) = self.dispatcher.act(action, id, &now) {
            assert!(!sentence.is_empty());
            let redelivers = effects
                .iter()
                .any(|one| matches!(one, Effect::Redeliver { .. }));
            if matches!(action, Action::Retry { .. }) && !redelivers {
                let done = self.done.get(id).copied().unwrap_or_default();
                self.asked_anew.insert(id.to_owned(), done);
            }
            self.carry_out(effects);
        }
    }

    pub(super) fn crash(&mut self) {
        self.at_work.clear();
        self.told_to_end.clear();
        self.hooks.clear();
        self.stopping = false;
        (self.fuse, self.held) = (None, false);
        let jobs: Vec<Job> = self.kept.values().cloned().collect();
        let now = self.now();
        let (dispatcher, effects) = Dispatcher::restore(rules(&self.taken), jobs, &now);
        self.dispatcher = dispatcher;
        self.carry_out(effects);
        self.tidy();
        self.look(false);
    }

    /// What an agent does about its outbox when it is started.
    fn tidy(&mut self) {
        for id in self.outbox.keys().cloned().collect::<Vec<_>>() {
            let job = &self.kept[&id];
            let level = job.delivery.as_ref().map(|delivery| delivery.level);
            match (&job.state, level) {
                (State::Done { .. }, Some(Some(Level::Complete)) | None)
                | (State::Cancelled, _) => {
                    self.outbox.remove(&id);
                }
                (State::Delivering { .. }, _) => self.remind(&id),
                _ => {}
            }
        }
    }

    pub(super) fn look(&mut self, late: bool) {
        let list = self.list();
        let shown = if late {
            self.before.clone()
        } else {
            list.clone()
        };
        self.before = list;
        self.shown.clone_from(&shown);
        let now = self.now();
        let effects = self.dispatcher.devices(&shown, &now);
        self.carry_out(effects);
        if self.fuse.is_some() {
            return;
        }
        let again = self.dispatcher.devices(&shown, &now);
        assert!(again.is_empty(), "the same list twice: {again:?}");
    }

    pub(super) fn step(&mut self, step: &Step) {
        let now = self.now();
        match step {
            Step::Attach(one) => {
                self.sequence += 1;
                self.attached.entry(*one).or_insert(self.sequence);
            }
            Step::Detach(one) => {
                self.attached.remove(one);
            }
            Step::Look { late } => self.look(*late),
            Step::Ended(one, how) => self.ended(&id(*one), *how),
            Step::Delivered(one, level) => self.delivered(&id(*one), *level),
            Step::Hold(held) => {
                self.held = *held;
                let why = held.then(|| "the server is away".to_owned());
                let effects = self.dispatcher.hold(why, &now);
                self.carry_out(effects);
            }
            Step::BreakOff => {
                let effects = self.dispatcher.break_off();
                assert!(self.held || effects.is_empty(), "stopped for nothing");
                self.carry_out(effects);
            }
            Step::CrashAfter(effects) => self.fuse = Some(*effects),
            Step::Progressed(one) => {
                let effects = self.dispatcher.progressed(&id(*one), &now);
                self.carry_out(effects);
            }
            Step::Room(one) => {
                let effects = self.dispatcher.room(&id(*one), &now);
                self.carry_out(effects);
            }
            Step::Act(one, what) => self.act(&id(*one), *what),
            Step::HookEnded(one) => self.hook_ended(&id(*one)),
            Step::Later(seconds) => {
                self.seconds += u64::from(*seconds);
                let now = self.now();
                let effects = self.dispatcher.look(&now);
                self.carry_out(effects);
            }
            Step::Rules(one, taken) => {
                if *taken {
                    self.taken.insert(*one);
                } else {
                    self.taken.remove(one);
                }
                self.dispatcher.set_rules(rules(&self.taken));
            }
            Step::Crash => self.crash(),
            Step::Shutdown => {
                self.stopping = true;
                let effects = self.dispatcher.stop();
                self.carry_out(effects);
                if self.fuse.is_none() {
                    assert_eq!(self.told_to_end, self.at_work, "everything is told to stop");
                }
            }
        }
    }

    fn hook_ended(&mut self, id: &str) {
        let Some(hook) = self.hooks.iter().find(|(job, _)| job == id).cloned() else {
            return;
        };
        self.hooks.remove(&hook);
        let outcome = "ended with exit code 0".to_owned();
        let record = HookRecord {
            name: hook.1,
            ok: true,
            outcome,
        };
        let effects = self.dispatcher.hook_ended(id, record);
        self.carry_out(effects);
    }

    /// What holds at every moment.
    pub(super) fn check(&self) {
        let at_work = self.dispatcher.ids(|entry| entry.attempt.is_some());
        assert_eq!(BTreeSet::from_iter(at_work), self.at_work);
        for (job, ..) in self.dispatcher.jobs() {
            let kept = &self.kept[&job.id];
            assert_eq!(kept.state, job.state, "the ledger knows every state");
            assert_eq!(job.state == State::Running, self.at_work.contains(&job.id));
            if let State::Delivering { .. } = job.state {
                assert!(job.delivery.is_some() && job.hooks_due.is_empty());
                assert!(!self.dispatcher.is_idle());
                let again = job.delivery.as_ref().unwrap().again;
                let order = self.outbox.get(&job.id);
                assert!(
                    order.is_none_or(|order| *order == again),
                    "{order:?} {job:?}"
                );
            }
            assert!(job.crashes <= MOST_CRASHES);
        }
    }

    fn is_delivering(&self, one: usize) -> bool {
        let job = self.dispatcher.job(&id(one));
        job.is_some_and(|job| matches!(job.state, State::Delivering { .. }))
    }

    /// Lets everything come to its end with all volumes attached; nothing may be left in between.
    pub(super) fn settle(&mut self) {
        self.taken = BTreeSet::from_iter(0..VOLUMES);
        self.crash();
        for one in 0..VOLUMES {
            self.step(&Step::Detach(one));
            self.look(false);
            self.step(&Step::Attach(one));
            self.look(false);
        }
        for one in 0..VOLUMES {
            // What a person is asked to do about an order that is gone.
            if !self.outbox.contains_key(&id(one)) && self.is_delivering(one) {
                self.act(&id(one), 1);
            }
        }
        for _ in 0..20 {
            self.seconds += 61;
            for one in 0..VOLUMES {
                self.step(&Step::Room(one));
                self.step(&Step::Progressed(one));
                self.step(&Step::Ended(one, 0));
                self.step(&Step::Delivered(one, Level::Complete));
                self.step(&Step::HookEnded(one));
                self.step(&Step::HookEnded(one));
            }
            self.step(&Step::Later(1));
        }
        for (job, ..) in self.dispatcher.jobs() {
            let ended = matches!(
                job.state,
                State::Done { .. } | State::Cancelled | State::Parked | State::NeedsOperator { .. }
            );
            assert!(ended, "{job:?}");
            assert!(job.hooks_due.is_empty());
        }
        assert!(self.dispatcher.is_idle());
    }
}

pub(super) fn now(seconds: u64) -> Now {
    Now {
        wall: format!("2026-01-01T00:00:{:02}Z", seconds % 60),
        running: Duration::from_secs(seconds),
    }
}

/// Whether it was read to the end.
fn has_result(job: &Job) -> bool {
    matches!(job.state, State::Done { .. } | State::Delivering { .. })
}
