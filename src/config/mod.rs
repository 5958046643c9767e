//! Settings: built-in defaults, files, environment, command line; checked before anything else happens.
//!
//! The commented file `packaging/etc/dfagent/dfagent.toml` is the documentation of every key and is compared
//! with the defaults here by a test.

pub mod cage;
pub mod delivery;
pub mod ec2;
pub mod filters;
pub mod worker;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{Config, Environment, File, FileFormat};
use serde::{Deserialize, Serialize};

/// The file of the administrator.
pub const MAIN_FILE: &str = "/etc/dfagent/dfagent.toml";
/// The folder of fragments.
pub const FRAGMENTS: &str = "/etc/dfagent/conf.d";

const MIB: u64 = 1024 * 1024;

/// More than any machine has; as bytes it is still a number.
const MOST_MIB: u64 = 1 << 40;

/// All settings.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// See the commented file for this and everything below.
    pub evidence: EvidenceSettings,
    /// Collection filter.
    pub filter: FilterSettings,
    /// Slicing.
    pub slices: SliceSettings,
    /// Plaso.
    pub plaso: PlasoSettings,
    /// The sandbox.
    pub cage: cage::CageSettings,
    /// The output folder.
    pub work: WorkSettings,
    /// The worker.
    pub agent: worker::AgentSettings,
    /// Which kinds of devices may be evidence.
    pub devices: worker::DeviceSettings,
    /// What is done with volumes at which attachment points.
    pub attach: worker::AttachTable,
    /// Programs that are run when a job has ended.
    pub hook: worker::HookTable,
    /// Figures for Prometheus.
    pub metrics: worker::MetricsSettings,
    /// Switching the machine off.
    pub power: worker::PowerSettings,
    /// Bringing events to a server.
    pub delivery: delivery::DeliverySettings,
    /// The server.
    pub timesketch: delivery::TimesketchSettings,
    /// What it searches in.
    pub opensearch: delivery::OpensearchSettings,
    /// What EC2 is asked for.
    pub ec2: ec2::Ec2Settings,
}

/// `[evidence]`
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct EvidenceSettings {
    /// Hash the whole source before and after.
    pub full_hash: bool,
}

/// `[filter]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct FilterSettings {
    /// Folder of filter files.
    pub directory: PathBuf,
}

impl Default for FilterSettings {
    fn default() -> Self {
        Self {
            directory: "/etc/dfagent/filters".into(),
        }
    }
}

/// `[slices]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct SliceSettings {
    /// MiB.
    pub smallest_mib: u64,
    /// MiB.
    pub largest_mib: u64,
}

impl Default for SliceSettings {
    fn default() -> Self {
        Self {
            smallest_mib: 4,
            largest_mib: 16,
        }
    }
}

/// `[plaso]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct PlasoSettings {
    /// Folder, or empty.
    pub environment: PathBuf,
    /// Names, or empty for the built-in list.
    pub parsers: Vec<String>,
    /// Slices at once, or 0.
    pub at_once: usize,
    /// Seconds.
    pub idle_limit_seconds: u64,
    /// Seconds.
    pub busy_limit_seconds: u64,
    /// Seconds.
    pub slice_limit_seconds: u64,
    /// Seconds.
    pub stop_grace_seconds: u64,
}

impl Default for PlasoSettings {
    fn default() -> Self {
        Self {
            environment: PathBuf::new(),
            parsers: Vec::new(),
            at_once: 0,
            idle_limit_seconds: 300,
            busy_limit_seconds: 900,
            slice_limit_seconds: 86_400,
            stop_grace_seconds: 15,
        }
    }
}

/// `[work]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct WorkSettings {
    /// MiB.
    pub reserve_mib: u64,
}

impl Default for WorkSettings {
    fn default() -> Self {
        Self { reserve_mib: 512 }
    }
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file says something that is not understood.
    #[error("understand {place}: {problem}")]
    File {
        /// File and line.
        place: String,
        /// What is wrong, with the key.
        problem: String,
    },
    /// A variable of the environment says something that is not understood.
    #[error("understand the configuration from the environment (DFAGENT__…): {0}")]
    Environment(String),
    /// A value is out of range.
    #[error("use the setting {key}: {problem}")]
    Value {
        /// Its key.
        key: &'static str,
        /// What is wrong and what it should be.
        problem: String,
    },
}

impl Settings {
    /// Loads the settings: `only` one file instead of the installed ones, if given.
    ///
    /// # Errors
    /// A sentence with file, line and key.
    pub fn load(only: Option<&Path>) -> Result<Self, ConfigError> {
        let files = match only {
            Some(path) => vec![path.to_path_buf()],
            None => installed_files()?,
        };
        let mut builder = Config::builder();
        for path in files {
            let text = fs::read_to_string(&path).map_err(|source| ConfigError::Read {
                path: path.clone(),
                source,
            })?;
            check_file(&path, &text)?;
            builder = builder.add_source(File::from_str(&text, FileFormat::Toml));
        }
        let environment = Environment::with_prefix("DFAGENT")
            .prefix_separator("__")
            .separator("__")
            .try_parsing(true)
            .list_separator(",")
            .with_list_parse_key("plaso.parsers");
        let merged = builder.add_source(environment).build();
        let settings: Self = merged
            .and_then(Config::try_deserialize)
            .map_err(|error| ConfigError::Environment(error.to_string()))?;
        settings.check()?;
        Ok(settings)
    }

    /// What it takes to find the agent, however broken the rest is: the agent goes on with its earlier
    /// configuration then, and it must be possible to ask it.
    #[must_use]
    pub fn to_find_the_agent(only: Option<&Path>) -> Self {
        let files = only.map_or_else(installed_files, |path| Ok(vec![path.to_path_buf()]));
        let mut settings = Self::default();
        for path in files.unwrap_or_default() {
            let text = fs::read_to_string(&path).unwrap_or_default();
            // A line that is no TOML ends a file's readable part.
            let whole = text.parse::<toml::Table>();
            let table = whole.or_else(|error| {
                let end = error.span().map_or(0, |span| span.start).min(text.len());
                let lines = text[..end].rfind('\n').unwrap_or(0);
                text[..lines].parse::<toml::Table>()
            });
            let agent = table.unwrap_or_default().remove("agent");
            if let Some(agent) = agent.and_then(|agent| agent.try_into().ok()) {
                settings.agent = agent;
            }
        }
        settings
    }

    /// The server that events go to, without a slash at its end: Timesketch, or OpenSearch where they go there alone.
    #[must_use]
    pub fn server(&self) -> &str {
        let streamed = self.delivery.to == delivery::Destination::Stream;
        let url = match self.timesketch.url.as_str() {
            "" if streamed => self.opensearch.nodes().first().copied().unwrap_or_default(),
            url => url,
        };
        url.trim_end_matches('/')
    }

    fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key, problem: String| Err(ConfigError::Value { key, problem });
        if self.slices.smallest_mib == 0 {
            return wrong(
                "slices.smallest_mib",
                "0 would make a slice of every file; use 1 or more".into(),
            );
        }
        if self.slices.largest_mib < self.slices.smallest_mib {
            let problem = format!(
                "it must be at least slices.smallest_mib ({})",
                self.slices.smallest_mib
            );
            return wrong("slices.largest_mib", problem);
        }
        cage::check(&self.cage)?;
        for (key, mib) in [
            ("slices.largest_mib", self.slices.largest_mib),
            ("cage.memory_mib", self.cage.memory_mib),
            ("cage.file_mib", self.cage.file_mib),
            ("work.reserve_mib", self.work.reserve_mib),
        ] {
            if mib > MOST_MIB {
                return wrong(key, format!("use at most {MOST_MIB} MiB"));
            }
        }
        for (key, seconds) in [
            ("plaso.idle_limit_seconds", self.plaso.idle_limit_seconds),
            ("plaso.busy_limit_seconds", self.plaso.busy_limit_seconds),
            ("plaso.slice_limit_seconds", self.plaso.slice_limit_seconds),
        ] {
            if seconds == 0 {
                return wrong(
                    key,
                    "0 would stop every slice at once; use a number of seconds".into(),
                );
            }
        }
        let odd = |name: &&String| !is_parser_name(name);
        if let Some(name) = self.plaso.parsers.iter().find(odd) {
            return wrong(
                "plaso.parsers",
                format!("{name:?} is no name of a parser or plugin"),
            );
        }
        delivery::check(&self.delivery, &self.timesketch, &self.opensearch)?;
        ec2::check(&self.ec2)?;
        worker::check(&self.devices, &self.attach, &self.hook)
    }

    /// Slices to run at once on this machine.
    #[must_use]
    pub fn at_once(&self) -> usize {
        match self.plaso.at_once {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            number => number,
        }
    }

    /// Free space to be left alone, in bytes.
    #[must_use]
    pub const fn reserve_bytes(&self) -> u64 {
        self.work.reserve_mib * MIB
    }

    /// The weights between which slices are cut, in bytes.
    #[must_use]
    pub fn slicing(&self) -> crate::census::report::Slicing {
        crate::census::report::Slicing {
            at_once: self.at_once(),
            smallest: self.slices.smallest_mib * MIB,
            largest: self.slices.largest_mib * MIB,
        }
    }

    /// How long a slice may take in all.
    #[must_use]
    pub const fn slice_limit(&self) -> Duration {
        Duration::from_secs(self.plaso.slice_limit_seconds)
    }
}

/// Letters, digits, `_`, `/`, with `!` in front to leave one out: what Plaso's names are made of.
#[must_use]
pub fn is_parser_name(name: &str) -> bool {
    let name = name.strip_prefix('!').unwrap_or(name);
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/');
    !name.is_empty() && name.chars().all(fits)
}

fn installed_files() -> Result<Vec<PathBuf>, ConfigError> {
    let main = PathBuf::from(MAIN_FILE);
    let mut files: Vec<PathBuf> = main.exists().then_some(main).into_iter().collect();
    files.extend(files_in(Path::new(FRAGMENTS), "toml")?);
    Ok(files)
}

/// Files of a folder with this ending, by name; a folder that is not there has none.
fn files_in(folder: &Path, ending: &str) -> Result<Vec<PathBuf>, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: folder.to_path_buf(),
        source,
    };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|found| found == ending) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads a file by itself, because only then the place of a mistake is known.
fn check_file(path: &Path, text: &str) -> Result<(), ConfigError> {
    let Err(error) = toml::from_str::<Settings>(text) else {
        return Ok(());
    };
    let start = error.span().map_or(0, |span| span.start).min(text.len());
    let line = text[..start].matches('\n').count();
    let words = text.lines().nth(line).unwrap_or_default().trim();
    let problem = error.message().lines().collect::<Vec<_>>().join(" ");
    Err(ConfigError::File {
        place: format!("{}, line {}", path.display(), line + 1),
        problem: format!("{problem}, in `{}`", crate::printable::line(words, 100)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMENTED: &str = include_str!("../../packaging/etc/dfagent/dfagent.toml");

    fn load(text: &str) -> Result<Settings, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        crate::durable::write(&path, text.as_bytes()).unwrap();
        Settings::load(Some(&path))
    }

    #[test]
    fn the_commented_file_says_what_the_defaults_are_and_names_every_key() {
        assert_eq!(load(COMMENTED).unwrap(), Settings::default());
        let value: toml::Table = toml::from_str(COMMENTED).unwrap();
        let defaults = toml::Table::try_from(Settings::default()).unwrap();
        assert_eq!(value, defaults);
    }

    #[test]
    fn a_mistake_is_named_by_file_line_and_key() {
        for (text, words) in [
            ("[plaso]\nat_onze = 3\n", ["line 2", "at_onze"]),
            ("\n[plaso]\nat_once = \"two\"\n", ["line 3", "at_once"]),
            ("[evidence\n", ["line 1", "[evidence"]),
            ("[plasso]\n", ["line 1", "plasso"]),
        ] {
            let message = load(text).unwrap_err().to_string();
            assert!(words.iter().all(|word| message.contains(word)), "{message}");
            assert!(
                message.contains("x.toml") && !message.contains('\n'),
                "{message}"
            );
        }
    }

    #[test]
    fn the_agent_is_found_by_a_broken_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        for broken in [
            "[plaso]\nat_onze = 3\n",
            "[plaso]\nat_once =\n",
            "[attach.x]\n",
        ] {
            let text = format!("[agent]\nsocket = \"/s\"\n{broken}");
            crate::durable::write(&path, text.as_bytes()).unwrap();
            assert!(Settings::load(Some(&path)).is_err(), "{broken}");
            let found = Settings::to_find_the_agent(Some(&path));
            assert_eq!(found.agent.socket, Path::new("/s"), "{broken}");
        }
    }

    #[test]
    fn values_out_of_range_say_what_they_should_be() {
        let message = load("[slices]\nlargest_mib = 1\n").unwrap_err().to_string();
        assert!(
            message.contains("slices.largest_mib") && message.contains("at least"),
            "{message}"
        );
        let message = load("[plaso]\nparsers = [\"a b\"]\n")
            .unwrap_err()
            .to_string();
        assert!(message.contains("plaso.parsers"), "{message}");
    }
}
