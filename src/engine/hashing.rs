//! A source's fingerprint, taken away from the thread that watches the cages.

use std::sync::Arc;

use super::filesystem::system;
use super::job::LOOK;
use super::{EngineError, Progress, Talk};
use crate::evidence::fingerprint::{Fingerprint, Watch};
use crate::evidence::source::Source;

/// Takes it; none for a folder. The job is alive as long as bytes come from the source. Dropped, it lets go of the source
/// soon.
pub(super) async fn fingerprint_of(
    source: &Arc<Source>,
    full: bool,
    talk: &Talk,
) -> Result<Option<Fingerprint>, EngineError> {
    let leave = LeaveWhenDropped(Arc::default());
    let (source, watch) = (Arc::clone(source), Arc::clone(&leave.0));
    let mut taken = tokio::task::spawn_blocking(move || source.fingerprint(full, &watch));
    let mut looks = tokio::time::interval(LOOK);
    let mut read = 0;
    let taken = loop {
        tokio::select! {
            taken = &mut taken => break taken,
            _ = looks.tick() => {
                let before = std::mem::replace(&mut read, leave.0.read());
                if read > before {
                    talk.tell(Progress::Alive);
                }
            }
        }
    };
    taken
        .map_err(|error| system("take the fingerprint", std::io::Error::other(error)))?
        .map_err(EngineError::Read)
}

/// Tells the thread that nobody waits for it any more.
struct LeaveWhenDropped(Arc<Watch>);

impl Drop for LeaveWhenDropped {
    fn drop(&mut self) {
        self.0.leave();
    }
}
