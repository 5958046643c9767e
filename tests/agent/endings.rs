//! What a person decided, and what a job has shown itself to be, holds whatever happens to the agent.

use libtest_mimic::{Failed, Trial};
use nix::sys::signal::Signal;

use dfagent::status::Action;

use crate::daemon::find;
use crate::disks::LazyDisk;
use crate::lab::trial;
use crate::needs;
use crate::scene::{Scene, assert_timeline_of};
use crate::volumes::{LONG, half_done, wait_second_slice};

pub fn trials(two: &LazyDisk) -> Vec<Trial> {
    let needs = needs();
    let (poison, reload, wishes) = (two.clone(), two.clone(), two.clone());
    vec![
        trial(
            "a_job_whose_second_slice_brings_the_agent_down_three_times_is_parked",
            &needs,
            move || poisoned_late(&poison),
        ),
        trial(
            "a_job_at_work_stays_when_the_configuration_does_not_take_its_volume_any_more",
            &needs,
            move || not_taken_any_more(&reload),
        ),
        trial(
            "a_cancelled_job_stays_cancelled_though_the_agent_is_killed_before_it_has_stopped",
            &needs,
            move || cancelled_and_killed(&wishes),
        ),
    ]
}

fn poisoned_late(disk: &LazyDisk) -> Result<(), Failed> {
    let (mut scene, mut agent, id) = half_done(disk);
    for crashes in 1..=3 {
        agent.signal(Signal::SIGKILL);
        agent.wait_end();
        agent = scene.start();
        let job = agent.wait("there is the job", |status| {
            Some(find(status, &id)?.job.clone())
        });
        assert_eq!(job.crashes, crashes, "{job:?}");
        if crashes < 3 {
            wait_second_slice(&agent, &id);
        }
    }
    agent.wait_for(&id, "parked");
    scene.set_delay(1, 0.0);
    agent.act(Action::Retry { anew: false }, &id).unwrap();
    let job = agent.wait_for(&id, "done").job;
    assert_timeline_of(disk.get(), &job.folder);
    Ok(())
}

fn not_taken_any_more(disk: &LazyDisk) -> Result<(), Failed> {
    let mut scene = Scene::replaying(disk.get(), 2, 0.0);
    scene.set_delay(1, LONG);
    let agent = scene.start();
    let id = agent.wait_job();
    wait_second_slice(&agent, &id);
    let read = agent.status().agent.configured;
    scene.configure(&["/dev/none".to_owned()], "");
    agent.wait("the new configuration is in force", |status| {
        (status.agent.configured != read).then_some(())
    });
    // The agent looks at the devices as soon as it has new rules; a change of them comes after that look.
    scene.loops.attach(1, &scene.at("disk.img"));
    agent.wait("the devices were looked at", |status| {
        let node = scene.loops.node(1);
        let mut ignored = status.ignored.iter();
        ignored
            .find(|one| one.node.as_os_str() == node.as_str())
            .map(|_| ())
    });
    let job = find(&agent.status(), &id).unwrap().job.clone();
    assert_eq!(job.state.name(), "running", "{job:?}");
    scene.set_delay(1, 0.0);
    let job = agent.wait_for(&id, "done").job;
    assert_eq!(job.starts, 1);
    assert_timeline_of(disk.get(), &job.folder);
    Ok(())
}

/// Whether it has stopped by the time of the kill or not, it is cancelled.
fn cancelled_and_killed(disk: &LazyDisk) -> Result<(), Failed> {
    let (mut scene, agent, id) = half_done(disk);
    agent.act(Action::Cancel, &id).unwrap();
    agent.signal(Signal::SIGKILL);
    agent.wait_end();
    let agent = scene.start();
    let job = agent.wait_for(&id, "cancelled").job;
    assert_eq!((job.starts, job.wish), (1, None));
    Ok(())
}
