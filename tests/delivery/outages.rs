//! Servers that are away for a while. These trials have the servers to themselves.

use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

use crate::case::{Case, HANGING, Test, ends, holds_within};
use crate::lab::trial;
use crate::material::{AUTH, HISTORY, SYSLOG};
use crate::proxy::Proxy;
use crate::servers::{Servers, alone, servers};

pub fn trials() -> Vec<Trial> {
    let needs = crate::needs();
    let all: [(&str, Test); 3] = [
        (
            "while_no_worker_runs_delivery_says_so_and_goes_on_when_one_does",
            worker,
        ),
        (
            "a_server_that_restarts_in_the_middle_and_takes_no_uploads_for_a_while",
            web,
        ),
        (
            "an_opensearch_that_is_away_for_a_while_loses_nothing",
            opensearch,
        ),
    ];
    let trials = all.map(|(name, test)| trial(name, &needs, test));
    trials.into()
}

/// Whatever a trial stopped runs again for the next one.
struct Restored(&'static Servers);

impl Drop for Restored {
    fn drop(&mut self) {
        self.0.act("start", &[], &["--upload", "on"]);
    }
}

fn receipt(case: &Case) -> Value {
    let name = case.job.file_name().unwrap().to_str().unwrap();
    let path = case.out().join(format!("delivery/receipts/{name}.json"));
    let text = std::fs::read_to_string(path).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn said(case: &Case) -> String {
    std::fs::read_to_string(case.at("stderr")).unwrap_or_default()
}

fn worker() -> Result<(), Failed> {
    let _alone = alone();
    let case = Case::of(&[HISTORY, SYSLOG]);
    let _restored = Restored(servers());
    servers().act("stop", &["worker"], &[]);
    let mut child = case.begin();
    let waits = || {
        receipt(&case)["waits"]
            .as_str()
            .unwrap_or_default()
            .contains("waits for a worker")
    };
    assert!(
        holds_within(HANGING, waits),
        "{} {}",
        receipt(&case),
        said(&case)
    );
    servers().act("start", &[], &[]);
    assert_eq!(ends(&mut child), 0, "{}", said(&case));
    case.is_whole();
    Ok(())
}

/// Restarted between two chunks, first into a server that takes no uploads.
fn web() -> Result<(), Failed> {
    let _alone = alone();
    let mut case = Case::of(&[AUTH]);
    let _restored = Restored(servers());
    let rules = json!([
        {"path": "/api/v1/upload/", "chunk": "first", "do": "wait", "answered": true},
        {"path": "/api/v1/upload/", "chunk": "middle", "do": "before"},
    ]);
    let mut proxy = Proxy::with_rules(case.servers, &rules);
    case.to(&proxy.url());
    let mut child = case.begin();
    assert!(proxy.wait_held(1, || false).is_some());
    servers().act("stop", &["web"], &[]);
    proxy.go_on();
    // It is tried again while nobody is there.
    let waits = || said(&case).contains("delivery waits");
    assert!(holds_within(HANGING, waits), "{}", said(&case));
    servers().act("start", &[], &["--upload", "off"]);
    assert_eq!(ends(&mut child), 5, "{}", said(&case));
    assert!(
        said(&case).contains("uploads are switched off"),
        "{}",
        said(&case)
    );
    assert!(case.servers.timelines(case.sketch).is_empty());
    let checked = crate::lab::finish(case.dfagent().arg("check"));
    assert!(checked.out.contains("UPLOAD_ENABLED"), "{}", checked.out);
    servers().act("restart", &["web"], &["--upload", "on"]);
    case.delivers();
    let chunks = proxy.saw("POST /api/v1/upload/");
    assert!(chunks > 3, "{:?}", proxy.said());
    Ok(())
}

/// Away when the last chunk arrives, and for some seconds after that.
fn opensearch() -> Result<(), Failed> {
    let _alone = alone();
    let mut case = Case::of(&[HISTORY, AUTH]);
    let _restored = Restored(servers());
    let rules = json!([{"path": "/api/v1/upload/", "chunk": "last", "do": "wait"}]);
    let mut proxy = Proxy::with_rules(case.servers, &rules);
    case.to(&proxy.url());
    case.set("delivery", "tries", "3");
    let mut child = case.begin();
    assert!(proxy.wait_held(1, || false).is_some());
    servers().act("stop", &["opensearch"], &[]);
    proxy.go_on();
    let away = holds_within(Duration::from_secs(6), || {
        child.try_wait().unwrap().is_some()
    });
    assert!(!away, "it does not give up at once: {}", said(&case));
    servers().act("start", &[], &[]);
    assert_eq!(ends(&mut child), 0, "{}", said(&case));
    case.is_whole();
    Ok(())
}
