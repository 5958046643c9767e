//! Formatters of the tests' own; those of Plaso are compared in `tests/export.rs`.

use super::*;
use crate::export::read::read as json;

const PLAIN: &str = "type: conditional\ndata_type: A:b\nmessage:\n- 'First: {one}'\n- '{two}'\n- 'end'\n\
    short_message: ['{one}']\nshort_source: S\nsource: Long\n";

fn formatters(files: &[(&str, &str)]) -> Result<Formatters, FormattersError> {
    let folder = tempfile::tempdir().unwrap();
    let custom = folder.path().join("custom.yml");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    Formatters::load(folder.path(), custom.is_file().then_some(&custom))
}

fn message(formatter: &Formatter, attributes: &str) -> Option<String> {
    let Ok(Value::Map(attributes)) = json(attributes.as_bytes()) else {
        panic!("no map: {attributes}");
    };
    let mut out = Text::from("before\n");
    let known = formatter.message(&attributes, &mut out);
    let message = out
        .as_str()
        .unwrap()
        .strip_prefix("before\n")
        .unwrap()
        .to_owned();
    assert!(known == Known::Yes || message.is_empty());
    (known == Known::Yes).then_some(message)
}

#[test]
fn pieces_without_their_attribute_are_left_out() {
    let formatters = formatters(&[("a.yaml", PLAIN), (".b.yaml", "[")]).unwrap();
    let formatter = formatters.of("a:B");
    assert_eq!(
        [formatter.source_short(), formatter.source_long()],
        ["S", "Long"]
    );
    assert_eq!(
        message(formatter, r#"{"one":null,"two":"x\r\ny"}"#).unwrap(),
        "xy end"
    );
    assert_eq!(
        message(formatter, r#"{"two":[null],"one":0}"#).unwrap(),
        "First: 0 [None] end"
    );
    assert_eq!(
        message(formatter, r#"{"one":{"__type__":"DateTimeValues"}}"#),
        None
    );
}

#[test]
fn a_custom_definition_takes_the_place_of_plasos() {
    let custom = "type: basic\ndata_type: a:b\nmessage: '{one:04x}'\nshort_message: x\nshort_source: T\nsource: U";
    let formatters = formatters(&[("a.yaml", PLAIN), ("custom.yml", custom)]).unwrap();
    let formatter = formatters.of("a:b");
    assert_eq!(formatter.source_short(), "T");
    assert_eq!(message(formatter, r#"{"one":255}"#).unwrap(), "00ff");
    assert_eq!(message(formatter, "{}"), None, "psort prints addresses");
}

#[test]
fn a_type_without_formatter_has_its_attributes_printed() {
    let formatters = formatters(&[]).unwrap();
    let formatter = formatters.of("none");
    assert_eq!(
        [formatter.source_short(), formatter.source_long()],
        ["N/A", "N/A"]
    );
    let date = r#"{"__type__":"DateTimeValues"}"#;
    let attributes =
        format!(r#"{{"_x":1,"data_type":"none","b":"x\n","d":{date},"l":[{date}],"a":[1]}}"#);
    let expected = "<WARNING DEFAULT FORMATTER> Attributes: b: x a: [1]";
    assert_eq!(message(formatter, &attributes).unwrap(), expected);
}

#[test]
fn a_definition_that_is_not_known_is_unknown_alone() {
    let wrong = PLAIN.replace("A:b", "wrong") + "new_key: 1\n";
    let two = PLAIN
        .replace("A:b", "two")
        .replace("{one}'", "{one} {two}'");
    let files = format!("{PLAIN}---\n{wrong}---\n{two}");
    let formatters = formatters(&[("a.yaml", &files)]).unwrap();
    assert_eq!(message(formatters.of("wrong"), "{}"), None);
    assert_eq!(message(formatters.of("two"), "{}"), None);
    assert_eq!(formatters.of("wrong").source_long(), "Long");
    assert_eq!(message(formatters.of("a:b"), "{}").unwrap(), "end");
}

#[test]
fn a_file_that_is_broken_or_comes_twice_is_named() {
    for files in [
        [("a.yaml", PLAIN), ("b.yaml", "a: [")],
        [("a.yaml", PLAIN), ("b.yaml", PLAIN)],
        [("a.yaml", PLAIN), ("b.yaml", "type: basic")],
    ] {
        let error = formatters(&files).unwrap_err().to_string();
        assert!(error.contains("b.yaml"), "{error}");
    }
}
