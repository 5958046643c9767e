//! A machine for one trial: disks, loop devices, a configuration, and the agents that were started over it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::{Agent, own_program};
use crate::disks::{Disk, PARSERS, make_filters};
use crate::lab::{self, sha256};
use crate::loops::{Loops, left_over};
use crate::standin::{caged, holds_within};

/// How long the kernel may take to clean up after processes that ended.
const CLEANED_UP: Duration = Duration::from_secs(10);

/// The loops go last: nobody uses them then.
pub struct Scene {
    pids: Vec<u32>,
    pub loops: Loops,
    work: TempDir,
    /// Where the agent keeps its things.
    directory: PathBuf,
    plaso: PathBuf,
    at_once: usize,
}

impl Scene {
    /// So many loop devices, all of them evidence; a slice for each of so many logs.
    pub fn new(volumes: usize, logs: usize) -> Self {
        let work = tempfile::tempdir().unwrap();
        make_filters(&work.path().join("filters"), logs);
        let scene = Self {
            pids: Vec::new(),
            loops: Loops::add(volumes),
            directory: work.path().join("agent"),
            plaso: lab::plaso(),
            at_once: 0,
            work,
        };
        scene.configure(&scene.loops.nodes(), "");
        scene
    }

    /// So many volumes; what Plaso makes of them is played from a recording, a slice in so many seconds, one
    /// slice at a time. The first one is attached.
    pub fn replaying(disk: &Disk, volumes: usize, delay: f64) -> Self {
        let mut scene = Self::new(volumes, disk.logs);
        scene.plaso = disk.replay(&scene.at("plaso"), delay);
        scene.at_once = 1;
        scene.configure(&scene.loops.nodes(), "");
        scene.copy(disk, "disk.img");
        scene.loops.attach(0, &scene.at("disk.img"));
        scene
    }

    /// From now on the slice of this log takes so many seconds.
    pub fn set_delay(&self, log: usize, delay: f64) {
        let folder = self.plaso.join(format!("log{log}"));
        fs::write(folder.join("new"), delay.to_string()).unwrap();
        fs::rename(folder.join("new"), folder.join("delay")).unwrap();
    }

    /// From now on the slice of this log heeds no wish to stop.
    pub fn make_deaf(&self, log: usize) {
        fs::write(self.plaso.join(format!("log{log}/deaf")), "").unwrap();
    }

    pub fn set_at_once(&mut self, at_once: usize) {
        self.at_once = at_once;
        self.configure(&self.loops.nodes(), "");
    }

    /// Forgets what agents have done here so far.
    pub fn forget(&self) {
        fs::remove_dir_all(&self.directory).unwrap();
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// The folder that everything of this trial is in.
    pub fn mark(&self) -> &str {
        self.work.path().to_str().unwrap()
    }

    pub fn config(&self) -> PathBuf {
        self.at("dfagent.toml")
    }

    pub fn jobs(&self) -> PathBuf {
        self.directory.join("jobs")
    }

    pub fn ledger(&self) -> PathBuf {
        self.directory.join("ledger.db")
    }

    /// Lets the agent keep its things elsewhere; to be called before anything is configured.
    pub fn keep_in(&mut self, directory: PathBuf) {
        self.directory = directory;
        self.configure(&self.loops.nodes(), "");
    }

    /// Writes the configuration: these nodes are evidence, and more tables or keys of `[attach.evidence]`.
    pub fn configure(&self, nodes: &[String], more: &str) {
        self.write(&self.configuration(nodes, more));
    }

    /// Writes the configuration with keys of tables that it has anyway, such as `("[agent]", "readers = 'root'")`.
    pub fn configure_with(&self, keys: &[(&str, &str)], more: &str) {
        let mut text = self.configuration(&self.loops.nodes(), more);
        for (table, key) in keys {
            text = text.replacen(table, &format!("{table}\n{key}"), 1);
        }
        self.write(&text);
    }

    fn write(&self, text: &str) {
        // In its place by rename, so that an agent never reads half of it.
        fs::write(self.at("dfagent.new"), text).unwrap();
        fs::rename(self.at("dfagent.new"), self.config()).unwrap();
    }

    pub fn configuration(&self, nodes: &[String], more: &str) -> String {
        format!(
            r#"
[agent]
directory = "{directory}"
socket = "{work}/dfagent.sock"
[plaso]
environment = "{plaso}"
parsers = {PARSERS:?}
at_once = {at_once}
[work]
reserve_mib = 8
[devices]
loops = true
[attach.evidence]
points = {nodes:?}
filter = "{work}/filters"
{more}
"#,
            directory = self.directory.display(),
            work = self.mark(),
            plaso = self.plaso.display(),
            at_once = self.at_once,
        )
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn copy(&self, disk: &Disk, name: &str) {
        fs::copy(&disk.image, self.at(name)).unwrap();
    }

    pub fn start(&mut self) -> Agent {
        let agent = Agent::start(&self.config());
        self.pids.push(agent.pid());
        agent
    }

    /// Starts it without waiting until it is ready.
    pub fn start_unready(&mut self) -> Agent {
        let agent = Agent::start_by(&mut own_program(), &self.config());
        self.pids.push(agent.pid());
        agent
    }

    /// Starts it under `strace`, which stays out of the way: the agent is our own child all the same.
    pub fn start_traced(&mut self, words: &[&str]) -> Agent {
        let mut command = Command::new("strace");
        command.arg("-D").args(words);
        command.arg(own_program().get_program());
        let agent = Agent::start_by(&mut command, &self.config());
        self.pids.push(agent.pid());
        agent
    }

    /// Nothing of the agents that ran here is left: no mount, loop, cgroup or process.
    pub fn assert_nothing_left(&self) {
        let clean = holds_within(CLEANED_UP, || self.left().is_empty());
        assert!(clean, "left behind: {:#?}", self.left());
    }

    fn left(&self) -> Vec<String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let ours = |line: &&str| line.contains(self.mark()) && !line.contains("dfagent-test");
        let mut found: Vec<String> = mounts.lines().filter(ours).map(str::to_owned).collect();
        found.extend(left_over(self.mark(), &self.loops.nodes()));
        found.extend(self.cgroups());
        let alive = caged(&format!("{}/", self.jobs().display()));
        found.extend(alive.iter().map(|one| format!("{one:?}")));
        found
    }

    /// Nodes with the number of one of our agents in their names.
    fn cgroups(&self) -> Vec<String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let hierarchy = mounts.lines().find_map(|line| {
            let (place, origin) = line.split_once(" - ")?;
            let place = place.split(' ').nth(4)?;
            origin.starts_with("cgroup2 ").then(|| place.to_owned())
        });
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
        let (Some(hierarchy), Some(own)) = (hierarchy, own) else {
            return Vec::new();
        };
        let folder = Path::new(&hierarchy).join(own).join("dfagent");
        let nodes = fs::read_dir(folder).into_iter().flatten().flatten();
        nodes
            .map(|node| node.file_name().to_string_lossy().into_owned())
            .filter(|name| {
                let of = |pid: &u32| name.starts_with(&format!("{pid}-"));
                self.pids.iter().any(of)
            })
            .collect()
    }
}

/// A finished thing: the number of the file and when it was written.
pub fn mark_of(path: &Path) -> (u64, SystemTime) {
    let about = fs::metadata(path).unwrap();
    (about.ino(), about.modified().unwrap())
}

/// A file of a job, as JSON.
pub fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A job's timeline is complete, and that of an undisturbed run, byte for byte.
pub fn assert_timeline_of(disk: &Disk, folder: &Path) {
    let manifest = json(&folder.join("manifest.json"));
    assert_eq!(manifest["verdict"]["level"], "complete", "{manifest:#}");
    assert_eq!(manifest["custody"]["differences"], serde_json::json!([]));
    let timeline = fs::read_to_string(folder.join("timeline.jsonl")).unwrap();
    assert!(
        timeline == disk.timeline,
        "the timeline of an undisturbed run"
    );
}

/// The disk's file is what it was.
pub fn assert_untouched(image: &Path, disk: &Disk) {
    assert_eq!(sha256(image), sha256(&disk.image), "the disk is untouched");
}
