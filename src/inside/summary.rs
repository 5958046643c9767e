//! Reading a finished storage file, in the cage: what Plaso did, for the verdict.
//!
//! A `.plaso` file is hostile input: it is opened read-only, row by row, with SQLite's schema code switched
//! off and sizes capped. Tables that were never written to do not exist. Format: acstore 20260411 and
//! `plaso/storage/sqlite/sqlite_file.py` of Plaso 20260720, versions 20230327 and 20260516.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::ZlibDecoder;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};
use serde::Deserialize;

use crate::census::report::ListedEntry;
use crate::plaso::summary::{NAMED, Silent, StoreSummary, Warning, Warnings, is_harmless};
use crate::printable::{self, EvidencePath};

/// Storage formats whose layout is known.
const FORMATS: [&str; 2] = ["20230327", "20260516"];

/// More than any one row honestly has.
const MOST_ROW_BYTES: u64 = 64 * 1024 * 1024;

/// Why a storage file cannot be summarised.
#[derive(Debug, thiserror::Error)]
pub enum SummaryError {
    /// SQLite's complaint: damaged, truncated, not a database.
    #[error("read the storage file")]
    Database(#[from] rusqlite::Error),
    /// Another format.
    #[error("read the storage file: its format is {found}, known are 20230327 and 20260516")]
    Format {
        /// What the file says.
        found: String,
    },
    /// A row that is not what Plaso writes.
    #[error("understand a row of the storage file")]
    Row(#[from] serde_json::Error),
    /// The list of entries or a packed row cannot be read.
    #[error("read a row or the list of entries")]
    Io(#[from] std::io::Error),
}

/// Reads the storage file and compares it with the list of entries that it should cover; `evidence` is the
/// path of the evidence inside the cage, which stands in front of paths read from a mount.
///
/// # Errors
/// The file is damaged, foreign, or of another format.
pub fn run(store: &Path, listing: &Path, evidence: &str) -> Result<StoreSummary, SummaryError> {
    let store = Store::open(store)?;
    let mut summary = StoreSummary {
        format_version: store.format.clone(),
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

struct Store {
    database: Connection,
    format: String,
    packed: bool,
}

impl Store {
    fn open(path: &Path) -> Result<Self, SummaryError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = Connection::open_with_flags(path, flags)?;
        database.pragma_update(None, "trusted_schema", false)?;
        database.pragma_update(None, "query_only", true)?;
        let cap = i32::try_from(MOST_ROW_BYTES).unwrap_or(i32::MAX);
        database.set_limit(Limit::SQLITE_LIMIT_LENGTH, cap)?;
        let value = |key: &str| -> rusqlite::Result<String> {
            database.query_row("SELECT value FROM metadata WHERE key = ?1", [key], |row| {
                row.get(0)
            })
        };
        let format = value("format_version")?;
        if !FORMATS.contains(&format.as_str()) {
            return Err(SummaryError::Format {
                found: printable::line(&format, 40),
            });
        }
        let packed = value("compression_format")? == "zlib";
        Ok(Self {
            database,
            format,
            packed,
        })
    }

    fn has(&self, table: &str) -> rusqlite::Result<bool> {
        let sql = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?1";
        self.database
            .query_row(sql, [table], |row| row.get(0))
            .map(|count: i64| count > 0)
    }

    /// Calls `each` with every row of a table; a table that does not exist has none.
    fn rows(
        &self,
        table: &str,
        columns: &str,
        mut each: impl FnMut(&rusqlite::Row<'_>) -> Result<(), SummaryError>,
    ) -> Result<(), SummaryError> {
        if !self.has(table)? {
            return Ok(());
        }
        let mut query = self.database.prepare(&format!(
            "SELECT {columns} FROM {table} ORDER BY _identifier"
        ))?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            each(row)?;
        }
        Ok(())
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
        &self,
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
        self.rows("event_data", "_identifier, _data", |row| {
            let text = self.unpacked(row.get_ref(1)?)?;
            let data: Data = serde_json::from_slice(&text)?;
            let parser = printable::line(data.parser.as_deref().unwrap_or("unknown"), 80);
            if parser != "filestat" {
                streams.extend(data.stream.as_deref().and_then(row_number));
            }
            *parsers.entry(parser).or_insert(0) += counts.get(&row.get(0)?).copied().unwrap_or(0);
            Ok(())
        })?;
        Ok(streams)
    }

    fn unpacked(&self, value: rusqlite::types::ValueRef<'_>) -> Result<Vec<u8>, SummaryError> {
        let bytes = value.as_bytes().unwrap_or_default();
        if !self.packed {
            return Ok(bytes.to_vec());
        }
        let mut text = Vec::new();
        ZlibDecoder::new(bytes)
            .take(MOST_ROW_BYTES)
            .read_to_end(&mut text)?;
        Ok(text)
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

/// `event_data.17` as 17.
fn row_number(identifier: &str) -> Option<i64> {
    identifier.rsplit_once('.')?.1.parse().ok()
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
            Err(SummaryError::Database(_))
        ));
        assert!(run(&folder.path().join("absent"), &path, "/evidence").is_err());
    }
}
