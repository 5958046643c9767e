//! Whether the server would take what is made: the questions that delivery asks, asked once by whoever calls.

use super::{Line, State, bad};
use crate::cli::foreground;
use crate::config::Settings;
use crate::config::delivery::Destination;
use crate::delivery::receipt::StandingLine;
use crate::delivery::standing;
use crate::printable::causes;
use crate::timesketch::Client;

/// A line for each part of the server; none where none is configured, and none where the agent's delivery asks it: that
/// has the secrets, and who calls may not.
pub(super) async fn lines(settings: &Settings) -> Vec<Line> {
    if settings.timesketch.url.is_empty() || settings.delivery.to == Destination::Upload {
        return Vec::new();
    }
    let credentials = foreground::credentials();
    let client = match Client::new(&settings.timesketch, credentials.as_deref()) {
        Ok(client) => client,
        Err(error) => {
            let found = format!("failed to {}", causes(&error));
            return vec![bad(
                "timesketch",
                State::Warning,
                found,
                "correct [timesketch]",
            )];
        }
    };
    let (timesketch, opensearch) = (&settings.timesketch, &settings.opensearch);
    let standing = standing::ask(&client, timesketch, opensearch, credentials.as_deref()).await;
    standing.lines.iter().map(as_line).collect()
}

/// A server that nothing is delivered to by itself keeps nobody from work.
fn as_line(line: &StandingLine) -> Line {
    let state = match line.state.as_str() {
        "ok" => State::Ok,
        _ => State::Warning,
    };
    let part = [
        "timesketch",
        "login",
        "plaso",
        "uploads",
        "sketch",
        "opensearch",
    ];
    Line {
        part: part
            .into_iter()
            .find(|part| *part == line.part)
            .unwrap_or("timesketch"),
        state,
        found: line.text.clone(),
        advice: None,
    }
}
