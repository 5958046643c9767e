//! Formatters: whatever a file of them says, messages are made of events, or left to Plaso.
#![no_main]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::LazyLock;

use dfagent::export::formatter::Formatters;
use dfagent::export::value::{Text, Value};
use dfagent::export::yaml;
use dfagent_fuzz::{say, value};
use libfuzzer_sys::fuzz_target;

/// What an attribute may be: one of each that is told apart.
static VALUES: LazyLock<Vec<Value>> = LazyLock::new(|| {
    [
        "null",
        "true",
        "0",
        "-281474976710661",
        "170141183460469231731687303715884105727",
        "1.5",
        "NaN",
        r#""""#,
        r#""caf\u00e9 \ud800\r\n\"'""#,
        r#"["a", "\udfff"]"#,
        "[1, 2.0, null]",
        r#"{"__type__": "tuple", "values": [["a", "REG_SZ", "b"], ["a", "REG_SZ", 1]]}"#,
        r#"{"__type__": "DateTimeValues", "__class_name__": "PosixTime", "timestamp": 1}"#,
        r#"{"a": {}}"#,
    ]
    .map(value)
    .to_vec()
});

/// A file that is nowhere: `Formatters::load` wants one.
static CUSTOM: LazyLock<(File, PathBuf)> = LazyLock::new(|| {
    let file = tempfile::tempfile().expect("a file without a name");
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    (file, path)
});

/// No formatters but those.
static NONE: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));

/// As many as a definition of Plaso has.
const MOST_NAMES: usize = 40;

fuzz_target!(|text: &str| {
    let Ok(documents) = yaml::documents(text) else {
        return;
    };
    let (mut file, path) = (&CUSTOM.0, &CUSTOM.1);
    file.set_len(0).expect("empty the file");
    file.rewind().expect("go to its beginning");
    file.write_all(text.as_bytes()).expect("write the file");
    let Ok(found) = Formatters::load(NONE.path(), Some(path)) else {
        return;
    };
    assert!(found.data_types().len() <= documents.len());
    let names = names(text);
    for data_type in found.data_types() {
        for first in 0..VALUES.len() {
            let values = VALUES.iter().cycle().skip(first);
            let mut attributes: Vec<(Text, Value)> = names
                .iter()
                .zip(values)
                .map(|(name, value)| (Text::from(*name), value.clone()))
                .collect();
            attributes.push((Text::from("data_type"), Value::Text(Text::from(data_type))));
            say(found.of(data_type), &attributes);
        }
    }
});

/// Words of the text that a definition can take for names of attributes.
fn names(text: &str) -> Vec<&str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let names = words.filter(|word| word.starts_with(|first: char| first.is_ascii_lowercase()));
    let names: BTreeSet<&str> = names.filter(|name| *name != "data_type").collect();
    names.into_iter().take(MOST_NAMES).collect()
}
