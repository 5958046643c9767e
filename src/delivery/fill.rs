//! Fills the outbox from a job's folder: a slice when it is finished, everything when the job is. What was handed over
//! already stays as it is, so both may be done once more at any time.

use std::path::Path;

use super::custody::DeliveryProof;
use super::order::{Closed, HandedSlice, Order, SCHEMA};
use super::outbox::Outbox;
use crate::durable::{self, FileError};
use crate::evidence::fingerprint::Fingerprint;
use crate::job::JobRecord;
use crate::manifest::{FilesystemRecord, Manifest, SliceRecord};
use crate::plaso::command::STORAGE;
use crate::plaso::verdict::Level;
use crate::printable;

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
        again: 0,
        closed: None,
    };
    keep_order(outbox, order).map(drop)
}

/// Keeps an order unless there is one for this run; what was handed over for another run is taken back.
fn keep_order(outbox: &Outbox, order: Order) -> Result<Order, FileError> {
    // An order that cannot be read is of another release or damaged: it is made anew from the job's folder.
    let there = outbox.order(&order.job).ok().flatten();
    match there {
        Some(there) if there.run == order.run => return Ok(there),
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

/// Hands over the storage file of a finished slice, if it gave one that can be used.
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
    let storage = place.join(STORAGE);
    let Some(handed) = handed(&place, record, filesystems, plaso)? else {
        return Ok(());
    };
    if !storage.exists() {
        // It was proven and not kept.
        return Ok(());
    }
    outbox.hand_over(job, &handed, &storage)
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
        again: 0,
        closed: None,
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
