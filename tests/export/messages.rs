//! The exporter's messages against Plaso's own code.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use dfagent::export::formatter::{Formatters, Known};
use dfagent::export::value::{Text, Value};
use dfagent::export::yaml::{self, Node};
use dfagent::export::{python, read};
use libtest_mimic::{Failed, Trial};

use crate::lab::{self, Need, trial};

/// Cases for each formatter; `DFAGENT_TEST_MESSAGES=1000` for more.
const ROUNDS: &str = "60";

/// Formatters with a helper that needs tables of Plaso's.
const BEYOND: [&str; 3] = [
    "windows:evt:record",
    "windows:evtx:record",
    "windows:registry:msie_zone_settings",
];

/// Formatters of which psort itself has no message that could be told: seven make it raise, for a piece of theirs
/// names two attributes, and one names an attribute that cannot be.
const RAISING: [&str; 8] = [
    "ios:health:achievement",
    "ios:health:headphone_audio_levels",
    "ios:health:heart_rate",
    "ios:health:source_devices",
    "ios:health:steps",
    "ios:health:workouts",
    "ios:health:wrist_temperature",
    "spotlight_searched_terms:entry",
];

pub fn trials() -> Vec<Trial> {
    let plaso = [Need::Plaso];
    vec![
        trial("messages_are_plasos_own", &plaso, messages),
        trial("definitions_are_as_pyyaml_reads_them", &plaso, definitions),
        trial("python_escapes_what_the_table_says", &plaso, unprintable),
    ]
}

/// What a script of ours says when Plaso's Python runs it.
fn python(script: &str, arguments: &[&str]) -> String {
    let output = Command::new(lab::plaso().join("bin/python"))
        .arg("-B")
        .arg(
            PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                .join("tests/export")
                .join(script),
        )
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Plaso's folder of formatters.
fn folder() -> PathBuf {
    let pattern = lab::plaso().join("lib/python3*/site-packages/plaso/data/formatters");
    let mut found = glob::glob(pattern.to_str().unwrap()).unwrap();
    found.next().expect("Plaso has formatters").unwrap()
}

fn field<'a>(map: &'a Value, name: &str) -> &'a Value {
    let Value::Map(entries) = map else {
        panic!("no map: {map:?}");
    };
    let found = entries.iter().find(|entry| entry.0.as_str() == Some(name));
    found.map(|entry| &entry.1).expect("Plaso's script says it")
}

fn text(value: &Value) -> &str {
    value.as_text().and_then(Text::as_str).expect("text")
}

fn hex(text: &Text) -> String {
    text.as_bytes().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

fn messages() -> Result<(), Failed> {
    let formatters = Formatters::load(&folder(), None).unwrap();
    let mut cases = 0;
    let mut wrong = Vec::new();
    let mut needless: BTreeMap<String, usize> = BTreeMap::new();
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    let rounds = std::env::var("DFAGENT_TEST_MESSAGES").unwrap_or(ROUNDS.to_owned());
    for line in python("messages.py", &[&rounds]).lines() {
        cases += 1;
        let case = read::read(line.as_bytes()).unwrap();
        let Value::Map(attributes) = field(&case, "stored") else {
            panic!("no attributes");
        };
        let data_type = text(field(field(&case, "stored"), "data_type"));
        let formatter = formatters.of(data_type);
        let mut message = Text::default();
        let theirs = field(&case, "message");
        match formatter.message(attributes, &mut message) {
            Known::Yes => {
                *known.entry(data_type.to_lowercase()).or_default() += 1;
                if theirs.is_null() || text(theirs) != hex(&message) {
                    wrong.push(format!(
                        "{line}\n  is {:?}",
                        String::from_utf8_lossy(message.as_bytes())
                    ));
                }
            }
            Known::Unknown => {
                assert_eq!(message, Text::default());
                if !theirs.is_null() {
                    *needless.entry(data_type.to_lowercase()).or_default() += 1;
                }
            }
        }
        let sources = [formatter.source_short(), formatter.source_long()];
        assert_eq!(
            sources,
            [text(field(&case, "short")), text(field(&case, "long"))],
            "{line}"
        );
    }
    assert!(
        wrong.is_empty(),
        "{} of {cases}:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(5)].join("\n")
    );

    let types = formatters.data_types();
    let never = types.iter().filter(|name| !known.contains_key(**name));
    println!(
        "{cases} cases of {} formatters: {} as Plaso; left to Plaso, though it can be told: {} of these {needless:?}",
        types.len(),
        known.values().sum::<usize>(),
        needless.values().sum::<usize>(),
    );
    let expected = BEYOND.iter().chain(&RAISING).copied();
    assert_eq!(
        never.copied().collect::<BTreeSet<_>>(),
        expected.collect(),
        "no message of these is known"
    );
    for name in RAISING {
        assert!(!needless.contains_key(name), "psort has messages of {name}");
    }
    Ok(())
}

/// A node in the form that definitions.py writes.
fn tagged(node: &Node) -> Value {
    let one = |name: &str, value| Value::Map(vec![(name.into(), value)]);
    match node {
        Node::Null => Value::Null,
        Node::Bool(truth) => Value::Bool(*truth),
        Node::Integer(number) => one("i", Value::Text(number.to_string().into())),
        Node::Float(float) => one("f", Value::Text(python::float(*float).into())),
        Node::Text(text) => Value::Text(text.as_str().into()),
        Node::List(items) => Value::List(items.iter().map(tagged).collect()),
        Node::Map(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| Value::List(vec![tagged(key), tagged(value)]));
            one("m", Value::List(entries.collect()))
        }
    }
}

fn definitions() -> Result<(), Failed> {
    let folder = folder();
    let mut documents = 0;
    for line in python("definitions.py", &[folder.to_str().unwrap()]).lines() {
        let Ok(Value::List(file)) = read::read(line.as_bytes()) else {
            panic!("no list: {line}");
        };
        let ours = std::fs::read_to_string(folder.join(text(&file[0]))).unwrap();
        let ours: Vec<Value> = yaml::documents(&ours).unwrap().iter().map(tagged).collect();
        let Value::List(theirs) = &file[1] else {
            panic!("no documents: {line}");
        };
        assert_eq!(ours.len(), theirs.len(), "{}", text(&file[0]));
        for (ours, theirs) in ours.iter().zip(theirs) {
            assert_eq!(ours, theirs, "{}", text(&file[0]));
        }
        documents += theirs.len();
    }
    assert!(documents > 200, "only {documents} formatters were compared");
    Ok(())
}

fn unprintable() -> Result<(), Failed> {
    let said = python("unprintable.py", &[]);
    let table = said
        .lines()
        .filter_map(|line| line.strip_prefix("0x")?.strip_suffix(','));
    let boundaries: Vec<u32> = table
        .map(|line| u32::from_str_radix(line, 16).unwrap())
        .collect();
    assert!(boundaries.len() > 1000);
    let mut printable = true;
    let mut next = boundaries.iter().peekable();
    for point in 0..=0x0010_ffff {
        while next.next_if_eq(&&point).is_some() {
            printable = !printable;
        }
        assert_eq!(python::is_printable(point), printable, "U+{point:04X}");
    }
    Ok(())
}
