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
        // What its framework says about a number that it does not have would send people looking elsewhere.
        404 if message.starts_with("The requested URL") => Err(ClientError::NotFound {
            action,
            message: "the server has nothing of that number".to_owned(),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{Fake, HTML, quiet, storage, upload};
    use super::super::{Client, Fault};
    use super::*;
    use crate::config::delivery::TimesketchSettings;
    use crate::http::tests::{Act, Stub, answer, json};

    #[test]
    fn a_token_is_found_in_pages_of_any_style() {
        for page in [
            r#"<meta name="csrf-token" content="ab.c-d_e"/>"#,
            "<meta name=csrf-token content=ab.c-d_e>",
            r#"<input id="csrf_token" name="csrf_token" type="hidden" value="ab.c-d_e">"#,
        ] {
            assert_eq!(token(page).as_deref(), Some("ab.c-d_e"), "{page}");
        }
        assert_eq!(token("<input id=other value=x>"), None);
    }

    #[test]
    fn a_page_that_says_not_found_is_no_word_of_timesketch() {
        let answer = |html, status| Answer {
            status,
            html,
            location: None,
            cookies: Vec::new(),
            after: None,
            body: b"{\"message\": 7}".to_vec(),
        };
        let fault = |answer| accept("x", answer, true).unwrap_err().fault();
        assert_eq!(fault(answer(true, 404)), Fault::Passing { after: None });
        assert_eq!(fault(answer(false, 404)), Fault::NotFound);
        assert_eq!(fault(answer(true, 200)), Fault::Unsure { after: None });
        assert!(accept("x", answer(false, 200), true).is_ok());
    }

    #[tokio::test]
    async fn every_refusal_says_what_may_be_done() {
        let seconds = |after| Some(Duration::from_secs(after));
        let passing = Fault::Passing { after: seconds(7) };
        let unsure = Fault::Unsure { after: seconds(7) };
        let said = |text: &str| format!(r#"{{"message": "{text}"}}"#);
        let table = [
            ("429 Too Many", said("slow down"), passing, passing),
            (
                "500 Internal",
                said("Internal Server Error"),
                passing,
                unsure,
            ),
            ("502 Bad Gateway", String::new(), passing, unsure),
            ("503 Unavailable", String::new(), passing, unsure),
            (
                "413 Too Large",
                String::new(),
                Fault::TooLarge,
                Fault::TooLarge,
            ),
            (
                "404 Not Found",
                said("No sketch found"),
                Fault::NotFound,
                Fault::NotFound,
            ),
            (
                "403 Forbidden",
                said("no write access"),
                Fault::Refused,
                Fault::Refused,
            ),
            (
                "400 Bad",
                said("Upload not enabled"),
                Fault::Refused,
                Fault::Refused,
            ),
            (
                "400 Bad",
                said("file to an archived sketch."),
                Fault::Refused,
                Fault::Refused,
            ),
            ("418 Teapot", String::new(), Fault::Refused, Fault::Refused),
        ];
        for (status, body, of_get, of_post) in table {
            let text = body.clone();
            let fake = Fake::start(move |_| {
                answer(
                    status,
                    "Content-Type: application/json\r\nRetry-After: 7\r\n",
                    &text,
                )
            })
            .await;
            let client = fake.client();
            let got = client.version().await.unwrap_err();
            assert_eq!(got.fault(), of_get, "GET {status} {body}");
            let file = storage(&fake);
            let posted = client.send_chunk(&upload(&file), &quiet).await.unwrap_err();
            assert_eq!(posted.fault(), of_post, "POST {status} {body}");
            assert_eq!(fake.logins(), 1, "{status}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_lost_or_nonsense_leaves_us_unsure_of_the_chunk() {
        for act in [
            Act::Reset(usize::MAX),
            Act::Silence,
            json("201 CREATED", "{\"meta\":"),
            json(
                "201 CREATED",
                "{\"meta\":{\"upload_complete\":false},\"objects\":[]}",
            ),
            json("201 CREATED", "[]"),
            Act::Endless,
        ] {
            let fake = Fake::start({
                let act = act.clone();
                move |_| act.clone()
            })
            .await;
            let file = storage(&fake);
            let error = fake
                .client()
                .send_chunk(&upload(&file), &quiet)
                .await
                .unwrap_err();
            assert_eq!(
                error.fault(),
                Fault::Unsure { after: None },
                "{act:?} {error}"
            );
        }
    }

    #[tokio::test]
    async fn somebody_else_s_page_is_neither_success_nor_a_wrong_password() {
        let stub =
            Stub::start(|_| answer("200 OK", HTML, "<title>Captive\u{202e} portal</title>")).await;
        let fake = Fake::start(|_| answer("200 OK", HTML, "<title>Oops</title>")).await;
        let mut settings = TimesketchSettings {
            url: stub.url(),
            password_file: fake.password_file(),
            ..TimesketchSettings::default()
        };
        let error = Client::new(&settings, None)
            .unwrap()
            .version()
            .await
            .unwrap_err();
        assert_eq!(error.fault(), Fault::Passing { after: None });
        assert!(
            error.to_string().contains(r"(Captive\u{202e} portal)"),
            "{error}"
        );
        settings.url = fake.stub.url();
        let client = Client::new(&settings, None).unwrap();
        let error = client.version().await.unwrap_err();
        assert_eq!(error.fault(), Fault::Passing { after: None });
        let file = storage(&fake);
        let error = client.send_chunk(&upload(&file), &quiet).await.unwrap_err();
        assert_eq!(error.fault(), Fault::Unsure { after: None });
    }
}
