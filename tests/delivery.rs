//! Delivery to a real Timesketch on a real OpenSearch: whatever goes wrong on the way, every event is found there
//! once, or one sentence says why not.
//!
//! The servers are started once, on loopback, and each trial has a sketch of its own. Evidence is read once, too: a
//! trial delivers a copy of what `dfagent process` made. Between agent and server stands tests/timesketch/proxy.py
//! where a fault is wanted.
//!
//! `DFAGENT_TEST_KILLS=50` is the full number of kills, `DFAGENT_TEST_SEED` repeats, `OPENSEARCH_VERSION=3.8.0` takes
//! the other OpenSearch, and `DFAGENT_TEST_TIMESKETCH=DIR` servers that run already, whose folder it is.
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

#[path = "delivery/case.rs"]
mod case;
#[path = "delivery/faults.rs"]
mod faults;
#[path = "delivery/kills.rs"]
mod kills;
mod lab;
#[path = "delivery/many.rs"]
mod many;
#[path = "delivery/material.rs"]
mod material;
#[path = "delivery/outages.rs"]
mod outages;
#[path = "delivery/proxy.rs"]
mod proxy;
#[path = "delivery/same.rs"]
mod same;
#[path = "delivery/secrets.rs"]
mod secrets;
#[path = "delivery/servers.rs"]
mod servers;
#[path = "delivery/service.rs"]
mod service;
#[path = "delivery/short.rs"]
mod short;
#[path = "delivery/tls.rs"]
mod tls;

use libtest_mimic::Arguments;

fn main() {
    let mut trials = same::trials();
    trials.extend(kills::trials());
    trials.extend(faults::trials());
    trials.extend(tls::trials());
    trials.extend(short::trials());
    trials.extend(secrets::trials());
    trials.extend(many::trials());
    trials.extend(service::trials());
    trials.extend(outages::trials());
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
        Need::Other(
            servers::are_installed(),
            "Timesketch and OpenSearch (run `make setup-test`)",
        ),
    ]
}
