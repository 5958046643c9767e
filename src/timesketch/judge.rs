//! What an answer of Timesketch means. Pure.

use std::sync::LazyLock;

use regex::Regex;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::ClientError;
use crate::http::Answer;
use crate::printable;

/// Characters of a server's text in a sentence.
const MOST_TEXT: usize = 300;

static TITLE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?is)<title[^>]*>([^<]{1,400})").ok());

/// The token stands in the head of every page of Timesketch, and in its login form.
static TOKEN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let meta = r#"name=["']?csrf-token["']?\s+content=["']?([A-Za-z0-9._-]{1,1024})"#;
    let form = r#"id=["']?csrf_token["']?[^>]*\svalue=["']?([A-Za-z0-9._-]{1,1024})"#;
    Regex::new(&format!("{meta}|{form}")).ok()
});

/// Whether the session is gone: a logged-in user is sent nowhere.
pub(super) fn session_is_lost(answer: &Answer) -> bool {
    matches!(answer.status, 300..=399 | 401)
}

/// Whether the server refused the token alone, before it did anything.
pub(super) fn token_is_stale(answer: &Answer) -> bool {
    answer.status == 400 && message(answer).to_ascii_lowercase().contains("csrf")
}

/// The token in a page.
pub(super) fn token(page: &str) -> Option<String> {
    let found = TOKEN.as_ref()?.captures(page)?;
    let token = found.get(1).or_else(|| found.get(2))?;
    Some(token.as_str().to_owned())
}

/// Lets through what may be read as success. `whole`: the request may have changed something.
pub(super) fn accept(action: &str, answer: Answer, whole: bool) -> Result<Answer, ClientError> {
    let action = action.to_owned();
    let status = answer.status;
    let message = message(&answer);
    match status {
        200..=299 if !answer.html => Ok(answer),
        300..=399 => Err(ClientError::Elsewhere {
            action,
            place: place(&answer),
        }),
        429 | 500..=599 => Err(ClientError::Failed {
            action,
            status,
            message,
            after: answer.after,
            whole: whole && status != 429,
        }),
        413 => Err(ClientError::TooLarge { action }),
        // Timesketch's own "not found" is JSON; a page says that this is no Timesketch.
        200..=299 | 404 if answer.html => Err(ClientError::Page {
            action,
            title: title(&answer),
            whole: whole && status != 404,
        }),
        404 => Err(ClientError::NotFound { action, message }),
        403 => Err(ClientError::Forbidden { action, message }),
        400 if message.contains("Upload not enabled") => Err(ClientError::UploadsOff { action }),
        400 if message.contains("archived sketch") => Err(ClientError::Archived { action }),
        _ => Err(ClientError::Refused {
            action,
            status,
            message,
        }),
    }
}

/// Reads the JSON of an answer that was accepted.
pub(super) fn json<T: DeserializeOwned>(
    action: &str,
    answer: &Answer,
    whole: bool,
) -> Result<T, ClientError> {
    serde_json::from_slice(&answer.body).map_err(|error| odd(action, &error.to_string(), whole))
}

pub(super) fn odd(action: &str, problem: &str, whole: bool) -> ClientError {
    ClientError::Odd {
        action: action.to_owned(),
        problem: printable::line(problem, MOST_TEXT),
        whole,
    }
}

/// Where an answer sends us, without what may be secret in it.
pub(super) fn place(answer: &Answer) -> String {
    let place = answer.location.as_deref().unwrap_or("nowhere");
    let place = place.split(['?', '#']).next().unwrap_or_default();
    printable::line(place, MOST_TEXT)
}

/// What the server says in an answer that is no success.
pub(super) fn message(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Said {
        message: serde_json::Value,
    }
    if answer.html {
        return title(answer);
    }
    match serde_json::from_slice::<Said>(&answer.body).map(|said| said.message) {
        Ok(serde_json::Value::String(text)) => printable::line(text.trim(), MOST_TEXT),
        Ok(other) => printable::line(&other.to_string(), MOST_TEXT),
        Err(_) => "without a word".to_owned(),
    }
}

fn title(answer: &Answer) -> String {
    let text = answer.text();
    let found = TITLE.as_ref().and_then(|title| title.captures(&text));
    let title = found.map(|found| found[1].trim().to_owned());
    printable::line(title.as_deref().unwrap_or("without a title"), MOST_TEXT)
}
