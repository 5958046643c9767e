//! Faults between agent and server, one at a time: delivered once, or stopped with one sentence.

use std::fs;

use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

use crate::case::{Case, Test, assert_whole, ends};
use crate::lab::trial;
use crate::material::AUTH;
use crate::proxy::Proxy;
use crate::servers::shared;

const UPLOAD: &str = "/api/v1/upload/";
const TIMELINES: &str = "/api/v1/sketches/";

/// A fault that delivery gets over.
struct Passing {
    name: &'static str,
    rules: Value,
    settings: &'static [(&'static str, &'static str)],
}

fn passing(name: &'static str, rules: Value) -> Passing {
    Passing {
        name,
        rules,
        settings: &[],
    }
}

fn at_chunk(chunk: &str, what: &str) -> Value {
    json!([{"path": UPLOAD, "chunk": chunk, "do": what}])
}

fn answers(chunk: &str, status: u16, forward: bool) -> Value {
    json!({"path": UPLOAD, "chunk": chunk, "do": "status", "status": status, "forward": forward,
           "text": "<html><title>An error</title></html>"})
}

fn all_passing() -> Vec<Passing> {
    let mut all = vec![
        passing("a_reset_before_the_last_chunk", at_chunk("last", "before")),
        passing("a_reset_within_the_last_chunk", at_chunk("last", "within")),
        passing("a_reset_after_the_last_chunk", at_chunk("last", "after")),
        passing("a_lost_answer_to_the_last_chunk", at_chunk("last", "lost")),
        passing(
            "a_lost_answer_to_a_middle_chunk",
            at_chunk("middle", "lost"),
        ),
        passing(
            "500_502_and_503_on_the_way",
            json!([
                answers("first", 500, false),
                answers("middle", 502, false),
                answers("middle", 503, true)
            ]),
        ),
        passing(
            "a_502_to_the_last_chunk_though_it_arrived",
            json!([answers("last", 502, true)]),
        ),
        passing(
            "a_503_to_the_last_chunk_that_did_not_arrive",
            json!([answers("last", 503, false)]),
        ),
        passing(
            "429_with_the_time_to_wait",
            json!([{"path": UPLOAD, "chunk": "middle", "do": "status", "status": 429, "headers": {"Retry-After": "3"}}]),
        ),
        passing(
            "a_page_of_html_to_the_last_chunk",
            json!([{"path": UPLOAD, "chunk": "last", "do": "status", "status": 200, "text": "<title>Please wait</title>"}]),
        ),
        passing(
            "a_session_that_ends_in_the_middle",
            json!([{"path": UPLOAD, "chunk": "middle", "do": "session"}, {"path": UPLOAD, "chunk": "last", "do": "session"}]),
        ),
        passing(
            "a_token_that_expires_in_the_middle",
            json!([{"path": UPLOAD, "chunk": "middle", "do": "token"}, {"path": UPLOAD, "chunk": "last", "do": "token"}]),
        ),
        passing(
            "faults_of_everything_but_the_upload",
            json!([
                {"path": "/login/", "method": "GET", "do": "lost"},
                {"path": "/login/", "method": "POST", "do": "lost"},
                {"path": TIMELINES, "method": "GET", "do": "within"},
                {"path": TIMELINES, "method": "GET", "skip": 1, "do": "status", "status": 500},
                {"path": TIMELINES, "method": "GET", "skip": 1, "do": "status", "status": 200, "text": "<title>x</title>"},
            ]),
        ),
    ];
    all.extend([
        Passing {
            name: "a_stall_at_a_chunk_and_at_an_answer",
            rules: json!([{"path": UPLOAD, "chunk": "middle", "do": "stall"}, {"path": TIMELINES, "method": "GET", "skip": 1, "do": "stall"}]),
            settings: &[("answer_seconds", "4"), ("idle_seconds", "2")],
        },
        Passing {
            name: "one_byte_a_second",
            rules: json!([{"path": UPLOAD, "chunk": "last", "do": "slow"}]),
            settings: &[("request_seconds", "6")],
        },
    ]);
    all
}

pub fn trials() -> Vec<Trial> {
    let needs = crate::needs();
    let mut trials: Vec<Trial> = all_passing()
        .into_iter()
        .map(|fault| {
            let name = format!("{}_loses_nothing_and_doubles_nothing", fault.name);
            trial(name, &needs, move || gets_over(fault))
        })
        .collect();
    let singles: [(&str, Test); 6] = [
        ("a_limit_of_the_size_halves_the_chunks", halves),
        (
            "a_limit_under_the_smallest_chunk_is_one_sentence",
            too_small,
        ),
        ("an_answer_of_a_gigabyte_takes_no_memory", huge),
        (
            "a_redirect_to_another_host_takes_no_secret_along",
            redirected,
        ),
        (
            "a_server_that_is_not_timesketch_is_one_sentence",
            not_timesketch,
        ),
        ("a_server_that_is_not_there_is_one_sentence", nobody),
    ];
    for (name, test) in singles {
        trials.push(trial(name, &needs, test));
    }
    trials
}

fn gets_over(fault: Passing) -> Result<(), Failed> {
    let _shared = shared();
    let mut case = Case::of(&[AUTH]);
    let count = fault.rules.as_array().unwrap().len();
    let proxy = Proxy::with_rules(case.servers, &fault.rules);
    case.to(&proxy.url());
    for (key, value) in fault.settings {
        case.set("timesketch", key, value);
    }
    case.delivers();
    let said = proxy.said();
    let applied = said
        .iter()
        .filter(|words| !words["do"].is_null() && words["do"] != "pass");
    assert_eq!(applied.count(), count, "every fault happened: {said:?}");
    Ok(())
}

/// A proxy that takes 1.5 MiB, and chunks of 2.
fn halves() -> Result<(), Failed> {
    let _shared = shared();
    let mut case = Case::of(&[AUTH]);
    let rules = json!([{"path": UPLOAD, "do": "limit", "bytes": 1_572_864, "times": -1}]);
    let proxy = Proxy::with_rules(case.servers, &rules);
    case.to(&proxy.url());
    case.set("timesketch", "chunk_mib", "2");
    case.delivers();
    assert_eq!(proxy.did("limit"), 1, "{:?}", proxy.said());
    Ok(())
}

fn too_small() -> Result<(), Failed> {
    let _shared = shared();
    let mut case = Case::of(&[AUTH]);
    let rules = json!([{"path": UPLOAD, "do": "limit", "bytes": 500_000, "times": -1}]);
    let proxy = Proxy::with_rules(case.servers, &rules);
    case.to(&proxy.url());
    case.stops(5, &["1 MiB", "too large"]);
    assert_eq!(proxy.did("limit"), 1, "{:?}", proxy.said());
    Ok(())
}

/// The most memory that a process had, in kilobytes.
fn most_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn huge() -> Result<(), Failed> {
    let _shared = shared();
    let mut case = Case::of(&[AUTH]);
    let rules = json!([
        {"path": UPLOAD, "chunk": "first", "do": "wait"},
        {"path": UPLOAD, "chunk": "middle", "do": "huge", "bytes": 1_u64 << 30},
        {"path": UPLOAD, "chunk": "middle", "do": "wait"},
    ]);
    let mut proxy = Proxy::with_rules(case.servers, &rules);
    case.to(&proxy.url());
    let mut child = case.begin();
    assert!(proxy.wait_held(1, || false).is_some());
    let before = most_memory(child.id());
    proxy.go_on();
    assert!(proxy.wait_held(2, || false).is_some());
    let after = most_memory(child.id());
    proxy.go_on();
    assert_eq!(ends(&mut child), 0);
    assert!(
        after < before + 8 * 1024,
        "{before} kB before, {after} kB after"
    );
    case.is_whole();
    Ok(())
}

/// The first try is sent away, with everything that it had; the next one is let through.
fn redirected() -> Result<(), Failed> {
    let _shared = shared();
    let mut case = Case::of(&[AUTH]);
    let rules = json!([
        {"path": "/login/", "method": "POST", "do": "elsewhere"},
        {"path": UPLOAD, "chunk": "middle", "do": "elsewhere", "times": 2},
        {"path": TIMELINES, "method": "GET", "do": "elsewhere"},
    ]);
    let proxy = Proxy::with_rules(case.servers, &rules);
    case.to(&proxy.url());
    case.delivers();
    let away: Vec<Value> = proxy
        .said()
        .into_iter()
        .filter(|words| words.get("elsewhere").is_some() && words.get("port").is_none())
        .collect();
    assert!(away.is_empty(), "somebody else was asked: {away:?}");
    assert!(proxy.did("elsewhere") >= 3, "{:?}", proxy.said());
    Ok(())
}

fn not_timesketch() -> Result<(), Failed> {
    let _shared = shared();
    let mut case = Case::of(&[AUTH]);
    let rules = json!([{"do": "status", "status": 200, "text": "<title>Welcome to nginx!</title>", "times": -1}]);
    let proxy = Proxy::with_rules(case.servers, &rules);
    case.to(&proxy.url());
    case.set("delivery", "patience_seconds", "4");
    case.stops(
        5,
        &[
            "page instead of JSON",
            "Welcome to nginx",
            "[timesketch] url",
        ],
    );
    Ok(())
}

fn nobody() -> Result<(), Failed> {
    let _shared = shared();
    let mut case = Case::of(&[AUTH]);
    // A port on which somebody listened until just now.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    case.to(&url);
    case.set("delivery", "patience_seconds", "3");
    case.stops(5, &["reach", &url]);
    // The same command goes on when the server is there; what the folder was for another address does not matter.
    let url = case.servers.url().to_owned();
    case.to(&url);
    case.set("delivery", "patience_seconds", "60");
    case.delivers();
    assert_whole(case.servers, case.sketch, &[AUTH]);
    Ok(())
}
