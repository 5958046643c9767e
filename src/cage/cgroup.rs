//! A cgroup v2 node for each cage: to end it whole, to measure it, to limit it where controllers allow.
//!
//! Under systemd (`Delegate=`) our own node is handed over to us, controllers and all. A node hands controllers down only
//! while no process is in it, so the agent moves to a leaf of its own:
//!
//! ```text
//! dfagent.service/           ours
//!   agent/                   the agent
//!   dfagent/                 all cages: weights, and what memory they may take together
//!     PID-ROOT-NUMBER-NAME/  one cage: memory, processes
//! ```

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Limits;

/// The folder below which cages get their nodes; removed at the end if no other agent uses it.
#[derive(Debug)]
pub struct CgroupRoot {
    folder: PathBuf,
    /// Controllers that can be used there.
    controllers: Vec<String>,
    weights: Weights,
    /// Which of this process: a new configuration brings a new one beside the old one.
    number: u64,
}

/// Makes names that are used once in this process.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

fn number() -> u64 {
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

/// The name of the cages' folder in the hierarchy.
const FOLDER: &str = "dfagent";

/// Where the agent itself goes.
const LEAF: &str = "agent";

/// What limits cages.
const CONTROLLERS: [&str; 4] = ["memory", "pids", "cpu", "io"];

/// Memory that all cages together leave to the agent and the system: an eighth, and at least this.
const LEFT_ALONE: u64 = 256 * 1024 * 1024;

/// The share of CPU time and of reading that all cages together get, where others have 100.
#[derive(Clone, Copy, Debug)]
pub struct Weights {
    /// 1 to 10000.
    pub cpu: u64,
    /// 1 to 10000.
    pub io: u64,
}

impl CgroupRoot {
    /// Finds a cgroup v2 hierarchy that can be written; none on a host without.
    #[must_use]
    pub fn find(weights: Weights) -> Option<Self> {
        let base = own_node()?;
        if crate::sys::is_delegated(&base) && step_aside(&base).is_ok() {
            enable(&base, &CONTROLLERS);
        }
        let folder = base.join(FOLDER);
        fs::create_dir_all(&folder).ok()?;
        let offered = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
        let controllers: Vec<String> = CONTROLLERS
            .into_iter()
            .filter(|wanted| offered.split_whitespace().any(|found| found == *wanted))
            .map(str::to_owned)
            .collect();
        let root = Self {
            folder,
            controllers,
            weights,
            number: number(),
        };
        root.set_up();
        root.sweep();
        Some(root)
    }

    /// What holds for all cages together. Each of it is worth having without the others.
    fn set_up(&self) {
        enable(&self.folder, &self.controllers);
        let give = |file: &str, value: &str| drop(set(&self.folder.join(file), value));
        give("cpu.weight", &self.weights.cpu.to_string());
        give("io.weight", &format!("default {}", self.weights.io));
        if let Some(most) = memory_for_all() {
            give("memory.max", &most.to_string());
        }
    }

    /// Ends cages whose agent is gone: a node carries the pid of its agent in its name.
    fn sweep(&self) {
        let gone = |pid: u32, _| !Path::new(&format!("/proc/{pid}")).exists();
        for node in self.nodes_of(gone) {
            drop(node);
        }
    }

    fn nodes_of(&self, wanted: impl Fn(u32, u64) -> bool) -> Vec<Cgroup> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten();
        let of_agent = |entry: fs::DirEntry| {
            let name = entry.file_name();
            let mut parts = name.to_str()?.split('-');
            let (pid, root) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            wanted(pid, root).then(|| Cgroup {
                folder: entry.path(),
            })
        };
        entries
            .filter_map(Result::ok)
            .filter_map(of_agent)
            .collect()
    }

    /// Makes a node with the limits that the controllers here can hold.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn create(&self, name: &str, limits: Limits) -> io::Result<Cgroup> {
        // Many jobs have a task of the same name at one time.
        let (pid, root) = (std::process::id(), self.number);
        let folder = self
            .folder
            .join(format!("{pid}-{root}-{}-{name}", number()));
        if fs::create_dir(&self.folder).is_ok() {
            // Another one that ended had removed it.
            self.set_up();
        }
        fs::create_dir(&folder)?;
        if self.holds_memory() {
            set(&folder.join("memory.max"), &limits.memory_bytes.to_string())?;
            drop(set(&folder.join("memory.swap.max"), "0"));
            drop(set(&folder.join("memory.oom.group"), "1"));
        }
        if self.holds_processes() {
            set(&folder.join("pids.max"), &limits.processes.to_string())?;
        }
        Ok(Cgroup { folder })
    }

    /// Whether memory of a whole cage can be limited.
    #[must_use]
    pub fn holds_memory(&self) -> bool {
        self.holds("memory")
    }

    /// Whether processes of a whole cage can be limited.
    #[must_use]
    pub fn holds_processes(&self) -> bool {
        self.holds("pids")
    }

    fn holds(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }
}

impl Drop for CgroupRoot {
    fn drop(&mut self) {
        // A node could not go while the last of its processes was still on its way out.
        drop(self.nodes_of(|pid, root| pid == std::process::id() && root == self.number));
        // Refused while another agent has nodes in it.
        drop(fs::remove_dir(&self.folder));
    }
}

/// The node of one cage; removed when dropped.
#[derive(Debug)]
pub struct Cgroup {
    folder: PathBuf,
}

impl Cgroup {
    /// The folder, for the launcher that joins it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Ends every process in it at once.
    pub fn kill(&self) {
        drop(set(&self.folder.join("cgroup.kill"), "1"));
    }

    /// CPU time that the cage has used so far.
    #[must_use]
    pub fn cpu_time(&self) -> Option<Duration> {
        let text = fs::read_to_string(self.folder.join("cpu.stat")).ok()?;
        let used = text
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "))?;
        used.trim().parse().ok().map(Duration::from_micros)
    }

    /// Whether the kernel ended something in it for lack of memory.
    #[must_use]
    pub fn ran_out_of_memory(&self) -> bool {
        let text = fs::read_to_string(self.folder.join("memory.events")).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count
            .and_then(|count| count.trim().parse::<u64>().ok())
            .is_some_and(|count| count > 0)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.kill();
        // The kernel lets the folder go once the last process is reaped; the next start sweeps the rest.
        drop(fs::remove_dir(&self.folder));
    }
}

/// The node that we are in; the one above, when we moved to a leaf before.
fn own_node() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = mounts.lines().find_map(|line| {
        let (place, origin) = line.split_once(" - ")?;
        origin
            .starts_with("cgroup2 ")
            .then(|| place.split(' ').nth(4).map(PathBuf::from))?
    })?;
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let node = mount.join(own);
    match node.parent() {
        Some(above) if node.ends_with(LEAF) && crate::sys::is_delegated(above) => {
            Some(above.to_owned())
        }
        _ => Some(node),
    }
}

/// Moves this process to the leaf.
fn step_aside(base: &Path) -> io::Result<()> {
    let leaf = base.join(LEAF);
    fs::create_dir_all(&leaf)?;
    set(&leaf.join("cgroup.procs"), "0")
}

/// Has a node hand controllers down, each one that it can.
fn enable(node: &Path, controllers: &[impl AsRef<str>]) {
    for controller in controllers {
        let wanted = format!("+{}", controller.as_ref());
        drop(set(&node.join("cgroup.subtree_control"), &wanted));
    }
}

/// What all cages together may take of this machine's memory.
fn memory_for_all() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    let all = kib * 1024;
    Some(all - (all / 8).max(LEFT_ALONE).min(all / 2))
}

fn set(file: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .open(file)?
        .write_all(value.as_bytes())
}
