//! Local delivery: the slices' documents joined into `timeline.jsonl`.

use std::path::PathBuf;
use std::time::Duration;

use crate::cage::Cage;
use crate::cage::command::inside;
use crate::cage::task::{Task, TaskError, take_over, words};
use crate::durable;
use crate::inside::merge::MergeReceipt;
use crate::job::{DOCUMENTS, JobFolder};
use crate::manifest::{FileRecord, SliceRecord, TimelineRecord};

/// The timeline's name in the job's folder.
pub const TIMELINE: &str = "timeline.jsonl";

const RECEIPT: &str = "receipt.json";
const MERGE_LIMIT: Duration = Duration::from_secs(24 * 3600);
const MOST_RECEIPT: u64 = 1024 * 1024;

/// Bytes that the timeline of these slices takes, beside the documents that it is joined from.
#[must_use]
pub fn timeline_bytes(folder: &JobFolder, slices: &[SliceRecord]) -> u64 {
    let documents = slices
        .iter()
        .map(|slice| folder.slice(&slice.name).join(DOCUMENTS));
    documents
        .filter_map(|path| std::fs::symlink_metadata(path).ok())
        .map(|about| about.len())
        .sum()
}

/// Joins the documents of all slices that have some; none if no slice has.
///
/// # Errors
/// The cage failed, or the figures do not add up: then nothing is put in place.
pub async fn deliver(
    cage: &Cage,
    folder: &JobFolder,
    slices: &[SliceRecord],
) -> Result<Option<TimelineRecord>, TaskError> {
    let with_documents: Vec<&SliceRecord> = slices
        .iter()
        .filter(|slice| folder.slice(&slice.name).join(DOCUMENTS).exists())
        .collect();
    if with_documents.is_empty() {
        return Ok(None);
    }
    let attempt = folder.at("merge.run");
    let at = |name: &str| format!("{}/{name}", inside::ATTEMPT);
    let mut program = words(&[
        inside::GUARD,
        "inside",
        "merge",
        "--output",
        &at(TIMELINE),
        "--receipt",
        &at(RECEIPT),
    ]);
    let mut read_only: Vec<(PathBuf, String)> = Vec::new();
    for (number, slice) in with_documents.iter().enumerate() {
        let inside = format!("/documents/{number}");
        read_only.push((folder.slice(&slice.name).join(DOCUMENTS), inside.clone()));
        program.push(inside);
    }
    let task = Task {
        name: "merge",
        program,
        evidence: None,
        read_only,
        limit: MERGE_LIMIT,
    };
    task.run(cage, &attempt, &[]).await?;
    let receipt: MergeReceipt =
        durable::read_json(&attempt.join(RECEIPT), MOST_RECEIPT)?.unwrap_or_default();
    let expected: Vec<u64> = with_documents.iter().map(|slice| slice.documents).collect();
    if receipt.by_file != expected {
        let said = format!(
            "{:?} documents were joined, {expected:?} were exported",
            receipt.by_file
        );
        return Err(TaskError::Failed {
            task: "merge",
            ended: "ended".to_owned(),
            said,
        });
    }
    let kept = folder.at("merge.new");
    take_over(&attempt, &kept, &[TIMELINE.to_owned()])?;
    durable::rename(&kept.join(TIMELINE), &folder.at(TIMELINE))?;
    durable::remove_folder(&kept)?;
    let file = FileRecord::of(folder.at(TIMELINE), TIMELINE.to_owned()).await?;
    let MergeReceipt {
        documents,
        first,
        last,
        ..
    } = receipt;
    let line = |text: String| crate::printable::line(&text, 40);
    Ok(Some(TimelineRecord {
        file,
        documents,
        first: first.map(line),
        last: last.map(line),
    }))
}

/// Removes the slices' documents once they are in a timeline that a manifest vouches for.
///
/// # Errors
/// A file cannot be removed.
pub fn tidy(folder: &JobFolder, slices: &[SliceRecord]) -> Result<(), durable::FileError> {
    for slice in slices {
        durable::remove_file(&folder.slice(&slice.name).join(DOCUMENTS))?;
    }
    Ok(())
}
