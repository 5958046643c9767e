//! Delivery as a part of a command in the foreground: `process --to https://…` and `deliver --once`.
//!
//! The meeting place stands beside the folders of the jobs, so that the one command goes on with what the other began.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use super::args::StreamArgs;
use super::exit::Exit;
use super::progress::Shown;
use crate::config::delivery::{Destination, is_web_address};
use crate::config::{ConfigError, Settings};
use crate::delivery::custody::{DeliveryProof, SliceProof, cleaned};
use crate::delivery::outbox::Outbox;
use crate::delivery::receipt::{self, Receipt, SliceReceipt, Stage, Standing};
use crate::delivery::service::{Context, Service, ServiceError};
use crate::durable::FileError;
use crate::plaso::verdict::Level;
use crate::printable::{self, size};

/// The folder beside the jobs' own.
const PLACE: &str = "delivery";

/// Where the service manager puts secrets.
pub(super) fn credentials() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// Whether it is a server and not a folder.
pub(super) fn is_server(to: &str) -> bool {
    to.starts_with("https://") || to.starts_with("http://")
}

/// What the command line says about servers.
#[derive(Clone, Copy, Default)]
pub(super) struct Wanted<'a> {
    /// Timesketch.
    pub(super) to: Option<&'a str>,
    /// The name of the sketch.
    pub(super) sketch: Option<&'a str>,
    /// How documents go into OpenSearch.
    pub(super) streaming: Option<&'a StreamArgs>,
}

/// Puts what the command line says over the settings.
///
/// # Errors
/// A sentence about an address that cannot be used.
pub(super) fn set_servers(settings: &mut Settings, wanted: &Wanted<'_>) -> Result<(), ConfigError> {
    if let Some(to) = wanted.to {
        to.clone_into(&mut settings.timesketch.url);
    }
    if let Some(sketch) = wanted.sketch {
        settings.timesketch.sketch = sketch.to_owned();
        settings.timesketch.sketch_id = 0;
    }
    if let Some(streaming) = wanted.streaming.filter(|streaming| streaming.stream) {
        settings.delivery.to = Destination::Stream;
        settings.delivery.labels &= !streaming.no_labels;
        if let Some(url) = &streaming.opensearch {
            settings.opensearch.url.clone_from(url);
            settings.opensearch.urls.clear();
        }
    }
    let streams = settings.delivery.to == Destination::Stream;
    if streams {
        let remedy = "give the address of OpenSearch, or set [opensearch] url";
        let node = settings.opensearch.nodes().first().copied();
        check_address("--opensearch", node.unwrap_or_default(), remedy)?;
    }
    if streams && settings.timesketch.url.is_empty() {
        return Ok(());
    }
    let remedy = "give the server's address, or set [timesketch] url";
    check_address("--to", &settings.timesketch.url, remedy)
}

fn check_address(key: &'static str, url: &str, remedy: &str) -> Result<(), ConfigError> {
    let problem = match url {
        url if is_web_address(url) => return Ok(()),
        "" => remedy,
        _ => {
            "it is to begin with https://, or http:// on loopback, and to hold no user or password"
        }
    };
    let problem = problem.to_owned();
    Err(ConfigError::Value { key, problem })
}

/// Delivery in this process.
pub(super) struct Foreground {
    pub(super) outbox: Outbox,
    context: Arc<Context>,
    keep: bool,
    jobs: PathBuf,
}

impl Foreground {
    /// Delivery for the jobs in this folder.
    pub(super) fn set_up(
        settings: Settings,
        jobs: &Path,
        show: UnboundedSender<Shown>,
        stop: watch::Receiver<bool>,
    ) -> Result<Self, ServiceError> {
        let place = jobs.join(PLACE);
        let outbox = Outbox::at(&place, None).by(&settings);
        outbox.make()?;
        let keep = settings.delivery.keep;
        let teller = Teller::default();
        let service = Service {
            settings,
            outbox: outbox.clone(),
            folder: place,
            credentials: credentials(),
            in_foreground: true,
            // Nobody listening any more is fine.
            listener: Arc::new(move |receipt| {
                for line in teller.lines(receipt) {
                    drop(show.send(Shown::Delivery(line)));
                }
            }),
            stop,
        };
        Ok(Self {
            context: Arc::new(service.set_up()?),
            jobs: jobs.to_owned(),
            outbox,
            keep,
        })
    }

    /// Asks the server whether it would take what is made.
    pub(super) async fn ask(&self) -> Standing {
        self.context.ask().await
    }

    /// Delivers until `finish` says that nothing more comes and nothing is left to do.
    pub(super) async fn run(
        &self,
        finish: watch::Receiver<bool>,
    ) -> Result<Vec<String>, ServiceError> {
        Arc::clone(&self.context).run(finish).await
    }

    /// What was delivered of a job; none if its delivery did not come to its end. The order of one that is delivered
    /// whole is taken back last: by it a command that was killed here finds what is left to do.
    pub(super) fn settle(&self, job: &str) -> Result<Option<DeliveryProof>, FileError> {
        let (folder, outbox) = (self.jobs.join(job), &self.outbox);
        let (Some(order), Some(receipt)) = (outbox.order(job)?, outbox.receipt(job)?) else {
            return Ok(None);
        };
        let handed = outbox.slices(job)?;
        let receipt = cleaned(receipt, &handed);
        let Some(delivered) = receipt::ended(&order, &handed, &receipt) else {
            return Ok(None);
        };
        let proof = DeliveryProof::of(outbox.server(), &order, &receipt, &delivered, self.keep);
        proof.keep(&folder)?;
        if delivered.level == Level::Complete {
            proof.remove_storage(&folder)?;
            outbox.withdraw(job)?;
            outbox.forget_receipt(job);
        }
        Ok(Some(proof))
    }

    /// The record of a run that was delivered to this server before.
    pub(super) fn delivered_before(&self, job: &str, run: &str) -> Option<DeliveryProof> {
        let record = DeliveryProof::read(&self.jobs.join(job)).ok().flatten();
        record.filter(|record| record.is_whole(run, self.outbox.server()))
    }
}

/// Says what is new in a receipt.
#[derive(Default)]
struct Teller {
    told: Mutex<BTreeMap<String, Receipt>>,
}

impl Teller {
    fn lines(&self, receipt: &Receipt) -> Vec<String> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let before = told.insert(receipt.job.clone(), receipt.clone());
        news(before.as_ref(), receipt)
    }
}

/// What is new: slices that got on, and what is waited for.
fn news(before: Option<&Receipt>, now: &Receipt) -> Vec<String> {
    let mut lines = Vec::new();
    for slice in &now.slices {
        let of = |one: &&SliceReceipt| one.name == slice.name;
        let old = before.and_then(|before| before.slices.iter().find(of));
        let stage = old.map_or(Stage::Waiting, |old| old.stage);
        if stage != slice.stage {
            lines.extend(about(slice));
        }
    }
    let waits = before.and_then(|before| before.waits.as_ref());
    if let Some(words) = now
        .waits
        .as_ref()
        .filter(|words| waits != Some(words) && words.starts_with("failed"))
    {
        lines.push(format!(
            "delivery waits: it {}",
            printable::line(words, 400)
        ));
    }
    lines
}

fn about(slice: &SliceReceipt) -> Option<String> {
    let name = printable::line(&slice.name, 100);
    let error = slice.error.as_deref().unwrap_or_default();
    let error = printable::line(error, 300);
    let streams = slice.streamed.is_some();
    let place = if streams && slice.timeline.is_none() {
        "OpenSearch"
    } else {
        "Timesketch"
    };
    let (found, expected) = (slice.found.unwrap_or_default(), slice.expected);
    Some(match slice.stage {
        Stage::Waiting if slice.tries > 0 && streams => {
            format!("slice {name}: {error}; it is sent anew")
        }
        Stage::Waiting if slice.tries > 0 => format!("slice {name}: {error}; it is uploaded anew"),
        Stage::Waiting => return None,
        Stage::Uploading if streams => format!("slice {name}: sending {expected} events"),
        Stage::Uploading => format!("slice {name}: uploading {}", size(slice.bytes)),
        Stage::Indexing if streams => format!("slice {name}: sent, OpenSearch counts it"),
        Stage::Indexing => format!("slice {name}: uploaded, the server indexes it"),
        Stage::Proven => {
            format!("slice {name}: {expected} events are found in {place}, all of them")
        }
        Stage::Short => {
            format!("slice {name}: {found} of {expected} events are found in {place}: {error}")
        }
        Stage::Failed if streams => format!("slice {name}: it could not be delivered: {error}"),
        Stage::Failed => format!("slice {name}: the server could not index it: {error}"),
    })
}

/// A delivery for people.
pub(super) fn render(proof: &DeliveryProof) -> String {
    let mut lines = vec![format!(
        "Delivery: {}",
        proof.level.unwrap_or(Level::Failed)
    )];
    lines.extend(proof.reasons.iter().map(|reason| format!("  {reason}")));
    if let Some(sketch) = &proof.sketch {
        lines.push(format!(
            "Sketch {}: {}  {}",
            sketch.id, sketch.name, sketch.url
        ));
    }
    for SliceProof { receipt: slice, .. } in &proof.slices {
        let timeline = slice.timeline.as_ref();
        let name = match timeline {
            _ if slice.streamed.is_some() => slice.name.as_str(),
            Some(timeline) => timeline.name.as_str(),
            None => "no timeline",
        };
        let found = slice.found.unwrap_or_default();
        lines.push(format!(
            "  {name}: {found} of {} events found",
            slice.expected
        ));
    }
    lines.push(format!("Proven: {} events", proof.documents));
    lines.join("\n")
}

/// The code for several ends: the worst, and an operator's task before a missing part.
pub(super) fn worst(exits: impl Iterator<Item = Exit>) -> Exit {
    let rank = |exit: &Exit| match exit {
        Exit::Complete => 0,
        Exit::Partial => 1,
        Exit::Failed => 2,
        _ => 3,
    };
    exits.max_by_key(rank).unwrap_or(Exit::Complete)
}

/// The code for a job: what was extracted and what was delivered of it.
pub(super) fn exit_for(
    extracted: Exit,
    delivered: Option<&DeliveryProof>,
    given_up: &[String],
) -> Exit {
    let delivered = match delivered {
        Some(proof) => Exit::from(proof.level.unwrap_or(Level::Failed)),
        None if given_up.is_empty() => Exit::Failed,
        None => Exit::NeedsOperator,
    };
    worst([extracted, delivered].into_iter())
}
