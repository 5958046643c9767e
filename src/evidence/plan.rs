//! Which options mount a filesystem without writing to it (pure).
//!
//! The options are those for which no sector of the device changed in any state (clean, dirty
//! journal, orphans, error flag, copied while live) on a read-only loop device, Linux 6.1 and 6.18.
//! `errors=continue` also takes the sting out of a superblock that asks for a kernel panic.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a filesystem can be read by Plaso.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reading {
    /// From the read-only device, by Plaso's own filesystem code: clean paths and birth times.
    Raw,
    /// From the read-only mount.
    Mount,
}

/// One way to mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Options for the filesystem driver, beyond the flags that every mount gets.
    pub options: &'static str,
    /// What a success tells about the journal; none if it tells nothing.
    pub journal_dirty: Option<bool>,
}

/// How to mount one kind of filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountPlan {
    /// The kernel's name of the driver.
    pub driver: &'static str,
    /// Ways to try, in this order; the next is tried only when the kernel asks for a replay.
    pub attempts: &'static [Attempt],
    /// The best way for Plaso to read it, if its library is new enough.
    pub raw: RawReading,
}

/// Whether Plaso's own code may read this filesystem from the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawReading {
    /// Its library has read this filesystem right in every test.
    Always,
    /// Right from this version of libfsxfs on; older ones date bigtime stamps to 1999.
    FromLibfsxfs(u32),
    /// Plaso has no code for it, or none to trust.
    Never,
}

const fn only(options: &'static str) -> Attempt {
    Attempt {
        options,
        journal_dirty: None,
    }
}

const EXT2: &[Attempt] = &[only("errors=continue")];
const EXT_JOURNAL: &[Attempt] = &[only("noload,errors=continue")];
const XFS: &[Attempt] = &[
    Attempt {
        options: "nouuid",
        journal_dirty: Some(false),
    },
    Attempt {
        options: "norecovery,nouuid",
        journal_dirty: Some(true),
    },
];
const BTRFS: &[Attempt] = &[only("rescue=nologreplay")];
const PLAIN: &[Attempt] = &[only("")];

/// The plan for libblkid's name of a filesystem; none if this program does not mount it.
///
/// XFS does not say in its superblock whether the log is clean. On a device that cannot be written the
/// kernel refuses a dirty log with `EROFS` and touches nothing, so the plain mount is the question.
#[must_use]
pub fn mount_plan(kind: &str) -> Option<MountPlan> {
    let plan = |driver, attempts, raw| {
        Some(MountPlan {
            driver,
            attempts,
            raw,
        })
    };
    match kind {
        "ext2" => plan("ext2", EXT2, RawReading::Always),
        "ext3" => plan("ext3", EXT_JOURNAL, RawReading::Always),
        "ext4" => plan("ext4", EXT_JOURNAL, RawReading::Always),
        "xfs" => plan("xfs", XFS, RawReading::FromLibfsxfs(20_260_701)),
        "btrfs" => plan("btrfs", BTRFS, RawReading::Never),
        "squashfs" => plan("squashfs", PLAIN, RawReading::Never),
        "erofs" => plan("erofs", PLAIN, RawReading::Never),
        "vfat" => plan("vfat", PLAIN, RawReading::Never),
        "iso9660" => plan("iso9660", PLAIN, RawReading::Never),
        _ => None,
    }
}

impl RawReading {
    /// Decides for the installed libfsxfs.
    ///
    /// `names_decodable` is false when the census met a name that is not UTF-8: Plaso's ext code then
    /// gives up the rest of that directory, where the mount loses only the one file.
    #[must_use]
    pub fn choose(self, libfsxfs: Option<u32>, names_decodable: bool) -> Reading {
        let sound = match self {
            Self::Always => true,
            Self::FromLibfsxfs(oldest) => libfsxfs.is_some_and(|version| version >= oldest),
            Self::Never => false,
        };
        if sound && names_decodable {
            Reading::Raw
        } else {
            Reading::Mount
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_plan_lets_a_journal_be_replayed_or_an_error_panic_the_kernel() {
        for kind in ["ext3", "ext4"] {
            for attempt in mount_plan(kind).unwrap().attempts {
                assert!(attempt.options.contains("noload"), "{kind}");
                assert!(attempt.options.contains("errors=continue"), "{kind}");
            }
        }
        let xfs = mount_plan("xfs").unwrap().attempts;
        assert!(xfs.iter().all(|attempt| attempt.options.contains("nouuid")));
        assert!(xfs[1].options.contains("norecovery"));
        assert!(
            mount_plan("btrfs").unwrap().attempts[0]
                .options
                .contains("nologreplay")
        );
        assert!(mount_plan("ntfs").is_none());
    }

    #[test]
    fn raw_reading_needs_a_sound_library_and_decodable_names() {
        let xfs = mount_plan("xfs").unwrap().raw;
        assert_eq!(xfs.choose(Some(20_260_901), true), Reading::Raw);
        assert_eq!(xfs.choose(Some(20_240_501), true), Reading::Mount);
        assert_eq!(xfs.choose(None, true), Reading::Mount);
        assert_eq!(RawReading::Always.choose(None, true), Reading::Raw);
        assert_eq!(RawReading::Always.choose(None, false), Reading::Mount);
        assert_eq!(
            RawReading::Never.choose(Some(99_999_999), true),
            Reading::Mount
        );
    }
}
