//! Documents into a real OpenSearch, shown by a real Timesketch: whatever goes wrong on the way, every event is found
//! once, or one sentence says why not.
//!
//! Servers and evidence are those of tests/delivery.rs, and so are its variables of the environment;
//! `DFAGENT_TEST_STREAM_VOLUMES=300` is the full number of volumes in one sketch.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    dead_code,
    unreachable_pub,
    reason = "a test fails by panicking and keeps no state that a crash may not tear; it uses a part of what \
              it shares"
)]

#[path = "streaming/cancelled.rs"]
mod cancelled;
#[path = "delivery/case.rs"]
mod case;
#[path = "streaming/faults.rs"]
mod faults;
#[path = "streaming/kills.rs"]
mod kills;
mod lab;
#[path = "streaming/many.rs"]
mod many;
#[path = "delivery/material.rs"]
mod material;
#[path = "delivery/proxy.rs"]
mod proxy;
#[path = "streaming/same.rs"]
mod same;
#[path = "delivery/servers.rs"]
mod servers;
#[path = "delivery/service.rs"]
mod service;
#[path = "streaming/stream.rs"]
mod stream;
#[path = "streaming/while_open.rs"]
mod while_open;

use libtest_mimic::Arguments;

fn main() {
    let mut trials = same::trials();
    trials.extend(while_open::trials());
    trials.extend(kills::trials());
    trials.extend(faults::trials());
    trials.extend(cancelled::trials());
    trials.extend(many::trials());
    let mut arguments = Arguments::from_args();
    // Most of a delivery is waiting; those trials that take a server away have all of them to themselves.
    arguments.test_threads.get_or_insert(3);
    let conclusion = libtest_mimic::run(&arguments, trials);
    servers::end();
    material::end();
    conclusion.exit()
}

/// What every trial here needs.
fn needs() -> Vec<lab::Need> {
    use lab::Need;
    vec![
        Need::Root,
        Need::Plaso,
        Need::Program("redis-check-rdb"),
        Need::Program("curl"),
        Need::Other(
            servers::are_installed(),
            "Timesketch and OpenSearch (run `make setup-test`)",
        ),
    ]
}
