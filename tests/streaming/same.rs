//! What is found in the end: the documents that the server's own import makes, on either OpenSearch, with labels or
//! without, with Timesketch or without.

use std::process::Command;

use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

use crate::case::{Case, Test};
use crate::lab::{self, Need, trial};
use crate::material::{self, AUTH, HISTORY, NOTHING, SYSLOG, storage};
use crate::servers::{self, Servers, shared};
use crate::stream::{Stream, assert_whole};

/// The OpenSearch that is not the default one.
const OTHER: &str = "3.8.0";

/// What we say about each event.
const LABELS: [&str; 6] = [
    "evidence_volume",
    "evidence_filesystem",
    "evidence_host",
    "evidence_instance",
    "evidence_case",
    "evidence_slice",
];

pub fn trials() -> Vec<Trial> {
    let needs = crate::needs();
    let mut with_other = needs.clone();
    with_other.push(Need::Other(
        servers::is_installed(OTHER),
        "OpenSearch 3.8.0 (a JDK of version 21 or later, then `OPENSEARCH_VERSION=3.8.0 make setup-test`)",
    ));
    let all: [(&str, Test); 7] = [
        (
            "streamed_documents_are_those_of_the_servers_own_import_but_for_labels",
            same_as_official,
        ),
        (
            "without_labels_documents_are_exactly_those_of_the_servers_own_import",
            without_labels,
        ),
        (
            "without_timesketch_events_are_in_opensearch_alone_and_counted_there",
            opensearch_only,
        ),
        (
            "a_job_whose_documents_were_joined_before_is_streamed_from_its_timeline",
            joined,
        ),
        (
            "process_streams_what_it_extracts_and_ends_with_all_found",
            process,
        ),
        (
            "check_says_line_by_line_whether_opensearch_would_take_what_is_made",
            check,
        ),
        (
            "slices_without_events_are_delivered_without_an_index",
            without_events,
        ),
    ];
    let mut trials: Vec<Trial> = all
        .into_iter()
        .map(|(name, test)| trial(name, &needs, test))
        .collect();
    trials.push(trial(
        "a_stream_into_opensearch_3_8_is_found_whole_and_equals_its_import",
        &with_other,
        other_opensearch,
    ));
    trials
}

fn same_as_official() -> Result<(), Failed> {
    let _shared = shared();
    let stream = Stream::of(&[HISTORY, AUTH, SYSLOG, NOTHING]);
    stream.delivers();
    equals_import(&stream);
    let (timeline, _) = stream.timeline();
    let documents = whole(&stream, stream.sketch, timeline);
    let said = |document: &Value| {
        let of = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
        (of("evidence_host"), of("evidence_slice"))
    };
    for document in &documents {
        let (host, slice) = said(document);
        assert_eq!(host, "small-01", "{document}");
        assert!(stream.slices.contains(&slice.as_str()), "{document}");
    }
    for slice in [HISTORY, AUTH, SYSLOG] {
        let of = documents.iter().filter(|one| said(one).1 == slice).count();
        assert_eq!(of, material::events(&[slice]).len(), "{slice}");
        let question = format!("evidence_slice:\"{slice}\"");
        let found = stream
            .servers
            .ask(&json!(["count", stream.sketch, question]));
        assert_eq!(found, of, "{question}");
    }
    Ok(())
}

/// The documents of our timeline without labels, and those that the official importer makes of the storage files.
fn equals_import(stream: &Stream) {
    let official = stream.servers.make_sketch("imported officially");
    let mut theirs = Vec::new();
    for slice in [HISTORY, AUTH, SYSLOG] {
        if stream.slices.contains(&slice) {
            let timeline = import(stream, official, slice);
            theirs.extend(whole(stream, official, timeline));
        }
    }
    let (timeline, _) = stream.timeline();
    let mut ours = whole(stream, stream.sketch, timeline);
    for document in &mut ours {
        for label in LABELS {
            document.as_object_mut().unwrap().remove(label);
        }
    }
    let sorted = |documents: Vec<Value>| {
        let mut texts: Vec<String> = documents.iter().map(Value::to_string).collect();
        texts.sort();
        texts
    };
    let (ours, theirs) = (sorted(ours), sorted(theirs));
    let differ = ours.iter().zip(&theirs).find(|(one, other)| one != other);
    assert!(
        ours == theirs,
        "{} and {}: {differ:?}",
        ours.len(),
        theirs.len()
    );
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
    let count = material::events(&[slice]).len();
    case.servers
        .ask(&json!(["await_timeline", sketch, timeline, count]));
    timeline
}

/// Every document with all its fields; the keys of a path specification have no order.
fn whole(case: &Case, sketch: u64, timeline: u64) -> Vec<Value> {
    let found = case
        .servers
        .ask(&json!(["whole_documents", sketch, timeline]));
    let found = found.as_array().unwrap().iter().map(|document| {
        let mut document = document.clone();
        let text = document["path_spec"].as_str().unwrap_or("null");
        document["path_spec"] = serde_json::from_str(text).unwrap();
        document
    });
    found.collect()
}

fn without_labels() -> Result<(), Failed> {
    let _shared = shared();
    let mut stream = Stream::of(&[HISTORY, SYSLOG]);
    stream.more.push("--no-labels");
    stream.delivers();
    let (timeline, _) = stream.timeline();
    for document in whole(&stream, stream.sketch, timeline) {
        for label in LABELS {
            assert!(document[label].is_null(), "{document}");
        }
    }
    equals_import(&stream);
    Ok(())
}

fn opensearch_only() -> Result<(), Failed> {
    let _shared = shared();
    let mut stream = Stream::of(&[HISTORY, AUTH]);
    stream.to("");
    let done = stream.deliver();
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    let record = stream.record().unwrap();
    let expected = material::events(&stream.slices).len() as u64;
    assert_eq!(record["documents"], expected, "{record}");
    assert_eq!(record["server"], stream.servers.opensearch(), "{record}");
    let state = stream.state().unwrap();
    let index = state["stream"]["index"].as_str().unwrap();
    assert_eq!(stream.in_index(index), Some(expected));
    assert_eq!(stream.servers.timelines(stream.sketch), Vec::<Value>::new());
    let document = json!({"query": {"match_all": {}}, "size": 1});
    let path = format!("{index}/_search");
    let (_, found) = stream.servers.of_opensearch("POST", &path, &document);
    let source = &found["hits"]["hits"][0]["_source"];
    assert!(source["__ts_timeline_id"].is_null(), "{source}");
    assert_eq!(source["evidence_host"], "small-01", "{source}");
    Ok(())
}

fn joined() -> Result<(), Failed> {
    let _shared = shared();
    let all = [HISTORY, AUTH, SYSLOG, NOTHING];
    let stream = Stream::of(&all);
    for slice in all {
        let folder = stream.job.join("slices").join(slice);
        std::fs::remove_file(folder.join("documents.jsonl")).unwrap();
    }
    let done = stream.deliver();
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    let expected: usize = whole_of(&stream);
    let record = stream.record().unwrap();
    assert_eq!(record["documents"], expected, "{record}");
    assert_eq!(record["slices"][0]["name"], "timeline", "{record}");
    assert_eq!(stream.servers.count(stream.sketch), expected as u64);
    // Once more it knows that all is there.
    let again = stream.deliver();
    assert_eq!(again.code, 0, "{}{}", again.out, again.err);
    assert_eq!(stream.servers.count(stream.sketch), expected as u64);
    Ok(())
}

/// Events in the timeline of a job.
fn whole_of(case: &Case) -> usize {
    let text = std::fs::read_to_string(case.job.join("timeline.jsonl")).unwrap();
    text.lines().count()
}

fn process() -> Result<(), Failed> {
    let _shared = shared();
    let stream = Stream::of(&[HISTORY, AUTH, SYSLOG]);
    let source = stream.at("disk-1");
    material::make_tree(&source);
    let mut command = stream.dfagent();
    let url = stream.servers.url();
    material::process_args(&mut command, &source, url, stream.work.path());
    let done = lab::finish(command.arg("--stream").arg("--work").arg(stream.at("work")));
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    assert_whole(stream.servers, stream.sketch, &stream.slices);
    let expected = material::events(&stream.slices).len();
    let proven = format!("Proven: {expected} events");
    assert!(done.out.contains(&proven), "{}", done.out);
    Ok(())
}

fn check() -> Result<(), Failed> {
    let _shared = shared();
    let mut stream = Stream::of(&[HISTORY]);
    stream.set("delivery", "to", "\"stream\"");
    // Delivery asks, and its words are shown.
    let mut command = stream.dfagent();
    command.arg("process").arg(stream.at("nothing"));
    let done = lab::finish(
        command
            .args(["--to", stream.servers.url(), "--stream", "--work"])
            .arg(stream.at("w")),
    );
    let line = |part: &str| {
        let of = done
            .err
            .lines()
            .find(|line| line.split_whitespace().nth(1) == Some(part));
        of.unwrap_or_else(|| panic!("{part} is not in {}", done.err))
            .to_owned()
    };
    for part in ["timesketch", "login", "opensearch", "shards", "sketch"] {
        assert!(line(part).starts_with("ok "), "{}", done.err);
    }
    let limit = line("searches");
    assert!(
        limit.starts_with("warning ") && limit.contains("max_clause_count"),
        "{limit}"
    );
    assert!(!done.err.contains("uploads"), "{}", done.err);
    Ok(())
}

fn without_events() -> Result<(), Failed> {
    let _shared = shared();
    let stream = Stream::of(&[NOTHING]);
    let done = stream.deliver();
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    assert_eq!(stream.servers.timelines(stream.sketch), Vec::<Value>::new());
    Ok(())
}

fn other_opensearch() -> Result<(), Failed> {
    let _shared = shared();
    let servers: &'static Servers = Box::leak(Box::new(Servers::start(OTHER)));
    let stopped = Stopped(servers);
    let stream = Stream::on(servers, &[HISTORY, AUTH, SYSLOG]);
    stream.delivers();
    equals_import(&stream);
    drop(stopped);
    Ok(())
}

/// Whatever becomes of the trial, the servers end.
struct Stopped(&'static Servers);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.stop();
    }
}
