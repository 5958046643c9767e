//! Values as Python prints them: `str()`, `repr()`, truth and numbers of what Plaso's serializer makes of stored
//! JSON (`plaso/serializer/json_serializer.py` of 20260720).
//!
//! `None` everywhere means that only Plaso's own code can say: dates, bytes and other objects. Depth is that of the
//! value, which the reader limits.

use super::unprintable::BOUNDARIES;
use super::value::{Text, Value};

/// Whether something is known without asking Plaso.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It is, exactly.
    Yes,
    /// Only Plaso's own code can say.
    Unknown,
}

/// A number as Python has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number<'a> {
    /// An integer of any size, in the digits that Python gives it.
    Integer(&'a str),
    /// A float.
    Float(f64),
}

/// The number of these digits, which are JSON's or `NaN`, `Infinity` and `-Infinity`.
#[must_use]
pub fn number(digits: &str) -> Number<'_> {
    if digits
        .bytes()
        .all(|byte| byte == b'-' || byte.is_ascii_digit())
    {
        Number::Integer(if digits == "-0" { "0" } else { digits })
    } else {
        match digits {
            "Infinity" => Number::Float(f64::INFINITY),
            "-Infinity" => Number::Float(f64::NEG_INFINITY),
            _ => Number::Float(digits.parse().unwrap_or(f64::NAN)),
        }
    }
}

/// `repr()` of a float: the fewest digits that mean it, and an exponent where Python wants one.
#[must_use]
pub fn float(float: f64) -> String {
    if float.is_nan() {
        return "nan".to_owned();
    }
    if float.is_infinite() {
        return if float > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{float:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        // Rust's own fixed form has the same digits.
        let fixed = format!("{float}");
        return if fixed.contains('.') {
            fixed
        } else {
            fixed + ".0"
        };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

/// The items, if Plaso reads it as a tuple.
#[must_use]
pub fn tuple(value: &Value) -> Option<&[Value]> {
    let Value::Map(entries) = value else {
        return None;
    };
    if kind(entries)?.as_text()?.as_bytes() != b"tuple" {
        return None;
    }
    match named(entries, "values")? {
        Value::List(items) => Some(items),
        _ => None,
    }
}

/// The items, if it is a list or a tuple.
#[must_use]
pub fn items(value: &Value) -> Option<&[Value]> {
    match value {
        Value::List(items) => Some(items),
        _ => tuple(value),
    }
}

/// Whether Plaso leaves the map as it is, as it does inside of lists only.
#[must_use]
pub fn is_plain_map(value: &Value) -> bool {
    match value {
        Value::Map(entries) => {
            kind(entries).is_none_or(|kind| kind.is_null() || *kind == Value::Text(Text::default()))
        }
        _ => false,
    }
}

/// The name of the kind of object that Plaso makes of a map.
#[must_use]
pub fn kind_of(value: &Value) -> Option<&Text> {
    match value {
        Value::Map(entries) => kind(entries)?.as_text(),
        _ => None,
    }
}

fn kind(entries: &[(Text, Value)]) -> Option<&Value> {
    named(entries, "__type__")
}

fn named<'a>(entries: &'a [(Text, Value)], name: &str) -> Option<&'a Value> {
    let mut entries = entries.iter();
    entries.find_map(|entry| (entry.0.as_bytes() == name.as_bytes()).then_some(&entry.1))
}

/// `bool()` of a value.
#[must_use]
pub fn truth(value: &Value) -> Option<bool> {
    Some(match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(digits) => match number(digits) {
            Number::Integer(digits) => digits != "0",
            Number::Float(float) => float != 0.0,
        },
        Value::Text(text) => !text.as_bytes().is_empty(),
        Value::List(items) => !items.is_empty(),
        Value::Map(_) => !tuple(value)?.is_empty(),
    })
}

/// The integer, if it is one (in Python truth is one, too) of up to 127 bits.
#[must_use]
pub fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::Bool(truth) => Some(i128::from(*truth)),
        Value::Number(digits) => match number(digits) {
            Number::Integer(digits) => digits.parse().ok(),
            Number::Float(_) => None,
        },
        _ => None,
    }
}

/// Adds `str()` of a value.
#[must_use]
pub fn str(value: &Value, out: &mut Text) -> Option<()> {
    match value {
        Value::Text(text) => out.push_text(text),
        Value::Null => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Number(digits) => match number(digits) {
            Number::Integer(digits) => out.push_str(digits),
            Number::Float(number) => out.push_str(&float(number)),
        },
        Value::List(items) => list(items, out)?,
        Value::Map(_) => repr_tuple(tuple(value)?, out)?,
    }
    Some(())
}

fn list(items: &[Value], out: &mut Text) -> Option<()> {
    out.push_str("[");
    joined(items, out, repr)?;
    out.push_str("]");
    Some(())
}

fn joined(
    items: &[Value],
    out: &mut Text,
    each: impl Fn(&Value, &mut Text) -> Option<()>,
) -> Option<()> {
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push_str(", ");
        }
        each(item, out)?;
    }
    Some(())
}

fn repr_tuple(items: &[Value], out: &mut Text) -> Option<()> {
    out.push_str("(");
    joined(items, out, repr)?;
    out.push_str(if items.len() == 1 { ",)" } else { ")" });
    Some(())
}

/// Adds `repr()` of a value inside of a list or tuple.
#[must_use]
pub fn repr(value: &Value, out: &mut Text) -> Option<()> {
    match value {
        Value::Text(text) => repr_text(text, out),
        Value::Map(_) if is_plain_map(value) => repr_plain(value, out),
        _ => return str(value, out),
    }
    Some(())
}

/// `repr()` inside of a map that Plaso left as it is: what is in it was left, too.
fn repr_plain(value: &Value, out: &mut Text) {
    match value {
        Value::List(items) => {
            out.push_str("[");
            for (place, item) in items.iter().enumerate() {
                out.push_str(if place > 0 { ", " } else { "" });
                repr_plain(item, out);
            }
            out.push_str("]");
        }
        Value::Map(entries) => {
            out.push_str("{");
            for (place, (name, item)) in entries.iter().enumerate() {
                out.push_str(if place > 0 { ", " } else { "" });
                repr_text(name, out);
                out.push_str(": ");
                repr_plain(item, out);
            }
            out.push_str("}");
        }
        Value::Text(text) => repr_text(text, out),
        // The others are always known.
        _ => str(value, out).unwrap_or_default(),
    }
}

/// Adds `repr()` of text.
pub fn repr_text(text: &Text, out: &mut Text) {
    let bytes = text.as_bytes();
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') {
        '"'
    } else {
        '\''
    };
    out.push_code_point(u32::from(quote));
    for point in text.code_points() {
        match point {
            0x09 => out.push_str("\\t"),
            0x0a => out.push_str("\\n"),
            0x0d => out.push_str("\\r"),
            0x5c => out.push_str("\\\\"),
            point if point == u32::from(quote) => {
                out.push_str("\\");
                out.push_code_point(point);
            }
            point if is_printable(point) => out.push_code_point(point),
            point => {
                out.push_str(&match point {
                    0..=0xff => format!("\\x{point:02x}"),
                    0x100..=0xffff => format!("\\u{point:04x}"),
                    _ => format!("\\U{point:08x}"),
                });
            }
        }
    }
    out.push_code_point(u32::from(quote));
}

/// Python's `str.isprintable` of one code point.
#[must_use]
pub fn is_printable(point: u32) -> bool {
    match point {
        0x20..=0x7e => true,
        _ => BOUNDARIES.partition_point(|&boundary| boundary <= point) % 2 == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::read::read;

    fn printed(json: &str) -> Option<String> {
        let mut out = Text::default();
        str(&read(json.as_bytes()).unwrap(), &mut out)?;
        Some(out.as_str().unwrap().to_owned())
    }

    #[test]
    fn str_is_pythons() {
        for (json, python) in [
            ("null", "None"),
            ("true", "True"),
            ("-0", "0"),
            ("-0.0", "-0.0"),
            ("1e5", "100000.0"),
            ("1e16", "1e+16"),
            ("123456789012345680", "123456789012345680"),
            ("1234567890123456.0", "1234567890123456.0"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("1.5e-300", "1.5e-300"),
            ("1e400", "inf"),
            ("NaN", "nan"),
            (r#""it's \u0000""#, "it's \0"),
            (
                r#"["it's","\"","'\"","\u0000\u00a0\ud83d\u00e9\n\\\ue000"]"#,
                r#"["it's", '"', '\'"', '\x00\xa0\ud83dé\n\\\ue000']"#,
            ),
            (r#"["\udb40\udc01",[],{}]"#, r"['\U000e0001', [], {}]"),
            (r#"{"__type__":"tuple","values":[1]}"#, "(1,)"),
            (
                r#"[{"__type__":"tuple","values":[]},null,true,1.0]"#,
                "[(), None, True, 1.0]",
            ),
            (
                r#"[{"a":{"__type__":"tuple"},"b":[1,"x"]}]"#,
                "[{'a': {'__type__': 'tuple'}, 'b': [1, 'x']}]",
            ),
        ] {
            assert_eq!(printed(json).as_deref(), Some(python), "{json}");
        }
    }

    #[test]
    fn objects_are_unknown() {
        for json in [
            r#"{"__type__":"DateTimeValues"}"#,
            r#"[{"__type__":"bytes"}]"#,
            r#"{"a":1}"#,
            r#"{"__type__":"tuple"}"#,
        ] {
            assert_eq!(printed(json), None, "{json}");
        }
    }

    #[test]
    fn truth_is_pythons() {
        let truth = |json: &str| truth(&read(json.as_bytes()).unwrap());
        for json in [
            "null",
            "false",
            "0",
            "-0",
            "0.0",
            "-0.0",
            "\"\"",
            "[]",
            r#"{"__type__":"tuple","values":[]}"#,
        ] {
            assert_eq!(truth(json), Some(false), "{json}");
        }
        for json in [
            "true",
            "1",
            "NaN",
            "\"0\"",
            "[0]",
            r#"{"__type__":"tuple","values":[0]}"#,
        ] {
            assert_eq!(truth(json), Some(true), "{json}");
        }
    }
}
