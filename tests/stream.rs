//! Documents into real OpenSearch, of the version that Timesketch ships with and of the newest: whatever documents
//! hold and whatever happens meanwhile, each is found there or named as refused.
//!
//! What a server does under load and in trouble is tried on the first version; `DFAGENT_TEST_STREAM=all` tries it on
//! both. A node of each version is started once, on loopback, and each trial has an index of its own; a trial that breaks a
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
    let has_all = std::env::var("DFAGENT_TEST_STREAM").is_ok_and(|trials| trials == "all");
    let mut trials = Vec::new();
    for version in node::VERSIONS {
        let needs = [Need::Other(
            node::is_installed(version),
            "OpenSearch (run `make setup-test`; 3.8.0: see CONTRIBUTING.md)",
        )];
        let mut add = |tests: &[(&str, Test)], needs: &[Need]| {
            trials.extend(tests.iter().map(|&(name, test)| {
                lab::trial(format!("{name}::{version}"), needs, move || test(version))
            }));
        };
        for tests in [whole::TESTS.as_slice(), &odd::TESTS, &types::TESTS] {
            add(tests, &needs);
        }
        let [installed] = needs;
        let needs = [
            installed,
            Need::Other(
                has_all || version == node::VERSIONS[0],
                "minutes more (DFAGENT_TEST_STREAM=all)",
            ),
        ];
        for tests in [busy::TESTS.as_slice(), &outages::TESTS] {
            add(tests, &needs);
        }
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
