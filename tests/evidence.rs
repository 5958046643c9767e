//! Untouched evidence: whatever state a source is in and whatever happens to the program, the source is
//! the same afterwards, nothing of ours is left behind, and what was not read has a name.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test fails by panicking and keeps no state that a crash may not tear"
)]

#[path = "evidence/case.rs"]
mod case;
#[path = "evidence/changes.rs"]
mod changes;
#[path = "evidence/devices.rs"]
mod devices;
#[path = "evidence/kills.rs"]
mod kills;
mod lab;
#[path = "evidence/outcomes.rs"]
mod outcomes;
#[path = "evidence/states.rs"]
mod states;

use libtest_mimic::Arguments;

fn main() {
    let mut trials = states::trials();
    trials.extend(outcomes::trials());
    trials.extend(kills::trials());
    trials.extend(changes::trials());
    trials.extend(devices::trials());
    let mut arguments = Arguments::from_args();
    // One run keeps less than one core busy, and evidence has to stay untouched beside other runs too.
    arguments.test_threads.get_or_insert(2);
    libtest_mimic::run(&arguments, trials).exit()
}
