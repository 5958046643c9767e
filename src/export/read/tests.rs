//! Reading is as Python's.

use proptest::prelude::*;

use super::*;
use crate::export::write;

fn text(bytes: &str) -> Text {
    match read(bytes.as_bytes()) {
        Ok(Value::Text(text)) => text,
        other => panic!("{bytes}: {other:?}"),
    }
}

#[test]
fn strings_are_as_in_python() {
    let points = |json: &str| text(json).code_points().collect::<Vec<_>>();
    assert_eq!(points(r#""\ud83d\ude00""#), [0x1f600]);
    assert_eq!(points(r#""\ud83dx""#), [0xd83d, 0x78]);
    assert_eq!(points(r#""\ud83d\u0041""#), [0xd83d, 0x41]);
    assert_eq!(points(r#""\ud83d\ud83d\ude00""#), [0xd83d, 0x1f600]);
    assert_eq!(points(r#""\ude00\ud83d""#), [0xde00, 0xd83d]);
    assert_eq!(
        points(r#""\b\f\n\r\t\/\\\"é""#),
        [8, 12, 10, 13, 9, 0x2f, 0x5c, 0x22, 0xe9]
    );
    assert_eq!(text("\"1234567\u{7f}é8901234567890\"").as_bytes().len(), 23);
}

#[test]
fn a_name_that_comes_again_keeps_its_place() {
    let entry = |name: &str, value: &str| (Text::from(name), Value::Number(value.into()));
    assert_eq!(
        read(br#"{"a":1,"b":2,"a":3}"#),
        Ok(Value::Map(vec![entry("a", "3"), entry("b", "2")]))
    );
    let twice: Vec<_> = (0..200).map(|n| format!("\"{}\":{n}", n % 100)).collect();
    let Ok(Value::Map(map)) = read(format!("{{{}}}", twice.join(",")).as_bytes()) else {
        panic!("no map");
    };
    let last = (0..100).map(|n| entry(&n.to_string(), &(n + 100).to_string()));
    assert_eq!(map, last.collect::<Vec<_>>());
}

#[test]
fn what_python_refuses_is_refused() {
    for wrong in [
        "",
        " ",
        "01",
        "1.",
        ".5",
        "-",
        "+1",
        "1e",
        "[1,]",
        "{\"a\":1,}",
        "{a:1}",
        "\"\t\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\ud83d\\u12\"",
        "nul",
        "-NaN",
        "1 2",
        "\"",
        "[",
        "\u{feff}1",
        "'a'",
        "1_0",
    ] {
        assert!(read(wrong.as_bytes()).is_err(), "{wrong:?}");
    }
    assert!(read(b"\"\xff\"").is_err());
    assert!(read(&[b'['; 100_000]).is_err());
    let deep = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(read(deep(DEEPEST).as_bytes()).is_ok());
    assert_eq!(
        read(deep(DEEPEST + 1).as_bytes()),
        Err(ReadError {
            at: DEEPEST,
            what: "too deep"
        })
    );
    assert!(read("9".repeat(4300).as_bytes()).is_ok());
    assert!(read("9".repeat(4301).as_bytes()).is_err());
}

#[test]
fn numbers_keep_their_digits() {
    for digits in [
        "0",
        "-0",
        "1.50",
        "1E400",
        "123456789012345678901234567890",
        "NaN",
        "Infinity",
        "-Infinity",
    ] {
        assert_eq!(
            read(format!(" {digits}\n").as_bytes()),
            Ok(Value::Number(digits.into()))
        );
    }
}

/// Any value whose numbers are as Python writes them.
fn value() -> impl Strategy<Value = Value> {
    let any_text = prop::collection::vec(
        prop_oneof![0_u32..0x80, 0_u32..=0x0010_ffff, 0xd7ff_u32..0xe001],
        0..12,
    )
    .prop_map(|points| {
        // A high half before a low one would be read as one character.
        let mut text = Text::default();
        let mut high = false;
        for point in points {
            if !(high && (0xdc00..=0xdfff).contains(&point)) {
                text.push_code_point(point);
                high = (0xd800..0xdc00).contains(&point);
            }
        }
        text
    });
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|number| Value::Number(number.to_string().as_str().into())),
        any_text.clone().prop_map(Value::Text),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            prop::collection::btree_map(any_text.clone(), inner, 0..6)
                .prop_map(|map| Value::Map(map.into_iter().collect())),
        ]
    })
}

fn same(ours: &Value, theirs: &serde_json::Value) -> bool {
    match (ours, theirs) {
        (Value::Null, serde_json::Value::Null) => true,
        (Value::Bool(ours), serde_json::Value::Bool(theirs)) => ours == theirs,
        (Value::Number(ours), serde_json::Value::Number(theirs)) => {
            ours.parse::<f64>().ok() == theirs.as_f64()
        }
        (Value::Text(ours), serde_json::Value::String(theirs)) => ours.as_str() == Some(theirs),
        (Value::List(ours), serde_json::Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| same(a, b))
        }
        (Value::Map(ours), serde_json::Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().all(|(name, value)| {
                    theirs
                        .get(name.as_str().unwrap_or_default())
                        .is_some_and(|theirs| same(value, theirs))
                })
        }
        _ => false,
    }
}

proptest! {
    #[test]
    fn any_bytes_end_in_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(read(&bytes));
    }

    #[test]
    fn json_like_bytes_are_read_as_serde_reads_them(
        bytes in r#"[\[\]{}",:0-9eE+. truefalsn\\/bé\u{1}-]{0,24}"#
    ) {
        let ours = read(bytes.as_bytes());
        // What serde_json takes is JSON, except that it joins or refuses halves and infinities.
        if let Ok(theirs) = serde_json::from_str::<serde_json::Value>(&bytes) {
            prop_assert!(same(&ours.unwrap(), &theirs), "{}", bytes);
        } else if let Ok(ours) = ours {
            prop_assert!(bytes.contains(['e', 'E', '\\']), "{} as {:?}", bytes, ours);
        }
    }

    #[test]
    fn what_was_written_is_read_again(value in value()) {
        let mut bytes = Vec::new();
        write::value(&value, &mut bytes, &mut write::Counts::default());
        prop_assert_eq!(read(&bytes), Ok(value));
    }
}
