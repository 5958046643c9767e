//! Makes man pages and shell completions from the command line's own definitions, in `$OUT_DIR/assets` and,
//! when `DFAGENT_ASSETS` names a folder, there too.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use clap::{Command, CommandFactory, ValueEnum};

#[path = "src/cli/args.rs"]
#[expect(unreachable_pub, reason = "only the definitions are used here")]
mod args;

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=src/cli/args.rs");
    println!("cargo::rerun-if-env-changed=DFAGENT_ASSETS");
    let built = env::var_os("OUT_DIR").map(|folder| PathBuf::from(folder).join("assets"));
    let wanted = env::var_os("DFAGENT_ASSETS").map(PathBuf::from);
    for folder in built.into_iter().chain(wanted) {
        make(&folder)?;
    }
    Ok(())
}

fn make(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(args::Cli::command(), folder)?;
    let command = without_hidden(&args::Cli::command());
    for shell in clap_complete::Shell::value_variants() {
        clap_complete::generate_to(*shell, &mut command.clone(), "dfagent", folder)?;
    }
    Ok(())
}

/// What completions offer: clap_complete does not leave hidden commands out by itself.
fn without_hidden(all: &Command) -> Command {
    let visible = all.get_subcommands().filter(|one| !one.is_hide_set());
    Command::new("dfagent")
        .version(env!("CARGO_PKG_VERSION"))
        .args(all.get_arguments())
        .subcommands(visible)
}
