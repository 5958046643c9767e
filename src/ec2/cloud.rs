//! What is known of EC2, as delivery writes it down in `cloud.json` for whoever may not ask.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::printable;

/// The format of the file.
pub const SCHEMA: &str = "dfagent-cloud-1";

/// The schema of [`Wanted`].
pub const WANTED: &str = "dfagent-volumes-1";

/// Tags of a volume that are written down besides case and sketch: where it is from.
pub const NOTED: [&str; 7] = [
    "dfagent:role",
    "dfagent:source-instance",
    "dfagent:source-account",
    "dfagent:source-region",
    "dfagent:source-volume",
    "dfagent:source-device",
    "dfagent:acquired-at",
];

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
    /// What EC2 says about the volumes that it was asked about.
    pub volumes: Vec<Volume>,
    /// That it will be taken away.
    pub notice: Option<Notice>,
    /// What could not be found out, in sentences.
    pub trouble: Vec<String>,
}

/// What the agent wants to know of EC2: it writes this down, and whoever may ask reads it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub struct Wanted {
    /// [`WANTED`].
    pub schema: String,
    /// Identities of volumes, sorted.
    pub volumes: Vec<String>,
}

/// A volume as EC2 knows it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(default)]
pub struct Volume {
    /// `vol-…`
    pub id: String,
    /// The snapshot that it was made from.
    pub snapshot: Option<String>,
    /// Its size in GiB.
    pub gib: Option<u64>,
    /// Whether it is encrypted.
    pub encrypted: Option<bool>,
    /// Its tags.
    pub tags: Tags,
    /// Its tags that say where it is from.
    pub noted: BTreeMap<String, String>,
}

/// Where a case or a sketch is from.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tagged {
    /// A tag of the volume.
    Volume,
    /// A tag of the instance.
    Instance,
}

/// What the identity document says, and the document itself.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
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
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
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

/// Whether it is a volume's identity, which goes into a question to EC2.
#[must_use]
pub fn is_volume(id: &str) -> bool {
    let hex = |text: &str| {
        (8..=17).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
    };
    id.strip_prefix("vol-").is_some_and(hex)
}

impl Cloud {
    /// What is known of a volume.
    #[must_use]
    pub fn volume(&self, id: &str) -> Option<&Volume> {
        self.volumes.iter().find(|volume| volume.id == id)
    }

    /// The case of a volume, if a tag names it.
    #[must_use]
    pub fn case(&self, volume: &str) -> Option<(String, Tagged)> {
        self.tagged(volume, |tags| tags.case.as_deref())
    }

    /// The sketch of a volume, if a tag names it.
    #[must_use]
    pub fn sketch(&self, volume: &str) -> Option<(String, Tagged)> {
        self.tagged(volume, |tags| tags.sketch.as_deref())
    }

    /// The volume's own tag counts before the instance's. Whoever reads does not trust whoever wrote: it is cleaned
    /// once more.
    fn tagged(&self, id: &str, tag: impl Fn(&Tags) -> Option<&str>) -> Option<(String, Tagged)> {
        let own = self.volume(id).and_then(|volume| tag(&volume.tags));
        let both = [(own, Tagged::Volume), (tag(&self.tags), Tagged::Instance)];
        both.into_iter()
            .find_map(|(said, from)| Some((value(said?.as_bytes())?, from)))
    }
}

impl Volume {
    /// Itself, cleaned once more by whoever does not trust the writer.
    #[must_use]
    pub fn cleaned(&self) -> Self {
        let clean = |text: &String| value(text.as_bytes());
        let optional = |text: &Option<String>| text.as_ref().and_then(clean);
        let noted = NOTED
            .iter()
            .filter_map(|key| Some(((*key).to_owned(), clean(self.noted.get(*key)?)?)));
        Self {
            id: clean(&self.id).unwrap_or_default(),
            snapshot: optional(&self.snapshot),
            gib: self.gib,
            encrypted: self.encrypted,
            tags: Tags {
                case: optional(&self.tags.case),
                sketch: optional(&self.tags.sketch),
            },
            noted: noted.collect(),
        }
    }
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
                .trim()
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
    fn a_volume_s_tag_counts_before_the_instance_s_and_is_cleaned_again() {
        let tags = |case: Option<&str>| Tags {
            case: case.map(str::to_owned),
            sketch: None,
        };
        let volume = |id: &str, case| Volume {
            id: id.to_owned(),
            tags: tags(case),
            ..Volume::default()
        };
        let cloud = Cloud {
            tags: tags(Some("instance")),
            volumes: vec![volume("vol-1", Some("own\n")), volume("vol-2", None)],
            ..Cloud::default()
        };
        let case = |id| cloud.case(id).unwrap();
        assert_eq!(case("vol-1"), ("own".to_owned(), Tagged::Volume));
        assert_eq!(case("vol-2").0, "instance");
        assert_eq!(case("vol-3").1, Tagged::Instance);
        assert_eq!(cloud.sketch("vol-1"), None);
    }

    #[test]
    fn only_volumes_of_ebs_are_asked_about() {
        assert!(is_volume("vol-0123456789abcdef0") && is_volume("vol-01234567"));
        for bad in ["vol-", "vol-0123456789abcdef01", "vol-0123456G", "virtio-1"] {
            assert!(!is_volume(bad), "{bad}");
        }
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
