//! The end of a job: one timeline, everything released, the proof, manifest and report.

use std::sync::Arc;

use super::filesystem::OpenFilesystem;
use super::hashing::fingerprint_of;
use super::job::sweep;
use super::{Engine, EngineError, Progress, Talk, planning, room};
use crate::clock::now;
use crate::delivery::local;
use crate::delivery::outbox::Outbox;
use crate::durable;
use crate::evidence::fingerprint;
use crate::evidence::outcome::Weight;
use crate::evidence::source::Source;
use crate::job::{JobFolder, JobRecord, PlanRecord, Selection};
use crate::manifest::{CloudRecord, Custody, FilesystemRecord, Manifest, SCHEMA, SliceRecord};
use crate::plaso::verdict::{Level, Verdict};
use crate::printable::count;
use crate::report;

/// What the steps before have made.
pub(super) struct Done {
    pub(super) name: String,
    pub(super) record: JobRecord,
    pub(super) cloud: Option<Outbox>,
    pub(super) plan: PlanRecord,
    pub(super) slices: Vec<SliceRecord>,
    pub(super) open: Vec<OpenFilesystem>,
}

pub(super) async fn finish(
    engine: &Engine,
    source: &Arc<Source>,
    folder: &Arc<JobFolder>,
    talk: &Talk,
    done: Done,
) -> Result<Manifest, EngineError> {
    let Done {
        name,
        record,
        cloud,
        plan,
        slices,
        open,
    } = done;
    talk.tell(Progress::Stage(
        "joining the slices into one timeline".to_owned(),
    ));
    let wanted = engine.settings.reserve_bytes() + local::timeline_bytes(folder, &slices);
    room::check(folder.path(), wanted)?;
    let timeline = talk
        .during(local::deliver(&engine.cage, folder, &slices))
        .await?;
    talk.tell(Progress::Stage(
        "releasing the source and checking that it is untouched".to_owned(),
    ));
    let selection = &record.terms.selection;
    let listings = listings_now(engine, selection, source, folder, &plan, &open);
    let listings = talk.during(listings).await?;
    drop(open);
    if !source.still_present() {
        return Err(EngineError::Gone);
    }
    let custody = custody(engine, source, &record, listings, talk).await?;
    if !custody.still_present {
        return Err(EngineError::Gone);
    }
    let verdict = verdict(&plan.filesystems, &slices, &custody);
    // As late as can be: EC2 is asked while the job is at work, and nothing waits for its answer.
    let (cloud, tagged_case) = said_of(cloud.as_ref(), &name);
    let manifest = Manifest {
        schema: SCHEMA.to_owned(),
        job: name,
        case: tagged_case.or(record.case),
        cloud,
        dfagent: env!("CARGO_PKG_VERSION").to_owned(),
        started: record.started,
        finished: now(),
        resumed: record.resumed,
        verdict,
        source: source.facts.clone(),
        custody,
        table: plan.table,
        table_notes: plan.table_notes,
        filesystems: plan.filesystems,
        plaso: engine.plaso_record(&record.terms.selection),
        cage: engine.cage.facts(),
        slices,
        timeline,
    };
    durable::write(
        &folder.at("report.txt"),
        report::render(&manifest).as_bytes(),
    )?;
    durable::write_json(&folder.at("manifest.json"), &manifest)?;
    local::tidy(folder, &manifest.slices)?;
    sweep(folder)?;
    folder.remove_mount_points();
    Ok(manifest)
}

/// What EC2 says about the volume of a job, which has the volume's name. A file that is no good says nothing.
fn said_of(cloud: Option<&Outbox>, volume: &str) -> (Option<CloudRecord>, Option<String>) {
    let said = cloud.and_then(|outbox| outbox.cloud().ok().flatten());
    said.map_or((None, None), |said| CloudRecord::of(&said, volume))
}

/// For a folder source: its listing before and now.
async fn listings_now(
    engine: &Engine,
    selection: &Selection,
    source: &Source,
    folder: &JobFolder,
    plan: &PlanRecord,
    open: &[OpenFilesystem],
) -> Result<Vec<[String; 2]>, EngineError> {
    let mut pairs = Vec::new();
    if source.file().is_none() {
        for (filesystem, before) in open.iter().zip(&plan.listings) {
            let after = planning::listing(engine, selection, filesystem, folder).await?;
            pairs.push([before.clone(), after]);
        }
    }
    Ok(pairs)
}

async fn custody(
    engine: &Engine,
    source: &Arc<Source>,
    record: &JobRecord,
    listings: Vec<[String; 2]>,
    talk: &Talk,
) -> Result<Custody, EngineError> {
    let still_present = source.still_present();
    let full = engine.settings.evidence.full_hash
        || record
            .before
            .as_ref()
            .is_some_and(|before| before.full_sha256.is_some());
    let after = if still_present {
        fingerprint_of(source, full, talk).await?
    } else {
        None
    };
    let mut differences = match (&record.before, &after) {
        (Some(before), Some(after)) => fingerprint::differences(before, after),
        _ => Vec::new(),
    };
    if listings.iter().any(|[before, after]| before != after) {
        differences.push("files of the folder changed while they were read".to_owned());
    }
    Ok(Custody {
        before: record.before.clone(),
        after,
        listings,
        differences,
        still_present,
    })
}

/// The verdict over the whole job: the worst of its parts, and whatever was not read.
fn verdict(filesystems: &[FilesystemRecord], slices: &[SliceRecord], custody: &Custody) -> Verdict {
    let mut verdict = Verdict::complete();
    for slice in slices
        .iter()
        .filter(|slice| slice.verdict.level > Level::Complete)
    {
        for reason in &slice.verdict.reasons {
            let text = format!("Slice {}: {}", slice.name, reason.text);
            // One failed slice leaves the others' events: the job is partial then.
            verdict.add(Level::Partial, &reason.kind, text, reason.files.clone());
        }
    }
    for filesystem in filesystems {
        judge_filesystem(filesystem, &mut verdict);
    }
    if slices
        .iter()
        .all(|slice| slice.verdict.level == Level::Failed)
    {
        let text = if slices.is_empty() {
            "Nothing was read: no filesystem could be read, or none holds a file that the filter takes."
        } else {
            "No slice gave events."
        };
        verdict.add(Level::Failed, "nothing_read", text, Vec::new());
    }
    if !custody.still_present {
        verdict.add(
            Level::Failed,
            "gone",
            "The source was detached before it was released.",
            Vec::new(),
        );
    }
    if !custody.differences.is_empty() {
        let text = format!(
            "THE EVIDENCE CHANGED while it was read: {}.",
            custody.differences.join("; ")
        );
        verdict.add(Level::Failed, "evidence_changed", text, Vec::new());
    }
    verdict
}

fn judge_filesystem(filesystem: &FilesystemRecord, verdict: &mut Verdict) {
    let label = &filesystem.label;
    if let Some(unread) = &filesystem.unread
        && unread.weight != Weight::Harmless
    {
        let text = format!("{label} was not read: {}", unread.sentence);
        verdict.add(Level::Partial, &unread.name, text, Vec::new());
    }
    if filesystem
        .view
        .as_ref()
        .is_some_and(|view| view.journal_dirty == Some(true))
    {
        let text = format!(
            "{label}: the journal holds changes that were not replayed, so the newest files and lines may be \
             missing and files deleted last may still show."
        );
        verdict.add(Level::Partial, "journal_not_replayed", text, Vec::new());
    }
    let counts = filesystem.counts.unwrap_or_default();
    if counts.undecodable > 0 {
        let files = filesystem
            .undecodable
            .iter()
            .map(ToString::to_string)
            .collect();
        let text = format!(
            "{label}: {} not UTF-8; Plaso passes over such files.",
            count(counts.undecodable, "name is", "names are")
        );
        verdict.add(Level::Partial, "undecodable_names", text, files);
    }
    if counts.unreadable > 0 {
        let files = filesystem
            .unreadable
            .iter()
            .map(|one| one.path.to_string())
            .collect();
        let text = format!(
            "{label}: {} could not be read.",
            count(counts.unreadable, "file or folder", "files or folders")
        );
        verdict.add(Level::Partial, "unreadable", text, files);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn custody() -> Custody {
        Custody {
            before: None,
            after: None,
            listings: Vec::new(),
            differences: Vec::new(),
            still_present: true,
        }
    }

    #[test]
    fn a_job_without_slices_has_failed() {
        assert_eq!(verdict(&[], &[], &custody()).level, Level::Failed);
    }

    #[test]
    fn changed_evidence_is_never_complete() {
        let changed = Custody {
            differences: vec!["x".into()],
            ..custody()
        };
        let found = verdict(&[], &[], &changed);
        assert!(
            found
                .reasons
                .iter()
                .any(|reason| reason.kind == "evidence_changed")
        );
    }
}
