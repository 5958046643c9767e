//! An export from beginning to end.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::document::{Document, Moment};
use super::formatter::Formatters;
use super::group::Group;
use super::order::{Key, Sorted, Sorter};
use super::source::Source;
use super::store::{Store, StoreError, odd, row_number};
use super::time;
use super::words::Words;
use super::write::Counts;
use crate::plaso::summary::ExportReceipt;

/// Bytes that are written at once.
const CHUNK: usize = 256 * 1024;

/// Why a storage file cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The storage file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file beside the output that takes what does not fit into memory.
    #[error("sort the events by time")]
    Sort(#[source] io::Error),
    /// The output.
    #[error("write the documents")]
    Output(#[source] io::Error),
    /// An event that only Plaso's own code can write.
    #[error("have Plaso write event {row}")]
    Plaso {
        /// The row of the event.
        row: i64,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Events got lost on the way: a mistake of ours.
    #[error(
        "export all events: {documents} documents and {duplicates} duplicates came of {events} events"
    )]
    Count {
        /// Documents written.
        documents: u64,
        /// Events left out.
        duplicates: u64,
        /// Events in the storage file.
        events: u64,
    },
}

/// Plaso's own code, for what ours does not know.
pub trait Fallback {
    /// Appends the document of the event in this row of the table `event`, one line without its end.
    ///
    /// # Errors
    /// Plaso's code cannot be had, or cannot write it either.
    fn document(
        &mut self,
        row: i64,
        out: &mut Vec<u8>,
    ) -> Result<Counts, Box<dyn std::error::Error + Send + Sync>>;
}

/// Writes the documents of all events of a storage file to `output`, one a line, in psort's order and without the
/// doubles that psort leaves out. `scratch` is a folder for an unnamed file of 29 bytes an event; memory does not grow
/// with the number of events.
///
/// # Errors
/// The storage file is not Plaso's or damaged, the output cannot be written, or `rows` fails.
pub fn run(
    store: &Path,
    formatters: &Formatters,
    scratch: &Path,
    output: &mut impl Write,
    rows: &mut dyn Fallback,
) -> Result<ExportReceipt, ExportError> {
    let store = Store::open(store)?;
    let (mut sorted, descriptions, events) = sorted(&store, scratch)?;
    let mut export = Export {
        source: Source::new(&store, formatters)?,
        descriptions,
        rows,
        output,
        buffer: Vec::with_capacity(CHUNK * 2),
        datetime: Vec::new(),
        receipt: ExportReceipt {
            events,
            ..ExportReceipt::default()
        },
    };
    let mut group = Group::new();
    while let Some(key) = sorted.next().map_err(ExportError::Sort)? {
        if group.is_complete_before(&key) {
            export.flush(&mut group)?;
        }
        group.push(key);
    }
    export.flush(&mut group)?;
    export.finish()
}

/// All events by time, and the descriptions of their times.
fn sorted(store: &Store, scratch: &Path) -> Result<(Sorted, Words, u64), ExportError> {
    let mut sorter = Sorter::new(|| unnamed(scratch));
    let mut descriptions = Words::default();
    let mut events = 0;
    let mut held: Option<Key> = None;
    let columns = "_identifier, _event_data_identifier, timestamp, timestamp_desc";
    store.rows("event", columns, |row| {
        let mut key = event(row, &mut descriptions)?;
        if let Some(mut before) = held.take() {
            if before.data == key.data {
                (before.shared, key.shared) = (true, true);
            }
            sorter.push(before).map_err(ExportError::Sort)?;
        }
        held = Some(key);
        events += 1;
        Ok::<_, ExportError>(())
    })?;
    if let Some(last) = held {
        sorter.push(last).map_err(ExportError::Sort)?;
    }
    let sorted = sorter.finish().map_err(ExportError::Sort)?;
    Ok((sorted, descriptions, events))
}

fn event(row: &rusqlite::Row<'_>, descriptions: &mut Words) -> Result<Key, StoreError> {
    let number = row.get(0)?;
    let odd = |reason| odd("event", number, reason);
    let data = row.get_ref(1)?.as_str().ok().and_then(row_number);
    let description = row
        .get_ref(3)?
        .as_str_or_null()
        .map_err(|_error| odd("has a description that is not text"))?;
    Ok(Key {
        timestamp: row
            .get_ref(2)?
            .as_i64()
            .map_err(|_error| odd("has no time"))?,
        row: number,
        data: data.ok_or_else(|| odd("names no data"))?,
        description: descriptions
            .number(description)
            .ok_or_else(|| odd("has a description more than there are"))?,
        shared: false,
    })
}

/// A file without a name in a folder.
fn unnamed(folder: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_TMPFILE)
        .open(folder)
}

struct Export<'a, W> {
    source: Source<'a>,
    descriptions: Words,
    rows: &'a mut dyn Fallback,
    output: &'a mut W,
    buffer: Vec<u8>,
    datetime: Vec<u8>,
    receipt: ExportReceipt,
}

impl<W: Write> Export<'_, W> {
    /// Writes the events of a group, but for doubles.
    fn flush(&mut self, group: &mut Group) -> Result<(), ExportError> {
        let Some(timestamp) = group.timestamp() else {
            return Ok(());
        };
        self.datetime.clear();
        time::write(timestamp, &mut self.datetime);
        if let Some(key) = group.only() {
            return self.write(key);
        }
        let (source, descriptions) = (&mut self.source, &self.descriptions);
        let mut arranged = group.arrange(|key| {
            let data = source.data(key)?;
            Ok::<_, StoreError>((data.hash.clone(), descriptions.text(key.description)))
        })?;
        while let Some(event) = arranged.next() {
            match event {
                Some(key) => self.write(key)?,
                None => self.receipt.duplicates += 1,
            }
        }
        Ok(())
    }

    fn write(&mut self, key: Key) -> Result<(), ExportError> {
        let data = self.source.data(key)?;
        let counts = match &data.document {
            Some(document) => self.fill(key, document)?,
            None => {
                self.receipt.by_plaso += 1;
                let row = key.row;
                self.rows
                    .document(row, &mut self.buffer)
                    .map_err(|source| ExportError::Plaso { row, source })?
            }
        };
        self.buffer.push(b'\n');
        self.receipt.documents += 1;
        self.receipt.escaped_surrogates += u64::from(counts.surrogates);
        self.receipt.replaced_numbers += counts.numbers;
        if self.receipt.first.is_none() {
            self.receipt.first = Some(self.datetime());
        }
        if self.buffer.len() >= CHUNK {
            self.put()?;
        }
        Ok(())
    }

    fn fill(&mut self, key: Key, document: &Document) -> Result<Counts, ExportError> {
        let tag = self.source.tag(key.row)?;
        let (tag, tag_counts) = tag
            .as_ref()
            .map_or((b"[]".as_slice(), Counts::default()), |tag| {
                (tag.json.as_slice(), tag.counts)
            });
        let moment = Moment {
            timestamp: key.timestamp,
            datetime: &self.datetime,
            description: self.descriptions.json(key.description),
            tag,
        };
        let mut counts = document.write(&moment, &mut self.buffer);
        counts.surrogates |= tag_counts.surrogates;
        counts.numbers += tag_counts.numbers;
        Ok(counts)
    }

    fn datetime(&self) -> String {
        String::from_utf8_lossy(&self.datetime).into_owned()
    }

    fn put(&mut self) -> Result<(), ExportError> {
        self.output
            .write_all(&self.buffer)
            .map_err(ExportError::Output)?;
        self.buffer.clear();
        self.buffer.shrink_to(CHUNK * 2);
        Ok(())
    }

    fn finish(mut self) -> Result<ExportReceipt, ExportError> {
        self.put()?;
        self.output.flush().map_err(ExportError::Output)?;
        self.receipt.last = self.receipt.first.as_ref().map(|_| self.datetime());
        let ExportReceipt {
            documents,
            duplicates,
            events,
            ..
        } = self.receipt;
        if documents + duplicates != events {
            return Err(ExportError::Count {
                documents,
                duplicates,
                events,
            });
        }
        Ok(self.receipt)
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;
    use serde_json::{Value, json};

    use super::*;

    /// Answers with the row, and counts.
    struct Plaso(Vec<i64>);

    impl Fallback for Plaso {
        fn document(
            &mut self,
            row: i64,
            out: &mut Vec<u8>,
        ) -> Result<Counts, Box<dyn std::error::Error + Send + Sync>> {
            if row == 13 {
                return Err("Plaso is gone".into());
            }
            self.0.push(row);
            out.extend_from_slice(format!("{{\"plaso\":{row}}}").as_bytes());
            Ok(Counts {
                surrogates: true,
                numbers: 2,
            })
        }
    }

    const TABLES: &str = "CREATE TABLE metadata (key TEXT, value TEXT);
        INSERT INTO metadata VALUES ('format_version', '20230327'), ('compression_format', 'none'),
            ('serialization_format', 'json');
        CREATE TABLE event (_identifier INTEGER PRIMARY KEY AUTOINCREMENT, _event_data_identifier TEXT,
            date_time TEXT, timestamp INTEGER, timestamp_desc TEXT);
        CREATE TABLE event_data (_identifier INTEGER PRIMARY KEY AUTOINCREMENT, _data TEXT);
        CREATE TABLE event_data_stream (_identifier INTEGER PRIMARY KEY AUTOINCREMENT, file_entropy TEXT,
            md5_hash TEXT, path_spec TEXT, sha1_hash TEXT, sha256_hash TEXT, yara_match TEXT);
        CREATE TABLE event_tag (_identifier INTEGER PRIMARY KEY AUTOINCREMENT, _event_identifier TEXT,
            labels TEXT);";

    const FORMATTERS: &str = "type: 'conditional'
data_type: 'test:line'
message:
- 'Line {text}'
short_message:
- '{text}'
short_source: 'LOG'
source: 'Test log'
";

    struct Made {
        folder: tempfile::TempDir,
        database: Connection,
    }

    impl Made {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let database = Connection::open(folder.path().join("s.plaso")).unwrap();
            database.execute_batch(TABLES).unwrap();
            std::fs::create_dir(folder.path().join("formatters")).unwrap();
            let path = folder.path().join("formatters/test.yaml");
            crate::durable::write(&path, FORMATTERS.as_bytes()).unwrap();
            Self { folder, database }
        }

        fn data(&self, data: &str) {
            let sql = "INSERT INTO event_data (_data) VALUES (?1)";
            self.database.execute(sql, [data]).unwrap();
        }

        fn event(&self, data: i64, timestamp: i64, description: &str) {
            let sql = "INSERT INTO event (_event_data_identifier, timestamp, timestamp_desc)
                VALUES ('event_data.' || ?1, ?2, ?3)";
            let row = (data, timestamp, description);
            self.database.execute(sql, row).unwrap();
        }

        fn run(&self) -> Result<(Vec<String>, ExportReceipt), String> {
            let (folder, mut out) = (self.folder.path(), Vec::new());
            let formatters = Formatters::load(&folder.join("formatters"), None).unwrap();
            let store = folder.join("s.plaso");
            let receipt = run(
                &store,
                &formatters,
                folder,
                &mut out,
                &mut Plaso(Vec::new()),
            )
            .map_err(|error| crate::printable::causes(&error))?;
            let lines = String::from_utf8(out).unwrap();
            Ok((lines.lines().map(str::to_owned).collect(), receipt))
        }
    }

    fn line(text: &str, hash: &str) -> String {
        let data = json!({"__type__": "AttributeContainer", "__container_type__": "event_data",
            "_event_values_hash": hash, "data_type": "test:line", "text": text});
        data.to_string()
    }

    #[test]
    fn a_document_has_its_fields_in_psorts_order() {
        let made = Made::new();
        let data = concat!(
            r#"{"__type__": "AttributeContainer", "__container_type__": "event_data","#,
            r#""_event_data_stream_identifier": "event_data_stream.1", "_parser_chain": "text/test","#,
            r#""md5_hash": "of the data", "timestamp_desc": "of the data", "data_type": "test:line","#,
            r#""inode": 7, "size": 1.5, "absent": null, "text": "a\nb","#,
            r#""changed": {"__type__": "DateTimeValues", "__class_name__": "PosixTime", "timestamp": 1},"#,
            r#""pair": {"__type__": "tuple", "values": [1, "x"]}}"#,
        );
        made.data(data);
        made.database
            .execute_batch(
                r#"INSERT INTO event_data_stream (path_spec, sha1_hash, yara_match) VALUES
                    ('{"__type__": "PathSpec", "location": "/x", "type_indicator": "OS"}', 'abc', '["rule"]');
                INSERT INTO event_tag (_event_identifier, labels) VALUES ('event.9', '["no"]'),
                    ('event.1', '["one", "two"]'), ('event.1', '["late"]');"#,
            )
            .unwrap();
        made.event(1, -1, "Written");
        let (lines, receipt) = made.run().unwrap();
        let expected = concat!(
            r#"{"parser":"-","data_type":"test:line","md5_hash":"-","timestamp_desc":"Written","#,
            r#""inode":"7","size":1.5,"text":"a\nb","pair":[1,"x"],"#,
            r#""path_spec":"{\"__type__\": \"PathSpec\", \"location\": \"/x\", \"type_indicator\": \"OS\"}","#,
            r#""sha1_hash":"abc","yara_match":["rule"],"#,
            r#""datetime":"1969-12-31T23:59:59.999999+00:00","display_name":"OS:/x","message":"Line ab","#,
            r#""source_long":"Test log","source_short":"LOG","tag":["one","two"],"timestamp":-1}"#,
        );
        assert_eq!(lines, [expected]);
        assert_eq!((receipt.documents, receipt.by_plaso), (1, 0));
    }

    #[test]
    fn events_come_by_time_without_doubles_and_their_data_in_any_order() {
        let made = Made::new();
        for (text, hash) in [("a", "1"), ("b", "2"), ("c", "1")] {
            made.data(&line(text, hash));
        }
        for (data, time) in [(3, 9), (1, 9), (2, 4), (1, 4), (3, -4), (2, 9)] {
            made.event(data, time, "Written");
        }
        let (lines, receipt) = made.run().unwrap();
        let texts: Vec<_> = lines
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .map(|line| (line["timestamp"].as_i64().unwrap(), line["text"].clone()))
            .collect();
        let expected = [(-4, "c"), (4, "a"), (4, "b"), (9, "c"), (9, "b")];
        assert_eq!(texts, expected.map(|(time, text)| (time, json!(text))));
        assert_eq!((receipt.events, receipt.duplicates), (6, 1));
        let ends = [receipt.first.unwrap(), receipt.last.unwrap()];
        assert_eq!(
            ends,
            [
                "1969-12-31T23:59:59.999996+00:00",
                "1970-01-01T00:00:00.000009+00:00"
            ]
        );
    }

    #[test]
    fn what_only_plaso_knows_stands_where_it_belongs() {
        let made = Made::new();
        made.data(&line("known", "1"));
        made.data(r#"{"data_type": "test:line", "text": "", "display_name": ["a list"]}"#);
        for (data, time) in [(1, 3), (2, 2), (1, 1)] {
            made.event(data, time, "Written");
        }
        let (lines, receipt) = made.run().unwrap();
        assert_eq!(lines[1], r#"{"plaso":2}"#);
        assert!(lines[0].contains("known") && lines[2].contains("known"));
        assert_eq!((receipt.documents, receipt.by_plaso), (3, 1));
        assert_eq!(
            (receipt.escaped_surrogates, receipt.replaced_numbers),
            (1, 2)
        );
        for _ in 4..=13 {
            made.event(2, 5, "Written");
        }
        made.event(2, 6, "Written");
        made.database
            .execute("DELETE FROM event WHERE _identifier < 13", [])
            .unwrap();
        assert_eq!(
            made.run().unwrap_err(),
            "have Plaso write event 13: Plaso is gone"
        );
    }

    #[test]
    fn rows_that_plaso_does_not_write_are_named() {
        let refused = |spoil: &str| {
            let made = Made::new();
            made.data(&line("a", "1"));
            made.event(1, 1, "Written");
            made.database.execute_batch(spoil).unwrap();
            made.run().unwrap_err()
        };
        for (spoil, said) in [
            (
                "DELETE FROM event_data",
                "row 1 of event names data that is not there",
            ),
            (
                "DROP TABLE event_data",
                "row 1 of event names data that is not there",
            ),
            (
                "UPDATE event SET timestamp = NULL",
                "row 1 of event has no time",
            ),
            (
                "UPDATE event SET timestamp = 'soon'",
                "row 1 of event has no time",
            ),
            (
                "UPDATE event SET _event_data_identifier = 7",
                "row 1 of event names no data",
            ),
            (
                "UPDATE event SET timestamp_desc = x'ff'",
                "row 1 of event has a description that is not text",
            ),
            (
                "UPDATE event_data SET _data = '{'",
                "row 1 of event_data is no JSON",
            ),
            (
                "UPDATE event_data SET _data = NULL",
                "row 1 of event_data holds no data",
            ),
            (
                r#"UPDATE event_data SET _data = '{"_event_values_hash": 7}'"#,
                "row 1 of event_data has a hash that is not text",
            ),
            (
                r#"UPDATE event_data SET _data = '{"_event_data_stream_identifier": "x"}'"#,
                "row 1 of event_data names no stream",
            ),
        ] {
            assert_eq!(
                refused(spoil),
                format!("understand the storage file: {said}")
            );
        }
    }

    #[test]
    fn a_storage_file_without_events_is_exported_whole() {
        let (lines, receipt) = Made::new().run().unwrap();
        assert_eq!((lines.len(), receipt), (0, ExportReceipt::default()));
    }
}
