//! What is known of EC2, as delivery writes it down in `cloud.json` for whoever may not ask.

use serde::{Deserialize, Serialize};

use crate::printable;

/// The format of the file.
pub const SCHEMA: &str = "dfagent-cloud-1";

/// Characters of a value.
const MOST: usize = 128;
/// Bytes of the identity document and of its signature.
const MOST_DOCUMENT: usize = 16 * 1024;

/// All of it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default)]
pub struct Cloud {
    /// [`SCHEMA`].
    pub schema: String,
    /// The instance; none while it is not known.
    pub instance: Option<Instance>,
    /// Its tags.
    pub tags: Tags,
    /// That it will be taken away.
    pub notice: Option<Notice>,
    /// What could not be found out, in sentences.
    pub trouble: Vec<String>,
}

/// What the identity document says, and the document itself.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default)]
pub struct Instance {
    /// `i-…`
    pub id: String,
    /// `c7i.2xlarge`
    pub kind: String,
    /// `eu-central-1`
    pub region: String,
    /// `eu-central-1a`
    pub zone: String,
    /// Twelve digits.
    pub account: String,
    /// As it was answered, for whoever checks its signature.
    pub document: String,
    /// Its signature (`rsa2048`), as it was answered.
    pub signature: String,
}

/// The tags that mean something to us.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default)]
pub struct Tags {
    /// The case.
    pub case: Option<String>,
    /// The sketch.
    pub sketch: Option<String>,
}

/// An announcement of EC2's.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Notice {
    /// What for.
    pub kind: NoticeKind,
    /// `terminate`, `stop` or `hibernate`; for a recommendation, `rebalance`.
    pub action: String,
    /// When, as it was answered if it is a time.
    pub time: Option<String>,
}

/// Kinds of announcements.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// The instance is taken away at a time.
    Interruption,
    /// It is likelier than before to be taken away.
    Rebalance,
}

/// A value from outside, fit to be shown and stored; none when nothing is left of it.
#[must_use]
pub fn value(bytes: &[u8]) -> Option<String> {
    let text = printable::line(String::from_utf8_lossy(bytes).trim(), MOST);
    // A text that was cut says how much is missing, which is no part of a name.
    let text: String = text.chars().take(MOST).collect();
    (!text.is_empty()).then_some(text)
}

impl Instance {
    /// What a document says; none if it is none.
    #[must_use]
    pub fn of(document: &[u8], signature: &[u8]) -> Option<Self> {
        if document.len() > MOST_DOCUMENT || signature.len() > MOST_DOCUMENT {
            return None;
        }
        let text = std::str::from_utf8(document).ok()?;
        let said: serde_json::Value = serde_json::from_str(text).ok()?;
        let of = |key: &str| {
            let text = said.get(key)?.as_str()?;
            value(text.as_bytes())
        };
        Some(Self {
            id: of("instanceId")?,
            region: of("region")?,
            kind: of("instanceType").unwrap_or_default(),
            zone: of("availabilityZone").unwrap_or_default(),
            account: of("accountId").unwrap_or_default(),
            document: text.to_owned(),
            signature: String::from_utf8_lossy(signature)
                .chars()
                .filter(|c| c.is_ascii_graphic() || *c == '\n')
                .collect(),
        })
    }
}

impl Notice {
    /// What `spot/instance-action` says; none if it says nothing that we know.
    #[must_use]
    pub fn interruption(body: &[u8]) -> Option<Self> {
        let said: serde_json::Value = serde_json::from_slice(body).ok()?;
        let action = said.get("action")?.as_str()?;
        let known = matches!(action, "terminate" | "stop" | "hibernate");
        known.then(|| Self {
            kind: NoticeKind::Interruption,
            action: action.to_owned(),
            time: time(&said, "time"),
        })
    }

    /// What `events/recommendations/rebalance` says.
    #[must_use]
    pub fn rebalance(body: &[u8]) -> Option<Self> {
        let said: serde_json::Value = serde_json::from_slice(body).ok()?;
        Some(Self {
            kind: NoticeKind::Rebalance,
            action: "rebalance".into(),
            time: Some(time(&said, "noticeTime")?),
        })
    }
}

fn time(said: &serde_json::Value, key: &str) -> Option<String> {
    let time: jiff::Timestamp = said.get(key)?.as_str()?.parse().ok()?;
    Some(time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_gives_the_facts_and_stays_as_it_was() {
        let document =
            br#"{"instanceId":"i-1","region":"eu-central-1","accountId":"123456789012"}"#;
        let instance = Instance::of(document, b"c2ln\n").unwrap();
        assert_eq!(instance.id, "i-1");
        assert_eq!(instance.account, "123456789012");
        assert_eq!(instance.document.as_bytes(), document);
    }

    #[test]
    fn what_is_no_document_gives_no_facts() {
        for bad in [
            &b"<html>"[..],
            b"[]",
            b"{\"instanceId\":7,\"region\":\"x\"}",
            b"\xff",
        ] {
            assert_eq!(Instance::of(bad, b""), None);
        }
        let long = format!(
            "{{\"instanceId\":\"i\",\"region\":\"{}\"}}",
            "x".repeat(20_000)
        );
        assert_eq!(Instance::of(long.as_bytes(), b""), None);
    }

    #[test]
    fn tags_are_shortened_and_hold_no_control_characters() {
        let tag = value("\u{1b}[31mcase\u{202e}\n2".as_bytes()).unwrap();
        assert!(!tag.chars().any(char::is_control), "{tag:?}");
        assert!(value("x".repeat(1000).as_bytes()).unwrap().chars().count() <= MOST);
        assert_eq!(value(b" \n"), None);
    }

    #[test]
    fn a_notice_is_known_by_its_action_and_its_time() {
        let spot = br#"{"action":"terminate","time":"2026-11-25T08:00:00Z"}"#;
        let notice = Notice::interruption(spot).unwrap();
        assert_eq!(notice.time.as_deref(), Some("2026-11-25T08:00:00Z"));
        assert_eq!(Notice::interruption(b"{\"action\":\"dance\"}"), None);
        assert_eq!(Notice::interruption(b"<html>"), None);
        let soon = br#"{"noticeTime":"2026-11-25T08:00:00Z"}"#;
        assert!(Notice::rebalance(soon).is_some());
        assert_eq!(Notice::rebalance(b"{\"noticeTime\":\"soon\"}"), None);
    }
}
