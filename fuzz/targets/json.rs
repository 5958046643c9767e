//! JSON: what is read can be written and read again, and what `serde_json` takes is read as the same.
#![no_main]

use std::sync::LazyLock;

use dfagent::export::formatter::Formatters;
use dfagent::export::read::{self, DEEPEST};
use dfagent::export::value::{Text, Value};
use dfagent_fuzz::{say, written};
use libfuzzer_sys::fuzz_target;

static FORMATTERS: LazyLock<Formatters> = LazyLock::new(dfagent_fuzz::formatters);

fuzz_target!(|data: &[u8]| {
    let read = read::read(data);
    match (&read, serde_json::from_slice::<serde_json::Value>(data)) {
        (Ok(value), Ok(other)) => assert!(is_same(value, &other), "{value:?} {other:?}"),
        (Ok(_), Err(error)) => assert!(is_pythons(data, &error), "{error}"),
        // Both are limits of ours, the second is Python's.
        (Err(error), Ok(other)) => assert!(
            error.what == "too deep" && depth(&other) > DEEPEST
                || error.what == "an integer with too many digits",
            "{error}"
        ),
        (Err(_), Err(_)) => {}
    }
    let Ok(value) = read else { return };
    // NaN becomes text and 1E5 becomes 100000.0, both of which stay.
    let text = written(&value);
    let again = read::read(&text).expect("what is written can be read");
    assert_eq!(written(&again), text);
    if let Value::Map(attributes) = &value {
        for data_type in data_types(attributes) {
            say(FORMATTERS.of(data_type), attributes);
        }
    }
});

/// Whether there is something that `serde_json` refuses and Python takes: words for numbers, escapes of halves of
/// characters, and numbers that are too large for a float.
fn is_pythons(data: &[u8], error: &serde_json::Error) -> bool {
    let text = String::from_utf8_lossy(data).to_lowercase();
    ["nan", "infinity", "\\ud"]
        .iter()
        .any(|word| text.contains(word))
        || error.to_string().starts_with("number out of range")
}

/// The type that the event data names, and one that has no formatter.
fn data_types(attributes: &[(Text, Value)]) -> impl Iterator<Item = &str> {
    let named = attributes
        .iter()
        .find(|(name, _)| name.as_bytes() == b"data_type");
    let named = named.and_then(|(_, value)| value.as_text()?.as_str());
    named.into_iter().chain(["none:such"])
}

fn depth(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        serde_json::Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn is_same(ours: &Value, other: &serde_json::Value) -> bool {
    match (ours, other) {
        (Value::Null, serde_json::Value::Null) => true,
        (Value::Bool(ours), serde_json::Value::Bool(other)) => ours == other,
        (Value::Number(digits), serde_json::Value::Number(number)) => {
            match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => digits.parse() == Ok(number),
                (None, Some(number)) => digits.parse() == Ok(number),
                (None, None) => number.as_f64() == digits.parse().ok(),
            }
        }
        (Value::Text(ours), serde_json::Value::String(other)) => {
            ours.as_bytes() == other.as_bytes()
        }
        (Value::List(ours), serde_json::Value::Array(other)) => {
            ours.len() == other.len()
                && ours
                    .iter()
                    .zip(other)
                    .all(|(ours, other)| is_same(ours, other))
        }
        (Value::Map(ours), serde_json::Value::Object(other)) => {
            let same = |(name, ours): &(Text, Value)| {
                let name = name.as_str();
                name.and_then(|name| other.get(name))
                    .is_some_and(|other| is_same(ours, other))
            };
            ours.len() == other.len() && ours.iter().all(same)
        }
        _ => false,
    }
}
