//! Taking away what a stream left that was given up: its timeline, and the index with its documents.

use super::{Delivering, Done, StepError};
use crate::delivery::order::{HandedSlice, Order};
use crate::delivery::state::Left;
use crate::durable;

impl Delivering<'_> {
    /// Removes what is left, one thing after the other, and says so when a cancelled job has left nothing.
    pub(super) async fn remove_left(
        &mut self,
        order: &Order,
        handed: &[HandedSlice],
    ) -> Result<Done, StepError> {
        // What is to be removed is on disk before it is removed, under names that nothing uses any more.
        self.keep()?;
        while let Some(left) = self.state.left.first().cloned() {
            self.remove(&left).await?;
            self.state.left.remove(0);
            self.keep()?;
        }
        if !order.cancelled {
            return Ok(Done::Worked);
        }
        if self.state.removed != Some(true) {
            self.state.removed = Some(true);
            durable::remove_folder(&self.context.rejected_of(&order.job))?;
        }
        (self.state.waits, self.state.needs) = (None, None);
        self.keep()?;
        self.tell(handed)?;
        Ok(Done::Nothing)
    }

    /// The timeline first, so that no sketch shows one without an index.
    async fn remove(&self, left: &Left) -> Result<(), StepError> {
        if let (Some(sketch), Some(timeline)) = (left.sketch, left.timeline) {
            let client = self.timesketch()?;
            client.delete_timeline(sketch, timeline).await?;
        }
        self.opensearch()?.delete_index(&left.index).await?;
        Ok(())
    }
}
