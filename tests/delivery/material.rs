//! What is delivered: a job that `dfagent process` made of a folder, once, and altered copies of its storage files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lab;

/// The slices: a short one, one that goes in three chunks, a short one, and one in which Plaso finds nothing.
pub const HISTORY: &str = "01-a-history";
pub const AUTH: &str = "02-b-auth";
pub const SYSLOG: &str = "03-c-syslog";
pub const NOTHING: &str = "04-d-nothing";

const PARSERS: &str = "text/syslog_traditional,text/bash_history";

/// More than two chunks of the smallest size.
const PADDED: u64 = 2 * 1024 * 1024 + 400_000;

/// Two files of this size do not fit into one slice.
const BULK: usize = 700_000;

struct Material {
    folder: Mutex<Option<TempDir>>,
    job: PathBuf,
    timeline: Vec<Value>,
}

static MATERIAL: OnceLock<Material> = OnceLock::new();

fn material() -> &'static Material {
    MATERIAL.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let (source, out) = (folder.path().join("disk-1"), folder.path().join("out"));
        make_tree(&source);
        let done = lab::finish(&mut process(&source, &out, folder.path()));
        assert_eq!(done.code, 0, "{}{}", done.out, done.err);
        let job = lab::job_folder(&out);
        let text = fs::read_to_string(job.join("timeline.jsonl")).unwrap();
        let timeline = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let timeline = timeline.collect();
        alter(&job, AUTH, |storage| {
            let bytes = PADDED.to_string();
            let sql = format!("create table padding (data blob); insert into padding values (randomblob({bytes}));");
            storage.execute_batch(&sql).unwrap();
        });
        Material {
            folder: Mutex::new(Some(folder)),
            job,
            timeline,
        }
    })
}

/// Removes what was made.
pub fn end() {
    if let Some(material) = MATERIAL.get() {
        drop(material.folder.lock().unwrap().take());
    }
}

/// Logs of a small host.
pub fn make_tree(source: &Path) {
    let line = |second: u32, text: &str| {
        format!(
            "Nov 20 {:02}:{:02}:{:02} small-01 {text}\n",
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    };
    let history: String = (0..30)
        .map(|number| format!("#{}\nls -la /srv/{number}\n", 1_793_000_000 + number * 60))
        .collect();
    let auth: String = (0..150)
        .map(|number| {
            line(
                number * 7,
                &format!(
                    "sshd[{number}]: Failed password for root from 192.0.2.{number} port 4 ssh2"
                ),
            )
        })
        .collect();
    let syslog: String = (0..80)
        .map(|number| {
            line(
                number * 11,
                &format!("cron[{number}]: job number {number} is done"),
            )
        })
        .collect();
    for (path, text) in [
        ("etc/hostname", "small-01\n"),
        ("root/.bash_history", &history),
        ("var/log/auth.log", &auth),
        ("var/log/syslog", &syslog),
    ] {
        let path = source.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    for name in ["b", "c", "d"] {
        fs::write(source.join(format!("root/bulk-{name}")), vec![0; BULK]).unwrap();
    }
}

/// `process` over that folder, one slice for each of its files.
fn process(source: &Path, to: &Path, work: &Path) -> Command {
    let mut command = lab::dfagent();
    process_args(&mut command, source, to.to_str().unwrap(), work);
    command
}

/// The arguments for that, to a folder or to a server.
pub fn process_args(command: &mut Command, source: &Path, to: &str, work: &Path) {
    command
        .args(["process", "--parsers", PARSERS, "--to", to])
        .arg(source);
    command.env("DFAGENT__SLICES__SMALLEST_MIB", "1");
    command.env("DFAGENT__SLICES__LARGEST_MIB", "1");
    for (name, bulk, path) in [
        ("10-a-history", "a", "/root/[.]bash_history"),
        ("20-b-auth", "b", "/var/log/auth[.]log"),
        ("30-c-syslog", "c", "/var/log/syslog"),
        ("40-d-nothing", "d", "/etc/hostname"),
    ] {
        let file = work.join(format!("{name}.yaml"));
        let text = format!("type: include\npaths:\n- {path}\n- /root/bulk-{bulk}\n");
        fs::write(&file, text).unwrap();
        command.arg("--filter").arg(file);
    }
}

/// What identifies an event, on the server and in our own timeline.
fn identity(event: &Value) -> String {
    let text = |name: &str| match &event[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    format!(
        "{}|{}|{}",
        text("timestamp"),
        text("timestamp_desc"),
        text("message")
    )
}

/// The events of slices, as our own timeline has them, sorted.
pub fn events(slices: &[&str]) -> Vec<String> {
    let files: Vec<&str> = slices.iter().map(|name| file_of(name)).collect();
    let of = |event: &&Value| {
        let name = event["display_name"].as_str().unwrap();
        files.iter().any(|file| name.ends_with(file))
    };
    let mut events: Vec<String> = material()
        .timeline
        .iter()
        .filter(of)
        .map(identity)
        .collect();
    events.sort();
    events
}

/// A copy of the job with some of its slices; its folder.
pub fn copy_job(to: &Path, slices: &[&str]) -> PathBuf {
    let from = &material().job;
    fs::create_dir_all(to).unwrap();
    lab::tool("cp", &["-a".as_ref(), from.as_os_str(), to.as_os_str()]);
    let job = to.join(from.file_name().unwrap());
    change_manifest(&job, |manifest| {
        let all = manifest["slices"].as_array_mut().unwrap();
        all.retain(|slice| slices.iter().any(|name| slice["name"] == *name));
        assert_eq!(all.len(), slices.len(), "{slices:?}");
    });
    job
}

/// The file that a slice was made for.
fn file_of(slice: &str) -> &'static str {
    match slice {
        HISTORY => ".bash_history",
        AUTH => "auth.log",
        SYSLOG => "/syslog",
        _ => "/hostname",
    }
}

/// Gives the slices of a copy their documents back, as they were before they were joined.
pub fn part_documents(job: &Path, slices: &[&str]) {
    let text = fs::read_to_string(job.join("timeline.jsonl")).unwrap();
    for slice in slices {
        let of = |line: &&str| {
            let event: Value = serde_json::from_str(line).unwrap();
            let name = event["display_name"].as_str().unwrap();
            name.ends_with(file_of(slice))
        };
        let lines: String = text
            .lines()
            .filter(of)
            .map(|line| format!("{line}\n"))
            .collect();
        let file = job.join("slices").join(slice).join("documents.jsonl");
        fs::write(file, lines).unwrap();
    }
}

/// Gives a copy another name, as if it were of another volume.
pub fn rename_job(job: &Path, name: &str) -> PathBuf {
    change_manifest(job, |manifest| {
        manifest["job"] = json!(name);
        manifest["source"]["path"] = json!(format!("/evidence/{name}"));
    });
    let to = job.with_file_name(name);
    fs::rename(job, &to).unwrap();
    to
}

pub fn change_manifest(job: &Path, change: impl FnOnce(&mut Value)) {
    let path = job.join("manifest.json");
    let mut manifest = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut manifest);
    fs::write(path, manifest.to_string()).unwrap();
}

/// The storage file of a slice.
pub fn storage(job: &Path, slice: &str) -> PathBuf {
    job.join("slices").join(slice).join("storage.plaso")
}

/// Alters a storage file and has the manifest vouch for it as it is then.
pub fn alter(job: &Path, slice: &str, change: impl FnOnce(&rusqlite::Connection)) {
    let path = storage(job, slice);
    let connection = rusqlite::Connection::open(&path).unwrap();
    change(&connection);
    connection.close().unwrap();
    let (sha256, bytes) = (lab::sha256(&path), fs::metadata(&path).unwrap().len());
    change_manifest(job, |manifest| {
        for one in manifest["slices"].as_array_mut().unwrap() {
            for file in one["files"].as_array_mut().unwrap() {
                if file["path"] == format!("slices/{slice}/storage.plaso") {
                    (file["sha256"], file["bytes"]) = (json!(sha256), json!(bytes));
                }
            }
        }
    });
}
