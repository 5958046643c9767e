//! The agent on a real machine, in QEMU: volumes of EBS that are plugged in and pulled, a real udevd, a real
//! systemd. tests/vm/claims/ has the claims; the machine is built once, into target/vm.
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

/// What building the machine takes; the rest it says itself.
const NEEDS: [Need; 6] = [
    Need::Root,
    Need::Program("qemu-system-x86_64"),
    Need::Program("mmdebstrap"),
    Need::Program("sgdisk"),
    Need::Program("qemu-img"),
    Need::Plaso,
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
    let list = lab::finish(&mut claims(&["list"])).out;
    let trials = list.lines().map(str::to_owned);
    let trials = trials.map(|claim| trial(claim.clone(), &needs, move || test(&claim)));
    lab::run(trials.collect());
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
    let done = lab::finish(&mut claims(&[claim]));
    match done.code {
        0 => Ok(()),
        code => Err(format!("exit code {code}\n{}{}", done.out, done.err).into()),
    }
}
