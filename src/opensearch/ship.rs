//! A slice's documents into an index: sent until each is there or refused, whatever comes between.
//!
//! What is told as done is done: the position moves over a bulk only when the server has acknowledged or refused each
//! of its documents, and what it refused is on the disk. Everything may be sent again, because ids say what documents
//! hold.

use std::io::{self, Write};
use std::path::Path;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use super::answer::{self, Bulk, Outcome};
use super::batch::{Additions, Batch};
use super::client::Client;
use super::course::{Course, Settled};
use super::documents::Documents;
use super::error::ClientError;
use super::pace::Pace;
use super::rejected::Rejected;
use crate::durable::{self, FileError};
use crate::http::{Fault, Problem, WireError};
use crate::printable;

/// What is shipped, and where to.
#[derive(Clone, Debug)]
pub struct Shipment<'a> {
    /// An index that [`Client::create_index`] made.
    pub index: &'a str,
    /// One JSON object a line, ordered by time.
    pub documents: &'a Path,
    /// Where to go on.
    pub from: Position,
    /// Goes into each document as `__ts_timeline_id`.
    pub timeline: Option<u64>,
    /// Go into each document.
    pub labels: &'a [(&'static str, String)],
    /// Part of each document's id.
    pub slice: &'a str,
    /// Where documents are kept that OpenSearch refuses.
    pub rejected: &'a Path,
    /// The first bulk goes alone: it tells a fresh index most of the fields.
    pub alone_first: bool,
}

/// How far a shipment is. Everything before `offset` is acknowledged or refused.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub struct Position {
    /// Bytes of the file.
    pub offset: u64,
    /// Lines before that.
    pub documents: u64,
    /// Those that are not in the index.
    pub refused: u64,
    /// Those that are there in another form.
    pub mended: u64,
}

/// How a shipment gets on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How far it is.
    pub position: Position,
    /// What it waits for, if it does.
    pub waits: Option<String>,
}

/// Why a shipment ended before its end. It can go on from its last position.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// The server does not take it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Somebody removed the index.
    #[error("send documents: the index {0} was closed or deleted meanwhile")]
    Gone(String),
    /// The disk of OpenSearch is full; it takes documents again when there is room.
    #[error("send documents: the disk of OpenSearch is full ({0})")]
    Full(String),
    /// A file of ours.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file of ours.
    #[error("{operation} {}", path.display())]
    System {
        /// A verb.
        operation: &'static str,
        /// The file.
        path: std::path::PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// What all bulks of a shipment share.
struct Ship<'a> {
    client: &'a Client,
    pace: &'a Pace,
    shipment: &'a Shipment<'a>,
    action: String,
    position: Mutex<Position>,
    on: &'a (dyn Fn(Progress) + Send + Sync),
}

/// Sends documents until the last is there. `on` hears of every step of the position, which is then certain, and of
/// every wait.
///
/// # Errors
/// See [`ShipError`]. What may pass is waited for here for two minutes.
pub async fn ship(
    client: &Client,
    pace: &Pace,
    shipment: &Shipment<'_>,
    on: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Position, ShipError> {
    let ship = Ship {
        client,
        pace,
        shipment,
        action: format!("send documents to {}", client.base()),
        position: Mutex::new(shipment.from),
        on,
    };
    let documents = ship.open().await?;
    let mut rejected = Rejected::new(shipment.rejected);
    let mut batches = ship.batches(documents);
    if shipment.alone_first
        && let Some(batch) = batches.try_next().await?
    {
        let settled = ship.settle(batch).await?;
        ship.retire(&mut rejected, settled)?;
    }
    let settling = batches.map(|batch| ship.settled(batch));
    // One more is read and packed while as many as may be are under way.
    let mut settled = pin!(settling.buffered(pace.most() + 1));
    while let Some(settled) = settled.try_next().await? {
        ship.retire(&mut rejected, settled)?;
    }
    Ok(ship.position())
}

impl Ship<'_> {
    fn position(&self) -> Position {
        *self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, waits: Option<String>) {
        let position = self.position();
        (self.on)(Progress { position, waits });
    }

    fn system(&self, operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ShipError {
        let path = path.to_path_buf();
        move |source| ShipError::System {
            operation,
            path,
            source,
        }
    }

    async fn open(&self) -> Result<Documents, ShipError> {
        let shipment = self.shipment;
        let file = durable::open_own(shipment.documents)?;
        let additions = Additions::new(shipment.timeline, shipment.labels);
        let (index, slice) = (shipment.index.to_owned(), shipment.slice.to_owned());
        let from = shipment.from.offset;
        let opened =
            spawn_blocking(move || Documents::open(file, from, (&index, &slice), additions));
        let opened = opened
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        opened.map_err(self.system("read", shipment.documents))
    }

    /// All that is left, read while others are under way. In a box, so that a task may be sent to another thread: of a
    /// closure in the stream the compiler does not see that.
    fn batches<'s>(&'s self, documents: Documents) -> BoxStream<'s, Result<Batch, ShipError>> {
        stream::try_unfold(documents, move |documents| self.read(documents)).boxed()
    }

    /// The same for what becomes of them.
    fn settled<'s>(
        &'s self,
        batch: Result<Batch, ShipError>,
    ) -> BoxFuture<'s, Result<Settled, ShipError>> {
        async move { self.settle(batch?).await }.boxed()
    }

    /// The next documents.
    async fn read(
        &self,
        mut documents: Documents,
    ) -> Result<Option<(Batch, Documents)>, ShipError> {
        let bytes = self.pace.bytes();
        let read = spawn_blocking(move || {
            let batch = documents.batch(bytes)?;
            Ok(batch.map(|batch| (batch, documents)))
        });
        let read = read
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        read.map_err(self.system("read", self.shipment.documents))
    }

    /// Moves the position over a bulk.
    fn retire(&self, rejected: &mut Rejected, settled: Settled) -> Result<(), ShipError> {
        let shipment = self.shipment;
        rejected
            .keep(shipment.slice, &settled.refused)
            .map_err(self.system("keep refused documents in", shipment.rejected))?;
        let mut position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        position.offset = settled.end;
        position.documents += settled.documents;
        position.refused += settled.refused.len() as u64;
        position.mended += settled.mended;
        drop(position);
        self.say(None);
        Ok(())
    }

    /// Sends a bulk, or parts of it, until each document is there or refused.
    async fn settle(&self, batch: Batch) -> Result<Settled, ShipError> {
        let mut course = Course::new(batch);
        while !course.left.is_empty() {
            let place = self.pace.enter().await;
            let (text, count) = course.next(self.pace.bytes());
            let bytes = text.len();
            let packed = pack(text).await;
            let packed = packed.map_err(self.system("pack", self.shipment.documents))?;
            let answer = self.client.bulk(self.shipment.index, &packed).await;
            drop(place);
            let bulk = match answer {
                Ok(answer) => answer::judge(&self.action, answer, count),
                Err(error) => Bulk::Failed(error),
            };
            self.follow(&mut course, bulk, (count, bytes))?;
        }
        Ok(course.settled())
    }

    /// What follows from the answer to so many documents of so many bytes.
    fn follow(
        &self,
        course: &mut Course,
        bulk: Bulk,
        (count, bytes): (usize, usize),
    ) -> Result<(), ShipError> {
        let error = match bulk {
            Bulk::Items(outcomes) => return self.note(course, outcomes),
            Bulk::Gone => return Err(ShipError::Gone(self.shipment.index.to_owned())),
            Bulk::Busy { after, message } => self.busy(message, after),
            Bulk::TooLarge => {
                if count > 1 {
                    self.pace.too_large(bytes);
                }
                course.too_large(count, bytes);
                return Ok(());
            }
            Bulk::Unreadable(reason) => {
                course.unreadable(count, &reason);
                return Ok(());
            }
            Bulk::Failed(error) => error,
        };
        match error.fault() {
            Fault::TooLarge => {
                course.too_large(count, bytes);
                Ok(())
            }
            Fault::Passing { after } | Fault::Unsure { after } => {
                // A server may close the connection on what is too large before it has all of it.
                if is_broken(&error) {
                    course.broken(count, bytes);
                }
                // Who does not answer is not helped by less.
                let busy = matches!(error, ClientError::Failed { .. });
                self.wait(error, after, busy)
            }
            Fault::Credentials | Fault::NotFound | Fault::Refused => Err(error.into()),
        }
    }

    /// Notes what became of each document.
    fn note(&self, course: &mut Course, outcomes: Vec<Outcome>) -> Result<(), ShipError> {
        let mut later = None;
        let mut done = false;
        let mut left = Vec::new();
        let mut numbers = std::mem::take(&mut course.left).into_iter();
        for (outcome, number) in outcomes.into_iter().zip(&mut numbers) {
            let again = match outcome {
                Outcome::Done => {
                    done = true;
                    false
                }
                Outcome::Race(reason) => course.tries(number) || course.mend(number, &reason),
                Outcome::Busy(reason) => {
                    later = Some(reason);
                    true
                }
                Outcome::Trouble(reason) => {
                    let again = course.tries(number);
                    if !again {
                        course.refuse(number, reason.clone());
                    }
                    later = Some(reason);
                    again
                }
                Outcome::Refused(reason) => course.mend(number, &reason),
                Outcome::Full(reason) => {
                    return Err(ShipError::Full(printable::line(&reason, 300)));
                }
                Outcome::Gone => return Err(ShipError::Gone(self.shipment.index.to_owned())),
                Outcome::Forbidden(reason) => return Err(self.forbidden(&reason).into()),
            };
            if again {
                left.push(number);
            }
        }
        left.extend(numbers);
        course.left = left;
        course.went_well();
        if done || later.is_none() {
            self.pace.taken();
        }
        match later {
            Some(reason) => self.wait(self.busy(printable::line(&reason, 300), None), None, true),
            None => Ok(()),
        }
    }

    /// Lets nothing be sent for a while, and less then if the server is busy, unless that has gone on for too long.
    fn wait(
        &self,
        error: ClientError,
        after: Option<Duration>,
        busy: bool,
    ) -> Result<(), ShipError> {
        let Some(pause) = self.pace.refused(after, busy) else {
            return Err(error.into());
        };
        let seconds = printable::time(pause.as_secs_f64());
        let reason = printable::causes(&error);
        self.say(Some(format!(
            "tries again in {seconds}: failed to {reason}"
        )));
        Ok(())
    }

    fn busy(&self, message: String, after: Option<Duration>) -> ClientError {
        ClientError::Failed {
            action: self.action.clone(),
            status: 429,
            message,
            after,
        }
    }

    fn forbidden(&self, reason: &str) -> ClientError {
        ClientError::Refused {
            action: self.action.clone(),
            status: 403,
            message: printable::line(reason, 300),
        }
    }
}

const fn is_broken(error: &ClientError) -> bool {
    let ClientError::Wire(WireError::Exchange { problem, .. }) = error else {
        return false;
    };
    matches!(problem, Problem::Broken(_))
}

/// Packs a bulk where it does not hold up others.
async fn pack(text: Vec<u8>) -> io::Result<Vec<u8>> {
    let packed = spawn_blocking(move || {
        let room = Vec::with_capacity(text.len() / 4);
        let mut packer = GzEncoder::new(room, Compression::fast());
        packer.write_all(&text)?;
        packer.finish()
    });
    packed
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}
