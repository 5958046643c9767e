//! Who may look into the agent's folder: what is in it was taken from evidence, so the group of readers may, and
//! delivery, which is no reader, may pass through it to the two folders of its own and see nothing else.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use nix::unistd::Gid;

use crate::config::worker::AgentSettings;
use crate::durable::{self, FileError};
use crate::status::access;

/// Makes the agent's folder and that of its jobs. One that an earlier release made is opened as far as this one.
pub(super) fn make_directory(settings: &AgentSettings) -> Result<(), FileError> {
    let (directory, jobs) = (&settings.directory, &settings.jobs());
    durable::make_folder(jobs)?;
    // The inner one first: what may be passed through is closed below by then.
    limit(jobs, 0o750, settings)?;
    // Its group stays: to a StateDirectory= of another group than the unit's own systemd gives all that is in it, and
    // takes outbox and receipts from delivery.
    let limited = fs::set_permissions(directory, Permissions::from_mode(0o751));
    limited.map_err(|source| refused(directory, source))
}

/// Limits the ledger and what SQLite and we keep beside it. A lock that everybody may take would let everybody keep
/// the agent from starting.
pub(super) fn limit_ledger(settings: &AgentSettings) -> Result<(), FileError> {
    let ledger = settings.ledger();
    let name = ledger.file_name().unwrap_or_default().to_string_lossy();
    let failed = |source| FileError::System {
        operation: "list",
        path: settings.directory.clone(),
        source,
    };
    for entry in fs::read_dir(&settings.directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        let is_ledger = entry.file_name().to_string_lossy().starts_with(&*name);
        if is_file && is_ledger {
            limit(&entry.path(), 0o640, settings)?;
        }
    }
    Ok(())
}

fn limit(path: &Path, mode: u32, settings: &AgentSettings) -> Result<(), FileError> {
    let readers = access::group(&settings.readers).map(Gid::as_raw);
    let limited = chown(path, None, readers)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)));
    limited.map_err(|source| refused(path, source))
}

fn refused(path: &Path, source: io::Error) -> FileError {
    FileError::System {
        operation: "limit who may look into",
        path: path.to_path_buf(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_an_earlier_release_is_opened_for_passing_and_no_further() {
        let folder = tempfile::tempdir().unwrap();
        let settings = AgentSettings {
            directory: folder.path().join("agent"),
            readers: "no-such-group".into(),
            ..AgentSettings::default()
        };
        durable::make_folder(&settings.jobs()).unwrap();
        let ledger = settings.ledger();
        for path in [&ledger, &ledger.with_extension("db.lock")] {
            durable::write(path, b"x").unwrap();
        }
        let other = settings.directory.join("other");
        durable::write(&other, b"x").unwrap();
        fs::set_permissions(&other, Permissions::from_mode(0o604)).unwrap();
        make_directory(&settings).unwrap();
        limit_ledger(&settings).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&settings.directory), 0o751);
        assert_eq!(mode(&settings.jobs()), 0o750);
        assert_eq!(mode(&ledger), 0o640);
        assert_eq!(mode(&ledger.with_extension("db.lock")), 0o640);
        assert_eq!(mode(&other), 0o604, "what is not ours stays as it is");
    }
}
