//! What a document becomes that OpenSearch would refuse, or has refused. Pure.
//!
//! Values are moved, as they stand, into one text field that a search finds ([`UNINDEXED`], a list of `name=JSON`):
//! first those that cannot be right anywhere and those that the refusal names, at last all but the few that every
//! document has. `datetime` is kept within the years that OpenSearch knows.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::mapping::{LABELS, UNINDEXED};

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
/// What stays when all else is moved, as long as it is of the kind that it should be.
const TEXTS: [&str; 4] = ["message", "timestamp_desc", "data_type", "datetime"];
const TIMELINE: &str = "__ts_timeline_id";

/// The ends of what OpenSearch's dates can be (`strict_date_optional_time`).
const FIRST: &str = "0000-01-01T00:00:00.000000+00:00";
const LAST: &str = "9999-12-31T23:59:59.999999+00:00";

/// Whether a name is one that we or Timesketch give: evidence must not label or star itself.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with("__ts_") || name == "timesketch_label" || LABELS.contains(&name)
}

/// Whether it begins as a date of a year that OpenSearch knows.
pub(super) fn is_usual_datetime(text: &str) -> bool {
    let bytes = text.as_bytes();
    let year = bytes
        .get(..4)
        .is_some_and(|year| year.iter().all(u8::is_ascii_digit));
    year && bytes.get(4) == Some(&b'-')
}

/// A document before it is sent, without what we add: mended by what can be seen; nothing: it may be sent as it is.
pub(super) fn before(document: &[u8]) -> Option<Vec<u8>> {
    let mut members = Members::read(document)?;
    members.move_where(|name, _| is_ours(name));
    members.unheard_of();
    members.write()
}

/// A document that was refused, with what we add, in its next form; nothing: there is none. `forms`: how many it had
/// since it was first refused.
pub(super) fn after(document: &[u8], reason: &str, forms: u8) -> Option<Vec<u8>> {
    let mut members = Members::read(document)?;
    if forms < 3 {
        members.unheard_of();
        members.move_where(|name, value| is_movable(name, value) && is_named(name, reason));
        members.give_datetime();
        if let Some(mended) = members.write() {
            return Some(mended);
        }
    }
    // What is wrong within an object is not always said by its name.
    members.move_where(|name, value| is_movable(name, value) && value.get().contains('{'));
    if let Some(mended) = members.write() {
        return Some(mended);
    }
    members.move_where(|name, value| is_movable(name, value) && !may_always_stay(name, value));
    members.write()
}

/// Whether a member may go elsewhere: not ours, and not the time as a number.
fn is_movable(name: &str, value: &RawValue) -> bool {
    match name {
        TIMELINE | UNINDEXED => false,
        "timestamp" => value.get().starts_with(['"', '{', '[']),
        _ => !LABELS.contains(&name),
    }
}

fn may_always_stay(name: &str, value: &RawValue) -> bool {
    TEXTS.contains(&name) && value.get().starts_with('"')
}

/// Whether a refusal speaks of that field, of a part of it, or of what it is a part of.
fn is_named(name: &str, reason: &str) -> bool {
    let quoted = |name: &str| {
        [('[', ']'), ('"', '"')].into_iter().any(|(open, close)| {
            let begin = format!("{open}{name}");
            let mut found = reason.match_indices(&begin);
            found.any(|(at, _)| {
                let rest = reason.get(at + begin.len()..).unwrap_or_default();
                rest.starts_with(close) || rest.starts_with('.')
            })
        })
    };
    let mut above = name.match_indices('.').filter_map(|(at, _)| name.get(..at));
    !name.is_empty() && (quoted(name) || above.any(|part| !part.is_empty() && quoted(part)))
}

/// Members of an object in their order, doubles too, and values as they stand.
struct Members<'a> {
    kept: Vec<(Cow<'a, str>, Cow<'a, RawValue>)>,
    moved: Vec<String>,
    changed: bool,
}

impl<'a> Members<'a> {
    fn read(document: &'a [u8]) -> Option<Self> {
        let Pairs(pairs) = serde_json::from_slice(document).ok()?;
        let kept = pairs
            .into_iter()
            .map(|(name, value)| (name, Cow::Borrowed(value)));
        Some(Self {
            kept: kept.collect(),
            moved: Vec::new(),
            changed: false,
        })
    }

    fn move_where(&mut self, out: impl Fn(&str, &RawValue) -> bool) {
        let all = std::mem::take(&mut self.kept);
        for (name, value) in all {
            if out(&name, &value) {
                self.moved.push(format!("{name}={}", value.get()));
                self.changed = true;
            } else {
                self.kept.push((name, value));
            }
        }
    }

    /// Moves what no index takes, and keeps times within what it knows.
    fn unheard_of(&mut self) {
        self.move_doubles();
        self.move_where(|name, value| is_bad_name(name) || is_bad_value(value.get()));
        self.keep_times();
        // Ours is a list of texts.
        self.move_where(|name, value| name == UNINDEXED && texts(value).is_none());
    }

    /// Of members of one name the last counts: ours are behind those of the document.
    fn move_doubles(&mut self) {
        let mut all = std::mem::take(&mut self.kept);
        let mut seen = std::collections::HashSet::new();
        let mut kept = Vec::new();
        while let Some((name, value)) = all.pop() {
            if seen.insert(name.clone()) {
                kept.push((name, value));
            } else {
                self.moved.push(format!("{name}={}", value.get()));
                self.changed = true;
            }
        }
        kept.reverse();
        self.kept = kept;
    }

    fn keep_times(&mut self) {
        for (name, value) in &mut self.kept {
            let new = match &**name {
                "datetime" => within_years(value.get()),
                "timestamp" => within_long(value.get()),
                _ => None,
            };
            let Some(new) = new.and_then(|text| RawValue::from_string(text).ok()) else {
                continue;
            };
            self.moved.push(format!("{name}={}", value.get()));
            *value = Cow::Owned(new);
            self.changed = true;
        }
    }

    /// A search's order is by `datetime`, so a document without one gets that of its `timestamp`.
    fn give_datetime(&mut self) {
        let has = self.kept.iter().any(|(name, _)| name == "datetime");
        let mut stamps = self.kept.iter().filter(|(name, _)| name == "timestamp");
        let stamp = stamps
            .next()
            .and_then(|(_, value)| value.get().parse().ok());
        let text = stamp.map(|stamp| Value::from(datetime(stamp)).to_string());
        let value = text.and_then(|text| RawValue::from_string(text).ok());
        if let Some(value) = value.filter(|_| !has && self.changed) {
            self.kept
                .push((Cow::Borrowed("datetime"), Cow::Owned(value)));
        }
    }

    /// The object; nothing where it is what it was.
    fn write(&mut self) -> Option<Vec<u8>> {
        if !self.changed {
            return None;
        }
        let mut moved = Vec::new();
        let mut out = String::from("{");
        for (name, value) in &self.kept {
            if name == UNINDEXED {
                moved.extend(texts(value).unwrap_or_else(|| vec![value.get().to_owned()]));
                continue;
            }
            out.push_str(&format!("{}:{},", Value::from(&**name), value.get()));
        }
        moved.extend(self.moved.iter().cloned());
        out.push_str(&format!("\"{UNINDEXED}\":{}}}", Value::from(moved)));
        Some(out.into_bytes())
    }
}

fn texts(value: &RawValue) -> Option<Vec<String>> {
    serde_json::from_str(value.get()).ok()
}

/// What OpenSearch makes no field of (facts about 2.19.5 and 3.8.0; `x.` and a blank it takes).
fn is_bad_name(name: &str) -> bool {
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
fn is_bad_value(raw: &str) -> bool {
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
fn within_years(raw: &str) -> Option<String> {
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
fn datetime(stamp: i64) -> String {
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
fn within_long(raw: &str) -> Option<String> {
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

struct Pairs<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reading;
        impl<'de> Visitor<'de> for Reading {
            type Value = Pairs<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    pairs.push((name, value));
                }
                Ok(Pairs(pairs))
            }
        }
        from.deserialize_map(Reading)
    }
}
