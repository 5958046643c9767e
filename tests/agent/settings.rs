//! The configuration is changed while the agent runs, and programs of the operator follow a job.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};
use nix::sys::signal::Signal;

use crate::daemon::find;
use crate::disks::{Disk, LazyDisk, make};
use crate::lab::trial;
use crate::needs;
use crate::scene::{Scene, mark_of};

pub fn trials(one: &LazyDisk) -> Vec<Trial> {
    let needs = needs();
    let (reload, hang_up, hooks) = (one.clone(), one.clone(), one.clone());
    vec![
        trial(
            "a_changed_configuration_is_taken_up_and_a_bad_one_is_refused_by_file_and_line",
            &needs,
            move || changed(reload.get()),
        ),
        trial("sighup_reads_the_configuration_again", &needs, move || {
            hung_up(hang_up.get())
        }),
        trial(
            "a_hook_runs_once_as_nobody_with_the_facts_and_its_failure_is_shown",
            &needs,
            move || hooked(hooks.get()),
        ),
    ]
}

fn changed(disk: &Disk) -> Result<(), Failed> {
    let mut scene = Scene::replaying(disk, 2, 0.0);
    let nodes = scene.loops.nodes();
    make(&scene.at("other.img"), 2, disk.logs);
    scene.loops.attach(1, &scene.at("other.img"));
    scene.configure(&nodes[..1], "");
    let agent = scene.start();
    agent.wait_done(1);
    agent.wait("the other one is not ours", |status| {
        let other = status
            .ignored
            .iter()
            .find(|one| one.node == Path::new(&nodes[1]))?;
        other
            .reason
            .contains("no [attach] table lists that")
            .then_some(())
    });
    let pid = agent.status().agent.pid;

    scene.configure(&nodes, "");
    agent.wait_done(2);
    assert_eq!(agent.status().agent.pid, pid, "without a restart");

    let good = scene.configuration(&nodes, "");
    let bad = good.replace("at_once = 1", "at_onze = 1");
    let line = 1 + bad
        .lines()
        .position(|line| line.contains("at_onze"))
        .unwrap();
    fs::write(scene.config(), &bad)?;
    let why = agent.wait("the bad one is refused", |status| {
        status.agent.refused_configuration.clone()
    });
    let place = format!("{}, line {line}", scene.config().display());
    assert!(why.contains(&place), "{why}");
    let status = agent.status();
    let task = status
        .needs_operator
        .iter()
        .find(|task| task.why.contains(&place));
    assert!(task.is_some(), "{:#?}", status.needs_operator);

    // What was in force still is.
    scene.loops.detach(1);
    fs::remove_file(scene.at("other.img"))?;
    make(&scene.at("third.img"), 3, disk.logs);
    scene.loops.attach(1, &scene.at("third.img"));
    agent.wait_done(3);
    scene.configure(&nodes, "");
    agent.wait("the good one is in force", |status| {
        status.agent.refused_configuration.is_none().then_some(())
    });
    Ok(())
}

fn hung_up(disk: &Disk) -> Result<(), Failed> {
    let mut scene = Scene::replaying(disk, 1, 0.0);
    let agent = scene.start();
    agent.wait_done(1);
    // Plaso is looked at, and not watched: nothing but the signal tells of it.
    let (program, gone) = ("plaso/bin/log2timeline", "plaso/bin/gone");
    fs::rename(scene.at(program), scene.at(gone))?;
    agent.signal(Signal::SIGHUP);
    let why = agent.wait("Plaso is missed", |status| {
        status.agent.refused_configuration.clone()
    });
    assert!(why.contains("Plaso"), "{why}");
    fs::rename(scene.at(gone), scene.at(program))?;
    agent.signal(Signal::SIGHUP);
    agent.wait("Plaso is found", |status| {
        status.agent.refused_configuration.is_none().then_some(())
    });
    Ok(())
}

/// A folder that everybody may use.
pub fn open_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    folder
}

fn hook_script(folder: &Path) -> PathBuf {
    let script = folder.join("hook.sh");
    let out = folder.join("said");
    let text = format!(
        "#!/bin/sh\n{{ id -un; printf '%s\\n' \"$@\"; env | sort; }} >>{}\n",
        out.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script
}

fn hooked(disk: &Disk) -> Result<(), Failed> {
    let mut scene = Scene::replaying(disk, 1, 0.0);
    let folder = open_folder();
    let script = hook_script(folder.path());
    let tables = format!(
        "case = \"a 'case'; $(id)\"\n\
         [hook.note]\nrun = [\"{}\", \"{{volume}}\", \"{{case}}\", \"{{verdict}}\"]\n\
         [hook.wrong]\nrun = [\"/bin/sh\", \"-c\", \"echo no ticket; exit 7\"]\n\
         [hook.other]\non = [\"failed\"]\nrun = [\"/bin/false\"]\n",
        script.display()
    );
    scene.configure(&scene.loops.nodes(), &tables);
    let agent = scene.start();
    let id = agent.wait_job();
    let job = agent.wait("both hooks have run", |status| {
        let job = find(status, &id)?;
        (job.job.hooks_done.len() == 2).then(|| job.job.clone())
    });
    let node = scene.loops.node(0);
    let said = fs::read_to_string(folder.path().join("said"))?;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..4], ["nobody", &id, "a 'case'; $(id)", "complete"]);
    for fact in [
        format!("DFAGENT_NODE={node}"),
        format!("DFAGENT_FOLDER={}", job.folder.display()),
    ] {
        assert!(lines.contains(&fact.as_str()), "{fact} is not in {said}");
    }
    assert!(!said.contains("NOTIFY_SOCKET"), "{said}");
    let status = agent.status();
    let told = status
        .needs_operator
        .iter()
        .find(|task| task.why.contains("the hook wrong failed"));
    let why = &told.expect("the failure is shown").why;
    assert!(
        why.contains("exit code 7") && why.contains("no ticket"),
        "{why}"
    );

    let before = mark_of(&folder.path().join("said"));
    agent.stop();
    let agent = scene.start();
    agent.wait("it is attached again", |status| {
        find(status, &id)?.attached.then_some(())
    });
    let (status, _) = agent.stop();
    assert_eq!(status.code(), Some(0));
    assert_eq!(mark_of(&folder.path().join("said")), before, "once only");
    Ok(())
}
