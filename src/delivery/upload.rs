//! Drives one job's slices, one step at a time: looks at what is on disk, does what [`course`] says, keeps what came
//! of it. Each step can be done once more, so a kill, a restart and a fault of the network are all the same to it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::course::{self, Piece, Seen, Step, TooSmall};
use super::name;
use super::order::{HandedSlice, Order};
use super::patience::{Backoff, LONGEST, Patience};
use super::receipt::{Link, Receipt};
use super::service::Context;
use super::state::{JobState, SliceState};
use crate::durable::FileError;
use crate::printable::causes;
use crate::timesketch::{Chunk, ChunkAnswer, Client, ClientError, Fault, Timeline};

/// Asking a timeline for its count makes OpenSearch refresh: the first looks come soon, later ones seldom.
const FIRST_LOOK: Duration = Duration::from_secs(1);
const LAST_LOOK: Duration = Duration::from_secs(5);

/// How often a storage file whose last chunk got no answer is looked for before that chunk is sent again: half a
/// minute in all.
const MOST_LOOKS: u32 = 6;

/// How often an upload's progress is told.
const TELL: Duration = Duration::from_secs(1);

/// Who shows in the sketch as the source of the data.
const PROVIDER: &str = "dfagent";

/// Why a step did not work.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error(transparent)]
    Server(#[from] ClientError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("find a name for an upload")]
    Random(#[source] std::io::Error),
    #[error(transparent)]
    TooSmall(#[from] TooSmall),
    #[error(
        "deliver to the timeline {0}: it is archived; unarchive it in Timesketch, then this goes on"
    )]
    Archived(String),
}

/// A job's delivery ended before all was delivered: a sentence that fits behind "failed to".
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct GaveUp(pub String);

/// A job being delivered.
pub(super) struct Delivering<'a> {
    context: &'a Context,
    state: JobState,
    waits: Backoff,
    patience: Patience,
    looks: u32,
    look: Duration,
    /// What following a timeline showed last, and since when it is the same.
    seen: Option<(Seen, Instant)>,
    told: Option<Receipt>,
}

impl<'a> Delivering<'a> {
    pub(super) fn new(context: &'a Context, job: &str) -> Result<Self, FileError> {
        Ok(Self {
            state: context.states.load(job)?,
            waits: Backoff::new(context.seed ^ job.len() as u64),
            patience: Patience::new(context.gives_up),
            looks: 0,
            look: FIRST_LOOK,
            seen: None,
            told: None,
            context,
        })
    }

    /// Does everything that can be done for what stands in the outbox now; false once there is no order any more.
    pub(super) async fn catch_up(&mut self, job: &str) -> Result<bool, GaveUp> {
        loop {
            match self.one_step(job).await {
                Ok(Done::Worked) => {
                    self.waits.reset();
                    self.patience.progress();
                }
                Ok(Done::Waited) => self.check_patience()?,
                Ok(Done::Nothing) => return Ok(true),
                Ok(Done::Gone) => return Ok(false),
                Err(error) => self.after(&error).await?,
            }
        }
    }

    async fn one_step(&mut self, job: &str) -> Result<Done, StepError> {
        let context = self.context;
        let Some(order) = context.outbox.order(job)? else {
            return Ok(Done::Gone);
        };
        let handed = context.outbox.slices(job)?;
        self.state.take_order(&order);
        for one in &handed {
            self.state.slice(one);
        }
        let next = handed
            .iter()
            .find(|one| !self.state.slice(one).stage.is_final());
        let Some(slice) = next else {
            (self.state.waits, self.state.needs) = (None, None);
            self.keep()?;
            self.tell(&handed)?;
            return Ok(Done::Nothing);
        };
        let done = self.work_on(&order, slice, &handed).await;
        if done.is_ok() {
            self.state.needs = None;
        }
        self.keep()?;
        self.tell(&handed)?;
        if matches!(done, Ok(Done::Waited)) {
            sleep(self.look).await;
            self.look = (self.look * 3 / 2).min(LAST_LOOK);
        }
        done
    }

    async fn work_on(
        &mut self,
        order: &Order,
        slice: &HandedSlice,
        handed: &[HandedSlice],
    ) -> Result<Done, StepError> {
        let context = self.context;
        let client = &context.client;
        let sketch = self.sketch(order).await?;
        match course::next(self.state.slice(slice), slice) {
            Step::Remove(timeline) => {
                client.delete_timeline(sketch, timeline).await?;
                self.state.slice(slice).timeline = None;
                Ok(Done::Worked)
            }
            Step::Begin => {
                let id = Context::fresh_id().map_err(StepError::Random)?;
                (self.looks, self.look, self.seen) = (0, FIRST_LOOK, None);
                course::begin(self.state.slice(slice), id, context.chunk_bytes());
                Ok(Done::Worked)
            }
            Step::Send(piece) => self.send(sketch, order, slice, handed, piece).await,
            Step::LookForIt => self.look_for_it(sketch, slice).await,
            Step::Follow(timeline) => self.follow(sketch, slice, timeline).await,
            Step::Nothing => Ok(Done::Worked),
        }
    }

    /// The sketch that the job goes to. One that another agent removed, because several had made it at once, is
    /// looked for again.
    async fn sketch(&mut self, order: &Order) -> Result<u64, StepError> {
        if let Some(sketch) = &self.state.sketch {
            return Ok(sketch.id);
        }
        let context = self.context;
        let name = name::sketch(&context.timesketch.sketch, order.case.as_deref());
        let found = context
            .sketches
            .find(&context.client, &context.timesketch, &name)
            .await?;
        let id = found.id;
        self.state.sketch = Some(found);
        self.keep()?;
        Ok(id)
    }

    async fn send(
        &mut self,
        sketch: u64,
        order: &Order,
        slice: &HandedSlice,
        handed: &[HandedSlice],
        piece: Piece,
    ) -> Result<Done, StepError> {
        let context = self.context;
        let _place = context.places.acquire().await.ok();
        let state = self.state.slice(slice);
        let Some(upload) = &mut state.upload else {
            return Ok(Done::Worked);
        };
        upload.last_begun = piece.is_last();
        let id = upload.id.clone();
        self.state.waits = Some("the storage file is being sent".to_owned());
        self.keep()?;
        let result = self
            .send_and_tell(sketch, order, slice, handed, piece, &id)
            .await;
        let state = self.state.slice(slice);
        match result {
            Ok(ChunkAnswer::Taken) => {
                if let Some(upload) = &mut state.upload {
                    upload.sent = piece.offset + piece.length;
                    upload.last_begun = false;
                }
                Ok(Done::Worked)
            }
            Ok(ChunkAnswer::Complete(timeline, _)) => {
                let link = timeline_link(&context.client, sketch, &timeline);
                course::arrived_in(state, link);
                Ok(Done::Worked)
            }
            Err(error) => after_send(state, error, context.delivery.tries),
        }
    }

    /// Sends a chunk and tells once a second how far it is.
    async fn send_and_tell(
        &mut self,
        sketch: u64,
        order: &Order,
        slice: &HandedSlice,
        handed: &[HandedSlice],
        piece: Piece,
        id: &str,
    ) -> Result<ChunkAnswer, ClientError> {
        let context = self.context;
        let chunk = Chunk {
            file: &context.outbox.storage(&order.job, &slice.name),
            file_size: slice.bytes,
            offset: piece.offset,
            length: piece.length,
            index: piece.index,
            total: piece.total,
            upload: id,
            sketch,
            timeline: &name::timeline(order, slice),
            file_name: &name::file(id, slice),
            data_label: &name::data_label(order),
            provider: PROVIDER,
            context: &name::context(order, slice),
        };
        let sent = AtomicU64::new(0);
        let count = |bytes| sent.store(bytes, Ordering::Relaxed);
        let mut sending = std::pin::pin!(context.client.send_chunk(&chunk, &count));
        let mut looks = tokio::time::interval(TELL);
        looks.reset();
        loop {
            tokio::select! {
                answer = &mut sending => return answer,
                // Dropped and begun anew is fine: it is a clock.
                _ = looks.tick() => {
                    let mut receipt = self.state.receipt(handed);
                    let of = |one: &&mut super::receipt::SliceReceipt| one.name == slice.name;
                    if let Some(one) = receipt.slices.iter_mut().find(of) {
                        one.sent = piece.offset + sent.load(Ordering::Relaxed).min(piece.length);
                    }
                    // What cannot be told now is told with the next step.
                    drop(context.tell(&receipt));
                }
            }
        }
    }

    /// The last chunk got no answer: looks for the storage file, and has the chunk sent again when it is not there.
    async fn look_for_it(&mut self, sketch: u64, slice: &HandedSlice) -> Result<Done, StepError> {
        let client = &self.context.client;
        let timelines = client.timelines(sketch).await?;
        let state = self.state.slice(slice);
        let id = state
            .upload
            .as_ref()
            .map(|upload| upload.id.clone())
            .unwrap_or_default();
        if let Some(timeline) = course::arrived(&timelines, &name::file(&id, slice)) {
            course::arrived_in(state, timeline_link(client, sketch, timeline));
            return Ok(Done::Worked);
        }
        self.looks += 1;
        if self.looks >= MOST_LOOKS {
            self.looks = 0;
            state.stage = super::receipt::Stage::Uploading;
            if let Some(upload) = &mut state.upload {
                upload.last_begun = false;
            }
            return Ok(Done::Worked);
        }
        let why = "the last chunk got no answer; the server is asked whether it arrived";
        self.state.waits = Some(why.to_owned());
        Ok(Done::Waited)
    }

    async fn follow(
        &mut self,
        sketch: u64,
        slice: &HandedSlice,
        timeline: u64,
    ) -> Result<Done, StepError> {
        let most = self.context.delivery.tries;
        let shown = match self.context.client.timeline(sketch, timeline).await {
            Err(error) if error.fault() == Fault::NotFound => {
                let state = self.state.slice(slice);
                state.timeline = None;
                course::failed(
                    state,
                    "the timeline was removed on the server".to_owned(),
                    most,
                );
                return Ok(Done::Worked);
            }
            shown => shown?,
        };
        let state = self.state.slice(slice);
        let id = state
            .upload
            .as_ref()
            .map(|upload| upload.id.clone())
            .unwrap_or_default();
        let seen = course::judge(&shown, &name::file(&id, slice), slice.documents);
        state.found = shown.found;
        match &seen {
            Seen::Proven => {
                (state.stage, state.error) = (super::receipt::Stage::Proven, None);
                return Ok(Done::Worked);
            }
            Seen::Wrong(error) => {
                course::failed(state, error.clone(), most);
                return Ok(Done::Worked);
            }
            Seen::Archived => return Err(StepError::Archived(shown.name)),
            Seen::AtWork(words) => self.state.waits = Some((*words).to_owned()),
            Seen::TooFew(_) => {
                self.state.waits = Some("the last events are awaited in the search".to_owned());
            }
        }
        self.judge_stillness(slice, seen)
    }

    /// A count that grows, or a status that changes, is progress; a count that stands still for long is final.
    fn judge_stillness(&mut self, slice: &HandedSlice, seen: Seen) -> Result<Done, StepError> {
        let now = Instant::now();
        let since = match &self.seen {
            Some((before, since)) if *before == seen => *since,
            _ => {
                self.patience.progress();
                self.seen = Some((seen.clone(), now));
                now
            }
        };
        let Seen::TooFew(found) = seen else {
            return Ok(Done::Waited);
        };
        if now.duration_since(since) < self.context.count_limit() {
            return Ok(Done::Waited);
        }
        let most = self.context.delivery.tries;
        course::short(self.state.slice(slice), found, slice.documents, most);
        Ok(Done::Worked)
    }

    /// What follows an error: a wait, or the end of a command in the foreground.
    async fn after(&mut self, error: &StepError) -> Result<(), GaveUp> {
        let sentence = format!("failed to {}", causes(error));
        let fault = match error {
            StepError::Server(error) => error.fault(),
            StepError::File(_) | StepError::Random(_) => Fault::Passing { after: None },
            StepError::TooSmall(_) | StepError::Archived(_) => Fault::Refused,
        };
        if fault == Fault::NotFound && self.forget_sketch().await {
            return Ok(());
        }
        let wait = match fault {
            Fault::Passing { after } | Fault::Unsure { after } => {
                self.state.waits = Some(format!("{sentence}; it is tried again"));
                self.check_patience()?;
                self.waits.next(after)
            }
            Fault::Credentials | Fault::TooLarge | Fault::NotFound | Fault::Refused => {
                if self.context.gives_up.is_some() {
                    return Err(GaveUp(causes(error)));
                }
                (self.state.waits, self.state.needs) = (None, Some(sentence.clone()));
                LONGEST
            }
        };
        tracing::warn!(
            dfagent_job = self.state.job,
            dfagent_error = sentence,
            "delivery waits"
        );
        if let Ok(handed) = self.context.outbox.slices(&self.state.job) {
            drop(self.tell(&handed));
        }
        self.context.wait(wait).await;
        Ok(())
    }

    /// A sketch that was found by its name, and got nothing of this job yet, is looked for again.
    async fn forget_sketch(&mut self) -> bool {
        let by_name = self.context.timesketch.sketch_id == 0;
        let begun = |slice: &SliceState| slice.timeline.is_some() || slice.stage.is_final();
        let untouched = !self.state.slices.values().any(begun);
        match self.state.sketch.take() {
            Some(sketch) if by_name && untouched => {
                self.context.sketches.forget(sketch.id).await;
                true
            }
            sketch => {
                self.state.sketch = sketch;
                false
            }
        }
    }

    fn check_patience(&self) -> Result<(), GaveUp> {
        if !self.patience.is_over() {
            return Ok(());
        }
        let waits = self.state.waits.as_deref().unwrap_or("nothing moves");
        Err(GaveUp(format!(
            "deliver {}: {waits}, and there was no progress for {} seconds; what is done is kept, call the same \
             command again to go on",
            self.state.job,
            self.context.gives_up.unwrap_or_default().as_secs()
        )))
    }

    fn keep(&self) -> Result<(), FileError> {
        self.context.states.keep(&self.state)
    }

    fn tell(&mut self, handed: &[HandedSlice]) -> Result<(), FileError> {
        let receipt = self.state.receipt(handed);
        let same = self.told.as_ref().is_some_and(|told| same(told, &receipt));
        if !same {
            self.context.tell(&receipt)?;
            self.told = Some(receipt);
        }
        Ok(())
    }
}

/// What a step came to.
#[derive(Debug)]
enum Done {
    /// It got on.
    Worked,
    /// It has to look again.
    Waited,
    /// There is nothing to do now.
    Nothing,
    /// There is no order any more.
    Gone,
}

/// Whether two receipts differ in nothing but the moment.
fn same(one: &Receipt, other: &Receipt) -> bool {
    let at = other.at.clone();
    Receipt { at, ..one.clone() } == *other
}

fn timeline_link(client: &Client, sketch: u64, timeline: &Timeline) -> Link {
    Link {
        id: timeline.id,
        name: timeline.name.clone(),
        url: format!(
            "{}/sketch/{sketch}/explore?timeline={}",
            client.base(),
            timeline.id
        ),
    }
}

/// What an error means for the upload: only where the server certainly did nothing is the last chunk not looked for.
fn after_send(
    state: &mut SliceState,
    error: ClientError,
    most_tries: u32,
) -> Result<Done, StepError> {
    match error.fault() {
        Fault::TooLarge => {
            course::halve(state)?;
            Ok(Done::Worked)
        }
        Fault::Unsure { .. } => Err(error.into()),
        // Such as a file that is not as long as the server was told: its part of the upload cannot be mended.
        Fault::Refused if matches!(error, ClientError::Refused { .. }) => {
            course::failed(state, causes(&error), most_tries);
            Ok(Done::Worked)
        }
        _ => {
            if let Some(upload) = &mut state.upload {
                upload.last_begun = false;
            }
            Err(error.into())
        }
    }
}
