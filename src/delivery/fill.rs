//! Fills the outbox from a job's folder: a slice when it is finished, everything when the job is. What was handed over
//! already stays as it is, so both may be done once more at any time.

use std::path::Path;

use super::custody::DeliveryProof;
use super::local::TIMELINE;
use super::order::{Closed, HandedSlice, How, Lines, Order, SCHEMA};
use super::outbox::Outbox;
use crate::clock;
use crate::durable::{self, FileError};
use crate::evidence::fingerprint::Fingerprint;
use crate::job::{DOCUMENTS, JobRecord};
use crate::manifest::{FilesystemRecord, Manifest, SliceRecord};
use crate::plaso::command::STORAGE;
use crate::plaso::verdict::Level;
use crate::printable;

/// The name under which a whole timeline is handed over, where the documents of its slices are no longer apart.
const WHOLE: &str = "timeline";

/// The order for a job that is at work; a new one only when there is none for this run.
///
/// # Errors
/// The outbox cannot be read or written.
pub fn open(outbox: &Outbox, job: &str, volume: &str, record: &JobRecord) -> Result<(), FileError> {
    let order = Order {
        schema: SCHEMA.to_owned(),
        job: job.to_owned(),
        run: record.started.clone(),
        volume: printable::line(volume, 200),
        case: record.case.clone(),
        evidence_sha256: record.before.as_ref().map(evidence_hash),
        way: outbox.way(),
        ..Order::default()
    };
    keep_order(outbox, order).map(drop)
}

/// Keeps an order unless there is one for this run; what was handed over for another run is taken back.
fn keep_order(outbox: &Outbox, mut order: Order) -> Result<Order, FileError> {
    // An order that cannot be read is of another release or damaged: it is made anew from the job's folder.
    let there = outbox.order(&order.job).ok().flatten();
    match there {
        Some(there) if there.run == order.run && !there.cancelled => return Ok(there),
        // A job that is gone on with after it was cancelled keeps its way.
        Some(there) if there.run == order.run => {
            order = Order {
                cancelled: false,
                ..there
            };
        }
        Some(there) if there.way.how == How::Stream => {
            order.remove.clone_from(&there.remove);
            order.remove.push(there.run.clone());
            outbox.cancel(there)?;
        }
        None if !outbox.jobs()?.contains(&order.job) => {}
        _ => outbox.withdraw(&order.job)?,
    }
    outbox.keep_order(&order)?;
    Ok(order)
}

fn evidence_hash(fingerprint: &Fingerprint) -> String {
    let full = fingerprint.full_sha256.as_ref();
    full.unwrap_or(&fingerprint.sampled_sha256).clone()
}

/// Hands over a finished slice, if it gave something that can be used: its storage file or its documents, as the order
/// says.
///
/// # Errors
/// The outbox cannot be written.
pub fn slice(
    outbox: &Outbox,
    folder: &Path,
    job: &str,
    record: &SliceRecord,
    filesystems: &[FilesystemRecord],
    plaso: &str,
) -> Result<(), FileError> {
    let place = folder.join("slices").join(&record.name);
    let way = outbox.order(job)?.map_or(outbox.way(), |order| order.way);
    let name = match way.how {
        How::Upload => STORAGE,
        How::Stream => DOCUMENTS,
    };
    let file = place.join(name);
    let Some(handed) = handed(&place, record, filesystems, plaso)? else {
        return Ok(());
    };
    if !file.exists() || outbox.has(job, &record.name) {
        // It was proven and not kept, or it is there.
        return Ok(());
    }
    let lines = match way.how {
        How::Upload => None,
        How::Stream => Some(lines_of(&file)?),
    };
    outbox.hand_over(job, &HandedSlice { lines, ..handed }, &file)
}

fn lines_of(file: &Path) -> Result<Lines, FileError> {
    let (sha256, bytes) = durable::hash_file(file)?;
    Ok(Lines {
        bytes,
        sha256,
        at: clock::now(),
    })
}

/// Hands over the timeline of a job whose slices' documents were joined before anybody asked for them.
fn whole_timeline(outbox: &Outbox, folder: &Path, manifest: &Manifest) -> Result<(), FileError> {
    let file = folder.join(TIMELINE);
    let Some(timeline) = manifest.timeline.as_ref().filter(|_| file.exists()) else {
        return Ok(());
    };
    let identity = |one: &FilesystemRecord| one.identity.clone();
    // Whose events they are is known where the source has one host.
    let mut hosts = manifest.filesystems.iter().filter_map(identity);
    let host = hosts.next().filter(|_| hosts.next().is_none());
    let host = host.unwrap_or_default();
    let line = |text: String| printable::line(&text, 100);
    let lines = lines_of(&file)?;
    if lines.sha256 != timeline.file.sha256 {
        return Err(FileError::Refused {
            path: file,
            reason: "it is not the file that the manifest names (another SHA-256)",
        });
    }
    let (record_sha256, _) = durable::hash_file(&folder.join("manifest.json"))?;
    let handed = HandedSlice {
        schema: SCHEMA.to_owned(),
        name: WHOLE.to_owned(),
        host: host.hostname.map(line),
        instance: host.cloud_instance_id.map(line),
        events: timeline.documents,
        documents: timeline.documents,
        bytes: timeline.file.bytes,
        sha256: timeline.file.sha256.clone(),
        plaso: manifest.plaso.version.clone(),
        record_sha256,
        lines: Some(lines),
        ..HandedSlice::default()
    };
    outbox.hand_over(&manifest.job, &handed, &file)
}

fn handed(
    place: &Path,
    record: &SliceRecord,
    filesystems: &[FilesystemRecord],
    plaso: &str,
) -> Result<Option<HandedSlice>, FileError> {
    let file = record
        .files
        .iter()
        .find(|file| file.path.ends_with(STORAGE));
    let (Some(file), true) = (file, record.verdict.level < Level::Failed) else {
        return Ok(None);
    };
    let filesystem = filesystems
        .iter()
        .find(|one| one.label == record.filesystem);
    let identity = filesystem.and_then(|one| one.identity.as_ref());
    let line = |text: &String| printable::line(text, 100);
    let (record_sha256, _) = durable::hash_file(&place.join("slice.json"))?;
    Ok(Some(HandedSlice {
        schema: SCHEMA.to_owned(),
        name: record.name.clone(),
        filesystem: record.filesystem.clone(),
        host: identity.and_then(|one| one.hostname.as_ref()).map(line),
        instance: identity
            .and_then(|one| one.cloud_instance_id.as_ref())
            .map(line),
        events: record.events,
        documents: record.documents,
        bytes: file.bytes,
        sha256: file.sha256.clone(),
        plaso: plaso.to_owned(),
        record_sha256,
        lines: None,
    }))
}

/// Hands over everything of a finished job and says that no more comes; none if all of it was delivered before.
///
/// # Errors
/// The outbox cannot be written, or a file of the job cannot be read.
pub fn close(
    outbox: &Outbox,
    folder: &Path,
    manifest: &Manifest,
) -> Result<Option<Order>, FileError> {
    let before = DeliveryProof::read(folder)?;
    if before.is_some_and(|proof| proof.is_whole(&manifest.started, outbox.server())) {
        return Ok(None);
    }
    let before = manifest.custody.before.as_ref();
    let order = Order {
        schema: SCHEMA.to_owned(),
        job: manifest.job.clone(),
        run: manifest.started.clone(),
        volume: printable::line(&manifest.source.volume(), 200),
        case: manifest.case.clone(),
        evidence_sha256: before.map(evidence_hash),
        way: outbox.way(),
        ..Order::default()
    };
    let mut order = keep_order(outbox, order)?;
    if order.closed.is_some() {
        return Ok(Some(order));
    }
    for record in &manifest.slices {
        slice(
            outbox,
            folder,
            &manifest.job,
            record,
            &manifest.filesystems,
            &manifest.plaso.version,
        )?;
    }
    let streamed = order.way.how == How::Stream;
    if streamed && outbox.slices(&manifest.job)?.is_empty() {
        whole_timeline(outbox, folder, manifest)?;
    }
    let (manifest_sha256, _) = durable::hash_file(&folder.join("manifest.json"))?;
    let slices = outbox.slices(&manifest.job)?;
    order.closed = Some(Closed {
        slices: slices.into_iter().map(|slice| slice.name).collect(),
        manifest_sha256,
    });
    outbox.keep_order(&order)?;
    Ok(Some(order))
}

/// Asks for what is not proven to be tried once more.
///
/// # Errors
/// The outbox cannot be written.
pub fn again(outbox: &Outbox, order: Order) -> Result<(), FileError> {
    outbox.keep_order(&Order {
        again: order.again + 1,
        ..order
    })
}
