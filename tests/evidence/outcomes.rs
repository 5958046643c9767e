//! What cannot be read has a name, and what can be read in spite of damage is read.

use std::fs;
use std::process::{Command, Stdio};

use libtest_mimic::{Failed, Trial};

use crate::case::{Case, assert_custody, timeline};
use crate::lab::{Need, manifest, reasons, trial};
use crate::states::maker;

/// Image, name of the outcome, exit code (5 where a person can make it readable), what its sentence has to
/// say, the program that makes it.
type Outcome = (&'static str, &'static str, i32, &'static str, &'static str);

const UNLOCK: &str = "cryptsetup open --readonly";
const OUTCOMES: &[Outcome] = &[
    ("luks", "luks", 5, UNLOCK, "cryptsetup"),
    ("luks1", "luks", 5, UNLOCK, "cryptsetup"),
    ("lvm", "lvm", 5, "vgchange", "vgcreate"),
    ("md", "md", 5, "mdadm --assemble --readonly", "python3"),
    ("ntfs", "ntfs", 1, "Windows", "mkfs.ntfs"),
    ("swap", "swap", 1, "holds no files", "mkswap"),
    ("empty", "empty", 1, "Nothing but zeros", "python3"),
    ("random", "unknown", 1, "not recognised", "python3"),
    (
        "truncated-ext4",
        "truncated",
        1,
        "25165824 bytes: the end is",
        "mkfs.ext4",
    ),
    (
        "truncated-xfs",
        "truncated",
        1,
        "104857600 bytes: the end is",
        "mkfs.xfs",
    ),
    (
        "damaged-ext4",
        "damaged",
        1,
        "checksum is wrong",
        "mkfs.ext4",
    ),
    (
        "zeroed-superblock",
        "damaged",
        1,
        "no superblock, but a backup",
        "mkfs.ext4",
    ),
];

pub fn trials() -> Vec<Trial> {
    let mut trials = named();
    trials.extend(without_driver());
    trials.extend(partition_tables());
    trials
}

fn named() -> Vec<Trial> {
    let mut trials: Vec<Trial> = OUTCOMES
        .iter()
        .map(|&(image, name, code, words, program)| {
            let mut needs = vec![Need::Root, Need::Plaso, Need::Program(program)];
            // The generator mounts what it damages afterwards.
            needs.extend(match program {
                "mkfs.ext4" => Some(Need::Driver("ext4")),
                "mkfs.xfs" => Some(Need::Driver("xfs")),
                _ => None,
            });
            trial(
                format!("{image}_is_called_{name}_and_untouched"),
                &needs,
                move || named_and_untouched(image, name, code, words),
            )
        })
        .collect();
    let needs = [Need::Root, Need::Plaso, Need::Driver("ext4")];
    trials.push(trial(
        "a_superblock_that_asks_for_a_panic_gets_none",
        &needs,
        panic_is_refused,
    ));
    trials
}

fn named_and_untouched(image: &str, name: &str, code: i32, words: &str) -> Result<(), Failed> {
    let case = Case::of(image);
    let done = case.process();
    assert_eq!(done.code, code, "{}{}", done.out, done.err);
    case.assert_untouched();
    let manifest = manifest(&case.out());
    assert_custody(&manifest);
    assert_eq!(manifest["verdict"]["level"], "failed");
    assert!(manifest["timeline"].is_null());
    let unread = &manifest["filesystems"][0]["unread"];
    assert_eq!(unread["name"], name);
    let sentence = unread["sentence"].as_str().unwrap();
    assert!(sentence.contains(words), "{words:?} is not in: {sentence}");
    let harmless = unread["weight"] == "harmless";
    let expected = if harmless {
        vec!["nothing_read"]
    } else {
        vec![name, "nothing_read"]
    };
    assert_eq!(reasons(&manifest), expected);
    let shown = done.out.contains(&format!("not read ({name})"));
    assert!(shown, "people are told: {}", done.out);
    Ok(())
}

/// Were `errors=continue` missing, reading cron.log would stop this machine.
fn panic_is_refused() -> Result<(), Failed> {
    let case = Case::of("errors-panic");
    let done = case.process();
    assert_eq!(done.code, 3, "{}{}", done.out, done.err);
    case.assert_untouched();
    let manifest = manifest(&case.out());
    assert_custody(&manifest);
    let filesystem = &manifest["filesystems"][0];
    let options = filesystem["view"]["mount_options"].as_str().unwrap();
    assert!(
        options.split(',').any(|option| option == "errors=continue"),
        "{options}"
    );
    let unreadable = filesystem["unreadable"].to_string();
    assert!(
        unreadable.contains("/var/log/cron.log"),
        "the damaged file was met and named: {unreadable}"
    );
    assert!(
        timeline(&case).contains("Failed password"),
        "the rest is read"
    );
    Ok(())
}

/// An image, label and filesystem of both its partitions, and what is noted about its table.
type Table = (
    &'static str,
    [(&'static str, &'static str); 2],
    &'static str,
);

fn partition_tables() -> Vec<Trial> {
    let tables: [Table; 3] = [
        ("gpt-two", [("p1", "ext4"), ("p2", "xfs")], ""),
        (
            "gpt-damaged",
            [("p1", "ext4"), ("p2", "xfs")],
            "its backup was used",
        ),
        ("mbr-two", [("p1", "ext4"), ("p5", "ext3")], ""),
    ];
    let trials = tables.map(|(image, parts, note)| {
        let mut needs = vec![Need::Root, Need::Plaso, Need::Program("sfdisk")];
        needs.extend(parts.map(|(_, kind)| Need::Driver(kind)));
        trial(
            format!("both_filesystems_of_{image}_are_read"),
            &needs,
            move || both_are_read(image, parts, note),
        )
    });
    trials.into()
}

fn both_are_read(image: &str, parts: [(&str, &str); 2], note: &str) -> Result<(), Failed> {
    let case = Case::of(image);
    let done = case.process();
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    case.assert_untouched();
    let manifest = manifest(&case.out());
    assert_custody(&manifest);
    let notes = manifest["table_notes"].to_string();
    assert!(notes.contains(note), "{notes}");
    assert_eq!(notes == "[]", note.is_empty(), "{notes}");
    let filesystems = manifest["filesystems"].as_array().unwrap();
    assert_eq!(filesystems.len(), 2);
    let slices = manifest["slices"].as_array().unwrap();
    for (filesystem, (label, kind)) in filesystems.iter().zip(parts) {
        assert_eq!(
            (&filesystem["label"], &filesystem["kind"]),
            (&label.into(), &kind.into())
        );
        let documents: u64 = slices
            .iter()
            .filter(|slice| slice["filesystem"] == label)
            .map(|slice| slice["documents"].as_u64().unwrap())
            .sum();
        assert!(documents > 30, "{label} is in the timeline: {documents}");
    }
    Ok(())
}

/// Filesystems that the program mounts but that many kernels have no driver for.
fn without_driver() -> Vec<Trial> {
    let images = [
        ("vfat-dirty", "vfat"),
        ("mbr-vfat", "vfat"),
        ("iso9660-clean", "iso9660"),
    ];
    let trials = images.map(|(name, kind)| {
        let there = has_driver(kind);
        let needs = [
            Need::Root,
            Need::Plaso,
            maker(kind),
            Need::Other(!there, "a kernel without the driver"),
        ];
        trial(
            format!("{name}_without_a_driver_is_said_to_need_one"),
            &needs,
            move || named_and_untouched(name, "no_driver", 5, &format!("modprobe {kind}")),
        )
    });
    trials.into()
}

fn has_driver(kind: &str) -> bool {
    drop(
        Command::new("modprobe")
            .args(["-q", kind])
            .stderr(Stdio::null())
            .status(),
    );
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    known.split_whitespace().any(|word| word == kind)
}
