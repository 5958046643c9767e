//! A line of documents at a glance: whether it is one, when it was, and whether it is to be looked at more closely.
//! Pure.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{fits, mend};

/// What is seen of a line at a glance.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// Microseconds.
    pub(super) timestamp: Option<i64>,
    /// It has what OpenSearch refuses for sure, or what would pass for ours.
    pub(super) odd: bool,
}

/// Looks at a line.
///
/// # Errors
/// It is no JSON object.
pub(super) fn look(line: &[u8]) -> Result<Look, String> {
    let text = str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?;
    serde_json::from_str(text).map_err(|error| format!("it is no JSON object: {error}"))
}

impl<'de> Deserialize<'de> for Look {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Glance)
    }
}

struct Glance;

#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Plain<'a> {
    Number(i64),
    Text(#[serde(borrow)] Cow<'a, str>),
    Other(IgnoredAny),
}

impl<'de> Visitor<'de> for Glance {
    type Value = Look;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Look, A::Error> {
        let mut look = Look::default();
        while let Some(Name(name)) = map.next_key()? {
            match &*name {
                "timestamp" => match map.next_value()? {
                    Plain::Number(number) => look.timestamp = Some(number),
                    _ => look.odd = true,
                },
                "datetime" => match map.next_value()? {
                    Plain::Text(text) => look.odd |= !fits::is_usual_datetime(&text),
                    _ => look.odd = true,
                },
                other => {
                    look.odd |= mend::is_ours(other);
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_look_sees_what_is_odd() {
        let odd = |line: &str| look(line.as_bytes()).map(|look| look.odd);
        for line in [
            r#"{"datetime":"10000-01-01"}"#,
            r#"{"datetime":1}"#,
            r#"{"timestamp":99999999999999999999}"#,
            r#"{"timestamp":"1"}"#,
            r#"{"__ts_timeline_id":1}"#,
            r#"{"time\u0073ketch_label":[]}"#,
            r#"{"evidence_case":"x"}"#,
        ] {
            assert_eq!(odd(line), Ok(true), "{line}");
        }
        for line in [
            r#"{"datetime":"2026-11-01","timestamp":5}"#,
            "{}",
            r#"{"a":{"timesketch_label":1}}"#,
        ] {
            assert_eq!(odd(line), Ok(false), "{line}");
        }
        for line in [
            "",
            "7",
            "[]",
            "null",
            "{}{}",
            "{\"a\":}",
            "{\"a\":NaN}",
            "{\"a\":\"\t\"}",
            "\u{feff}{}",
        ] {
            assert!(odd(line).is_err(), "{line}");
        }
        assert!(look(b"{\"a\":\"\xed\xa0\x80\"}").is_err());
    }

    proptest! {
        #[test]
        fn no_line_makes_it_stumble(line in prop::collection::vec(any::<u8>(), 0..64)) {
            drop(look(&line));
        }
    }
}
