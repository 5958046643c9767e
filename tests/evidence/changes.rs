//! Folders, whole hashes, sources that change between calls, other users of an image.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use libtest_mimic::{Failed, Trial};
use serde_json::Value;

use crate::case::{
    CLEANED_UP, Case, FEW_PATHS, HANGING, Undo, assert_custody, assert_nothing_left, holds_within,
    in_job, make_tree, sha256sum, timeline,
};
use crate::kills::cage_of;
use crate::lab::{self, Finished, Need, job_folder, manifest, tool, trial};

pub fn trials() -> Vec<Trial> {
    let needs = [Need::Root, Need::Plaso, Need::Driver("ext4")];
    vec![
        trial(
            "a_folder_keeps_its_files_and_their_access_times",
            &needs,
            folder_is_untouched,
        ),
        trial(
            "a_whole_hash_is_kept_and_verify_sees_every_change",
            &needs,
            whole_hash_and_verify,
        ),
        trial(
            "an_image_written_to_between_two_calls_is_refused",
            &needs,
            written_between_calls,
        ),
        trial(
            "an_image_with_another_sampled_sector_is_another_job",
            &needs,
            another_content_is_another_job,
        ),
        trial(
            "an_image_that_is_a_writable_loop_is_refused",
            &needs,
            writable_loop_is_refused,
        ),
    ]
}

/// Every path below a folder with what the system says about it.
fn facts(folder: &Path) -> BTreeMap<PathBuf, [i64; 7]> {
    let mut all = BTreeMap::new();
    for path in walk(folder) {
        let about = fs::symlink_metadata(&path).unwrap();
        let size = i64::try_from(about.size()).unwrap();
        let (read, changed) = (
            [about.atime(), about.atime_nsec()],
            [about.ctime(), about.ctime_nsec()],
        );
        let row = [
            size,
            about.mtime(),
            about.mtime_nsec(),
            read[0],
            read[1],
            changed[0],
            changed[1],
        ];
        all.insert(path, row);
    }
    all
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![folder.to_path_buf()];
    let mut next = 0;
    while let Some(path) = all.get(next).cloned() {
        next += 1;
        if path.is_dir() {
            all.extend(
                fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
    }
    all
}

fn contents(folder: &Path) -> Vec<String> {
    let files = walk(folder).into_iter().filter(|path| path.is_file());
    files
        .map(|path| format!("{} {}", path.display(), sha256sum(&path)))
        .collect()
}

/// An access time so old that the kernel sets a new one at the next reading, if it may.
fn make_old(path: &Path) {
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(978_307_200);
    let times = FileTimes::new().set_accessed(long_ago);
    File::open(path).unwrap().set_times(times).unwrap();
}

fn folder_is_untouched() -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    let source = work.path().join("tree");
    make_tree(&source);
    let content = contents(&source);
    walk(&source).iter().for_each(|path| make_old(path));
    let before = facts(&source);
    let case = Case {
        work,
        source: source.clone(),
        before: String::new(),
    };
    let done = case.process();
    let after = facts(&source);
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    assert_eq!(after, before, "sizes and times");
    assert_eq!(contents(&source), content);
    assert_nothing_left(case.mark());
    let history = source.join("root/.bash_history");
    if facts(&source)[&history] == before[&history] {
        eprintln!("NOTE: this file system keeps no access times, so they prove nothing here");
    }
    let manifest = manifest(&case.out());
    assert_eq!(manifest["source"]["kind"], "folder");
    let listings = manifest["custody"]["listings"].as_array().unwrap();
    assert_eq!(listings.len(), 1);
    assert!(listings[0][0].is_string());
    assert_eq!(listings[0][0], listings[0][1]);
    assert_eq!(manifest["custody"]["differences"], Value::Array(Vec::new()));
    assert!(timeline(&case).contains("Failed password"));
    Ok(())
}

fn verify(manifest: &Path, more: &[&str]) -> Finished {
    lab::finish(lab::dfagent().arg("verify").arg(manifest).args(more))
}

/// Turns the bits of one byte.
fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[!byte[0]], offset).unwrap();
}

/// A byte that no sampled sector holds, so that only the whole hash or the file's stamp can tell.
fn unsampled(before: &Value) -> u64 {
    let sectors = before["sectors"].as_array().unwrap();
    let starts: Vec<u64> = sectors
        .iter()
        .map(|sector| sector["offset"].as_u64().unwrap())
        .collect();
    let free = |byte: &u64| {
        !starts
            .iter()
            .any(|start| (*start..start + 4096).contains(byte))
    };
    (1 << 20..).find(free).unwrap()
}

fn whole_hash_and_verify() -> Result<(), Failed> {
    let case = Case::of("ext4-clean");
    let done = lab::finish(case.command(&case.out(), &[FEW_PATHS]).arg("--full-hash"));
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    case.assert_untouched();
    let record = manifest(&case.out());
    assert_custody(&record);
    for moment in ["before", "after"] {
        assert_eq!(
            record["custody"][moment]["full_sha256"], case.before,
            "{moment}"
        );
    }

    let file = job_folder(&case.out()).join("manifest.json");
    let same = verify(&file, &[]);
    assert_eq!(same.code, 0, "{}{}", same.out, same.err);
    assert!(
        same.out.lines().all(|line| line.starts_with("same ")),
        "{}",
        same.out
    );

    let copy = case.at("copy.img");
    fs::copy(&case.source, &copy)?;
    let elsewhere = ["--source", copy.to_str().unwrap()];
    assert_eq!(verify(&file, &elsewhere).code, 0, "a true copy");
    flip(&copy, unsampled(&record["custody"]["before"]));
    let changed = verify(&file, &elsewhere);
    assert_eq!(changed.code, 1, "{}{}", changed.out, changed.err);
    assert_changed(&changed, &format!("evidence {}", copy.display()));

    flip(&file.with_file_name("timeline.jsonl"), 10);
    let changed = verify(&file, &[]);
    assert_eq!(changed.code, 1, "{}{}", changed.out, changed.err);
    assert_changed(&changed, "timeline.jsonl");
    Ok(())
}

/// Exactly one thing is said to be changed, and it is this one.
fn assert_changed(report: &Finished, what: &str) {
    let changed: Vec<&str> = report
        .out
        .lines()
        .filter(|line| !line.starts_with("same "))
        .collect();
    assert_eq!(changed.len(), 1, "{}", report.out);
    assert!(changed[0].starts_with("changed "), "{}", report.out);
    assert!(changed[0].contains(what), "{}", report.out);
}

/// A job that was broken off once its plan was made; its folder.
fn broken_off(case: &Case) -> PathBuf {
    let mut command = case.command(&case.out(), &[FEW_PATHS]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let planned = holds_within(HANGING, || in_job(&case.out(), "plan.json"));
    let agent = child.id();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(planned, "the job gets a plan");
    assert!(holds_within(CLEANED_UP, || cage_of(agent, case.mark()).is_empty()));
    let folder = job_folder(&case.out());
    assert!(!folder.join("manifest.json").exists(), "it is not finished");
    folder
}

fn job_record(folder: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.join("job.json")).unwrap()).unwrap()
}

fn written_between_calls() -> Result<(), Failed> {
    let case = Case::of("ext4-clean");
    let folder = broken_off(&case);
    let record = job_record(&folder);
    flip(&case.source, unsampled(&record["before"]));
    let again = case.process();
    assert_eq!(again.code, 5, "{}{}", again.out, again.err);
    for word in ["written to", "the source changed", "another --to folder"] {
        assert!(
            again.err.contains(word),
            "{word:?} is not in: {}",
            again.err
        );
    }
    assert_eq!(job_folder(&case.out()), folder, "no other job is begun");
    assert_eq!(job_record(&folder), record, "and the old one is as it was");
    assert!(!folder.join("manifest.json").exists());
    assert_nothing_left(case.mark());
    Ok(())
}

/// The key of a job is made from the content that is sampled, so this is not the old job gone on with.
fn another_content_is_another_job() -> Result<(), Failed> {
    let mut case = Case::of("ext4-clean");
    let old = broken_off(&case);
    let record = job_record(&old);
    flip(&case.source, 0); // the boot block, which the filesystem does not use
    case.before = sha256sum(&case.source);
    let again = case.process();
    assert_eq!(again.code, 0, "{}{}", again.out, again.err);
    case.assert_untouched();
    let jobs = fs::read_dir(case.out())?
        .flatten()
        .map(|entry| entry.path());
    let new: Vec<PathBuf> = jobs.filter(|path| *path != old).collect();
    assert_eq!(new.len(), 1, "{new:?}");
    assert!(new[0].join("manifest.json").exists());
    assert_eq!(job_record(&old), record, "the old job is as it was");
    assert!(!old.join("manifest.json").exists());
    Ok(())
}

fn writable_loop_is_refused() -> Result<(), Failed> {
    let case = Case::of("ext4-clean");
    let device = tool(
        "losetup",
        &[
            "--find".as_ref(),
            "--show".as_ref(),
            case.source.as_os_str(),
        ],
    );
    let device = device.trim();
    let attached = Undo::by(&["losetup", "--detach", device]);
    // The read-only flag sticks to the number of a loop device, whoever had it before.
    tool("blockdev", &["--setrw", device]);
    case.assert_refused(&[device, "writable loop"]);
    drop(attached);
    assert_nothing_left(case.mark());
    Ok(())
}
