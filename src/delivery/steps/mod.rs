//! Drives one job's slices, one step at a time: looks at what is on disk, does what [`course`] says, keeps what came
//! of it. Each step can be done once more, so a kill, a restart and a fault of the network are all the same to it.

mod follow;
mod send;

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::course::{self, Seen, Step, TooSmall};
use super::order::{HandedSlice, Order};
use super::patience::{Backoff, LONGEST, Patience};
use super::receipt::{Link, Receipt, Stage};
use super::service::Context;
use super::state::{JobState, SliceState};
use crate::durable::FileError;
use crate::printable::causes;
use crate::timesketch::{Client, ClientError, Fault, Timeline};

/// Asking a timeline for its count makes OpenSearch refresh, so the first looks come soon and later ones seldom: what
/// is waited for is seen a quarter later than it was there, and at most five seconds.
const FIRST_LOOK: Duration = Duration::from_secs(1);
const LAST_LOOK: Duration = Duration::from_secs(5);

/// How soon a changed password is noticed.
const SECRET: Duration = Duration::from_secs(2);

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
    kept: Option<JobState>,
    told: Option<Receipt>,
    furthest: Option<Mark>,
}

/// How far a slice is: its name, its try, its stage, bytes that the server has.
type Mark = (String, u32, Stage, u64);

/// What is sent where.
#[derive(Clone, Copy)]
struct Target<'a> {
    sketch: u64,
    order: &'a Order,
    slice: &'a HandedSlice,
    handed: &'a [HandedSlice],
}

impl Target<'_> {
    fn link(&self, client: &Client, timeline: &Timeline) -> Link {
        let (base, sketch, id) = (client.base(), self.sketch, timeline.id);
        Link {
            id,
            name: timeline.name.clone(),
            url: format!("{base}/sketch/{sketch}/explore?timeline={id}"),
        }
    }
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
            kept: None,
            told: None,
            furthest: None,
            context,
        })
    }

    /// Does everything that can be done for what stands in the outbox now; false once there is no order any more.
    pub(super) async fn catch_up(&mut self, job: &str) -> Result<bool, GaveUp> {
        loop {
            match self.one_step(job).await {
                Ok(Done::Worked | Done::Waited) => self.check_patience()?,
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
        let (order, sketch) = context.tagged(order);
        let handed = context.outbox.slices(job)?;
        self.state.take_order(&order, context.client.base());
        for one in &handed {
            self.state.slice(one);
        }
        let next = handed
            .iter()
            .find(|one| !self.state.slice(one).stage.is_final());
        let Some(slice) = next else {
            if order.closed.is_none() {
                // The first slice finds its sketch there.
                self.sketch(&sketch).await?;
            }
            (self.state.waits, self.state.needs) = (None, None);
            self.keep()?;
            self.tell(&handed)?;
            return Ok(Done::Nothing);
        };
        let done = self.work_on(&order, &sketch, slice, &handed).await;
        if done.is_ok() {
            self.state.needs = None;
            self.mark(slice);
        }
        self.keep()?;
        self.tell(&handed)?;
        if matches!(done, Ok(Done::Waited)) {
            sleep(self.look).await;
            self.look = (self.look * 5 / 4).min(LAST_LOOK);
        }
        done
    }

    async fn work_on(
        &mut self,
        order: &Order,
        sketch: &str,
        slice: &HandedSlice,
        handed: &[HandedSlice],
    ) -> Result<Done, StepError> {
        let context = self.context;
        let target = Target {
            sketch: self.sketch(sketch).await?,
            order,
            slice,
            handed,
        };
        match course::next(self.state.slice(slice), slice) {
            Step::Remove(timeline) => {
                context
                    .client
                    .delete_timeline(target.sketch, timeline)
                    .await?;
                self.state.slice(slice).timeline = None;
            }
            Step::Begin => {
                let id = Context::fresh_id().map_err(StepError::Random)?;
                (self.looks, self.look, self.seen) = (0, FIRST_LOOK, None);
                course::begin(self.state.slice(slice), id, context.chunk_bytes());
            }
            Step::Send(piece) => return self.send(&target, piece).await,
            Step::LookForIt => return self.look_for_it(&target).await,
            Step::Follow(timeline) => return self.follow(&target, timeline).await,
            Step::Nothing => {}
        }
        Ok(Done::Worked)
    }

    /// Only getting further is progress: what goes round in circles ends with patience.
    fn mark(&mut self, slice: &HandedSlice) {
        let state = self.state.slice(slice);
        let sent = state.upload.as_ref().map_or(0, |upload| upload.sent);
        let mark = (slice.name.clone(), state.tries, state.stage, sent);
        if self
            .furthest
            .as_ref()
            .is_none_or(|furthest| mark > *furthest)
        {
            self.furthest = Some(mark);
            self.waits.reset();
            self.patience.progress();
        }
    }

    /// The sketch that the job goes to. One that another agent removed, because several had made it at once, is
    /// looked for again.
    async fn sketch(&mut self, name: &str) -> Result<u64, StepError> {
        if let Some(sketch) = &self.state.sketch {
            return Ok(sketch.id);
        }
        let context = self.context;
        let found = context
            .sketches
            .find(&context.client, &context.timesketch, name)
            .await?;
        let id = found.id;
        self.state.sketch = Some(found);
        self.keep()?;
        Ok(id)
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
        self.wait(wait).await;
        Ok(())
    }

    /// Waits; a changed password ends the wait for one.
    async fn wait(&self, time: Duration) {
        let until = Instant::now() + time;
        let locked_out = self.context.client.is_locked_out().await;
        while locked_out && Instant::now() < until {
            self.context.wait(SECRET).await;
            if !self.context.client.is_locked_out().await {
                return;
            }
        }
        self.context
            .wait(until.saturating_duration_since(Instant::now()))
            .await;
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

    fn keep(&mut self) -> Result<(), FileError> {
        if self.kept.as_ref() != Some(&self.state) {
            self.context.states.keep(&self.state)?;
            self.kept = Some(self.state.clone());
        }
        Ok(())
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
