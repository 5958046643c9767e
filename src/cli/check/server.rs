//! Whether the server would take what is made: the questions that delivery asks, asked once by whoever calls.

use super::{Line, State, bad};
use crate::cli::foreground;
use crate::config::Settings;
use crate::delivery::receipt::StandingLine;
use crate::delivery::standing::{self, Servers};
use crate::printable::causes;

/// A line for each part of the servers; none where none is configured, and none where the agent's delivery asks them:
/// that has the secrets, and who calls may not.
pub(super) async fn lines(settings: &Settings) -> Vec<Line> {
    if settings.timesketch.url.is_empty() || settings.delivery.to.is_remote() {
        return Vec::new();
    }
    let credentials = foreground::credentials();
    let servers = match Servers::new(settings, credentials.as_deref()) {
        Ok(servers) => servers,
        Err(error) => {
            let found = format!("failed to {}", causes(&error));
            let advice = "correct [timesketch] or [opensearch]";
            return vec![bad("timesketch", State::Warning, found, advice)];
        }
    };
    let standing = standing::ask(&servers, settings).await;
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
        "searches",
        "shards",
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
