//! Delivery killed at every request, at every write of its own, and at any moment: it goes on where it was.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Child;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use notify::event::ModifyKind;
use notify::{EventKind, RecursiveMode, Watcher as _};
use serde_json::{Value, json};

use crate::case::{Case, HANGING, ends, files};
use crate::lab::dice::Dice;
use crate::lab::trial;
use crate::material::{AUTH, HISTORY, SYSLOG};
use crate::proxy::Proxy;
use crate::servers::shared;

/// Random kills by default; the full number is 50.
const FEW: u32 = 6;

pub fn trials() -> Vec<Trial> {
    let needs = crate::needs();
    let kills = std::env::var("DFAGENT_TEST_KILLS").ok();
    let kills = kills.and_then(|text| text.parse().ok()).unwrap_or(FEW);
    vec![
        trial(
            "killed_before_and_after_every_kind_of_request_delivery_goes_on_to_its_end",
            &needs,
            at_requests,
        ),
        trial(
            "killed_at_every_write_of_its_own_delivery_goes_on_to_its_end",
            &needs,
            at_writes,
        ),
        trial(
            format!("{kills}_kills_at_any_moment_lose_nothing_and_double_nothing"),
            &needs,
            move || at_random(kills),
        ),
    ]
}

fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The end of a delivery in pieces: all is found once, and nothing lies about.
fn ended_well(case: &Case) {
    case.is_whole();
    let left = files(&case.out().join("delivery/outbox"));
    assert_eq!(left, Vec::<PathBuf>::new(), "left in the outbox");
}

fn at_requests() -> Result<(), Failed> {
    let _shared = shared();
    let mut case = Case::of(&[AUTH]);
    let mut proxy = Proxy::told(case.servers, json!({"hold_new": true}));
    case.to(&proxy.url());
    let mut kinds = Vec::new();
    loop {
        let mut child = case.begin();
        let ended = || child.try_wait().unwrap().is_some();
        let Some(kind) = proxy.wait_held(kinds.len() + 1, ended) else {
            assert_eq!(ends(&mut child), 0);
            break;
        };
        kill(&mut child);
        proxy.go_on();
        kinds.push(kind);
    }
    for kind in [
        "POST /api/vN/upload/ 0",
        "POST /api/vN/upload/ 1",
        "POST /api/vN/upload/ 2",
    ] {
        for moment in ["request", "answer"] {
            let wanted = format!("{moment} {kind}");
            assert!(kinds.contains(&wanted), "{wanted} is not in {kinds:?}");
        }
    }
    eprintln!("{} kills at requests", kinds.len());
    ended_well(&case);
    Ok(())
}

/// A change of a file, together with how far the delivery is: what was seen is not waited for again.
fn step(case: &Case, event: &notify::Event) -> Option<String> {
    let kind = match event.kind {
        EventKind::Create(_) => "made",
        EventKind::Modify(ModifyKind::Name(_)) => "renamed",
        EventKind::Remove(_) => "removed",
        _ => return None,
    };
    let path = event.paths.last()?.strip_prefix(case.work.path()).ok()?;
    let mut state = case.state().unwrap_or_default();
    for (_, slice) in state["slices"].as_object_mut().into_iter().flatten() {
        // A try that was killed before it was written down has another name the next time.
        if let Some(upload) = slice["upload"].as_object_mut() {
            upload.remove("id");
        }
        slice["found"] = Value::Null;
    }
    Some(format!("{kind} {} at {}", path.display(), state["slices"]))
}

fn at_writes() -> Result<(), Failed> {
    let _shared = shared();
    let case = Case::of(&[AUTH]);
    fs::create_dir_all(case.out().join("delivery")).unwrap();
    let (tell, heard) = channel();
    let mut watcher = notify::recommended_watcher(move |event| drop(tell.send(event))).unwrap();
    for folder in [case.out().join("delivery"), case.job.clone()] {
        watcher.watch(&folder, RecursiveMode::Recursive).unwrap();
    }
    let (mut seen, begun) = (BTreeSet::new(), Instant::now());
    'kills: loop {
        assert!(begun.elapsed() < HANGING, "{seen:#?}");
        let mut child = case.begin();
        loop {
            match heard.recv_timeout(Duration::from_millis(20)) {
                Ok(event) => {
                    let step = step(&case, &event.unwrap());
                    if step.is_some_and(|step| seen.insert(step)) {
                        kill(&mut child);
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(status) = child.try_wait().unwrap() {
                        assert_eq!(status.code(), Some(0));
                        break 'kills;
                    }
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    eprintln!("{} kills at writes in {:?}", seen.len(), begun.elapsed());
    assert!(seen.len() >= 20, "{seen:#?}");
    ended_well(&case);
    Ok(())
}

/// Most of a delivery of three slices.
const LENGTH: Duration = Duration::from_secs(5);

fn at_random(kills: u32) -> Result<(), Failed> {
    let _shared = shared();
    let (mut dice, mut killed, mut whole) = (Dice::new("delivery"), 0, 0);
    while killed < kills {
        let case = Case::of(&[HISTORY, AUTH, SYSLOG]);
        loop {
            let mut child = case.begin();
            let moment = if killed < kills {
                dice.moment(LENGTH)
            } else {
                HANGING
            };
            let ended = crate::case::holds_within(moment, || child.try_wait().unwrap().is_some());
            if ended {
                let said = fs::read_to_string(case.at("stderr")).unwrap();
                assert_eq!(ends(&mut child), 0, "{said}");
                break;
            }
            kill(&mut child);
            killed += 1;
        }
        ended_well(&case);
        whole += 1;
    }
    eprintln!("{killed} kills at any moment of {whole} deliveries");
    Ok(())
}
