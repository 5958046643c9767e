//! What is said about a region that cannot be read as a filesystem (pure).
//!
//! Every kind of content has a name, a sentence that says what it is, and what to do. Nothing is passed
//! over: what is not read stands in the verdict unless it cannot hold files at all.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::probe::Content;
use crate::printable;

/// What an unread region means for the job.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// It holds no files; the job can be complete without it.
    Harmless,
    /// It may hold files that are now not in the timeline.
    Lost,
    /// As `Lost`, and a person can make it readable.
    NeedsOperator,
}

/// A region that was not read, and why.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub struct Unread {
    /// A stable name: `luks`, `lvm`, `md`, `ntfs`, `swap`, `empty`, `unknown`, `damaged`, …
    pub name: String,
    /// What it is and what to do, one or two sentences.
    pub sentence: String,
    /// What it means for the verdict.
    pub weight: Weight,
}

fn unread(name: &str, weight: Weight, sentence: impl Into<String>) -> Unread {
    Unread {
        name: name.to_owned(),
        sentence: sentence.into(),
        weight,
    }
}

/// The outcome for content that no mount plan exists for; `None` for a filesystem that is to be mounted.
#[must_use]
pub fn unread_content(content: &Content) -> Option<Unread> {
    Some(match content {
        Content::Filesystem(superblock) => super::plan::mount_plan(&superblock.kind)
            .is_none()
            .then(|| known(&superblock.kind))?,
        Content::Container { kind } => known(kind),
        Content::BootLoader => unread(
            "boot_loader",
            Weight::Harmless,
            "A boot loader's own partition: it holds no filesystem, so there is nothing to read.",
        ),
        Content::Empty => unread(
            "empty",
            Weight::Harmless,
            "Nothing but zeros where it was looked at: no filesystem was ever made here, or it was wiped. \
             Carve the device if files are expected.",
        ),
        Content::Truncated {
            kind,
            expected,
            found,
        } => unread(
            "truncated",
            Weight::Lost,
            format!(
                "A {} filesystem of {expected} bytes in a place of {found} bytes: the end is missing. \
                 Take the image or snapshot again, whole.",
                printable::line(kind, 40)
            ),
        ),
        Content::Damaged { seen } => unread(
            "damaged",
            Weight::Lost,
            format!(
                "A damaged filesystem ({}). Repair a copy (fsck, a backup superblock), never the \
                 evidence, and process the copy.",
                printable::line(seen, 160)
            ),
        ),
        Content::Unknown => unread(
            "unknown",
            Weight::Lost,
            "Data of a kind that is not recognised: perhaps encrypted without a header, a raw database \
             or a damaged filesystem. Look at it with blkid and a carver.",
        ),
        Content::Ambiguous => unread(
            "ambiguous",
            Weight::NeedsOperator,
            "Signatures of several filesystems at once, so the type is a guess that is not made. Look \
             with `blkid -p` and `wipefs --no-act`, make a copy with one signature and process that.",
        ),
        Content::Unreadable { reason } => unread(
            "unreadable",
            Weight::Lost,
            format!(
                "The device gave read errors ({}).",
                printable::line(reason, 120)
            ),
        ),
    })
}

fn known(kind: &str) -> Unread {
    match kind {
        "crypto_LUKS" => unread(
            "luks",
            Weight::NeedsOperator,
            "LUKS encryption: unlock it read-only with the key (`cryptsetup open --readonly`) and process \
             the opened device.",
        ),
        "BitLocker" => unread(
            "bitlocker",
            Weight::NeedsOperator,
            "BitLocker encryption: unlock it with the key and process the opened volume.",
        ),
        "LVM2_member" | "LVM1_member" => unread(
            "lvm",
            Weight::NeedsOperator,
            "An LVM physical volume: activate its volume group read-only (`vgchange --config \
             'global{metadata_read_only=1}' -ay`) and process each logical volume.",
        ),
        "linux_raid_member" => unread(
            "md",
            Weight::NeedsOperator,
            "A member of a Linux software RAID: assemble it read-only with its other members (`mdadm \
             --assemble --readonly`) and process the array.",
        ),
        "ntfs" => unread(
            "ntfs",
            Weight::Lost,
            "NTFS, a Windows filesystem: this program makes Linux timelines. Process it with Plaso's \
             Windows filter.",
        ),
        "swap" | "swsuspend" => unread(
            "swap",
            Weight::Harmless,
            "Swap space: it holds no files. Keep it for memory analysis.",
        ),
        other => {
            let name = printable::line(other, 40);
            unread(
                "unsupported",
                Weight::Lost,
                format!(
                    "{name}: a kind this program does not mount. Mount it read-only yourself and \
                         process the folder."
                ),
            )
        }
    }
}

/// The outcome for a filesystem that the kernel refused to mount.
#[must_use]
pub fn refused_mount(kind: &str, error: Option<i32>) -> Unread {
    use nix::libc::{EBADMSG, EBUSY, EINVAL, EIO, ENODEV, ENOENT, EUCLEAN};
    let kind = printable::line(kind, 40);
    match error {
        Some(ENODEV) => unread(
            "no_driver",
            Weight::NeedsOperator,
            format!(
                "This kernel has no {kind} driver. Load it (`modprobe {kind}`) or use a kernel that \
                     has it, then process the source again."
            ),
        ),
        Some(EBADMSG) => unread(
            "damaged",
            Weight::Lost,
            format!(
                "The {kind} superblock's checksum is wrong. Repair a copy from a backup superblock and \
                     process the copy."
            ),
        ),
        Some(EUCLEAN) => unread(
            "damaged",
            Weight::Lost,
            format!(
                "The {kind} filesystem's structure is damaged. Repair a copy with its fsck and process \
                     the copy."
            ),
        ),
        Some(EIO) => unread(
            "damaged",
            Weight::Lost,
            format!(
                "The {kind} filesystem could not be read: the device gave errors or its end is missing. \
                     Check the device, then repair a copy."
            ),
        ),
        Some(ENOENT) => unread(
            "incomplete",
            Weight::NeedsOperator,
            format!(
                "The {kind} filesystem spans several devices and one is missing. Attach all of them."
            ),
        ),
        Some(EBUSY) => unread(
            "busy",
            Weight::NeedsOperator,
            format!(
                "The {kind} filesystem is in use by somebody else. Release it and process again."
            ),
        ),
        Some(EINVAL) => unread(
            "damaged",
            Weight::Lost,
            format!(
                "The kernel does not accept this {kind} filesystem: damaged, or with features newer than \
                     the kernel."
            ),
        ),
        other => {
            let reason = other.map_or_else(
                || "no reason given".to_owned(),
                |code| std::io::Error::from_raw_os_error(code).to_string(),
            );
            unread(
                "refused",
                Weight::Lost,
                format!("The kernel did not mount this {kind} filesystem: {reason}."),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_and_a_sentence() {
        let container = |kind: &str| Content::Container {
            kind: kind.to_owned(),
        };
        let named = |content: &Content| unread_content(content).unwrap().name;
        for (kind, name) in [
            ("crypto_LUKS", "luks"),
            ("LVM2_member", "lvm"),
            ("linux_raid_member", "md"),
            ("ntfs", "ntfs"),
            ("swap", "swap"),
            ("zfs_member", "unsupported"),
        ] {
            assert_eq!(named(&container(kind)), name);
        }
        for content in [
            Content::Empty,
            Content::Unknown,
            Content::Ambiguous,
            Content::BootLoader,
        ] {
            assert!(unread_content(&content).unwrap().sentence.ends_with('.'));
        }
    }

    #[test]
    fn a_hostile_type_name_cannot_reach_the_terminal() {
        let outcome = unread_content(&Content::Container {
            kind: "a\u{1b}[2Jb".to_owned(),
        })
        .unwrap();
        assert!(!outcome.sentence.contains('\u{1b}'));
    }
}
