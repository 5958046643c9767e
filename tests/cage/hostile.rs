//! A Plaso that was taken over leaves traps in its folder: the agent, which is root, takes none of them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use libtest_mimic::{Failed, Trial};

use crate::lab::{Finished, Need, finish, trial};
use crate::standin::{self, make_source};

const SHADOW: &str = "/etc/shadow";

pub fn trials() -> Vec<Trial> {
    // The deed of standin.py, and words of the sentence that the job ends with.
    let traps: [(&str, &[&str]); 9] = [
        ("storage_is_a_link", &["storage.plaso"]),
        ("storage_is_a_pipe", &["ended with exit code 42"]),
        ("storage_is_a_socket", &["storage.plaso"]),
        (
            "storage_has_two_names",
            &["storage.plaso", "more than one name"],
        ),
        (
            "storage_is_a_folder",
            &["storage.plaso", "not a plain file"],
        ),
        ("log_is_a_link", &["log2timeline.log.gz"]),
        ("filter_is_a_link", &["filter.yaml"]),
        ("deep_folders", &["No slice gave events"]),
        ("documents_are_a_link", &["documents.jsonl"]),
    ];
    let mut trials: Vec<Trial> = traps
        .into_iter()
        .map(|(deed, words)| {
            let needs = needs(deed);
            trial(format!("a_trap_is_not_taken: {deed}"), &needs, move || {
                trap(deed, words)
            })
        })
        .collect();
    for (deed, words) in [
        ("summary_is_a_link", "did not say that it came to the end"),
        ("huge_receipt", "larger than such a file can honestly be"),
        ("receipt_of_more_than_there_is", "documents were joined"),
    ] {
        let test = move || trap(deed, &[words]);
        trials.push(trial(
            format!("an_answer_is_not_trusted: {deed}"),
            &needs(deed),
            test,
        ));
    }
    trials
}

/// Whether a deed needs a storage file of a real Plaso.
fn needs(deed: &str) -> Vec<Need> {
    let of_plaso = ["documents", "summary", "receipt"];
    let mut needs = vec![Need::Root];
    if of_plaso.iter().any(|word| deed.contains(word)) {
        needs.push(Need::Plaso);
    }
    needs
}

fn state_of_shadow() -> (u32, u32, u32, i64, i64) {
    let about = fs::metadata(SHADOW).unwrap();
    (
        about.uid(),
        about.gid(),
        about.mode(),
        about.mtime(),
        about.ctime(),
    )
}

fn trap(deed: &str, words: &[&str]) -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    let environment = standin::doing(&work.path().join("plaso"), deed);
    if needs(deed).len() > 1 {
        standin::real_storage(work.path(), &environment.join("storage.plaso"));
    }
    let before = state_of_shadow();
    // A helper that waits for ever is ended by the slice's limit.
    let mut command = standin::dfagent_with(&environment, &[("PLASO__SLICE_LIMIT_SECONDS", "20")]);
    let done = finish(command.args(make_source(work.path(), 1)));
    assert_eq!(state_of_shadow(), before, "{SHADOW}");
    assert_eq!(done.code, 1, "{}{}", done.out, done.err);
    for word in words {
        let said = [&done.out, &done.err]
            .map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
        assert!(
            said.iter().any(|text| text.contains(word)),
            "{word:?} is not in: {said:?}"
        );
    }
    nothing_of_shadow(&work.path().join("out"), &done);
    Ok(())
}

fn nothing_of_shadow(out: &Path, done: &Finished) {
    let shadow = fs::read_to_string(SHADOW).unwrap();
    let secret = shadow.lines().next().unwrap();
    assert!(!done.out.contains(secret) && !done.err.contains(secret));
    let mut folders = vec![out.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let text = fs::read(entry.path()).unwrap_or_default();
                let found = text
                    .windows(secret.len())
                    .any(|part| part == secret.as_bytes());
                assert!(!found, "{}", entry.path().display());
            }
        }
    }
}
