//! One job: the steps from a source to a finished folder, and going on after a break.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::filesystem::{OpenFilesystem, system};
use super::slice::SliceRun;
use super::{Engine, EngineError, JobRequest, Progress, Talk, finish, now, planning};
use crate::cage::CagedEvidence;
use crate::durable;
use crate::evidence::fingerprint::{self, Fingerprint};
use crate::evidence::plan::Reading;
use crate::evidence::source::Source;
use crate::job::{JobFolder, JobRecord, PlanRecord};
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
    filesystems: BTreeMap<String, Planned>,
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

/// Brings a job to its end, from wherever an earlier run left it.
///
/// # Errors
/// Why it is not at its end; calling again goes on where that makes sense.
pub async fn run(
    engine: Arc<Engine>,
    request: &JobRequest,
    talk: Talk,
) -> Result<JobResult, EngineError> {
    talk.tell(Progress::Stage("setting the source read-only".to_owned()));
    let source = Arc::new(Source::open(&request.source)?);
    let name = format!("{}-{}", source.name(), source.facts.key);
    let folder = Arc::new(JobFolder::open(request.output.join(&name))?);
    if let Some(manifest) = folder.manifest()? {
        return Ok(JobResult {
            folder: folder.path().to_path_buf(),
            manifest,
            already_done: true,
        });
    }
    let record = begin(&engine, &source, &folder, request, &talk).await?;
    let (plan, open) = match folder.plan()? {
        Some(plan) => {
            let open = planning::reopen(&engine, &source, &folder, &plan, &talk).await?;
            (plan, open)
        }
        None => planning::make_plan(&engine, &source, &folder, &talk).await?,
    };
    let context = Arc::new(JobContext {
        engine: Arc::clone(&engine),
        source: Arc::clone(&source),
        folder: Arc::clone(&folder),
        talk: talk.clone(),
        filesystems: views(&plan, &open),
    });
    let slices = run_slices(&context, &plan).await?;
    drop(context);
    let manifest = finish::finish(
        &engine,
        &source,
        &folder,
        &talk,
        finish::Done {
            record,
            plan,
            slices,
            open,
        },
    )
    .await?;
    Ok(JobResult {
        folder: folder.path().to_path_buf(),
        manifest,
        already_done: false,
    })
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
    let before = fingerprint_of(source, hash_all).await?;
    let Some(mut record) = known else {
        let case = request.case.clone();
        let record = JobRecord {
            case,
            started: now(),
            resumed: 0,
            terms: engine.terms(),
            before,
        };
        folder.keep_record(&record)?;
        return Ok(record);
    };
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

/// Takes a fingerprint away from the thread that watches the cages.
pub(super) async fn fingerprint_of(
    source: &Arc<Source>,
    full: bool,
) -> Result<Option<Fingerprint>, EngineError> {
    let source = Arc::clone(source);
    let taken = tokio::task::spawn_blocking(move || source.fingerprint(full)).await;
    taken
        .map_err(|error| system("take the fingerprint", std::io::Error::other(error)))?
        .map_err(EngineError::Read)
}

fn other_terms(engine: &Engine, record: &JobRecord, request: &JobRequest) -> Option<String> {
    let terms = engine.terms();
    if record.terms.parsers != terms.parsers {
        return Some("other parsers".to_owned());
    }
    if record.terms.filter_sha256 != terms.filter_sha256 {
        return Some("another collection filter".to_owned());
    }
    if record.terms.plaso != terms.plaso {
        return Some(format!("Plaso {}", record.terms.plaso));
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

/// Runs the slices that no earlier run finished, as many at once as there are places, in order.
async fn run_slices(
    context: &Arc<JobContext>,
    plan: &PlanRecord,
) -> Result<Vec<SliceRecord>, EngineError> {
    let mut done: BTreeMap<String, SliceRecord> = BTreeMap::new();
    for planned in &plan.slices {
        if let Some(record) = context.folder.slice_record(&planned.name)? {
            done.insert(planned.name.clone(), record);
        }
    }
    context.talk.tell(Progress::Planned {
        slices: plan.slices.len(),
        bytes: plan.slices.iter().map(|slice| slice.bytes).sum(),
        done: done.len(),
        bytes_done: done.values().map(|slice| slice.bytes).sum(),
    });
    let mut running: JoinSet<Result<SliceRecord, EngineError>> = JoinSet::new();
    let mut failure = None;
    for planned in plan
        .slices
        .iter()
        .filter(|planned| !done.contains_key(&planned.name))
        .cloned()
        .collect::<Vec<_>>()
    {
        let places = Arc::clone(&context.engine.places);
        let Ok(place) = places.acquire_owned().await else {
            break;
        };
        while let Some(result) = running.try_join_next() {
            keep(result, &mut done, &mut failure);
        }
        if failure.is_some() || context.talk.stopping() {
            break;
        }
        let context = Arc::clone(context);
        running.spawn(async move {
            let _place = place;
            SliceRun::new(&context, &planned)?.run().await
        });
    }
    while let Some(result) = running.join_next().await {
        keep(result, &mut done, &mut failure);
        if failure.is_some() && !context.talk.stopping() {
            // Dropping the tasks ends their cages; their folders are done anew next time.
            running.abort_all();
        }
    }
    match failure {
        Some(error) => Err(error),
        None if context.talk.stopping() && done.len() < plan.slices.len() => {
            Err(EngineError::Stopped)
        }
        None => Ok(plan
            .slices
            .iter()
            .filter_map(|planned| done.remove(&planned.name))
            .collect()),
    }
}

fn keep(
    result: Result<Result<SliceRecord, EngineError>, tokio::task::JoinError>,
    done: &mut BTreeMap<String, SliceRecord>,
    failure: &mut Option<EngineError>,
) {
    match result {
        Ok(Ok(record)) => {
            done.insert(record.name.clone(), record);
        }
        Ok(Err(error)) => {
            failure.get_or_insert(error);
        }
        Err(error) if error.is_cancelled() => {}
        Err(error) => {
            failure.get_or_insert(system("run a slice", std::io::Error::other(error)));
        }
    }
}

/// Removes what an interrupted run left in a job's folder besides finished things.
pub(super) fn sweep(folder: &JobFolder) -> Result<(), EngineError> {
    for name in ["probe.run", "census.run", "merge.run"] {
        durable::remove_folder(&folder.at(name))?;
    }
    Ok(())
}
