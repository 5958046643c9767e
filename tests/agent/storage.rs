//! Where the agent keeps its things: too little room, no room at all, a damaged ledger.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Failed, Trial};

use crate::daemon::{Agent, find};
use crate::disks::{Disk, LazyDisk, make};
use crate::lab::{Need, tool, trial};
use crate::needs;
use crate::scene::{Scene, assert_timeline_of, json, mark_of};

pub fn trials(one: &LazyDisk, two: &LazyDisk) -> Vec<Trial> {
    let needs = needs();
    let mut small = needs.clone();
    small.push(Need::Driver("tmpfs"));
    let (low, full, damaged) = (one.clone(), one.clone(), two.clone());
    vec![
        trial(
            "a_job_without_room_waits_and_goes_on_by_itself_when_there_is_room",
            &small,
            move || low_on_room(low.get()),
        ),
        trial(
            "a_full_disk_under_the_ledger_is_told_and_what_was_meant_is_done_when_there_is_room",
            &small,
            move || ledger_full(full.get()),
        ),
        trial(
            "a_damaged_ledger_is_set_aside_and_no_done_volume_is_done_again",
            &needs,
            move || damaged_ledger(damaged.get()),
        ),
    ]
}

/// A small filesystem, unmounted when dropped.
struct Small(PathBuf);

impl Small {
    /// More than twice of what must be free before a job that waits goes on.
    fn on(folder: PathBuf) -> Self {
        fs::create_dir(&folder).unwrap();
        let options = ["-t", "tmpfs", "-o", "size=200m", "dfagent-test"];
        let mut words = options.map(str::to_owned).to_vec();
        words.push(folder.to_str().unwrap().to_owned());
        tool("mount", &words);
        Self(folder)
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Leaves so many bytes.
    fn fill_but(&self, left: u64) {
        let about = nix::sys::statvfs::statvfs(&self.0).unwrap();
        let free = about.blocks_available() * about.fragment_size();
        let size = (free - left).to_string();
        tool(
            "fallocate",
            &["--length", &size, self.filler().to_str().unwrap()],
        );
    }

    /// Leaves nothing at all.
    fn fill(&self) {
        self.fill_but(64 * 1024);
        let mut file = File::create(self.0.join("filler2")).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        for name in ["filler", "filler2"] {
            drop(fs::remove_file(self.0.join(name)));
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

fn on_small(disk: &Disk) -> (Small, Scene) {
    let mut scene = Scene::replaying(disk, 1, 2.0);
    let small = Small::on(scene.at("small"));
    scene.keep_in(scene.at("small/agent"));
    (small, scene)
}

fn low_on_room(disk: &Disk) -> Result<(), Failed> {
    let (small, mut scene) = on_small(disk);
    small.fill_but(4 << 20);
    let agent = scene.start();
    let id = agent.wait_job();
    let job = agent.wait_for(&id, "waiting").job;
    let said = format!("{:?}", job.state);
    assert!(
        said.contains("MiB are free") && said.contains("72 MiB are"),
        "{said}"
    );
    assert!(said.contains("goes on by itself"), "{said}");
    // An agent that comes back waits on.
    assert!(agent.stop().0.success());
    let agent = scene.start();
    agent.wait_for(&id, "waiting");
    small.make_room();
    let job = agent.wait_for(&id, "done").job;
    assert_timeline_of(disk, &job.folder);
    end(agent, &scene, small)
}

/// The agent first: it holds files there.
fn end(agent: Agent, scene: &Scene, small: Small) -> Result<(), Failed> {
    let (status, _) = agent.stop();
    assert_eq!(status.code(), Some(0));
    scene.assert_nothing_left();
    drop(small);
    Ok(())
}

fn ledger_full(disk: &Disk) -> Result<(), Failed> {
    let (small, mut scene) = on_small(disk);
    scene.loops.detach(0);
    let agent = scene.start();
    small.fill();
    // One that is started there waits for room, too.
    assert!(agent.stop().0.success());
    let agent = scene.start();
    scene.loops.attach(0, &scene.at("disk.img"));
    let command = agent.wait("the trouble is told", |status| {
        let mut tasks = status.needs_operator.iter();
        let task = tasks.find(|task| task.why.contains("the ledger"))?;
        assert!(task.why.contains("nothing new is begun"), "{}", task.why);
        Some(task.command.clone())
    });
    assert!(!command.is_empty());
    let job = agent.wait_job();
    assert!(
        !scene.jobs().join(&job).join("job.json").exists(),
        "nothing is begun"
    );
    small.make_room();
    let job = agent.wait_for(&job, "done").job;
    assert_timeline_of(disk, &job.folder);
    let left = agent.status().needs_operator;
    assert!(left.is_empty(), "{left:#?}");
    end(agent, &scene, small)
}

fn damaged_ledger(disk: &Disk) -> Result<(), Failed> {
    let mut scene = Scene::replaying(disk, 2, 0.0);
    let agent = scene.start();
    let done = agent.wait_done(1).remove(0);
    scene.set_delay(1, 60.0);
    make(&scene.at("other.img"), 2, disk.logs);
    scene.loops.attach(1, &scene.at("other.img"));
    let other = agent.wait("the other one is half done", |status| {
        let other = status.jobs.iter().find(|job| job.job.id != done.id)?;
        (other.progress.as_ref()?.slices_done == 1).then(|| other.job.id.clone())
    });
    agent.stop();
    let before = mark_of(&done.folder.join("manifest.json"));
    flip(&scene.ledger());

    scene.set_delay(1, 0.0);
    let agent = scene.start();
    let aside = names(scene.directory(), "ledger.db.damaged-");
    let ledgers = aside.iter().filter(|name| !name.ends_with("-journal"));
    assert_eq!(ledgers.count(), 1, "{aside:?}");
    let again = agent.wait("the done one is known", |status| {
        let job = find(status, &done.id)?;
        job.attached.then(|| job.clone())
    });
    assert_eq!(again.job.state, done.state);
    let job = agent.wait_for(&other, "done").job;
    assert_eq!(json(&job.folder.join("manifest.json"))["resumed"], 1);
    assert_eq!(agent.status().jobs.len(), 2);
    assert_eq!(mark_of(&done.folder.join("manifest.json")), before);
    Ok(())
}

/// Turns every bit of the second page: one that holds jobs.
fn flip(ledger: &Path) {
    let file = File::options().read(true).write(true).open(ledger).unwrap();
    let mut page = [0; 4096];
    file.read_exact_at(&mut page, 4096).unwrap();
    file.write_all_at(&page.map(|byte| !byte), 4096).unwrap();
}

fn names(folder: &Path, beginning: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(beginning)).collect()
}
