//! Stopping, going on, and two agents at one job.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{HANGING, PARSERS, lab, running_plaso, sentence, standin};
use lab::{Finished, Need, documents, finish, job_folder, left_behind, manifest, trial};
use standin::{caged, dfagent_with, holds_within, make_source, seen_within};

/// `plaso.stop_grace_seconds`, and what everything else may take.
const GRACE: Duration = Duration::from_secs(15);
const BESIDE: Duration = Duration::from_secs(5);

pub fn trials() -> Vec<Trial> {
    let real = [Need::Root, Need::Plaso];
    vec![
        trial(
            "ctrl_c_stops_in_time_and_the_job_goes_on_to_the_same_timeline",
            &real,
            ctrl_c,
        ),
        trial(
            "a_hanging_plaso_does_not_outlive_the_grace_of_ctrl_c",
            &[Need::Root],
            ctrl_c_hanging,
        ),
        trial("a_finished_job_is_not_done_again", &real, done_before),
        trial(
            "a_second_agent_is_kept_from_a_job_at_work",
            &[Need::Root],
            second_agent,
        ),
        trial(
            "a_job_does_not_go_on_with_other_parsers",
            &[Need::Root],
            other_parsers,
        ),
    ]
}

fn start(command: &mut Command) -> Child {
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn wait(agent: Child) -> Finished {
    let done = agent.wait_with_output().unwrap();
    Finished {
        code: done.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&done.stdout).into_owned(),
        err: String::from_utf8_lossy(&done.stderr).into_owned(),
    }
}

/// Sends SIGINT and waits; how long that took.
fn interrupt(agent: Child) -> (Finished, Duration) {
    let begun = Instant::now();
    kill(
        Pid::from_raw(agent.id().try_into().unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    (wait(agent), begun.elapsed())
}

fn nothing_left(mark: &str) {
    let gone = holds_within(BESIDE, || {
        caged(mark).is_empty() && left_behind(mark).is_empty()
    });
    assert!(gone, "{:?} {:?}", caged(mark), left_behind(mark));
}

fn ctrl_c() -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    let (mark, out) = (work.path().to_str().unwrap(), work.path().join("out"));
    let mut words = make_source(work.path(), 2);
    words.extend(["--parsers".to_owned(), PARSERS.to_owned()]);
    let done = finish(lab::dfagent().args(&words));
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    let undisturbed = documents(&job_folder(&out).join("timeline.jsonl"));
    fs::remove_dir_all(&out)?;

    let one_by_one = [("PLASO__AT_ONCE", "1")];
    let mut command = lab::dfagent();
    standin::set(&mut command, &one_by_one);
    let agent = start(command.args(&words));
    // The first slice is finished and the second at work.
    let second = seen_within(HANGING, || {
        let first = job_folder_of(&out)?.join("slices/01-part/slice.json");
        first.exists().then(|| running_plaso(mark))?
    });
    assert!(second.is_some(), "a second slice is at work");
    let (done, took) = interrupt(agent);
    assert_eq!(done.code, 5, "{}{}", done.out, done.err);
    assert!(took < GRACE + BESIDE, "{took:?}");
    let last = done.err.lines().last().unwrap_or_default();
    assert!(
        last.contains("call the same command again to go on"),
        "{}",
        done.err
    );
    nothing_left(mark);

    let done = finish(lab::dfagent().args(&words));
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    assert!(done.err.contains("1 done before"), "{}", done.err);
    let manifest = manifest(&out);
    assert_eq!(manifest["verdict"]["level"], "complete");
    assert_eq!(manifest["resumed"], 1);
    let found = documents(&job_folder(&out).join("timeline.jsonl"));
    assert!(found == undisturbed, "the timeline of an undisturbed run");
    Ok(())
}

/// The job's folder, once it is there.
fn job_folder_of(out: &Path) -> Option<std::path::PathBuf> {
    Some(fs::read_dir(out).ok()?.next()?.ok()?.path())
}

/// An agent whose Plaso hangs, once that is at work.
fn hanging_agent(work: &Path, settings: &[(&str, &str)]) -> Child {
    let environment = standin::doing(&work.join("plaso"), "family");
    let agent = start(dfagent_with(&environment, settings).args(make_source(work, 1)));
    let mark = work.to_str().unwrap();
    let asleep = || {
        caged(mark)
            .iter()
            .any(|(_, words)| words.iter().any(|word| word == "86397"))
    };
    assert!(holds_within(HANGING, asleep), "the stand-in is at work");
    agent
}

fn ctrl_c_hanging() -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    // The stand-in heeds SIGINT, its children do not.
    let agent = hanging_agent(work.path(), &[("PLASO__STOP_GRACE_SECONDS", "2")]);
    let (done, took) = interrupt(agent);
    assert_eq!(done.code, 5, "{}{}", done.out, done.err);
    assert!(took < Duration::from_secs(2) + BESIDE, "{took:?}");
    nothing_left(work.path().to_str().unwrap());
    Ok(())
}

fn done_before() -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    let mut words = make_source(work.path(), 1);
    words.extend(["--parsers".to_owned(), PARSERS.to_owned()]);
    let done = finish(lab::dfagent().args(&words));
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    let job = job_folder(&work.path().join("out"));
    let about = || {
        ["manifest.json", "timeline.jsonl", "report.txt"].map(|name| {
            let about = fs::metadata(job.join(name)).unwrap();
            (about.len(), about.modified().unwrap())
        })
    };
    let before = about();
    let done = finish(lab::dfagent().args(&words));
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    assert!(
        done.out.contains("This job was done before"),
        "{}",
        done.out
    );
    assert!(!done.err.contains("slice"), "nothing is done: {}", done.err);
    assert_eq!(about(), before);
    Ok(())
}

fn second_agent() -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    let mut first = hanging_agent(work.path(), &[]);
    let mut command = dfagent_with(&work.path().join("plaso"), &[]);
    let done = finish(command.args(make_source(work.path(), 1)));
    let going_on = first.try_wait().unwrap().is_none();
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(done.code, 5, "{}{}", done.out, done.err);
    assert!(
        sentence(&done).contains("another dfagent is at it"),
        "{}",
        done.err
    );
    assert!(going_on, "the first agent goes on");
    nothing_left(work.path().to_str().unwrap());
    Ok(())
}

fn other_parsers() -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    let mut first = hanging_agent(work.path(), &[]);
    first.kill().unwrap();
    first.wait().unwrap();
    let mut command = dfagent_with(&work.path().join("plaso"), &[]);
    command
        .args(make_source(work.path(), 1))
        .args(["--parsers", "utmp"]);
    let done = finish(&mut command);
    assert_eq!(done.code, 5, "{}{}", done.out, done.err);
    let sentence = sentence(&done);
    assert!(
        sentence.contains("other parsers") && sentence.contains("another --to folder"),
        "{sentence}"
    );
    Ok(())
}
