//! Drives one job's slices, one step at a time: looks at what is on disk, does what [`course`] says, keeps what came
//! of it. Each step can be done once more, so a kill, a restart and a fault of the network are all the same to it.

mod follow;
mod remove;
mod send;
mod ship;
mod stream;

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::course::{self, Seen, Step, TooSmall};
use super::order::{HandedSlice, How, Order};
use super::patience::{Backoff, LONGEST, Patience};
use super::receipt::{Link, Receipt, Stage};
use super::service::Context;
use super::state::{JobState, SliceState};
use crate::durable::FileError;
use crate::opensearch::{self, ShipError};
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
    #[error(transparent)]
    Opensearch(#[from] opensearch::ClientError),
    #[error(transparent)]
    Ship(ShipError),
    #[error("send documents: OpenSearch takes none at the moment")]
    Stuck,
    #[error("deliver: {0}")]
    Unset(&'static str),
    #[error(
        "deliver to the index {index}: Timesketch at {server} does not see it as it is; is [opensearch] url the \
         OpenSearch that it uses?"
    )]
    OtherOpensearch { index: String, server: String },
    #[error(
        "prove what was sent: Timesketch finds {found} of {expected} events that OpenSearch has; its log may say why"
    )]
    Unlike { found: u64, expected: u64 },
}

impl StepError {
    fn fault(&self) -> Fault {
        match self {
            Self::Server(error) => error.fault(),
            Self::Opensearch(error) | Self::Ship(ShipError::Client(error)) => error.fault(),
            Self::File(_)
            | Self::Random(_)
            | Self::Stuck
            | Self::Ship(ShipError::Gone(_) | ShipError::File(_) | ShipError::System { .. }) => {
                Fault::Passing { after: None }
            }
            Self::TooSmall(_)
            | Self::Archived(_)
            | Self::Unset(_)
            | Self::OtherOpensearch { .. }
            | Self::Unlike { .. }
            | Self::Ship(ShipError::Full(_)) => Fault::Refused,
        }
    }
}

const NO_TIMESKETCH: StepError =
    StepError::Unset("no Timesketch is configured; set [timesketch] url");

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
    /// What Timesketch finds less or more than OpenSearch, and since when it is the same.
    unlike: Option<(u64, Instant)>,
    kept: Option<JobState>,
    told: Option<Receipt>,
    furthest: Option<(Option<u32>, Vec<Mark>)>,
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
            unlike: None,
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
        self.state.take_order(&order, context.settings.server());
        if order.cancelled || !self.state.left.is_empty() {
            return self.remove_left(&order, &handed).await;
        }
        for one in &handed {
            self.state.slice(one);
        }
        let done = match order.way.how {
            How::Upload => self.upload(&order, &sketch, &handed).await,
            How::Stream => self.stream(&order, &sketch, &handed).await,
        };
        if let Ok(Done::Nothing) = done {
            if order.closed.is_none() {
                // The first slice finds its sketch there.
                self.sketch(&sketch).await?;
            }
            (self.state.waits, self.state.needs) = (None, None);
        }
        if done.is_ok() {
            self.state.needs = None;
            self.mark(&handed);
        }
        self.keep()?;
        self.tell(&handed)?;
        if matches!(done, Ok(Done::Waited)) {
            sleep(self.look).await;
            self.look = (self.look * 5 / 4).min(LAST_LOOK);
        }
        done
    }

    /// A step of a job whose storage files are uploaded.
    async fn upload(
        &mut self,
        order: &Order,
        sketch: &str,
        handed: &[HandedSlice],
    ) -> Result<Done, StepError> {
        let next = handed
            .iter()
            .find(|one| !self.state.slice(one).stage.is_final());
        let Some(slice) = next else {
            return Ok(Done::Nothing);
        };
        let Some(sketch) = self.sketch(sketch).await? else {
            return Err(NO_TIMESKETCH);
        };
        let target = Target {
            sketch,
            order,
            slice,
            handed,
        };
        self.work_on(&target).await
    }

    async fn work_on(&mut self, target: &Target<'_>) -> Result<Done, StepError> {
        let (context, slice) = (self.context, target.slice);
        match course::next(self.state.slice(slice), slice) {
            Step::Remove(timeline) => {
                let client = self.timesketch()?;
                client.delete_timeline(target.sketch, timeline).await?;
                self.state.slice(slice).timeline = None;
            }
            Step::Begin => {
                let id = Context::fresh_id().map_err(StepError::Random)?;
                (self.looks, self.look, self.seen) = (0, FIRST_LOOK, None);
                course::begin(self.state.slice(slice), id, context.chunk_bytes());
            }
            Step::Send(piece) => return self.send(target, piece).await,
            Step::LookForIt => return self.look_for_it(target).await,
            Step::Follow(timeline) => return self.follow(target, timeline).await,
            Step::Nothing => {}
        }
        Ok(Done::Worked)
    }

    /// Timesketch, which is needed for what is done now.
    fn timesketch(&self) -> Result<&'a Client, StepError> {
        self.context.timesketch().ok_or(NO_TIMESKETCH)
    }

    /// Only getting further is progress: what goes round in circles ends with patience.
    fn mark(&mut self, handed: &[HandedSlice]) {
        let generation = self.state.stream.as_ref().map(|one| one.generation);
        let state = |one: &HandedSlice| {
            let state = self.state.slices.get(&one.name)?;
            let uploaded = state.upload.as_ref().map(|upload| upload.sent);
            let streamed = state.position.map(|position| position.offset);
            let sent = uploaded.or(streamed).unwrap_or_default();
            Some((one.name.clone(), state.tries, state.stage, sent))
        };
        let all: Vec<Mark> = handed.iter().filter_map(state).collect();
        let before = self.furthest.as_ref();
        if before.is_none_or(|before| (generation, &all) > (before.0, &before.1)) {
            self.furthest = Some((generation, all));
            self.waits.reset();
            self.patience.progress();
        }
    }

    /// The sketch that the job goes to; none without Timesketch. One that another agent removed, because several had
    /// made it at once, is looked for again.
    async fn sketch(&mut self, name: &str) -> Result<Option<u64>, StepError> {
        if let Some(sketch) = &self.state.sketch {
            return Ok(Some(sketch.id));
        }
        let context = self.context;
        let Some(client) = context.timesketch() else {
            return Ok(None);
        };
        let settings = &context.settings.timesketch;
        let found = context.sketches.find(client, settings, name).await?;
        let id = found.id;
        self.state.sketch = Some(found);
        self.keep()?;
        Ok(Some(id))
    }

    /// What follows an error: a wait, or the end of a command in the foreground.
    async fn after(&mut self, error: &StepError) -> Result<(), GaveUp> {
        let sentence = format!("failed to {}", causes(error));
        let fault = error.fault();
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
        let locked_out = self.is_locked_out().await;
        while locked_out && Instant::now() < until {
            self.context.wait(SECRET).await;
            if !self.is_locked_out().await {
                return;
            }
        }
        self.context
            .wait(until.saturating_duration_since(Instant::now()))
            .await;
    }

    async fn is_locked_out(&self) -> bool {
        match self.context.timesketch() {
            Some(client) => client.is_locked_out().await,
            None => false,
        }
    }

    /// A sketch that was found by its name, and got nothing of this job yet, is looked for again.
    async fn forget_sketch(&mut self) -> bool {
        let by_name = self.context.settings.timesketch.sketch_id == 0;
        let begun = |slice: &SliceState| slice.timeline.is_some() || slice.stage.is_final();
        let stream = self.state.stream.as_ref();
        let streams = stream.is_some_and(|one| one.timeline.is_some() || one.generation > 0);
        let untouched = !streams && !self.state.slices.values().any(begun);
        match self.state.sketch.take() {
            Some(sketch) if by_name && untouched => {
                self.context.sketches.forget(sketch.id).await;
                // The name of the index has the sketch in it.
                self.state.leave_stream();
                self.state.stream = None;
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
