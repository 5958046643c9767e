//! Another disk behind the same device while it is read, and many disks at once.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use libtest_mimic::{Failed, Trial};

use crate::daemon::find;
use crate::disks::{Disk, LINES, LazyDisk, make, make_empty, slice_name};
use crate::lab::dice::Dice;
use crate::lab::trial;
use crate::needs;
use crate::scene::{Scene, assert_timeline_of, json};
use crate::volumes::wait_at_work;

/// How soon a job must know that its volume was replaced.
const KNOWN: Duration = Duration::from_secs(5);

const DISKS: usize = 20;

pub fn trials(two: &LazyDisk) -> Vec<Trial> {
    let needs = needs();
    let (swap, quiet, many) = (two.clone(), two.clone(), two.clone());
    vec![
        trial(
            "a_volume_that_is_replaced_while_it_is_read_is_interrupted_within_5_seconds_and_never_done",
            &needs,
            move || replaced(swap.get()),
        ),
        trial(
            "a_volume_that_comes_back_with_other_content_is_left_to_a_person",
            &needs,
            move || other_content(quiet.get()),
        ),
        trial(
            format!(
                "the_triage_of_{DISKS}_disks_attached_at_once_comes_before_everything_else_and_all_get_their_own_timeline"
            ),
            &needs,
            move || many_at_once(many.get()),
        ),
    ]
}

/// With the real Plaso, which reads on without an error in an empty tree.
fn replaced(disk: &Disk) -> Result<(), Failed> {
    let mut scene = Scene::new(1, disk.logs);
    scene.set_at_once(1);
    scene.copy(disk, "disk.img");
    make_empty(&scene.at("empty.img"));
    scene.loops.attach(0, &scene.at("disk.img"));
    let agent = scene.start();
    let id = agent.wait_job();
    wait_at_work(&agent, &id);

    let begun = Instant::now();
    scene.loops.change(0, &scene.at("empty.img"));
    agent.wait("the job knows", |status| {
        let state = find(status, &id)?.job.state.name();
        assert_ne!(state, "done");
        (state == "interrupted").then_some(())
    });
    let took = begun.elapsed();
    assert!(took < KNOWN, "{took:?}");
    assert!(!scene.jobs().join(&id).join("manifest.json").exists());

    scene.loops.change(0, &scene.at("disk.img"));
    let job = agent.wait_for(&id, "done").job;
    assert_timeline_of(disk, &job.folder);
    let resumed = json(&job.folder.join("manifest.json"))["resumed"].clone();
    assert_eq!(resumed, 1);
    agent.stop();
    scene.assert_nothing_left();
    Ok(())
}

/// The same name, another content: it is taken for the same volume, and not gone on with.
fn other_content(disk: &Disk) -> Result<(), Failed> {
    let mut scene = Scene::replaying(disk, 1, 0.0);
    scene.set_delay(1, 60.0);
    let agent = scene.start();
    let id = agent.wait_job();
    agent.wait("the first slice is done", |status| {
        (find(status, &id)?.progress.as_ref()?.slices_done == 1).then_some(())
    });
    let (image, kept) = (scene.at("disk.img"), scene.at("kept.img"));
    fs::rename(&image, &kept)?;
    make(&image, 2, disk.logs);
    scene.loops.change(0, &image);
    let job = agent.wait_for(&id, "needs_operator").job;
    let said = format!("{:?}", job.state);
    assert!(said.contains("the source changed"), "{said}");
    assert!(
        said.contains(&format!("dfagent retry --anew {id}")),
        "{said}"
    );
    assert!(!job.folder.join("manifest.json").exists());

    scene.set_delay(1, 0.0);
    let said = agent.command(&["retry", "--anew", &id]);
    assert_eq!(said.code, 0, "{}", said.err);
    let job = agent.wait_for(&id, "done").job;
    assert_timeline(&job.folder, 2, disk);
    Ok(())
}

/// A complete timeline of the disk with this number.
fn assert_timeline(folder: &Path, number: usize, disk: &Disk) {
    let manifest = json(&folder.join("manifest.json"));
    assert_eq!(manifest["verdict"]["level"], "complete", "{manifest:#}");
    let timeline = fs::read_to_string(folder.join("timeline.jsonl")).unwrap();
    assert_eq!(timeline.lines().count(), disk.documents.len());
    let own = format!("\"disk-{number}\"");
    let of_disk = timeline.lines().filter(|line| line.contains(&own));
    assert_eq!(of_disk.count(), LINES * disk.logs, "{timeline}");
}

fn many_at_once(disk: &Disk) -> Result<(), Failed> {
    let mut scene = Scene::replaying(disk, DISKS, 0.1);
    scene.set_at_once(2);
    scene.loops.detach(0);
    let images: Vec<_> = (0..DISKS)
        .map(|number| scene.at(&format!("disk-{number}.img")))
        .collect();
    for (number, image) in images.iter().enumerate() {
        make(image, number, disk.logs);
    }
    let agent = scene.start();
    // The first ones are still at their triage when the last one comes.
    scene.set_delay(0, 10.0);
    let mut dice = Dice::new("disks");
    let mut places: Vec<usize> = (0..DISKS).collect();
    for image in &images {
        let place = places.swap_remove(dice.index(places.len()));
        scene.loops.attach(place, image);
    }
    agent.wait("all are seen", |status| {
        (status.jobs.len() == DISKS).then_some(())
    });
    scene.set_delay(0, 0.1);
    let jobs = agent.wait_done(DISKS);
    let (mut uuids, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for job in &jobs {
        let number = job.id.split(['-', '.']).nth(1).unwrap().parse().unwrap();
        assert_timeline(&job.folder, number, disk);
        let manifest = json(&job.folder.join("manifest.json"));
        uuids.insert(manifest["filesystems"][0]["uuid"].to_string());
        ids.insert(number);
    }
    assert_eq!((uuids.len(), ids.len()), (1, DISKS));
    let folders = jobs.iter().map(|job| job.folder.join("slices"));
    let folders: Vec<_> = folders.collect();
    let triage = folders
        .iter()
        .map(|slices| finished(&slices.join(slice_name(0))));
    let later = folders
        .iter()
        .map(|slices| begun(&slices.join(slice_name(1))));
    let (last, first) = (triage.max().unwrap(), later.min().unwrap());
    assert!(last <= first, "{last:?} {first:?}");
    agent.stop();
    scene.assert_nothing_left();
    Ok(())
}

/// When a slice was finished.
fn finished(slice: &Path) -> SystemTime {
    let about = fs::metadata(slice.join("slice.json")).unwrap();
    about.modified().unwrap()
}

/// When it was begun, at the latest: the record has whole seconds, rounded.
fn begun(slice: &Path) -> SystemTime {
    let record = json(&slice.join("slice.json"));
    let started: jiff::Timestamp = record["started"].as_str().unwrap().parse().unwrap();
    let seconds = u64::try_from(started.as_second()).unwrap();
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(500)
}
