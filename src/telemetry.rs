//! Logging of a foreground command: warnings and errors to standard error.

use tracing_subscriber::EnvFilter;

/// Starts logging; `DFAGENT_LOG` sets the level (`warn` by default).
pub fn start() {
    let filter = EnvFilter::try_from_env("DFAGENT_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .without_time()
        .init();
}
