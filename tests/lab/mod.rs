//! What the integration tests share: trials that say why they cannot run, the program under test, evidence.
//!
//! Every test file is its own program (`harness = false`), so that a trial that cannot run here is counted
//! as ignored and its reason printed, never passed over in silence.
#![allow(
    clippy::allow_attributes,
    dead_code,
    unreachable_pub,
    reason = "every test program uses a part of it"
)]

pub mod dice;

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What a trial needs from the machine.
#[derive(Clone, Debug)]
pub enum Need {
    /// The rights to mount.
    Root,
    /// A filesystem driver in the kernel.
    Driver(&'static str),
    /// A program.
    Program(&'static str),
    /// The Plaso environment that `make setup` makes.
    Plaso,
    /// Anything else: whether it is there, and what to say if it is not.
    Other(bool, &'static str),
}

impl Need {
    /// Whether it is not there.
    pub fn is_missing(&self) -> bool {
        self.missing().is_some()
    }

    fn missing(&self) -> Option<String> {
        let (there, what) = match self {
            Self::Root => (nix::unistd::geteuid().is_root(), "root".to_owned()),
            Self::Driver(name) => (has_driver(name), format!("a kernel with the {name} driver")),
            Self::Program(name) => (find_program(name).is_some(), format!("the program {name}")),
            Self::Plaso => (
                plaso().join("bin/log2timeline").exists(),
                "Plaso (run `make setup`)".to_owned(),
            ),
            Self::Other(there, what) => (*there, (*what).to_owned()),
        };
        (!there).then_some(what)
    }
}

/// A test with a claim for a name; ignored, with the reason printed, where a need is not met.
pub fn trial(
    name: impl Into<String>,
    needs: &[Need],
    test: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Trial {
    let name = name.into();
    let missing: Vec<String> = needs.iter().filter_map(Need::missing).collect();
    if !missing.is_empty() {
        eprintln!("CANNOT RUN {name}: needs {}", missing.join(", "));
    }
    Trial::test(name, test).with_ignored_flag(!missing.is_empty())
}

/// Runs the trials, one after the other: they share two cores, loop devices and a cage user.
pub fn run(trials: Vec<Trial>) -> ! {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(1);
    libtest_mimic::run(&arguments, trials).exit()
}

fn has_driver(name: &str) -> bool {
    drop(
        Command::new("modprobe")
            .arg("-q")
            .arg(name)
            .stderr(Stdio::null())
            .status(),
    );
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    known
        .lines()
        .any(|line| line.split_whitespace().last() == Some(name))
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| file.exists())
}

/// The checkout.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The Plaso environment of the checkout.
pub fn plaso() -> PathBuf {
    root().join("target/plaso")
}

/// The program under test, with the checkout's Plaso.
pub fn dfagent() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dfagent"));
    command
        .env("DFAGENT__PLASO__ENVIRONMENT", plaso())
        .stdin(Stdio::null());
    command
}

/// Runs `dfagent process SOURCE --to DIR` with more arguments.
pub fn process(source: &Path, to: &Path, more: &[&str]) -> Finished {
    let mut command = dfagent();
    command
        .arg("process")
        .arg(source)
        .arg("--to")
        .arg(to)
        .args(more);
    finish(&mut command)
}

/// A program that ended.
pub struct Finished {
    /// Its exit code, -1 after a signal.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

/// Runs a command to its end.
pub fn finish(command: &mut Command) -> Finished {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the program can be started");
    Finished {
        code: status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&stdout).into_owned(),
        err: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// Runs a tool that must succeed; its standard output.
pub fn tool<A: AsRef<OsStr>>(program: &str, arguments: &[A]) -> String {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let done = finish(&mut command);
    assert_eq!(done.code, 0, "{program} failed: {}{}", done.out, done.err);
    done.out
}

/// Runs one of the generators below tests/evidence.
pub fn generate<A: AsRef<OsStr>>(script: &str, arguments: &[A]) {
    let path = root().join("tests/evidence").join(script);
    let mut all: Vec<&OsStr> = vec![path.as_os_str()];
    all.extend(arguments.iter().map(AsRef::as_ref));
    tool("/usr/bin/python3", &all);
}

/// The SHA-256 of a file.
pub fn sha256(path: &Path) -> String {
    let mut file = fs::File::open(path).expect("the file can be opened");
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer).expect("the file can be read");
        if count == 0 {
            return hasher
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
        }
        hasher.update(&buffer[..count]);
    }
}

/// The folder of the only job below a `--to` folder.
pub fn job_folder(to: &Path) -> PathBuf {
    let mut jobs: Vec<PathBuf> = fs::read_dir(to)
        .expect("the output folder is there")
        .map(|e| e.expect("an entry").path())
        .collect();
    assert_eq!(jobs.len(), 1, "one job in {}: {jobs:?}", to.display());
    jobs.remove(0)
}

/// The manifest of the only job below a `--to` folder.
pub fn manifest(to: &Path) -> Value {
    let text =
        fs::read_to_string(job_folder(to).join("manifest.json")).expect("there is a manifest");
    serde_json::from_str(&text).expect("the manifest is JSON")
}

/// The kinds of all reasons of a manifest's verdict.
pub fn reasons(manifest: &Value) -> Vec<String> {
    let reasons = manifest["verdict"]["reasons"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    reasons
        .iter()
        .map(|reason| reason["kind"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// The documents of a timeline, each without its path specification's parent path and sorted: two timelines
/// are the same set when these are equal.
pub fn documents(timeline: &Path) -> Vec<String> {
    let text = fs::read_to_string(timeline).expect("the timeline can be read");
    let mut lines: Vec<String> = text.lines().map(normal_form).collect();
    lines.sort();
    lines
}

/// Plaso writes the keys of a path specification in an order that differs from run to run.
fn normal_form(line: &str) -> String {
    let mut document: Value = serde_json::from_str(line).expect("a line is JSON");
    let parsed = document["path_spec"]
        .as_str()
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    if let Some(parsed) = parsed {
        document["path_spec"] = parsed;
    }
    document.to_string()
}

/// Mount points and loop devices that show a path of ours: there must be none after a run.
pub fn left_behind(mark: &str) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found: Vec<String> = mounts
        .lines()
        .filter(|line| line.contains(mark))
        .map(str::to_owned)
        .collect();
    for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let backing =
            fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
        if backing.contains(mark) {
            found.push(format!(
                "{}: {}",
                entry.file_name().to_string_lossy(),
                backing.trim()
            ));
        }
    }
    found
}
