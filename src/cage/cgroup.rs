//! A cgroup v2 node for each cage: to end it whole, to measure it, to limit it where controllers allow.

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
    /// Which of this process: a new configuration brings a new one beside the old one.
    number: u64,
}

/// Makes names that are used once in this process.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

fn number() -> u64 {
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

/// The name of our folder in the hierarchy.
const FOLDER: &str = "dfagent";

impl CgroupRoot {
    /// Finds a cgroup v2 hierarchy that can be written; none on a host without.
    #[must_use]
    pub fn find() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let mount = mounts.lines().find_map(|line| {
            let (place, origin) = line.split_once(" - ")?;
            origin
                .starts_with("cgroup2 ")
                .then(|| place.split(' ').nth(4).map(PathBuf::from))?
        })?;
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let base = mount.join(own);
        let folder = base.join(FOLDER);
        fs::create_dir_all(&folder).ok()?;
        let controllers = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
        let controllers: Vec<String> = ["memory", "pids", "cpu"]
            .into_iter()
            .filter(|wanted| controllers.split_whitespace().any(|found| found == *wanted))
            .map(str::to_owned)
            .collect();
        let root = Self {
            folder,
            controllers,
            number: number(),
        };
        root.enable();
        root.sweep();
        Some(root)
    }

    fn enable(&self) {
        for controller in &self.controllers {
            drop(set(
                &self.folder.join("cgroup.subtree_control"),
                &format!("+{controller}"),
            ));
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
            self.enable();
        }
        fs::create_dir(&folder)?;
        if self.holds_memory() {
            set(&folder.join("memory.max"), &limits.memory_bytes.to_string())?;
            drop(set(&folder.join("memory.swap.max"), "0"));
            drop(set(&folder.join("memory.oom.group"), "1"));
        }
        if self.controllers.iter().any(|name| name == "pids") {
            set(&folder.join("pids.max"), &limits.processes.to_string())?;
        }
        Ok(Cgroup { folder })
    }

    /// Whether memory of a whole cage can be limited.
    #[must_use]
    pub fn holds_memory(&self) -> bool {
        self.controllers.iter().any(|name| name == "memory")
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

fn set(file: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .open(file)?
        .write_all(value.as_bytes())
}
