//! How the agent begins, ends and is told of: exit codes, what a service manager hears, who is late at a stop, what
//! its ledger says when it is down, and when it switches the machine off.

use std::fs;
use std::process::ExitStatus;
use std::time::Instant;

use dfagent::status::{Action, Status};
use libtest_mimic::{Failed, Trial};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::daemon::{Agent, HANGING, find, own_program, pause};
use crate::disks::{Disk, LazyDisk};
use crate::lab::{self, trial};
use crate::needs;
use crate::scene::{Scene, assert_timeline_of};
use crate::settings::open_folder;
use crate::volumes::assert_fits;

/// How long a slice takes that has to be met at work.
const LONG: f64 = 600.0;

/// What the log says when the machine is switched off.
const OFF: &str = "switching the machine off";

pub fn trials(one: &LazyDisk, two: &LazyDisk) -> Vec<Trial> {
    let needs = needs();
    let made = |name: &str, disk: &LazyDisk, test: fn(&LazyDisk) -> Result<(), Failed>| {
        let disk = disk.clone();
        trial(name, &needs, move || test(&disk))
    };
    vec![
        made(
            "what_it_cannot_begin_with_decides_its_exit_code",
            one,
            cannot_begin,
        ),
        made(
            "the_service_manager_hears_of_work_a_reload_and_the_end",
            two,
            told,
        ),
        made(
            "a_killed_agent_s_ledger_says_what_the_agent_said",
            two,
            offline,
        ),
        made(
            "a_job_and_a_hook_that_do_not_stop_in_time_are_named_and_ended",
            one,
            late,
        ),
        made("a_second_signal_ends_it_at_once", one, twice),
        made(
            "the_machine_stays_on_while_somebody_is_needed",
            one,
            stays_on,
        ),
        made(
            "the_grace_period_begins_anew_when_a_wrong_configuration_is_mended",
            one,
            grace_anew,
        ),
        made(
            "a_machine_that_cannot_be_switched_off_is_shown",
            one,
            cannot_go_off,
        ),
    ]
}

/// How `dfagent run` ends that cannot begin, and what it says.
fn refused(scene: &Scene) -> lab::Finished {
    let mut command = own_program();
    lab::finish(command.arg("--config").arg(scene.config()).arg("run"))
}

fn cannot_begin(disk: &LazyDisk) -> Result<(), Failed> {
    let scene = Scene::replaying(disk.get(), 1, 0.0);
    let filter = scene.at("filters/00-part.yaml");
    let good = fs::read(&filter)?;
    fs::write(&filter, "type: sideways\n")?;
    let ended = refused(&scene);
    assert_eq!(ended.code, 78, "a wrong filter: {}", ended.err);
    assert!(ended.err.contains("00-part.yaml"), "{}", ended.err);
    fs::write(&filter, good)?;

    fs::remove_file(scene.at("plaso/bin/log2timeline"))?;
    let ended = refused(&scene);
    assert_eq!(ended.code, 5, "no Plaso: {}", ended.err);
    assert!(ended.err.contains("Plaso"), "{}", ended.err);

    scene.configure_with(&[("[agent]", "stop_limit = 1")], "");
    let ended = refused(&scene);
    assert_eq!(ended.code, 78, "a wrong key: {}", ended.err);
    Ok(())
}

/// Looks again and again until something holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + HANGING;
    while !holds() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        pause();
    }
}

fn told(disk: &LazyDisk) -> Result<(), Failed> {
    let scene = Scene::replaying(disk.get(), 1, 0.0);
    scene.set_delay(1, LONG);
    let mut command = own_program();
    // The service manager waits four seconds, so it is fed once a second at the most.
    command.env("WATCHDOG_USEC", "4000000");
    let mut agent = Agent::start_by(&mut command, &scene.config());
    assert!(agent.is_ready(), "{}", agent.log_text());
    let said = agent.said();
    let id = agent.wait_job();
    agent.wait("the first slice is done", |status| {
        (find(status, &id)?.progress.as_ref()?.slices_done == 1).then_some(())
    });
    let before = said.count("WATCHDOG=1");
    until(
        "the watchdog is fed while the second slice is at work",
        || said.count("WATCHDOG=1") >= before + 2,
    );

    assert_eq!(said.count("RELOADING=1"), 0);
    agent.signal(Signal::SIGHUP);
    until("it is ready again", || {
        let reloading = said.last("RELOADING=1");
        reloading.is_some() && said.last("READY=1") > reloading
    });

    assert_eq!(said.count("STOPPING=1"), 0);
    let (status, _) = agent.stop();
    assert_eq!(status.code(), Some(0));
    assert_eq!(said.count("STOPPING=1"), 1);
    assert!(said.last("STOPPING=1") > said.last("READY=1"));
    Ok(())
}

/// The agent's own words about a job that is done, for as long as nothing changes.
fn words(status: &Status, id: &str) -> (Value, Value) {
    let job = serde_json::to_value(find(status, id).unwrap()).unwrap();
    let tasks = serde_json::to_value(&status.needs_operator).unwrap();
    (job["result"].clone(), tasks)
}

fn offline(disk: &LazyDisk) -> Result<(), Failed> {
    let mut scene = Scene::replaying(disk.get(), 2, 0.0);
    scene.configure_with(&[], "[hook.wrong]\nrun = [\"/bin/false\"]\n");
    let agent = scene.start();
    let done = agent.wait_job();
    agent.wait("the hook has failed", |status| {
        (!status.needs_operator.is_empty()).then_some(())
    });
    scene.set_delay(1, LONG);
    scene.copy(disk.get(), "other.img");
    scene.loops.attach(1, &scene.at("other.img"));
    let open = agent.wait("the other one is half done", |status| {
        let other = status.jobs.iter().find(|one| one.job.id != done)?;
        let progress = other.progress.as_ref()?;
        (progress.slices_done == 1 && !progress.at_work.is_empty()).then(|| other.job.id.clone())
    });
    let (result, tasks) = words(&agent.status(), &done);
    assert_eq!(result["documents"], disk.get().documents.len());
    agent.signal(Signal::SIGKILL);
    agent.wait_end();

    let ask = |words: &[&str]| {
        let mut command = own_program();
        lab::finish(command.arg("--config").arg(scene.config()).args(words))
    };
    let shown = ask(&["status"]);
    assert_eq!(shown.code, 4, "{}", shown.err);
    for word in ["NOT RUNNING", &done, &open, "the hook wrong failed"] {
        assert!(shown.out.contains(word), "{word}: {}", shown.out);
    }
    let shown = ask(&["status", "--json"]);
    assert_eq!(shown.code, 4, "{}", shown.err);
    assert_fits(&shown.out);
    let status: Status = serde_json::from_str(&shown.out)?;
    assert!(!status.agent.running);
    let order: Vec<&str> = status.jobs.iter().map(|one| one.job.id.as_str()).collect();
    assert_eq!(order, [&open, &done], "what is at work comes first");
    assert_eq!(words(&status, &done), (result, tasks));
    Ok(())
}

/// Its end, which must come before it would count as hanging.
fn end_of(mut agent: Agent) -> (ExitStatus, String) {
    until("it has ended", || agent.has_ended());
    let log = agent.log_text();
    (agent.wait_end(), log)
}

/// A slice that heeds no wish to stop, and so many seconds for stopping in order.
fn deaf(disk: &Disk, volumes: usize, seconds: u32, more: &str) -> Scene {
    let scene = Scene::replaying(disk, volumes, LONG);
    scene.make_deaf(0);
    let limit = format!("stop_limit_seconds = {seconds}");
    let keys = [
        ("[agent]", limit.as_str()),
        ("[plaso]", "stop_grace_seconds = 3600"),
    ];
    scene.configure_with(&keys, more);
    scene
}

/// Waits until the slice says what it reads: it heeds nothing any more then.
fn wait_deaf(agent: &Agent, id: &str) {
    agent.wait("the slice reads a file", |status| {
        let slice = find(status, id)?.progress.as_ref()?.at_work.first()?;
        (!slice.file.is_empty()).then_some(())
    });
}

fn late(disk: &LazyDisk) -> Result<(), Failed> {
    let disk = disk.get();
    let hook = "[hook.slow]\nrun = [\"/usr/bin/sleep\", \"3600\"]\nlimit_seconds = 3600\n";
    let mut scene = deaf(disk, 2, 1, hook);
    scene.set_delay(0, 0.0);
    let agent = scene.start();
    let done = agent.wait_job();
    agent.wait_for(&done, "done");
    scene.set_delay(0, LONG);
    scene.copy(disk, "other.img");
    scene.loops.attach(1, &scene.at("other.img"));
    let open = agent.wait("there is another job", |status| {
        let mut others = status.jobs.iter().filter(|one| one.job.id != done);
        others.next().map(|one| one.job.id.clone())
    });
    wait_deaf(&agent, &open);
    agent.signal(Signal::SIGTERM);
    let (status, log) = end_of(agent);
    assert_eq!(status.code(), Some(0), "{log}");
    let named = format!("ended what did not stop in time: {open}, the hook slow of {done}");
    assert!(log.contains(&named), "{named}: {log}");
    let jobs = dfagent::ledger::read_only(&scene.ledger())?;
    let state = |id: &str| jobs.iter().find(|job| job.id == id).unwrap().state.name();
    assert_eq!((state(&open), state(&done)), ("interrupted", "done"));
    Ok(())
}

fn twice(disk: &LazyDisk) -> Result<(), Failed> {
    let mut scene = deaf(disk.get(), 1, 3600, "");
    let agent = scene.start();
    let id = agent.wait_job();
    wait_deaf(&agent, &id);
    agent.signal(Signal::SIGTERM);
    agent.wait("it stops in order", |status| {
        (status.agent.state == "stopping").then_some(())
    });
    agent.signal(Signal::SIGTERM);
    let (status, log) = end_of(agent);
    assert_eq!(status.code(), Some(0), "{log}");
    let named = format!("ended what did not stop in time: {id}");
    assert!(log.contains(&named), "{log}");

    scene.set_delay(0, 0.0);
    let agent = scene.start();
    let job = agent.wait_for(&id, "done").job;
    assert_timeline_of(disk.get(), &job.folder);
    agent.stop();
    scene.assert_nothing_left();
    Ok(())
}

/// `[power]` with a command that leaves a file.
fn power(scene: &Scene, grace_seconds: u32) -> String {
    let file = scene.at("off");
    power_by(&["/usr/bin/touch", file.to_str().unwrap()], grace_seconds)
}

fn power_by(command: &[&str], grace_seconds: u32) -> String {
    format!(
        "[power]\noff_when_idle = true\ngrace_seconds = {grace_seconds}\ncommand = {command:?}\n"
    )
}

/// Without a grace period the end of a hook is the moment to switch off, unless what it left is seen at that moment.
fn stays_on(disk: &LazyDisk) -> Result<(), Failed> {
    let mut scene = Scene::replaying(disk.get(), 1, 0.0);
    let folder = open_folder();
    let ticket = folder.path().join("ticket");
    let hook = format!("[hook.ticket]\nrun = [\"/usr/bin/test\", \"-e\", {ticket:?}]\n");
    scene.configure_with(&[], &(hook + &power(&scene, 0)));
    let agent = scene.start();
    let id = agent.wait_job();
    agent.wait("the hook has failed", |status| {
        (!status.needs_operator.is_empty()).then_some(())
    });
    assert!(!agent.log_text().contains(OFF), "{}", agent.log_text());

    fs::write(&ticket, "")?;
    agent.act(Action::Retry { anew: true }, &id).unwrap();
    until("the machine is off", || scene.at("off").exists());
    let job = agent.wait_for(&id, "done").job;
    assert_timeline_of(disk.get(), &job.folder);
    assert_eq!(agent.log_text().matches(OFF).count(), 1, "once");
    Ok(())
}

/// When the machine goes off by what `status` says, in seconds.
fn goes_off_at(agent: &Agent) -> i64 {
    let at = agent.wait("it is said when the machine goes off", |status| {
        status.agent.power_off_at.clone()
    });
    let at: jiff::Timestamp = at.parse().unwrap();
    at.as_second()
}

fn grace_anew(disk: &LazyDisk) -> Result<(), Failed> {
    let mut scene = Scene::replaying(disk.get(), 1, 0.0);
    scene.configure_with(&[], &power(&scene, 3600));
    let agent = scene.start();
    let first = goes_off_at(&agent);
    scene.configure_with(&[("[agent]", "stop_limit = 1")], "");
    agent.wait("somebody is needed", |status| {
        let stays = status.agent.power_off_at.is_none();
        (stays && !status.needs_operator.is_empty()).then_some(())
    });
    scene.configure_with(&[], &power(&scene, 3600));
    let second = goes_off_at(&agent);
    // Two changes of the configuration take a second.
    assert!(second > first, "{first} {second}");

    scene.configure_with(&[], &power(&scene, 1));
    until("the machine is off", || scene.at("off").exists());
    Ok(())
}

fn cannot_go_off(disk: &LazyDisk) -> Result<(), Failed> {
    let mut scene = Scene::replaying(disk.get(), 1, 0.0);
    scene.configure_with(&[], &power_by(&["/bin/false"], 0));
    let agent = scene.start();
    let why = agent.wait("the failure is shown", |status| {
        Some(status.needs_operator.first()?.why.clone())
    });
    assert!(
        why.contains("the machine stays on") && why.contains("/bin/false"),
        "{why}"
    );
    assert!(agent.status().agent.power_off_at.is_some(), "tried again");
    scene.configure_with(&[], &power(&scene, 0));
    until("the machine is off", || scene.at("off").exists());
    agent.wait("nobody is needed any more", |status| {
        status.needs_operator.is_empty().then_some(())
    });
    Ok(())
}
