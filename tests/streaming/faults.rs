//! Servers that are restarted, timelines that are taken away meanwhile, and an OpenSearch that is not Timesketch's.

use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use serde_json::Value;

use crate::case::{HANGING, Test, ends, holds_within};
use crate::lab::trial;
use crate::material::{self, AUTH, HISTORY, SYSLOG};
use crate::servers::{Servers, alone, servers, shared};
use crate::stream::{Stream, assert_whole};
use crate::while_open::{close, hand_over, serve};

pub fn trials() -> Vec<Trial> {
    let needs = crate::needs();
    let all: [(&str, Test); 6] = [
        (
            "a_timeline_that_an_analyst_deleted_meanwhile_is_made_anew_and_its_index_is_gone",
            deleted,
        ),
        (
            "a_timeline_that_is_deleted_as_often_as_it_may_be_made_is_left_and_named",
            deleted_too_often,
        ),
        (
            "what_opensearch_refuses_is_kept_in_a_file_and_named_and_the_rest_is_found",
            refused,
        ),
        (
            "an_opensearch_that_is_restarted_in_the_middle_loses_nothing",
            opensearch_restarted,
        ),
        (
            "a_timesketch_that_is_away_for_a_while_loses_nothing",
            timesketch_away,
        ),
        (
            "another_opensearch_than_timesketch_uses_is_one_sentence",
            other_opensearch,
        ),
    ];
    let trials = all.map(|(name, test)| trial(name, &needs, test));
    trials.into()
}

fn delete(stream: &crate::case::Case, timeline: u64) {
    let path = format!("sketches/{}/timelines/{timeline}/", stream.sketch);
    let (status, answer) = stream.servers.api("DELETE", &path, Value::Null);
    assert_eq!(status, 200, "{answer}");
}

fn deleted() -> Result<(), Failed> {
    let _shared = shared();
    let stream = Stream::of(&[HISTORY, AUTH]);
    let served = serve(stream);
    let _service = served.start();
    let path = served.case.job.clone();
    let job = hand_over(&served, &path, &[HISTORY]);
    let (servers, sketch) = (served.case.servers, served.case.sketch);
    let count = material::events(&[HISTORY]).len() as u64;
    let proven = || {
        let receipt = served.receipt(&job);
        receipt.is_some_and(|receipt| receipt.slices.iter().any(|one| one.found == Some(count)))
    };
    assert!(holds_within(HANGING, proven), "{}", served.said("service"));
    let timeline = servers.timelines(sketch)[0].clone();
    let index = timeline["index"].as_str().unwrap().to_owned();
    delete(&served.case, timeline["id"].as_u64().unwrap());
    close(&served, &path);
    served.is_delivered(&job);
    assert_whole(servers, sketch, &[HISTORY, AUTH]);
    let (status, _) = servers.of_opensearch("GET", &index, &Value::Null);
    assert_eq!(status, 404, "the first index is gone");
    Ok(())
}

fn deleted_too_often() -> Result<(), Failed> {
    let _shared = shared();
    let mut stream = Stream::of(&[HISTORY]);
    stream.set("delivery", "tries", "1");
    let served = serve(stream);
    let _service = served.start();
    let path = served.case.job.clone();
    let job = hand_over(&served, &path, &[HISTORY]);
    let found = || {
        let receipt = served.receipt(&job);
        receipt.is_some_and(|receipt| receipt.slices.iter().any(|one| one.found.is_some()))
    };
    assert!(holds_within(HANGING, found), "{}", served.said("service"));
    let timeline = served.case.servers.timelines(served.case.sketch)[0].clone();
    delete(&served.case, timeline["id"].as_u64().unwrap());
    close(&served, &path);
    let ended = || served.delivered(&job).is_some();
    assert!(holds_within(HANGING, ended), "{}", served.said("service"));
    let reasons = served.delivered(&job).unwrap().reasons;
    assert!(
        reasons[0].contains("the timeline was removed"),
        "{reasons:?}"
    );
    Ok(())
}

/// A line that is no document in any form.
fn refused() -> Result<(), Failed> {
    let _shared = shared();
    let stream = Stream::of(&[HISTORY, AUTH]);
    let file = stream.job.join("slices").join(AUTH).join("documents.jsonl");
    let mut text = std::fs::read_to_string(&file).unwrap();
    text.push_str("{\"message\": \"cut o\n");
    std::fs::write(&file, text).unwrap();
    material::change_manifest(&stream.job, |manifest| {
        for slice in manifest["slices"].as_array_mut().unwrap() {
            if slice["name"] == AUTH {
                slice["documents"] = (slice["documents"].as_u64().unwrap() + 1).into();
            }
        }
    });
    // Asked again it tries again, and says the same.
    for _ in 0..2 {
        let done = stream.deliver();
        assert_eq!(done.code, 3, "{}{}", done.out, done.err);
        assert_whole(stream.servers, stream.sketch, &stream.slices);
        let record = stream.record().unwrap();
        let reason = record["reasons"][0].as_str().unwrap();
        let count = material::events(&[AUTH]).len();
        let said = format!("{count} of {} events are found in OpenSearch", count + 1);
        assert!(reason.contains(&said), "{reason}");
        assert!(reason.contains("OpenSearch refused 1 event"), "{reason}");
        let (_, path) = reason.rsplit_once("reasons in ").unwrap();
        let kept = std::fs::read_to_string(path).unwrap();
        assert_eq!(kept.lines().count(), 1, "{kept}");
        assert!(kept.contains("cut o"), "{kept}");
        let slices = record["slices"].as_array().unwrap();
        let slice = slices.iter().find(|one| one["name"] == AUTH).unwrap();
        assert_eq!(slice["streamed"]["refused"], 1, "{slice}");
    }
    Ok(())
}

/// Whatever a trial stopped runs again for the next one.
struct Restored(&'static Servers);

impl Drop for Restored {
    fn drop(&mut self) {
        self.0.act("start", &[], &[]);
    }
}

fn opensearch_restarted() -> Result<(), Failed> {
    let _alone = alone();
    let stream = Stream::of(&[HISTORY, AUTH, SYSLOG]);
    let _restored = Restored(servers());
    let mut child = stream.begin();
    let begun = || {
        let state = stream.state().unwrap_or_default();
        state["stream"]["timeline"].is_object()
    };
    assert!(holds_within(HANGING, begun), "{}", stream.said());
    servers().act("stop", &["opensearch"], &[]);
    let away = holds_within(Duration::from_secs(4), || {
        child.try_wait().unwrap().is_some()
    });
    assert!(!away, "it does not give up at once: {}", stream.said());
    servers().act("start", &[], &[]);
    assert_eq!(ends(&mut child), 0, "{}", stream.said());
    stream.is_whole();
    Ok(())
}

fn timesketch_away() -> Result<(), Failed> {
    let _alone = alone();
    let stream = Stream::of(&[HISTORY, AUTH, SYSLOG]);
    let _restored = Restored(servers());
    let mut child = stream.begin();
    let begun = || {
        let state = stream.state().unwrap_or_default();
        state["stream"]["timeline"].is_object()
    };
    assert!(holds_within(HANGING, begun), "{}", stream.said());
    servers().act("stop", &["web"], &[]);
    let waits = || stream.said().contains("delivery waits");
    assert!(holds_within(HANGING, waits), "{}", stream.said());
    servers().act("start", &[], &[]);
    assert_eq!(ends(&mut child), 0, "{}", stream.said());
    stream.is_whole();
    Ok(())
}

/// Timesketch makes an index of that name itself, where it looks.
fn other_opensearch() -> Result<(), Failed> {
    let _alone = alone();
    let other: &'static Servers = Box::leak(Box::new(Servers::start("2.19.5")));
    let mut stream = Stream::of(&[HISTORY]);
    stream.set("opensearch", "url", &format!("{:?}", other.opensearch()));
    let done = stream.deliver();
    other.stop();
    assert_eq!(done.code, 5, "{}{}", done.out, done.err);
    let words = "is [opensearch] url the OpenSearch that it uses?";
    assert!(done.err.contains(words), "{}", done.err);
    assert_eq!(stream.servers.timelines(stream.sketch), Vec::<Value>::new());
    Ok(())
}
