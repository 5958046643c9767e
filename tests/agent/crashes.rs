//! The agent is killed: at each of its durable steps, at any moment, and by one job again and again.

use std::time::{Duration, Instant};

use dfagent::status::Action;
use libtest_mimic::{Failed, Trial};
use nix::sys::signal::Signal;

use crate::daemon::{Agent, HANGING, find, pause};
use crate::disks::{Disk, LazyDisk};
use crate::lab::dice::Dice;
use crate::lab::{Need, tool, trial};
use crate::needs;
use crate::scene::{Scene, assert_timeline_of, assert_untouched};

/// How long a slice takes: long enough that kills meet it.
const SLICE: f64 = 0.3;

/// No run has more durable steps.
const MOST_STEPS: u32 = 300;

pub fn trials(two: &LazyDisk) -> Vec<Trial> {
    let needs = needs();
    let mut traced = needs.clone();
    traced.push(Need::Program("strace"));
    let kills = kills();
    let (steps, moments, poison) = (two.clone(), two.clone(), two.clone());
    vec![
        trial(
            "killed_at_each_durable_step_the_agent_goes_on_to_the_same_timeline",
            &traced,
            move || killed_at_steps(steps.get()),
        ),
        trial(
            format!("killed_{kills}_times_the_agent_goes_on_to_the_same_timeline"),
            &needs,
            move || killed_at_moments(moments.get(), kills),
        ),
        trial(
            "a_job_that_brings_the_agent_down_three_times_is_parked_and_others_go_on",
            &needs,
            move || poisoned(poison.get()),
        ),
    ]
}

fn kills() -> u32 {
    let given = std::env::var("DFAGENT_TEST_KILLS").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(100)
}

/// A kill at the n-th time that the main thread makes something durable, for every n: while events stay in the job's
/// folder, no other thread does.
fn killed_at_steps(disk: &Disk) -> Result<(), Failed> {
    let mut scene = Scene::replaying(disk, 1, 0.0);
    let mut killed = 0;
    for step in 1.. {
        assert!(step < MOST_STEPS, "it never comes through");
        let inject = format!("inject=fsync,fdatasync:signal=KILL:when={step}");
        let words = [
            "-e",
            "trace=fsync,fdatasync",
            "-e",
            &inject,
            "-o",
            "/dev/null",
        ];
        let agent = scene.start_traced(&words);
        let came_through = ends_or_is_done(agent);
        if came_through {
            break;
        }
        killed += 1;
        goes_on_to_its_end(&mut scene, disk, &format!("step {step}"));
        scene.forget();
    }
    eprintln!("killed at {killed} steps");
    assert!(killed >= 50, "{killed} kills");
    assert_untouched(&scene.at("disk.img"), disk);
    Ok(())
}

/// Whether the job is done before the agent is gone.
pub fn ends_or_is_done(mut agent: Agent) -> bool {
    if !agent.is_ready() {
        return false;
    }
    let end = Instant::now() + HANGING;
    while !agent.has_ended() {
        assert!(Instant::now() < end, "{}", agent.log_text());
        if agent.is_done() {
            return true;
        }
        pause();
    }
    false
}

/// Started again, it brings the one job to its end; nothing is left behind then.
fn goes_on_to_its_end(scene: &mut Scene, disk: &Disk, when: &str) {
    let agent = scene.start();
    let id = agent.wait_job();
    let job = agent.wait(&format!("it is done after a kill at {when}"), |status| {
        let job = &find(status, &id)?.job;
        if job.state.name() == "parked" {
            agent.act(Action::Retry { anew: false }, &id).unwrap();
        }
        (job.state.name() == "done").then(|| job.clone())
    });
    assert_eq!(agent.status().jobs.len(), 1, "one job");
    assert_timeline_of(disk, &job.folder);
    let (status, _) = agent.stop();
    assert_eq!(status.code(), Some(0));
    scene.assert_nothing_left();
}

/// Kills at any moment of a run, over and over, until the job is done; then the next run.
fn killed_at_moments(disk: &Disk, kills: u32) -> Result<(), Failed> {
    let mut scene = Scene::replaying(disk, 1, SLICE);
    let begun = Instant::now();
    let agent = scene.start();
    let id = agent.wait_job();
    agent.wait_for(&id, "done");
    let length = begun.elapsed();
    agent.stop();
    scene.forget();

    let (mut dice, mut killed, mut runs) = (Dice::new("moments"), 0, 0);
    while killed < kills {
        let mut agent = scene.start_unready();
        let done = lives_until(&mut agent, dice.moment(length));
        if done || killed + 1 == kills {
            agent.kill();
            goes_on_to_its_end(&mut scene, disk, "any moment");
            scene.forget();
            runs += 1;
        } else {
            agent.kill();
        }
        killed += 1;
    }
    eprintln!("{killed} kills in {runs} runs");
    assert_untouched(&scene.at("disk.img"), disk);
    Ok(())
}

/// Waits for the moment; whether the job is done before. A parked job is retried, as a person would do it.
fn lives_until(agent: &mut Agent, moment: Duration) -> bool {
    let end = Instant::now() + moment;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        let status = agent.try_status();
        let job = status.as_ref().and_then(|status| status.jobs.first());
        match job.map(|job| (job.job.state.name(), job.job.id.clone())) {
            Some(("done", _)) => return true,
            Some(("parked", id)) => drop(agent.act(Action::Retry { anew: false }, &id)),
            _ => {}
        }
        std::thread::park_timeout(left.min(Duration::from_millis(100)));
    }
    false
}

/// A volume of which hashing takes longer than this trial: its job never gets on.
fn poisoned(disk: &Disk) -> Result<(), Failed> {
    let mut scene = Scene::replaying(disk, 2, 0.0);
    scene.configure(&scene.loops.nodes(), "[evidence]\nfull_hash = true\n");
    let poison = scene.at("poison.img");
    scene.copy(disk, "poison.img");
    tool("truncate", &["--size=32G", poison.to_str().unwrap()]);
    scene.loops.detach(0);
    scene.loops.attach(0, &poison);
    let mut agent = scene.start();
    let bad = agent.wait_job();
    scene.loops.attach(1, &scene.at("disk.img"));
    let other = agent.wait("there are two jobs", |status| {
        let others = status.jobs.iter().map(|job| &job.job.id);
        others.into_iter().find(|id| **id != bad).cloned()
    });
    for crashes in 1..=3 {
        agent.wait_for(&bad, "running");
        agent.signal(Signal::SIGKILL);
        agent.wait_end();
        agent = scene.start();
        let job = agent.wait("there is the job", |status| {
            Some(find(status, &bad)?.job.clone())
        });
        assert_eq!(job.crashes, crashes);
    }
    agent.wait_for(&bad, "parked");
    let job = agent.wait_for(&other, "done").job;
    assert_timeline_of(disk, &job.folder);
    let shown = agent.command(&["status", &bad]);
    assert_eq!(shown.code, 5, "{}", shown.out);
    assert!(
        shown.out.contains(&format!("dfagent retry {bad}")),
        "{}",
        shown.out
    );
    let (status, _) = agent.stop();
    assert_eq!(status.code(), Some(0));
    scene.assert_nothing_left();
    Ok(())
}
