//! Delivery: how it is itself, and how far it is with a job.

use super::super::{AgentStatus, DeliveryStatus, JobStatus, StreamStatus};
use super::{Page, moment, word};
use crate::delivery::receipt::{Link, SliceReceipt};
use crate::printable::{count, size};

/// Slices of one job of which something is said; the rest is counted.
const MOST_SLICES: usize = 5;

/// What stands beneath the first line of a status.
pub(super) fn server(page: &mut Page, agent: &AgentStatus) {
    let Some(server) = &agent.delivery else {
        return;
    };
    let how = match server.ready {
        _ if !server.running => "not running",
        Some(true) => "ready",
        Some(false) => "NOT READY",
        None => "the server was not asked yet",
    };
    page.text(0, &format!("Delivery to {}: {how}", word(&server.server)));
    if !server.running {
        return;
    }
    for line in server.lines.iter().filter(|line| line.state != "ok") {
        let (state, part) = (word(&line.state), word(&line.part));
        page.text(2, &format!("{state}: {part}: {}", line.text));
    }
}

/// What stands beneath the row of a job that is on its way to the server, also while more of it is extracted.
pub(super) fn progress(page: &mut Page, delivery: &DeliveryStatus) {
    if delivery.slices > 0 {
        let figures = match &delivery.streamed {
            Some(streamed) => stream_figures(delivery, streamed),
            None => figures(delivery),
        };
        page.text(2, &format!("delivery: {figures}"));
    }
    if let Some(why) = &delivery.waits {
        page.text(2, &format!("waits: {why}"));
    }
    let wrong = |slice: &&SliceReceipt| slice.error.is_some();
    let wrong: Vec<&SliceReceipt> = delivery.each.iter().filter(wrong).collect();
    for slice in wrong.iter().take(MOST_SLICES) {
        let error = slice.error.as_deref().unwrap_or_default();
        let tries = u64::from(slice.tries);
        let name = word(&slice.name);
        page.text(
            2,
            &match slice.streamed {
                Some(_) => format!("{name}: {error}"),
                None => format!(
                    "{name} after {}: {error}",
                    count(tries, "upload", "uploads")
                ),
            },
        );
    }
    if wrong.len() > MOST_SLICES {
        let more = wrong.len() - MOST_SLICES;
        page.text(2, &format!("{more} more with an error, see --json"));
    }
    if let Some(sketch) = &delivery.sketch {
        link(page, sketch);
    }
}

fn figures(delivery: &DeliveryStatus) -> String {
    let rate = delivery.bytes_per_second.filter(|rate| rate.is_finite());
    let rate = rate.map_or_else(String::new, |rate| format!(" ({:.1} MiB/s)", rate / MIB));
    format!(
        "{} of {} proven, {} of {} sent{rate}, {} of {} found",
        delivery.slices_proven,
        count(delivery.slices, "slice", "slices"),
        size(delivery.bytes_sent),
        size(delivery.bytes),
        delivery.documents_found,
        count(delivery.documents, "event", "events"),
    )
}

fn stream_figures(delivery: &DeliveryStatus, streamed: &StreamStatus) -> String {
    let rate = streamed.per_second.filter(|rate| rate.is_finite());
    let rate = rate.map_or_else(String::new, |rate| format!(" ({rate:.0}/s)"));
    let mut text = format!(
        "{} of {} proven, {} of {} sent{rate}, {} found",
        delivery.slices_proven,
        count(delivery.slices, "slice", "slices"),
        streamed.sent,
        count(delivery.documents, "event", "events"),
        delivery.documents_found,
    );
    if streamed.refused > 0 {
        text.push_str(&format!(", {} refused by OpenSearch", streamed.refused));
    }
    if let Some(seconds) = streamed.lag_seconds {
        let lag = count(streamed.lag, "event waits", "events wait");
        text.push_str(&format!("; {lag}, the oldest slice for {seconds} s"));
    }
    text
}

const MIB: f64 = 1024.0 * 1024.0;

/// How the delivery of a job ended; whether it had one.
pub(super) fn ended(page: &mut Page, status: &JobStatus) -> bool {
    let Some(delivery) = status.job.delivery.as_ref() else {
        return false;
    };
    if delivery.level.is_none() {
        return false;
    }
    let events = count(delivery.documents, "event", "events");
    let since = moment(&status.job.changed);
    page.text(2, &format!("{since}: {events} proven to be on the server"));
    if let Some(sketch) = &delivery.sketch {
        link(page, sketch);
    }
    true
}

/// In one line, so that it can be clicked or copied whole.
fn link(page: &mut Page, sketch: &Link) {
    page.line(&format!("  {}  {}", word(&sketch.url), word(&sketch.name)));
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::super::example::{delivering, job, server, short, status, streaming};
    use super::super::{Style, render};
    use crate::dispatch::job::State;
    use crate::status::Status;

    fn show(status: &Status) -> String {
        render(status, Style::default())
    }

    #[test]
    fn on_the_way_to_the_server() {
        let mut status = status();
        let mut server = server(Some(true));
        server.lines.pop();
        status.agent.delivery = Some(server);
        let mut held = job("vol-0fedcba9876543210", State::Queued);
        held.waits = Some("It is begun when events can be delivered.".to_owned());
        status.jobs = vec![
            delivering("vol-0123456789abcdef0"),
            held,
            short("vol-00000000000000003"),
        ];
        assert_snapshot!(show(&status), @r#"
        dfagent 0.1.0 running since 2026-11-20 02:00 UTC: 0 running, 1 delivering, 1 waiting, 1 done, 1
          needs an operator; 412.0 GiB free
        Delivery to https://timesketch.example.org: ready
          warning: searches: max_clause_count is 1024.

        NEEDS OPERATOR
          vol-00000000000000003: not all events are delivered. Slice 02-logs: Timesketch finds 7 of 10
            events after 3 uploads: x (1 more like this)
            dfagent retry vol-00000000000000003

        volume                 case        state
        vol-0123456789abcdef0  IR-2026-17  delivering
          delivery: 3 of 9 slices proven, 41.0 MiB of 130.0 MiB sent (2.5 MiB/s), 12345 of 20000 events
            found
          waits: The server is indexing 12 other timelines.
          04-logs after 2 uploads: the server could not index it: MapperParsingException
          https://timesketch.example.org/sketch/17/  IR-2026-17
        vol-0fedcba9876543210  IR-2026-17  queued
          It is begun when events can be delivered.
        vol-00000000000000003  IR-2026-17  done: partial
          2026-11-20 02:59 UTC: 19980 events proven to be on the server
          https://timesketch.example.org/sketch/17/  IR-2026-17
          Slice 02-logs: Timesketch finds 7 of 10 events after 3 uploads: x
          Slice 03-logs: Timesketch finds 7 of 10 events after 3 uploads: x
        "#);
    }

    #[test]
    fn documents_on_the_way_into_opensearch() {
        let mut status = status();
        status.jobs = vec![streaming("vol-0123456789abcdef0")];
        assert_snapshot!(show(&status), @r"
        dfagent 0.1.0 running since 2026-11-20 02:00 UTC: 0 running, 1 delivering, 0 waiting, 0 done; 412.0
          GiB free

        volume                 case        state
        vol-0123456789abcdef0  IR-2026-17  delivering
          delivery: 3 of 9 slices proven, 13000 of 20000 events sent (3950/s), 12345 found, 3 refused by
            OpenSearch; 7655 events wait, the oldest slice for 12 s
          waits: documents are being sent
          04-logs: OpenSearch refused 3 events; kept with its reasons in /x
          https://timesketch.example.org/sketch/17/  IR-2026-17
        ");
    }

    #[test]
    fn delivery_that_is_not_ready_or_not_running_says_so() {
        let mut status = status();
        status.agent.delivery = Some(server(Some(false)));
        assert_snapshot!(show(&status), @r#"
        dfagent 0.1.0 running since 2026-11-20 02:00 UTC: no jobs; 412.0 GiB free
        Delivery to https://timesketch.example.org: NOT READY
          warning: searches: max_clause_count is 1024.
          bad: upload: it is switched off; set UPLOAD_ENABLED.
        "#);
        let mut away = server(None);
        away.running = false;
        status.agent.delivery = Some(away);
        assert_snapshot!(show(&status), @r#"
        dfagent 0.1.0 running since 2026-11-20 02:00 UTC: no jobs; 412.0 GiB free
        Delivery to https://timesketch.example.org: not running
        "#);
    }
}
