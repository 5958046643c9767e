//! Volumes come and go: an attached one is done, a done one is not done again, one that is let go of can be
//! detached, and one that is stopped goes on.

use std::fs;
use std::path::Path;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use crate::daemon::find;
use crate::disks::LazyDisk;
use crate::lab::{self, documents, trial};
use crate::needs;
use crate::scene::{Scene, assert_timeline_of, assert_untouched, json};

pub fn trials(one: &LazyDisk, two: &LazyDisk) -> Vec<Trial> {
    let needs = needs();
    let disk = one.clone();
    vec![trial(
        "an_attached_volume_gets_the_timeline_of_a_run_by_hand_and_nothing_is_left_behind",
        &needs,
        move || attached(&disk),
    )]
}

fn attached(disk: &LazyDisk) -> Result<(), Failed> {
    let disk = disk.get();
    let mut scene = Scene::new(1, disk.logs);
    scene.copy(disk, "disk.img");
    let agent = scene.start();
    assert!(agent.status().jobs.is_empty());
    scene.loops.attach(0, &scene.at("disk.img"));
    let id = agent.wait_job();
    agent.wait("a slice is at work", |status| {
        let progress = find(status, &id)?.progress.as_ref()?;
        (!progress.at_work.is_empty()).then_some(())
    });
    let shown = agent.command(&["status", "--json"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert_fits(&shown.out);
    let job = agent.wait_for(&id, "done");
    assert_eq!(job.result.unwrap().documents as usize, disk.documents.len());
    let (status, took) = agent.stop();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");

    let folder = scene.jobs().join(&id);
    assert_timeline_of(disk, &folder);
    assert_eq!(documents(&folder.join("timeline.jsonl")), disk.documents);
    assert_eq!(json(&folder.join("volume.json"))["id"], id.as_str());
    scene.assert_nothing_left();
    assert_untouched(&scene.at("disk.img"), disk);
    Ok(())
}

/// The status is what its schema says.
fn assert_fits(status: &str) {
    let status: serde_json::Value = serde_json::from_str(status).unwrap();
    let schema = schemars::schema_for!(dfagent::status::Status);
    let validator = jsonschema::validator_for(schema.as_value()).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&status)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}
