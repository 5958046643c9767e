//! What became of a job's slices: delivery's words to the agent. The agent believes them no more than it must: sizes
//! are limited, names are compared with what was handed over, text is made printable.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::order::{HandedSlice, How, Order};
use crate::plaso::verdict::Level;
use crate::printable;

/// The version of [`Receipt`] and [`Standing`].
pub const SCHEMA: &str = "dfagent-receipt-1";

/// What became of a job's slices, so far.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
pub struct Receipt {
    /// `dfagent-receipt-1`.
    pub schema: String,
    /// The job.
    pub job: String,
    /// The run of the order that this answers.
    pub run: String,
    /// The number of the try by hand that this answers.
    pub again: u32,
    /// When this was true, RFC 3339, UTC.
    pub at: String,
    /// The sketch, once it is known.
    pub sketch: Option<Link>,
    /// What it waits for, in a sentence.
    pub waits: Option<String>,
    /// What a person has to do, in a sentence; delivery goes on by itself when it is done.
    pub needs: Option<String>,
    /// The slices that were seen.
    pub slices: Vec<SliceReceipt>,
    /// Whether nothing is left of it on the server, because the job was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<bool>,
    /// SHA-256 of the manifest, once it stands beside the timeline of a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_sha256: Option<String>,
}

/// A thing of the server that a person can look at.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub struct Link {
    /// Its number.
    pub id: u64,
    /// Its name there.
    pub name: String,
    /// Where a browser finds it.
    pub url: String,
}

/// What became of a slice.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
pub struct SliceReceipt {
    /// Its name.
    pub name: String,
    /// SHA-256 of the storage file that this is about.
    pub sha256: String,
    /// How far it is.
    pub stage: Stage,
    /// Bytes of the storage file, or of its documents where these are sent.
    pub bytes: u64,
    /// Bytes that the server has.
    pub sent: u64,
    /// Documents that have to be found.
    pub expected: u64,
    /// Documents that are found; none before the server was asked.
    pub found: Option<u64>,
    /// The timeline, once the server has made it.
    pub timeline: Option<Link>,
    /// Uploads that were begun.
    pub tries: u32,
    /// What went wrong last: the server's words, printable.
    pub error: Option<String>,
    /// How far its documents are, where these are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streamed: Option<Streamed>,
}

/// How far the documents of a slice are on their way into OpenSearch.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
pub struct Streamed {
    /// Documents that OpenSearch has answered for.
    pub documents: u64,
    /// Of these, documents that it refused.
    pub refused: u64,
    /// Documents of which a value was mended, because OpenSearch would have refused it.
    pub mended: u64,
    /// Documents a second, while they are sent.
    pub per_second: Option<f64>,
}

/// How far a slice is.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It waits for its turn.
    #[default]
    Waiting,
    /// Its storage file, or its documents, are being sent.
    Uploading,
    /// The server indexes it, or has and the count is awaited.
    Indexing,
    /// Exactly its documents are found.
    Proven,
    /// Fewer documents are found than were exported, after all tries.
    Short,
    /// The server could not index it, after all tries.
    Failed,
}

impl Stage {
    /// Whether nothing more is done about the slice by itself.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Proven | Self::Short | Self::Failed)
    }
}

/// Delivery itself.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub struct Standing {
    /// `dfagent-receipt-1`.
    pub schema: String,
    /// Version of the program.
    pub version: String,
    /// When this was true.
    pub at: String,
    /// The server's address.
    pub server: String,
    /// Whether the server would take what is made; none before it was asked.
    pub ready: Option<bool>,
    /// What was found out about the server, a line each.
    pub lines: Vec<StandingLine>,
}

/// A line about the server.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub struct StandingLine {
    /// `ok`, `warning` or `bad`.
    pub state: String,
    /// What it is about.
    pub part: String,
    /// What was found, and what to do.
    pub text: String,
}

/// How the delivery of a job ended.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub struct Delivered {
    /// Complete: every slice is proven. Partial: some are. Failed: none is.
    pub level: Level,
    /// What is missing, a sentence each.
    pub reasons: Vec<String>,
    /// Documents that are proven.
    pub documents: u64,
}

/// How the delivery ended: none while it goes on, or while the receipt is about something else.
#[must_use]
pub fn ended(order: &Order, handed: &[HandedSlice], receipt: &Receipt) -> Option<Delivered> {
    let closed = order.closed.as_ref()?;
    let same = receipt.run == order.run && receipt.again == order.again;
    if !same || receipt.job != order.job {
        return None;
    }
    let told = receipt.manifest_sha256.as_ref() == Some(&closed.manifest_sha256);
    if order.way.how == How::Stream && !told {
        return None;
    }
    let mut delivered = Delivered {
        level: Level::Complete,
        reasons: Vec::new(),
        documents: 0,
    };
    let mut proven = 0;
    for name in &closed.slices {
        let handed = handed.iter().find(|one| one.name == *name)?;
        let of = |one: &&SliceReceipt| one.name == *name && one.sha256 == handed.sha256;
        let slice = receipt.slices.iter().find(of)?;
        if !slice.stage.is_final() {
            return None;
        }
        if slice.stage == Stage::Proven && slice.found == Some(handed.documents) {
            proven += 1;
            delivered.documents += handed.documents;
        } else {
            let missing = match order.way.how {
                How::Upload => what_is_missing(handed, slice),
                How::Stream => what_did_not_arrive(handed, slice),
            };
            delivered.reasons.push(missing);
        }
    }
    if !delivered.reasons.is_empty() {
        delivered.level = if proven == 0 {
            Level::Failed
        } else {
            Level::Partial
        };
    }
    Some(delivered)
}

fn what_is_missing(handed: &HandedSlice, slice: &SliceReceipt) -> String {
    let tries = printable::count(u64::from(slice.tries), "upload", "uploads");
    let error = slice
        .error
        .as_deref()
        .unwrap_or("the server named no reason");
    let error = printable::line(error, 300);
    match slice.stage {
        Stage::Short => format!(
            "Slice {}: Timesketch finds {} of {} events after {tries}: {error}",
            handed.name,
            slice.found.unwrap_or_default(),
            handed.documents
        ),
        _ => format!(
            "Slice {}: Timesketch could not index it in {tries}: {error}",
            handed.name
        ),
    }
}

fn what_did_not_arrive(handed: &HandedSlice, slice: &SliceReceipt) -> String {
    let error = slice.error.as_deref();
    let error = error.unwrap_or("nobody knows why");
    format!(
        "Slice {}: {} of {} are found in OpenSearch: {}",
        handed.name,
        slice.found.unwrap_or_default(),
        printable::count(handed.documents, "event", "events"),
        printable::line(error, 300)
    )
}

#[cfg(test)]
mod tests {
    use super::super::order::Closed;
    use super::*;

    fn handed(name: &str) -> HandedSlice {
        HandedSlice {
            name: name.into(),
            documents: 10,
            sha256: format!("sha of {name}"),
            ..HandedSlice::default()
        }
    }

    fn receipt(slices: &[(&str, Stage, u64)]) -> Receipt {
        let slices = slices.iter().map(|(name, stage, found)| SliceReceipt {
            name: (*name).into(),
            sha256: format!("sha of {name}"),
            stage: *stage,
            found: Some(*found),
            ..SliceReceipt::default()
        });
        Receipt {
            job: "j".into(),
            slices: slices.collect(),
            ..Receipt::default()
        }
    }

    fn order(slices: &[&str]) -> Order {
        let slices = slices.iter().map(|&name| name.into()).collect();
        let closed = Closed {
            slices,
            ..Closed::default()
        };
        Order {
            job: "j".into(),
            closed: Some(closed),
            ..Order::default()
        }
    }

    #[test]
    fn a_job_is_delivered_only_when_every_slice_is_proven() {
        let all = [handed("1"), handed("2")];
        let both = [("1", Stage::Proven, 10), ("2", Stage::Proven, 10)];
        let done = ended(&order(&["1", "2"]), &all, &receipt(&both)).unwrap();
        assert_eq!((done.level, done.documents), (Level::Complete, 20));
        let still = [("1", Stage::Proven, 10), ("2", Stage::Indexing, 10)];
        assert_eq!(ended(&order(&["1", "2"]), &all, &receipt(&still)), None);
        assert_eq!(ended(&order(&["1", "2"]), &all, &receipt(&both[..1])), None);
    }

    #[test]
    fn a_receipt_for_another_file_run_or_number_proves_nothing() {
        let all = [handed("1")];
        let good = receipt(&[("1", Stage::Proven, 10)]);
        let mut other = good.clone();
        other.slices[0].sha256 = "x".into();
        assert_eq!(ended(&order(&["1"]), &all, &other), None);
        let mut other = good.clone();
        other.run = "x".into();
        assert_eq!(ended(&order(&["1"]), &all, &other), None);
        let less = receipt(&[("1", Stage::Proven, 9)]);
        let done = ended(&order(&["1"]), &all, &less).unwrap();
        assert_eq!(done.level, Level::Failed);
    }

    #[test]
    fn what_opensearch_refused_is_named_with_its_file() {
        let mut receipt = receipt(&[("1", Stage::Short, 7)]);
        receipt.slices[0].error = Some("OpenSearch refused 3 events; they are in /x".into());
        let mut order = order(&["1"]);
        order.way.how = How::Stream;
        assert_eq!(
            ended(&order, &[handed("1")], &receipt),
            None,
            "not told yet"
        );
        receipt.manifest_sha256 = Some(String::new());
        let done = ended(&order, &[handed("1")], &receipt).unwrap();
        let said = "Slice 1: 7 of 10 events are found in OpenSearch: OpenSearch refused 3 events; they are in /x";
        assert_eq!(done.reasons, [said]);
    }

    #[test]
    fn what_is_short_is_named_with_both_numbers() {
        let all = [handed("1"), handed("2")];
        let short = [("1", Stage::Proven, 10), ("2", Stage::Short, 7)];
        let done = ended(&order(&["1", "2"]), &all, &receipt(&short)).unwrap();
        assert_eq!(done.level, Level::Partial);
        assert!(done.reasons[0].contains("7 of 10"), "{done:?}");
    }
}
