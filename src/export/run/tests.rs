//! Exports of small storage files.

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
