//! Settings of the worker: what is ours, where things are kept, who may do what, what happens after a job.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use crate::plaso::verdict::Level;

/// `[agent]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct AgentSettings {
    /// The ledger and the folders of jobs.
    pub directory: PathBuf,
    /// Where `status` and the other commands find the agent.
    pub socket: PathBuf,
    /// Group that may look.
    pub readers: String,
    /// Group that may retry, cancel and release.
    pub operators: String,
    /// Seconds.
    pub stop_limit_seconds: u64,
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self {
            directory: "/var/lib/dfagent".into(),
            socket: "/run/dfagent/dfagent.sock".into(),
            readers: "dfagent".into(),
            operators: "dfagent".into(),
            stop_limit_seconds: 45,
        }
    }
}

impl AgentSettings {
    /// Where jobs have their folders.
    #[must_use]
    pub fn jobs(&self) -> PathBuf {
        self.directory.join("jobs")
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.directory.join("ledger.db")
    }

    /// How long stopping in order may take.
    #[must_use]
    pub const fn stop_limit(&self) -> Duration {
        Duration::from_secs(self.stop_limit_seconds)
    }
}

/// Which disks are set read-only as soon as udev sees them.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Guarded {
    /// Volumes of EBS, and what an `[attach]` table lists.
    #[default]
    Volumes,
    /// Every disk that is not the machine's own.
    All,
    /// None.
    Off,
}

/// `[devices]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceSettings {
    /// Whether loop devices may be evidence.
    pub loops: bool,
    /// Which disks are set read-only as soon as udev sees them.
    pub guard: Guarded,
    /// The machine's own disks: patterns of attachment points and of identities.
    pub own: Vec<String>,
}

impl Default for DeviceSettings {
    fn default() -> Self {
        Self {
            loops: false,
            guard: Guarded::Volumes,
            own: vec!["/dev/xvda".into(), "/dev/sda1".into(), "/dev/sda".into()],
        }
    }
}

/// `[attach.NAME]`: what is done with volumes at some attachment points.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct AttachSettings {
    /// Patterns of attachment points: `/dev/sd[f-p]`.
    pub points: Vec<String>,
    /// Where filesystems are mounted; empty: in the job's folder.
    pub mountpoint: PathBuf,
    /// The case; empty: none.
    pub case: String,
    /// Filter file or folder; empty: the ones in force.
    pub filter: PathBuf,
    /// Higher is earlier.
    pub priority: i64,
}

impl AttachSettings {
    /// The filter of its own, if it has one.
    #[must_use]
    pub fn own_filter(&self) -> &[PathBuf] {
        if self.filter.as_os_str().is_empty() {
            &[]
        } else {
            std::slice::from_ref(&self.filter)
        }
    }
}

/// `[hook.NAME]`: a program that is run when a job has ended.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct HookSettings {
    /// The verdicts after which it is run.
    pub on: Vec<Level>,
    /// Program and arguments; `{volume}` and others are filled in, no shell is involved.
    pub run: Vec<String>,
    /// Account that it runs as.
    pub user: String,
    /// Seconds.
    pub limit_seconds: u64,
}

impl Default for HookSettings {
    fn default() -> Self {
        Self {
            on: vec![Level::Complete, Level::Partial, Level::Failed],
            run: Vec::new(),
            user: "nobody".into(),
            limit_seconds: 60,
        }
    }
}

/// `[metrics]`
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsSettings {
    /// A file for the text file collector of Prometheus' node exporter; empty: none.
    pub file: PathBuf,
}

/// `[power]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct PowerSettings {
    /// Whether the machine is switched off when nothing is left to do.
    pub off_when_idle: bool,
    /// Seconds.
    pub grace_seconds: u64,
    /// Program and arguments.
    pub command: Vec<String>,
}

impl Default for PowerSettings {
    fn default() -> Self {
        Self {
            off_when_idle: false,
            grace_seconds: 900,
            command: vec!["/usr/bin/systemctl".into(), "poweroff".into()],
        }
    }
}

/// Volumes' settings by name.
pub type AttachTable = BTreeMap<String, AttachSettings>;
/// Hooks by name.
pub type HookTable = BTreeMap<String, HookSettings>;

/// Names of tables are shown and put into file names.
fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    !name.is_empty() && name.len() <= 40 && name.chars().all(fits)
}

pub(super) fn check(
    devices: &DeviceSettings,
    attach: &AttachTable,
    hooks: &HookTable,
) -> Result<(), ConfigError> {
    let wrong = |key, problem: String| Err(ConfigError::Value { key, problem });
    for one in &devices.own {
        if let Err(error) = glob::Pattern::new(one) {
            let problem = format!("{one:?} is no pattern: {}", error.msg);
            return wrong("devices.own", problem);
        }
    }
    for (name, one) in attach {
        if !is_name(name) {
            return wrong(
                "attach",
                format!("{name:?} is no name: use letters, digits, - and _"),
            );
        }
        if one.points.is_empty() {
            return wrong(
                "attach",
                format!("{name} has no points; give at least one, such as \"/dev/sd[f-p]\""),
            );
        }
        for point in &one.points {
            if let Err(error) = glob::Pattern::new(point) {
                return wrong(
                    "attach",
                    format!(
                        "{name} has the point {point:?}, which is no pattern: {}",
                        error.msg
                    ),
                );
            }
            if !point.starts_with("/dev/") {
                return wrong(
                    "attach",
                    format!("{name} has the point {point:?}; points begin with /dev/"),
                );
            }
        }
        if !(one.mountpoint.as_os_str().is_empty() || one.mountpoint.is_absolute()) {
            return wrong(
                "attach",
                format!(
                    "{name} has the mountpoint {}, which is not absolute",
                    one.mountpoint.display()
                ),
            );
        }
    }
    for (name, hook) in hooks {
        if !is_name(name) {
            return wrong(
                "hook",
                format!("{name:?} is no name: use letters, digits, - and _"),
            );
        }
        let program = hook.run.first().map(String::as_str).unwrap_or_default();
        if !program.starts_with('/') {
            return wrong(
                "hook",
                format!("{name} runs {program:?}; give the whole path of a program"),
            );
        }
        if hook.limit_seconds == 0 || hook.limit_seconds > 86_400 {
            return wrong(
                "hook",
                format!(
                    "{name} has a limit of {} seconds; use 1 to 86400",
                    hook.limit_seconds
                ),
            );
        }
    }
    Ok(())
}
