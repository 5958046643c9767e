//! What may happen in the world around a dispatcher, in random histories.

use proptest::prelude::*;

use crate::plaso::verdict::Level;

/// How many volumes there are.
pub(super) const VOLUMES: usize = 3;

/// What may happen.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Attach(usize),
    Detach(usize),
    /// The list of devices is looked at; `late` shows the one before.
    Look {
        late: bool,
    },
    Ended(usize, u8),
    /// A receipt ends a delivery, also one that there is none of.
    Delivered(usize, Level),
    /// Jobs are held back, or are not any more.
    Hold(bool),
    /// What is at work is stopped, if jobs are held.
    BreakOff,
    /// The agent is killed when it has carried out so many more effects.
    CrashAfter(usize),
    Progressed(usize),
    Room(usize),
    Act(usize, u8),
    HookEnded(usize),
    Later(u8),
    /// New rules take this volume, or do not.
    Rules(usize, bool),
    /// The agent is killed and comes back with what was kept.
    Crash,
    Shutdown,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let volume = 0..VOLUMES;
    let level = prop::sample::select(vec![Level::Complete, Level::Partial, Level::Failed]);
    let step = prop_oneof![
        4 => volume.clone().prop_map(Step::Attach),
        2 => volume.clone().prop_map(Step::Detach),
        6 => prop::bool::weighted(0.2).prop_map(|late| Step::Look { late }),
        4 => (volume.clone(), 0..8_u8).prop_map(|(one, how)| Step::Ended(one, how)),
        4 => (volume.clone(), level).prop_map(|(one, level)| Step::Delivered(one, level)),
        1 => prop::bool::ANY.prop_map(Step::Hold),
        1 => Just(Step::BreakOff),
        2 => (0..4_usize).prop_map(Step::CrashAfter),
        3 => volume.clone().prop_map(Step::Progressed),
        2 => volume.clone().prop_map(Step::Room),
        3 => (volume.clone(), 0..4_u8).prop_map(|(one, what)| Step::Act(one, what)),
        2 => volume.clone().prop_map(Step::HookEnded),
        1 => (volume, prop::bool::ANY).prop_map(|(one, taken)| Step::Rules(one, taken)),
        2 => (1..90_u8).prop_map(Step::Later),
        1 => Just(Step::Crash),
        1 => Just(Step::Shutdown),
    ];
    prop::collection::vec(step, 1..80)
}
