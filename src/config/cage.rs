//! Settings of the sandbox: its account, the limits of one cage, the share of all of them.

use serde::{Deserialize, Serialize};

use super::ConfigError;
use crate::cage::Limits;
use crate::cage::cgroup::Weights;

const MIB: u64 = 1024 * 1024;

/// `[cage]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct CageSettings {
    /// Account.
    pub user: String,
    /// MiB.
    pub memory_mib: u64,
    /// Count.
    pub processes: u64,
    /// MiB.
    pub file_mib: u64,
    /// Share of CPU time of all cages.
    pub cpu_weight: u64,
    /// Share of reading and writing of all cages.
    pub io_weight: u64,
}

impl Default for CageSettings {
    fn default() -> Self {
        Self {
            user: "dfagent-cage".into(),
            memory_mib: 4096,
            processes: 512,
            file_mib: 65_536,
            cpu_weight: 50,
            io_weight: 50,
        }
    }
}

impl CageSettings {
    /// The limits of one cage, in bytes.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        Limits {
            memory_bytes: self.memory_mib * MIB,
            processes: self.processes,
            file_bytes: self.file_mib * MIB,
        }
    }

    /// The shares of all cages together.
    #[must_use]
    pub const fn weights(&self) -> Weights {
        Weights {
            cpu: self.cpu_weight,
            io: self.io_weight,
        }
    }
}

pub(super) fn check(cage: &CageSettings) -> Result<(), ConfigError> {
    let wrong = |key, problem: &str| {
        let problem = problem.to_owned();
        Err(ConfigError::Value { key, problem })
    };
    if cage.memory_mib < 512 {
        return wrong("cage.memory_mib", "Plaso needs at least 512");
    }
    if cage.processes < 16 {
        return wrong("cage.processes", "Plaso needs at least 16");
    }
    for (key, weight) in [
        ("cage.cpu_weight", cage.cpu_weight),
        ("cage.io_weight", cage.io_weight),
    ] {
        if !(1..=10_000).contains(&weight) {
            return wrong(key, "use 1 to 10000; what has no weight has 100");
        }
    }
    Ok(())
}
