//! The words of `status` about delivery: the process that does it, and how far it is with a job.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::delivery::receipt::{Link, SliceReceipt, StandingLine};

/// The process that delivers, and the server.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerStatus {
    /// The server's address.
    pub server: String,
    /// Whether delivery is running.
    pub running: bool,
    /// Whether the server would take what is made; none before it was asked.
    pub ready: Option<bool>,
    /// When delivery said so.
    pub at: Option<String>,
    /// What it found out about the server, a line each.
    pub lines: Vec<StandingLine>,
}

impl ServerStatus {
    /// Why nothing can be delivered now, in a sentence; none if something can, or nobody knows yet.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        if !self.running {
            return Some("delivery is not running".to_owned());
        }
        if self.ready != Some(false) {
            return None;
        }
        let bad = self.lines.iter().find(|line| line.state == "bad");
        Some(bad.map_or_else(
            || "the server is not ready".to_owned(),
            |line| format!("the server is not ready: {}: {}", line.part, line.text),
        ))
    }
}

/// How far the delivery of a job is, as far as delivery has told.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeliveryStatus {
    /// When delivery told it last; none before it did.
    pub at: Option<String>,
    /// The sketch, once it is known.
    pub sketch: Option<Link>,
    /// What it waits for, in a sentence.
    pub waits: Option<String>,
    /// What a person has to do, in a sentence.
    pub needs: Option<String>,
    /// Slices that were handed over.
    pub slices: u64,
    /// Slices whose events are all found.
    pub slices_proven: u64,
    /// Bytes of their storage files.
    pub bytes: u64,
    /// Bytes that the server has.
    pub bytes_sent: u64,
    /// Bytes a second while a storage file is being sent.
    pub bytes_per_second: Option<f64>,
    /// Events that have to be found.
    pub documents: u64,
    /// Events that are found.
    pub documents_found: u64,
    /// Each of the slices; of very many only the first.
    pub each: Vec<SliceReceipt>,
    /// How far its documents are, where these are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streamed: Option<StreamStatus>,
}

/// How far the documents of a job are on their way into OpenSearch.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamStatus {
    /// Documents that OpenSearch has answered for.
    pub sent: u64,
    /// Of these, documents that it refused.
    pub refused: u64,
    /// Documents a second, while some are sent.
    pub per_second: Option<f64>,
    /// Documents of slices that were handed over and that cannot be found yet.
    pub lag: u64,
    /// Seconds since the first of those slices was handed over.
    pub lag_seconds: Option<u64>,
}
