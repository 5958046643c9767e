//! Tests of the dispatcher: what must hold whatever happens, in any order, with crashes at any moment.

mod steps;
mod world;

use proptest::prelude::*;

use super::*;
use crate::plaso::verdict::Level;
use steps::{Step, steps};
use world::{World, device, id, now};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn whatever_happens_no_job_is_lost_or_done_twice(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            if world.fuse == Some(0) {
                world.crash();
            }
            if world.fuse.is_none() {
                world.check();
            }
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

/// A job that was extracted and is being delivered.
fn delivering() -> World {
    let mut world = attached(&[0]);
    world.ended(&id(0), 6);
    assert_eq!(state(&world, 0).name(), "delivering");
    world
}

#[test]
fn a_job_on_its_way_to_the_server_needs_no_volume_and_is_not_idle() {
    let mut world = delivering();
    let before = state(&world, 0);
    world.step(&Step::Detach(0));
    world.look(false);
    world.step(&Step::Attach(0));
    world.look(false);
    world.crash();
    assert_eq!(state(&world, 0), before);
    assert!(world.at_work.is_empty() && !world.dispatcher.is_idle());
    world.step(&Step::Delivered(0, Level::Complete));
    let verdict = Level::Complete;
    assert_eq!(state(&world, 0), State::Done { verdict });
    assert!(world.outbox.is_empty(), "what is proven is tidied up");
}

#[test]
fn the_verdict_is_the_worse_of_extraction_and_delivery_and_hooks_follow_it() {
    for (extracted, delivered, verdict, hooks) in [
        (6, Level::Complete, Level::Complete, 2),
        (6, Level::Partial, Level::Partial, 0),
        (7, Level::Complete, Level::Partial, 0),
        (7, Level::Failed, Level::Failed, 0),
    ] {
        let mut world = attached(&[0]);
        world.ended(&id(0), extracted);
        assert!(world.kept[&id(0)].hooks_due.is_empty());
        world.step(&Step::Delivered(0, delivered));
        assert_eq!(state(&world, 0), State::Done { verdict });
        assert_eq!(world.kept[&id(0)].hooks_due.len(), hooks);
    }
}

#[test]
fn what_fell_short_is_delivered_again_and_not_extracted_again() {
    let mut world = delivering();
    world.step(&Step::Delivered(0, Level::Partial));
    assert_eq!(world.outbox.len(), 1, "what is not proven stays");
    world.act(&id(0), 0);
    assert_eq!(state(&world, 0).name(), "delivering");
    assert!(world.at_work.is_empty());
    assert_eq!(world.outbox[&id(0)], 1);
    world.step(&Step::Delivered(0, Level::Complete));
    let refused = world
        .dispatcher
        .act(Action::Retry { anew: false }, &id(0), &now(0));
    let _hooks_are_at_work = refused.unwrap_err();
    world.step(&Step::HookEnded(0));
    world.step(&Step::HookEnded(0));
    let refused = world
        .dispatcher
        .act(Action::Retry { anew: false }, &id(0), &now(0));
    let why = refused.unwrap_err().to_string();
    assert!(why.contains("retry --anew"), "{why}");
    world.act(&id(0), 1);
    assert_eq!(state(&world, 0), State::Running);
    assert!(world.kept[&id(0)].delivery.is_none());
}

#[test]
fn a_cancelled_delivery_is_taken_back() {
    let mut world = delivering();
    world.act(&id(0), 2);
    assert_eq!(state(&world, 0), State::Cancelled);
    assert!(world.outbox.is_empty());
    let mut world = attached(&[0]);
    world.act(&id(0), 2);
    world.ended(&id(0), 6);
    assert_eq!(state(&world, 0), State::Cancelled);
    assert!(world.outbox.is_empty());
}

#[test]
fn a_job_that_is_broken_off_while_jobs_are_held_goes_on_when_they_are_not() {
    let mut world = attached(&[0]);
    world.step(&Step::BreakOff);
    assert!(world.told_to_end.is_empty(), "nothing is held");
    world.step(&Step::Hold(true));
    world.step(&Step::BreakOff);
    assert!(world.told_to_end.contains(&id(0)));
    assert!(world.dispatcher.break_off().is_empty(), "it is told once");
    world.ended(&id(0), 5);
    assert_eq!(state(&world, 0), State::Queued);
    world.step(&Step::Hold(false));
    assert_eq!(state(&world, 0), State::Running);
}

#[test]
fn a_job_that_is_being_broken_off_is_released_if_somebody_wants_it() {
    let mut world = attached(&[0]);
    world.step(&Step::Hold(true));
    world.step(&Step::BreakOff);
    world.act(&id(0), 3);
    world.ended(&id(0), 5);
    assert_eq!(state(&world, 0), State::Released);
}

#[test]
fn a_tag_names_the_case_of_a_job_at_work_once() {
    let mut world = attached(&[0, 1]);
    let case = |volume: &str| (volume == id(0)).then(|| "4712".to_owned());
    let effects = world.dispatcher.name_cases(case);
    let [Effect::Keep { job, .. }] = &effects[..] else {
        panic!("one is kept: {effects:?}")
    };
    assert_eq!((&job.id, job.case.as_deref()), (&id(0), Some("4712")));
    assert!(world.dispatcher.name_cases(case).is_empty());
}

#[test]
fn jobs_that_are_held_say_why_and_begin_when_they_are_not_held_any_more() {
    let mut world = attached(&[0]);
    world.step(&Step::Hold(true));
    world.step(&Step::Attach(1));
    world.look(false);
    let waits = |world: &World, one: usize| world.dispatcher.waits_for(&id(one), &now(0));
    assert_eq!(
        [state(&world, 0), state(&world, 1)],
        [State::Running, State::Queued]
    );
    assert_eq!(waits(&world, 1).as_deref(), Some("the server is away"));
    assert_eq!(waits(&world, 0), None);
    world.ended(&id(0), 4);
    let (sentence, _) = world
        .dispatcher
        .act(Action::Retry { anew: false }, &id(0), &now(0))
        .unwrap();
    assert!(
        sentence.contains("no job is begun now: the server is away"),
        "{sentence}"
    );
    world.step(&Step::Hold(false));
    assert_eq!(state(&world, 1), State::Running);
}

#[test]
fn new_rules_leave_a_volume_that_is_read_alone() {
    let mut world = attached(&[0, 1]);
    world.step(&Step::Hold(true));
    world.step(&Step::Attach(2));
    world.look(false);
    for one in [0, 2] {
        world.step(&Step::Rules(one, false));
    }
    world.look(false);
    assert_eq!(state(&world, 0), State::Running);
    assert!(world.told_to_end.is_empty());
    let State::Interrupted { why } = state(&world, 2) else {
        panic!("what had not begun is not taken any more")
    };
    assert!(why.contains("the configuration does not take it"), "{why}");
    world.ended(&id(0), 0);
    world.look(false);
    assert_eq!(state(&world, 0).name(), "done");
    world.step(&Step::Hold(false));
    world.step(&Step::Rules(2, true));
    world.look(false);
    assert_eq!(state(&world, 2), State::Running, "it is taken again");
}

#[test]
fn what_is_not_ours_makes_nothing_happen() {
    let mut world = World::new();
    world.taken.clear();
    world.crash();
    world.step(&Step::Attach(0));
    let effects = world.dispatcher.devices(&[device(0, 1)], &now(0));
    assert_eq!(effects, []);
    assert_eq!(world.dispatcher.ignored().len(), 1);
}

#[test]
fn what_a_person_asked_for_holds_though_the_agent_goes_down_before_it_is_done() {
    for (what, name) in [(2, "cancelled"), (3, "released")] {
        let mut world = attached(&[0]);
        world.act(&id(0), what);
        world.crash();
        world.step(&Step::Later(61));
        assert_eq!(state(&world, 0).name(), name);
        assert!(world.at_work.is_empty());
        assert_eq!(world.kept[&id(0)].wish, None);
    }
}

#[test]
fn a_new_beginning_holds_though_the_agent_goes_down_at_any_step_of_it() {
    // The wish, the order that is taken back, the folder, the new state, the start.
    for effects in 1..6 {
        let mut world = attached(&[0]);
        world.ended(&id(0), 1);
        assert_eq!(state(&world, 0).name(), "done");
        world.fuse = Some(effects);
        world.act(&id(0), 1);
        world.crash();
        assert_eq!(state(&world, 0), State::Running, "{effects}");
    }
}

#[test]
fn a_job_that_is_cancelled_is_not_released_by_a_later_wish() {
    let mut world = attached(&[0]);
    world.act(&id(0), 2);
    world.act(&id(0), 3);
    world.crash();
    assert_eq!(state(&world, 0), State::Cancelled);
}

#[test]
fn hooks_that_are_due_when_the_agent_ends_run_when_it_is_back() {
    let mut world = attached(&[0]);
    world.step(&Step::Shutdown);
    world.ended(&id(0), 0);
    assert_eq!(world.kept[&id(0)].hooks_due.len(), 2);
    world.crash();
    world.step(&Step::HookEnded(0));
    world.step(&Step::HookEnded(0));
    assert!(world.kept[&id(0)].hooks_due.is_empty());
}

#[test]
fn a_slow_job_is_not_parked_for_the_one_that_brings_the_agent_down() {
    let mut world = attached(&[0, 1]);
    // The second needs two minutes for a step, the first brings the agent down after one and a half.
    for _ in 0..10 {
        world.step(&Step::Later(89));
        if world.at_work.contains(&id(0)) {
            world.crash();
        } else {
            world.step(&Step::Later(40));
            world.step(&Step::Progressed(1));
        }
    }
    assert_eq!(state(&world, 0), State::Parked);
    assert_eq!(state(&world, 1), State::Running);
}
