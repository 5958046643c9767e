//! Reading a finished storage file, in the cage: what Plaso did, for the verdict.
//!
//! A `.plaso` file is hostile input: [`crate::export::store`] opens it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;

use crate::census::report::ListedEntry;
use crate::export::store::{Store, StoreError, Unpacker, row_number};
use crate::plaso::summary::{NAMED, Silent, StoreSummary, Warning, Warnings, is_harmless};
use crate::printable::{self, EvidencePath};

/// Why a storage file cannot be summarised.
#[derive(Debug, thiserror::Error)]
pub enum SummaryError {
    /// The storage file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// SQLite's complaint about a row.
    #[error("read the storage file")]
    Database(#[from] rusqlite::Error),
    /// A row that is not what Plaso writes.
    #[error("understand a row of the storage file")]
    Row(#[from] serde_json::Error),
    /// The list of entries cannot be read.
    #[error("read the list of entries")]
    Io(#[from] std::io::Error),
}

/// Reads the storage file and compares it with the list of entries that it should cover; `evidence` is the
/// path of the evidence inside the cage, which stands in front of paths read from a mount.
///
/// # Errors
/// The file is damaged, foreign, or of another format.
pub fn run(store: &Path, listing: &Path, evidence: &str) -> Result<StoreSummary, SummaryError> {
    let store = Store::open(store)?;
    let mut store = Reader {
        unpacker: store.unpacker(),
        store,
    };
    let mut summary = StoreSummary {
        format_version: store.store.format().to_owned(),
        ..StoreSummary::default()
    };
    (summary.completed, summary.aborted) = store.session()?;
    let counts = store.events_by_data()?;
    summary.events = counts.values().sum();
    let content = store.content(&counts, &mut summary.parsers)?;
    let told = store.paths_with_content(&content, evidence)?;
    let seen = store.sources(evidence)?;
    compare(listing, &seen, &told, &mut summary)?;
    (summary.warnings, summary.harmless_warnings) =
        store.warnings("extraction_warning", evidence)?;
    (summary.recovery_warnings, _) = store.warnings("recovery_warning", evidence)?;
    (summary.timelining_warnings, _) = store.warnings("timelining_warning", evidence)?;
    Ok(summary)
}

/// What a summary reads of a storage file.
struct Reader {
    store: Store,
    unpacker: Unpacker,
}

impl Reader {
    fn rows(
        &self,
        table: &str,
        columns: &str,
        each: impl FnMut(&rusqlite::Row<'_>) -> Result<(), SummaryError>,
    ) -> Result<(), SummaryError> {
        self.store.rows(table, columns, each)
    }

    /// Whether every session has an end, and whether one was broken off.
    fn session(&self) -> Result<(bool, bool), SummaryError> {
        let (mut sessions, mut ended, mut aborted) = (0, 0, false);
        self.rows("session", "completion_time, aborted", |row| {
            sessions += 1;
            ended += i32::from(row.get::<_, Option<i64>>(0)?.is_some());
            aborted |= row.get::<_, Option<i64>>(1)?.unwrap_or(0) != 0;
            Ok(())
        })?;
        Ok((sessions > 0 && sessions == ended, aborted))
    }

    /// Events of each row of event data.
    fn events_by_data(&self) -> Result<HashMap<i64, u64>, SummaryError> {
        let mut counts = HashMap::new();
        self.rows("event", "_event_data_identifier", |row| {
            if let Some(number) = row_number(row.get_ref(0)?.as_str().unwrap_or_default()) {
                *counts.entry(number).or_insert(0) += 1;
            }
            Ok(())
        })?;
        Ok(counts)
    }

    /// Counts events by parser, and returns the streams that gave more than file times.
    fn content(
        &mut self,
        counts: &HashMap<i64, u64>,
        parsers: &mut BTreeMap<String, u64>,
    ) -> Result<HashSet<i64>, SummaryError> {
        #[derive(Deserialize)]
        struct Data {
            #[serde(default, rename = "_parser_chain")]
            parser: Option<String>,
            #[serde(default, rename = "_event_data_stream_identifier")]
            stream: Option<String>,
        }
        let mut streams = HashSet::new();
        let unpacker = &mut self.unpacker;
        let table = "event_data";
        self.store.rows(table, "_identifier, _data", |row| {
            let text = unpacker.unpack(table, row.get(0)?, row.get_ref(1)?)?;
            let data: Data = serde_json::from_slice(text)?;
            let parser = printable::line(data.parser.as_deref().unwrap_or("unknown"), 80);
            if parser != "filestat" {
                streams.extend(data.stream.as_deref().and_then(row_number));
            }
            *parsers.entry(parser).or_insert(0) += counts.get(&row.get(0)?).copied().unwrap_or(0);
            Ok::<_, SummaryError>(())
        })?;
        Ok(streams)
    }

    fn paths_with_content(
        &self,
        streams: &HashSet<i64>,
        evidence: &str,
    ) -> Result<HashSet<EvidencePath>, SummaryError> {
        let mut paths = HashSet::new();
        self.rows("event_data_stream", "_identifier, path_spec", |row| {
            if streams.contains(&row.get(0)?) {
                paths.extend(path_of(
                    row.get_ref(1)?.as_str().unwrap_or_default(),
                    evidence,
                ));
            }
            Ok(())
        })?;
        Ok(paths)
    }

    /// Everything that Plaso took up.
    fn sources(&self, evidence: &str) -> Result<HashSet<EvidencePath>, SummaryError> {
        let mut paths = HashSet::new();
        self.rows("event_source", "path_spec", |row| {
            paths.extend(path_of(
                row.get_ref(0)?.as_str().unwrap_or_default(),
                evidence,
            ));
            Ok(())
        })?;
        Ok(paths)
    }

    /// The warnings of one kind, and how many tell of nothing lost.
    fn warnings(&self, table: &str, evidence: &str) -> Result<(Warnings, u64), SummaryError> {
        let (mut kept, mut harmless) = (Warnings::default(), 0);
        self.rows(table, "message, parser_chain, path_spec", |row| {
            let text = |index| {
                row.get_ref(index)
                    .ok()
                    .and_then(|value| value.as_str().ok())
            };
            let (message, parser) = (text(0).unwrap_or_default(), text(1).unwrap_or_default());
            if is_harmless(parser, message) {
                harmless += 1;
                return Ok(());
            }
            kept.count += 1;
            if kept.first.len() < NAMED {
                kept.first.push(Warning {
                    message: printable::line(message, 300),
                    parser: printable::line(parser, 80),
                    path: text(2).and_then(|spec| path_of(spec, evidence)),
                });
            }
            Ok(())
        })?;
        Ok((kept, harmless))
    }
}

/// The path on the evidence of a path specification: of compressed streams, the file that holds them.
fn path_of(path_spec: &str, evidence: &str) -> Option<EvidencePath> {
    #[derive(Deserialize)]
    struct Spec {
        #[serde(default)]
        type_indicator: String,
        #[serde(default)]
        location: Option<String>,
        #[serde(default)]
        parent: Option<Box<Spec>>,
    }
    let text = surrogates_as_private_use(path_spec);
    let mut spec: Spec = serde_json::from_str(&text).ok()?;
    let filesystem = |kind: &str| matches!(kind, "OS" | "EXT" | "XFS" | "BTRFS" | "FAT" | "TSK");
    while !filesystem(&spec.type_indicator) {
        spec = *spec.parent?;
    }
    let mut bytes = Vec::new();
    for character in spec.location?.chars() {
        match u32::from(character) {
            code @ 0x10_FF80..=0x10_FFFF => bytes.push(u8::try_from(code & 0xFF).ok()?),
            _ => bytes.extend(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    if spec.type_indicator == "OS" {
        let inner = bytes.strip_prefix(evidence.as_bytes())?;
        let inner = if inner.is_empty() { b"/" } else { inner };
        return Some(EvidencePath::new(inner));
    }
    Some(EvidencePath::new(bytes))
}

/// Python writes a byte that is not UTF-8 as a lone surrogate `\udcNN`, which is not text. It becomes
/// the private character U+10FFNN, which [`path_of`] turns back into the byte.
fn surrogates_as_private_use(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find("\\u") {
        let (before, tail) = rest.split_at(at);
        out.push_str(before);
        let escaped = before
            .bytes()
            .rev()
            .take_while(|byte| *byte == b'\\')
            .count()
            % 2
            == 1;
        let unit = |from: usize| {
            let text = tail
                .get(from..from + 6)
                .filter(|text| text.starts_with("\\u"))?;
            u16::from_str_radix(&text[2..], 16).ok()
        };
        let length = match (escaped, unit(0), unit(6)) {
            (false, Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (false, Some(low @ 0xDC80..=0xDCFF), _) => {
                out.push_str(&format!("\\udbff\\udf{:02x}", low & 0xFF));
                rest = &tail[6..];
                continue;
            }
            (false, Some(_), _) => 6,
            _ => 2,
        };
        out.push_str(&tail[..length]);
        rest = &tail[length..];
    }
    out.push_str(rest);
    out
}

fn compare(
    listing: &Path,
    seen: &HashSet<EvidencePath>,
    told: &HashSet<EvidencePath>,
    summary: &mut StoreSummary,
) -> Result<(), SummaryError> {
    for line in BufReader::new(File::open(listing)?).lines() {
        let entry: ListedEntry = serde_json::from_str(&line?)?;
        if !seen.contains(&entry.path) {
            summary.missing += 1;
            if summary.missing_named.len() < NAMED {
                summary.missing_named.push(entry.path);
            }
        } else if let Some(parser) = entry.expect
            && !told.contains(&entry.path)
        {
            summary.silent += 1;
            if summary.silent_named.len() < NAMED {
                summary.silent_named.push(Silent {
                    path: entry.path,
                    expected: parser,
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_from_the_file_that_holds_the_stream() {
        let gzip = r#"{"parent": {"inode": 16, "location": "/var/log/a.gz", "parent": {"type_indicator": "RAW",
            "parent": {"location": "/evidence", "type_indicator": "OS"}}, "type_indicator": "EXT"},
            "type_indicator": "GZIP"}"#;
        assert_eq!(
            path_of(gzip, "/evidence"),
            Some(EvidencePath::new(*b"/var/log/a.gz"))
        );
        let mounted =
            r#"{"location": "/evidence/p2/etc/x\udcff\ud83d\udc80", "type_indicator": "OS"}"#;
        let expected = EvidencePath::new([b"/etc/x\xff".as_slice(), "💀".as_bytes()].concat());
        assert_eq!(path_of(mounted, "/evidence/p2"), Some(expected));
    }

    #[test]
    fn a_file_that_is_no_store_is_an_error_and_not_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.plaso");
        crate::durable::write(&path, &[7; 5000]).unwrap();
        assert!(matches!(
            run(&path, &path, "/evidence"),
            Err(SummaryError::Store(StoreError::Foreign(_)))
        ));
        assert!(run(&folder.path().join("absent"), &path, "/evidence").is_err());
    }
}
