//! The ledger's layout: how older ones become today's, and the proof that a file is what was written.

use std::collections::BTreeSet;
use std::fs;

use rusqlite::{Connection, Transaction};
use sha2::{Digest, Sha256};

use super::Refusal;
use crate::dispatch::job::Job;
use crate::durable;

/// One step for each version: the step at 0 makes version 1 from an empty file.
const MIGRATIONS: [&str; 3] = [
    "
    CREATE TABLE about (version INTEGER NOT NULL);
    INSERT INTO about (version) VALUES (1);
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY,
        state TEXT NOT NULL,
        changed TEXT NOT NULL,
        record TEXT NOT NULL,
        sha256 TEXT NOT NULL
    );
    CREATE TABLE history (
        id INTEGER PRIMARY KEY,
        job TEXT NOT NULL,
        at TEXT NOT NULL,
        what TEXT NOT NULL
    );
    CREATE INDEX history_of ON history (job, id);
",
    // Jobs may be delivered: a record tells more than a program of version 1 understands.
    "",
    // Records tell what was asked for.
    "",
];

/// The version that this program writes.
const VERSION: i64 = 3;

/// SHA-256 of a record, lower-case hex. SQLite has no checksums of its own.
pub(super) fn sha256(record: &str) -> String {
    durable::hex(&Sha256::digest(record))
}

/// What a damaged file may not make SQLite do.
pub(super) fn guard(connection: &Connection) -> Result<(), Refusal> {
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(())
}

/// A first look, before anything is written to a file that may be a newer version's or damaged.
pub(super) fn look(connection: &Connection) -> Result<(), Refusal> {
    let version = version(connection)?;
    let about = connection.path().and_then(|path| fs::metadata(path).ok());
    // SQLite takes what is shorter than a page for a new file.
    match version == 0 && about.is_some_and(|about| about.len() > 0) {
        true => Err(Refusal::damaged("it holds bytes, but no tables")),
        false => Ok(()),
    }
}

/// Takes the file for as long as the connection lives. The journal is cut rather than removed, which is one
/// operation less on the folder; `EXTRA` flushes all that a commit needs before it returns.
pub(super) fn hold(connection: &Connection) -> Result<(), Refusal> {
    pragma(connection, "PRAGMA locking_mode = EXCLUSIVE")?;
    pragma(connection, "PRAGMA journal_mode = TRUNCATE")?;
    connection.pragma_update(None, "synchronous", "EXTRA")?;
    // The lock is taken by the first use.
    connection.execute_batch("BEGIN EXCLUSIVE; COMMIT")?;
    Ok(())
}

fn pragma(connection: &Connection, text: &str) -> Result<(), Refusal> {
    Ok(connection.query_row(text, [], |_| Ok(()))?)
}

/// The version in the file's head.
pub(super) fn version(connection: &Connection) -> Result<i64, Refusal> {
    let version = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let tables = names(connection)?;
    if version == 0 {
        return match tables.is_empty() {
            true => Ok(0),
            false => Err(Refusal::damaged("it holds tables, but no version")),
        };
    }
    // One flipped bit in the head must not look like a newer program, so the version stands there twice.
    let second: rusqlite::Result<i64> =
        connection.query_row("SELECT version FROM about", [], |row| row.get(0));
    match second {
        Ok(second) if version == second && version > VERSION => Err(Refusal::Newer(version)),
        Ok(second) if version == second && version > 0 => Ok(version),
        Ok(_) => Err(Refusal::damaged("its two versions differ")),
        Err(error) => Err(Refusal::from(error)),
    }
}

fn names(connection: &Connection) -> Result<BTreeSet<(String, String)>, Refusal> {
    let mut statement = connection.prepare("SELECT name, coalesce(sql, '') FROM sqlite_schema")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Brings an older layout up to today's, all steps or none.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), Refusal> {
    let found = version(connection)?;
    let done = usize::try_from(found).map_err(Refusal::damaged)?;
    match raise(connection, done) {
        // A full disk passes, and then the agent is to be there to go on: what it cannot keep, it says.
        Err(Refusal::Database(error)) if found == VERSION && is_full(&error) => Ok(()),
        result => result,
    }
}

fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}

fn raise(connection: &mut Connection, done: usize) -> Result<(), Refusal> {
    let change = connection.transaction()?;
    step_up(&change, done)?;
    // Written even if it stays the same: a ledger that cannot be written to is found now, not at the first job.
    change.pragma_update(None, "user_version", VERSION)?;
    change.execute("UPDATE about SET version = ?1", [VERSION])?;
    change.commit()?;
    Ok(())
}

fn step_up(change: &Transaction<'_>, done: usize) -> Result<(), Refusal> {
    for step in MIGRATIONS.iter().skip(done) {
        change.execute_batch(step)?;
    }
    Ok(())
}

/// Proves that the file is sound and laid out as this program lays it out.
pub(super) fn check(connection: &Connection) -> Result<(), Refusal> {
    let mut statement = connection.prepare("PRAGMA integrity_check(1)")?;
    let found: String = statement.query_row([], |row| row.get(0))?;
    if found != "ok" {
        return Err(Refusal::damaged(found));
    }
    let model = Connection::open_in_memory()?;
    model.execute_batch(&MIGRATIONS.concat())?;
    if names(connection)? != names(&model)? {
        return Err(Refusal::damaged("its tables are not those of a ledger"));
    }
    Ok(())
}

/// Every job, each proved by its checksum.
pub(super) fn jobs(connection: &Connection) -> Result<Vec<Job>, Refusal> {
    let mut statement =
        connection.prepare("SELECT id, state, changed, record, sha256 FROM jobs ORDER BY id")?;
    let mut rows = statement.query([])?;
    let mut jobs = Vec::new();
    while let Some(row) = rows.next()? {
        let columns: [String; 5] = [
            row.get(0)?,
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?,
        ];
        jobs.push(job(&columns)?);
    }
    Ok(jobs)
}

fn job([id, state, changed, record, expected]: &[String; 5]) -> Result<Job, Refusal> {
    if sha256(record) != *expected {
        return Err(Refusal::damaged(format!(
            "the checksum of the job {id:?} is wrong"
        )));
    }
    let job: Job = serde_json::from_str(record).map_err(|error| {
        Refusal::damaged(format!("the job {id:?} cannot be understood: {error}"))
    })?;
    let same = job.id == *id && job.state.name() == state && job.changed == *changed;
    match same {
        true => Ok(job),
        false => Err(Refusal::damaged(format!(
            "the row of the job {id:?} is not its own"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::super::tests::{job, place};
    use super::super::{Ledger, LedgerError, note, read_only};
    use super::*;
    use crate::dispatch::job::State;

    #[test]
    fn an_empty_file_is_migrated_and_a_newer_one_is_left_alone() {
        let (_folder, path, jobs) = place();
        fs::File::create(&path).unwrap();
        drop(Ledger::open(&path, &jobs).unwrap());
        let newer = Connection::open(&path).unwrap();
        let text = "PRAGMA user_version = 7; UPDATE about SET version = 7; DROP TABLE jobs";
        newer.execute_batch(text).unwrap();
        drop(newer);
        let before = fs::read(&path).unwrap();
        let refused = Ledger::open(&path, &jobs).unwrap_err();
        assert!(matches!(refused, LedgerError::Newer { version: 7, .. }));
        assert!(
            refused
                .to_string()
                .contains("made by a newer dfagent (version 7)")
        );
        assert!(matches!(read_only(&path), Err(LedgerError::Newer { .. })));
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    /// Turns a ledger into what the program of version 1 left of these jobs.
    fn make_old(path: &Path) {
        let old = Connection::open(path).unwrap();
        let mut records = Vec::new();
        {
            let mut rows = old.prepare("SELECT id, record FROM jobs").unwrap();
            let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
            records.extend(rows.unwrap().map(Result::unwrap));
        }
        for (id, record) in records {
            let (id, record): (String, String) = (id, record);
            let mut record: serde_json::Value = serde_json::from_str(&record).unwrap();
            for newer in ["delivery", "wish"] {
                record.as_object_mut().unwrap().remove(newer).unwrap();
            }
            let record = record.to_string();
            let change = "UPDATE jobs SET record = ?2, sha256 = ?3 WHERE id = ?1";
            old.execute(change, [&id, &record, &sha256(&record)])
                .unwrap();
        }
        let head = "UPDATE about SET version = 1; PRAGMA user_version = 1";
        old.execute_batch(head).unwrap();
    }

    #[test]
    fn a_ledger_from_before_delivery_is_read_and_becomes_today_s() {
        let (_folder, path, jobs) = place();
        let known = job("vol-1", &jobs, State::Parked);
        let mut opened = Ledger::open(&path, &jobs).unwrap();
        opened.ledger.keep(&known, "made").unwrap();
        drop(opened);
        make_old(&path);
        assert_eq!(read_only(&path).unwrap(), std::slice::from_ref(&known));
        let opened = Ledger::open(&path, &jobs).unwrap();
        assert!(opened.set_aside.is_none());
        assert_eq!(opened.jobs, [known]);
        drop(opened);
        let connection = Connection::open(&path).unwrap();
        assert!(version(&connection).is_ok_and(|found| found == VERSION));
    }

    #[test]
    fn a_file_that_is_no_database_or_another_program_s_is_set_aside() {
        let (_folder, path, jobs) = place();
        note(&jobs.join("vol-1"), &job("vol-1", &jobs, State::Queued)).unwrap();
        durable::write(&path, &b"what is this? ".repeat(1000)).unwrap();
        let opened = Ledger::open(&path, &jobs).unwrap();
        assert_eq!((opened.rebuilt, opened.jobs.len()), (1, 1));
        drop(opened);
        fs::remove_file(&path).unwrap();
        let other = Connection::open(&path).unwrap();
        other
            .execute_batch("CREATE TABLE x (y); PRAGMA user_version = 1")
            .unwrap();
        drop(other);
        let opened = Ledger::open(&path, &jobs).unwrap();
        let aside = opened.set_aside.unwrap();
        assert!(aside.exists());
        assert_eq!(opened.jobs.len(), 1);
    }

    /// A ledger of five jobs with some history, and their folders.
    fn sample() -> (tempfile::TempDir, PathBuf, PathBuf, Vec<Job>) {
        let (folder, path, jobs) = place();
        let mut ledger = Ledger::open(&path, &jobs).unwrap().ledger;
        let mut known = Vec::new();
        for number in 0..5 {
            let state = State::Waiting {
                why: format!("space for {number}"),
            };
            let one = job(&format!("vol-{number}"), &jobs, state);
            note(&one.folder, &one).unwrap();
            for line in 0..20 {
                ledger.keep(&one, &format!("line {line}")).unwrap();
            }
            known.push(one);
        }
        (folder, path, jobs, known)
    }

    /// Opens a changed copy: the same jobs, or a file set aside and as many jobs as there are folders.
    fn judge(bytes: &[u8], path: &Path, jobs: &Path, known: &[Job], what: &str) -> bool {
        durable::write(path, bytes).unwrap();
        let opened = Ledger::open(path, jobs).unwrap_or_else(|error| panic!("{what}: {error}"));
        if opened.jobs == known {
            return true;
        }
        let aside = opened
            .set_aside
            .unwrap_or_else(|| panic!("{what}: believed"));
        assert_eq!(fs::read(&aside).unwrap().len(), bytes.len(), "{what}");
        let ids = |jobs: &[Job]| jobs.iter().map(|job| job.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&opened.jobs), ids(known), "{what}");
        fs::remove_file(aside).unwrap();
        false
    }

    #[test]
    fn a_flipped_byte_is_never_believed() {
        let (_folder, path, jobs, known) = sample();
        let sound = fs::read(&path).unwrap();
        let (mut harmless, mut damaged) = (0, 0);
        // A fixed sequence, so that a failure can be had again.
        let mut random: u64 = 0x2545_f491_4f6c_dd1d;
        let mut next = move |limit: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random % limit as u64).unwrap()
        };
        let regular = (0..sound.len()).step_by(37).map(|at| (at, 0xff));
        let header = (0..200).flat_map(|at| (0..8).map(move |bit| (at, 1_u8 << bit)));
        let mut flips: Vec<(usize, u8)> = regular.chain(header).collect();
        flips.extend((0..2000).map(|_| (next(sound.len()), 1 << next(8))));
        for (at, mask) in flips {
            let mut bytes = sound.clone();
            bytes[at] ^= mask;
            let what = format!("byte {at} of {} with {mask:#x}", sound.len());
            match judge(&bytes, &path, &jobs, &known, &what) {
                true => harmless += 1,
                false => damaged += 1,
            }
        }
        assert!(damaged > 100 && harmless > 100, "{damaged} {harmless}");
    }

    #[test]
    fn a_file_that_was_cut_off_anywhere_is_never_believed() {
        let (_folder, path, jobs, known) = sample();
        let sound = fs::read(&path).unwrap();
        for length in (1..sound.len()).step_by(509) {
            let what = format!("cut at {length}");
            assert!(
                !judge(&sound[..length], &path, &jobs, &known, &what),
                "{what}"
            );
        }
    }
}
