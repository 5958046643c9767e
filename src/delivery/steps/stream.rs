//! The steps of a job whose documents go into OpenSearch: the index, the timeline that shows it, the documents, the
//! proof. Names are the same whenever they are made, so each of these can be done once more.

use std::time::Instant;

use super::send::PROVIDER;
use super::{Delivering, Done, FIRST_LOOK, StepError};
use crate::delivery::name;
use crate::delivery::order::{HandedSlice, Order};
use crate::delivery::receipt::Link;
use crate::delivery::state::{Described, StreamState};
use crate::delivery::streaming::{self, Act, Counts, Proof};
use crate::opensearch::{self, mapping};
use crate::timesketch::{Datasource, Description, Fault, Timeline, TimelineStatus};

const NO_OPENSEARCH: StepError =
    StepError::Unset("no OpenSearch is configured; set [opensearch] url");

/// A field that only an index has that was made with our mapping.
const OURS: &str = "message";

/// What became of the timeline, when somebody took it away.
const REMOVED: &str = "the timeline was removed on the server";

impl<'a> Delivering<'a> {
    /// OpenSearch, which is needed for what is done now.
    pub(super) fn opensearch(&self) -> Result<&'a opensearch::Client, StepError> {
        self.context.opensearch().ok_or(NO_OPENSEARCH)
    }

    /// A step of a job that is streamed.
    pub(super) async fn stream(
        &mut self,
        order: &Order,
        sketch: &str,
        handed: &[HandedSlice],
    ) -> Result<Done, StepError> {
        let with_timesketch = self.context.timesketch().is_some();
        let act = streaming::next(&self.state, handed, with_timesketch, order.closed.is_some());
        match act {
            Act::Nothing => return Ok(Done::Nothing),
            Act::Make => {
                let sketch = self.sketch(sketch).await?;
                self.make_index(order, sketch).await?;
            }
            Act::Know => self.make_known(order, handed).await?,
            Act::Attach(index) => self.attach(order, handed, index).await?,
            Act::Describe => self.describe(order, handed).await?,
            Act::Ship(slice) => {
                if let Some(slice) = handed.iter().find(|one| one.name == slice) {
                    return self.ship(order, slice, handed).await;
                }
            }
            Act::Prove => return self.prove(handed).await,
        }
        Ok(Done::Worked)
    }

    /// The stream, begun if there is none yet.
    pub(super) fn stream_state(&mut self) -> &mut StreamState {
        self.state.stream.get_or_insert_default()
    }

    async fn make_index(&mut self, order: &Order, sketch: Option<u64>) -> Result<(), StepError> {
        let client = self.opensearch()?;
        let settings = &self.context.settings;
        let (prefix, server) = (&settings.opensearch.index_prefix, settings.server());
        let generation = self.stream_state().generation;
        let index = name::index(prefix, server, sketch.unwrap_or(0), order, generation);
        self.stream_state().index.clone_from(&index);
        self.keep()?;
        let body = mapping::index_body(order.way.labels);
        client.create_index(&index, &body).await?;
        self.stream_state().made = true;
        Ok(())
    }

    /// Timesketch has to see the index as it was made: it makes one itself in whatever OpenSearch it uses.
    async fn make_known(&mut self, order: &Order, handed: &[HandedSlice]) -> Result<(), StepError> {
        let client = self.timesketch()?;
        let index = self.stream_state().index.clone();
        let known = client.know_index(&index, &title(order, handed)).await?;
        if known.deleted {
            streaming::anew(&mut self.state, REMOVED, self.context.tries());
            return Ok(());
        }
        let fields = client.index_fields(known.id).await?;
        if !fields.iter().any(|field| field == OURS) {
            let server = client.base().to_owned();
            return Err(StepError::OtherOpensearch { index, server });
        }
        client.open_index(known.id).await?;
        self.stream_state().known_as = Some(known.id);
        Ok(())
    }

    async fn attach(
        &mut self,
        order: &Order,
        handed: &[HandedSlice],
        index: u64,
    ) -> Result<(), StepError> {
        let client = self.timesketch()?;
        let Some(sketch) = self.state.sketch.as_ref().map(|sketch| sketch.id) else {
            return Ok(());
        };
        let timeline = client.attach(sketch, index, &title(order, handed)).await?;
        let (base, id) = (client.base(), timeline.id);
        self.stream_state().timeline = Some(Link {
            id,
            name: timeline.name,
            url: format!("{base}/sketch/{sketch}/explore?timeline={id}"),
        });
        Ok(())
    }

    /// Says beside the timeline where it is from, and, when the job has ended, which manifest vouches for it.
    async fn describe(&mut self, order: &Order, handed: &[HandedSlice]) -> Result<(), StepError> {
        let Some((sketch, timeline)) = self.shown_in() else {
            return Ok(());
        };
        let client = self.timesketch()?;
        let index = self.stream_state().index.clone();
        let first = handed.first().cloned().unwrap_or_default();
        let context = name::whole_context(order, &first, &index);
        let shown = match client.timeline(sketch, timeline).await {
            Err(error) if error.fault() == Fault::NotFound => {
                streaming::anew(&mut self.state, REMOVED, self.context.tries());
                return Ok(());
            }
            shown => shown?,
        };
        match ours(&shown, &index) {
            Some(there) => client.describe_anew(sketch, there.id, &context).await?,
            None => {
                let description = Description {
                    provider: PROVIDER,
                    context: &context,
                    file_name: &index,
                    data_label: &name::data_label(order),
                };
                client.describe(sketch, timeline, description).await?;
            }
        }
        self.stream_state().described = match order.closed {
            Some(_) => Described::Whole,
            None => Described::Begun,
        };
        Ok(())
    }

    /// Sketch and timeline.
    fn shown_in(&self) -> Option<(u64, u64)> {
        let timeline = self.state.stream.as_ref()?.timeline.as_ref()?.id;
        Some((self.state.sketch.as_ref()?.id, timeline))
    }

    /// Counts what OpenSearch has and what Timesketch finds.
    async fn prove(&mut self, handed: &[HandedSlice]) -> Result<Done, StepError> {
        let client = self.opensearch()?;
        let index = self.stream_state().index.clone();
        let shown_in = self.shown_in();
        self.state.waits = Some("what was sent is being counted".to_owned());
        client.refresh(&index).await?;
        let timeline = shown_in.map(|(_, timeline)| timeline);
        let opensearch = client.count(&index, timeline, None).await?;
        let timesketch = match shown_in {
            None => None,
            Some((sketch, timeline)) => {
                let shown = self.timesketch()?.timeline(sketch, timeline).await;
                match shown {
                    Err(error) if error.fault() == Fault::NotFound => return self.begin_anew(),
                    shown => {
                        let shown = shown?;
                        match shown.status {
                            TimelineStatus::Archived => {
                                return Err(StepError::Archived(shown.name));
                            }
                            TimelineStatus::Ready => Some(shown.found.unwrap_or_default()),
                            // The count is told of these, too, but no search shows them.
                            _ => Some(0),
                        }
                    }
                }
            }
        };
        let counts = Counts {
            opensearch,
            timesketch,
        };
        self.after_count(counts, handed)
    }

    fn after_count(&mut self, counts: Counts, handed: &[HandedSlice]) -> Result<Done, StepError> {
        let (context, job) = (self.context, self.state.job.clone());
        let expected = streaming::expected(&self.state);
        let proof = streaming::judge(counts, expected);
        if !matches!(proof, Proof::Unlike(_)) {
            self.unlike = None;
        }
        match proof {
            Proof::Proven => {
                let file = |slice: &str| context.rejected(&job, slice).display().to_string();
                streaming::settle(&mut self.state, handed, file);
                // Only an empty folder goes.
                drop(std::fs::remove_dir(context.rejected_of(&job)));
                Ok(Done::Worked)
            }
            Proof::TooFew => {
                streaming::short(&mut self.state, counts.opensearch, context.tries().min(2));
                Ok(Done::Worked)
            }
            Proof::TooMany => {
                let found = counts.opensearch;
                let why =
                    format!("{found} events are found, more than the {expected} that were sent");
                streaming::anew(&mut self.state, &why, context.tries());
                Ok(Done::Worked)
            }
            Proof::Unlike(found) => self.judge_unlike(found, expected),
        }
    }

    /// Timesketch says nothing when its own question was not answered, so it is asked again for a while.
    fn judge_unlike(&mut self, found: u64, expected: u64) -> Result<Done, StepError> {
        let now = Instant::now();
        let since = match self.unlike {
            Some((before, since)) if before == found => since,
            _ => {
                self.unlike = Some((found, now));
                self.look = FIRST_LOOK;
                now
            }
        };
        if now.duration_since(since) < self.context.count_limit() {
            self.state.waits = Some("Timesketch does not find all yet".to_owned());
            return Ok(Done::Waited);
        }
        Err(StepError::Unlike { found, expected })
    }

    /// The index takes nothing any more: somebody removed the timeline, or archived it.
    pub(super) async fn after_gone(&mut self) -> Result<Done, StepError> {
        if let Some((sketch, timeline)) = self.shown_in() {
            match self.timesketch()?.timeline(sketch, timeline).await {
                Err(error) if error.fault() == Fault::NotFound => {}
                Ok(shown) if shown.status == TimelineStatus::Archived => {
                    return Err(StepError::Archived(shown.name));
                }
                // The index was closed or removed behind the back of Timesketch.
                shown => drop(shown?),
            }
        }
        self.begin_anew()
    }

    fn begin_anew(&mut self) -> Result<Done, StepError> {
        streaming::anew(&mut self.state, REMOVED, self.context.tries());
        self.keep()?;
        Ok(Done::Worked)
    }
}

/// What the timeline of a job is called.
fn title(order: &Order, handed: &[HandedSlice]) -> String {
    // The first filesystem with a host's name is that of the system.
    let with_host = handed.iter().find(|one| one.host.is_some());
    let first = with_host.or(handed.first()).cloned().unwrap_or_default();
    name::whole_timeline(order, &first)
}

/// Our words beside a timeline.
fn ours<'t>(timeline: &'t Timeline, index: &str) -> Option<&'t Datasource> {
    let of = |one: &&Datasource| one.original_filename == index;
    timeline.datasources.iter().find(of)
}
