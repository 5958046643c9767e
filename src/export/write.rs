//! JSON as opensearch-py writes it: `json.dumps(ensure_ascii=False, separators=(",", ":"))`, except, as in
//! `packaging/usr/lib/dfagent/export_documents.py`, that lone surrogates are `\uXXXX` escapes and that NaN and
//! infinities are strings. Both are counted.

use super::python::{self, Number};
use super::value::{Text, Value};

/// What could not be written as opensearch-py would.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Whether there was a lone surrogate. The script counts documents: reset it for each.
    pub surrogates: bool,
    /// How many numbers were NaN or infinite.
    pub numbers: u64,
}

/// Writes a value of JSON; maps as they are, whatever their `__type__`.
pub fn value(value: &Value, out: &mut Vec<u8>, counts: &mut Counts) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(digits) => number(digits, out, counts),
        Value::Text(text) => string(text, out, counts),
        Value::List(items) => list(items, out, |item, out| self::value(item, out, counts)),
        Value::Map(entries) => {
            out.push(b'{');
            for (place, (name, item)) in entries.iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                string(name, out, counts);
                out.push(b':');
                self::value(item, out, counts);
            }
            out.push(b'}');
        }
    }
}

/// Writes what Plaso makes of a stored attribute: its tuples are lists.
///
/// `None` if it is or holds an object (a date, bytes, a path specification) of which only Plaso's code knows what
/// psort does with it; `out` then holds a part.
#[must_use]
pub fn stored(value: &Value, out: &mut Vec<u8>, counts: &mut Counts) -> Option<()> {
    let items = match value {
        Value::List(items) => items,
        Value::Map(_) => python::tuple(value)?,
        _ => {
            self::value(value, out, counts);
            return Some(());
        }
    };
    let mut known = Some(());
    list(items, out, |item, out| {
        known = known.and(if python::is_plain_map(item) {
            self::value(item, out, counts);
            Some(())
        } else {
            stored(item, out, counts)
        });
    });
    known
}

fn list(items: &[Value], out: &mut Vec<u8>, mut write: impl FnMut(&Value, &mut Vec<u8>)) {
    out.push(b'[');
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}

fn number(digits: &str, out: &mut Vec<u8>, counts: &mut Counts) {
    match python::number(digits) {
        Number::Integer(digits) => out.extend_from_slice(digits.as_bytes()),
        Number::Float(float) if float.is_finite() => {
            out.extend_from_slice(python::float(float).as_bytes());
        }
        Number::Float(float) => {
            counts.numbers += 1;
            out.extend_from_slice(if float.is_nan() {
                b"\"NaN\""
            } else if float > 0.0 {
                b"\"Infinity\""
            } else {
                b"\"-Infinity\""
            });
        }
    }
}

/// Writes text as a string of JSON.
pub fn string(text: &Text, out: &mut Vec<u8>, counts: &mut Counts) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let hex = |nibble: u8| HEX.get(usize::from(nibble & 15)).copied().unwrap_or(b'0');
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut written = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let length = match ESCAPES.get(usize::from(byte)) {
            None | Some(0) => continue,
            // Of the characters that begin so, those with a second byte from 0xa0 on are surrogates.
            Some(b's') if bytes.get(at + 1).is_none_or(|&second| second < 0xa0) => continue,
            Some(b's') => 3,
            Some(_) => 1,
        };
        out.extend_from_slice(bytes.get(written..at).unwrap_or_default());
        written = at + length;
        match ESCAPES.get(usize::from(byte)) {
            Some(b's') => {
                counts.surrogates = true;
                let second = bytes.get(at + 1).copied().unwrap_or(0);
                let third = bytes.get(at + 2).copied().unwrap_or(0);
                let nibbles = [0xd, second >> 2, second << 2 | third >> 4 & 3, third];
                out.extend_from_slice(b"\\u");
                out.extend(nibbles.map(hex));
            }
            Some(b'u') => {
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte)])
            }
            Some(&letter) => out.extend_from_slice(&[b'\\', letter]),
            None => {}
        }
    }
    out.extend_from_slice(bytes.get(written..).unwrap_or_default());
    out.push(b'"');
}

/// The letter after the backslash, `u` for a code, `s` for what may be a surrogate, 0 for none.
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut control = 0;
    while control < 0x20 {
        table[control] = b'u';
        control += 1;
    }
    table[8] = b'b';
    table[9] = b't';
    table[10] = b'n';
    table[12] = b'f';
    table[13] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table[0xed] = b's';
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::read::read;

    fn again(json: &str) -> (String, Counts) {
        let mut out = Vec::new();
        let mut counts = Counts::default();
        value(&read(json.as_bytes()).unwrap(), &mut out, &mut counts);
        (String::from_utf8(out).unwrap(), counts)
    }

    #[test]
    fn escapes_are_pythons() {
        let (json, counts) =
            again(r#""\u0000\u001f\b\t\n\f\r\"\\\/\u007f\u00e9\ud7ff\ue000\ud83d\ude00""#);
        let plain = "\u{7f}é\u{d7ff}\u{e000}😀";
        assert_eq!(json, format!(r#""\u0000\u001f\b\t\n\f\r\"\\/{plain}""#));
        assert_eq!(counts, Counts::default());
    }

    #[test]
    fn halves_are_escaped_and_counted() {
        let (json, counts) = again(r#"{"a\uD83D":"\ude00x\uDBFF\udfff\udabc"}"#);
        let whole = "\\ude00x\u{10ffff}\\udabc";
        assert_eq!(json, format!("{{\"a\\ud83d\":\"{whole}\"}}"));
        assert!(counts.surrogates);
    }

    #[test]
    fn numbers_are_pythons_or_strings() {
        let (json, counts) = again(
            "[-0,1.50,1E5,1e22,NaN,Infinity,-Infinity,1e400,123456789012345678901234567890,-0.0]",
        );
        assert_eq!(
            json,
            r#"[0,1.5,100000.0,1e+22,"NaN","Infinity","-Infinity","Infinity",123456789012345678901234567890,-0.0]"#
        );
        assert_eq!(counts.numbers, 4);
    }

    #[test]
    fn tuples_become_lists_and_objects_are_unknown() {
        let out = |json: &str| {
            let mut out = Vec::new();
            stored(
                &read(json.as_bytes()).unwrap(),
                &mut out,
                &mut Counts::default(),
            )
            .map(|()| String::from_utf8(out).unwrap())
        };
        let tuple = r#"[{"__type__":"tuple","values":[1,["a"]]},{"b":{"__type__":"tuple"}}]"#;
        assert_eq!(
            out(tuple).unwrap(),
            r#"[[1,["a"]],{"b":{"__type__":"tuple"}}]"#
        );
        assert_eq!(out(r#"{"__type__":"DateTimeValues"}"#), None);
        assert_eq!(out(r#"[1,{"__type__":"bytes","stream":""}]"#), None);
        assert_eq!(out(r#"{"a":1}"#), None);
    }
}
