//! The agent's durable memory of jobs: one SQLite file, one writer.
//!
//! What [`Ledger::keep`] has returned from survives a power cut. A damaged file is never believed and never
//! thrown away: it is set aside by rename, and the jobs are found again in their folders. Nothing here decides
//! what a job does next.

mod error;
mod rebuild;
mod schema;

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use rusqlite::{Connection, OpenFlags, params};

use crate::clock::now;
use crate::dispatch::job::Job;
use crate::durable::{self, FileError};
use crate::printable;
use crate::telemetry::events::Event;

use error::Refusal;

pub use error::LedgerError;
pub use rebuild::note;

/// How many lines of history are kept for a job.
const MOST_HISTORY: u32 = 200;

/// How long is waited for somebody who reads the ledger at the moment when it is opened.
const READERS: Duration = Duration::from_secs(5);

/// How much of a line of history is kept, in characters.
const MOST_WHAT: usize = 500;

/// A line of a job's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryLine {
    /// When, RFC 3339, UTC.
    pub at: String,
    /// What, in words.
    pub what: String,
}

/// An open ledger with what it holds.
#[derive(Debug)]
pub struct Opened {
    /// The ledger.
    pub ledger: Ledger,
    /// The jobs, in order of their ids.
    pub jobs: Vec<Job>,
    /// Where a damaged file is now.
    pub set_aside: Option<PathBuf>,
    /// Jobs that were found in their folders instead of in the ledger.
    pub rebuilt: usize,
}

/// The ledger, held against every other agent until it is dropped.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    connection: Connection,
    _lock: Flock<File>,
}

impl Ledger {
    /// Opens the ledger at `path`, or makes it; `jobs` is where jobs have their folders.
    ///
    /// # Errors
    /// Another agent holds it, a newer version made it, or the system refuses. Damage is no error.
    pub fn open(path: &Path, jobs: &Path) -> Result<Opened, LedgerError> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        durable::make_folder(folder)?;
        let lock = take_lock(path)?;
        let (opened, set_aside) = match load(path) {
            Ok(found) => (found, None),
            Err(Refusal::Damaged(what)) => {
                let aside = rebuild::set_aside(path)?;
                Event::LedgerSetAside {
                    path: aside.display().to_string(),
                    why: what,
                }
                .emit();
                (load(path).map_err(|r| r.into_error(path))?, Some(aside))
            }
            Err(other) => return Err(other.into_error(path)),
        };
        durable::sync_folder(folder)?;
        let (connection, mut known) = opened;
        let mut ledger = Self {
            path: path.to_path_buf(),
            connection,
            _lock: lock,
        };
        let found = rebuild::missing_jobs(jobs, &known, set_aside.is_some())?;
        let rebuilt = ledger.adopt(&found)?;
        known.extend(found);
        known.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(Opened {
            ledger,
            jobs: known,
            set_aside,
            rebuilt,
        })
    }

    /// Puts jobs that were found in their folders into the ledger, and says so.
    fn adopt(&mut self, found: &[Job]) -> Result<usize, LedgerError> {
        for job in found {
            self.keep(job, "found again in its folder")?;
        }
        if !found.is_empty() {
            Event::LedgerRebuilt { jobs: found.len() }.emit();
        }
        Ok(found.len())
    }

    /// Keeps a job as it is now, with a line of its history. It is on the disk when this returns.
    ///
    /// # Errors
    /// The disk is full or broken. Then the ledger holds what it held before.
    pub fn keep(&mut self, job: &Job, what: &str) -> Result<(), LedgerError> {
        let record = serde_json::to_string(job).map_err(|source| LedgerError::Words {
            job: printable::line(&job.id, 100),
            source,
        })?;
        let what = printable::line(what, MOST_WHAT);
        let done = write(&mut self.connection, job, &record, &what);
        done.map_err(|source| self.error("write to", source))?;
        if rebuild::is_settled(&job.state) && job.folder.exists() {
            // A ledger that is rebuilt must not begin again what was ended.
            note(&job.folder, job)?;
        }
        Ok(())
    }

    /// The newest lines of a job's history, oldest first.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn history(&self, job: &str) -> Result<Vec<HistoryLine>, LedgerError> {
        let text = "SELECT at, what FROM history WHERE job = ?1 ORDER BY id";
        let read = || -> rusqlite::Result<Vec<HistoryLine>> {
            let mut statement = self.connection.prepare_cached(text)?;
            let lines = statement.query_map([job], |row| {
                Ok(HistoryLine {
                    at: row.get(0)?,
                    what: row.get(1)?,
                })
            })?;
            lines.collect()
        };
        read().map_err(|source| self.error("read", source))
    }

    fn error(&self, operation: &'static str, source: rusqlite::Error) -> LedgerError {
        LedgerError::Database {
            operation,
            path: self.path.clone(),
            source,
        }
    }
}

/// The jobs of a ledger whose agent is not running; nothing is changed, not even by a repair.
///
/// # Errors
/// There is none, it is in use, unfinished, damaged or newer, or the system refuses.
pub fn read_only(path: &Path) -> Result<Vec<Job>, LedgerError> {
    let path_buf = path.to_path_buf();
    if !path.exists() {
        return Err(LedgerError::Missing { path: path_buf });
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let read = Connection::open_with_flags(path, flags)
        .map_err(Refusal::from)
        .and_then(|connection| {
            schema::guard(&connection)?;
            if schema::version(&connection)? == 0 {
                return Ok(Vec::new());
            }
            schema::check(&connection)?;
            schema::jobs(&connection)
        });
    read.map_err(|refusal| match refusal {
        Refusal::Damaged(what) => LedgerError::Damaged {
            path: path_buf,
            what,
        },
        Refusal::Taken => LedgerError::Busy { path: path_buf },
        // A change that has to be taken back needs a writer.
        Refusal::Database(_) if has_journal(path) => LedgerError::Unfinished { path: path_buf },
        other => other.into_error(path),
    })
}

fn has_journal(path: &Path) -> bool {
    fs::metadata(beside(path, "-journal")).is_ok_and(|about| about.len() > 0)
}

/// A name beside the ledger's.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}

/// SQLite's own lock is not enough: while a damaged file is replaced there is nothing that it could lock.
fn take_lock(path: &Path) -> Result<Flock<File>, LedgerError> {
    let place = beside(path, ".lock");
    let file = OpenOptions::new().create(true).append(true).open(&place);
    let file = file.map_err(|source| FileError::System {
        operation: "open",
        path: place,
        source,
    })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| LedgerError::Taken {
        path: path.to_path_buf(),
    })
}

/// Opens, migrates, proves and reads.
fn load(path: &Path) -> Result<(Connection, Vec<Job>), Refusal> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    // Whoever is at it now only reads: agents keep each other out by a lock of their own.
    connection.busy_timeout(READERS)?;
    let jobs = match prepare(&mut connection) {
        // A flipped bit in the head can forbid writing, which the system does not.
        Err(Refusal::Database(error)) if is_read_only(&error) && may_write(path) => {
            return Err(Refusal::damaged(error));
        }
        other => other?,
    };
    Ok((connection, jobs))
}

fn prepare(connection: &mut Connection) -> Result<Vec<Job>, Refusal> {
    schema::guard(connection)?;
    schema::look(connection)?;
    schema::hold(connection)?;
    schema::migrate(connection)?;
    schema::check(connection)?;
    schema::jobs(connection)
}

fn is_read_only(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::ReadOnly)
}

fn may_write(path: &Path) -> bool {
    nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_ok()
}

fn write(connection: &mut Connection, job: &Job, record: &str, what: &str) -> rusqlite::Result<()> {
    let change = connection.transaction()?;
    change.execute(
        "INSERT INTO jobs (id, state, changed, record, sha256) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (id) DO UPDATE SET state = ?2, changed = ?3, record = ?4, sha256 = ?5",
        params![
            job.id,
            job.state.name(),
            job.changed,
            record,
            schema::sha256(record)
        ],
    )?;
    change.execute(
        "INSERT INTO history (job, at, what) VALUES (?1, ?2, ?3)",
        params![job.id, now(), what],
    )?;
    change.execute(
        "DELETE FROM history WHERE job = ?1 AND id <=
         (SELECT id FROM history WHERE job = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        params![job.id, MOST_HISTORY],
    )?;
    change.commit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::job::State;
    use crate::policy::Volume;

    pub(super) fn job(id: &str, jobs: &Path, state: State) -> Job {
        let volume = Volume {
            id: id.into(),
            node: "/dev/xvdf".into(),
            sequence: Some(7),
            size: 8 << 30,
            point: "/dev/sdf".into(),
            entry: "evidence".into(),
        };
        Job {
            id: id.into(),
            volume,
            case: Some("4711".into()),
            priority: 0,
            folder: jobs.join(id),
            mountpoint: None,
            state,
            starts: 1,
            crashes: 0,
            created: "2026-11-25T00:00:00Z".into(),
            changed: "2026-11-25T00:00:01Z".into(),
            hooks_due: vec!["detach".into()],
            hooks_done: Vec::new(),
            wish: None,
            delivery: None,
        }
    }

    pub(super) fn place() -> (tempfile::TempDir, PathBuf, PathBuf) {
        // Memory if there is some: these tests flush thousands of times.
        let memory = Path::new("/dev/shm");
        let above = std::env::temp_dir();
        let above = if memory.is_dir() { memory } else { &above };
        let folder = tempfile::tempdir_in(above).unwrap();
        let (ledger, jobs) = (folder.path().join("ledger.db"), folder.path().join("jobs"));
        (folder, ledger, jobs)
    }

    #[test]
    fn what_was_kept_is_there_after_opening_again() {
        let (_folder, path, jobs) = place();
        let mut opened = Ledger::open(&path, &jobs).unwrap();
        assert!(opened.jobs.is_empty() && opened.set_aside.is_none());
        let first = job("vol-1", &jobs, State::Queued);
        opened.ledger.keep(&first, "made").unwrap();
        let second = Job {
            state: State::Running,
            ..first
        };
        opened.ledger.keep(&second, "started\u{1b}[2J").unwrap();
        drop(opened);
        let opened = Ledger::open(&path, &jobs).unwrap();
        assert_eq!(opened.jobs, [second]);
        let history = opened.ledger.history("vol-1").unwrap();
        let words: Vec<&str> = history.iter().map(|line| line.what.as_str()).collect();
        assert_eq!(words, ["made", "started\\u{1b}[2J"]);
    }

    #[test]
    fn history_keeps_the_newest_lines_of_each_job() {
        let (_folder, path, jobs) = place();
        let mut ledger = Ledger::open(&path, &jobs).unwrap().ledger;
        let (noisy, quiet) = (
            job("vol-1", &jobs, State::Queued),
            job("vol-2", &jobs, State::Queued),
        );
        ledger.keep(&quiet, "made").unwrap();
        for number in 0..MOST_HISTORY + 30 {
            ledger.keep(&noisy, &number.to_string()).unwrap();
        }
        let lines = ledger.history("vol-1").unwrap();
        assert_eq!(lines.len(), MOST_HISTORY as usize);
        assert_eq!(lines[0].what, "30");
        assert_eq!(lines.last().unwrap().what, "229");
        assert_eq!(ledger.history("vol-2").unwrap().len(), 1);
    }

    #[test]
    fn a_second_agent_is_refused_and_a_reader_is_told() {
        let (_folder, path, jobs) = place();
        let first = Ledger::open(&path, &jobs).unwrap();
        let second = Ledger::open(&path, &jobs).unwrap_err();
        assert!(matches!(second, LedgerError::Taken { .. }), "{second}");
        let reader = read_only(&path).unwrap_err();
        assert!(matches!(reader, LedgerError::Busy { .. }), "{reader}");
        drop(first);
        assert!(Ledger::open(&path, &jobs).is_ok());
    }

    #[test]
    fn a_reader_sees_the_jobs_of_a_file_that_nobody_may_write() {
        let (_folder, path, jobs) = place();
        assert!(matches!(read_only(&path), Err(LedgerError::Missing { .. })));
        let known = job("vol-1", &jobs, State::Parked);
        let mut opened = Ledger::open(&path, &jobs).unwrap();
        opened.ledger.keep(&known, "made").unwrap();
        drop(opened);
        let before = fs::read(&path).unwrap();
        let mut rights = fs::metadata(&path).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut rights, 0o444);
        fs::set_permissions(&path, rights).unwrap();
        assert_eq!(read_only(&path).unwrap(), [known]);
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    /// A copy of the ledger and its journal in the middle of a change, as a power cut leaves them.
    #[test]
    fn a_change_that_was_cut_off_is_taken_back_by_the_agent_and_left_alone_by_a_reader() {
        let (_folder, path, jobs) = place();
        let known = job("vol-1", &jobs, State::Queued);
        let mut opened = Ledger::open(&path, &jobs).unwrap();
        opened.ledger.keep(&known, "made").unwrap();
        let (_cut_folder, cut, _) = place();
        let ledger = &mut opened.ledger;
        ledger
            .connection
            .pragma_update(None, "cache_size", 1)
            .unwrap();
        ledger.connection.execute_batch("BEGIN").unwrap();
        for number in 0..200 {
            let text = "INSERT INTO history (job, at, what) VALUES ('x', ?1, ?2)";
            let long = "x".repeat(500);
            let values = params![number, long];
            ledger.connection.execute(text, values).unwrap();
        }
        let change = "UPDATE jobs SET record = 'half'";
        ledger.connection.execute_batch(change).unwrap();
        ledger.connection.cache_flush().unwrap();
        fs::copy(&path, &cut).unwrap();
        fs::copy(beside(&path, "-journal"), beside(&cut, "-journal")).unwrap();
        let reader = read_only(&cut).unwrap_err();
        assert!(matches!(reader, LedgerError::Unfinished { .. }), "{reader}");
        let again = Ledger::open(&cut, &jobs).unwrap();
        assert_eq!(again.jobs, [known]);
        assert!(again.set_aside.is_none());
    }

    #[test]
    fn a_full_disk_is_an_error_and_the_old_state_stays() {
        let (_folder, path, jobs) = place();
        let mut opened = Ledger::open(&path, &jobs).unwrap();
        let mut known = job("vol-1", &jobs, State::Queued);
        opened.ledger.keep(&known, "made").unwrap();
        let pages: u32 = opened
            .ledger
            .connection
            .query_row("PRAGMA page_count", [], |row| row.get(0))
            .unwrap();
        // What SQLite says about a file at its limit is what it says about a full disk.
        let limit = format!("PRAGMA max_page_count = {pages}");
        let set: u32 = opened
            .ledger
            .connection
            .query_row(&limit, [], |row| row.get(0))
            .unwrap();
        assert_eq!(set, pages);
        let kept = known.clone();
        known.case = Some("x".repeat(100_000));
        let refused = opened.ledger.keep(&known, "grown").unwrap_err();
        assert!(matches!(refused, LedgerError::Database { .. }));
        drop(opened);
        assert_eq!(Ledger::open(&path, &jobs).unwrap().jobs, [kept]);
    }
}
