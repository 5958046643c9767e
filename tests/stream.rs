//! Documents into real OpenSearch, of the version that Timesketch ships with and of the newest: whatever documents
//! hold and whatever happens meanwhile, each is found there or named as refused.
//!
//! A node of each version is started once, on loopback, and each trial has an index of its own; a trial that breaks a
//! node has one to itself.
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

#[path = "stream/busy.rs"]
mod busy;
#[path = "stream/case.rs"]
mod case;
mod lab;
#[path = "stream/node.rs"]
mod node;
#[path = "stream/odd.rs"]
mod odd;
#[path = "stream/outages.rs"]
mod outages;
#[path = "delivery/proxy.rs"]
mod proxy;
#[path = "stream/types.rs"]
mod types;
#[path = "stream/whole.rs"]
mod whole;

/// What the proxy stands before.
mod servers {
    pub use crate::node::Node as Servers;
}

use libtest_mimic::{Arguments, Failed, Trial};

use lab::Need;

/// A trial against a node of a version.
type Test = fn(&'static str) -> Result<(), Failed>;

fn main() {
    let mut trials = Vec::new();
    for version in node::VERSIONS {
        let needs = [Need::Other(
            node::is_installed(version),
            "OpenSearch (run `make setup-test`; 3.8.0: see CONTRIBUTING.md)",
        )];
        let tests: [&[(&str, Test)]; 5] = [
            &whole::TESTS,
            &odd::TESTS,
            &types::TESTS,
            &busy::TESTS,
            &outages::TESTS,
        ];
        trials.extend(tests.concat().into_iter().map(|(name, test)| {
            lab::trial(format!("{name}::{version}"), &needs, move || test(version))
        }));
    }
    trials.push(Trial::test(
        "an_index_is_mapped_as_timesketch_maps_it",
        whole::mapping,
    ));
    let mut arguments = Arguments::from_args();
    // Much of a trial is waiting for a node that starts.
    arguments.test_threads.get_or_insert(2);
    let conclusion = libtest_mimic::run(&arguments, trials);
    node::end();
    conclusion.exit()
}
