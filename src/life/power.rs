//! When the machine may be switched off (a pure decision), and switching it off.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;

use crate::config::worker::PowerSettings;
use crate::printable;

/// How long the command may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// The machine stays on.
    On,
    /// It goes off then, if nothing comes.
    OffAt(Instant),
    /// It goes off.
    OffNow,
}

/// Decides. `idle_since` is since when nothing is left to do, by itself or by a device; a job that needs an
/// operator keeps the machine on, because whoever looks for it would find it gone.
#[must_use]
pub fn decide(
    now: Instant,
    idle_since: Option<Instant>,
    settings: &PowerSettings,
    needs_operator: bool,
) -> Power {
    let Some(since) = idle_since else {
        return Power::On;
    };
    if !settings.off_when_idle || needs_operator {
        return Power::On;
    }
    match since.checked_add(Duration::from_secs(settings.grace_seconds)) {
        Some(at) if at <= now => Power::OffNow,
        Some(at) => Power::OffAt(at),
        None => Power::On,
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

    fn settings(off_when_idle: bool) -> PowerSettings {
        PowerSettings {
            off_when_idle,
            grace_seconds: 900,
            ..PowerSettings::default()
        }
    }

    #[test]
    fn it_goes_off_only_when_asked_for_idle_and_nobody_is_needed() {
        let since = Instant::now();
        let late = since + Duration::from_secs(901);
        let idle = Some(since);
        assert_eq!(decide(late, idle, &settings(true), false), Power::OffNow);
        assert_eq!(decide(late, idle, &settings(false), false), Power::On);
        assert_eq!(decide(late, idle, &settings(true), true), Power::On);
        assert_eq!(decide(late, None, &settings(true), false), Power::On);
    }

    #[test]
    fn it_goes_off_after_the_grace_period_and_not_before() {
        let since = Instant::now();
        let end = since + Duration::from_secs(900);
        let at = |now| decide(now, Some(since), &settings(true), false);
        assert_eq!(at(since), Power::OffAt(end));
        assert_eq!(at(end - Duration::from_nanos(1)), Power::OffAt(end));
        assert_eq!(at(end), Power::OffNow);
        let forever = PowerSettings {
            grace_seconds: u64::MAX,
            ..settings(true)
        };
        assert_eq!(decide(end, Some(since), &forever, false), Power::On);
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
