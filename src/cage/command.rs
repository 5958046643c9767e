//! The cage as a command line (pure).
//!
//! Order matters to bubblewrap: later mounts hide earlier ones below them, and `--remount-ro` comes last.

use super::{CageRequest, Limits};

/// Where things stand inside the cage.
pub mod inside {
    /// The writable folder.
    pub const ATTEMPT: &str = "/attempt";
    /// Our own binary.
    pub const GUARD: &str = "/guard";
    /// The evidence, or the folder above it when a source has several filesystems.
    pub const EVIDENCE: &str = "/evidence";
    /// The Plaso environment.
    pub const PLASO: &str = "/plaso";
}

/// The parts of a cage that are the same for every run on a machine.
#[derive(Clone, Debug)]
pub struct Fixed {
    /// Numeric user and group of the work inside.
    pub uid: u32,
    /// See `uid`.
    pub gid: u32,
    /// Our own binary, outside.
    pub guard: String,
    /// Files of `/proc` to be covered because `CAP_DAC_READ_SEARCH` could read them.
    pub masked_proc: Vec<String>,
    /// Whether the host has `/lib64`.
    pub lib64: bool,
}

/// Files of `/proc` that tell about the host beyond what the work needs.
pub const PROC_SECRETS: [&str; 12] = [
    "slabinfo",
    "kpagecount",
    "kpageflags",
    "kpagecgroup",
    "timer_list",
    "vmallocinfo",
    "pagetypeinfo",
    "kallsyms",
    "keys",
    "key-users",
    "config.gz",
    "cmdline",
];

/// Numbers of the open descriptors that bubblewrap is told to read.
#[derive(Clone, Copy, Debug)]
pub struct Descriptors<'a> {
    /// Files that are given as data, with their places inside.
    pub data: &'a [(i32, String)],
    /// The allow-list.
    pub seccomp_allow: i32,
    /// The errno of netlink sockets.
    pub seccomp_netlink: i32,
    /// Where the child's pid and exit code are reported.
    pub status: i32,
}

/// Everything that bubblewrap reads from `--args`.
#[must_use]
pub fn bubblewrap_arguments(
    fixed: &Fixed,
    request: &CageRequest,
    fds: &Descriptors<'_>,
) -> Vec<String> {
    let mut args = Arguments::default();
    args.add(&["--json-status-fd", &fds.status.to_string()]);
    args.add(&[
        "--unshare-pid",
        "--unshare-net",
        "--unshare-ipc",
        "--unshare-uts",
    ]);
    args.add(&[
        "--unshare-cgroup-try",
        "--die-with-parent",
        "--new-session",
        "--clearenv",
    ]);
    for (name, value) in ENVIRONMENT {
        args.add(&["--setenv", name, value]);
    }
    args.add(&["--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib"]);
    args.add(&["--symlink", "usr/bin", "/bin"]);
    if fixed.lib64 {
        args.add(&["--symlink", "usr/lib64", "/lib64"]);
    }
    args.add(&["--proc", "/proc"]);
    for name in &fixed.masked_proc {
        args.add(&["--ro-bind", "/dev/null", &format!("/proc/{name}")]);
    }
    args.add(&[
        "--dev", "/dev", "--perms", "1777", "--size", "67108864", "--tmpfs", "/dev/shm",
    ]);
    args.add(&["--perms", "1777", "--size", "536870912", "--tmpfs", "/tmp"]);
    for (outside, inside) in &request.read_only {
        args.add(&["--ro-bind", &outside.to_string_lossy(), inside]);
    }
    for (number, inside) in fds.data {
        args.add(&[
            "--perms",
            "0444",
            "--ro-bind-data",
            &number.to_string(),
            inside,
        ]);
    }
    if let Some(evidence) = &request.evidence {
        let bind = if evidence.device {
            "--dev-bind"
        } else {
            "--ro-bind"
        };
        args.add(&[bind, &evidence.outside.to_string_lossy(), &evidence.inside]);
    }
    args.add(&[
        "--bind",
        &request.attempt.to_string_lossy(),
        inside::ATTEMPT,
    ]);
    args.add(&["--ro-bind", &fixed.guard, inside::GUARD]);
    args.add(&[
        "--remount-ro",
        "/proc",
        "--remount-ro",
        "/dev",
        "--remount-ro",
        "/",
    ]);
    args.add(&["--chdir", inside::ATTEMPT, "--cap-drop", "ALL"]);
    for capability in [
        "CAP_SETUID",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_DAC_READ_SEARCH",
    ] {
        args.add(&["--cap-add", capability]);
    }
    args.add(&["--add-seccomp-fd", &fds.seccomp_allow.to_string()]);
    args.add(&["--add-seccomp-fd", &fds.seccomp_netlink.to_string()]);
    args.0
}

/// The environment inside; nothing of ours is passed on.
const ENVIRONMENT: [(&str, &str); 8] = [
    ("PATH", "/usr/bin:/usr/sbin"),
    ("HOME", inside::ATTEMPT),
    ("TMPDIR", "/tmp"),
    ("LANG", "C.UTF-8"),
    ("TZ", "UTC"),
    ("PYTHONDONTWRITEBYTECODE", "1"),
    // Status lines are to be seen when they are written, not when a buffer is full.
    ("PYTHONUNBUFFERED", "1"),
    // Keys of path specifications in the same order in every slice.
    ("PYTHONHASHSEED", "0"),
];

#[derive(Default)]
struct Arguments(Vec<String>);

impl Arguments {
    fn add(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(|word| (*word).to_owned()));
    }
}

/// The command that bubblewrap starts: drop to the user, keep one capability, guard, program.
#[must_use]
pub fn caged_command(fixed: &Fixed, request: &CageRequest) -> Vec<String> {
    let capability = "-all,+dac_read_search";
    let mut command: Vec<String> = ["/usr/bin/setpriv", "--reuid"].map(str::to_owned).into();
    command.extend([
        fixed.uid.to_string(),
        "--regid".to_owned(),
        fixed.gid.to_string(),
    ]);
    command.extend(["--clear-groups", "--no-new-privs"].map(str::to_owned));
    for set in ["--bounding-set", "--inh-caps", "--ambient-caps"] {
        command.push(format!("{set}={capability}"));
    }
    command.extend(["--", inside::GUARD, "inside", "guard", "--"].map(str::to_owned));
    command.extend(request.program.iter().cloned());
    command
}

/// What the launcher is told about limits, as arguments of its own; processes only where no cgroup counts them.
#[must_use]
pub fn limit_arguments(limits: Limits, processes_by_cgroup: bool) -> Vec<String> {
    let processes = format!("--processes={}", limits.processes);
    [
        format!("--data={}", limits.memory_bytes),
        format!("--file-size={}", limits.file_bytes),
    ]
    .into_iter()
    .chain((!processes_by_cgroup).then_some(processes))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cage::CagedEvidence;
    use std::time::Duration;

    fn request(device: bool) -> CageRequest {
        CageRequest {
            name: "t".into(),
            program: vec!["/usr/bin/true".into()],
            evidence: Some(CagedEvidence {
                outside: "/srv/mount".into(),
                inside: "/evidence".into(),
                device,
            }),
            attempt: "/srv/attempt".into(),
            read_only: Vec::new(),
            data: Vec::new(),
            time_limit: Duration::from_secs(1),
        }
    }

    fn fixed() -> Fixed {
        let masked_proc = vec!["keys".to_owned()];
        Fixed {
            uid: 60906,
            gid: 60906,
            guard: "/usr/bin/dfagent".into(),
            masked_proc,
            lib64: true,
        }
    }

    fn arguments(device: bool) -> String {
        let data = [(3, "/etc/hosts".to_owned())];
        let fds = Descriptors {
            data: &data,
            seccomp_allow: 5,
            seccomp_netlink: 6,
            status: 7,
        };
        bubblewrap_arguments(&fixed(), &request(device), &fds).join(" ")
    }

    #[test]
    fn evidence_is_never_bound_writable() {
        assert!(arguments(false).contains("--ro-bind /srv/mount /evidence"));
        assert!(!arguments(false).contains("--bind /srv/mount"));
        assert!(arguments(true).contains("--dev-bind /srv/mount /evidence"));
    }

    #[test]
    fn the_root_is_locked_after_the_last_mount() {
        let text = arguments(false);
        let lock = text.find("--remount-ro / ").unwrap();
        assert!(text.rfind("bind").unwrap() < lock, "{text}");
    }

    #[test]
    fn the_work_keeps_one_capability() {
        let command = caged_command(&fixed(), &request(false)).join(" ");
        assert!(command.contains("--bounding-set=-all,+dac_read_search"));
        assert!(command.contains("--no-new-privs"));
        assert!(command.ends_with("-- /guard inside guard -- /usr/bin/true"));
    }

    #[test]
    fn processes_are_counted_over_all_cages_only_where_no_cgroup_counts_those_of_one() {
        let limits = Limits {
            memory_bytes: 1,
            processes: 2,
            file_bytes: 3,
        };
        let by_cgroup = limit_arguments(limits, true);
        assert_eq!(by_cgroup, ["--data=1", "--file-size=3"]);
        let by_user = limit_arguments(limits, false);
        assert_eq!(by_user, ["--data=1", "--file-size=3", "--processes=2"]);
    }
}
