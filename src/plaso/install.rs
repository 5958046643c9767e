//! Finding Plaso and asking it what it is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;

use crate::cage::command::inside;

/// The oldest release whose command line, parsers and storage format this program was tested with.
pub const OLDEST: u32 = 20_260_720;

/// Where the package puts its environment.
const PACKAGED: &str = "/opt/dfagent/plaso";

/// What `packaging/plaso/install` leaves in an environment: the few artifact definitions that Plaso looks up, without
/// which it reads hundreds, twice, at each start.
const ARTIFACTS: &str = "share/dfagent/artifacts.yaml";

/// Plaso as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plaso {
    /// The environment's folder, outside the cage; none for one that the distribution installed below /usr.
    pub environment: Option<PathBuf>,
    /// Python inside the cage.
    pub python: String,
    /// log2timeline inside the cage.
    pub log2timeline: String,
    /// The folder of its formatters inside the cage; none where it does not tell.
    pub formatters: Option<String>,
    /// The artifact definitions that it needs, inside the cage; none where only all of them are.
    pub artifacts: Option<String>,
    /// Versions.
    pub versions: Versions,
}

/// What the installation says about itself.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Versions {
    /// Plaso's release, a date.
    pub plaso: u32,
    /// Python's version.
    pub python: String,
    /// libfsxfs's release, a date; it must be new enough to read XFS without a mount.
    pub libfsxfs: Option<u32>,
    /// Names of the time zones that it knows.
    #[serde(default)]
    pub zones: BTreeSet<String>,
    /// The folder of its formatters, outside of the cage.
    #[serde(default)]
    pub formatters: Option<PathBuf>,
}

/// Why Plaso cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlasoError {
    /// There is none.
    #[error(
        "find Plaso: no log2timeline in {}; install the package dfagent-plaso, run `make setup`, or set \
         plaso.environment", looked.join(", ")
    )]
    Missing {
        /// Where it was looked for.
        looked: Vec<String>,
    },
    /// It does not answer.
    #[error("ask Plaso in {} for its version: {reason}", place.display())]
    Silent {
        /// The environment.
        place: PathBuf,
        /// What happened instead.
        reason: String,
    },
    /// It is too old.
    #[error(
        "use Plaso {found}: the oldest release that this program knows is {OLDEST}; install a newer one"
    )]
    TooOld {
        /// Its release.
        found: u32,
    },
}

const QUESTION: &str = "\
import json, os, platform, plaso, pytz
try:
    import pyfsxfs
    xfs = int(pyfsxfs.get_version())
except ImportError:
    xfs = None
print(json.dumps({'plaso': int(plaso.__version__), 'python': platform.python_version(), 'libfsxfs': xfs,
                  'zones': list(pytz.all_timezones),
                  'formatters': os.path.join(os.path.dirname(plaso.__file__), 'data', 'formatters')}))
";

/// How long the question may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

impl Plaso {
    /// Finds Plaso: where `configured` says, in the package's place, beside our own program, on the system.
    ///
    /// # Errors
    /// There is none, it does not answer, or it is too old.
    pub async fn find(configured: Option<&Path>) -> Result<Self, PlasoError> {
        let places = match configured {
            Some(place) => vec![place.to_path_buf()],
            None => places(),
        };
        for place in &places {
            let Some((python, found)) = Self::at(place) else {
                continue;
            };
            let versions = ask(&python, place).await?;
            if versions.plaso < OLDEST {
                return Err(PlasoError::TooOld {
                    found: versions.plaso,
                });
            }
            let formatters = found.inside_cage(versions.formatters.as_deref());
            return Ok(Self {
                formatters,
                versions,
                ..found
            });
        }
        let looked = places
            .iter()
            .map(|place| place.display().to_string())
            .collect();
        Err(PlasoError::Missing { looked })
    }

    /// Python outside the cage, and what is to be called inside.
    fn at(place: &Path) -> Option<(PathBuf, Self)> {
        let script = ["log2timeline", "log2timeline.py"]
            .into_iter()
            .find(|name| place.join("bin").join(name).exists())?;
        let system = place == Path::new("/usr");
        let base = if system { "/usr" } else { inside::PLASO };
        let interpreter = if system { "python3" } else { "python" };
        Some((
            place.join("bin").join(interpreter),
            Self {
                environment: (!system).then(|| place.to_path_buf()),
                python: format!("{base}/bin/{interpreter}"),
                log2timeline: format!("{base}/bin/{script}"),
                formatters: None,
                artifacts: place
                    .join(ARTIFACTS)
                    .exists()
                    .then(|| format!("{base}/{ARTIFACTS}")),
                versions: Versions::default(),
            },
        ))
    }

    /// Where a folder of the environment, or of the system, is in the cage.
    fn inside_cage(&self, folder: Option<&Path>) -> Option<String> {
        let folder = std::fs::canonicalize(folder?).ok()?;
        let Some(environment) = &self.environment else {
            return folder.to_str().map(str::to_owned);
        };
        let environment = std::fs::canonicalize(environment).ok()?;
        let below = folder.strip_prefix(environment).ok()?.to_str()?;
        Some(format!("{}/{below}", inside::PLASO))
    }

    /// What the cage must see to run it.
    #[must_use]
    pub fn read_only(&self) -> Vec<(PathBuf, String)> {
        self.environment
            .iter()
            .map(|place| (place.clone(), inside::PLASO.to_owned()))
            .collect()
    }

    /// Days since the release, at a date given as year, month and day in one number.
    #[must_use]
    pub fn age_days(&self, today: jiff::civil::Date) -> Option<i32> {
        let number = i64::from(self.versions.plaso);
        let part = |value: i64| i8::try_from(value).ok();
        let year = i16::try_from(number / 10_000).ok()?;
        let released =
            jiff::civil::Date::new(year, part(number / 100 % 100)?, part(number % 100)?).ok()?;
        today.since(released).ok().map(|span| span.get_days())
    }
}

fn places() -> Vec<PathBuf> {
    let beside = std::env::current_exe().ok();
    let beside = beside
        .as_deref()
        .and_then(Path::parent)
        .and_then(Path::parent);
    [
        Some(PathBuf::from(PACKAGED)),
        beside.map(|folder| folder.join("plaso")),
        Some("/usr".into()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

async fn ask(python: &Path, place: &Path) -> Result<Versions, PlasoError> {
    let silent = |reason: String| PlasoError::Silent {
        place: place.to_path_buf(),
        reason,
    };
    let mut command = Command::new(python);
    command
        .args(["-I", "-c", QUESTION])
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .map_err(|_| silent(format!("no answer in {} s", PATIENCE.as_secs())))?
        .map_err(|error| silent(error.to_string()))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.lines().last().unwrap_or("it failed without a word");
        return Err(silent(crate::printable::line(last, 200)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| silent(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_counted_in_days() {
        let versions = Versions {
            plaso: 20_260_720,
            ..Versions::default()
        };
        let plaso = Plaso {
            environment: None,
            python: String::new(),
            log2timeline: String::new(),
            formatters: None,
            artifacts: None,
            versions,
        };
        assert_eq!(plaso.age_days(jiff::civil::date(2026, 11, 24)), Some(127));
    }
}
