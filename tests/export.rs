//! Our export is psort's: of storage files with all that an event can hold, of real ones, and of hostile ones.
//!
//! Plaso's own writer makes the storage files (tests/export/*.py), psort itself says what is right, and documents are
//! compared byte for byte and in order. `DFAGENT_TEST_SEEDS=20` takes that many different storage files of each kind,
//! `DFAGENT_TEST_ROUNDS=5000` that many of those that chance damages, `DFAGENT_TEST_SEED` repeats one of these.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    dead_code,
    unreachable_pub,
    reason = "a test fails by panicking, and uses a part of what it shares"
)]

#[path = "export/damaged.rs"]
mod damaged;
#[path = "export/exporters.rs"]
mod exporters;
#[path = "export/hostile.rs"]
mod hostile;
mod lab;
#[path = "export/messages.rs"]
mod messages;
#[path = "export/same.rs"]
mod same;

use libtest_mimic::Arguments;

fn main() {
    let mut trials = messages::trials();
    trials.extend(same::trials());
    trials.extend(hostile::trials());
    trials.extend(damaged::trials());
    let mut arguments = Arguments::from_args();
    // Each has a folder of its own, and needs a core.
    arguments.test_threads.get_or_insert(2);
    libtest_mimic::run(&arguments, trials).exit()
}
