//! What the answer to a bulk means for each of its documents. Pure.
//!
//! Types of errors differ between versions, so status and outer type decide, and texts only where nothing else does.

use std::time::Duration;

use serde::Deserialize;

use super::error::{self, ClientError};
use crate::http::Answer;

/// What became of a bulk.
#[derive(Debug)]
pub(super) enum Bulk {
    /// What became of each document, in order.
    Items(Vec<Outcome>),
    /// It was too much at this time; nothing was done.
    Busy {
        /// How long the server asks us to wait.
        after: Option<Duration>,
        /// What it says.
        message: String,
    },
    /// It has too many bytes.
    TooLarge,
    /// It could not be read; which document is to blame is not said.
    Unreadable(String),
    /// The index is not there, or closed.
    Gone,
    /// Another no.
    Failed(ClientError),
}

/// What became of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is there, perhaps from before.
    Done,
    /// Another bulk introduced a field at the same moment; it is to be sent again.
    Race(String),
    /// It was too much at this time.
    Busy(String),
    /// The disk is full.
    Full(String),
    /// The index is not there, or closed.
    Gone,
    /// Nobody may write there.
    Forbidden(String),
    /// The server is in trouble.
    Trouble(String),
    /// It cannot be taken as it is.
    Refused(String),
}

/// What the answer says about so many documents.
pub(super) fn judge(action: &str, answer: Answer, documents: usize) -> Bulk {
    match answer.status {
        200..=299 => match items(&answer.body, documents) {
            Ok(items) => Bulk::Items(items),
            Err(problem) => Bulk::Failed(ClientError::odd(action, &problem)),
        },
        429 | 503 => Bulk::Busy {
            after: answer.after,
            message: error::message(&answer),
        },
        413 => Bulk::TooLarge,
        400 | 403 | 404 if is_gone(&kind(&answer)) => Bulk::Gone,
        400 => Bulk::Unreadable(error::message(&answer)),
        _ => Bulk::Failed(match error::accept(action, answer) {
            Err(error) => error,
            Ok(_) => ClientError::odd(action, "no outcome"),
        }),
    }
}

#[derive(Deserialize)]
struct Answered {
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    create: Said,
}

#[derive(Deserialize)]
struct Said {
    status: u16,
    error: Option<Cause>,
}

#[derive(Deserialize, Default)]
struct Cause {
    #[serde(rename = "type")]
    kind: Option<String>,
    reason: Option<String>,
    caused_by: Option<Box<Cause>>,
}

impl Cause {
    /// What it says, and what its causes say.
    fn text(&self) -> String {
        let causes = std::iter::successors(Some(self), |cause| cause.caused_by.as_deref());
        let reasons: Vec<&str> = causes.filter_map(|cause| cause.reason.as_deref()).collect();
        reasons.join(": ")
    }
}

/// `errors: false` is not believed: each status is read, and there must be one for each document.
fn items(body: &[u8], documents: usize) -> Result<Vec<Outcome>, String> {
    let answered: Answered = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if answered.items.len() != documents {
        let found = answered.items.len();
        return Err(format!("{found} outcomes for {documents} documents"));
    }
    Ok(answered
        .items
        .iter()
        .map(|item| outcome(&item.create))
        .collect())
}

fn outcome(said: &Said) -> Outcome {
    let none = Cause::default();
    let error = said.error.as_ref().unwrap_or(&none);
    let kind = error.kind.as_deref().unwrap_or_default();
    let text = || error.text();
    match said.status {
        // Its id says what it holds, so one of the same id is the same.
        200..=299 | 409 => Outcome::Done,
        400 | 403 | 404 if is_gone(kind) => Outcome::Gone,
        429 if kind == "cluster_block_exception" => Outcome::Full(text()),
        429 | 503 => Outcome::Busy(text()),
        401 | 403 => Outcome::Forbidden(text()),
        400 if is_race(error) => Outcome::Race(text()),
        500..=599 => Outcome::Trouble(text()),
        status => Outcome::Refused(match text() {
            text if text.is_empty() => format!("status {status}"),
            text => text,
        }),
    }
}

fn is_gone(kind: &str) -> bool {
    matches!(kind, "index_closed_exception" | "index_not_found_exception")
}

/// `mapper [pid] cannot be changed from type [long] to [text]`.
fn is_race(error: &Cause) -> bool {
    let reason = error.reason.as_deref().unwrap_or_default();
    reason.starts_with("mapper [") && reason.contains("] cannot be changed from type [")
}

/// The type of the error of a whole request.
fn kind(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Failed {
        error: Cause,
    }
    let failed: Option<Failed> = serde_json::from_slice(&answer.body).ok();
    failed
        .and_then(|failed| failed.error.kind)
        .unwrap_or_default()
}
