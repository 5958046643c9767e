//! The table of jobs, and what is said beneath a row.

use super::super::{JobProgress, JobStatus, Status};
use super::{Page, delivery, has_ended, moment, plain, word};
use crate::dispatch::job::State;
use crate::printable::{count, line, size, time};

/// Headings of the columns.
const COLUMNS: [&str; 8] = [
    "volume", "case", "state", "slices", "bytes", "events", "rate", "left",
];

/// Columns are as wide as their widest cell, and no cell is wider than this.
const WIDEST: [usize; 8] = [40, 16, 26, 11, 22, 12, 10, 8];

/// Columns that are left out where there is no room, the least missed first.
const LEFT_OUT: [usize; 4] = [4, 6, 1, 7];

/// Sentences beneath one row; the rest is counted.
const MOST_SENTENCES: usize = 8;

type Row = [String; 8];

pub(super) fn table(page: &mut Page, status: &Status) {
    if status.jobs.is_empty() {
        return;
    }
    let rows: Vec<Row> = status
        .jobs
        .iter()
        .map(|job| row(job, status.agent.running))
        .collect();
    let mut widths = [0; 8];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    // A column in which nobody has anything is not shown.
    for (width, name) in widths.iter_mut().zip(COLUMNS) {
        if *width > 0 {
            *width = (*width).max(name.len());
        }
    }
    for column in LEFT_OUT {
        let shown = widths.iter().filter(|width| **width > 0);
        let taken: usize = shown.map(|width| width + 2).sum();
        if taken > page.style.width + 2 {
            widths[column] = 0;
        }
    }
    page.heading(&aligned(&COLUMNS.map(str::to_owned), widths));
    for (job, row) in status.jobs.iter().zip(&rows) {
        page.line(&aligned(row, widths));
        beneath(page, job);
    }
}

fn aligned(row: &Row, widths: [usize; 8]) -> String {
    let cells: Vec<String> = row
        .iter()
        .zip(widths)
        .filter(|(_, width)| *width > 0)
        .map(|(cell, width)| format!("{cell:width$}"))
        .collect();
    cells.join("  ").trim_end().to_owned()
}

fn row(status: &JobStatus, running: bool) -> Row {
    let job = &status.job;
    let mut row = [
        job.id.clone(),
        job.case.clone().unwrap_or_else(|| "-".to_owned()),
        state(status, running),
        String::new(),
        String::new(),
        String::new(),
        String::new(),
        String::new(),
    ];
    match (&status.progress, &status.result) {
        (Some(progress), _) => figures(&mut row, progress),
        (None, Some(result)) => row[5] = result.documents.to_string(),
        (None, None) => {}
    }
    for (cell, widest) in row.iter_mut().zip(WIDEST) {
        *cell = line(cell, widest);
    }
    row
}

fn figures(row: &mut Row, progress: &JobProgress) {
    if progress.slices > 0 {
        row[3] = format!("{}/{}", progress.slices_done, progress.slices);
        row[4] = format!("{}/{}", size(progress.bytes_done), size(progress.bytes));
    }
    row[5] = progress.events.to_string();
    if progress.events_per_second.is_finite() {
        row[6] = format!("{:.0}/s", progress.events_per_second);
    }
    row[7] = progress
        .seconds_left
        .filter(|left| left.is_finite())
        .map_or_else(String::new, time);
}

/// Where it stands, in a word or two.
fn state(status: &JobStatus, running: bool) -> String {
    match &status.job.state {
        State::Running if !running => "broken off".to_owned(),
        State::Running => {
            let stage = status.progress.as_ref().map(|progress| &progress.stage);
            match stage.filter(|stage| !stage.is_empty()) {
                Some(stage) => stage.clone(),
                None => "running".to_owned(),
            }
        }
        State::Done { verdict } => format!("done: {verdict}"),
        other => other.name().replace('_', " "),
    }
}

fn beneath(page: &mut Page, status: &JobStatus) {
    match &status.job.state {
        State::Waiting { why } | State::Interrupted { why } => page.text(2, why),
        State::Released => page.text(2, "It goes on when the volume is attached again."),
        _ => {}
    }
    if let Some(why) = &status.waits {
        page.text(2, why);
    }
    if let Some(progress) = &status.progress {
        for slice in &progress.at_work {
            let events = count(slice.events, "event", "events");
            // One line each: a long path is cut in front, because its end tells more.
            let text = format!("  {}, {events}: ", word(&slice.name));
            let room = page.style.width.saturating_sub(text.chars().count());
            page.line(&format!("{text}{}", ending(&plain(&slice.file), room)));
        }
        sentences(page, "not read: ", &progress.unread);
    }
    if let Some(told) = &status.delivery {
        delivery::progress(page, told);
    }
    if has_ended(&status.job.state) {
        ended(page, status);
    }
    hooks(page, status);
}

fn ended(page: &mut Page, status: &JobStatus) {
    let since = moment(&status.job.changed);
    let was_delivered = delivery::ended(page, status);
    if let Some(told) = &status.job.delivery {
        sentences(page, "", &told.reasons);
    }
    let Some(result) = &status.result else {
        if was_delivered {
            return;
        }
        return page.text(
            2,
            &format!("{since}; what there is: {}", status.job.folder.display()),
        );
    };
    match &result.timeline {
        Some(timeline) => page.text(
            2,
            &format!(
                "{since}: {} in {timeline}",
                count(result.documents, "event", "events")
            ),
        ),
        None if was_delivered => {}
        None => page.text(
            2,
            &format!("{since}: no timeline; see {}", status.job.folder.display()),
        ),
    }
    sentences(page, "", &result.reasons);
}

fn hooks(page: &mut Page, status: &JobStatus) {
    for hook in status.job.hooks_done.iter().filter(|hook| !hook.ok) {
        page.text(2, &format!("hook {} failed: {}", hook.name, hook.outcome));
    }
}

fn sentences(page: &mut Page, before: &str, all: &[String]) {
    for sentence in all.iter().take(MOST_SENTENCES) {
        page.text(2, &format!("{before}{sentence}"));
    }
    if all.len() > MOST_SENTENCES {
        let more = all.len() - MOST_SENTENCES;
        page.text(2, &format!("{before}{more} more, see --json"));
    }
}

/// The end of a text that fits into `room`, with `…` for what is cut.
fn ending(text: &str, room: usize) -> String {
    let length = text.chars().count();
    if length <= room || room < 2 {
        return text.to_owned();
    }
    let kept: String = text.chars().skip(length - (room - 1)).collect();
    format!("…{kept}")
}
