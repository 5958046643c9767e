//! An output folder that gets full.

use std::path::Path;
use std::process::Command;

use libtest_mimic::{Failed, Trial};

use super::{lab, sentence, standin};
use lab::{Finished, Need, finish, generate, manifest, tool, trial};

pub fn trials() -> Vec<Trial> {
    let needs = [
        Need::Root,
        Need::Plaso,
        Need::Driver("ext4"),
        Need::Driver("tmpfs"),
    ];
    let tmpfs = [Need::Root, Need::Plaso, Need::Driver("tmpfs")];
    let full = |name: &str, deed, mib| {
        let name = format!("a_folder_that_gets_full_while_{name}_is_no_verdict_over_the_slice");
        trial(name, &tmpfs, move || with_stand_in(deed, mib))
    };
    vec![
        full("documents_are_written", "slow_documents", 40),
        full("the_timeline_is_joined", "large_documents", 32),
        trial(
            "a_full_folder_stops_the_job_and_room_lets_it_go_on",
            &needs,
            while_reading,
        ),
    ]
}

/// A tmpfs, unmounted when dropped.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn of(folder: &'a Path, mib: u32) -> Self {
        std::fs::create_dir(folder).unwrap();
        tool(
            "mount",
            &[
                "-t",
                "tmpfs",
                "-o",
                &format!("size={mib}m"),
                "dfagent-test",
                folder.to_str().unwrap(),
            ],
        );
        Self(folder)
    }

    fn grow(&self, mib: u32) {
        tool(
            "mount",
            &[
                "-o",
                &format!("remount,size={mib}m"),
                self.0.to_str().unwrap(),
            ],
        );
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.0).status());
    }
}

fn process(image: &Path, out: &Path, reserve: &str) -> Finished {
    let mut command = lab::dfagent();
    standin::set(&mut command, &[("WORK__RESERVE_MIB", reserve)]);
    command.arg("process").arg(image).arg("--to").arg(out);
    finish(&mut command)
}

fn while_reading() -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    let (image, out) = (work.path().join("disk.img"), work.path().join("out"));
    generate("disks.py", &["sized", image.to_str().unwrap(), "8000"]);
    let small = Small::of(&out, 40);
    let done = process(&image, &out, "38");
    assert_eq!(done.code, 5, "{}{}", done.out, done.err);
    let words = sentence(&done);
    for word in [
        "MiB are free",
        "38 MiB are kept free",
        "make room and call the same command again",
    ] {
        assert!(words.contains(word), "{word:?} is not in: {words}");
    }
    small.grow(400);
    let done = process(&image, &out, "38");
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    let manifest = manifest(&out);
    assert_eq!(manifest["verdict"]["level"], "complete");
    assert_eq!(manifest["resumed"], 1);
    Ok(())
}

/// An export that takes much room, of a real storage file: the disk is full after the extraction.
fn with_stand_in(deed: &str, mib: u32) -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    let out = work.path().join("out");
    let environment = standin::doing(&work.path().join("plaso"), deed);
    standin::real_storage(work.path(), &environment.join("storage.plaso"));
    let small = Small::of(&out, mib);
    let mut command = standin::dfagent_with(&environment, &[("WORK__RESERVE_MIB", "16")]);
    command.args(standin::make_source(work.path(), 1));
    let done = finish(&mut command);
    assert_eq!(done.code, 5, "{}{}", done.out, done.err);
    assert!(sentence(&done).contains("make room"), "{}", done.err);

    small.grow(400);
    standin::doing(&environment, "large_documents");
    let done = finish(&mut command);
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    let manifest = manifest(&out);
    assert_eq!(manifest["timeline"]["documents"], 12 * 1024);
    Ok(())
}
