//! What is found in the end: the same as after the official importer, all the time, and on either OpenSearch.

use std::collections::BTreeSet;
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

use crate::case::{Case, HANGING, ends, holds_within};
use crate::lab::{self, Need, trial};
use crate::material::{AUTH, HISTORY, NOTHING, SYSLOG, storage};
use crate::servers::{self, Servers, shared};

/// The OpenSearch that is not the default one.
const OTHER: &str = "3.8.0";

pub fn trials() -> Vec<Trial> {
    let needs = crate::needs();
    let mut with_other = needs.clone();
    with_other.push(Need::Other(
        servers::is_installed(OTHER),
        "OpenSearch 3.8.0 (a JDK of version 21 or later, then `OPENSEARCH_VERSION=3.8.0 make setup-test`)",
    ));
    vec![
        trial(
            "the_official_importer_and_delivery_make_the_same_timelines",
            &needs,
            same_as_official,
        ),
        trial(
            "what_was_searchable_stays_searchable_while_later_slices_arrive",
            &needs,
            stays_searchable,
        ),
        trial(
            "process_delivers_what_it_extracts_and_ends_with_all_found",
            &needs,
            process_to_server,
        ),
        trial(
            "check_says_line_by_line_whether_the_server_would_take_what_is_made",
            &needs,
            check,
        ),
        trial(
            "what_one_server_has_is_delivered_to_another_too",
            &needs,
            another_server,
        ),
        trial(
            "a_delivery_to_opensearch_3_8_is_found_whole",
            &with_other,
            other_opensearch,
        ),
    ]
}

/// Questions, each with a number of events that is not all of them.
const QUESTIONS: &[&str] = &[
    "*",
    "message:\"Failed password\"",
    "message:number AND data_type:\"syslog:line\"",
    "command:*",
    "datetime:[2026-11-20T00\\:05\\:00 TO 2026-11-20T00\\:09\\:00]",
    "message:/.*192.0.2.1[0-9].*/",
];

fn same_as_official() -> Result<(), Failed> {
    let _shared = shared();
    let case = Case::of(&[HISTORY, AUTH, SYSLOG, NOTHING]);
    case.delivers();
    let official = case.servers.make_sketch("imported officially");
    for slice in [HISTORY, AUTH, SYSLOG] {
        let theirs = import(&case, official, slice);
        let ours = timeline_of(&case, slice);
        for question in QUESTIONS {
            let count = |sketch: u64, timeline: u64| {
                let asked = json!(["count", sketch, question, [timeline]]);
                case.servers.ask(&asked)
            };
            let counts = (count(case.sketch, ours), count(official, theirs));
            assert_eq!(counts.0, counts.1, "{slice}: {question}");
        }
        let (a, b) = (
            whole(&case, case.sketch, ours),
            whole(&case, official, theirs),
        );
        assert!(!a.is_empty());
        assert!(a == b, "{slice}: {:?} and {:?}", a.first(), b.first());
    }
    assert_eq!(
        fields(&case, case.sketch),
        fields(&case, official),
        "mapped fields"
    );
    Ok(())
}

fn import(case: &Case, sketch: u64, slice: &str) -> u64 {
    let python = lab::root().join("target/timesketch/python/bin/python");
    let mut command = Command::new(python);
    command
        .arg("-B")
        .arg(lab::root().join("tests/timesketch/official.py"))
        .arg(case.servers.state.join("servers.json"))
        .arg(sketch.to_string())
        .arg(format!("official {slice}"))
        .arg(storage(&case.job, slice))
        // It writes into the home folder.
        .env("HOME", case.work.path());
    let done = lab::finish(&mut command);
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    let timeline = done.out.trim().lines().last().unwrap().parse().unwrap();
    let waited = json!([
        "await_timeline",
        sketch,
        timeline,
        crate::material::events(&[slice]).len()
    ]);
    case.servers.ask(&waited);
    timeline
}

fn timeline_of(case: &Case, slice: &str) -> u64 {
    let record = case.record().unwrap();
    let slices = record["slices"].as_array().unwrap();
    let of = slices.iter().find(|one| one["name"] == slice).unwrap();
    of["timeline"]["id"].as_u64().unwrap()
}

/// Every document with all its fields, sorted; the keys of a path specification have no order.
fn whole(case: &Case, sketch: u64, timeline: u64) -> Vec<String> {
    let found = case
        .servers
        .ask(&json!(["whole_documents", sketch, timeline]));
    let found = found.as_array().unwrap().iter().map(|document| {
        let mut document = document.clone();
        let text = document["path_spec"].as_str().unwrap_or("null");
        document["path_spec"] = serde_json::from_str(text).unwrap();
        document.to_string()
    });
    let mut found: Vec<String> = found.collect();
    found.sort();
    found
}

fn fields(case: &Case, sketch: u64) -> BTreeSet<String> {
    let about = case
        .servers
        .ask(&json!(["get", format!("sketches/{sketch}/")]));
    let mappings = about["meta"]["mappings"].as_array().unwrap();
    mappings.iter().map(Value::to_string).collect()
}

fn stays_searchable() -> Result<(), Failed> {
    let _shared = shared();
    let case = Case::of(&[HISTORY, AUTH, SYSLOG]);
    let mut child = case.begin();
    let (mut before, mut counts) = (0, BTreeSet::new());
    let ended = holds_within(HANGING, || {
        let ended = child.try_wait().unwrap().is_some();
        // A sketch without a timeline cannot be searched.
        if !case.servers.timelines(case.sketch).is_empty() {
            let now = search(&case);
            assert!(now >= before, "{before} events were found, then {now}");
            before = now;
            counts.insert(now);
        }
        ended
    });
    assert!(ended && ends(&mut child) == 0, "{counts:?}");
    case.is_whole();
    assert!(counts.len() >= 3, "it was looked at on the way: {counts:?}");
    Ok(())
}

/// What an analyst finds; nothing while the first timeline is still being made.
fn search(case: &Case) -> u64 {
    let body = json!({"query": "*", "filter": {"size": 1, "indices": "_all", "chips": []}});
    let (status, found) =
        case.servers
            .api("POST", &format!("sketches/{}/explore/", case.sketch), body);
    if status != 200 {
        return 0;
    }
    found["meta"]["es_total_count_complete"]
        .as_u64()
        .unwrap_or(0)
}

fn process_to_server() -> Result<(), Failed> {
    let _shared = shared();
    let case = Case::of(&[HISTORY, AUTH, SYSLOG]);
    let source = case.at("disk-1");
    crate::material::make_tree(&source);
    let mut command = case.dfagent();
    crate::material::process_args(&mut command, &source, case.servers.url(), case.work.path());
    let done = lab::finish(command.arg("--work").arg(case.at("work")));
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    crate::case::assert_whole(case.servers, case.sketch, &case.slices);
    let expected = crate::material::events(&case.slices).len();
    assert!(
        done.out.contains(&format!("Proven: {expected} events")),
        "{}",
        done.out
    );
    Ok(())
}

fn check() -> Result<(), Failed> {
    let _shared = shared();
    let mut case = Case::of(&[HISTORY]);
    let address = format!("{:?}", case.servers.opensearch());
    case.set("opensearch", "url", &address);
    let line = |out: &str, part: &str| {
        let of = out
            .lines()
            .find(|line| line.split_whitespace().nth(1) == Some(part));
        of.unwrap_or_else(|| panic!("{part} is not in {out}"))
            .to_owned()
    };
    let done = lab::finish(case.dfagent().arg("check"));
    for part in ["timesketch", "login", "uploads"] {
        assert!(line(&done.out, part).starts_with("ok "), "{}", done.out);
    }
    let limit = line(&done.out, "opensearch");
    assert!(
        limit.starts_with("warning ") && limit.contains("max_clause_count"),
        "{limit}"
    );
    let wrong = case.at("password");
    std::fs::write(&wrong, "wrong\n").unwrap();
    lab::tool("chmod", &["600".as_ref(), wrong.as_os_str()]);
    case.set("timesketch", "password_file", &format!("{wrong:?}"));
    let done = lab::finish(case.dfagent().arg("check"));
    assert!(!line(&done.out, "login").starts_with("ok "), "{}", done.out);
    Ok(())
}

/// Under another address a server is another one: what is proven of the first says nothing about it.
fn another_server() -> Result<(), Failed> {
    let _shared = shared();
    let mut case = Case::of(&[HISTORY, NOTHING]);
    let first = case.deliver();
    assert_eq!(first.code, 0, "{}{}", first.out, first.err);
    let sketch = case.servers.make_sketch("another");
    case.to(&case.servers.url().replace("127.0.0.1", "localhost"));
    case.set("timesketch", "sketch_id", &sketch.to_string());
    let second = case.deliver();
    assert_eq!(second.code, 0, "{}{}", second.out, second.err);
    for sketch in [case.sketch, sketch] {
        assert!(case.servers.documents(sketch) == crate::material::events(&case.slices));
    }
    Ok(())
}

fn other_opensearch() -> Result<(), Failed> {
    let _shared = shared();
    let servers: &'static Servers = Box::leak(Box::new(Servers::start(OTHER)));
    let case = Case::on(servers, &[HISTORY, SYSLOG]);
    let done = case.deliver();
    let found = servers.documents(case.sketch);
    servers.stop();
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    assert!(found == crate::material::events(&case.slices));
    Ok(())
}
