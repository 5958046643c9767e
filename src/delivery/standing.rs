//! Whether the server would take what is made, asked before hours of work and from time to time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::receipt::{SCHEMA, Standing, StandingLine};
use super::service::{Context, Ended};
use crate::clock;
use crate::config::delivery::{OpensearchSettings, TimesketchSettings};
use crate::opensearch;
use crate::printable::{causes, line};
use crate::timesketch::Client;
use crate::timesketch::handshake::{self, Finding, Level, Ours};

/// How often a server that is ready is asked again.
const GOOD: Duration = Duration::from_secs(600);

/// How often one that is not is asked again.
const BAD: Duration = Duration::from_secs(30);

/// The newest release whose storage files this program was tested with.
const PLASO: u32 = 20_260_720;

/// The format of those (`_FORMAT_VERSION` in Plaso's `storage/sqlite/sqlite_file.py`).
const STORAGE_FORMAT: u32 = 20_260_516;

/// Asks the server.
pub async fn ask(
    client: &Client,
    timesketch: &TimesketchSettings,
    opensearch: &OpensearchSettings,
    credentials: Option<&Path>,
) -> Standing {
    let sketch = Some(timesketch.sketch_id).filter(|id| *id != 0);
    let ours = Ours {
        plaso: PLASO,
        storage_format: Some(STORAGE_FORMAT),
    };
    let (opensearch, trouble) = match opensearch::Client::new(opensearch, credentials) {
        Ok(client) => (client, None),
        Err(error) => (None, Some(causes(&error))),
    };
    let shaken = handshake::shake(client, sketch, ours, opensearch.as_ref()).await;
    let ready = shaken.level() != Level::Bad;
    let mut lines: Vec<StandingLine> = shaken.lines.iter().map(as_line).collect();
    if let Some(trouble) = trouble {
        lines.push(StandingLine {
            state: state(Level::Warning).to_owned(),
            part: "opensearch".to_owned(),
            text: format!("failed to {trouble}"),
        });
    }
    Standing {
        schema: SCHEMA.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        at: clock::now(),
        server: timesketch.url.clone(),
        ready: Some(ready),
        lines,
    }
}

fn as_line(finding: &Finding) -> StandingLine {
    let advice = finding.advice.as_ref();
    let advice = advice.map_or_else(String::new, |advice| format!("; {advice}"));
    StandingLine {
        state: state(finding.level).to_owned(),
        part: finding.part.to_string(),
        text: line(&format!("{}{advice}", finding.found), 600),
    }
}

const fn state(level: Level) -> &'static str {
    match level {
        Level::Good => "ok",
        Level::Warning => "warning",
        Level::Bad => "bad",
    }
}

/// Asks from time to time and writes down what is found.
pub(super) async fn keep(context: Arc<Context>) -> Ended {
    loop {
        let standing = context.ask().await;
        let wait = if standing.ready == Some(true) {
            GOOD
        } else {
            BAD
        };
        if let Err(error) = context.outbox.keep_standing(&standing) {
            let error = causes(&error);
            tracing::error!(
                dfagent_error = error,
                "how delivery stands cannot be written"
            );
        }
        context.wait(wait).await;
    }
}
