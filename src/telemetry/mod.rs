//! Where log lines go: to standard error, or, for the agent under systemd, to the journal with fields.
//!
//! What the agent has to say to an operator is in [`events`]; nothing here decides what is worth saying.

pub mod events;

use std::io;
use std::os::fd::AsFd;

use nix::sys::stat::fstat;
use tracing::Subscriber;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Starts logging for a command in the foreground; `DFAGENT_LOG` sets the level (`warn` by default).
pub fn start() {
    install(to_stderr(filter("warn")));
}

/// Starts logging for the agent: to the journal if that is where standard error leads, else to standard error;
/// `DFAGENT_LOG` sets the level (`info` by default).
pub fn start_agent() {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    if is_stream(&stream, &io::stderr())
        && let Ok(layer) = journal()
    {
        install(
            tracing_subscriber::registry()
                .with(filter("info"))
                .with(layer),
        );
    } else {
        install(to_stderr(filter("info")));
    }
}

/// The journal, with our fields under their own names, so that `journalctl DFAGENT_JOB=…` finds them.
///
/// # Errors
/// Nobody listens at the journal's socket.
pub fn journal() -> io::Result<tracing_journald::Layer> {
    let priorities = PriorityMappings {
        info: Priority::Informational,
        debug: Priority::Debug,
        ..PriorityMappings::new()
    };
    Ok(tracing_journald::layer()?
        .with_field_prefix(None)
        .with_syslog_identifier("dfagent".to_owned())
        .with_priority_mappings(priorities))
}

/// Whether the device and inode that systemd names in `JOURNAL_STREAM` are those of this descriptor: the
/// variable is passed on to programs whose standard error was led elsewhere.
fn is_stream(stream: &str, descriptor: &impl AsFd) -> bool {
    let Some((device, inode)) = stream.split_once(':') else {
        return false;
    };
    fstat(descriptor)
        .is_ok_and(|about| device.parse() == Ok(about.st_dev) && inode.parse() == Ok(about.st_ino))
}

fn filter(level: &str) -> EnvFilter {
    EnvFilter::try_from_env("DFAGENT_LOG").unwrap_or_else(|_| EnvFilter::new(level))
}

/// Lines for people. Fields in capitals are for the journal's search; the sentence says the same.
fn to_stderr(filter: EnvFilter) -> impl Subscriber + Send + Sync + 'static {
    let fields = debug_fn(|out, field, value| match field.name() {
        "message" => write!(out, "{value:?}"),
        name if name.starts_with(|first: char| first.is_ascii_uppercase()) => Ok(()),
        name => write!(out, " {name}={value:?}"),
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .fmt_fields(fields)
        .without_time()
        .finish()
}

/// The first start counts; a second one, as in tests, changes nothing.
fn install(subscriber: impl Subscriber + Send + Sync + 'static) {
    drop(subscriber.try_init());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_taken_only_if_standard_error_is_its_stream() {
        let (ours, other) = std::os::unix::net::UnixStream::pair().unwrap();
        let about = fstat(&ours).unwrap();
        let stream = format!("{}:{}", about.st_dev, about.st_ino);
        assert!(is_stream(&stream, &ours));
        assert!(!is_stream(&stream, &other));
        for wrong in ["", "8", "8:", ":", "a:b", "-1:-1"] {
            assert!(!is_stream(wrong, &ours), "{wrong}");
        }
    }
}
