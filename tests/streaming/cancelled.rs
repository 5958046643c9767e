//! A stream that is given up leaves nothing on the servers, also when delivery was away or was killed over it.

use libtest_mimic::{Failed, Trial};
use serde_json::Value;

use crate::case::{HANGING, Test, holds_within};
use crate::lab::dice::Dice;
use crate::lab::trial;
use crate::material::{self, AUTH, HISTORY, NOTHING, SYSLOG};
use crate::servers::shared;
use crate::service::Served;
use crate::stream::{Stream, assert_whole};
use crate::while_open::{close, hand_over, serve};

pub fn trials() -> Vec<Trial> {
    let needs = crate::needs();
    let all: [(&str, Test); 4] = [
        (
            "a_cancelled_stream_is_removed_from_timesketch_and_opensearch_and_can_be_gone_on_with",
            cancelled,
        ),
        (
            "a_stream_that_is_cancelled_while_delivery_is_away_or_killed_is_removed",
            killed,
        ),
        (
            "a_stream_that_was_cancelled_and_gone_on_with_before_delivery_saw_it_is_there_once",
            gone_on,
        ),
        (
            "a_job_begun_anew_leaves_nothing_of_the_run_that_was_given_up",
            anew,
        ),
    ];
    let trials = all.map(|(name, test)| trial(name, &needs, test));
    trials.into()
}

/// A job of which the first slice is proven: its name, and the index.
fn begun(served: &Served) -> (String, String) {
    let job = hand_over(served, &served.case.job, &[HISTORY]);
    let count = material::events(&[HISTORY]).len() as u64;
    let proven = || {
        let receipt = served.receipt(&job);
        receipt.is_some_and(|receipt| receipt.slices.iter().any(|one| one.found == Some(count)))
    };
    assert!(holds_within(HANGING, proven), "{}", served.said("service"));
    let timelines = served.case.servers.timelines(served.case.sketch);
    (job, timelines[0]["index"].as_str().unwrap().to_owned())
}

fn cancel(served: &Served, job: &str) {
    let order = served.outbox.order(job).unwrap().unwrap();
    served.outbox.cancel(order).unwrap();
}

fn is_removed(served: &Served, job: &str, index: &str) {
    let removed = || {
        served
            .receipt(job)
            .is_some_and(|one| one.removed == Some(true))
    };
    assert!(holds_within(HANGING, removed), "{}", served.said("service"));
    leaves_nothing(served, index);
}

fn leaves_nothing(served: &Served, index: &str) {
    let servers = served.case.servers;
    assert_eq!(servers.timelines(served.case.sketch), Vec::<Value>::new());
    let (status, _) = servers.of_opensearch("GET", index, &Value::Null);
    assert_eq!(status, 404, "{index}");
}

fn cancelled() -> Result<(), Failed> {
    let _shared = shared();
    let served = serve(Stream::of(&[HISTORY, AUTH]));
    let _service = served.start();
    let (job, index) = begun(&served);
    cancel(&served, &job);
    is_removed(&served, &job, &index);
    // The agent takes the order back then, and delivery forgets the job; `retry` begins it again.
    served.outbox.withdraw(&job).unwrap();
    served.outbox.forget_receipt(&job);
    let forgotten = || crate::case::files(&served.case.at("own/state")).is_empty();
    assert!(holds_within(HANGING, forgotten), "its state is kept");
    hand_over(&served, &served.case.job, &[HISTORY, AUTH]);
    close(&served, &served.case.job);
    served.is_delivered(&job);
    assert_whole(served.case.servers, served.case.sketch, &[HISTORY, AUTH]);
    Ok(())
}

fn killed() -> Result<(), Failed> {
    let _shared = shared();
    let served = serve(Stream::of(&[HISTORY]));
    let service = served.start();
    let (job, index) = begun(&served);
    drop(service);
    cancel(&served, &job);
    let mut dice = Dice::new("cancelled");
    for _ in 0..5 {
        let service = served.start();
        let removed = || {
            served
                .receipt(&job)
                .is_some_and(|one| one.removed == Some(true))
        };
        holds_within(dice.moment(std::time::Duration::from_millis(600)), removed);
        drop(service);
    }
    let _service = served.start();
    is_removed(&served, &job, &index);
    Ok(())
}

/// Its documents were joined meanwhile, so that they come in another slice.
fn gone_on() -> Result<(), Failed> {
    let _shared = shared();
    let all = [HISTORY, AUTH, SYSLOG, NOTHING];
    let served = serve(Stream::of(&all));
    let service = served.start();
    let (job, index) = begun(&served);
    drop(service);
    cancel(&served, &job);
    let path = served.case.job.clone();
    for slice in all {
        let folder = path.join("slices").join(slice);
        std::fs::remove_file(folder.join("documents.jsonl")).unwrap();
    }
    close(&served, &path);
    let _service = served.start();
    served.is_delivered(&job);
    let text = std::fs::read_to_string(path.join("timeline.jsonl")).unwrap();
    let (servers, sketch) = (served.case.servers, served.case.sketch);
    assert_eq!(servers.count(sketch), text.lines().count() as u64);
    assert_eq!(servers.timelines(sketch).len(), 1);
    let (status, _) = servers.of_opensearch("GET", &index, &Value::Null);
    assert_eq!(status, 404, "{index}");
    Ok(())
}

fn anew() -> Result<(), Failed> {
    let _shared = shared();
    let served = serve(Stream::of(&[HISTORY, AUTH]));
    let service = served.start();
    let (job, index) = begun(&served);
    // It is away when the run is given up and when the next one is begun.
    drop(service);
    cancel(&served, &job);
    let path = served.case.job.clone();
    let started = "2026-11-28T00:00:01Z";
    material::change_manifest(&path, |manifest| manifest["started"] = started.into());
    let text = std::fs::read_to_string(path.join("job.json")).unwrap();
    let mut record: Value = serde_json::from_str(&text).unwrap();
    record["started"] = started.into();
    std::fs::write(path.join("job.json"), record.to_string()).unwrap();
    hand_over(&served, &path, &[HISTORY, AUTH]);
    close(&served, &path);
    let _service = served.start();
    served.is_delivered(&job);
    assert_whole(served.case.servers, served.case.sketch, &[HISTORY, AUTH]);
    let (status, _) = served
        .case
        .servers
        .of_opensearch("GET", &index, &Value::Null);
    assert_eq!(status, 404, "{index}");
    Ok(())
}
