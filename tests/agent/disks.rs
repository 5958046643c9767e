//! Small disks: a bare ext4 filesystem with a few logs, and what an undisturbed run makes of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tempfile::TempDir;

use crate::lab::{self, documents, job_folder, tool};
use crate::standin;

/// Few parsers: a run of Plaso takes about two seconds.
pub const PARSERS: &[&str] = &["filestat", "text/syslog_traditional"];

/// Lines in each log.
pub const LINES: usize = 20;

/// Bytes of every disk.
const SIZE: &str = "8M";

/// The filesystems of all disks have one UUID, as those of copies have.
const UUID: &str = "0e7a4c1e-5d0b-4b7e-9a55-3f6f0d9a1c42";

/// Makes a disk with so many logs; its number stands in each line.
pub fn make(image: &Path, number: usize, logs: usize) {
    let tree = tempfile::tempdir().unwrap();
    let folder = tree.path().join("var/log");
    fs::create_dir_all(&folder).unwrap();
    for log in 0..logs {
        let line = |second| {
            let minute = 10 + log;
            format!(
                "Nov 20 10:{minute}:{second:02} disk-{number} sshd[9]: line {second} of log {log}\n"
            )
        };
        let lines: String = (10..10 + LINES).map(line).collect();
        fs::write(folder.join(format!("log{log}")), lines).unwrap();
    }
    let tree = tree.path().to_str().unwrap();
    let image = image.to_str().unwrap();
    tool(
        "mkfs.ext4",
        &["-q", "-F", "-U", UUID, "-d", tree, image, SIZE],
    );
}

/// Makes an ext4 filesystem without a file.
pub fn make_empty(image: &Path) {
    let image = image.to_str().unwrap();
    tool("mkfs.ext4", &["-q", "-F", "-U", UUID, image, SIZE]);
}

/// A filter file for each log, so a slice for each.
pub fn make_filters(folder: &Path, logs: usize) {
    fs::create_dir_all(folder).unwrap();
    for log in 0..logs {
        let text = format!("type: include\npaths:\n- /var/log/log{log}\n");
        fs::write(folder.join(format!("{log}0-part.yaml")), text).unwrap();
    }
}

/// A disk and the timeline that an undisturbed `dfagent process` makes of it.
pub struct Disk {
    work: TempDir,
    pub image: PathBuf,
    pub timeline: String,
    pub documents: Vec<String>,
    pub logs: usize,
    job: PathBuf,
}

impl Disk {
    fn new(logs: usize) -> Self {
        let work = tempfile::tempdir().unwrap();
        let at = |name: &str| work.path().join(name);
        let (image, out, filters) = (at("disk.img"), at("out"), at("filters"));
        make(&image, 1, logs);
        make_filters(&filters, logs);
        let parsers = PARSERS.join(",");
        let filters = filters.to_str().unwrap();
        let done = lab::process(&image, &out, &["--parsers", &parsers, "--filter", filters]);
        assert_eq!(done.code, 0, "{}{}", done.out, done.err);
        let job = job_folder(&out);
        let timeline = job.join("timeline.jsonl");
        let (text, documents) = (fs::read_to_string(&timeline).unwrap(), documents(&timeline));
        for log in 0..logs {
            let of_log = format!("of log {log}");
            let lines = text.lines().filter(|line| line.contains(&of_log));
            assert_eq!(lines.count(), LINES, "{text}");
        }
        Self {
            work,
            image,
            timeline: text,
            documents,
            logs,
            job,
        }
    }

    /// A stand-in for Plaso that plays this run again; a slice takes so many seconds.
    pub fn replay(&self, folder: &Path, delay: f64) -> PathBuf {
        let program = "/usr/bin/python3 -B /plaso/replay.py";
        let place = standin::make(folder, standin::GOOD, program);
        let script = lab::root().join("tests/agent/replay.py");
        fs::copy(script, place.join("replay.py")).unwrap();
        for log in 0..self.logs {
            let to = place.join(format!("log{log}"));
            fs::create_dir_all(&to).unwrap();
            fs::write(to.join("delay"), delay.to_string()).unwrap();
            let storage = format!("slices/{}/storage.plaso", slice_name(log));
            fs::copy(self.job.join(storage), to.join("storage.plaso")).unwrap();
            fs::write(to.join("documents.jsonl"), self.documents_of(log)).unwrap();
        }
        place
    }

    /// The lines of the timeline that are about one log.
    fn documents_of(&self, log: usize) -> String {
        let name = format!("/var/log/log{log}");
        let about = |line: &&str| {
            let document: Value = serde_json::from_str(line).unwrap();
            document["path_spec"].as_str().unwrap().contains(&name)
        };
        let lines = self.timeline.lines().filter(about);
        lines.map(|line| format!("{line}\n")).collect()
    }
}

/// The name of the slice that holds a log.
pub fn slice_name(log: usize) -> String {
    format!("{:02}-part", log + 1)
}

/// A disk that is made when the first trial needs it.
#[derive(Clone)]
pub struct LazyDisk {
    disk: Arc<OnceLock<Disk>>,
    logs: usize,
}

impl LazyDisk {
    pub fn with_logs(logs: usize) -> Self {
        let disk = Arc::default();
        Self { disk, logs }
    }

    pub fn get(&self) -> &Disk {
        self.disk.get_or_init(|| Disk::new(self.logs))
    }
}
