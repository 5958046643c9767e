//! The password: tried once, and seen nowhere.

use std::fs;
use std::path::Path;

use libtest_mimic::{Failed, Trial};
use serde_json::json;

use crate::case::{Case, HANGING, assert_whole, ends, files, holds_within};
use crate::lab::trial;
use crate::material::{HISTORY, SYSLOG};
use crate::proxy::Proxy;
use crate::servers::shared;
use crate::service::Served;

pub fn trials() -> Vec<Trial> {
    let needs = crate::needs();
    vec![
        trial(
            "a_wrong_password_is_tried_once_and_told_in_one_sentence",
            &needs,
            wrong_once,
        ),
        trial(
            "the_service_tries_a_wrong_password_once_and_goes_on_when_its_file_changes",
            &needs,
            wrong_until_changed,
        ),
        trial("the_password_is_seen_nowhere", &needs, nowhere),
    ]
}

const WRONG: &str = "canary-of-a-wrong-password";

fn write_password(path: &Path, text: &str) {
    fs::write(path, format!("{text}\n")).unwrap();
    crate::lab::tool("chmod", &["600".as_ref(), path.as_os_str()]);
}

fn wrong_once() -> Result<(), Failed> {
    let _shared = shared();
    let mut case = Case::of(&[HISTORY, SYSLOG]);
    let proxy = Proxy::with_rules(case.servers, &json!([]));
    case.to(&proxy.url());
    let file = case.at("password");
    write_password(&file, WRONG);
    case.set("timesketch", "password_file", &format!("{file:?}"));
    let done = case.stops(5, &["log in to", "user or the password", "password_file"]);
    assert_eq!(proxy.saw("POST /login/"), 1, "{:?}", proxy.said());
    assert!(!(done.out + &done.err).contains(WRONG));
    Ok(())
}

fn wrong_until_changed() -> Result<(), Failed> {
    let _shared = shared();
    let mut case = Case::of(&[HISTORY]);
    let proxy = Proxy::with_rules(case.servers, &json!([]));
    case.to(&proxy.url());
    let served = Served::over(case);
    let right = fs::read_to_string(served.case.at("password")).unwrap();
    write_password(&served.case.at("password"), WRONG);
    served.own_password();
    let service = served.start();
    let job = served.hand_over(&served.case.job);
    let needs = || {
        served
            .receipt(&job)
            .and_then(|receipt| receipt.needs)
            .unwrap_or_default()
    };
    let told = holds_within(HANGING, || needs().contains("password_file"));
    assert!(told, "{:?}", served.receipt(&job));
    // Another job and a second look do not try it again.
    let other = crate::material::copy_job(&served.case.at("other"), &[SYSLOG]);
    let other = served.hand_over(&crate::material::rename_job(&other, "another"));
    let told = holds_within(HANGING, || {
        served
            .receipt(&other)
            .is_some_and(|receipt| receipt.needs.is_some())
    });
    assert!(told, "{:?}", served.receipt(&other));
    assert_eq!(proxy.saw("POST /login/"), 1, "{:?}", proxy.said());
    // By rename, as a manager of secrets does it.
    write_password(&served.case.at("new"), right.trim());
    fs::rename(served.case.at("new"), served.case.at("password")).unwrap();
    served.own_password();
    served.is_delivered(&job);
    served.is_delivered(&other);
    drop(service);
    assert_eq!(proxy.saw("POST /login/"), 2, "{:?}", proxy.said());
    assert_whole(served.case.servers, served.case.sketch, &[HISTORY, SYSLOG]);
    Ok(())
}

fn contains(bytes: &[u8], canary: &str) -> bool {
    bytes
        .windows(canary.len())
        .any(|window| window == canary.as_bytes())
}

/// While everything is under way, and after it: of the delivery of a folder, with all of its logging.
fn nowhere() -> Result<(), Failed> {
    let _shared = shared();
    let mut case = Case::of(&[HISTORY]);
    let canary = fs::read_to_string(case.servers.password_file()).unwrap();
    let canary = canary.trim();
    let rules = json!([
        {"path": "/api/v1/upload/", "do": "wait"},
        {"path": "/api/v1/upload/", "do": "status", "status": 500},
    ]);
    let mut proxy = Proxy::with_rules(case.servers, &rules);
    case.to(&proxy.url());
    let mut command = case.command();
    let said = fs::File::create(case.at("said")).unwrap();
    command
        .env("DFAGENT_LOG", "trace")
        .stdout(said.try_clone().unwrap())
        .stderr(said);
    let mut child = command.spawn().unwrap();
    assert!(proxy.wait_held(1, || false).is_some());
    let process = format!("/proc/{}", child.id());
    for name in ["cmdline", "environ"] {
        let bytes = fs::read(format!("{process}/{name}")).unwrap();
        assert!(
            !bytes.is_empty() && !contains(&bytes, canary),
            "it stands in {name}"
        );
    }
    let limits = fs::read_to_string(format!("{process}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core"))
        .unwrap();
    let words: Vec<&str> = core.split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "no core is written: {core}");
    proxy.go_on();
    assert_eq!(ends(&mut child), 0);
    let all = files(case.work.path());
    assert!(all.len() > 10, "{all:?}");
    for file in all {
        assert!(
            !contains(&fs::read(&file).unwrap(), canary),
            "it stands in {}",
            file.display()
        );
    }
    Ok(())
}
