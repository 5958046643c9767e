//! `dfagent verify`: a job's files, and the evidence if it is there, against the manifest.

use std::fs::File;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::args::VerifyArgs;
use super::exit::Exit;
use super::process::print_line;
use crate::durable;
use crate::evidence::fingerprint::{self, Fingerprint};
use crate::manifest::{FileRecord, Manifest, SCHEMA};
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
    let mut lines: Vec<Line> = files(&manifest)
        .map(|record| verify_file(folder, record))
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

fn verify_file(folder: &Path, record: &FileRecord) -> Line {
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
        return Line {
            what,
            state: State::Missing,
            detail: None,
        };
    }
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
