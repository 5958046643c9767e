//! The parser list: Plaso knows every name, and the whole list finds what it must in the samples.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use flate2::read::ZlibDecoder;
use lab::{finish, tool};
use libtest_mimic::Failed;
use serde_json::Value;

use super::{WORK, lab, log2timeline, text};

/// The list that ships, as the value of `--parsers`.
fn list() -> Vec<String> {
    let file = lab::root().join("packaging/usr/share/dfagent/parsers");
    let text = fs::read_to_string(file).unwrap();
    let names = text
        .lines()
        .map(|line| line.split('#').next().unwrap().trim());
    let names: Vec<String> = names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    assert_eq!(names, dfagent::config::filters::built_in_parsers());
    names
}

pub(super) fn parsers() -> Result<(), Failed> {
    let table = tool(
        text(&lab::plaso().join("bin/log2timeline")),
        &["--parsers", "list"],
    );
    let mut known = BTreeSet::new();
    let mut section = None;
    for line in table.lines() {
        let title = line.trim_matches('*').trim();
        if line.starts_with('*') {
            section = match title.split_once(": ") {
                None if title == "Parsers" => Some(String::new()),
                Some(("Parser plugins", parser)) => Some(format!("{parser}/")),
                _ => None,
            };
        } else if let (Some(section), Some((name, _))) = (&section, line.split_once(" : ")) {
            known.insert(format!("{section}{}", name.trim()));
        }
    }
    assert!(known.len() > 100, "{known:?}");
    let names = list();
    let unknown: Vec<&String> = names.iter().filter(|name| !known.contains(*name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let once: BTreeSet<&String> = names.iter().collect();
    assert_eq!(once.len(), names.len(), "every name once");
    Ok(())
}

/// Events by path and data type: a path without its first slash, of packed files that of the file.
pub(super) type Events = BTreeMap<(String, String), u64>;

pub(super) fn events(store: &Path, source: &Path) -> Events {
    let database = rusqlite::Connection::open(store).unwrap();
    let mut streams = BTreeMap::new();
    each(
        &database,
        "SELECT _identifier, path_spec FROM event_data_stream",
        |row| {
            let number: i64 = row.get(0).unwrap();
            let spec = serde_json::from_str(&row.get::<_, String>(1).unwrap()).unwrap();
            streams.insert(format!("event_data_stream.{number}"), place(spec, source));
        },
    );
    let mut data = BTreeMap::new();
    each(
        &database,
        "SELECT _identifier, _data FROM event_data",
        |row| {
            let number: i64 = row.get(0).unwrap();
            let packed: Vec<u8> = row.get(1).unwrap();
            let values: Value = serde_json::from_reader(ZlibDecoder::new(&packed[..])).unwrap();
            let stream = values["_event_data_stream_identifier"]
                .as_str()
                .unwrap_or_default();
            let path = streams.get(stream).cloned().unwrap_or_default();
            let data_type = values["data_type"].as_str().unwrap().to_owned();
            data.insert(format!("event_data.{number}"), (path, data_type));
        },
    );
    let mut events = Events::new();
    each(
        &database,
        "SELECT _event_data_identifier FROM event",
        |row| {
            let of = &data[&row.get::<_, String>(0).unwrap()];
            *events.entry(of.clone()).or_default() += 1;
        },
    );
    events
}

fn each(database: &rusqlite::Connection, sql: &str, mut each: impl FnMut(&rusqlite::Row<'_>)) {
    let mut query = database.prepare(sql).unwrap();
    let mut rows = query.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        each(row);
    }
}

/// Where a path specification leads to in the source.
fn place(mut spec: Value, source: &Path) -> String {
    while spec["type_indicator"] != "OS" {
        spec = spec["parent"].take();
        assert!(spec.is_object(), "a path specification without a place");
    }
    let place = Path::new(spec["location"].as_str().unwrap());
    let inside = place.strip_prefix(source).unwrap();
    text(inside).to_owned()
}

/// The samples and what the whole list finds in them, run once.
static SAMPLES: LazyLock<Events> = LazyLock::new(|| {
    let source = WORK.join("samples");
    let made = lab::root().join("tests/filters/samples");
    tool("cp", &["-r", text(&made), text(&source)]);
    let script = lab::root().join("tests/filters/make_binary_samples.py");
    let mut generator = std::process::Command::new("/usr/bin/python3");
    let done = finish(generator.arg("-B").arg(script).arg(&source));
    assert!(
        matches!(done.code, 0 | 3),
        "binary samples: {}{}",
        done.out,
        done.err
    );
    let (store, _) = log2timeline("samples", &source, &["--parsers", &list().join(",")]);
    events(&store, &source)
});

pub(super) fn samples(wanted: fn(&str) -> bool) -> Result<(), Failed> {
    let expected = fs::read_to_string(lab::root().join("tests/filters/expected.tsv"))?;
    let (mut rows, mut wrong) = (0, Vec::new());
    for line in expected.lines().filter(|line| !line.starts_with('#')) {
        let [path, data_type, least] = line.split('\t').collect::<Vec<_>>()[..] else {
            return Err(format!("expected.tsv: {line:?} is not three fields").into());
        };
        if !wanted(data_type) {
            continue;
        }
        rows += 1;
        let found = SAMPLES
            .get(&(path.to_owned(), data_type.to_owned()))
            .copied()
            .unwrap_or(0);
        if found < least.parse()? {
            wrong.push(format!("{path}: {found} of {least} {data_type}"));
        }
    }
    assert!(rows > 0 && wrong.is_empty(), "{rows} rows: {wrong:#?}");
    Ok(())
}
