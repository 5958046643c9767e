//! The agent on a real machine, in QEMU: volumes of EBS that are plugged in and pulled, a real udevd, a real
//! systemd. tests/vm/claims/ has the claims; the machine is built once, into target/vm.
//!
//! The machine is emulated and slow: all claims take half an hour. The usual run has those that nothing but a guest
//! can show, [`USUAL`]; `DFAGENT_TEST_VM=all`, which is `make test-vm`, has all.
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

/// Claims of the usual run.
const USUAL: [&str; 2] = [
    "the_installed_plaso_makes_a_timeline_of_a_volume_that_is_plugged_in",
    "nothing_gets_out_of_a_cage_under_the_unit_and_its_limits_hold",
];

fn main() {
    let has_all = std::env::var("DFAGENT_TEST_VM").is_ok_and(|claims| claims == "all");
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
    let trials = list.lines().map(|claim| {
        let mut needs = needs.clone();
        needs.push(Need::Other(
            has_all || USUAL.contains(&claim),
            "half an hour for all claims of the guest (run `make test-vm`)",
        ));
        let claim = claim.to_owned();
        trial(claim.clone(), &needs, move || test(&claim))
    });
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
