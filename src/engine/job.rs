//! One job: the steps from a source to a finished folder, and going on after a break.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};

use super::filesystem::{OpenFilesystem, system};
use super::handing_over::HandingOver;
use super::hashing::fingerprint_of;
use super::places::{Membership, Place, Work};
use super::presence::or_gone;
use super::slice::{SliceRun, stopped};
use super::{Engine, EngineError, JobRequest, Progress, Talk, finish, planning, room};
use crate::cage::CagedEvidence;
use crate::clock::now;
use crate::durable;
use crate::evidence::fingerprint::{self, Fingerprint};
use crate::evidence::plan::Reading;
use crate::evidence::source::Source;
use crate::job::{JobFolder, JobRecord, PlanRecord, PlannedSlice, Selection};
use crate::manifest::{Manifest, SliceRecord, View};

/// A filesystem of the plan, open.
struct Planned {
    view: View,
    raw: CagedEvidence,
    mount: CagedEvidence,
}

/// What the slices of a job share.
pub(super) struct JobContext {
    pub(super) engine: Arc<Engine>,
    pub(super) source: Arc<Source>,
    pub(super) folder: Arc<JobFolder>,
    pub(super) talk: Talk,
    pub(super) selection: Arc<Selection>,
    filesystems: BTreeMap<String, Planned>,
    handing_over: HandingOver,
}

impl JobContext {
    pub(super) fn view(&self, label: &str) -> Result<&View, EngineError> {
        self.filesystem(label).map(|planned| &planned.view)
    }

    pub(super) fn evidence(
        &self,
        label: &str,
        reading: Reading,
    ) -> Result<&CagedEvidence, EngineError> {
        self.filesystem(label).map(|planned| match reading {
            Reading::Raw => &planned.raw,
            Reading::Mount => &planned.mount,
        })
    }

    /// A finished slice is handed over at once: its events are to be found while later ones are still extracted.
    async fn hand_over(&self, record: &SliceRecord) -> Result<(), EngineError> {
        let plaso = self.engine.plaso.versions.plaso.to_string();
        self.handing_over.slice(&self.folder, record, &plaso).await
    }

    fn filesystem(&self, label: &str) -> Result<&Planned, EngineError> {
        let missing = || {
            system(
                &format!("find the filesystem {label}"),
                std::io::ErrorKind::NotFound.into(),
            )
        };
        self.filesystems.get(label).ok_or_else(missing)
    }
}

/// The end of a job.
#[derive(Debug)]
pub struct JobResult {
    /// Its folder.
    pub folder: std::path::PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    /// Whether an earlier run had finished it.
    pub already_done: bool,
}

/// How often an attached source and the steps of its job are looked at.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// Brings a job to its end, from wherever an earlier run left it.
///
/// Dropping the future ends everything that the job started; calling again goes on.
///
/// # Errors
/// Why it is not at its end; calling again goes on where that makes sense.
pub async fn run(
    engine: Arc<Engine>,
    request: &JobRequest,
    talk: Talk,
) -> Result<JobResult, EngineError> {
    talk.tell(Progress::Stage("setting the source read-only".to_owned()));
    let is_device =
        fs::metadata(&request.source).is_ok_and(|about| about.file_type().is_block_device());
    let source = match open(&request.source).await {
        Ok(source) if is_other(&source, request) => return Err(EngineError::Gone),
        Ok(source) => Arc::new(source),
        Err(error) if is_device => return Err(or_gone(error, || request.source.exists()).await),
        Err(error) => return Err(error),
    };
    // A filesystem whose device is gone may look empty without a single error (ext4), so nothing that is
    // found out after that moment counts.
    let result = tokio::select! {
        biased;
        () = gone(&source) => Err(EngineError::Gone),
        result = steps(&engine, &source, request, &talk) => result,
    };
    let reserve = engine.settings.reserve_bytes();
    let result = result.map_err(|error| room::or_full(error, &request.output, reserve));
    match result {
        Err(error) if is_device => Err(or_gone(error, || source.still_present()).await),
        Err(_) if !source.still_present() => Err(EngineError::Gone),
        result => result,
    }
}

/// Whether another volume is behind the node than the one that was meant when it was decided.
fn is_other(source: &Source, request: &JobRequest) -> bool {
    request.sequence.is_some() && request.sequence != source.facts.disk_sequence
}

/// Waits for a place to plan in; says so where there is something to wait for.
async fn turn_to_plan(membership: &Membership, talk: &Talk) -> Place {
    let mut place = std::pin::pin!(membership.place(Work::Planning));
    let at_once = tokio::time::timeout(Duration::from_millis(100), &mut place).await;
    if let Ok(place) = at_once {
        return place;
    }
    talk.tell(Progress::Stage("waiting for its turn".to_owned()));
    place.await
}

/// Opening reads the evidence, so it is done away from the thread that watches the cages.
async fn open(path: &Path) -> Result<Source, EngineError> {
    let path = path.to_path_buf();
    let opened = tokio::task::spawn_blocking(move || Source::open(&path)).await;
    Ok(opened.map_err(|error| system("open the source", std::io::Error::other(error)))??)
}

/// Ends when the attachment that was opened is no longer there.
async fn gone(source: &Source) {
    let mut looks = tokio::time::interval(LOOK);
    while source.still_present() {
        looks.tick().await;
    }
}

async fn steps(
    engine: &Arc<Engine>,
    source: &Arc<Source>,
    request: &JobRequest,
    talk: &Talk,
) -> Result<JobResult, EngineError> {
    let made_up = || format!("{}-{}", source.name(), source.facts.key);
    let name = request.name.clone().unwrap_or_else(made_up);
    let mounts = request.mountpoint.as_ref().map(|folder| folder.join(&name));
    let folder = Arc::new(JobFolder::open(request.output.join(&name), mounts)?);
    let reserve = engine.settings.reserve_bytes();
    match steps_in(&folder, name, engine, source, request, talk).await {
        // Seen before room is given back.
        Err(error) => {
            let error = room::or_full(error, folder.path(), reserve);
            room::give_back(&folder).await;
            Err(error)
        }
        done => done,
    }
}

async fn steps_in(
    folder: &Arc<JobFolder>,
    name: String,
    engine: &Arc<Engine>,
    source: &Arc<Source>,
    request: &JobRequest,
    talk: &Talk,
) -> Result<JobResult, EngineError> {
    if let Some(manifest) = folder.manifest()? {
        HandingOver::of(request, &name, &[])
            .close(folder, &manifest)
            .await?;
        return Ok(JobResult {
            folder: folder.path().to_path_buf(),
            manifest,
            already_done: true,
        });
    }
    room::check(folder.path(), engine.settings.reserve_bytes())?;
    let membership = engine.places.join(request.priority);
    let begin = begin(engine, source, folder, request, talk);
    let record = unless_stopped(talk, begin).await?;
    let selection = Arc::clone(&record.terms.selection);
    let planning = async {
        let _place = turn_to_plan(&membership, talk).await;
        match folder.plan()? {
            Some(plan) => {
                let open = planning::reopen(engine, source, folder, &plan, talk).await?;
                Ok((plan, open))
            }
            None => {
                let made = planning::make_plan(engine, &selection, source, folder, talk).await?;
                talk.tell(Progress::PlanMade);
                Ok(made)
            }
        }
    };
    let (plan, open) = unless_stopped(talk, planning).await?;
    let handing_over = HandingOver::of(request, &name, &plan.filesystems);
    handing_over.open(source, &record)?;
    let context = JobContext {
        engine: Arc::clone(engine),
        source: Arc::clone(source),
        folder: Arc::clone(folder),
        talk: talk.clone(),
        selection,
        filesystems: views(&plan, &open),
        handing_over,
    };
    let slices = run_slices(&context, &plan, membership).await?;
    drop(context);
    let done = finish::Done {
        name,
        record,
        cloud: request.cloud.clone(),
        plan,
        slices,
        open,
    };
    let finish = finish::finish(engine, source, folder, talk, done);
    let manifest = unless_stopped(talk, finish).await?;
    HandingOver::of(request, &manifest.job, &[])
        .close(folder, &manifest)
        .await?;
    Ok(JobResult {
        folder: folder.path().to_path_buf(),
        manifest,
        already_done: false,
    })
}

/// Does a step of which a part is worth nothing, so that it can be broken off at any moment.
async fn unless_stopped<T>(
    talk: &Talk,
    step: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    let mut stop = talk.stop.clone();
    tokio::select! {
        result = step => result,
        () = stopped(&mut stop) => Err(EngineError::Stopped),
    }
}

/// Keeps what is asked for before anything is read, or checks it against what was asked for before.
async fn begin(
    engine: &Engine,
    source: &Arc<Source>,
    folder: &JobFolder,
    request: &JobRequest,
    talk: &Talk,
) -> Result<JobRecord, EngineError> {
    let full = engine.settings.evidence.full_hash;
    let known = folder.record()?;
    // The whole source is hashed before the first reading only; sampled sectors every time.
    let hash_all = full && known.is_none();
    if hash_all {
        talk.tell(Progress::Stage("hashing the whole source".to_owned()));
    }
    let before = fingerprint_of(source, hash_all, talk).await?;
    let Some(mut record) = known else {
        let record = JobRecord {
            case: request.case.clone(),
            started: now(),
            resumed: 0,
            terms: engine.terms(&request.selection),
            before,
        };
        folder.keep_record(&record)?;
        return Ok(record);
    };
    if request.keep_begun_selection && !folder.has_plan() {
        // Nothing was made of the earlier terms.
        record.terms = engine.terms(&request.selection);
    }
    if let Some(difference) = other_terms(engine, &record, request) {
        return Err(EngineError::OtherTerms {
            folder: folder.path().to_path_buf(),
            difference,
        });
    }
    if let (Some(then), Some(today)) = (&record.before, &before) {
        // A device that was attached anew counts its writes from zero.
        let today = Fingerprint {
            writes: then.writes,
            ..today.clone()
        };
        if let Some(difference) = fingerprint::differences(then, &today).into_iter().next() {
            return Err(EngineError::SourceChanged {
                folder: folder.path().to_path_buf(),
                difference,
            });
        }
    }
    if let (Some(then), Some(today)) = (&mut record.before, before) {
        then.writes = today.writes;
    }
    record.resumed += 1;
    folder.keep_record(&record)?;
    Ok(record)
}

fn other_terms(engine: &Engine, record: &JobRecord, request: &JobRequest) -> Option<String> {
    if record.terms.plaso != engine.plaso.versions.plaso {
        return Some(format!("Plaso {}", record.terms.plaso));
    }
    if request.keep_begun_selection {
        return None;
    }
    if record.terms.selection.parsers != request.selection.parsers {
        return Some("other parsers".to_owned());
    }
    if record.terms.selection.filters != request.selection.filters {
        return Some("another collection filter".to_owned());
    }
    if record.case != request.case {
        let case = record
            .case
            .as_deref()
            .map_or("no case".to_owned(), |case| format!("the case {case}"));
        return Some(crate::printable::line(&case, 100));
    }
    None
}

fn views(plan: &PlanRecord, open: &[OpenFilesystem]) -> BTreeMap<String, Planned> {
    let mut views = BTreeMap::new();
    for filesystem in open {
        let record = plan
            .filesystems
            .iter()
            .find(|record| record.label == filesystem.label);
        if let Some(view) = record.and_then(|record| record.view.clone()) {
            let (raw, mount) = (
                filesystem.evidence(Reading::Raw),
                filesystem.evidence(Reading::Mount),
            );
            views.insert(filesystem.label.clone(), Planned { view, raw, mount });
        }
    }
    views
}

/// Runs the slices that no earlier run finished, in order, each when there is a place for it.
async fn run_slices(
    context: &JobContext,
    plan: &PlanRecord,
    membership: Membership,
) -> Result<Vec<SliceRecord>, EngineError> {
    let mut done = finished(context, plan).await?;
    let left: Vec<&PlannedSlice> = plan
        .slices
        .iter()
        .filter(|planned| !done.contains_key(&planned.name))
        .collect();
    let mut triage = left.iter().filter(|slice| slice.category == 0).count();
    let mut waiting = left.into_iter();
    let mut running = FuturesUnordered::new();
    let mut next = waiting.next();
    let mut wish = context.talk.stop.clone();
    if triage == 0 {
        membership.triage_is_over();
    }
    // Running slices are part of this future, so that dropping it ends their cages at once.
    while next.is_some() || !running.is_empty() {
        tokio::select! {
            // Both arms may be dropped: a place that is not waited for goes to another.
            place = membership.place(work_of(next)), if next.is_some() => {
                if let Some(planned) = next {
                    running.push(run_slice(context, planned, place));
                }
                next = waiting.next();
            }
            Some(result) = running.next(), if !running.is_empty() => {
                let (category, record) = match result {
                    Err(EngineError::Stopped) => return stop(running).await,
                    result => result?,
                };
                done.insert(record.name.clone(), record);
                triage -= usize::from(category == 0);
                if triage == 0 {
                    membership.triage_is_over();
                }
            }
            () = stopped(&mut wish), if next.is_some() => return stop(running).await,
        }
    }
    let all = plan.slices.iter();
    Ok(all.filter_map(|slice| done.remove(&slice.name)).collect())
}

/// The slices that an earlier run finished.
async fn finished(
    context: &JobContext,
    plan: &PlanRecord,
) -> Result<BTreeMap<String, SliceRecord>, EngineError> {
    let mut done: BTreeMap<String, SliceRecord> = BTreeMap::new();
    for planned in &plan.slices {
        if let Some(record) = context.folder.slice_record(&planned.name)? {
            context.hand_over(&record).await?;
            done.insert(planned.name.clone(), record);
        }
    }
    context.talk.tell(Progress::Planned {
        slices: plan.slices.len(),
        bytes: plan.slices.iter().map(|slice| slice.bytes).sum(),
        done: done.len(),
        bytes_done: done.values().map(|slice| slice.bytes).sum(),
    });
    Ok(done)
}

fn work_of(slice: Option<&PlannedSlice>) -> Work {
    match slice {
        Some(slice) if slice.category == 0 => Work::Triage,
        _ => Work::Later,
    }
}

async fn run_slice(
    context: &JobContext,
    planned: &PlannedSlice,
    place: Place,
) -> Result<(usize, SliceRecord), EngineError> {
    let _place = place;
    let record = SliceRun::new(context, planned)?.run().await?;
    context.hand_over(&record).await?;
    Ok((planned.category, record))
}

/// Lets the slices at work stop in order; they see the wish by themselves.
async fn stop<F>(mut running: FuturesUnordered<F>) -> Result<Vec<SliceRecord>, EngineError>
where
    F: Future<Output = Result<(usize, SliceRecord), EngineError>>,
{
    while running.next().await.is_some() {}
    Err(EngineError::Stopped)
}

/// Removes what an interrupted run left in a job's folder besides finished things.
pub(super) fn sweep(folder: &JobFolder) -> Result<(), EngineError> {
    for name in ["probe.run", "census.run", "merge.run"] {
        durable::remove_folder(&folder.at(name))?;
    }
    Ok(())
}
