//! The agent's numbers for Prometheus' node exporter, as its text file collector reads them.
//!
//! Each is described in docs/metrics.md. [`render`] is pure; nothing here counts anything by itself.

use std::path::Path;

use crate::dispatch::job::State;
use crate::durable::{self, FileError};
use crate::plaso::verdict::Level;
use crate::status::{JobProgress, Status};

/// Writes the numbers where the collector finds them; it sees the old file or the new one.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, status: &Status) -> Result<(), FileError> {
    durable::write_public(path, render(status).as_bytes())
}

/// The numbers as text.
#[must_use]
pub fn render(status: &Status) -> String {
    let mut out = Text::default();
    agent(&mut out, status);
    totals(&mut out, status);
    delivery(&mut out, status);
    jobs(&mut out, status);
    at_work(&mut out, status);
    out.0
}

fn agent(out: &mut Text, status: &Status) {
    let agent = &status.agent;
    out.head("dfagent_info", "The agent, by version; always 1.");
    out.sample("dfagent_info", &[("version", &agent.version)], 1);
    let since = agent.since.as_deref().and_then(|text| text.parse().ok());
    if let Some(since) = since.map(jiff::Timestamp::as_second) {
        let name = "dfagent_start_time_seconds";
        out.one(name, "When the agent was started, since 1970.", since);
    }
    let name = "dfagent_configuration_refused";
    let refused = u8::from(agent.refused_configuration.is_some());
    out.one(name, "1 if a newer configuration is wrong.", refused);
    out.one(
        "dfagent_places",
        "Slices that may run at once.",
        agent.places,
    );
    if let Some(free) = agent.free_bytes {
        out.one(
            "dfagent_free_bytes",
            "Space that is free for results.",
            free,
        );
    }
    let name = "dfagent_reserve_bytes";
    out.one(name, "Space that is left alone.", agent.reserve_bytes);
    let name = "dfagent_ignored_devices";
    out.one(name, "Devices that are not evidence.", status.ignored.len());
    let name = "dfagent_operator_tasks";
    let tasks = status.needs_operator.len();
    out.one(name, "Things that wait for a person.", tasks);
}

/// What only grows while the agent runs.
fn totals(out: &mut Text, status: &Status) {
    let totals = &status.agent.totals;
    for (name, help, number) in [
        (
            "dfagent_slices_total",
            "Slices that were finished.",
            float(totals.slices),
        ),
        (
            "dfagent_slice_seconds_total",
            "Time that they took, added up.",
            totals.slice_seconds,
        ),
        (
            "dfagent_bytes_total",
            "Bytes in their files.",
            float(totals.bytes),
        ),
        (
            "dfagent_events_total",
            "Events in them.",
            float(totals.events),
        ),
        (
            "dfagent_stalls_total",
            "Files that Plaso hung on.",
            float(totals.stalls),
        ),
        (
            "dfagent_jobs_total",
            "Jobs that came to their end.",
            float(totals.jobs),
        ),
        (
            "dfagent_job_seconds_total",
            "Time that the last attempt at each of them took, added up.",
            totals.job_seconds,
        ),
        (
            "dfagent_slices_delivered_total",
            "Slices whose events were proven to be on the server.",
            float(totals.slices_delivered),
        ),
        (
            "dfagent_events_delivered_total",
            "Events in them.",
            float(totals.documents_delivered),
        ),
        (
            "dfagent_bytes_sent_total",
            "Bytes of storage files or documents that the server took.",
            float(totals.bytes_sent),
        ),
    ] {
        out.counter(name, help, number);
    }
}

/// Only where there is something to be delivered to.
fn delivery(out: &mut Text, status: &Status) {
    let Some(server) = &status.agent.delivery else {
        return;
    };
    let name = "dfagent_delivery_running";
    out.one(name, "1 if delivery is running.", u8::from(server.running));
    let ready = u8::from(server.running && server.ready == Some(true));
    let name = "dfagent_delivery_ready";
    out.one(name, "1 if the server takes what is made.", ready);
    lag(out, status);
}

/// Nothing waits where nothing is streamed.
fn lag(out: &mut Text, status: &Status) {
    let deliveries = status.jobs.iter().filter_map(|job| job.delivery.as_ref());
    let streams: Vec<_> = deliveries.filter_map(|one| one.streamed.as_ref()).collect();
    let events: u64 = streams.iter().map(|one| one.lag).sum();
    let name = "dfagent_delivery_lag_events";
    out.one(
        name,
        "Events of finished slices that cannot be found yet.",
        events,
    );
    let seconds = streams.iter().filter_map(|one| one.lag_seconds).max();
    let name = "dfagent_delivery_lag_seconds";
    let help = "Time since the first of those slices was finished.";
    out.one(name, help, seconds.unwrap_or_default());
}

fn jobs(out: &mut Text, status: &Status) {
    let count = |fits: &dyn Fn(&State) -> bool| {
        let jobs = status.jobs.iter();
        jobs.filter(|one| fits(&one.job.state)).count()
    };
    out.head("dfagent_jobs", "Jobs, by state.");
    for name in State::NAMES {
        let jobs = count(&|state| state.name() == name);
        out.sample("dfagent_jobs", &[("state", name)], jobs);
    }
    out.head(
        "dfagent_jobs_done",
        "Jobs that came to their end, by verdict.",
    );
    for level in [Level::Complete, Level::Partial, Level::Failed] {
        let jobs = count(&|state| matches!(state, State::Done { verdict } if *verdict == level));
        let verdict = level.to_string();
        out.sample("dfagent_jobs_done", &[("verdict", &verdict)], jobs);
    }
    let results = status.jobs.iter().filter_map(|one| one.result.as_ref());
    let documents: u64 = results.map(|result| result.documents).sum();
    let name = "dfagent_timeline_events";
    out.one(
        name,
        "Events in the timelines of all jobs that are done.",
        documents,
    );
}

/// One number of a job at work.
type Number = (&'static str, &'static str, fn(&JobProgress) -> f64);

const NUMBERS: [Number; 6] = [
    ("dfagent_job_slices", "Slices of a job at work.", |one| {
        float(one.slices)
    }),
    (
        "dfagent_job_slices_done",
        "Slices of it that are finished.",
        |one| float(one.slices_done),
    ),
    (
        "dfagent_job_bytes",
        "Bytes in the files that it reads.",
        |one| float(one.bytes),
    ),
    (
        "dfagent_job_bytes_done",
        "Bytes of them in finished slices.",
        |one| float(one.bytes_done),
    ),
    ("dfagent_job_events", "Events that it has found.", |one| {
        float(one.events)
    }),
    (
        "dfagent_job_work_seconds",
        "Time at work since it was started.",
        |one| one.seconds,
    ),
];

fn at_work(out: &mut Text, status: &Status) {
    for (name, help, number) in NUMBERS {
        out.head(name, help);
        for one in &status.jobs {
            if let Some(progress) = &one.progress {
                out.sample(name, &[("job", &one.job.id)], number(progress));
            }
        }
    }
}

/// Prometheus has no other numbers; up to 2^53 nothing is lost.
#[expect(
    clippy::cast_precision_loss,
    reason = "the format's numbers are floats"
)]
const fn float(number: u64) -> f64 {
    number as f64
}

/// The exposition format, version 0.0.4. All our metrics are gauges: they go down when a job ends.
#[derive(Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, help: &str) {
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
    }

    fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.put(format_args!(
            "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}\n"
        ));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, text)| format!("{label}=\"{}\"", escaped(text)))
            .collect();
        match labels.is_empty() {
            true => self.put(format_args!("{name} {value}\n")),
            false => self.put(format_args!("{name}{{{}}} {value}\n", labels.join(","))),
        }
    }

    fn one(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, help);
        self.sample(name, &[], value);
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.push_str(&text.to_string());
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::os::unix::fs::PermissionsExt;

    fn status() -> Status {
        let text = r#"{
            "schema": "dfagent-status-1",
            "agent": {"running": true, "version": "0.1.0", "pid": 1, "since": "2026-11-25T00:00:00Z",
                "state": "running", "places": 2, "free_bytes": 5, "reserve_bytes": 3, "configured": null,
                "refused_configuration": null, "power_off_at": null, "at": "2026-11-25T00:00:00Z",
                "delivery": {"server": "https://t", "running": true, "ready": null, "at": null, "lines": []},
                "totals": {"slices": 1, "slice_seconds": 2.5, "bytes": 3, "events": 4, "stalls": 0, "jobs": 0,
                    "job_seconds": 0, "slices_delivered": 2, "documents_delivered": 30, "bytes_sent": 500}},
            "jobs": [], "ignored": [{"node": "/dev/xvda", "size": 1, "reason": "mounted"}], "needs_operator": []
        }"#;
        let mut status: Status = serde_json::from_str(text).unwrap();
        let job = r#"{"job": {"id": "vol-\"1\"\n\\", "volume": {"id": "v", "node": "/dev/xvdf", "sequence": null,
                "size": 1, "point": "/dev/sdf", "entry": "e"}, "case": null, "priority": 0, "folder": "/x",
                "mountpoint": null, "state": {"name": "running"}, "starts": 1, "crashes": 0, "created": "",
                "changed": "", "hooks_due": [], "hooks_done": []}, "attached": true, "progress": null, "result": null}"#;
        let mut running: crate::status::JobStatus = serde_json::from_str(job).unwrap();
        let mut done = running.clone();
        running.progress = Some(JobProgress {
            slices: 7,
            slices_done: 3,
            seconds: 1.5,
            ..JobProgress::default()
        });
        done.job.state = State::Done {
            verdict: Level::Partial,
        };
        done.result = Some(crate::status::JobResultStatus {
            reasons: Vec::new(),
            documents: 42,
            timeline: None,
        });
        status.jobs = vec![running, done];
        status
    }

    #[test]
    fn numbers_are_those_of_the_status() {
        let text = render(&status());
        for line in [
            "dfagent_jobs{state=\"running\"} 1",
            "dfagent_jobs{state=\"parked\"} 0",
            "dfagent_jobs_done{verdict=\"partial\"} 1",
            "dfagent_timeline_events 42",
            "dfagent_job_slices{job=\"vol-\\\"1\\\"\\n\\\\\"} 7",
            "dfagent_job_work_seconds{job=\"vol-\\\"1\\\"\\n\\\\\"} 1.5",
            "dfagent_start_time_seconds 1795564800",
            "dfagent_ignored_devices 1",
            "dfagent_slices_delivered_total 2",
            "dfagent_events_delivered_total 30",
            "dfagent_bytes_sent_total 500",
            "dfagent_delivery_running 1",
            "dfagent_delivery_ready 0",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} in {text}");
        }
    }

    #[test]
    fn every_metric_has_one_help_and_one_type_before_its_samples() {
        let text = render(&status());
        let (mut announced, mut current) = (BTreeSet::new(), "");
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                current = rest.split(' ').next().unwrap();
                assert!(announced.insert(current), "{current} twice");
                let kind = if current.ends_with("_total") {
                    "counter"
                } else {
                    "gauge"
                };
                assert_eq!(lines.next().unwrap(), format!("# TYPE {current} {kind}"));
            } else {
                assert_eq!(line.split(['{', ' ']).next().unwrap(), current);
            }
        }
    }

    #[test]
    fn the_documentation_lists_every_metric_and_no_other() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
        let text = std::fs::read_to_string(path).unwrap();
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
        let listed: BTreeSet<String> = rows
            .map(|row| row.split('`').next().unwrap().to_owned())
            .collect();
        let text = render(&status());
        let heads = text.lines().filter_map(|line| line.strip_prefix("# HELP "));
        let rendered: BTreeSet<String> = heads
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect();
        assert_eq!(listed, rendered);
    }

    #[test]
    fn the_file_can_be_read_by_all_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dfagent.prom");
        let victim = folder.path().join("victim");
        durable::write(&victim, b"untouched").unwrap();
        std::os::unix::fs::symlink(&victim, folder.path().join("dfagent.prom.new")).unwrap();
        write(&path, &status()).unwrap();
        let mode = std::fs::symlink_metadata(&path)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o644);
        assert_eq!(std::fs::read(&path).unwrap(), render(&status()).as_bytes());
        assert_eq!(std::fs::read(&victim).unwrap(), b"untouched");
    }
}
