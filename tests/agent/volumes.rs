//! Volumes come and go: an attached one is done, a done one is not done again, one that is let go of can be
//! detached, and one that is stopped goes on.

use std::time::Duration;

use dfagent::status::{Action, JobStatus};
use libtest_mimic::{Failed, Trial};

use crate::daemon::{Agent, find};
use crate::disks::{LazyDisk, slice_name};
use crate::lab::{self, documents, trial};
use crate::needs;
use crate::scene::{Scene, assert_timeline_of, assert_untouched, json, mark_of};

/// How long a slice takes that has to be met at work.
pub const LONG: f64 = 60.0;

/// `agent.stop_limit_seconds`; what heeds the wish to stop takes much less.
const STOPPED: Duration = Duration::from_secs(20);

pub fn trials(one: &LazyDisk, two: &LazyDisk) -> Vec<Trial> {
    let needs = needs();
    let made = |name: &str, disk: &LazyDisk, test: fn(&LazyDisk) -> Result<(), Failed>| {
        let disk = disk.clone();
        trial(name, &needs, move || test(&disk))
    };
    vec![
        made(
            "an_attached_volume_gets_the_timeline_of_a_run_by_hand_and_nothing_is_left_behind",
            one,
            attached,
        ),
        made(
            "a_stopped_agent_ends_in_time_and_goes_on_without_doing_slices_again",
            two,
            stopped,
        ),
        made(
            "a_done_volume_is_not_done_again_but_by_hand",
            one,
            done_once,
        ),
        made(
            "a_cancelled_job_is_left_alone_until_it_is_retried",
            two,
            cancelled,
        ),
        made(
            "a_released_volume_can_be_detached_at_once_and_goes_on_when_it_is_back",
            two,
            released,
        ),
    ]
}

fn attached(disk: &LazyDisk) -> Result<(), Failed> {
    let disk = disk.get();
    let mut scene = Scene::new(1, disk.logs);
    scene.copy(disk, "disk.img");
    let agent = scene.start();
    assert!(agent.status().jobs.is_empty());
    scene.loops.attach(0, &scene.at("disk.img"));
    let id = agent.wait_job();
    wait_at_work(&agent, &id);
    let shown = agent.command(&["status", "--json"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert_fits(&shown.out);
    let job = agent.wait_for(&id, "done");
    let counted = usize::try_from(job.result.unwrap().documents)?;
    assert_eq!(counted, disk.documents.len());
    let (status, took) = agent.stop();
    assert_eq!(status.code(), Some(0));
    assert!(took < STOPPED, "{took:?}");

    let folder = scene.jobs().join(&id);
    assert_timeline_of(disk, &folder);
    assert_eq!(documents(&folder.join("timeline.jsonl")), disk.documents);
    assert_eq!(json(&folder.join("volume.json"))["id"], id.as_str());
    scene.assert_nothing_left();
    assert_untouched(&scene.at("disk.img"), disk);
    Ok(())
}

/// The status is what its schema says.
pub fn assert_fits(status: &str) {
    let status: serde_json::Value = serde_json::from_str(status).unwrap();
    let schema = lab::root().join("docs/schema/status-1.json");
    let validator = jsonschema::validator_for(&json(&schema)).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&status)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

pub fn wait_at_work(agent: &Agent, id: &str) {
    agent.wait("a slice is at work", |status| {
        let progress = find(status, id)?.progress.as_ref()?;
        (!progress.at_work.is_empty()).then_some(())
    });
}

/// A volume of two slices of which the first is done and the second at work for long.
pub fn half_done(disk: &LazyDisk) -> (Scene, Agent, String) {
    let mut scene = Scene::replaying(disk.get(), 1, 0.0);
    scene.set_delay(1, LONG);
    let agent = scene.start();
    let id = agent.wait_job();
    wait_second_slice(&agent, &id);
    (scene, agent, id)
}

pub fn wait_second_slice(agent: &Agent, id: &str) {
    agent.wait("the second slice is at work", |status| {
        let progress = find(status, id)?.progress.as_ref()?;
        (progress.slices_done == 1 && !progress.at_work.is_empty()).then_some(())
    });
}

fn stopped(disk: &LazyDisk) -> Result<(), Failed> {
    let (mut scene, agent, id) = half_done(disk);
    let first = scene.jobs().join(&id).join("slices").join(slice_name(0));
    let before = mark_of(&first.join("slice.json"));
    let (status, took) = agent.stop();
    assert_eq!(status.code(), Some(0));
    assert!(took < STOPPED, "{took:?}");
    let jobs = dfagent::ledger::read_only(&scene.ledger())?;
    let states: Vec<&str> = jobs.iter().map(|job| job.state.name()).collect();
    assert_eq!(states, ["interrupted"]);
    scene.assert_nothing_left();

    scene.set_delay(1, 0.0);
    let agent = scene.start();
    let job = agent.wait_for(&id, "done");
    assert_eq!((job.job.starts, job.job.crashes), (2, 0));
    assert_eq!(mark_of(&first.join("slice.json")), before);
    assert_timeline_of(disk.get(), &job.job.folder);
    assert_eq!(json(&job.job.folder.join("manifest.json"))["resumed"], 1);
    Ok(())
}

fn done_once(disk: &LazyDisk) -> Result<(), Failed> {
    let mut scene = Scene::replaying(disk.get(), 1, 0.0);
    let agent = scene.start();
    let id = agent.wait_job();
    let first = agent.wait_for(&id, "done").job;
    let manifest = first.folder.join("manifest.json");
    let before = mark_of(&manifest);

    scene.loops.detach(0);
    wait_attached(&agent, &id, false);
    scene.loops.attach(0, &scene.at("disk.img"));
    let again = wait_attached(&agent, &id, true).job;
    assert_eq!((&again.state, again.starts), (&first.state, 1));
    agent.stop();
    let agent = scene.start();
    let again = wait_attached(&agent, &id, true).job;
    assert_eq!((&again.state, again.starts), (&first.state, 1));
    assert_eq!(mark_of(&manifest), before);

    agent.act(Action::Retry { anew: false }, &id).unwrap();
    agent.wait("it is done again", |status| {
        let job = &find(status, &id)?.job;
        (job.starts == 2 && job.state == first.state).then_some(())
    });
    let aside = scene.jobs().join(format!("{id}.1"));
    assert_eq!(mark_of(&aside.join("manifest.json")), before);
    assert_ne!(mark_of(&manifest), before);
    assert_timeline_of(disk.get(), &first.folder);
    assert_timeline_of(disk.get(), &aside);
    assert_eq!(agent.status().jobs.len(), 1);
    Ok(())
}

pub fn wait_attached(agent: &Agent, id: &str, attached: bool) -> JobStatus {
    agent.wait(&format!("{id} is attached: {attached}"), |status| {
        let job = find(status, id)?;
        (job.attached == attached).then(|| job.clone())
    })
}

fn cancelled(disk: &LazyDisk) -> Result<(), Failed> {
    let (scene, agent, id) = half_done(disk);
    agent.act(Action::Cancel, &id).unwrap();
    agent.wait_for(&id, "cancelled");
    scene.set_delay(1, 0.0);
    scene.loops.detach(0);
    wait_attached(&agent, &id, false);
    scene.loops.attach(0, &scene.at("disk.img"));
    let job = wait_attached(&agent, &id, true).job;
    assert_eq!((job.state.name(), job.starts), ("cancelled", 1));

    let said = agent.command(&["retry", &id]);
    assert_eq!(said.code, 0, "{}", said.err);
    let job = agent.wait_for(&id, "done").job;
    assert_timeline_of(disk.get(), &job.folder);
    let refused = agent.act(Action::Cancel, &id).unwrap_err();
    assert!(refused.contains("done already"), "{refused}");
    Ok(())
}

fn released(disk: &LazyDisk) -> Result<(), Failed> {
    let (scene, agent, id) = half_done(disk);
    agent.act(Action::Release, &id).unwrap();
    agent.wait_for(&id, "released");
    // udevd may look at it at this very moment.
    scene.loops.detach_within(0, Duration::from_secs(1));
    scene.set_delay(1, 0.0);
    wait_attached(&agent, &id, false);
    scene.loops.attach(0, &scene.at("disk.img"));
    let job = agent.wait_for(&id, "done").job;
    assert_timeline_of(disk.get(), &job.folder);
    Ok(())
}
