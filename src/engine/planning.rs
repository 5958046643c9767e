//! From an open source to a plan: probe, mount, census, all parsing in the cage.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::filesystem::{FOLDER, OpenFilesystem, open_folder, open_region, path_inside, system};
use super::{Engine, EngineError, Progress, Talk, presence};
use crate::cage::CagedEvidence;
use crate::cage::command::inside;
use crate::cage::task::{Task, TaskError, take_over, words};
use crate::census::report::{CensusReport, CensusRequest};
use crate::durable;
use crate::evidence::loopdev::LoopDevice;
use crate::evidence::outcome::{Unread, Weight};
use crate::evidence::plan::{RawReading, Reading};
use crate::evidence::probe::{Content, ProbeReport, Region, Table};
use crate::evidence::source::Source;
use crate::inside::census::{REPORT, WHOLE_FILTER};
use crate::job::{JobFolder, PlanRecord, PlannedSlice, Selection};
use crate::manifest::{FilesystemRecord, View};

/// The largest answer that is taken from the cage.
const MOST_ANSWER: u64 = 64 * 1024 * 1024;

/// The longest that a probe or a census may take.
const PROBE_LIMIT: Duration = Duration::from_secs(600);
const CENSUS_LIMIT: Duration = Duration::from_secs(3600);

/// The probe's answer in the attempt folder.
const PROBE_ANSWER: &str = "probe.json";
/// The question to the census in the attempt folder.
const CENSUS_QUESTION: &str = "request.json";

/// Makes the plan and returns it with the filesystems that are open now.
///
/// # Errors
/// The cage or the system refused something; what is on the source is never an error.
pub async fn make_plan(
    engine: &Engine,
    selection: &Selection,
    source: &Arc<Source>,
    folder: &Arc<JobFolder>,
    talk: &Talk,
) -> Result<(PlanRecord, Vec<OpenFilesystem>), EngineError> {
    durable::remove_folder(&folder.at("plan"))?;
    let report = probe(engine, source, folder, talk).await?;
    let mut plan = PlanRecord {
        table: report.table,
        table_notes: report.notes,
        filesystems: Vec::new(),
        listings: Vec::new(),
        slices: Vec::new(),
    };
    let mut open = Vec::new();
    let several = report.regions.len() > 1;
    for region in &report.regions {
        let mut record = describe(region);
        if source.file().is_none() {
            FOLDER.clone_into(&mut record.label);
        }
        match open_one(source, region, folder).await? {
            Ok(filesystem) => {
                talk.tell(Progress::Stage(format!(
                    "taking the census of {}",
                    record.label
                )));
                let census = census(engine, selection, &filesystem, folder);
                let census = talk.during(census).await?;
                plan.listings.push(census.listing_sha256.clone());
                add_slices(&mut plan.slices, &census, &filesystem.label, several);
                complete(engine, &mut record, &filesystem, census);
                open.push(filesystem);
            }
            Err(unread) => {
                talk.tell(Progress::Unread(format!(
                    "{}: {}",
                    record.label, unread.sentence
                )));
                record.unread = Some(unread);
            }
        }
        plan.filesystems.push(record);
    }
    number(&mut plan.slices);
    if is_pulled(source, &plan).await {
        return Err(EngineError::Gone);
    }
    folder.keep_plan(&plan)?;
    Ok((plan, open))
}

/// Whether the plan may be one of a device that was pulled meanwhile. It must not be kept then: it would hold for
/// the device that comes back, too.
async fn is_pulled(source: &Source, plan: &PlanRecord) -> bool {
    let unread = |record: &FilesystemRecord| {
        let unread = record.unread.as_ref();
        unread.is_some_and(|unread| unread.weight != Weight::Harmless)
    };
    let in_doubt = source.is_device() && plan.filesystems.iter().any(unread);
    !source.still_present() || in_doubt && presence::vanishes(|| source.still_present()).await
}

/// Opens the filesystems of an earlier plan again.
///
/// # Errors
/// What could be mounted when the plan was made cannot be mounted now.
pub async fn reopen(
    engine: &Engine,
    source: &Arc<Source>,
    folder: &Arc<JobFolder>,
    plan: &PlanRecord,
    talk: &Talk,
) -> Result<Vec<OpenFilesystem>, EngineError> {
    let report = probe(engine, source, folder, talk).await?;
    let mut open = Vec::new();
    for (region, record) in report.regions.iter().zip(&plan.filesystems) {
        if record.view.is_none() {
            continue;
        }
        match open_one(source, region, folder).await? {
            Ok(filesystem) => open.push(filesystem),
            Err(unread) => {
                return Err(system(
                    &format!("mount {} again", record.label),
                    std::io::Error::other(unread.sentence),
                ));
            }
        }
    }
    Ok(open)
}

/// Mounting reads the evidence, so it is done away from the thread that watches the cages.
async fn open_one(
    source: &Arc<Source>,
    region: &Region,
    folder: &Arc<JobFolder>,
) -> Result<Result<OpenFilesystem, Unread>, EngineError> {
    let (source, region, folder) = (Arc::clone(source), region.clone(), Arc::clone(folder));
    let opened = tokio::task::spawn_blocking(move || {
        if source.file().is_none() {
            open_folder(&source, &folder).map(Ok)
        } else {
            open_region(&source, &region, &folder)
        }
    });
    opened
        .await
        .map_err(|error| system("open a filesystem", std::io::Error::other(error)))?
}

async fn probe(
    engine: &Engine,
    source: &Source,
    folder: &JobFolder,
    talk: &Talk,
) -> Result<ProbeReport, EngineError> {
    let (Some(file), Some(size)) = (source.file(), source.facts.size) else {
        let content = Content::Unknown;
        let region = Region {
            number: None,
            offset: 0,
            length: 0,
            type_name: None,
            content,
        };
        return Ok(ProbeReport {
            table: Table::None,
            regions: vec![region],
            notes: Vec::new(),
        });
    };
    talk.tell(Progress::Stage(
        "looking for partitions and filesystems".to_owned(),
    ));
    let device = LoopDevice::attach(file, 0, size)
        .map_err(|error| system("cover the source", std::io::Error::other(error)))?;
    let inside = inside::EVIDENCE.to_owned();
    let evidence = CagedEvidence {
        outside: device.path().to_path_buf(),
        inside,
        device: true,
    };
    let attempt = folder.at("probe.run");
    let answer = format!("{}/{PROBE_ANSWER}", inside::ATTEMPT);
    let program = words(&[inside::GUARD, "inside", "probe", inside::EVIDENCE, &answer]);
    let task = Task {
        name: "probe",
        program,
        evidence: Some(evidence),
        read_only: Vec::new(),
        limit: PROBE_LIMIT,
    };
    talk.during(task.run(&engine.cage, &attempt, &[])).await?;
    let report = durable::read_json(&attempt.join(PROBE_ANSWER), MOST_ANSWER)?;
    durable::remove_folder(&attempt)?;
    report.ok_or_else(|| TaskError::no_answer("probe").into())
}

async fn census(
    engine: &Engine,
    selection: &Selection,
    filesystem: &OpenFilesystem,
    folder: &JobFolder,
) -> Result<CensusReport, EngineError> {
    let attempt = folder.at("census.run");
    let request = CensusRequest {
        filters: selection.filters.clone(),
        evidence: path_inside(&filesystem.label, Reading::Mount),
        preferred: preferred(engine, filesystem),
        slicing: engine.settings.slicing(),
    };
    let question = serde_json::to_vec(&request).map_err(|source| durable::FileError::Content {
        path: attempt.join(CENSUS_QUESTION),
        source,
    })?;
    let evidence = filesystem.evidence(Reading::Mount);
    let program = words(&[
        inside::GUARD,
        "inside",
        "census",
        &evidence.inside,
        &format!("{}/{CENSUS_QUESTION}", inside::ATTEMPT),
        inside::ATTEMPT,
    ]);
    let task = Task {
        name: "census",
        program,
        evidence: Some(evidence),
        read_only: Vec::new(),
        limit: CENSUS_LIMIT,
    };
    task.run(&engine.cage, &attempt, &[(CENSUS_QUESTION, &question)])
        .await?;
    let report: Option<CensusReport> = durable::read_json(&attempt.join(REPORT), MOST_ANSWER)?;
    let report = report.ok_or_else(|| TaskError::no_answer("census"))?;
    let kept = folder.at("plan").join(&filesystem.label);
    take_over(&attempt, &kept, &census_files(&report))?;
    Ok(report)
}

/// The folder's listing as it is now: for a folder source, the proof that it is as it was.
///
/// # Errors
/// The census failed.
pub async fn listing(
    engine: &Engine,
    selection: &Selection,
    filesystem: &OpenFilesystem,
    folder: &JobFolder,
) -> Result<String, EngineError> {
    census(engine, selection, filesystem, folder)
        .await
        .map(|report| report.listing_sha256)
}

fn census_files(report: &CensusReport) -> Vec<String> {
    let mut files = vec![REPORT.to_owned(), WHOLE_FILTER.to_owned()];
    for slice in &report.slices {
        files.extend([slice.patterns.clone(), slice.listing.clone()]);
    }
    files
}

/// The reading to plan for: raw if Plaso's library for this filesystem is to be trusted with it.
fn preferred(engine: &Engine, filesystem: &OpenFilesystem) -> Reading {
    let superblock = filesystem.superblock.as_ref();
    if superblock.is_some_and(|superblock| superblock.mount_only) {
        return Reading::Mount;
    }
    let raw = filesystem.plan.map_or(RawReading::Never, |plan| plan.raw);
    raw.choose(engine.plaso.versions.libfsxfs, true)
}

fn describe(region: &Region) -> FilesystemRecord {
    let superblock = match &region.content {
        Content::Filesystem(superblock) => Some(superblock.clone()),
        _ => None,
    };
    let superblock = superblock.as_ref();
    FilesystemRecord {
        label: region.label(),
        offset: region.offset,
        length: region.length,
        partition_name: region.type_name.clone(),
        kind: superblock.map(|superblock| superblock.kind.clone()),
        uuid: superblock.and_then(|superblock| superblock.uuid.clone()),
        volume_label: superblock.and_then(|superblock| superblock.label.clone()),
        unread: None,
        view: None,
        identity: None,
        counts: None,
        links: Vec::new(),
        unreadable: Vec::new(),
        undecodable: Vec::new(),
    }
}

fn complete(
    engine: &Engine,
    record: &mut FilesystemRecord,
    filesystem: &OpenFilesystem,
    census: CensusReport,
) {
    let superblock = filesystem.superblock.as_ref();
    let found = filesystem.mounted.journal_dirty;
    let (time_zone, time_zone_source) = zone(engine, census.identity.time_zone.as_deref());
    record.view = Some(View {
        kind: "direct".to_owned(),
        reading: census.reading,
        path: path_inside(&filesystem.label, census.reading),
        mount_options: filesystem.mounted.options.clone(),
        journal_dirty: found.or_else(|| superblock?.journal_dirty),
        recorded_errors: superblock.is_some_and(|superblock| superblock.errors),
        time_zone,
        time_zone_source,
    });
    record.identity = Some(census.identity);
    record.counts = Some(census.counts);
    record.links = census.links;
    record.unreadable = census.unreadable;
    record.undecodable = census.undecodable;
}

/// The zone to give to Plaso, which refuses a name that it does not know, and where it is from.
fn zone(engine: &Engine, found: Option<&str>) -> (String, String) {
    match found {
        Some(zone) if engine.plaso.versions.zones.contains(zone) => {
            (zone.to_owned(), "evidence".to_owned())
        }
        Some(zone) => (
            "UTC".to_owned(),
            format!("default: Plaso does not know {zone}"),
        ),
        None => (
            "UTC".to_owned(),
            "default: the evidence names none".to_owned(),
        ),
    }
}

fn add_slices(slices: &mut Vec<PlannedSlice>, census: &CensusReport, label: &str, several: bool) {
    for slice in &census.slices {
        let name = if several {
            format!("{label}-{}", slice.name)
        } else {
            slice.name.clone()
        };
        slices.push(PlannedSlice {
            name,
            filesystem: label.to_owned(),
            category: slice.category,
            entries: slice.entries,
            bytes: slice.bytes,
            patterns: Path::new(label).join(&slice.patterns),
            listing: Path::new(label).join(&slice.listing),
        });
    }
}

/// Triage of every filesystem first, then the rest in order; the numbers of the folders say so.
fn number(slices: &mut [PlannedSlice]) {
    slices.sort_by_key(|slice| slice.category > 0);
    for (index, slice) in slices.iter_mut().enumerate() {
        slice.name = format!("{:02}-{}", index + 1, slice.name);
    }
}
