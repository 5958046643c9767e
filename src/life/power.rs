//! When the machine may be switched off (pure), and switching it off.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;

use crate::config::worker::PowerSettings;
use crate::printable;

/// How long the command may take.
const LIMIT: Duration = Duration::from_secs(60);

/// After a command that failed it is tried again no sooner than this, however short the grace period is.
const AGAIN: Duration = Duration::from_secs(60);

/// The grace period. It begins when nothing is left to do, by itself, by a device or by a person, and anew with other
/// settings: whoever has just mended something finds the machine on.
#[derive(Debug, Default)]
pub struct Grace {
    settings: PowerSettings,
    ends: Option<Instant>,
    /// Whether the command did its part; what the machine makes of it is not our business any more.
    done: bool,
}

impl Grace {
    /// Looks at how things stand now; whether the machine is to be switched off.
    pub fn look(&mut self, now: Instant, quiet: bool, settings: &PowerSettings) -> bool {
        if !quiet || *settings != self.settings {
            *self = Self {
                settings: settings.clone(),
                ..Self::default()
            };
        }
        if !quiet || self.done || !settings.off_when_idle {
            return false;
        }
        let grace = Duration::from_secs(settings.grace_seconds);
        self.ends = self.ends.or_else(|| now.checked_add(grace));
        self.ends.is_some_and(|end| end <= now)
    }

    /// When it ends, if nothing comes.
    #[must_use]
    pub const fn ends(&self) -> Option<Instant> {
        self.ends
    }

    /// The command ended; one that failed is tried again after another grace period.
    pub fn tried(&mut self, now: Instant, worked: bool) {
        self.done = worked;
        let grace = Duration::from_secs(self.settings.grace_seconds).max(AGAIN);
        let again = self.ends.and_then(|_| now.checked_add(grace));
        self.ends = again.filter(|_| !worked);
    }
}

/// A moment of the steady clock as RFC 3339, for people.
#[must_use]
pub fn in_words(at: Instant, now: Instant) -> Option<String> {
    let left = jiff::SignedDuration::try_from(at.saturating_duration_since(now)).ok()?;
    let moment = crate::clock::moment().checked_add(left).ok()?;
    Some(moment.round(jiff::Unit::Second).ok()?.to_string())
}

/// Why the machine is still on.
#[derive(Debug, thiserror::Error)]
pub enum PowerError {
    /// There is no command.
    #[error(
        "switch the machine off: power.command is empty; set it, or power.off_when_idle = false"
    )]
    Empty,
    /// The command cannot be started.
    #[error("switch the machine off with {program}")]
    Start {
        /// Which.
        program: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The command did not do it.
    #[error("switch the machine off: {program} {ended}")]
    Refused {
        /// Which.
        program: String,
        /// How it ended and what it said last.
        ended: String,
    },
}

/// Runs the command that switches the machine off; no shell is involved.
///
/// # Errors
/// It cannot be started, fails, or takes longer than a minute.
pub async fn off(command: &[String]) -> Result<(), PowerError> {
    let (program, arguments) = command.split_first().ok_or(PowerError::Empty)?;
    let refused = |ended: String| PowerError::Refused {
        program: program.clone(),
        ended: printable::line(&ended, 400),
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let Ok(output) = tokio::time::timeout(LIMIT, command.output()).await else {
        return Err(refused("did not end within a minute".into()));
    };
    let output = output.map_err(|source| PowerError::Start {
        program: program.clone(),
        source,
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = printable::last_line(&String::from_utf8_lossy(&output.stderr), 300);
    Err(refused(format!("ended with {}: {said}", output.status)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(grace_seconds: u64) -> PowerSettings {
        PowerSettings {
            off_when_idle: true,
            grace_seconds,
            ..PowerSettings::default()
        }
    }

    const GRACE: Duration = Duration::from_secs(900);

    #[test]
    fn it_goes_off_after_the_grace_period_and_not_before() {
        let (mut grace, start) = (Grace::default(), Instant::now());
        let mut at = |now| grace.look(now, true, &settings(900));
        assert!(!at(start));
        assert!(!at(start + GRACE - Duration::from_nanos(1)));
        assert!(at(start + GRACE));
        assert_eq!(grace.ends(), Some(start + GRACE));
        assert!(!Grace::default().look(start, true, &settings(u64::MAX)));
        assert!(Grace::default().look(start, true, &settings(0)));
    }

    #[test]
    fn the_grace_period_begins_anew_when_work_or_a_person_s_task_ends() {
        let (mut grace, start) = (Grace::default(), Instant::now());
        assert!(!grace.look(start, true, &settings(900)));
        let later = start + 4 * GRACE;
        assert!(!grace.look(later, false, &settings(900)));
        assert_eq!(grace.ends(), None);
        assert!(!grace.look(later, true, &settings(900)));
        assert_eq!(grace.ends(), Some(later + GRACE));
        assert!(grace.look(later + GRACE, true, &settings(900)));
        assert!(!Grace::default().look(start, false, &settings(0)));
    }

    #[test]
    fn the_grace_period_begins_anew_when_the_settings_change() {
        let (mut grace, start) = (Grace::default(), Instant::now());
        let off = PowerSettings::default();
        let later = start + 4 * GRACE;
        assert!(!grace.look(start, true, &off));
        assert!(!grace.look(later, true, &off));
        assert_eq!(grace.ends(), None);
        assert!(!grace.look(later, true, &settings(900)));
        assert_eq!(grace.ends(), Some(later + GRACE));
        let shorter = later + GRACE / 2;
        assert!(!grace.look(shorter, true, &settings(60)));
        assert_eq!(grace.ends(), Some(shorter + Duration::from_secs(60)));
    }

    #[test]
    fn a_command_that_failed_is_tried_again_after_another_grace_period() {
        for seconds in [0, 900] {
            let (mut grace, start) = (Grace::default(), Instant::now());
            grace.look(start, true, &settings(seconds));
            let failed = start + GRACE;
            assert!(grace.look(failed, true, &settings(seconds)));
            grace.tried(failed, false);
            let again = failed + Duration::from_secs(seconds.max(60));
            assert!(!grace.look(again - Duration::from_nanos(1), true, &settings(seconds)));
            assert!(grace.look(again, true, &settings(seconds)));
        }
    }

    #[test]
    fn a_command_that_worked_is_not_given_again_before_there_was_something_to_do() {
        let (mut grace, now) = (Grace::default(), Instant::now());
        assert!(grace.look(now, true, &settings(0)));
        grace.tried(now, true);
        assert!(!grace.look(now + GRACE, true, &settings(0)));
        assert!(!grace.look(now + GRACE, false, &settings(0)));
        assert!(grace.look(now + GRACE, true, &settings(0)));
    }

    #[test]
    fn a_command_that_ends_when_there_is_something_to_do_again_changes_nothing() {
        let (mut grace, now) = (Grace::default(), Instant::now());
        assert!(grace.look(now, true, &settings(0)));
        assert!(!grace.look(now, false, &settings(0)));
        grace.tried(now, false);
        assert_eq!(grace.ends(), None);
    }

    #[test]
    fn the_command_is_run_without_a_shell_and_its_failure_is_told() {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().unwrap();
        let run = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            runtime.block_on(off(&words))
        };
        run(&["/usr/bin/test", "$HOME", "=", "$HOME"]).unwrap();
        let failed = run(&["/bin/sh", "-c", "echo no >&2; exit 4"]).unwrap_err();
        assert!(
            failed
                .to_string()
                .ends_with("ended with exit status: 4: no"),
            "{failed}"
        );
        assert!(matches!(run(&["/no/such"]), Err(PowerError::Start { .. })));
        assert!(matches!(run(&[]), Err(PowerError::Empty)));
    }
}
