//! What the targets share.

use std::path::Path;

use dfagent::export::formatter::{Formatter, Formatters, Known};
use dfagent::export::value::{Text, Value};
use dfagent::export::{read, write};

/// Makes a message; where Plaso has to make it, nothing is left of an attempt.
pub fn say(formatter: &Formatter, attributes: &[(Text, Value)]) {
    let mut message = Text::from("before");
    let known = formatter.message(attributes, &mut message);
    let (before, said) = message.as_bytes().split_at("before".len());
    assert_eq!(before, b"before");
    assert!(known == Known::Yes || said.is_empty());
    assert_whole(&message);
}

/// Text is made of whole characters and halves of some: what is written of it is read as the same.
pub fn assert_whole(text: &Text) {
    let points = text.code_points();
    let mut again = Text::default();
    points.for_each(|point| again.push_code_point(point));
    assert_eq!(again, *text);
}

/// The JSON that we write of a value.
pub fn written(value: &Value) -> Vec<u8> {
    let mut text = Vec::new();
    write::value(value, &mut text, &mut write::Counts::default());
    text
}

/// A value of JSON that we wrote down ourselves.
///
/// # Panics
/// It is none.
pub fn value(json: &str) -> Value {
    read::read(json.as_bytes()).expect("JSON")
}

/// Plaso's formatters, which `seeds.py` left in the folder in which the targets are run.
///
/// # Panics
/// They are not there.
pub fn formatters() -> Formatters {
    Formatters::load(Path::new("formatters"), None).expect("Plaso's formatters")
}
