//! What the agent makes of a receipt: cleaned of what nobody asked for, and, once it says how a delivery ended, kept
//! in the job's folder as a custody record beside the manifest.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::order::{HandedSlice, Order};
use super::outbox::is_name;
use super::receipt::{
    Delivered, Link, Receipt, SliceReceipt, Stage, Standing, StandingLine, Streamed,
};
use crate::durable::{self, FileError};
use crate::plaso::command::STORAGE;
use crate::plaso::verdict::Level;
use crate::printable;

/// The version of [`DeliveryProof`].
pub const SCHEMA: &str = "dfagent-delivery-1";

/// The record's name in the job's folder.
pub const PROOF: &str = "delivery.json";

/// The largest one that is read.
const MOST: u64 = 16 * 1024 * 1024;

/// Characters of a sentence, of a name and of an address.
const MOST_TEXT: usize = 300;
const MOST_NAME: usize = 120;
const MOST_URL: usize = 500;

/// Lines about the server that are kept.
const MOST_LINES: usize = 20;

/// How the delivery of a job ended.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct DeliveryProof {
    /// `dfagent-delivery-1`.
    pub schema: String,
    /// The job.
    pub job: String,
    /// When the job was started first.
    pub run: String,
    /// SHA-256 of the manifest.
    pub manifest_sha256: String,
    /// How often a person asked to try once more.
    pub again: u32,
    /// When the agent decided this, RFC 3339, UTC.
    pub at: String,
    /// When delivery said what it is made of.
    pub told: String,
    /// The server's address.
    #[serde(default)]
    pub server: String,
    /// The sketch.
    pub sketch: Option<Link>,
    /// Complete: every slice is proven. Partial: some are. Failed: none is.
    pub level: Option<Level>,
    /// What is missing, a sentence each.
    pub reasons: Vec<String>,
    /// Events that are proven.
    pub documents: u64,
    /// The slices.
    pub slices: Vec<SliceProof>,
}

/// How the delivery of a slice ended.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
pub struct SliceProof {
    /// What delivery said, with the numbers that were handed over.
    #[serde(flatten)]
    pub receipt: SliceReceipt,
    /// Whether its storage file is removed from the job's folder, because it is not to be kept.
    pub removed: bool,
}

impl DeliveryProof {
    /// The record about what a cleaned receipt of a server says. Storage files go only when everything is proven.
    #[must_use]
    pub fn of(
        server: &str,
        order: &Order,
        receipt: &Receipt,
        delivered: &Delivered,
        keep: bool,
    ) -> Self {
        let closed = order.closed.clone().unwrap_or_default();
        let removed = !keep && delivered.level == Level::Complete;
        let mine = |one: &&SliceReceipt| closed.slices.contains(&one.name);
        let slices = receipt.slices.iter().filter(mine);
        Self {
            schema: SCHEMA.to_owned(),
            job: order.job.clone(),
            run: order.run.clone(),
            manifest_sha256: closed.manifest_sha256.clone(),
            again: order.again,
            at: crate::clock::now(),
            told: receipt.at.clone(),
            server: server.to_owned(),
            sketch: receipt.sketch.clone(),
            level: Some(delivered.level),
            reasons: delivered.reasons.clone(),
            documents: delivered.documents,
            slices: slices
                .map(|one| SliceProof {
                    receipt: one.clone(),
                    removed: removed && one.stage == Stage::Proven,
                })
                .collect(),
        }
    }

    /// The record in a job's folder; none where there is none.
    ///
    /// # Errors
    /// It cannot be read, or is of another release.
    pub fn read(folder: &Path) -> Result<Option<Self>, FileError> {
        let path = folder.join(PROOF);
        match durable::read_json::<Self>(&path, MOST)? {
            Some(proof) if proof.schema != SCHEMA => Err(FileError::Refused {
                path,
                reason: "it is of a release that this one does not understand",
            }),
            read => Ok(read),
        }
    }

    /// Whether this run was delivered whole to this server.
    #[must_use]
    pub fn is_whole(&self, run: &str, server: &str) -> bool {
        self.run == run && self.server == server && self.level == Some(Level::Complete)
    }

    /// Removes the storage files that are named as proven and not to be kept.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn remove_storage(&self, folder: &Path) -> Result<(), FileError> {
        for slice in self.slices.iter().filter(|slice| slice.removed) {
            let place = folder.join("slices").join(&slice.receipt.name);
            if is_name(&slice.receipt.name) && place.join(STORAGE).exists() {
                durable::remove_file(&place.join(STORAGE))?;
                durable::sync_folder(&place)?;
            }
        }
        Ok(())
    }

    /// Keeps it in the job's folder.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&self, folder: &Path) -> Result<(), FileError> {
        durable::write_json(&folder.join(PROOF), self)
    }
}

/// A receipt without what nobody asked for: only slices that were handed over, by the same content, with the sizes
/// and counts that were handed over; text printable and of a length that can be shown.
#[must_use]
pub fn cleaned(receipt: Receipt, handed: &[HandedSlice]) -> Receipt {
    let slice = |mut one: SliceReceipt| {
        let same = |handed: &&HandedSlice| handed.name == one.name && handed.sha256 == one.sha256;
        let handed = handed.iter().find(same)?;
        (one.bytes, one.expected) = (handed.bytes_to_send(), handed.documents);
        one.sent = one.sent.min(one.bytes);
        one.streamed = one
            .streamed
            .filter(|_| handed.lines.is_some())
            .map(|told| streamed(told, handed));
        one.timeline = one.timeline.and_then(link);
        one.error = one.error.map(|text| printable::line(&text, MOST_TEXT));
        Some(one)
    };
    let mut slices: Vec<SliceReceipt> = Vec::new();
    for one in receipt.slices.into_iter().filter_map(slice) {
        // What is said twice is believed once.
        if !slices.iter().any(|other| other.name == one.name) {
            slices.push(one);
        }
    }
    let text = |text: Option<String>| text.map(|text| printable::line(&text, MOST_TEXT));
    Receipt {
        at: printable::line(&receipt.at, 40),
        sketch: receipt.sketch.and_then(link),
        waits: text(receipt.waits),
        needs: text(receipt.needs),
        slices,
        ..receipt
    }
}

/// No more than there is, and a pace that is a number.
fn streamed(told: Streamed, handed: &HandedSlice) -> Streamed {
    let most = handed.documents;
    Streamed {
        documents: told.documents.min(most),
        refused: told.refused.min(most),
        mended: told.mended.min(most),
        per_second: told
            .per_second
            .filter(|pace| pace.is_finite() && *pace >= 0.0),
    }
}

/// What delivery says about itself, fit to be shown.
#[must_use]
pub fn cleaned_standing(standing: Standing) -> Standing {
    let line = |one: StandingLine| StandingLine {
        state: printable::line(&one.state, 20),
        part: printable::line(&one.part, 40),
        text: printable::line(&one.text, MOST_TEXT),
    };
    Standing {
        schema: printable::line(&standing.schema, 40),
        version: printable::line(&standing.version, 40),
        at: printable::line(&standing.at, 40),
        server: printable::line(&standing.server, MOST_URL),
        ready: standing.ready,
        lines: standing
            .lines
            .into_iter()
            .take(MOST_LINES)
            .map(line)
            .collect(),
    }
}

/// A link that a browser and a hook may be given: the address of a page, in one word.
fn link(link: Link) -> Option<Link> {
    let url = printable::line(&link.url, MOST_URL);
    let is_page = ["https://", "http://"]
        .iter()
        .any(|start| url.starts_with(start));
    let whole = url == link.url && !url.contains(char::is_whitespace);
    (is_page && whole).then(|| Link {
        id: link.id,
        name: printable::line(&link.name, MOST_NAME),
        url,
    })
}

#[cfg(test)]
mod tests {
    use super::super::order::Closed;
    use super::super::receipt::ended;
    use super::*;

    fn handed() -> HandedSlice {
        HandedSlice {
            name: "01".into(),
            sha256: "aa".into(),
            bytes: 100,
            documents: 7,
            ..HandedSlice::default()
        }
    }

    fn said(sha256: &str, stage: Stage) -> SliceReceipt {
        SliceReceipt {
            name: "01".into(),
            sha256: sha256.into(),
            stage,
            found: Some(7),
            ..SliceReceipt::default()
        }
    }

    fn evil() -> Link {
        Link {
            id: 1,
            name: "a\u{1b}[2Jb".into(),
            url: "https://x/sketch/1/".into(),
        }
    }

    #[test]
    fn what_was_not_handed_over_is_not_in_a_cleaned_receipt() {
        let mut large = said("aa", Stage::Uploading);
        (large.sent, large.bytes, large.expected) = (u64::MAX, u64::MAX, 1);
        large.error = Some("\u{1b}[31m".repeat(1000));
        let receipt = Receipt {
            slices: vec![said("bb", Stage::Proven), large, said("aa", Stage::Proven)],
            waits: Some("x\ny\u{202e}".into()),
            sketch: Some(evil()),
            ..Receipt::default()
        };
        let clean = cleaned(receipt, &[handed()]);
        assert_eq!(clean.slices.len(), 1);
        let one = &clean.slices[0];
        assert_eq!((one.sent, one.bytes, one.expected), (100, 100, 7));
        assert_eq!(one.stage, Stage::Uploading);
        let text = serde_json::to_string(&clean).unwrap();
        assert!(
            !text.contains("\\u001b") && !text.contains('\u{202e}'),
            "{text}"
        );
        assert!(text.len() < 5000, "{}", text.len());
    }

    #[test]
    fn a_link_that_is_no_page_is_left_out() {
        for bad in [
            "javascript:alert(1)",
            "-rf",
            "",
            "https://x/\u{1b}[2J",
            "https://x y",
        ] {
            let one = Link {
                url: bad.into(),
                ..evil()
            };
            assert_eq!(link(one), None, "{bad:?}");
        }
        assert!(link(evil()).is_some());
    }

    #[test]
    fn storage_is_only_removed_when_all_is_proven_and_it_is_not_to_be_kept() {
        let closed = Closed {
            slices: vec!["01".into()],
            ..Closed::default()
        };
        let order = Order {
            closed: Some(closed),
            ..Order::default()
        };
        for (stage, keep, removed) in [
            (Stage::Proven, true, false),
            (Stage::Proven, false, true),
            (Stage::Short, false, false),
        ] {
            let receipt = Receipt {
                slices: vec![said("aa", stage)],
                ..Receipt::default()
            };
            let receipt = cleaned(receipt, &[handed()]);
            let delivered = ended(&order, &[handed()], &receipt).unwrap();
            let proof = DeliveryProof::of("https://t", &order, &receipt, &delivered, keep);
            assert_eq!(proof.slices[0].removed, removed, "{stage:?} {keep}");
            let folder = tempfile::tempdir().unwrap();
            proof.keep(folder.path()).unwrap();
            assert_eq!(DeliveryProof::read(folder.path()).unwrap(), Some(proof));
        }
    }
}
