//! Every filesystem in every state.

use libtest_mimic::{Failed, Trial};

use crate::case::{Case, assert_custody, timeline};
use crate::lab::{Need, manifest, reasons, trial};

/// One row for each image of states.py that can be mounted: its name, libblkid's name of the filesystem,
/// whether its journal is dirty (none where the filesystem has nothing to say), the exit code, and which
/// logs show without a replay. XFS with nothing but a log shows no file, so there is no timeline.
type State = (
    &'static str,
    &'static str,
    Option<bool>,
    i32,
    &'static [&'static str],
);

const CRON: &str = "run-parts /etc/cron.hourly";
const LATE: &str = "late message";

const STATES: &[State] = &[
    ("ext2-clean", "ext2", Some(false), 0, &[CRON]),
    ("ext2-unclean", "ext2", Some(false), 0, &[CRON, LATE]),
    ("ext2-error", "ext2", Some(false), 0, &[CRON]),
    ("ext2-snap", "ext2", Some(false), 0, &[LATE]),
    ("ext3-clean", "ext3", Some(false), 0, &[CRON]),
    ("ext3-dirty", "ext3", Some(true), 3, &[CRON, LATE]),
    ("ext3-orphan", "ext3", Some(true), 3, &[CRON]),
    ("ext3-error", "ext3", Some(false), 0, &[CRON]),
    ("ext3-snap", "ext3", Some(true), 3, &[CRON]),
    ("ext4-clean", "ext4", Some(false), 0, &[CRON]),
    ("ext4-dirty", "ext4", Some(true), 3, &[CRON, LATE]),
    ("ext4-orphan", "ext4", Some(true), 3, &[CRON]),
    ("ext4-orphan-file", "ext4", Some(true), 3, &[CRON]),
    ("ext4-dirty-orphan", "ext4", Some(true), 3, &[CRON, LATE]),
    ("ext4-error", "ext4", Some(false), 0, &[CRON]),
    ("ext4-dirty-error", "ext4", Some(true), 3, &[CRON, LATE]),
    ("ext4-snap", "ext4", Some(true), 3, &[CRON]),
    (
        "ext4-nojournal-unclean",
        "ext4",
        Some(false),
        0,
        &[CRON, LATE],
    ),
    ("xfs-clean", "xfs", Some(false), 0, &[CRON]),
    ("xfs-dirty", "xfs", Some(true), 1, &[]),
    ("xfs-orphan", "xfs", Some(true), 1, &[]),
    ("xfs-snap", "xfs", Some(true), 3, &[CRON]),
    ("btrfs-clean", "btrfs", Some(false), 0, &[CRON]),
    ("btrfs-dirty", "btrfs", Some(true), 3, &[CRON]),
    ("btrfs-orphan", "btrfs", Some(true), 3, &[CRON]),
    ("btrfs-snap", "btrfs", Some(true), 3, &[CRON]),
    ("squashfs-clean", "squashfs", None, 0, &[CRON]),
    ("erofs-clean", "erofs", None, 0, &[CRON]),
    ("vfat-clean", "vfat", None, 0, &[CRON]),
    ("vfat-dirty", "vfat", None, 0, &[CRON]),
    ("mbr-vfat", "vfat", None, 0, &[CRON]),
    ("iso9660-clean", "iso9660", None, 0, &[CRON]),
];

/// The program that states.py needs for a filesystem.
pub fn maker(kind: &str) -> Need {
    Need::Program(match kind {
        "xfs" => "mkfs.xfs",
        "btrfs" => "mkfs.btrfs",
        "squashfs" => "mksquashfs",
        "erofs" => "mkfs.erofs",
        "vfat" => "mkfs.vfat",
        "iso9660" => "genisoimage",
        _ => "mkfs.ext4",
    })
}

pub fn trials() -> Vec<Trial> {
    let trials = STATES.iter().map(|state| {
        let (name, kind, ..) = *state;
        let needs = [Need::Root, Need::Plaso, Need::Driver(kind), maker(kind)];
        trial(
            format!("a_disk_that_is_{name}_is_read_and_untouched"),
            &needs,
            move || read_and_untouched(state),
        )
    });
    trials.collect()
}

fn read_and_untouched(state: &State) -> Result<(), Failed> {
    let &(name, kind, dirty, code, shown) = state;
    let case = Case::of(name);
    let done = case.process();
    assert_eq!(done.code, code, "{}{}", done.out, done.err);
    case.assert_untouched();
    let manifest = manifest(&case.out());
    assert_custody(&manifest);
    let filesystem = &manifest["filesystems"][0];
    assert_eq!(filesystem["kind"], kind);
    let view = &filesystem["view"];
    assert_eq!(view["kind"], "direct");
    assert_eq!(view["journal_dirty"], serde_json::to_value(dirty)?);
    assert_eq!(view["recorded_errors"], name.ends_with("-error"));
    let mut expected = Vec::new();
    if dirty == Some(true) {
        expected.push("journal_not_replayed");
    }
    if code == 1 {
        expected.push("nothing_read");
    }
    assert_eq!(reasons(&manifest), expected, "{}", done.out);
    let text = timeline(&case);
    for log in [CRON, LATE] {
        let here = text.contains(log);
        assert_eq!(
            here,
            shown.contains(&log),
            "whether the timeline has {log:?}"
        );
    }
    Ok(())
}
