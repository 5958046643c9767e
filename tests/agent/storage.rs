//! Where the agent keeps its things: too little room, no room at all, a damaged ledger, a name that is taken.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use dfagent::status::Action;
use libtest_mimic::{Failed, Trial};

use crate::daemon::{Agent, find};
use crate::disks::{Disk, LazyDisk, make};
use crate::lab::{Need, tool, trial};
use crate::needs;
use crate::scene::{Scene, assert_timeline_of, json, mark_of};

/// How long a slice takes that has to be met at work.
const LONG: f64 = 60.0;

pub fn trials(one: &LazyDisk, two: &LazyDisk) -> Vec<Trial> {
    let needs = needs();
    let mut small = needs.clone();
    small.push(Need::Driver("tmpfs"));
    let (low, at_work, hashed) = (one.clone(), two.clone(), one.clone());
    let (full, blocked, damaged) = (one.clone(), one.clone(), two.clone());
    let one_after = one.clone();
    vec![
        trial(
            "a_job_without_room_waits_and_goes_on_by_itself_when_there_is_room",
            &small,
            move || low_on_room(low.get()),
        ),
        trial(
            "a_job_that_runs_out_of_room_gives_back_what_it_has_begun_and_goes_on_by_itself",
            &small,
            move || full_at_work(at_work.get()),
        ),
        trial(
            "jobs_that_wait_for_room_go_on_one_after_the_other",
            &small,
            move || one_by_one(one_after.get()),
        ),
        trial(
            "a_volume_that_is_released_while_it_is_hashed_is_let_go_of",
            &needs,
            move || released_while_hashed(hashed.get()),
        ),
        trial(
            "what_one_job_cannot_have_done_holds_up_no_other_job",
            &needs,
            move || held_up(blocked.get()),
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
    several_on_small(disk, 1)
}

fn several_on_small(disk: &Disk, volumes: usize) -> (Small, Scene) {
    let mut scene = Scene::replaying(disk, volumes, 2.0);
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

/// Two slices at work side by side: both folders go.
fn full_at_work(disk: &Disk) -> Result<(), Failed> {
    let (small, mut scene) = on_small(disk);
    scene.set_at_once(2);
    (0..disk.logs).for_each(|log| scene.set_delay(log, LONG));
    let agent = scene.start();
    let id = agent.wait_job();
    agent.wait("both slices are at work", |status| {
        let progress = find(status, &id)?.progress.as_ref()?;
        (progress.at_work.len() == disk.logs).then_some(())
    });
    let slices = scene.jobs().join(&id).join("slices");
    assert_eq!(names(&slices, "").len(), disk.logs);
    small.fill_but(4 << 20);
    let job = agent.wait_for(&id, "waiting").job;
    let said = format!("{:?}", job.state);
    assert!(said.contains("goes on by itself when 72 MiB are"), "{said}");
    assert_eq!(names(&slices, ""), Vec::<String>::new());

    (0..disk.logs).for_each(|log| scene.set_delay(log, 0.0));
    small.make_room();
    let job = agent.wait_for(&id, "done").job;
    assert_timeline_of(disk, &job.folder);
    end(agent, &scene, small)
}

/// There may be room for one of them only.
fn one_by_one(disk: &Disk) -> Result<(), Failed> {
    let (small, mut scene) = several_on_small(disk, 2);
    scene.copy(disk, "other.img");
    scene.loops.attach(1, &scene.at("other.img"));
    small.fill_but(4 << 20);
    let agent = scene.start();
    let wait_until_waiting = |count: usize| {
        agent.wait(&format!("{count} wait"), |status| {
            let states = status.jobs.iter().map(|one| one.job.state.name());
            (states.filter(|state| *state == "waiting").count() == count).then_some(())
        });
    };
    wait_until_waiting(2);
    small.make_room();
    wait_until_waiting(1);
    for job in agent.wait_done(2) {
        assert_timeline_of(disk, &job.folder);
    }
    end(agent, &scene, small)
}

fn released_while_hashed(disk: &Disk) -> Result<(), Failed> {
    let mut scene = Scene::replaying(disk, 1, 0.0);
    scene.configure(&scene.loops.nodes(), "[evidence]\nfull_hash = true\n");
    scene.loops.detach(0);
    let image = scene.at("disk.img");
    // Hashing so much takes much longer than it may be in use afterwards.
    tool("truncate", &["--size=64G", image.to_str().unwrap()]);
    scene.loops.attach(0, &image);
    let agent = scene.start();
    let id = agent.wait_job();
    agent.wait("it is hashed", |status| {
        let progress = find(status, &id)?.progress.as_ref()?;
        progress.stage.contains("hashing").then_some(())
    });
    agent.act(Action::Release, &id).unwrap();
    agent.wait_for(&id, "released");
    scene.loops.detach(0);
    let (status, _) = agent.stop();
    assert_eq!(status.code(), Some(0));
    scene.assert_nothing_left();
    Ok(())
}

/// A file stands where the outbox keeps what it takes back, so nothing can be taken back of one job.
fn held_up(disk: &Disk) -> Result<(), Failed> {
    let mut scene = Scene::replaying(disk, 2, 0.0);
    let agent = scene.start();
    let done = agent.wait_done(1).remove(0);
    let before = mark_of(&done.folder.join("manifest.json"));
    let outbox = scene.directory().join("outbox");
    let taken = outbox.join(format!(".{}.old", done.id));
    fs::create_dir_all(&outbox)?;
    fs::write(&taken, "")?;
    let said = agent.act(Action::Retry { anew: true }, &done.id);
    let why = said.unwrap_err();
    assert!(why.contains("tried again by itself"), "{why}");
    let tasks = agent.status().needs_operator;
    let told = |text: &str| tasks.iter().any(|task| task.why.contains(text));
    assert!(told(&format!("{} stands still", done.id)), "{tasks:#?}");
    assert!(!told("the ledger"), "{tasks:#?}");

    make(&scene.at("other.img"), 1, disk.logs);
    scene.loops.attach(1, &scene.at("other.img"));
    let other = agent.wait("the other one is done", |status| {
        let other = status.jobs.iter().find(|job| job.job.id != done.id)?;
        (other.job.state.name() == "done").then(|| other.job.clone())
    });
    assert_eq!(
        json(&other.folder.join("manifest.json"))["verdict"]["level"],
        "complete"
    );
    assert_eq!(
        mark_of(&done.folder.join("manifest.json")),
        before,
        "it is kept until then"
    );

    fs::remove_file(&taken)?;
    agent.wait_done(2);
    assert_ne!(mark_of(&done.folder.join("manifest.json")), before);
    assert_timeline_of(disk, &done.folder);
    let left = agent.status().needs_operator;
    assert!(left.is_empty(), "{left:#?}");
    agent.stop();
    scene.assert_nothing_left();
    Ok(())
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
