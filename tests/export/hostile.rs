//! Storage files that are none, or hostile: each ends with a sentence, soon and in little memory.

use std::fs;
use std::path::Path;
use std::process::Command;

use libtest_mimic::{Failed, Trial};

use crate::exporters::{Case, here, succeed};
use crate::lab::{Finished, Need, trial};

/// Seconds of CPU and KiB of memory within which each of them ends: far above what is needed, far below harm.
const SECONDS: u32 = 30;
const KIBIBYTES: u32 = 1 << 20;

pub fn trials() -> Vec<Trial> {
    let plaso = [Need::Plaso];
    vec![
        trial("what_is_no_storage_file_is_refused", &plaso, no_store),
        trial(
            "storage_files_that_end_too_early_are_refused",
            &plaso,
            truncated,
        ),
        trial("hostile_storage_files_end_with_a_sentence", &plaso, hostile),
        trial(
            "an_event_that_psort_dies_of_is_not_left_out_in_silence",
            &plaso,
            deadly,
        ),
        trial("an_output_that_is_there_is_kept", &plaso, existing_output),
    ]
}

/// It ended with exit code 1 and one sentence, and left no receipt.
pub fn assert_refused(case: &Case, done: &Finished, what: &str) {
    assert_eq!(done.code, 1, "{what}: {}{}", done.out, done.err);
    assert_sentence(done, what);
    assert_eq!(case.receipt(), None, "{what}");
}

/// One sentence that a terminal can show, and nothing of ours gone wrong.
pub fn assert_sentence(done: &Finished, what: &str) {
    let sentence = done.err.strip_suffix('\n').unwrap_or(&done.err);
    assert!(
        sentence.len() > 20 && sentence.len() < 600 && !sentence.contains(char::is_control),
        "{what}: {sentence:?}"
    );
    assert!(!sentence.contains("panicked"), "{what}: {sentence}");
}

/// It was refused, or all of it was exported as the receipt says.
pub fn assert_ended(case: &Case, done: &Finished, what: &str) {
    if done.code != 0 {
        assert_refused(case, done, what);
        return;
    }
    let receipt = case.receipt().unwrap();
    let text = fs::read(case.path("ours.jsonl")).unwrap();
    let lines = text.iter().filter(|byte| **byte == b'\n').count();
    let number = |name: &str| receipt[name].as_u64().unwrap();
    assert_eq!(number("documents"), lines as u64, "{what}");
    assert_eq!(
        number("documents") + number("duplicates"),
        number("events"),
        "{what}"
    );
}

fn no_store() -> Result<(), Failed> {
    let case = Case::new();
    let missing = case.path("missing.plaso");
    assert_refused(&case, &case.attempt(&missing), "missing");
    assert!(!missing.exists());
    assert_refused(&case, &case.attempt(case.path("").as_path()), "a folder");
    let store = case.path("some.plaso");
    let mut foreign = vec![0; 4096];
    foreign[..16].copy_from_slice(b"SQLite format 3\0");
    for (what, content) in [
        ("empty", Vec::new()),
        ("text", b"not a database\n".repeat(1000)),
        ("zeros", vec![0; 8192]),
        ("only a header", b"SQLite format 3\0".to_vec()),
        ("a header and zeros", foreign),
    ] {
        fs::write(&store, content)?;
        assert_refused(&case, &case.attempt(&store), what);
    }
    Ok(())
}

fn truncated() -> Result<(), Failed> {
    let case = Case::new();
    let store = case.make("generate.py", &["order"], &[]);
    let whole = fs::read(&store)?;
    let cut = case.path("cut.plaso");
    let pages = whole.len() / 4096;
    let sizes = (0..pages).map(|page| page * 4096 + [0, 1, 100, 4095][page % 4]);
    for size in sizes.chain([whole.len() - 4096, whole.len() - 1]) {
        fs::write(&cut, &whole[..size])?;
        assert_refused(&case, &case.attempt(&cut), &format!("{size} bytes"));
    }
    Ok(())
}

fn hostile() -> Result<(), Failed> {
    let list = succeed(&mut script("list", Path::new("-"))).out;
    let mut faults = Vec::new();
    for line in list.lines() {
        let (group, kind) = line.split_once(' ').unwrap();
        let case = Case::new();
        let store = case.path(&format!("{kind}.plaso"));
        succeed(&mut script(kind, &store));
        let before = fs::read(&store)?;
        let done = case.attempt_limited(&store, SECONDS, KIBIBYTES);
        eprintln!("{group} {kind}: {} {}", done.code, done.err.trim_end());
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            match group {
                "right" => {
                    assert_eq!(done.code, 0, "{kind}: {}", done.err);
                    case.clear();
                    case.assert_same(&store, None);
                }
                "refused" => assert_refused(&case, &done, kind),
                _ => assert_ended(&case, &done, kind),
            }
            assert!(fs::read(&store).unwrap() == before, "{kind} is as it was");
        }));
        if judged.is_err() {
            faults.push(kind.to_owned());
        }
    }
    assert_eq!(faults, Vec::<String>::new());
    Ok(())
}

fn script(kind: &str, store: &Path) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command
        .arg("-B")
        .arg(here("hostile.py"))
        .arg(kind)
        .arg(store);
    command
}

fn deadly() -> Result<(), Failed> {
    for seed in 1..=4 {
        let case = Case::new();
        let more = ["--seed", &seed.to_string(), "--events", "2"];
        let store = case.make("generate.py", &["deadly"], &more);
        let done = case.attempt(&store);
        eprintln!("{}", done.err.trim_end());
        assert_refused(&case, &done, &format!("seed {seed}"));
    }
    Ok(())
}

fn existing_output() -> Result<(), Failed> {
    let case = Case::new();
    let store = case.path("one_event.plaso");
    succeed(&mut script("one_event", &store));
    let output = case.path("ours.jsonl");
    fs::write(&output, "mine\n")?;
    let done = case.run_ours(&store);
    assert_eq!(done.code, 1);
    assert_sentence(&done, "existing");
    assert_eq!(fs::read(&output)?, b"mine\n");
    fs::rename(&output, case.path("target"))?;
    std::os::unix::fs::symlink("target", &output)?;
    assert_eq!(case.run_ours(&store).code, 1);
    assert_eq!(fs::read(case.path("target"))?, b"mine\n");
    Ok(())
}
