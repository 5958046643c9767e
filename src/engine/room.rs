//! Room for results: looked for before anything is begun, and what the lack of it does to a job.

use std::path::Path;
use std::time::Duration;

use super::EngineError;
use super::job::sweep;
use crate::cage::task::TaskError;
use crate::durable;
use crate::job::JobFolder;

/// How long what was at work in a folder may take to end.
const MOMENT: Duration = Duration::from_secs(5);
const OFTEN: Duration = Duration::from_millis(50);

/// Refuses to go on where fewer bytes are free.
pub(super) fn check(folder: &Path, wanted: u64) -> Result<(), EngineError> {
    match durable::free_bytes(folder) {
        Some(free) if free < wanted => Err(full(free, wanted)),
        _ => Ok(()),
    }
}

/// The error, or that there is no room, if that is its cause. What fails in the cage for want of room does not say
/// so.
pub(super) fn or_full(error: EngineError, folder: &Path, reserve: u64) -> EngineError {
    let caged = matches!(error, EngineError::Task(TaskError::Failed { .. }));
    let free = durable::free_bytes(folder).unwrap_or_default();
    if durable::is_full(&error) || caged && free < reserve {
        // Where a quota or the number of files is used up, more has to be free than now.
        full(free, reserve.max(free))
    } else {
        error
    }
}

const fn full(free: u64, wanted: u64) -> EngineError {
    EngineError::WorkFull {
        free_mib: free >> 20,
        reserve_mib: wanted >> 20,
    }
}

/// Gives back what attempts hold that nobody goes on with: a job must not wait for room that it takes itself. Cages
/// that were dropped end a moment later, and may write until then.
pub(super) async fn give_back(folder: &JobFolder) {
    let removed = async {
        while let Err(error) = remove_attempts(folder) {
            tracing::debug!(%error, "what an attempt left is still in use");
            tokio::time::sleep(OFTEN).await;
        }
    };
    if tokio::time::timeout(MOMENT, removed).await.is_err() {
        let folder = folder.path().display();
        tracing::warn!(%folder, "failed to remove what an attempt left; the next one does");
    }
}

fn remove_attempts(folder: &JobFolder) -> Result<(), EngineError> {
    sweep(folder)?;
    for entry in std::fs::read_dir(folder.at("slices")).into_iter().flatten() {
        let path = entry.map(|entry| entry.path()).unwrap_or_default();
        let end = path.extension().and_then(|end| end.to_str());
        if matches!(end, Some("run" | "new")) {
            durable::remove_folder(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::FileError;
    use nix::libc;
    use std::io;

    fn refused(code: i32) -> EngineError {
        let source = FileError::System {
            operation: "write",
            path: "/jobs/one/job.json".into(),
            source: io::Error::from_raw_os_error(code),
        };
        EngineError::Job(source.into())
    }

    #[test]
    fn a_full_disk_is_waited_for_wherever_it_shows() {
        let folder = tempfile::tempdir().unwrap();
        for code in [libc::ENOSPC, libc::EDQUOT] {
            for error in [
                refused(code),
                EngineError::Task(TaskError::Owner(io::Error::from_raw_os_error(code))),
            ] {
                let found = or_full(error, folder.path(), u64::MAX);
                let EngineError::WorkFull {
                    free_mib,
                    reserve_mib,
                } = found
                else {
                    panic!("{found}")
                };
                assert!(free_mib < reserve_mib);
            }
        }
    }

    #[test]
    fn where_there_is_room_more_must_be_free_than_now() {
        let folder = tempfile::tempdir().unwrap();
        let found = or_full(refused(libc::EDQUOT), folder.path(), 0);
        assert!(
            matches!(found, EngineError::WorkFull { free_mib, reserve_mib } if free_mib == reserve_mib),
            "{found}"
        );
    }

    #[test]
    fn what_fails_in_the_cage_fails_for_want_of_room_only_where_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let failed = || EngineError::Task(TaskError::no_answer("census"));
        let found = or_full(failed(), folder.path(), u64::MAX);
        assert!(matches!(found, EngineError::WorkFull { .. }), "{found}");
        let found = or_full(failed(), folder.path(), 0);
        assert!(matches!(found, EngineError::Task(_)), "{found}");
        let found = or_full(refused(libc::EACCES), folder.path(), u64::MAX);
        assert!(matches!(found, EngineError::Job(_)), "{found}");
    }

    #[tokio::test]
    async fn only_what_is_finished_is_kept() {
        let work = tempfile::tempdir().unwrap();
        let folder = JobFolder::open(work.path().join("one"), None).unwrap();
        for name in ["slices/01", "slices/02.run", "slices/02.new", "census.run"] {
            durable::make_folder(&folder.at(name)).unwrap();
            durable::write(&folder.at(name).join("storage.plaso"), b"x").unwrap();
        }
        give_back(&folder).await;
        let left = |name: &str| folder.at(name).exists();
        assert!(left("slices/01"));
        assert!(!left("slices/02.run") && !left("slices/02.new") && !left("census.run"));
    }
}
