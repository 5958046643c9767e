//! What fits into an index: names, numbers, depths and times. Pure.

use serde_json::Value;

/// OpenSearch takes objects 20 deep.
const DEEPEST: usize = 18;
/// Bytes of a field's name: OpenSearch 2.19.5 refuses 40,000, and takes 300.
const LONGEST_NAME: usize = 512;
/// Names that OpenSearch keeps for itself (2.19.5 and 3.8.0, `MapperService`).
const METADATA: [&str; 14] = [
    "_id",
    "_index",
    "_source",
    "_type",
    "_routing",
    "_field_names",
    "_ignored",
    "_seq_no",
    "_primary_term",
    "_version",
    "_nested_path",
    "_doc_count",
    "_size",
    "_tier",
];
/// The ends of what OpenSearch's dates can be (`strict_date_optional_time`).
const FIRST: &str = "0000-01-01T00:00:00.000000+00:00";
const LAST: &str = "9999-12-31T23:59:59.999999+00:00";

/// Whether it begins as a date of a year that OpenSearch knows.
pub(super) fn is_usual_datetime(text: &str) -> bool {
    let bytes = text.as_bytes();
    let year = bytes
        .get(..4)
        .is_some_and(|year| year.iter().all(u8::is_ascii_digit));
    year && bytes.get(4) == Some(&b'-')
}

/// What OpenSearch makes no field of (facts about 2.19.5 and 3.8.0; `x.` and a blank it takes).
pub(super) fn is_bad_name(name: &str) -> bool {
    let nothing = || {
        name.trim_end_matches('.')
            .split('.')
            .any(|part| part.trim().is_empty())
    };
    name.is_empty()
        || name.len() > LONGEST_NAME
        || METADATA.contains(&name)
        || name.contains('.') && nothing()
}

/// Too deep, or a number that is none there.
pub(super) fn is_bad_value(raw: &str) -> bool {
    match raw.as_bytes().first() {
        Some(b'{' | b'[') => depth(raw) > DEEPEST,
        Some(b'-' | b'0'..=b'9') => match raw.contains(['.', 'e', 'E']) {
            true => raw.parse::<f64>().is_ok_and(f64::is_infinite),
            false => raw.parse::<i64>().is_err(),
        },
        _ => false,
    }
}

/// How deep objects and lists are nested.
fn depth(raw: &str) -> usize {
    let (mut now, mut most, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in raw.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' | b'[' => {
                now += 1;
                most = most.max(now);
            }
            b'}' | b']' => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// `"45800-12-02T…"` to the last moment that OpenSearch knows; nothing where the year is usual.
pub(super) fn within_years(raw: &str) -> Option<String> {
    let text: String = serde_json::from_str(raw).ok()?;
    if is_usual_datetime(&text) {
        return None;
    }
    let bound = match text.as_bytes() {
        [b'-', b'0'..=b'9', ..] => FIRST,
        [b'+', b'0'..=b'9', ..] => LAST,
        [b'0'..=b'9', ..] if text.find('-').is_some_and(|at| at > 4) => LAST,
        _ => return None,
    };
    Some(Value::from(bound).to_string())
}

/// Microseconds as psort writes them, within the years that OpenSearch knows.
pub(super) fn datetime(stamp: i64) -> String {
    let bound = if stamp < 0 { FIRST } else { LAST };
    let Ok(moment) = jiff::Timestamp::from_microsecond(stamp) else {
        return bound.to_owned();
    };
    let text = format!("{moment:.6}").replace('Z', "+00:00");
    if is_usual_datetime(&text) {
        text
    } else {
        bound.to_owned()
    }
}

/// A number of more digits to the largest of 64 bits.
pub(super) fn within_long(raw: &str) -> Option<String> {
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    let whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !whole || raw.parse::<i64>().is_ok() {
        return None;
    }
    let bound = if raw.starts_with('-') {
        i64::MIN
    } else {
        i64::MAX
    };
    Some(bound.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_that_no_index_takes() {
        for name in ["", ".x", "..", "a..b", "a. .b", "_id", "_source"] {
            assert!(is_bad_name(name), "{name}");
        }
        for name in ["x.", " ", "*", "-", "_x", "a.b", "é"] {
            assert!(!is_bad_name(name), "{name}");
        }
        for raw in [
            "1e400",
            "-1e999",
            "9223372036854775808",
            "-9223372036854775809",
        ] {
            assert!(is_bad_value(raw), "{raw}");
        }
        for raw in [
            "1",
            "-1",
            "1.5",
            "1e30",
            "9223372036854775807",
            "\"1e400\"",
            "true",
            "[]",
            "{\"a\":[1]}",
        ] {
            assert!(!is_bad_value(raw), "{raw}");
        }
        assert_eq!(depth(r#"{"a":["}","]\"",{"b":[[]]}]}"#), 5);
    }

    #[test]
    fn a_time_is_written_as_psort_writes_it_within_the_years_that_are_known() {
        assert_eq!(
            datetime(1_793_491_200_000_001),
            "2026-11-01T00:00:00.000001+00:00"
        );
        assert_eq!(datetime(-1), "1969-12-31T23:59:59.999999+00:00");
        assert_eq!(datetime(i64::MAX), LAST);
        assert_eq!(datetime(i64::MIN), FIRST);
        assert_eq!(datetime(-62_167_219_200_000_001), FIRST);
    }
}
