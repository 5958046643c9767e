//! Sending the documents of a slice, and telling how far they are.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::{Delivering, Done, FIRST_LOOK, StepError};
use crate::delivery::name;
use crate::delivery::order::{HandedSlice, Order};
use crate::delivery::receipt::Stage;
use crate::durable;
use crate::opensearch::{Position, Progress, ShipError, Shipment, ship};

/// How often it is written down and told how far documents are. What was sent after it is sent again after a kill, and
/// changes nothing.
const TELL: Duration = Duration::from_secs(1);

/// Documents on their way.
type Sending<'a> = Pin<Box<dyn Future<Output = Result<Position, ShipError>> + Send + 'a>>;

/// What the sender said last.
#[derive(Default)]
struct Said {
    position: Position,
    waits: Option<String>,
}

impl Delivering<'_> {
    /// Sends the documents of a slice from where they are, until OpenSearch has answered for all of them.
    pub(super) async fn ship(
        &mut self,
        order: &Order,
        slice: &HandedSlice,
        handed: &[HandedSlice],
    ) -> Result<Done, StepError> {
        let context = self.context;
        let client = self.opensearch()?;
        let _place = context.places.acquire().await.ok();
        let (index, alone_first, timeline) = {
            let stream = self.stream_state();
            let timeline = stream.timeline.clone();
            (stream.index.clone(), !stream.begun, timeline)
        };
        let state = self.state.slice(slice);
        if state.stage != Stage::Uploading || state.position.is_none() {
            state.tries += 1;
            state.stage = Stage::Uploading;
            state.position = Some(Position::default());
        }
        let from = state.position.unwrap_or_default();
        state.timeline.clone_from(&timeline);
        self.state.waits = Some("documents are being sent".to_owned());
        self.look = FIRST_LOOK;
        self.keep()?;
        self.tell(handed)?;
        let labels = match order.way.labels {
            true => name::labels(order, slice),
            false => Vec::new(),
        };
        let rejected = context.rejected(&order.job, &slice.name);
        durable::make_folder(&context.rejected_of(&order.job))?;
        if from.offset == 0 {
            // Of an earlier try.
            durable::remove_file(&rejected)?;
        }
        let shipment = Shipment {
            index: &index,
            documents: &context.outbox.file(&order.job, slice),
            from,
            timeline: timeline.as_ref().map(|timeline| timeline.id),
            labels: &labels,
            slice: &slice.name,
            rejected: &rejected,
            alone_first,
        };
        let said = Mutex::new(Said {
            position: from,
            waits: None,
        });
        let hear = |progress: Progress| {
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            said.position = progress.position;
            said.waits = progress.waits;
        };
        let sending: Sending<'_> = Box::pin(ship(client, &context.pace, &shipment, &hear));
        let sent = self.follow_sending(sending, &said, slice, handed).await;
        match sent {
            Ok(position) => {
                self.arrive_at(slice, position);
                self.state.slice(slice).stage = Stage::Indexing;
                Ok(Done::Worked)
            }
            Err(StepError::Ship(ShipError::Gone(_))) => self.after_gone().await,
            Err(error) => Err(error),
        }
    }

    /// Writes down and tells once a second how far it is.
    async fn follow_sending(
        &mut self,
        mut sending: Sending<'_>,
        said: &Mutex<Said>,
        slice: &HandedSlice,
        handed: &[HandedSlice],
    ) -> Result<Position, StepError> {
        let mut looks = interval(TELL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.reset();
        let (begun, from) = (Instant::now(), documents(said));
        loop {
            let ended = tokio::select! {
                sent = &mut sending => Some(sent),
                // Dropped and begun anew is fine: it is a clock.
                _ = looks.tick() => None,
            };
            let (position, waits) = {
                let said = said.lock().unwrap_or_else(PoisonError::into_inner);
                (said.position, said.waits.clone())
            };
            self.arrive_at(slice, position);
            let seconds = begun.elapsed().as_secs_f64();
            let sent = position.documents.saturating_sub(from);
            let pace = (sent as f64 / seconds.max(0.001)).round();
            self.state.slice(slice).pace = (sent > 0).then_some(pace);
            if let Some(sent) = ended {
                return sent.map_err(StepError::Ship);
            }
            self.state.waits = waits.or_else(|| Some("documents are being sent".to_owned()));
            self.mark(handed);
            self.keep()?;
            self.tell(handed)?;
            if self.patience.is_over() {
                // What is under way is broken off, and the next step says that there is no patience left.
                return Err(StepError::Stuck);
            }
        }
    }

    fn arrive_at(&mut self, slice: &HandedSlice, position: Position) {
        self.state.slice(slice).position = Some(position);
        if position.documents > 0 {
            self.stream_state().begun = true;
        }
    }
}

fn documents(said: &Mutex<Said>) -> u64 {
    let said = said.lock().unwrap_or_else(PoisonError::into_inner);
    said.position.documents
}
