//! Statuses that tests show, serve and filter.

use std::path::PathBuf;

use super::super::{
    AgentStatus, DeliveryStatus, JobProgress, JobResultStatus, JobStatus, SCHEMA, ServerStatus,
    SliceAtWork, Status, StreamStatus,
};
use crate::delivery::receipt::{Link, SliceReceipt, Stage, StandingLine, Streamed};
use crate::dispatch::job::{DeliveryRecord, Job, State};
use crate::plaso::verdict::Level;
use crate::policy::{Ignored, Volume};

/// A running agent without jobs.
pub(in crate::status) fn status() -> Status {
    Status {
        schema: SCHEMA.to_owned(),
        agent: AgentStatus {
            running: true,
            version: "0.1.0".to_owned(),
            pid: Some(4711),
            since: Some("2026-11-20T02:00:12.5Z".to_owned()),
            state: "running".to_owned(),
            places: 2,
            free_bytes: Some(412 << 30),
            reserve_bytes: 512 << 20,
            configured: Some("2026-11-20T02:00:12Z".to_owned()),
            refused_configuration: None,
            power_off_at: None,
            delivery: None,
            at: "2026-11-20T03:12:00Z".to_owned(),
            totals: super::super::Totals::default(),
        },
        jobs: Vec::new(),
        ignored: Vec::new(),
        needs_operator: Vec::new(),
    }
}

/// A job without progress or result.
pub(in crate::status) fn job(id: &str, state: State) -> JobStatus {
    let job = Job {
        id: id.to_owned(),
        volume: Volume {
            id: id.to_owned(),
            node: "/dev/nvme1n1".into(),
            sequence: Some(12),
            size: 8 << 30,
            point: "/dev/sdf".to_owned(),
            entry: "evidence".to_owned(),
        },
        case: Some("IR-2026-17".to_owned()),
        priority: 0,
        folder: PathBuf::from("/var/lib/dfagent/jobs").join(id),
        mountpoint: None,
        state,
        starts: 1,
        crashes: 0,
        created: "2026-11-20T02:30:00Z".to_owned(),
        changed: "2026-11-20T02:59:59Z".to_owned(),
        hooks_due: Vec::new(),
        hooks_done: Vec::new(),
        wish: None,
        delivery: None,
    };
    JobStatus {
        job,
        attached: true,
        progress: None,
        waits: None,
        delivery: None,
        result: None,
    }
}

/// A job at work.
pub(in crate::status) fn at_work(id: &str, done: u64, files: &[&str]) -> JobStatus {
    let mut status = job(id, State::Running);
    status.progress = Some(JobProgress {
        stage: "extracting".to_owned(),
        slices: 40,
        slices_done: done,
        bytes: 4 << 30,
        bytes_done: done * (100 << 20),
        events: done * 20_000 + 17,
        events_per_second: 812.4,
        seconds: 295.0,
        seconds_left: (done > 0).then_some(690.0),
        at_work: files
            .iter()
            .zip(done + 1..)
            .map(|(file, number)| SliceAtWork {
                name: format!("p1-{number:03}"),
                events: 1234 * (number - done),
                file: (*file).to_owned(),
            })
            .collect(),
        unread: Vec::new(),
    });
    status
}

/// A job that ended with something missing.
pub(in crate::status) fn partial(id: &str) -> JobStatus {
    let verdict = Level::Partial;
    let mut status = job(id, State::Done { verdict });
    status.result = Some(JobResultStatus {
        reasons: vec![
            "p2: the filesystem is encrypted (LUKS) and was not read.".to_owned(),
            "3 warnings of Plaso about 2 files.".to_owned(),
        ],
        documents: 231_004,
        timeline: Some(format!("/var/lib/dfagent/jobs/{id}/timeline.jsonl")),
    });
    status
}

/// A job on its way to the server.
pub(in crate::status) fn delivering(id: &str) -> JobStatus {
    let verdict = Level::Complete;
    let mut status = job(id, State::Delivering { verdict });
    status.job.delivery = Some(DeliveryRecord::new(verdict));
    let slice = SliceReceipt {
        name: "04-logs".to_owned(),
        stage: Stage::Uploading,
        tries: 2,
        error: Some("the server could not index it: MapperParsingException".to_owned()),
        ..SliceReceipt::default()
    };
    status.delivery = Some(DeliveryStatus {
        at: Some("2026-11-20T03:11:59Z".to_owned()),
        sketch: Some(sketch()),
        waits: Some("The server is indexing 12 other timelines.".to_owned()),
        needs: None,
        slices: 9,
        slices_proven: 3,
        bytes: 130 << 20,
        bytes_sent: 41 << 20,
        bytes_per_second: Some(2.5 * 1024.0 * 1024.0),
        documents: 20_000,
        documents_found: 12_345,
        each: vec![slice],
        streamed: None,
    });
    status
}

/// A job of which documents are sent.
pub(in crate::status) fn streaming(id: &str) -> JobStatus {
    let mut status = delivering(id);
    if let Some(delivery) = &mut status.delivery {
        delivery.waits = Some("documents are being sent".to_owned());
        delivery.bytes_per_second = None;
        let error = "OpenSearch refused 3 events; kept with its reasons in /x";
        delivery.each[0].error = Some(error.to_owned());
        delivery.each[0].streamed = Some(Streamed::default());
        delivery.streamed = Some(StreamStatus {
            sent: 13_000,
            refused: 3,
            per_second: Some(3950.4),
            lag: 7655,
            lag_seconds: Some(12),
        });
    }
    status
}

/// A job of which not all arrived.
pub(in crate::status) fn short(id: &str) -> JobStatus {
    let mut status = job(
        id,
        State::Done {
            verdict: Level::Partial,
        },
    );
    let reason =
        |slice| format!("Slice {slice}: Timesketch finds 7 of 10 events after 3 uploads: x");
    status.job.delivery = Some(DeliveryRecord {
        level: Some(Level::Partial),
        reasons: vec![reason("02-logs"), reason("03-logs")],
        documents: 19_980,
        sketch: Some(sketch()),
        ..DeliveryRecord::new(Level::Complete)
    });
    status
}

fn sketch() -> Link {
    Link {
        id: 17,
        name: "IR-2026-17".to_owned(),
        url: "https://timesketch.example.org/sketch/17/".to_owned(),
    }
}

/// Delivery that runs.
pub(in crate::status) fn server(ready: Option<bool>) -> ServerStatus {
    let line = |state: &str, part: &str, text: &str| StandingLine {
        state: state.to_owned(),
        part: part.to_owned(),
        text: text.to_owned(),
    };
    ServerStatus {
        server: "https://timesketch.example.org".to_owned(),
        running: true,
        ready,
        at: None,
        lines: vec![
            line("ok", "login", "as dfagent"),
            line("warning", "searches", "max_clause_count is 1024."),
            line("bad", "upload", "it is switched off; set UPLOAD_ENABLED."),
        ],
    }
}

/// A device that is not ours.
pub(in crate::status) fn ignored(node: &str, reason: &str) -> Ignored {
    Ignored {
        node: node.into(),
        size: 8 << 30,
        reason: reason.to_owned(),
    }
}
