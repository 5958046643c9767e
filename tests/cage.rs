//! The cage as it is built by the real program: what it holds, what it limits, what the agent takes from it.
//!
//! The program is given a stand-in for Plaso (tests/cage/standin.py, tests/cage/probe.py), which does in the
//! cage what a Plaso would do that was taken over by what it read.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test fails by panicking and keeps no state that a crash may not tear"
)]

#[path = "cage/attempts.rs"]
mod attempts;
#[path = "cage/ends.rs"]
mod ends;
#[path = "cage/hostile.rs"]
mod hostile;
mod lab;
#[path = "cage/standin.rs"]
mod standin;

fn main() {
    let mut trials = attempts::trials();
    trials.extend(ends::trials());
    trials.extend(hostile::trials());
    lab::run(trials);
}
