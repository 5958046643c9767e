//! The agent on a real machine, in QEMU: volumes of EBS that are plugged in and pulled, a real udevd, a real
//! systemd. tests/vm/claims.py has the claims; the machine is built once, into target/vm.
//!
//! Not here: Plaso, for which the emulated machine is too slow; a stand-in reads in its place.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking"
)]

mod lab;

use std::fs;
use std::process::Command;

use libtest_mimic::Failed;

use lab::{Need, trial};

const CLAIMS: [&str; 4] = [
    "plugged_volumes_are_taken_and_nothing_else_is_touched",
    "a_volume_pulled_while_it_is_read_is_interrupted_and_goes_on_when_it_is_back",
    "a_volume_pulled_at_any_moment_before_that_is_interrupted_too",
    "a_volume_that_was_there_first_is_taken_and_the_service_manager_is_told",
];

/// What building the machine takes; the rest it says itself.
const NEEDS: [Need; 4] = [
    Need::Root,
    Need::Program("qemu-system-x86_64"),
    Need::Program("mmdebstrap"),
    Need::Program("cpio"),
];

fn main() {
    let listing = std::env::args().any(|word| word == "--list");
    let mut needs = NEEDS.to_vec();
    let can_build = !NEEDS.iter().any(Need::is_missing);
    if can_build
        && !listing
        && let Err(why) = prepare()
    {
        eprintln!("{why}");
        let what = "a machine in QEMU, which could not be built: see target/vm/prepare.log";
        needs.push(Need::Other(false, what));
    }
    let trials = CLAIMS.map(|claim| trial(claim, &needs, || test(claim)));
    lab::run(trials.into());
}

/// tests/vm/claims.py with arguments.
fn claims(arguments: &[&str]) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command
        .arg("-B")
        .arg(lab::root().join("tests/vm/claims.py"))
        .args(arguments);
    command
}

/// Builds the machine if it is not there yet; why that cannot be, the last that was said.
fn prepare() -> Result<(), String> {
    let done = lab::finish(&mut claims(&["prepare"]));
    let said = format!("{}{}", done.out, done.err);
    fs::create_dir_all(lab::root().join("target/vm")).unwrap();
    fs::write(lab::root().join("target/vm/prepare.log"), &said).unwrap();
    match done.code {
        0 => Ok(()),
        _ => Err(said.lines().last().unwrap_or_default().to_owned()),
    }
}

fn test(claim: &str) -> Result<(), Failed> {
    let done = lab::finish(&mut claims(&[claim, env!("CARGO_BIN_EXE_dfagent")]));
    match done.code {
        0 => Ok(()),
        code => Err(format!("exit code {code}\n{}{}", done.out, done.err).into()),
    }
}
