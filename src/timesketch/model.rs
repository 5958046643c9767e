//! What Timesketch answers, read from JSON. All text becomes printable here.

use serde::{Deserialize, Deserializer};

use crate::printable;

/// Characters of a name.
const MOST_NAME: usize = 300;
/// Characters of what we wrote beside an upload.
const MOST_CONTEXT: usize = 16 * 1024;
/// Characters of the end of a server's error: no more than is shown of it, or its very end would be cut off again.
const MOST_ERROR: usize = 280;

/// What runs there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Release of Timesketch.
    pub timesketch: String,
    /// Release of Plaso, a date; 0 when it is unknown.
    pub plaso: u32,
}

/// A sketch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sketch {
    /// Its number.
    pub id: u64,
    /// Its name, printable.
    pub name: String,
    /// It takes nothing any more.
    pub archived: bool,
    /// When it was made, as the server says it.
    pub created: Option<String>,
}

/// What a timeline is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimelineStatus {
    /// Something is being indexed.
    Processing,
    /// It can be searched.
    Ready,
    /// The server gave up.
    Fail,
    /// It is closed.
    Archived,
    /// Something else.
    Other(String),
}

/// What became of one upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatasourceStatus {
    /// Nobody has begun.
    Queueing,
    /// It is being indexed.
    Processing,
    /// The server says that it is done.
    Ready,
    /// The server gave up.
    Fail,
    /// Something else.
    Other(String),
}

/// One upload within a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datasource {
    /// Its number.
    pub id: u64,
    /// The name under which it was uploaded; in chunks, without its ending.
    pub original_filename: String,
    /// What became of it.
    pub status: DatasourceStatus,
    /// The end of the server's error.
    pub error: String,
    /// Events in the file, before duplicates are removed.
    pub total_events: u64,
    /// What was written beside it.
    pub context: String,
    /// Bytes.
    pub file_size: u64,
}

/// A timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// Its number.
    pub id: u64,
    /// Its name, printable.
    pub name: String,
    /// What it is doing.
    pub status: TimelineStatus,
    /// The number of the index that it shows.
    pub index: Option<u64>,
    /// Its uploads.
    pub datasources: Vec<Datasource>,
    /// Events that a search finds; only known for a timeline that was asked for alone.
    pub found: Option<u64>,
}

/// The frame of every answer.
#[derive(Deserialize)]
pub(super) struct Objects<T> {
    pub(super) objects: Vec<T>,
    #[serde(default)]
    pub(super) meta: Meta,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Meta {
    pub(super) version: Option<String>,
    pub(super) plaso_version: Option<serde_json::Value>,
    pub(super) next_page: Option<u64>,
    pub(super) lines_indexed: Option<i64>,
    pub(super) upload_complete: Option<bool>,
    pub(super) task_id: Option<String>,
    pub(super) created: Option<bool>,
    pub(super) deleted: Option<bool>,
    pub(super) fields: Option<Vec<String>>,
    pub(super) collaborators: Option<Collaborators>,
}

#[derive(Default, Deserialize)]
pub(super) struct Collaborators {
    #[serde(default)]
    pub(super) users: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct RawSketch {
    id: u64,
    pub(super) name: String,
    #[serde(default)]
    status: Status,
    #[serde(default)]
    created_at: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct RawTask {
    #[serde(default)]
    pub(super) state: String,
}

#[derive(Deserialize)]
pub(super) struct RawTimeline {
    id: u64,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    status: Status,
    #[serde(default)]
    pub(super) deleted: Option<bool>,
    #[serde(default)]
    searchindex: Option<RawIndex>,
    #[serde(default)]
    datasources: Option<Vec<RawDatasource>>,
}

#[derive(Deserialize)]
pub(super) struct RawIndex {
    pub(super) id: u64,
}

#[derive(Deserialize)]
pub(super) struct RawDatasource {
    id: u64,
    #[serde(default)]
    original_filename: Option<String>,
    #[serde(default)]
    status: Status,
    #[serde(default)]
    error_message: Option<String>,
    #[serde(default)]
    total_file_events: Option<i64>,
    #[serde(default)]
    context: Option<String>,
    #[serde(default)]
    file_size: Option<i64>,
}

/// A word, or a list of records of which the newest counts; a list may be empty.
#[derive(Default)]
struct Status(String);

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Word(String),
            Records(Vec<Record>),
            Nothing(()),
        }
        #[derive(Deserialize)]
        struct Record {
            #[serde(default)]
            id: u64,
            status: String,
        }
        Ok(Self(match Form::deserialize(deserializer)? {
            Form::Word(word) => word,
            Form::Records(records) => records
                .into_iter()
                .max_by_key(|record| record.id)
                .map(|record| record.status)
                .unwrap_or_default(),
            Form::Nothing(()) => String::new(),
        }))
    }
}

impl Status {
    fn other(&self) -> String {
        printable::line(&self.0, 40)
    }
}

impl RawSketch {
    /// It takes no part in anything.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.status.0.as_str(), "archived" | "deleted")
    }
}

impl From<RawSketch> for Sketch {
    fn from(raw: RawSketch) -> Self {
        Self {
            id: raw.id,
            name: printable::line(&raw.name, MOST_NAME),
            archived: raw.status.0 == "archived",
            // Its lists write a blank in the middle.
            created: raw
                .created_at
                .map(|text| printable::line(&text.replacen(' ', "T", 1), 40)),
        }
    }
}

impl RawTimeline {
    pub(super) fn with(self, found: Option<i64>) -> Timeline {
        Timeline {
            id: self.id,
            name: printable::line(&self.name.unwrap_or_default(), MOST_NAME),
            status: match self.status.0.as_str() {
                "processing" => TimelineStatus::Processing,
                "ready" => TimelineStatus::Ready,
                "fail" => TimelineStatus::Fail,
                "archived" => TimelineStatus::Archived,
                _ => TimelineStatus::Other(self.status.other()),
            },
            index: self.searchindex.map(|index| index.id),
            datasources: self
                .datasources
                .unwrap_or_default()
                .into_iter()
                .map(Into::into)
                .collect(),
            found: found.and_then(|found| u64::try_from(found).ok()),
        }
    }
}

impl From<RawDatasource> for Datasource {
    fn from(raw: RawDatasource) -> Self {
        let number = |number: Option<i64>| u64::try_from(number.unwrap_or(0)).unwrap_or(0);
        let line = |text: Option<String>, most| printable::line(&text.unwrap_or_default(), most);
        Self {
            id: raw.id,
            original_filename: line(raw.original_filename, MOST_NAME),
            status: match raw.status.0.as_str() {
                "queueing" => DatasourceStatus::Queueing,
                "processing" => DatasourceStatus::Processing,
                "ready" => DatasourceStatus::Ready,
                "fail" => DatasourceStatus::Fail,
                _ => DatasourceStatus::Other(raw.status.other()),
            },
            error: tail(&raw.error_message.unwrap_or_default()),
            total_events: number(raw.total_file_events),
            context: line(raw.context, MOST_CONTEXT),
            file_size: number(raw.file_size),
        }
    }
}

impl Version {
    pub(super) fn of(timesketch: &str, plaso: Option<&serde_json::Value>) -> Self {
        let plaso = match plaso {
            Some(serde_json::Value::String(text)) => text.trim().parse().unwrap_or(0),
            Some(other) => other
                .as_u64()
                .and_then(|number| u32::try_from(number).ok())
                .unwrap_or(0),
            None => 0,
        };
        Self {
            timesketch: printable::line(timesketch, 40),
            plaso,
        }
    }
}

/// The end of a text of many lines, as one line: the reason of a Python error stands at its end.
fn tail(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = words.join(" ");
    let skip = text.chars().count().saturating_sub(MOST_ERROR);
    if skip == 0 {
        return printable::line(&text, MOST_ERROR);
    }
    let end: String = text.chars().skip(skip).collect();
    format!("…{}", printable::line(&end, MOST_ERROR))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(text: &str) -> Timeline {
        serde_json::from_str::<RawTimeline>(text)
            .unwrap()
            .with(Some(-1))
    }

    #[test]
    fn the_newest_of_several_states_counts() {
        let text =
            r#"{"id":3,"status":[{"id":9,"status":"ready"},{"id":4,"status":"processing"}]}"#;
        assert_eq!(timeline(text).status, TimelineStatus::Ready);
        for empty in [
            r#"{"id":3,"status":[]}"#,
            r#"{"id":3,"status":null}"#,
            r#"{"id":3}"#,
        ] {
            assert_eq!(
                timeline(empty).status,
                TimelineStatus::Other(String::new()),
                "{empty}"
            );
        }
    }

    #[test]
    fn a_count_below_zero_is_no_count() {
        assert_eq!(timeline(r#"{"id":3}"#).found, None);
    }

    #[test]
    fn text_of_the_server_is_printable_and_short() {
        let text = r#"{"id":3,"name":"a\u001b[2J","datasources":[{"id":1,"error_message":
            "Traceback\n  File\nValueError: \u202e bad"}]}"#;
        let timeline = timeline(text);
        assert_eq!(timeline.name, r"a\u{1b}[2J");
        let error = &timeline.datasources[0].error;
        assert_eq!(error, r"Traceback File ValueError: \u{202e} bad");
        let long = tail(&"x ".repeat(2000));
        assert!(long.chars().count() <= MOST_ERROR + 1 && long.starts_with('…'));
    }

    #[test]
    fn a_release_of_plaso_is_a_number_or_unknown() {
        let of = |text: &str| Version::of("1", Some(&serde_json::from_str(text).unwrap())).plaso;
        assert_eq!(of("\"20260720\""), 20_260_720);
        assert_eq!(of("20260720"), 20_260_720);
        assert_eq!(of("\"N/A\""), 0);
        assert_eq!(of("99999999999"), 0);
    }
}
