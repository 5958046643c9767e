//! Starting, watching and ending a cage.
//!
//! To be used from one thread: descriptors meant for bubblewrap are inheritable until the launcher has started.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::User;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::cgroup::{Cgroup, CgroupRoot, Weights};
use super::command::{
    Descriptors, Fixed, PROC_SECRETS, bubblewrap_arguments, caged_command, limit_arguments,
};
use super::{CageRequest, Ended, Limits, seccomp};

/// The user of the cage when no account was made for it: a number that systemd and Debian leave unused.
const FALLBACK_UID: u32 = 60906;

/// How much of what a caged program prints is kept.
const OUTPUT_KEPT: usize = 64 * 1024;

/// Why a cage cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CageError {
    /// A program is not installed.
    #[error("find {program}: install the package {package}")]
    Missing {
        /// Its path.
        program: &'static str,
        /// The Debian package.
        package: &'static str,
    },
    /// The filters could not be built.
    #[error("prepare the cage")]
    Seccomp(#[from] seccomp::SeccompError),
    /// Descriptors that our caller left open could not be kept from it.
    #[error("keep open descriptors from the cage")]
    Descriptors(#[from] nix::Error),
    /// The system refused something.
    #[error("{operation} for the cage {name}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// The run.
        name: String,
        /// Why not.
        source: io::Error,
    },
}

/// What the manifest says about the cage.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub struct CageFacts {
    /// User of the work inside.
    pub uid: u32,
    /// Limits of each cage.
    pub limits: Limits,
    /// `cgroup` where memory of a whole cage is limited, else `rlimits only`.
    pub limited_by: String,
    /// Whether each cage has a cgroup of its own to be ended and measured by.
    pub own_cgroup: bool,
}

/// The means to start cages on this machine.
#[derive(Debug)]
pub struct Cage {
    fixed: Fixed,
    limits: Limits,
    cgroups: Option<CgroupRoot>,
    filters: (Vec<u8>, Vec<u8>),
}

/// What name resolution reads; without `/etc/hosts` Plaso's worker cannot bind its status server and waits
/// five minutes before it ends with code 0 and no events.
const RESOLVER: [(&str, &str); 2] = [
    ("127.0.0.1 localhost\n", "/etc/hosts"),
    ("hosts: files\npasswd: files\n", "/etc/nsswitch.conf"),
];

const BWRAP: &str = "/usr/bin/bwrap";
const SETPRIV: &str = "/usr/bin/setpriv";

impl Cage {
    /// Looks for the programs and for what the kernel offers; `guard` is our own program, which limits
    /// itself outside and guards the work inside.
    ///
    /// # Errors
    /// bubblewrap or setpriv is missing, or the filters cannot be built.
    pub fn find(
        user: &str,
        limits: Limits,
        weights: Weights,
        guard: &Path,
    ) -> Result<Self, CageError> {
        for (program, package) in [(BWRAP, "bubblewrap"), (SETPRIV, "util-linux")] {
            if !Path::new(program).exists() {
                return Err(CageError::Missing { program, package });
            }
        }
        crate::sys::keep_descriptors()?;
        let (uid, gid) = match User::from_name(user) {
            Ok(Some(account)) => (account.uid.as_raw(), account.gid.as_raw()),
            _ => (FALLBACK_UID, FALLBACK_UID),
        };
        let exists = |name: &&str| Path::new("/proc").join(name).exists();
        let masked_proc = PROC_SECRETS
            .iter()
            .filter(|n| exists(n))
            .map(|n| (*n).into())
            .collect();
        let lib64 = Path::new("/lib64").exists();
        let guard = guard.to_string_lossy().into_owned();
        let fixed = Fixed {
            uid,
            gid,
            guard,
            masked_proc,
            lib64,
        };
        Ok(Self {
            fixed,
            limits,
            cgroups: CgroupRoot::find(weights),
            filters: seccomp::filters()?,
        })
    }

    /// User and group of the work inside.
    #[must_use]
    pub fn owner(&self) -> (u32, u32) {
        (self.fixed.uid, self.fixed.gid)
    }

    /// For the manifest and `check`.
    #[must_use]
    pub fn facts(&self) -> CageFacts {
        let by_cgroup = self.cgroups.as_ref().is_some_and(CgroupRoot::holds_memory);
        let limited_by = if by_cgroup { "cgroup" } else { "rlimits only" }.to_owned();
        let own_cgroup = self.cgroups.is_some();
        CageFacts {
            uid: self.fixed.uid,
            limits: self.limits,
            limited_by,
            own_cgroup,
        }
    }

    /// Starts the request.
    ///
    /// # Errors
    /// The system refused a pipe, the cgroup or the start of the launcher.
    pub fn start(&self, request: &CageRequest) -> Result<Caged, CageError> {
        let fail = |operation| {
            let name = request.name.clone();
            move |source: io::Error| CageError::System {
                operation,
                name,
                source,
            }
        };
        let cgroup = match &self.cgroups {
            Some(root) => Some(
                root.create(&request.name, self.limits)
                    .map_err(fail("make a control group"))?,
            ),
            None => None,
        };
        let handed = Handed::prepare(self, request).map_err(fail("hand over descriptors"))?;
        let (control_read, control) = io::pipe().map_err(fail("make a pipe"))?;
        let mut command = self.launcher(request, cgroup.as_ref(), &handed);
        command.stdin(Stdio::from(control_read));
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(fail("start the launcher"))?;
        let status = handed.status_read;
        let output = Arc::new(Mutex::new(Tail::default()));
        let errors = Arc::new(Mutex::new(Tail::default()));
        let readers = [
            child
                .stdout
                .take()
                .map(|pipe| tokio::spawn(keep_tail(pipe, Arc::clone(&output)))),
            child
                .stderr
                .take()
                .map(|pipe| tokio::spawn(keep_tail(pipe, Arc::clone(&errors)))),
        ];
        Ok(Caged {
            child,
            control: Some(control),
            status,
            cgroup,
            output,
            errors,
            readers: readers.into_iter().flatten().collect(),
            deadline: Instant::now() + request.time_limit,
            killed: None,
        })
    }

    fn launcher(&self, request: &CageRequest, cgroup: Option<&Cgroup>, handed: &Handed) -> Command {
        let mut command = Command::new(&self.fixed.guard);
        command.env_clear().args(["inside", "launch"]);
        if let Some(cgroup) = cgroup {
            command.arg("--cgroup").arg(cgroup.folder());
        }
        command.arg(format!("--parent={}", std::process::id()));
        let cgroups = self.cgroups.as_ref();
        let processes_by_cgroup = cgroups.is_some_and(CgroupRoot::holds_processes);
        command.args(limit_arguments(self.limits, processes_by_cgroup));
        command.args([
            "--",
            BWRAP,
            "--args",
            &handed.arguments.as_raw_fd().to_string(),
            "--",
        ]);
        command.args(caged_command(&self.fixed, request));
        command
    }

    /// Gives a folder and its files to the user of the cage.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn hand_over(&self, folder: &Path) -> io::Result<()> {
        let (uid, gid) = self.owner();
        for entry in std::fs::read_dir(folder)? {
            std::os::unix::fs::lchown(entry?.path(), Some(uid), Some(gid))?;
        }
        std::os::unix::fs::lchown(folder, Some(uid), Some(gid))
    }
}

/// Descriptors that bubblewrap inherits; closed here as soon as it has started.
struct Handed {
    arguments: File,
    _data: Vec<File>,
    _status_write: std::os::fd::OwnedFd,
    status_read: io::PipeReader,
}

impl Handed {
    fn prepare(cage: &Cage, request: &CageRequest) -> io::Result<Self> {
        let mut data = Vec::new();
        for (content, inside) in RESOLVER
            .iter()
            .map(|(c, i)| (*c, (*i).to_owned()))
            .chain(request.data.iter().cloned())
        {
            data.push((inheritable_memory("data", content.as_bytes())?, inside));
        }
        let places: Vec<(i32, String)> = data
            .iter()
            .map(|(file, inside)| (file.as_raw_fd(), inside.clone()))
            .collect();
        let allow = inheritable_memory("seccomp-allow", &cage.filters.0)?;
        let netlink = inheritable_memory("seccomp-netlink", &cage.filters.1)?;
        let (status_read, status_write) = io::pipe()?;
        let status_write = nix::unistd::dup(&status_write)?;
        let fds = Descriptors {
            data: &places,
            seccomp_allow: allow.as_raw_fd(),
            seccomp_netlink: netlink.as_raw_fd(),
            status: status_write.as_raw_fd(),
        };
        let mut text = Vec::new();
        for argument in bubblewrap_arguments(&cage.fixed, request, &fds) {
            text.extend(argument.as_bytes());
            text.push(0);
        }
        let arguments = inheritable_memory("arguments", &text)?;
        let mut data: Vec<File> = data.into_iter().map(|(file, _)| file).collect();
        data.extend([allow, netlink]);
        Ok(Self {
            arguments,
            _data: data,
            _status_write: status_write,
            status_read,
        })
    }
}

fn inheritable_memory(name: &str, content: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create(name, MFdFlags::empty())?);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

/// A running cage. Dropping it ends everything in it.
#[derive(Debug)]
pub struct Caged {
    child: Child,
    control: Option<io::PipeWriter>,
    status: io::PipeReader,
    cgroup: Option<Cgroup>,
    output: Arc<Mutex<Tail>>,
    errors: Arc<Mutex<Tail>>,
    readers: Vec<tokio::task::JoinHandle<()>>,
    deadline: Instant,
    killed: Option<Ended>,
}

impl Caged {
    /// Asks the program inside to stop in order (one `SIGINT`, passed on by the guard).
    pub fn interrupt(&mut self) {
        self.killed.get_or_insert(Ended::Stopped);
        if let Some(control) = &mut self.control {
            drop(control.write_all(b"i"));
        }
    }

    /// Ends everything inside at once.
    pub fn kill(&mut self) {
        self.kill_as(Ended::Stopped);
    }

    fn kill_as(&mut self, ended: Ended) {
        self.killed.get_or_insert(ended);
        self.control = None;
        if let Some(cgroup) = &self.cgroup {
            cgroup.kill();
        }
        drop(self.child.start_kill());
    }

    /// CPU time of everything inside, where there is a cgroup to count it.
    #[must_use]
    pub fn cpu_time(&self) -> Option<Duration> {
        self.cgroup.as_ref().and_then(Cgroup::cpu_time)
    }

    /// The end of what the program printed, lossily decoded; escape it before it is shown.
    #[must_use]
    pub fn output(&self) -> String {
        text_of(&self.output)
    }

    /// The end of what the program printed as errors.
    #[must_use]
    pub fn errors(&self) -> String {
        text_of(&self.errors)
    }

    /// Waits for the end; past the time limit everything inside is ended.
    ///
    /// Cancel-safe: may be dropped and called again.
    pub async fn wait(&mut self) -> Ended {
        let status = match tokio::time::timeout_at(self.deadline, self.child.wait()).await {
            Ok(status) => status,
            Err(_) => {
                self.kill_as(Ended::TimedOut);
                self.child.wait().await
            }
        };
        for reader in &mut self.readers {
            drop(reader.await);
        }
        self.readers.clear();
        let ended = self.classify(status);
        if let Some(cgroup) = &self.cgroup {
            cgroup.kill();
        }
        ended
    }

    fn classify(&mut self, status: io::Result<ExitStatus>) -> Ended {
        if let Some(ended) = &self.killed {
            return ended.clone();
        }
        if self.cgroup.as_ref().is_some_and(Cgroup::ran_out_of_memory) {
            return Ended::OutOfMemory;
        }
        let status = match status {
            Ok(status) => status,
            Err(error) => {
                return Ended::NotStarted {
                    reason: error.to_string(),
                };
            }
        };
        if let Some(signal) = status.signal() {
            return Ended::Signaled { signal };
        }
        let mut report = String::new();
        drop((&self.status).take(4096).read_to_string(&mut report));
        let code = status.code().unwrap_or(-1);
        if code != 0 && !report.contains("exit-code") {
            return Ended::NotStarted {
                reason: crate::printable::line(self.errors().trim(), 300),
            };
        }
        if code > 128 {
            Ended::Signaled { signal: code - 128 }
        } else {
            Ended::Exited { code }
        }
    }
}

/// The last part of a stream.
#[derive(Debug, Default)]
struct Tail(VecDeque<u8>);

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        let excess = self.0.len().saturating_sub(OUTPUT_KEPT);
        self.0.drain(..excess);
    }
}

fn text_of(tail: &Mutex<Tail>) -> String {
    let tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
    let (first, second) = tail.0.as_slices();
    String::from_utf8_lossy(&[first, second].concat()).into_owned()
}

async fn keep_tail(mut pipe: impl AsyncRead + Unpin, tail: Arc<Mutex<Tail>>) {
    let mut buffer = [0; 8192];
    while let Ok(count) = pipe.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        tail.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(&buffer[..count]);
    }
}

/// Where a program is, if it is installed; for `check`.
#[must_use]
pub fn bubblewrap_path() -> Option<PathBuf> {
    let path = PathBuf::from(BWRAP);
    path.exists().then_some(path)
}
