//! Why OpenSearch did not do what was asked, and what that means for whoever asked.

use std::time::Duration;

use crate::http::{Answer, Fault, Problem, WireError};
use crate::printable;
use crate::secret::SecretError;

/// Characters of the server's text in a sentence.
const MOST_TEXT: usize = 300;

/// What went wrong. `action` is a verb with its object: `count documents in https://…`.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no exchange.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// There is no password.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The server does not know us.
    #[error(
        "log in to {server}: it does not know the user or the password; correct [opensearch] user or password_file"
    )]
    Credentials {
        /// The server.
        server: String,
    },
    /// The server is in trouble, or has too much to do.
    #[error("{action}: it answered {status} ({message})")]
    Failed {
        /// What was tried.
        action: String,
        /// 429, 500 and more.
        status: u16,
        /// What it says about it.
        message: String,
        /// How long it asks us to wait.
        after: Option<Duration>,
    },
    /// The request has more bytes than the server or a proxy allows.
    #[error("{action}: a request of this size is refused there")]
    TooLarge {
        /// What was tried.
        action: String,
    },
    /// There is no such thing.
    #[error("{action}: it is not there ({message})")]
    NotFound {
        /// What was tried.
        action: String,
        /// What the server says about it.
        message: String,
    },
    /// We may not, or it cannot be.
    #[error("{action}: it answered {status} ({message})")]
    Refused {
        /// What was tried.
        action: String,
        /// 400 and so on.
        status: u16,
        /// What the server says about it.
        message: String,
    },
    /// It answers, but not as OpenSearch does.
    #[error("{action}: its answer is not that of an OpenSearch that is known here ({problem})")]
    Odd {
        /// What was tried.
        action: String,
        /// What is wrong with the answer.
        problem: String,
    },
}

impl ClientError {
    /// What the caller may do about it. All that is asked of OpenSearch may be asked again without harm, so
    /// nothing is unsure.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Credentials { .. } => Fault::Credentials,
            Self::TooLarge { .. } => Fault::TooLarge,
            Self::NotFound { .. } => Fault::NotFound,
            Self::Failed { after, .. } => Fault::Passing { after: *after },
            Self::Odd { .. } => Fault::Passing { after: None },
            Self::Wire(WireError::Exchange { problem, .. }) => match problem {
                Problem::UnknownAuthority
                | Problem::BadCertificate(_)
                | Problem::OurCertificate(_)
                | Problem::Source => Fault::Refused,
                Problem::Huge(_) => Fault::TooLarge,
                _ => Fault::Passing { after: None },
            },
            Self::Wire(_) | Self::Secret(_) | Self::Refused { .. } => Fault::Refused,
        }
    }

    pub(super) fn odd(action: &str, problem: &str) -> Self {
        Self::Odd {
            action: action.to_owned(),
            problem: printable::line(problem, MOST_TEXT),
        }
    }
}

/// Lets through what is a success.
pub(super) fn accept(action: &str, answer: Answer) -> Result<Answer, ClientError> {
    let (action, status) = (action.to_owned(), answer.status);
    let message = message(&answer);
    Err(match status {
        200..=299 => return Ok(answer),
        404 => ClientError::NotFound { action, message },
        413 => ClientError::TooLarge { action },
        429 | 500..=599 => ClientError::Failed {
            action,
            status,
            message,
            after: answer.after,
        },
        _ => ClientError::Refused {
            action,
            status,
            message,
        },
    })
}

/// What the server says about a request that it does not carry out.
pub(super) fn message(answer: &Answer) -> String {
    let found: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
    let said = found.as_ref().and_then(|found| {
        let error = found.get("error")?;
        let reason = error.get("reason").and_then(serde_json::Value::as_str);
        reason.or_else(|| error.as_str())
    });
    let text = said.map_or_else(|| answer.text(), str::to_owned);
    match text.trim() {
        "" => "without a word".to_owned(),
        text => printable::line(text, MOST_TEXT),
    }
}
