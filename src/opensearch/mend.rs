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

use super::fits::{self, is_bad_name, is_bad_value, within_long, within_years};
use super::mapping::{LABELS, UNINDEXED};

/// What stays when all else is moved, as long as it is of the kind that it should be.
const TEXTS: [&str; 4] = ["message", "timestamp_desc", "data_type", "datetime"];
const TIMELINE: &str = "__ts_timeline_id";

/// Whether a name is one that we or Timesketch give: evidence must not label or star itself.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with("__ts_") || name == "timesketch_label" || LABELS.contains(&name)
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
        let text = stamp.map(|stamp| Value::from(fits::datetime(stamp)).to_string());
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(bytes: Option<Vec<u8>>) -> String {
        String::from_utf8(bytes.unwrap_or_default()).unwrap()
    }

    fn after_text(document: &str, reason: &str, forms: u8) -> String {
        text(after(document.as_bytes(), reason, forms))
    }

    #[test]
    fn a_named_value_is_moved_as_it_stands_and_all_else_keeps_its_place() {
        let document = r#"{"pid":"abc","x":1.50,"__ts_timeline_id":7}"#;
        let reason = "failed to parse field [pid] of type [long] in document with id '1'";
        assert_eq!(
            after_text(document, reason, 0),
            r#"{"x":1.50,"__ts_timeline_id":7,"dfagent_unindexed":["pid=\"abc\""]}"#
        );
        // Within an object, and above a name with a dot.
        for (name, reason) in [
            ("a", "failed to parse field [a.b.c]"),
            ("a.b", "mapping for [a] must be object"),
        ] {
            let document = format!(r#"{{"{name}":{{"b":1}},"ab":2}}"#);
            let mended = after_text(&document, reason, 0);
            assert_eq!(
                mended,
                format!(r#"{{"ab":2,"dfagent_unindexed":["{name}={{\"b\":1}}"]}}"#)
            );
        }
    }

    #[test]
    fn at_last_only_what_every_document_has_stays() {
        let document = r#"{"message":"m","o":{"p":1},"n":3,"datetime":"2026-11-01T00:00:00","timestamp":5,"evidence_slice":"s"}"#;
        let first = after_text(document, "limit exceeded", 0);
        assert!(
            first.starts_with(r#"{"message":"m","n":3,"#) && first.contains("o={"),
            "{first}"
        );
        let second = after_text(&first, "limit exceeded", 1);
        let stays = r#"{"message":"m","datetime":"2026-11-01T00:00:00","timestamp":5,"evidence_slice":"s","#;
        assert_eq!(
            second,
            format!(r#"{stays}"dfagent_unindexed":["o={{\"p\":1}}","n=3"]}}"#)
        );
        assert_eq!(
            after(second.as_bytes(), "limit exceeded", 2),
            None,
            "there is no way"
        );
    }

    #[test]
    fn times_are_kept_within_what_is_known() {
        let of = |text: &str| {
            let document = format!(r#"{{"datetime":"{text}","timestamp":1}}"#);
            let mended = before(document.as_bytes())?;
            let mended: Value = serde_json::from_slice(&mended).unwrap();
            assert_eq!(mended[UNINDEXED][0], format!("datetime=\"{text}\""));
            mended["datetime"].as_str().map(str::to_owned)
        };
        assert_eq!(
            of("45800-12-02T05:37:58.000000+00:00").as_deref(),
            Some("9999-12-31T23:59:59.999999+00:00")
        );
        assert_eq!(
            of("+10000-01-01T00:00:00").as_deref(),
            Some("9999-12-31T23:59:59.999999+00:00")
        );
        assert_eq!(
            of("-0001-01-01T00:00:00").as_deref(),
            Some("0000-01-01T00:00:00.000000+00:00")
        );
        for usual in ["0000-01-01", "9999-12-31T23:59:59.999999+00:00", "soon", ""] {
            assert_eq!(of(usual), None, "{usual}");
        }
        // One that is refused is made anew of the timestamp.
        let document =
            r#"{"datetime":"2026-02-30T00:00:00.000000+00:00","timestamp":1793491200000001}"#;
        let mended = after_text(
            document,
            "failed to parse field [datetime] of type [date]",
            0,
        );
        assert!(
            mended.contains(r#""datetime":"2026-11-01T00:00:00.000001+00:00""#),
            "{mended}"
        );
    }

    #[test]
    fn evidence_does_not_pass_for_us() {
        let document =
            r#"{"timesketch_label":[{"name":"__ts_star"}],"evidence_host":"h","__ts_x":1,"a":2}"#;
        let mended: Value = serde_json::from_slice(&before(document.as_bytes()).unwrap()).unwrap();
        assert_eq!(
            mended.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["a", UNINDEXED]
        );
        // Of two of one name ours, behind, stays.
        let document = r#"{"__ts_timeline_id":9,"a":1,"__ts_timeline_id":7}"#;
        let mended = after_text(document, "duplicate field", 0);
        assert_eq!(
            mended,
            r#"{"a":1,"__ts_timeline_id":7,"dfagent_unindexed":["__ts_timeline_id=9"]}"#
        );
    }

    /// Names and values that have a meaning here, and any others.
    fn member() -> impl Strategy<Value = (String, Value)> {
        let name = prop_oneof![
            Just("pid".to_owned()),
            Just("datetime".to_owned()),
            Just("timestamp".to_owned()),
            Just("message".to_owned()),
            Just("a.b".to_owned()),
            Just(UNINDEXED.to_owned()),
            Just("_id".to_owned()),
            ".{0,6}",
        ];
        let value = prop_oneof![
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
            Just(serde_json::json!({"x": [1, {"y": null}]})),
            Just(serde_json::json!(["one", "two"])),
            Just(Value::Null),
        ];
        (name, value)
    }

    proptest! {
        #[test]
        fn no_value_is_lost_on_the_way_and_the_way_ends(
            members in prop::collection::btree_map("[a-z.]{0,4}", 0_i64..3, 0..4),
            more in prop::collection::vec(member(), 0..6),
            reason in prop_oneof![Just("field [pid]".to_owned()), Just("mapping for [a]".to_owned()), ".*"],
        ) {
            let mut document = serde_json::Map::new();
            document.extend(members.into_iter().map(|(name, value)| (name, Value::from(value))));
            document.extend(more);
            let mut now = Value::Object(document.clone()).to_string();
            let mut forms = 0;
            while let Some(next) = after(now.as_bytes(), &reason, forms) {
                now = String::from_utf8(next).unwrap();
                forms += 1;
                prop_assert!(forms < 10, "{}", now);
                let mended: Value = serde_json::from_str(&now).unwrap();
                let moved = mended[UNINDEXED].as_array().unwrap();
                prop_assert!(moved.iter().all(Value::is_string));
                for (name, value) in &document {
                    let there = mended.get(name) == Some(value);
                    let kept = format!("{name}={value}");
                    let inside = name == UNINDEXED && value.as_array().is_some_and(|all| all.iter().all(|one| moved.contains(one)));
                    prop_assert!(there || inside || moved.iter().any(|text| text == kept.as_str()), "{} {}", name, now);
                }
            }
        }

        #[test]
        fn no_line_makes_it_stumble(line in prop::collection::vec(any::<u8>(), 0..64), reason in ".*", forms in 0_u8..6) {
            drop(before(&line));
            drop(after(&line, &reason, forms));
        }
    }
}
