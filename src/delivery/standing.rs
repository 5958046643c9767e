//! Whether the servers would take what is made, asked before hours of work and from time to time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::name;
use super::receipt::{SCHEMA, Standing, StandingLine};
use super::service::{Context, Ended, ServiceError};
use crate::clock;
use crate::config::Settings;
use crate::config::delivery::Destination;
use crate::opensearch::{self, Shards};
use crate::printable::{causes, line};
use crate::timesketch::Client;
use crate::timesketch::handshake::{self, Finding, Level, Ours, finding};

/// How often a server that is ready is asked again.
const GOOD: Duration = Duration::from_secs(600);

/// How often one that is not is asked again.
const BAD: Duration = Duration::from_secs(30);

/// The newest release whose storage files this program was tested with.
const PLASO: u32 = 20_260_720;

/// The format of those (`_FORMAT_VERSION` in Plaso's `storage/sqlite/sqlite_file.py`).
const STORAGE_FORMAT: u32 = 20_260_516;

/// With fewer shards left than this, a person should know: a job takes one, and each copy of it another.
const FEW_SHARDS: u64 = 50;

/// Bytes of an address that OpenSearch takes (`http.max_initial_line_length`), of which this many are kept for what is
/// no name: `POST /…/_search?…` as Timesketch 20261014 asks takes over 235, and each column that a person adds to the
/// table its own name.
const ADDRESS: usize = 4096;
const ADDRESS_FRAME: usize = 400;

/// The servers that are configured.
pub struct Servers {
    /// Timesketch.
    pub timesketch: Option<Client>,
    /// OpenSearch.
    pub opensearch: Option<opensearch::Client>,
}

impl Servers {
    /// The clients; asks nobody yet.
    ///
    /// # Errors
    /// A file that they need is no good.
    pub fn new(settings: &Settings, credentials: Option<&Path>) -> Result<Self, ServiceError> {
        let timesketch = &settings.timesketch;
        let timesketch = match timesketch.url.is_empty() {
            true => None,
            false => Some(Client::new(timesketch, credentials)?),
        };
        let opensearch = opensearch::Client::new(&settings.opensearch, credentials)?;
        Ok(Self {
            timesketch,
            opensearch,
        })
    }
}

/// Asks the servers.
pub async fn ask(servers: &Servers, settings: &Settings) -> Standing {
    let streams = settings.delivery.to == Destination::Stream;
    let mut findings = match &servers.timesketch {
        Some(client) => shake(client, settings, streams).await,
        None if streams => {
            let found = "none is configured: events are in OpenSearch alone, without a sketch";
            vec![finding("timesketch", Level::Good, found, None)]
        }
        None => Vec::new(),
    };
    if let Some(client) = &servers.opensearch {
        if streams {
            let prefix = &settings.opensearch.index_prefix;
            findings.extend(takes_documents(client, prefix).await);
        } else {
            findings.push(clauses(client, "opensearch").await);
        }
    }
    let bad = findings.iter().any(|one| one.level == Level::Bad);
    Standing {
        schema: SCHEMA.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        at: clock::now(),
        server: settings.server().to_owned(),
        ready: Some(!bad),
        lines: findings.iter().map(as_line).collect(),
    }
}

async fn shake(client: &Client, settings: &Settings, streams: bool) -> Vec<Finding> {
    let sketch = Some(settings.timesketch.sketch_id).filter(|id| *id != 0);
    if streams {
        return handshake::greet(client, sketch).await.lines;
    }
    let ours = Ours {
        plaso: PLASO,
        storage_format: Some(STORAGE_FORMAT),
    };
    handshake::shake(client, sketch, ours).await.lines
}

/// Whether OpenSearch takes documents, and how many jobs have room in it.
async fn takes_documents(client: &opensearch::Client, prefix: &str) -> Vec<Finding> {
    let about = match client.about().await {
        Ok(about) => about,
        Err(error) => return vec![finding("opensearch", Level::Bad, failed(&error), None)],
    };
    let found = format!(
        "{} {} answers at {} and knows us",
        about.distribution,
        about.version,
        client.base()
    );
    let shards = match client.shards().await {
        Ok(shards) => judge_shards(shards),
        Err(error) => finding("shards", Level::Warning, failed(&error), None),
    };
    vec![
        finding("opensearch", Level::Good, found, None),
        shards,
        judge_names(prefix),
        clauses(client, "searches").await,
    ]
}

async fn clauses(client: &opensearch::Client, part: &'static str) -> Finding {
    match client.clause_limit().await {
        Ok(limit) => handshake::judge_clauses(part, limit),
        Err(error) => finding(part, Level::Warning, failed(&error), None),
    }
}

/// Every job takes a shard, and a copy of it where there are several nodes.
fn judge_shards(shards: Shards) -> Finding {
    let Shards { open, limit } = shards;
    let Some(limit) = limit else {
        let found = format!("{open} are open, and it does not say how many may be");
        return finding("shards", Level::Good, found, None);
    };
    let left = limit.saturating_sub(open);
    let found = format!("{open} of {limit} are open");
    if left >= FEW_SHARDS {
        return finding("shards", Level::Good, found, None);
    }
    let advice = "delete old indexes, add a node, or raise cluster.max_shards_per_node; each volume takes one";
    let level = if left == 0 {
        Level::Bad
    } else {
        Level::Warning
    };
    finding("shards", level, found, Some(advice))
}

/// How many volumes one search in a sketch can name.
fn judge_names(prefix: &str) -> Finding {
    let length = prefix.len() + name::INDEX + 1;
    let most = (ADDRESS - ADDRESS_FRAME) / length;
    let found =
        format!("{most} volumes have room in one sketch, by the length of their indexes' names");
    finding("sketch", Level::Good, found, None)
}

fn failed(error: &(dyn std::error::Error + 'static)) -> String {
    format!("failed to {}", causes(error))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_that_is_nearly_full_of_shards_is_told_before_it_is_full() {
        let judge = |open| {
            judge_shards(Shards {
                open,
                limit: Some(1000),
            })
        };
        assert_eq!(judge(300).level, Level::Good);
        assert_eq!(judge(960).level, Level::Warning);
        assert_eq!(judge(1000).level, Level::Bad);
    }

    #[test]
    fn three_hundred_volumes_have_room_in_a_sketch() {
        assert!(
            judge_names("").found.starts_with("336 "),
            "{:?}",
            judge_names("")
        );
        assert!(judge_names("ir-").found.starts_with("264 "));
    }
}
