//! The command line: one file a subcommand; errors become one sentence and an exit code here.

mod act;
pub mod args;
mod check;
mod deliver;
mod exit;
mod export;
mod foreground;
mod guard_disk;
mod inside;
mod process;
mod progress;
mod run;
mod serve;
mod status;
mod verify;

pub use exit::Exit;

use anyhow::Context as _;
use args::{Cli, Command};

use crate::status::Action;

/// Runs a parsed command line and returns how to end.
#[must_use]
pub fn run(cli: Cli) -> Exit {
    let config = cli.config.as_deref();
    let result = match cli.command {
        Command::Run(_) => run::run(config),
        Command::Process(args) => process::run(&args, config),
        Command::Deliver(args) => deliver::run(&args, config),
        Command::Export(args) => export::run(&args, config),
        Command::Check(args) => check::run(&args, config),
        Command::Verify(args) => verify::run(&args),
        Command::Status(args) => status::run(&args, config),
        Command::Retry(args) => act::run(Action::Retry { anew: args.anew }, &args.job, config),
        Command::Cancel(args) => act::run(Action::Cancel, &args.job, config),
        Command::Release(args) => act::run(Action::Release, &args.job, config),
        Command::GuardDisk { node } => guard_disk::run(&node, config),
        Command::Inside(part) => return inside::run(part),
    };
    result.unwrap_or_else(|error| {
        eprintln!("dfagent: failed to {}", exit::chain(&error));
        exit::for_error(&error)
    })
}

/// Settings for a command that only asks the agent; a broken configuration is named and does not matter.
fn settings_to_ask(config: Option<&std::path::Path>) -> crate::config::Settings {
    use crate::config::Settings;
    Settings::load(config).unwrap_or_else(|error| {
        let error = crate::printable::causes(&error);
        eprintln!(
            "dfagent: failed to {error}; asking an agent that goes on with an earlier configuration"
        );
        Settings::to_find_the_agent(config)
    })
}

/// Where this very program is.
fn own_program() -> anyhow::Result<std::path::PathBuf> {
    std::env::current_exe().context("find our own program")
}

/// A runtime on this very thread: one thread starts all cages, because descriptors meant for one are
/// inheritable while it starts. Threads that waited for a disk end soon after: twenty volumes are opened at once.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(std::time::Duration::from_secs(1))
        .build()
}
