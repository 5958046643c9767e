//! Following what the server makes of a storage file, until exactly its events are found.

use std::time::Instant;

use super::{Delivering, Done, FIRST_LOOK, StepError, Target};
use crate::delivery::course::{self, Seen};
use crate::delivery::name;
use crate::delivery::order::HandedSlice;
use crate::delivery::receipt::Stage;
use crate::timesketch::Fault;

/// The server's work ended, and it does not say why.
const DIED: &str = "the server's task ended with an error that it does not show; the log of its worker has it \
                    (was OpenSearch away?)";

impl Delivering<'_> {
    /// Looks once at the timeline of a slice.
    pub(super) async fn follow(
        &mut self,
        target: &Target<'_>,
        timeline: u64,
    ) -> Result<Done, StepError> {
        let most = self.context.tries();
        let slice = target.slice;
        let client = self.timesketch()?;
        let shown = match client.timeline(target.sketch, timeline).await {
            Err(error) if error.fault() == Fault::NotFound => {
                let state = self.state.slice(slice);
                state.timeline = None;
                let why = "the timeline was removed on the server";
                course::failed(state, why.to_owned(), most);
                return Ok(Done::Worked);
            }
            shown => shown?,
        };
        let file = name::file(&self.state.slice(slice).upload_id(), slice);
        let mut seen = course::judge(&shown, &file, slice.documents);
        if matches!(seen, Seen::AtWork(_)) && self.has_died(slice).await? {
            // It may have said why just before it ended.
            let last = client.timeline(target.sketch, timeline).await?;
            seen = match course::judge(&last, &file, slice.documents) {
                Seen::AtWork(_) => Seen::Wrong(DIED.to_owned()),
                seen => seen,
            };
        }
        let state = self.state.slice(slice);
        state.found = shown.found;
        let words = match &seen {
            Seen::Proven => {
                (state.stage, state.error) = (Stage::Proven, None);
                return Ok(Done::Worked);
            }
            Seen::Wrong(error) => {
                course::failed(state, error.clone(), most);
                return Ok(Done::Worked);
            }
            Seen::Archived => return Err(StepError::Archived(shown.name)),
            Seen::AtWork(words) => words,
            Seen::TooFew(_) => "the last events are awaited in the search",
        };
        self.state.waits = Some(words.to_owned());
        Ok(self.judge_stillness(slice, seen))
    }

    /// Whether the server's work on the file ended with an error. Timesketch then does not always say so at the
    /// timeline: where OpenSearch does not answer, the file seems to wait for a worker for ever.
    async fn has_died(&mut self, slice: &HandedSlice) -> Result<bool, StepError> {
        let upload = self.state.slice(slice).upload.as_ref();
        let Some(task) = upload.and_then(|upload| upload.task.clone()) else {
            return Ok(false);
        };
        Ok(self.timesketch()?.has_task_failed(&task).await?)
    }

    /// A count that grows, or a status that changes, is progress; a count that stands still for long is final.
    fn judge_stillness(&mut self, slice: &HandedSlice, seen: Seen) -> Done {
        let now = Instant::now();
        let since = match &self.seen {
            Some((before, since)) if *before == seen => *since,
            _ => {
                self.patience.progress();
                self.seen = Some((seen.clone(), now));
                if matches!(seen, Seen::TooFew(_)) {
                    // The last refresh is a second or two away.
                    self.look = FIRST_LOOK;
                }
                now
            }
        };
        let Seen::TooFew(found) = seen else {
            return Done::Waited;
        };
        if now.duration_since(since) < self.context.count_limit() {
            return Done::Waited;
        }
        let most = self.context.tries();
        course::short(self.state.slice(slice), found, slice.documents, most);
        Done::Worked
    }
}
