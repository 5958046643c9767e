//! What goes wrong on the way: full disks, hanging and dying runs of Plaso, hostile evidence, interruptions.
//! The job ends by itself, names what is missing, and goes on when it is called again.
//!
//! Not here: a device that is detached while it is read. A loop or zram device in use cannot be taken away,
//! so that takes a virtual machine: tests/vm.rs.
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

#[path = "faults/evidence.rs"]
mod evidence;
#[path = "faults/full.rs"]
mod full;
#[path = "faults/interrupted.rs"]
mod interrupted;
mod lab;
#[path = "faults/plaso.rs"]
mod plaso;
#[path = "cage/standin.rs"]
mod standin;

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// How long anything may take before it counts as hanging.
const HANGING: Duration = Duration::from_secs(120);

/// Few parsers: a run of Plaso takes about three seconds.
const PARSERS: &str =
    "filestat,text/syslog_traditional,text/syslog,systemd_journal,text/bash_history";

fn main() {
    let mut trials = plaso::trials();
    trials.extend(evidence::trials());
    trials.extend(interrupted::trials());
    trials.extend(full::trials());
    lab::run(trials);
}

/// The only sentence on standard error, which the program ended with.
fn sentence(done: &lab::Finished) -> &str {
    let mut lines = done
        .err
        .lines()
        .filter(|line| line.starts_with("dfagent: "));
    let line = lines.next().unwrap_or_default();
    assert_eq!(lines.next(), None, "one sentence: {}", done.err);
    line
}

/// The pid of a Python that runs log2timeline in a cage over something below `mark`; none if there is none.
fn running_plaso(mark: &str) -> Option<nix::unistd::Pid> {
    standin::caged(mark)
        .into_iter()
        .find(|(_, words)| {
            let program = words
                .first()
                .is_some_and(|word| word.ends_with("bin/python"));
            program && words.iter().any(|word| word.ends_with("bin/log2timeline"))
        })
        .map(|(pid, _)| nix::unistd::Pid::from_raw(pid.try_into().unwrap()))
}

/// The reasons of a kind in a manifest's verdict, with their files in one text.
fn reason(manifest: &Value, kind: &str) -> String {
    let reasons = manifest["verdict"]["reasons"].as_array().unwrap();
    let found = reasons.iter().filter(|reason| reason["kind"] == kind);
    found
        .map(|reason| format!("{} {}\n", reason["text"], reason["files"]))
        .collect()
}

/// The timeline of the only job below a folder.
fn timeline(out: &Path) -> String {
    std::fs::read_to_string(lab::job_folder(out).join("timeline.jsonl")).unwrap_or_default()
}

/// The documents with a text in them.
fn count(timeline: &str, text: &str) -> usize {
    timeline.lines().filter(|line| line.contains(text)).count()
}
