//! The program: parse, call, end.

use std::process::ExitCode;

use clap::Parser as _;
use dfagent::cli::args::{Cli, Command};
use dfagent::telemetry;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Command::Run(_) => telemetry::start_agent(),
        _ => telemetry::start(),
    }
    dfagent::cli::run(cli).into()
}
