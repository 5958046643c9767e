//! The program: parse, call, end.

use std::process::ExitCode;

use clap::Parser as _;
use dfagent::cli::args::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    dfagent::telemetry::start();
    dfagent::cli::run(cli).into()
}
