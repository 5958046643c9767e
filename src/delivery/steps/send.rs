//! Sending a storage file, chunk by chunk, and finding out what became of a last chunk that got no answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Delivering, Done, StepError, Target};
use crate::delivery::course::{self, Piece};
use crate::delivery::name;
use crate::delivery::receipt::{SliceReceipt, Stage};
use crate::delivery::state::SliceState;
use crate::printable::causes;
use crate::timesketch::{Chunk, ChunkAnswer, Client, ClientError, Fault};

/// How often a storage file whose last chunk got no answer is looked for before that chunk is sent again: some
/// fifteen seconds in all.
const MOST_LOOKS: u32 = 8;

/// How often an upload's progress is told.
const TELL: Duration = Duration::from_secs(1);

/// Who shows in the sketch as the source of the data.
pub(super) const PROVIDER: &str = "dfagent";

impl Delivering<'_> {
    /// Sends a chunk. What is intended is on disk before, what came of it after.
    pub(super) async fn send(
        &mut self,
        target: &Target<'_>,
        piece: Piece,
    ) -> Result<Done, StepError> {
        let context = self.context;
        let client = self.timesketch()?;
        let _place = context.places.acquire().await.ok();
        if let Some(upload) = &mut self.state.slice(target.slice).upload {
            upload.last_begun = piece.is_last();
        }
        self.state.waits = Some("the storage file is being sent".to_owned());
        self.keep()?;
        let answer = self.send_and_tell(client, target, piece).await;
        let state = self.state.slice(target.slice);
        match answer {
            Ok(ChunkAnswer::Taken) => {
                if let Some(upload) = &mut state.upload {
                    upload.sent = piece.offset + piece.length;
                    upload.last_begun = false;
                }
                Ok(Done::Worked)
            }
            Ok(ChunkAnswer::Complete(timeline, task)) => {
                if let Some(upload) = &mut state.upload {
                    upload.task = Some(task).filter(|task| !task.is_empty());
                }
                course::arrived_in(state, target.link(client, &timeline));
                Ok(Done::Worked)
            }
            Err(error) => after_send(state, error, context.tries()),
        }
    }

    /// Sends a chunk and tells once a second how far it is.
    async fn send_and_tell(
        &mut self,
        client: &Client,
        target: &Target<'_>,
        piece: Piece,
    ) -> Result<ChunkAnswer, ClientError> {
        let context = self.context;
        let Target {
            sketch,
            order,
            slice,
            ..
        } = *target;
        let id = self.state.slice(slice).upload_id();
        let chunk = Chunk {
            file: &context.outbox.file(&order.job, slice),
            file_size: slice.bytes,
            offset: piece.offset,
            length: piece.length,
            index: piece.index,
            total: piece.total,
            upload: &id,
            sketch,
            timeline: &name::timeline(order, slice),
            file_name: &name::file(&id, slice),
            data_label: &name::data_label(order),
            provider: PROVIDER,
            context: &name::context(order, slice),
        };
        let sent = AtomicU64::new(0);
        let count = |bytes| sent.store(bytes, Ordering::Relaxed);
        let mut sending = std::pin::pin!(client.send_chunk(&chunk, &count));
        let mut looks = tokio::time::interval(TELL);
        looks.reset();
        loop {
            tokio::select! {
                answer = &mut sending => return answer,
                // Dropped and begun anew is fine: it is a clock.
                _ = looks.tick() => {
                    let sent = sent.load(Ordering::Relaxed).min(piece.length);
                    self.tell_sent(target, piece.offset + sent);
                }
            }
        }
    }

    /// What cannot be told now is told with the next step.
    fn tell_sent(&self, target: &Target<'_>, sent: u64) {
        let mut receipt = self.state.receipt(target.handed);
        let of = |one: &&mut SliceReceipt| one.name == target.slice.name;
        if let Some(one) = receipt.slices.iter_mut().find(of) {
            one.sent = sent;
        }
        drop(self.context.tell(&receipt));
    }

    /// The last chunk got no answer: looks for the storage file, and has the chunk sent again when it is not there.
    pub(super) async fn look_for_it(&mut self, target: &Target<'_>) -> Result<Done, StepError> {
        let client = self.timesketch()?;
        let timelines = client.timelines(target.sketch).await?;
        let state = self.state.slice(target.slice);
        let file = name::file(&state.upload_id(), target.slice);
        if let Some(timeline) = course::arrived(&timelines, &file) {
            course::arrived_in(state, target.link(client, timeline));
            return Ok(Done::Worked);
        }
        self.looks += 1;
        if self.looks >= MOST_LOOKS {
            self.looks = 0;
            state.stage = Stage::Uploading;
            if let Some(upload) = &mut state.upload {
                upload.last_begun = false;
            }
            return Ok(Done::Worked);
        }
        let why = "the last chunk got no answer; the server is asked whether it arrived";
        self.state.waits = Some(why.to_owned());
        Ok(Done::Waited)
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
