//! `dfagent verify`: a job's files, and the evidence if it is there, against the manifest.

use std::fs::File;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::args::VerifyArgs;
use super::exit::Exit;
use super::process::print_line;
use crate::delivery::custody::DeliveryProof;
use crate::delivery::receipt::Stage;
use crate::durable;
use crate::evidence::fingerprint::{self, Fingerprint};
use crate::manifest::{FileRecord, Manifest, SCHEMA};
use crate::plaso::command::STORAGE;
use crate::printable::{self, causes};

const MOST_MANIFEST: u64 = 256 * 1024 * 1024;

/// How a thing compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Same,
    Changed,
    Missing,
    Absent,
}

#[derive(Debug, Serialize)]
struct Line {
    what: String,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    intact: bool,
    things: &'a [Line],
}

pub(super) fn run(args: &VerifyArgs) -> anyhow::Result<Exit> {
    let manifest: Option<Manifest> = durable::read_json(&args.manifest, MOST_MANIFEST)?;
    let Some(manifest) = manifest else {
        bail!("read {}: there is no such file", args.manifest.display())
    };
    if manifest.schema != SCHEMA {
        let found = printable::line(&manifest.schema, 60);
        bail!(
            "read {}: it is a {found}, this program knows {SCHEMA}",
            args.manifest.display()
        );
    }
    let folder = args.manifest.parent().unwrap_or(Path::new("."));
    let proof = DeliveryProof::read(folder)?;
    let mut lines: Vec<Line> = files(&manifest)
        .map(|record| verify_file(folder, record, proof.as_ref()))
        .collect();
    let source = args
        .source
        .clone()
        .unwrap_or_else(|| PathBuf::from(&manifest.source.path));
    lines.push(verify_source(&manifest, &source));
    let intact = lines
        .iter()
        .all(|line| matches!(line.state, State::Same | State::Absent));
    if args.json {
        let report = Report {
            schema: "dfagent-verify-1",
            intact,
            things: &lines,
        };
        print_line(&serde_json::to_string_pretty(&report).context("write the report")?)?;
    } else {
        for line in &lines {
            let state = serde_json::to_value(line.state).ok();
            let state = state
                .as_ref()
                .and_then(|state| state.as_str())
                .unwrap_or_default();
            let detail = line
                .detail
                .as_ref()
                .map_or_else(String::new, |detail| format!(": {detail}"));
            print_line(&format!("{state:<8} {}{detail}", line.what))?;
        }
    }
    Ok(if intact { Exit::Complete } else { Exit::Failed })
}

fn files(manifest: &Manifest) -> impl Iterator<Item = &FileRecord> {
    let slices = manifest.slices.iter().flat_map(|slice| &slice.files);
    slices.chain(manifest.timeline.as_ref().map(|timeline| &timeline.file))
}

fn verify_file(folder: &Path, record: &FileRecord, proof: Option<&DeliveryProof>) -> Line {
    let what = printable::line(&record.path, 200);
    let inside = Path::new(&record.path)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if !inside {
        let detail = Some("the manifest names a place outside the job's folder".to_owned());
        return Line {
            what,
            state: State::Changed,
            detail,
        };
    }
    let path = folder.join(&record.path);
    if !path.exists() {
        let delivered = proof.and_then(|proof| delivered(proof, record));
        return Line {
            what,
            state: match delivered {
                Some(_) => State::Absent,
                None => State::Missing,
            },
            detail: delivered,
        };
    }
    // What is being delivered has a second name, in the outbox.
    match durable::hash_file(&path) {
        Ok((sha256, _)) if sha256 == record.sha256 => Line {
            what,
            state: State::Same,
            detail: None,
        },
        Ok(_) => Line {
            what,
            state: State::Changed,
            detail: Some("another SHA-256".to_owned()),
        },
        Err(error) => Line {
            what,
            state: State::Changed,
            detail: Some(causes(&error)),
        },
    }
}

/// Why a storage file is rightly not there: exactly its events were found on the server, and it was not to be kept.
fn delivered(proof: &DeliveryProof, record: &FileRecord) -> Option<String> {
    let slice = proof.slices.iter().find(|slice| {
        let path = Path::new("slices").join(&slice.receipt.name).join(STORAGE);
        slice.removed && path == Path::new(&record.path)
    })?;
    let receipt = &slice.receipt;
    if receipt.stage != Stage::Proven || receipt.sha256 != record.sha256 {
        return None;
    }
    let events = printable::count(receipt.expected, "event was", "events were");
    let sketch = proof.sketch.clone().unwrap_or_default();
    Some(printable::line(
        &format!(
            "its {events} found in {} at {}, so it was removed (delivery.keep is false)",
            sketch.url, proof.at
        ),
        600,
    ))
}

fn verify_source(manifest: &Manifest, source: &Path) -> Line {
    let what = format!(
        "evidence {}",
        printable::line(&source.display().to_string(), 200)
    );
    let line = |state, detail: Option<&str>| Line {
        what: what.clone(),
        state,
        detail: detail.map(str::to_owned),
    };
    let (Some(before), Ok(file)) = (&manifest.custody.before, File::open(source)) else {
        return line(
            State::Absent,
            Some("not there, or a folder; nothing to compare"),
        );
    };
    match compare(before, &file) {
        Ok(differences) if differences.is_empty() => {
            let how = if before.full_sha256.is_some() {
                "whole source"
            } else {
                "66 sampled sectors"
            };
            line(State::Same, Some(how))
        }
        Ok(differences) => line(State::Changed, differences.first().map(String::as_str)),
        Err(error) => line(State::Changed, Some(&error.to_string())),
    }
}

/// Content only: times, inodes and counters belong to the place where it was read.
fn compare(before: &Fingerprint, file: &File) -> std::io::Result<Vec<String>> {
    let size = std::io::Seek::seek(&mut &*file, std::io::SeekFrom::End(0))?;
    let now = fingerprint::take(file, size.min(before.size), before.full_sha256.is_some())?;
    let now = Fingerprint {
        size,
        writes: before.writes,
        file: before.file,
        ..now
    };
    Ok(fingerprint::differences(before, &now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::custody::SliceProof;
    use crate::delivery::receipt::SliceReceipt;

    fn record() -> FileRecord {
        FileRecord {
            path: "slices/01/storage.plaso".into(),
            bytes: 1,
            sha256: "aa".into(),
        }
    }

    fn proof(sha256: &str, stage: Stage, removed: bool) -> DeliveryProof {
        let receipt = SliceReceipt {
            name: "01".into(),
            sha256: sha256.into(),
            stage,
            expected: 20,
            ..SliceReceipt::default()
        };
        DeliveryProof {
            slices: vec![SliceProof { receipt, removed }],
            ..DeliveryProof::default()
        }
    }

    #[test]
    fn a_storage_file_may_be_gone_only_if_it_was_proven_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let state = |proof: &DeliveryProof| verify_file(folder.path(), &record(), Some(proof));
        let fine = state(&proof("aa", Stage::Proven, true));
        assert_eq!(fine.state, State::Absent);
        assert!(fine.detail.unwrap().contains("its 20 events were found"));
        for wrong in [
            proof("aa", Stage::Proven, false),
            proof("bb", Stage::Proven, true),
            proof("aa", Stage::Short, true),
            DeliveryProof::default(),
        ] {
            assert_eq!(state(&wrong).state, State::Missing);
        }
        assert_eq!(
            verify_file(folder.path(), &record(), None).state,
            State::Missing
        );
    }

    #[test]
    fn a_storage_file_that_is_being_delivered_is_compared_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let slice = folder.path().join("slices/01");
        durable::make_folder(&slice).unwrap();
        durable::write(&slice.join(STORAGE), b"x").unwrap();
        std::fs::hard_link(slice.join(STORAGE), folder.path().join("second")).unwrap();
        let (sha256, _) = durable::hash_reader(&b"x"[..]).unwrap();
        let record = FileRecord { sha256, ..record() };
        assert_eq!(verify_file(folder.path(), &record, None).state, State::Same);
    }
}
