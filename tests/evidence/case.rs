//! A source under trial: how it is made, processed and looked at afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::lab::{self, Finished, job_folder, left_behind, tool};

/// Few parsers and few paths: one slice, one short run of Plaso.
pub const PARSERS: &str = "filestat,text/syslog_traditional,text/syslog,text/bash_history";
pub const FEW_PATHS: &[&str] = &["/etc/hostname", "/root/[.]bash_history", "/var/log"];

/// How long the kernel may take to clean up after a process that was killed.
pub const CLEANED_UP: Duration = Duration::from_secs(2);
/// How long anything else may take before it counts as hanging.
pub const HANGING: Duration = Duration::from_secs(120);

/// Looks again and again until the condition holds; false when the time is over.
pub fn holds_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// An image or device under trial, the folder for everything about it, and what it was at first.
pub struct Case {
    pub work: TempDir,
    pub source: PathBuf,
    pub before: String,
}

impl Case {
    /// An image that states.py makes. One at a time, as the script tries out loop devices.
    pub fn of(name: &str) -> Self {
        static MAKING: Mutex<()> = Mutex::new(());
        let work = tempfile::tempdir().unwrap();
        let making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        lab::generate("states.py", &[work.path().to_str().unwrap(), name]);
        drop(making);
        let source = work.path().join(format!("{name}.img"));
        Self::over(work, source)
    }

    pub fn over(work: TempDir, source: PathBuf) -> Self {
        let before = sha256sum(&source);
        Self {
            work,
            source,
            before,
        }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    pub fn out(&self) -> PathBuf {
        self.at("out")
    }

    pub fn mark(&self) -> &str {
        self.work.path().to_str().unwrap()
    }

    /// `process` with few parsers and one filter file for each list of paths, so one slice for each.
    pub fn command(&self, out: &Path, filters: &[&[&str]]) -> Command {
        let mut command = lab::dfagent();
        command.arg("process").arg(&self.source);
        command.arg("--to").arg(out).args(["--parsers", PARSERS]);
        for (number, paths) in filters.iter().enumerate() {
            let file = self.at(&format!("{number}0-part{number}.yaml"));
            fs::write(
                &file,
                format!("type: include\npaths:\n- {}\n", paths.join("\n- ")),
            )
            .unwrap();
            command.arg("--filter").arg(file);
        }
        command
    }

    pub fn process(&self) -> Finished {
        lab::finish(&mut self.command(&self.out(), &[FEW_PATHS]))
    }

    pub fn assert_untouched(&self) {
        assert_eq!(
            sha256sum(&self.source),
            self.before,
            "the source is as it was"
        );
        assert_nothing_left(self.mark());
    }

    /// A refusal: code 5, a sentence with these words, no job begun, the source as it was.
    pub fn assert_refused(&self, words: &[&str]) {
        let done = self.process();
        assert_eq!(done.code, 5, "{}{}", done.out, done.err);
        for word in words {
            assert!(done.err.contains(word), "{word:?} is not in: {}", done.err);
        }
        let jobs = fs::read_dir(self.out()).unwrap().count();
        assert_eq!(jobs, 0, "no job is begun");
        assert_eq!(
            sha256sum(&self.source),
            self.before,
            "the source is as it was"
        );
    }
}

/// By the system's program: a debug build of ours would take most of the time of these trials.
pub fn sha256sum(path: &Path) -> String {
    let text = tool("sha256sum", &["--binary".as_ref(), path.as_os_str()]);
    text.split(' ').next().unwrap().to_owned()
}

pub fn assert_nothing_left(mark: &str) {
    let clean = holds_within(CLEANED_UP, || left_behind(mark).is_empty());
    assert!(clean, "left behind: {:?}", left_behind(mark));
}

/// The custody record of a job that changed nothing.
pub fn assert_custody(manifest: &Value) {
    let custody = &manifest["custody"];
    assert_eq!(
        custody["differences"],
        Value::Array(Vec::new()),
        "{custody}"
    );
    assert_eq!(custody["still_present"], true);
    let sampled = &custody["before"]["sampled_sha256"];
    assert!(sampled.is_string(), "{custody}");
    assert_eq!(sampled, &custody["after"]["sampled_sha256"]);
}

pub fn timeline(case: &Case) -> String {
    fs::read_to_string(job_folder(&case.out()).join("timeline.jsonl")).unwrap_or_default()
}

/// Something to be undone when the trial ends, also when it fails.
pub struct Undo(Vec<String>);

impl Undo {
    pub fn by(words: &[&str]) -> Self {
        Self(words.iter().map(|word| (*word).to_owned()).collect())
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        drop(Command::new(&self.0[0]).args(&self.0[1..]).status());
    }
}

/// Whether the only job below the folder has the file already.
pub fn in_job(out: &Path, name: &str) -> bool {
    let jobs = fs::read_dir(out).into_iter().flatten().flatten();
    jobs.into_iter().any(|job| job.path().join(name).exists())
}

/// A small system's files below a folder.
pub fn make_tree(root: &Path) {
    let line =
        "Nov 20 10:00:00 tree-01 sshd[9]: Failed password for root from 192.0.2.1 port 4 ssh2\n";
    let files = [
        ("etc/hostname", "tree-01\n"),
        ("root/.bash_history", "#1793000000\nls -la /srv\n"),
        ("var/log/auth.log", line),
    ];
    for (name, text) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.repeat(20)).unwrap();
    }
}
