//! The custody record of a delivery: `delivery.json` in the job's folder. It says which timeline holds which slice, with
//! the counts, and keeps a job from being delivered twice to one server.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::order::{HandedSlice, Order};
use super::outbox::Outbox;
use super::receipt::{self, Delivered, Link, Receipt, SliceReceipt, Stage};
use crate::clock;
use crate::durable::{self, FileError};
use crate::plaso::command::STORAGE;
use crate::plaso::verdict::Level;
use crate::printable;

/// The version of [`DeliveryRecord`].
pub const SCHEMA: &str = "dfagent-delivery-1";

/// Its name in the job's folder.
pub const FILE: &str = "delivery.json";

const MOST: u64 = 16 * 1024 * 1024;

/// How a job was delivered.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, JsonSchema)]
pub struct DeliveryRecord {
    /// `dfagent-delivery-1`.
    pub schema: String,
    /// The job.
    pub job: String,
    /// When the job was started first.
    pub run: String,
    /// The server's address.
    pub server: String,
    /// When the delivery ended, RFC 3339, UTC.
    pub finished: String,
    /// The sketch.
    pub sketch: Option<Link>,
    /// Complete: every slice is proven.
    pub level: Level,
    /// What is missing, a sentence each.
    pub reasons: Vec<String>,
    /// Documents that are proven.
    pub documents: u64,
    /// The slices.
    pub slices: Vec<SliceReceipt>,
}

impl DeliveryRecord {
    /// The record of a job, if there is one.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(folder: &Path) -> Result<Option<Self>, FileError> {
        durable::read_json(&folder.join(FILE), MOST)
    }

    /// Whether this run was delivered whole to this server.
    #[must_use]
    pub fn is_whole(&self, run: &str, server: &str) -> bool {
        self.run == run && self.server == server && self.level == Level::Complete
    }

    /// Whether the events of a slice are proven.
    #[must_use]
    pub fn has_proven(&self, slice: &str) -> bool {
        let proven = |one: &SliceReceipt| one.name == slice && one.stage == Stage::Proven;
        self.slices.iter().any(proven)
    }
}

/// Writes the record of a job whose delivery has ended; none while it goes on.
///
/// # Errors
/// A file cannot be read or written.
pub fn keep(
    outbox: &Outbox,
    job: &str,
    folder: &Path,
) -> Result<Option<DeliveryRecord>, FileError> {
    let (Some(order), Some(receipt)) = (outbox.order(job)?, outbox.receipt(job)?) else {
        return Ok(None);
    };
    let handed = outbox.slices(job)?;
    let Some(delivered) = receipt::ended(&order, &handed, &receipt) else {
        return Ok(None);
    };
    let record = record(&order, &handed, &receipt, delivered, outbox.server());
    durable::write_json(&folder.join(FILE), &record)?;
    Ok(Some(record))
}

/// What is kept of a receipt: nothing about slices that were not handed over, and no text that is not printable.
fn record(
    order: &Order,
    handed: &[HandedSlice],
    receipt: &Receipt,
    delivered: Delivered,
    server: &str,
) -> DeliveryRecord {
    let link = |link: &Link| Link {
        id: link.id,
        name: printable::line(&link.name, 255),
        url: printable::line(&link.url, 500),
    };
    let known = |one: &&SliceReceipt| handed.iter().any(|slice| slice.name == one.name);
    let slices = receipt.slices.iter().filter(known).map(|one| SliceReceipt {
        timeline: one.timeline.as_ref().map(link),
        error: one.error.as_ref().map(|error| printable::line(error, 1000)),
        sha256: printable::line(&one.sha256, 64),
        ..one.clone()
    });
    DeliveryRecord {
        schema: SCHEMA.to_owned(),
        job: order.job.clone(),
        run: order.run.clone(),
        server: server.to_owned(),
        finished: clock::now(),
        sketch: receipt.sketch.as_ref().map(link),
        level: delivered.level,
        reasons: delivered.reasons,
        documents: delivered.documents,
        slices: slices.collect(),
    }
}

/// Clears up behind a delivery that is whole: the outbox, and, where they are not to be kept, the storage files.
///
/// # Errors
/// The system's refusal.
pub fn clear(
    outbox: &Outbox,
    record: &DeliveryRecord,
    folder: &Path,
    keep_storage: bool,
) -> Result<(), FileError> {
    if record.level != Level::Complete {
        return Ok(());
    }
    outbox.withdraw(&record.job)?;
    outbox.forget_receipt(&record.job);
    if keep_storage {
        return Ok(());
    }
    for slice in record
        .slices
        .iter()
        .filter(|slice| slice.stage == Stage::Proven)
    {
        let storage = folder.join("slices").join(&slice.name).join(STORAGE);
        durable::remove_file(&storage)?;
    }
    Ok(())
}
