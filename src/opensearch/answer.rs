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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answered(status: u16, body: &str) -> Answer {
        Answer {
            status,
            html: false,
            location: None,
            cookies: Vec::new(),
            after: Some(Duration::from_secs(3)),
            body: body.as_bytes().to_vec(),
        }
    }

    fn one(item: &str) -> Outcome {
        let body = format!(r#"{{"errors":true,"items":[{{"create":{item}}}]}}"#);
        match judge("send", answered(200, &body), 1) {
            Bulk::Items(mut items) => items.pop().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_outcome_is_read_for_what_it_is() {
        let says = |status: u16, kind: &str, reason: &str| {
            let error =
                serde_json::json!({"type": kind, "reason": reason, "caused_by": {"reason": "why"}});
            one(&serde_json::json!({"status": status, "error": error}).to_string())
        };
        let why = |text: &str| format!("{text}: why");
        assert_eq!(one(r#"{"status":201}"#), Outcome::Done);
        assert_eq!(
            says(409, "version_conflict_engine_exception", "x"),
            Outcome::Done
        );
        let race = "mapper [pid] cannot be changed from type [long] to [text]";
        assert_eq!(
            says(400, "illegal_argument_exception", race),
            Outcome::Race(why(race))
        );
        let limit = "Limit of total fields [1000] has been exceeded";
        assert_eq!(
            says(400, "illegal_argument_exception", limit),
            Outcome::Refused(why(limit))
        );
        let parse = "failed to parse field [pid] of type [long]";
        assert_eq!(
            says(400, "mapper_parsing_exception", parse),
            Outcome::Refused(why(parse))
        );
        assert_eq!(says(400, "index_closed_exception", "closed"), Outcome::Gone);
        assert_eq!(
            says(404, "index_not_found_exception", "no such index"),
            Outcome::Gone
        );
        assert_eq!(
            says(429, "cluster_block_exception", "flood"),
            Outcome::Full(why("flood"))
        );
        assert_eq!(
            says(429, "rejected_execution_exception", "x"),
            Outcome::Busy(why("x"))
        );
        assert_eq!(
            says(503, "unavailable_shards_exception", "x"),
            Outcome::Busy(why("x"))
        );
        assert_eq!(
            says(403, "cluster_block_exception", "x"),
            Outcome::Forbidden(why("x"))
        );
        assert_eq!(
            says(500, "null_pointer_exception", "x"),
            Outcome::Trouble(why("x"))
        );
        assert_eq!(
            one(r#"{"status":400}"#),
            Outcome::Refused("status 400".to_owned())
        );
    }

    #[test]
    fn a_success_of_which_outcomes_are_missing_is_none() {
        for body in [
            r#"{"errors":false,"items":[]}"#,
            r#"{"errors":false}"#,
            r#"{"errors":false,"items":[{"create":{"status":201}},{"create":{"status":201}}]}"#,
            r#"{"items":[{"index":{"status":201}}]}"#,
            "",
            "<html>",
        ] {
            assert!(
                matches!(judge("send", answered(200, body), 1), Bulk::Failed(_)),
                "{body}"
            );
        }
        // That there are no errors is not believed.
        let body = r#"{"errors":false,"items":[{"create":{"status":400}}]}"#;
        let Bulk::Items(items) = judge("send", answered(200, body), 1) else {
            panic!("{body}");
        };
        assert!(matches!(items[0], Outcome::Refused(_)));
    }

    #[test]
    fn a_request_that_is_refused_as_a_whole() {
        let error =
            |kind: &str| format!(r#"{{"error":{{"type":"{kind}","reason":"so"}},"status":1}}"#);
        let of = |status, body: &str| judge("send", answered(status, body), 9);
        let after = Some(Duration::from_secs(3));
        let busy = of(429, &error("circuit_breaking_exception"));
        assert!(
            matches!(busy, Bulk::Busy { after: a, ref message } if a == after && message == "so")
        );
        assert!(matches!(of(503, ""), Bulk::Busy { .. }));
        assert!(matches!(of(413, ""), Bulk::TooLarge));
        assert!(matches!(
            of(400, &error("index_closed_exception")),
            Bulk::Gone
        ));
        assert!(matches!(
            of(404, &error("index_not_found_exception")),
            Bulk::Gone
        ));
        assert!(matches!(
            of(400, &error("illegal_argument_exception")),
            Bulk::Unreadable(_)
        ));
        for (status, passes) in [
            (502, true),
            (500, true),
            (403, false),
            (301, false),
            (404, false),
        ] {
            let Bulk::Failed(failed) = of(status, &error("security_exception")) else {
                panic!("{status}");
            };
            assert_eq!(
                matches!(failed.fault(), crate::http::Fault::Passing { .. }),
                passes,
                "{status}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_stumble(status in 100_u16..600, body in ".*", documents in 0_usize..3) {
            let judged = judge("send", answered(status, &body), documents);
            if let Bulk::Items(items) = judged {
                prop_assert_eq!(items.len(), documents);
            }
        }
    }
}
