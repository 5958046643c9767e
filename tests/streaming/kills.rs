//! Streams killed at any moment go on where they were: nothing is lost and nothing is there twice.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use serde_json::json;

use crate::case::{HANGING, ends, files, holds_within};
use crate::lab::dice::Dice;
use crate::lab::trial;
use crate::material::{AUTH, HISTORY, SYSLOG};
use crate::servers::shared;
use crate::stream::Stream;

/// Random kills by default; the full number is 50.
const FEW: u32 = 8;

/// Most of a stream of three slices.
const LENGTH: Duration = Duration::from_millis(2500);

pub fn trials() -> Vec<Trial> {
    let kills = std::env::var("DFAGENT_TEST_KILLS").ok();
    let kills = kills.and_then(|text| text.parse().ok()).unwrap_or(FEW);
    let needs = crate::needs();
    vec![
        trial(
            format!("{kills}_kills_of_a_stream_at_any_moment_lose_nothing_and_double_nothing"),
            &needs,
            move || at_random(kills),
        ),
        trial(
            "a_delivery_without_memory_finds_what_it_made_whatever_numbers_the_server_gives",
            &needs,
            forgotten,
        ),
    ]
}

/// Timesketch numbers indexes and timelines apart, and its answers mistake one for the other.
fn forgotten() -> Result<(), Failed> {
    let _shared = shared();
    let stream = Stream::of(&[HISTORY]);
    let unused = format!("unused{}", stream.sketch);
    let body = json!({"searchindex_name": unused, "es_index_name": unused, "public": false});
    let (status, answer) = stream.servers.api("POST", "searchindices/", body);
    assert_eq!(status, 201, "{answer}");
    stream.delivers();
    let made = stream.timeline();
    fs::remove_dir_all(stream.out().join("delivery")).unwrap();
    fs::remove_file(stream.job.join("delivery.json")).unwrap();
    stream.delivers();
    assert_eq!(stream.timeline(), made);
    Ok(())
}

fn at_random(kills: u32) -> Result<(), Failed> {
    let _shared = shared();
    let (mut dice, mut killed, mut whole) = (Dice::new("stream"), 0, 0);
    while killed < kills {
        let stream = Stream::of(&[HISTORY, AUTH, SYSLOG]);
        loop {
            let mut child = stream.begin();
            let moment = if killed < kills {
                dice.moment(LENGTH)
            } else {
                HANGING
            };
            if holds_within(moment, || child.try_wait().unwrap().is_some()) {
                let said = fs::read_to_string(stream.at("stderr")).unwrap();
                assert_eq!(ends(&mut child), 0, "{said}");
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            killed += 1;
        }
        stream.is_whole();
        let left = files(&stream.out().join("delivery/outbox"));
        assert_eq!(left, Vec::<PathBuf>::new(), "left in the outbox");
        whole += 1;
    }
    eprintln!("{killed} kills at any moment of {whole} streams");
    Ok(())
}
