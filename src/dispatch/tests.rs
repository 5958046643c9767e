//! Tests of the dispatcher: what must hold whatever happens, in any order, with crashes at any moment.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::config::worker::{AttachSettings, HookSettings};
use crate::device::DeviceSnapshot;
use crate::status::Action;

const VOLUMES: usize = 3;

/// What may happen.
#[derive(Clone, Debug)]
enum Step {
    Attach(usize),
    Detach(usize),
    /// The list of devices is looked at; `late` shows the one before.
    Look {
        late: bool,
    },
    Ended(usize, u8),
    Progressed(usize),
    Room(usize),
    Act(usize, u8),
    HookEnded(usize),
    Later(u8),
    /// The agent is killed and comes back with what was kept.
    Crash,
    Shutdown,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let volume = 0..VOLUMES;
    let step = prop_oneof![
        4 => volume.clone().prop_map(Step::Attach),
        2 => volume.clone().prop_map(Step::Detach),
        6 => prop::bool::weighted(0.2).prop_map(|late| Step::Look { late }),
        4 => (volume.clone(), 0..6_u8).prop_map(|(one, how)| Step::Ended(one, how)),
        3 => volume.clone().prop_map(Step::Progressed),
        2 => volume.clone().prop_map(Step::Room),
        2 => (volume.clone(), 0..4_u8).prop_map(|(one, what)| Step::Act(one, what)),
        2 => volume.prop_map(Step::HookEnded),
        2 => (1..90_u8).prop_map(Step::Later),
        1 => Just(Step::Crash),
        1 => Just(Step::Shutdown),
    ];
    prop::collection::vec(step, 1..80)
}

fn rules() -> Rules {
    let evidence = AttachSettings {
        points: vec!["/dev/sd[f-p]".into()],
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

fn device(number: usize, sequence: u64) -> DeviceSnapshot {
    let controller = crate::device::ControllerIdentity {
        vendor: 0x1d0f,
        serial: format!("vol{number:017x}"),
        model: "Amazon Elastic Block Store".into(),
        attachment: format!("/dev/sd{}", ["f", "g", "h"][number]),
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

fn id(number: usize) -> String {
    format!("vol-{number:017x}")
}

/// The world around a dispatcher: devices, attempts at work, and the ledger, checked at every effect.
struct World {
    dispatcher: Dispatcher,
    kept: BTreeMap<String, Job>,
    attached: BTreeMap<usize, u64>,
    before: Vec<DeviceSnapshot>,
    sequence: u64,
    at_work: BTreeSet<String>,
    told_to_end: BTreeSet<String>,
    hooks: BTreeSet<(String, String)>,
    done: BTreeMap<String, u32>,
    asked_anew: BTreeMap<String, u32>,
    seconds: u64,
    stopping: bool,
}

impl World {
    fn new() -> Self {
        let (dispatcher, effects) = Dispatcher::restore(rules(), Vec::new(), &now(0));
        assert!(effects.is_empty());
        Self {
            dispatcher,
            kept: BTreeMap::new(),
            attached: BTreeMap::new(),
            before: Vec::new(),
            sequence: 0,
            at_work: BTreeSet::new(),
            told_to_end: BTreeSet::new(),
            hooks: BTreeSet::new(),
            done: BTreeMap::new(),
            asked_anew: BTreeMap::new(),
            seconds: 0,
            stopping: false,
        }
    }

    fn now(&self) -> Now {
        now(self.seconds)
    }

    fn list(&self) -> Vec<DeviceSnapshot> {
        let attached = self.attached.iter();
        attached
            .map(|(one, sequence)| device(*one, *sequence))
            .collect()
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Keep { job, .. } => {
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
                    assert!(self.at_work.insert(id.clone()), "{id} is at work twice");
                    let done = self.done.get(&id).copied().unwrap_or_default();
                    let anew = self.asked_anew.get(&id).copied().unwrap_or_default();
                    assert!(done <= anew, "{id} was done and nobody asked for it again");
                }
                Effect::Stop { id } | Effect::Abandon { id } => {
                    assert!(self.at_work.contains(&id), "{id} is not at work");
                    self.told_to_end.insert(id);
                }
                Effect::RunHook { id, name } => {
                    assert!(self.kept[&id].hooks_due.contains(&name));
                    assert!(self.hooks.insert((id, name)), "a hook runs twice at once");
                }
                Effect::SetAside { .. } => {}
            }
        }
    }

    fn ended(&mut self, id: &str, how: u8) {
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
            _ if asked => Outcome::Stopped,
            _ => Outcome::Done(Level::Complete),
        };
        if matches!(outcome, Outcome::Done(_)) {
            *self.done.entry(id.to_owned()).or_default() += 1;
        }
        let now = self.now();
        let effects = self.dispatcher.ended(id, outcome, &now);
        self.carry_out(effects);
    }

    fn act(&mut self, id: &str, what: u8) {
        let action = match what {
            0 => Action::Retry { anew: false },
            1 => Action::Retry { anew: true },
            2 => Action::Cancel,
            _ => Action::Release,
        };
        let now = self.now();
        if let Ok((sentence, effects)) = self.dispatcher.act(action, id, &now) {
            assert!(!sentence.is_empty());
            if matches!(action, Action::Retry { .. }) {
                let done = self.done.get(id).copied().unwrap_or_default();
                self.asked_anew.insert(id.to_owned(), done);
            }
            self.carry_out(effects);
        }
    }

    fn crash(&mut self) {
        self.at_work.clear();
        self.told_to_end.clear();
        self.hooks.clear();
        self.stopping = false;
        let jobs: Vec<Job> = self.kept.values().cloned().collect();
        let now = self.now();
        let (dispatcher, effects) = Dispatcher::restore(rules(), jobs, &now);
        self.dispatcher = dispatcher;
        self.carry_out(effects);
        self.look(false);
    }

    fn look(&mut self, late: bool) {
        let list = self.list();
        let shown = if late {
            self.before.clone()
        } else {
            list.clone()
        };
        self.before = list;
        let now = self.now();
        let effects = self.dispatcher.devices(&shown, &now);
        self.carry_out(effects);
        let again = self.dispatcher.devices(&shown, &now);
        assert!(again.is_empty(), "the same list twice: {again:?}");
    }

    fn step(&mut self, step: &Step) {
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
            Step::Crash => self.crash(),
            Step::Shutdown => {
                self.stopping = true;
                let effects = self.dispatcher.stop();
                self.carry_out(effects);
                assert_eq!(self.told_to_end, self.at_work, "everything is told to stop");
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
    fn check(&self) {
        let at_work = self.dispatcher.ids(|entry| entry.attempt.is_some());
        assert_eq!(BTreeSet::from_iter(at_work), self.at_work);
        for (job, ..) in self.dispatcher.jobs() {
            let kept = &self.kept[&job.id];
            assert_eq!(kept.state, job.state, "the ledger knows every state");
            assert_eq!(job.state == State::Running, self.at_work.contains(&job.id));
            assert!(job.crashes <= MOST_CRASHES);
        }
    }

    /// Lets everything come to its end with all volumes attached; nothing may be left in between.
    fn settle(&mut self) {
        self.crash();
        for one in 0..VOLUMES {
            self.step(&Step::Detach(one));
            self.look(false);
            self.step(&Step::Attach(one));
            self.look(false);
        }
        for _ in 0..20 {
            self.seconds += 61;
            for one in 0..VOLUMES {
                self.step(&Step::Room(one));
                self.step(&Step::Progressed(one));
                self.step(&Step::Ended(one, 0));
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

fn now(seconds: u64) -> Now {
    Now {
        wall: format!("2026-01-01T00:00:{:02}Z", seconds % 60),
        running: Duration::from_secs(seconds),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn whatever_happens_no_job_is_lost_or_done_twice(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            world.check();
        }
        world.settle();
    }
}

/// A world with these volumes attached and looked at.
fn attached(volumes: &[usize]) -> World {
    let mut world = World::new();
    volumes
        .iter()
        .for_each(|one| world.step(&Step::Attach(*one)));
    world.look(false);
    world
}

fn state(world: &World, one: usize) -> State {
    world.dispatcher.job(&id(one)).unwrap().state.clone()
}

#[test]
fn a_volume_that_comes_back_goes_on_and_one_that_was_done_does_not() {
    let mut world = attached(&[0]);
    world.step(&Step::Detach(0));
    world.look(false);
    world.ended(&id(0), 2);
    assert!(matches!(state(&world, 0), State::Interrupted { .. }));
    world.step(&Step::Attach(0));
    world.look(false);
    assert_eq!(state(&world, 0), State::Running);
    world.ended(&id(0), 0);
    world.step(&Step::Detach(0));
    world.look(false);
    world.step(&Step::Attach(0));
    world.look(false);
    assert_eq!(
        state(&world, 0),
        State::Done {
            verdict: Level::Complete
        }
    );
}

#[test]
fn a_volume_that_was_swapped_under_its_name_is_not_read_on() {
    let mut world = attached(&[0]);
    world.attached.insert(0, 99);
    world.look(false);
    assert!(world.told_to_end.contains(&id(0)));
    world.ended(&id(0), 5);
    assert_eq!(
        state(&world, 0),
        State::Running,
        "the new attachment is read"
    );
}

#[test]
fn a_job_that_brings_the_agent_down_is_parked_and_the_others_go_on() {
    let mut world = attached(&[0, 1, 2]);
    let mut crashes = 0;
    while state(&world, 0) != State::Parked {
        // The others get on when they are alone; the first brings the agent down.
        if world.at_work.contains(&id(0)) {
            world.crash();
            crashes += 1;
        }
        world.step(&Step::Later(61));
        world.step(&Step::Progressed(1));
        world.step(&Step::Progressed(2));
        assert!(crashes < 10);
    }
    assert_eq!(crashes, 3);
    assert_eq!(
        [state(&world, 1), state(&world, 2)],
        [State::Running, State::Running]
    );
    world.act(&id(0), 0);
    assert_eq!(state(&world, 0), State::Running);
}

#[test]
fn jobs_that_went_down_with_the_agent_are_started_one_by_one() {
    let mut world = attached(&[0, 1, 2]);
    world.crash();
    assert_eq!(world.at_work.len(), 1);
    world.step(&Step::Later(61));
    assert_eq!(world.at_work.len(), 2);
    world.step(&Step::Later(61));
    assert_eq!(world.at_work.len(), 3);
}

#[test]
fn the_same_volume_twice_is_one_job_and_the_second_node_is_named() {
    let mut world = World::new();
    let mut twin = device(0, 2);
    twin.node = "/dev/nvme9n1".into();
    let now = world.now();
    let effects = world.dispatcher.devices(&[twin, device(0, 1)], &now);
    world.carry_out(effects);
    assert_eq!(world.at_work.len(), 1);
    let ignored = &world.dispatcher.ignored()[0];
    assert_eq!(ignored.node, PathBuf::from("/dev/nvme9n1"));
    assert!(
        ignored.reason.contains("attached as /dev/nvme0n1 already"),
        "{}",
        ignored.reason
    );
}

#[test]
fn a_released_volume_goes_on_at_its_next_attachment_only() {
    let mut world = attached(&[0]);
    world.act(&id(0), 3);
    world.ended(&id(0), 5);
    world.look(false);
    assert_eq!(state(&world, 0), State::Released);
    world.crash();
    assert_eq!(state(&world, 0), State::Released);
    world.step(&Step::Detach(0));
    world.look(false);
    world.step(&Step::Attach(0));
    world.look(false);
    assert_eq!(state(&world, 0), State::Running);
}

#[test]
fn an_unknown_job_is_refused_with_the_jobs_there_are() {
    let mut world = attached(&[0]);
    let refused = world
        .dispatcher
        .act(Action::Cancel, "vol\u{1b}-x", &now(0))
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        r"find the job vol\u{1b}-x: there are vol-00000000000000000"
    );
}

#[test]
fn a_release_holds_though_the_job_ran_out_of_room() {
    let mut world = attached(&[0]);
    world.act(&id(0), 3);
    world.ended(&id(0), 3);
    assert_eq!(state(&world, 0), State::Released);
}
