//! Jobs without a ledger: what a folder tells about its job, and where a damaged ledger goes.
//!
//! A folder is believed less than the ledger: only jobs that the ledger does not know are taken from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{LedgerError, beside};
use crate::delivery::custody::DeliveryProof;
use crate::dispatch::job::{DeliveryRecord, Job, State};
use crate::durable::{self, FileError};
use crate::plaso::verdict::Level;
use crate::policy::Volume;
use crate::printable;

/// The job as it was when it was made.
const NOTE: &str = "volume.json";

/// Sizes beyond which a file of ours is not ours.
const MOST_NOTE: u64 = 1024 * 1024;
const MOST_MANIFEST: u64 = 256 * 1024 * 1024;

/// What is needed of a manifest; whatever else is in it.
#[derive(Deserialize)]
struct Ending {
    finished: String,
    verdict: EndingVerdict,
}

#[derive(Deserialize)]
struct EndingVerdict {
    level: Level,
}

/// What is needed of `job.json`.
#[derive(Deserialize)]
struct Asked {
    case: Option<String>,
    started: String,
    before: Option<Before>,
}

#[derive(Deserialize)]
struct Before {
    size: u64,
}

/// Leaves a note about a job in its folder, for the day on which the ledger is damaged.
///
/// # Errors
/// The folder or the file cannot be written.
pub fn note(folder: &Path, job: &Job) -> Result<(), FileError> {
    durable::make_folder(folder)?;
    durable::write_json(&folder.join(NOTE), job)
}

/// Renames a damaged ledger, and its journal, which belongs to it; the new name.
pub(super) fn set_aside(path: &Path) -> Result<PathBuf, LedgerError> {
    let stamp = crate::clock::moment().strftime("%Y%m%dT%H%M%SZ");
    let name = format!(".damaged-{stamp}");
    let mut aside = beside(path, &name);
    let mut count = 1;
    while aside.exists() {
        count += 1;
        aside = beside(path, &format!("{name}-{count}"));
    }
    // The journal first: left behind without its ledger it would be rolled back into the new one.
    for ending in ["-journal", "-wal", "-shm"] {
        let journal = beside(path, ending);
        if journal.exists() {
            durable::rename(&journal, &beside(&aside, ending))?;
        }
    }
    durable::rename(path, &aside)?;
    Ok(aside)
}

/// Jobs that have a folder and are not among the known ones, in order of their ids.
pub(super) fn missing_jobs(
    jobs: &Path,
    known: &[Job],
    damaged: bool,
) -> Result<Vec<Job>, LedgerError> {
    let ids: BTreeSet<&str> = known.iter().map(|job| job.id.as_str()).collect();
    let folders: BTreeSet<&Path> = known.iter().map(|job| job.folder.as_path()).collect();
    let mut found: BTreeMap<String, Job> = BTreeMap::new();
    for folder in folders_below(jobs)? {
        if folders.contains(folder.as_path()) {
            continue;
        }
        let Some(job) = job_of(&folder, damaged) else {
            continue;
        };
        if ids.contains(job.id.as_str()) {
            continue;
        }
        // A folder that was put aside for a new beginning tells of the same job; the one in its own place wins.
        let in_place = job.folder == folder;
        if in_place || !found.contains_key(&job.id) {
            found.insert(job.id.clone(), Job { folder, ..job });
        }
    }
    Ok(found.into_values().collect())
}

fn folders_below(jobs: &Path) -> Result<Vec<PathBuf>, FileError> {
    let wrong = |source| FileError::System {
        operation: "look into",
        path: jobs.to_path_buf(),
        source,
    };
    let entries = match fs::read_dir(jobs) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(wrong)?,
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry.map_err(wrong)?;
        if entry.file_type().map_err(wrong)?.is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

/// What a folder tells; none if it is no job's.
fn job_of(folder: &Path, damaged: bool) -> Option<Job> {
    // A file that cannot be read tells nothing, and the others still may.
    let noted: Option<Job> = durable::read_json(&folder.join(NOTE), MOST_NOTE).unwrap_or(None);
    let asked: Option<Asked> =
        durable::read_json(&folder.join("job.json"), MOST_NOTE).unwrap_or(None);
    let is_one = ["job.json", "manifest.json", NOTE]
        .iter()
        .any(|name| folder.join(name).exists());
    if !is_one {
        return None;
    }
    let mut job = match noted {
        Some(job) => job,
        None => guessed(folder, asked)?,
    };
    let ending: Option<Ending> =
        durable::read_json(&folder.join("manifest.json"), MOST_MANIFEST).unwrap_or(None);
    match ending {
        Some(ending) => {
            let extracted = ending.verdict.level;
            job.changed = printable::line(&ending.finished, 40);
            // A record that cannot be read tells nothing.
            let proof = DeliveryProof::read(folder).unwrap_or(None);
            job.delivery = proof.and_then(|proof| delivery(extracted, proof));
            let delivered = job.delivery.as_ref().and_then(|one| one.level);
            job.state = State::Done {
                verdict: delivered.map_or(extracted, |level| level.max(extracted)),
            };
        }
        None if is_settled(&job.state) => {}
        None => {
            job.changed = super::now();
            let why = match damaged {
                true => "the ledger was damaged; it was rebuilt",
                false => "the ledger did not know it; it was found in its folder",
            };
            job.state = State::Interrupted { why: why.into() };
        }
    }
    Some(job)
}

/// Whether it goes on only when a person, or its next attachment, says so.
pub(super) const fn is_settled(state: &State) -> bool {
    matches!(state, State::Cancelled | State::Released | State::Parked)
}

/// What the record in the folder tells of a job's delivery.
fn delivery(extracted: Level, proof: DeliveryProof) -> Option<DeliveryRecord> {
    Some(DeliveryRecord {
        extracted,
        again: proof.again,
        level: Some(proof.level?),
        reasons: proof.reasons,
        documents: proof.documents,
        sketch: proof.sketch,
    })
}

/// A job of which only its folder and perhaps what was asked for are known.
fn guessed(folder: &Path, asked: Option<Asked>) -> Option<Job> {
    let id = folder.file_name()?.to_string_lossy();
    let id = printable::line(&id, 100);
    let started = asked.as_ref().map(|asked| asked.started.clone());
    let size = asked.as_ref().and_then(|asked| asked.before.as_ref());
    let created = started.map_or_else(super::now, |text| printable::line(&text, 40));
    Some(Job {
        volume: Volume {
            id: id.clone(),
            node: PathBuf::new(),
            sequence: None,
            size: size.map_or(0, |before| before.size),
            point: String::new(),
            entry: String::new(),
        },
        id,
        case: asked
            .and_then(|asked| asked.case)
            .map(|case| printable::line(&case, 100)),
        priority: 0,
        folder: folder.to_path_buf(),
        mountpoint: None,
        state: State::Queued,
        starts: 0,
        crashes: 0,
        changed: created.clone(),
        created,
        hooks_due: Vec::new(),
        hooks_done: Vec::new(),
        wish: None,
        delivery: None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Ledger;
    use super::super::tests::{job, place};
    use super::*;

    #[test]
    fn a_damaged_ledger_is_rebuilt_from_the_folders() {
        let (_folder, path, jobs) = place();
        for id in ["vol-done", "vol-open"] {
            note(&jobs.join(id), &job(id, &jobs, State::Running)).unwrap();
        }
        let manifest = br#"{"finished": "2026-11-25T01:00:00Z", "verdict": {"level": "partial", "reasons": []}, "more": 1}"#;
        durable::write(&jobs.join("vol-done/manifest.json"), manifest).unwrap();
        let asked =
            br#"{"case": "4711", "started": "2026-11-25T00:30:00Z", "before": {"size": 4096}}"#;
        durable::make_folder(&jobs.join("vol-bare")).unwrap();
        durable::write(&jobs.join("vol-bare/job.json"), asked).unwrap();
        durable::make_folder(&jobs.join("torn")).unwrap();
        durable::write(&jobs.join("torn/volume.json"), b"{").unwrap();
        durable::make_folder(&jobs.join("lost+found")).unwrap();
        durable::write(&path, b"not a database, and long enough to be seen as none").unwrap();
        let opened = Ledger::open(&path, &jobs).unwrap();
        assert_eq!(opened.rebuilt, 4);
        let states: Vec<(&str, &str)> = opened
            .jobs
            .iter()
            .map(|job| (job.id.as_str(), job.state.name()))
            .collect();
        assert_eq!(
            states,
            [
                ("torn", "interrupted"),
                ("vol-bare", "interrupted"),
                ("vol-done", "done"),
                ("vol-open", "interrupted")
            ]
        );
        assert_eq!(opened.jobs[1].volume.size, 4096);
        assert_eq!(opened.jobs[1].case.as_deref(), Some("4711"));
        assert_eq!(
            opened.jobs[2].state,
            State::Done {
                verdict: Level::Partial
            }
        );
        let name = opened.set_aside.unwrap();
        assert!(
            name.to_string_lossy().contains("ledger.db.damaged-20"),
            "{name:?}"
        );
        drop(opened.ledger);
        let again = Ledger::open(&path, &jobs).unwrap();
        assert_eq!((again.jobs.len(), again.rebuilt), (4, 0));
    }

    #[test]
    fn a_delivery_is_found_again_by_its_record() {
        let (_folder, path, jobs) = place();
        let folder = jobs.join("vol-1");
        note(&folder, &job("vol-1", &jobs, State::Running)).unwrap();
        let manifest = br#"{"finished": "2026-11-25T01:00:00Z", "verdict": {"level": "complete"}}"#;
        durable::write(&folder.join("manifest.json"), manifest).unwrap();
        let proof = DeliveryProof {
            schema: crate::delivery::custody::SCHEMA.into(),
            level: Some(Level::Partial),
            reasons: vec!["Slice 2 is short.".into()],
            again: 3,
            ..DeliveryProof::default()
        };
        proof.keep(&folder).unwrap();
        let opened = Ledger::open(&path, &jobs).unwrap();
        let verdict = Level::Partial;
        assert_eq!(opened.jobs[0].state, State::Done { verdict });
        let delivery = opened.jobs[0].delivery.as_ref().unwrap();
        assert_eq!((delivery.extracted, delivery.again), (Level::Complete, 3));
        assert_eq!(delivery.reasons, proof.reasons);
    }

    #[test]
    fn a_folder_that_the_ledger_does_not_know_is_found_and_one_put_aside_is_not() {
        let (_folder, path, jobs) = place();
        let mut opened = Ledger::open(&path, &jobs).unwrap();
        let known = job("vol-1", &jobs, State::Running);
        note(&known.folder, &known).unwrap();
        note(&jobs.join("vol-1.old"), &known).unwrap();
        opened.ledger.keep(&known, "made").unwrap();
        let lost = job("vol-2", &jobs, State::Queued);
        note(&jobs.join("a-copy-of-vol-2"), &lost).unwrap();
        note(&lost.folder, &lost).unwrap();
        drop(opened);
        let opened = Ledger::open(&path, &jobs).unwrap();
        assert_eq!(opened.rebuilt, 1);
        assert_eq!(opened.jobs[0], known);
        assert_eq!(opened.jobs[1].folder, lost.folder);
        assert!(opened.set_aside.is_none());
    }
}
