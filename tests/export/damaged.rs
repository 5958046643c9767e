//! Storage files, JSON and formatters that chance damages: nothing panics, nothing hangs, counts add up.

use std::error::Error;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use dfagent::export::formatter::{Formatters, Known};
use dfagent::export::run::{self, Fallback};
use dfagent::export::value::{Text, Value};
use dfagent::export::write::Counts;
use dfagent::export::{read, write, yaml};
use libtest_mimic::{Failed, Trial};

use crate::exporters::{self, Case, number};
use crate::hostile::assert_ended;
use crate::lab::dice::Dice;
use crate::lab::{Need, trial};

pub fn trials() -> Vec<Trial> {
    let plaso = [Need::Plaso];
    vec![
        trial(
            "damaged_storage_files_end_with_a_sentence_or_all_documents",
            &plaso,
            programs,
        ),
        trial("no_damage_of_a_storage_file_makes_a_panic", &plaso, stores),
        trial("no_damage_of_json_makes_a_panic", &plaso, json),
        trial("no_damage_of_formatters_makes_a_panic", &plaso, formatters),
    ]
}

/// How many damages are tried in this process; of the program itself, which has to be started, it is a tenth.
fn rounds() -> u32 {
    number("DFAGENT_TEST_ROUNDS", 200)
}

/// Changes some bytes: single bits, whole bytes, runs of zeros, or a part in the place of another.
fn damage(dice: &mut Dice, content: &mut [u8]) {
    let size = u32::try_from(content.len()).unwrap();
    for _ in 0..=dice.roll_below(3) {
        let place = dice.roll_below(size) as usize;
        let run = (dice.roll_below(64) as usize).min(content.len() - place);
        match dice.roll_below(4) {
            0 => content[place] ^= 1 << dice.roll_below(8),
            1 => content[place] = u8::try_from(dice.roll_below(256)).unwrap_or(u8::MAX),
            2 => content[place..place + run].fill(0),
            _ => {
                let from = (dice.roll_below(size) as usize).min(content.len() - run);
                content.copy_within(from..from + run, place);
            }
        }
    }
}

/// What is damaged: streams, tags, doubles and several kinds of event data, in few pages.
fn whole(case: &Case) -> Vec<u8> {
    let store = case.make("generate.py", &["order"], &["--events", "3"]);
    fs::read(store).unwrap()
}

fn programs() -> Result<(), Failed> {
    let case = Case::new();
    let whole = whole(&case);
    let mut dice = Dice::new("damaged storage files");
    let damaged = case.path("damaged.plaso");
    let mut refused = 0;
    for round in 0..rounds() / 10 {
        let mut content = whole.clone();
        damage(&mut dice, &mut content);
        fs::write(&damaged, &content)?;
        let done = case.attempt_limited(&damaged, 30, 1 << 20);
        assert_ended(&case, &done, &format!("round {round}"));
        refused += u32::from(done.code != 0);
    }
    eprintln!("{refused} of {} refused", rounds() / 10);
    Ok(())
}

/// Plaso's code is not asked: what it would answer is not what is tried here.
struct Nobody;

impl Fallback for Nobody {
    fn document(
        &mut self,
        _: i64,
        out: &mut Vec<u8>,
    ) -> Result<Counts, Box<dyn Error + Send + Sync>> {
        out.extend_from_slice(b"{}");
        Ok(Counts::default())
    }
}

fn stores() -> Result<(), Failed> {
    let case = Case::new();
    let whole = whole(&case);
    let formatters = Formatters::load(&exporters::formatters(), None)?;
    let mut dice = Dice::new("damaged storage files");
    let damaged = case.path("damaged.plaso");
    let mut refused = 0;
    for round in 0..rounds() {
        let mut content = whole.clone();
        damage(&mut dice, &mut content);
        fs::write(&damaged, &content)?;
        let mut output = Vec::new();
        let run = || {
            run::run(
                &damaged,
                &formatters,
                folder(&damaged),
                &mut output,
                &mut Nobody,
            )
        };
        let done = catch_unwind(AssertUnwindSafe(run));
        let Ok(done) = done else {
            return Err(format!("round {round} panicked").into());
        };
        match done {
            Err(_) => refused += 1,
            Ok(receipt) => {
                let lines = output.iter().filter(|byte| **byte == b'\n').count();
                assert_eq!(receipt.documents, lines as u64, "round {round}");
                assert_eq!(receipt.documents + receipt.duplicates, receipt.events);
                for line in output
                    .split(|byte| *byte == b'\n')
                    .filter(|line| !line.is_empty())
                {
                    let is_json = serde_json::from_slice::<serde_json::Value>(line).is_ok();
                    assert!(
                        is_json || has_lone_surrogate(line),
                        "round {round}: {line:?}"
                    );
                }
            }
        }
    }
    eprintln!("{refused} of {} refused", rounds());
    Ok(())
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap()
}

/// An escape that is valid JSON, and that `serde_json` does not take.
fn has_lone_surrogate(line: &[u8]) -> bool {
    line.windows(3).any(|three| three == b"\\ud")
}

/// What starts the damage of JSON: event data as Plaso writes it, and all forms that a value has.
const JSON: [&str; 4] = [
    r#"{"__type__": "AttributeContainer", "__container_type__": "event_data", "_event_data_stream_identifier": "event_data_stream.1", "_event_values_hash": "0123456789abcdef0123456789abcdef", "data_type": "syslog:line", "pid": -12, "message_body": "caf\u00e9 \ud83d\ude00 \\ \" \n"}"#,
    r#"{"a": [1, -0, 1.5e300, 1E-7, NaN, Infinity, -Infinity, true, false, null, [], {}, [[["x"]]]], "a": "\ud800\udc00\udfff"}"#,
    r#"{"t": {"__type__": "tuple", "values": [1, [2, "3"]]}, "d": {"__type__": "DateTimeValues", "__class_name__": "PosixTime", "timestamp": 1}}"#,
    r#"  [ "a" , 12345678901234567890123456789 , "ünï" ]  "#,
];

fn json() -> Result<(), Failed> {
    let formatters = Formatters::load(&exporters::formatters(), None)?;
    let types: Vec<&str> = formatters.data_types().into_iter().collect();
    let mut dice = Dice::new("damaged JSON");
    let mut valid = 0;
    for round in 0..rounds() * 20 {
        let mut content = JSON[round as usize % JSON.len()].as_bytes().to_vec();
        damage(&mut dice, &mut content);
        let place = dice.roll_below(u32::try_from(types.len())?) as usize;
        let tried = catch_unwind(|| {
            let Ok(value) = read::read(&content) else {
                return 0;
            };
            let (mut text, mut counts) = (Vec::new(), Counts::default());
            write::value(&value, &mut text, &mut counts);
            assert!(read::read(&text).is_ok(), "what is written can be read");
            if let Value::Map(attributes) = &value {
                say(&formatters, types[place], attributes);
            }
            1
        });
        let Ok(tried) = tried else {
            let content = String::from_utf8_lossy(&content).into_owned();
            return Err(format!("{content:?} as {}", types[place]).into());
        };
        valid += tried;
    }
    eprintln!("{valid} of {} were JSON all the same", rounds() * 20);
    assert!(valid > 0);
    Ok(())
}

/// Makes a message; where Plaso has to make it, nothing is left of an attempt.
fn say(formatters: &Formatters, data_type: &str, attributes: &[(Text, Value)]) {
    let mut message = Text::default();
    if formatters.of(data_type).message(attributes, &mut message) == Known::Unknown {
        assert_eq!(message, Text::default());
    }
}

fn formatters() -> Result<(), Failed> {
    let mut files: Vec<_> = fs::read_dir(exporters::formatters())?
        .collect::<io::Result<Vec<_>>>()?
        .into_iter()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .collect();
    files.sort();
    files.push(exporters::here("formatters.yaml"));
    let texts: Vec<String> = files.iter().map(|path| short(path)).collect();
    let case = Case::new();
    fs::create_dir(case.path("none"))?;
    let custom = case.path("custom.yaml");
    let mut dice = Dice::new("damaged formatters");
    let mut loaded = 0;
    for round in 0..rounds() {
        let mut content = texts[round as usize % texts.len()].clone().into_bytes();
        damage(&mut dice, &mut content);
        let text = String::from_utf8_lossy(&content).into_owned();
        fs::write(&custom, &text)?;
        let tried = catch_unwind(|| {
            drop(yaml::documents(&text));
            let found = Formatters::load(&case.path("none"), Some(&custom));
            let Ok(found) = found else {
                return 0;
            };
            for name in found.data_types() {
                let attribute = (Text::from("data_type"), Value::Text(name.into()));
                say(&found, name, &[attribute]);
            }
            1
        });
        loaded += tried.map_err(|_| format!("round {round}: {text}"))?;
    }
    eprintln!("{loaded} of {} could be loaded all the same", rounds());
    Ok(())
}

/// The first formatters of a file: of one with hundreds most damage would hit nothing that is looked at.
fn short(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("\n---\n")
        .take(6)
        .collect::<Vec<_>>()
        .join("\n---\n")
}
