//! What a server answered.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, LOCATION, RETRY_AFTER, SET_COOKIE};

/// No server may make us wait for longer.
const MOST_PATIENCE: Duration = Duration::from_secs(3600);

/// An answer, whatever it says.
#[derive(Debug)]
pub struct Answer {
    /// 200 and so on.
    pub status: u16,
    /// It is a page for people.
    pub html: bool,
    /// Where it sends us; we do not go.
    pub location: Option<String>,
    /// `Set-Cookie`, as they stand.
    pub cookies: Vec<String>,
    /// How long it asks us to wait.
    pub after: Option<Duration>,
    /// All of the body.
    pub body: Vec<u8>,
}

impl Answer {
    pub(super) fn of(response: &Response) -> Self {
        let headers = response.headers();
        let kind = text(headers, &CONTENT_TYPE).unwrap_or_default();
        Self {
            status: response.status().as_u16(),
            html: kind.to_ascii_lowercase().contains("html"),
            location: text(headers, &LOCATION).map(str::to_owned),
            cookies: headers
                .get_all(SET_COOKIE)
                .iter()
                .filter_map(|value| value.to_str().ok().map(str::to_owned))
                .collect(),
            after: text(headers, &RETRY_AFTER)
                .and_then(|text| patience(text, crate::clock::moment())),
            body: Vec::new(),
        }
    }

    /// The body as text, as far as it is text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// `Retry-After`: seconds, or a date.
fn patience(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = text.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(MOST_PATIENCE));
    }
    let then = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    let wait = Duration::try_from(then.duration_since(now)).unwrap_or_default();
    Some(wait.min(MOST_PATIENCE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_seconds_or_a_date_and_never_more_than_an_hour() {
        let now: Timestamp = "2026-11-25T07:44:52Z".parse().unwrap();
        let seconds = |text| patience(text, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds("99999999999999999999999"), Some(3600));
        assert_eq!(seconds("Wed, 25 Nov 2026 07:45:52 GMT"), Some(60));
        assert_eq!(seconds("Wed, 25 Nov 2020 07:45:52 GMT"), Some(0));
        assert_eq!(seconds("Thu, 25 Nov 2027 07:45:52 GMT"), Some(3600));
        for odd in ["", "soon", "-1", "1.5"] {
            assert_eq!(seconds(odd), None, "{odd}");
        }
    }
}
