//! The two exporters, psort and ours, and the comparison of what they make.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::lab::{self, Finished};

/// The folder of one trial, with all that is made of one storage file.
pub struct Case {
    folder: TempDir,
}

/// What an exporter made.
pub struct Export {
    /// The file of documents.
    pub documents: PathBuf,
    /// Its receipt.
    pub receipt: Value,
}

impl Case {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs one of the scripts of tests/export that write a storage file; the file.
    pub fn make(&self, script: &str, kind: &[&str], more: &[&str]) -> PathBuf {
        let store = self.path(&format!("{}.plaso", kind.first().unwrap_or(&"store")));
        let mut command = python(&here(script));
        command.args(kind).arg(&store).args(more);
        succeed(&mut command);
        store
    }

    /// What psort makes of it.
    pub fn psort(&self, store: &Path, custom: Option<&Path>) -> Export {
        let (documents, receipt) = (self.path("psort.jsonl"), self.path("psort.json"));
        let mut command = psort(store, &documents, &receipt, custom);
        succeed(&mut command);
        export(documents, &receipt)
    }

    /// What we make of it.
    pub fn ours(&self, store: &Path, custom: Option<&Path>) -> Export {
        let (documents, receipt) = (self.path("ours.jsonl"), self.path("ours.json"));
        let mut command = ours(store, &documents, &receipt, custom);
        succeed(&mut command);
        export(documents, &receipt)
    }

    /// How our export of it ends.
    pub fn attempt(&self, store: &Path) -> Finished {
        self.clear();
        self.run_ours(store)
    }

    /// The same, with no more CPU and memory than this: a signal or a refused allocation ends what takes more.
    pub fn attempt_limited(&self, store: &Path, seconds: u32, kibibytes: u32) -> Finished {
        self.clear();
        let command = self.command(store);
        let mut limited = Command::new("/bin/sh");
        let limits = format!("ulimit -t {seconds} && ulimit -v {kibibytes} && exec \"$@\"");
        limited
            .args(["-c", &limits, "sh"])
            .arg(command.get_program());
        limited.args(command.get_args());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                limited.env(name, value);
            }
        }
        lab::finish(&mut limited)
    }

    /// How our export of it ends, with whatever is there already.
    pub fn run_ours(&self, store: &Path) -> Finished {
        lab::finish(&mut self.command(store))
    }

    fn command(&self, store: &Path) -> Command {
        ours(
            store,
            &self.path("ours.jsonl"),
            &self.path("ours.json"),
            None,
        )
    }

    /// Removes what ours made.
    pub fn clear(&self) {
        for name in ["ours.jsonl", "ours.json"] {
            drop(fs::remove_file(self.path(name)));
        }
    }

    /// The receipt of the last attempt, if it left one.
    pub fn receipt(&self) -> Option<Value> {
        let text = fs::read_to_string(self.path("ours.json")).ok()?;
        Some(serde_json::from_str(&text).unwrap())
    }

    /// Psort's documents are ours, in psort's order, and so are the counts.
    pub fn assert_same(&self, store: &Path, custom: Option<&Path>) -> Export {
        let expected = self.psort(store, custom);
        let actual = self.ours(store, custom);
        assert_equal(&expected, &actual);
        actual
    }
}

fn export(documents: PathBuf, receipt: &Path) -> Export {
    let receipt = serde_json::from_str(&fs::read_to_string(receipt).unwrap()).unwrap();
    Export { documents, receipt }
}

/// Compares documents and receipts.
pub fn assert_equal(expected: &Export, actual: &Export) {
    let mut command = python(&here("compare.py"));
    command.arg(&expected.documents).arg(&actual.documents);
    let done = lab::finish(&mut command);
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    for name in [
        "documents",
        "duplicates",
        "events",
        "escaped_surrogates",
        "replaced_numbers",
        "first",
        "last",
    ] {
        assert_eq!(actual.receipt[name], expected.receipt[name], "{name}");
    }
}

/// A file below tests/export.
pub fn here(name: &str) -> PathBuf {
    lab::root().join("tests/export").join(name)
}

/// The Python that has Plaso. The order of keys in a path specification follows its hash seed.
pub fn python(script: &Path) -> Command {
    let mut command = Command::new(plaso_python());
    command
        .arg("-B")
        .arg(script)
        .env("PYTHONHASHSEED", "0")
        .env("PYTHONUTF8", "1");
    command
}

fn plaso_python() -> PathBuf {
    lab::plaso().join("bin/python")
}

fn script() -> PathBuf {
    lab::root().join("packaging/usr/lib/dfagent/export_documents.py")
}

/// Plaso's folder of formatters.
pub fn formatters() -> PathBuf {
    let libraries = lab::plaso().join("lib");
    let version = fs::read_dir(&libraries)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.join("site-packages/plaso").exists());
    version.unwrap().join("site-packages/plaso/data/formatters")
}

fn psort(store: &Path, documents: &Path, receipt: &Path, custom: Option<&Path>) -> Command {
    let mut command = python(&script());
    command.arg(store).arg(documents);
    command.arg("--receipt").arg(receipt);
    if let Some(custom) = custom {
        command.arg("--custom").arg(custom);
    }
    command
}

fn ours(store: &Path, documents: &Path, receipt: &Path, custom: Option<&Path>) -> Command {
    let mut command = lab::dfagent();
    command
        .args(["inside", "export"])
        .arg(store)
        .arg(formatters())
        .args([documents, receipt, &plaso_python(), &script()])
        .env("PYTHONHASHSEED", "0");
    if let Some(custom) = custom {
        command.arg("--custom").arg(custom);
    }
    command
}

/// Runs a command that must succeed.
pub fn succeed(command: &mut Command) -> Finished {
    let done = lab::finish(command);
    assert_eq!(done.code, 0, "{command:?}: {}{}", done.out, done.err);
    done
}

/// A number from the environment.
pub fn number(name: &str, default: u32) -> u32 {
    let given = std::env::var(name).ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(default)
}
