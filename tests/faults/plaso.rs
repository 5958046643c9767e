//! A Plaso that is missing, too old, killed, or hangs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use libtest_mimic::{Failed, Trial};
use nix::sys::signal::{Signal, kill};

use super::{HANGING, PARSERS, count, lab, reason, running_plaso, sentence, standin, timeline};
use lab::{Need, finish, manifest, reasons, tool, trial};
use standin::{LINES, dfagent_with, make_source, seen_within};

pub fn trials() -> Vec<Trial> {
    let counted = dfagent::cage::cgroup::CgroupRoot::find(dfagent::cage::cgroup::Weights {
        cpu: 100,
        io: 100,
    })
    .is_some();
    let hang = [
        Need::Root,
        Need::Plaso,
        Need::Other(counted, "a cgroup v2 hierarchy that counts CPU time"),
    ];
    vec![
        trial(
            "a_missing_plaso_is_a_sentence_and_code_5",
            &[Need::Root],
            missing,
        ),
        trial(
            "an_old_plaso_is_a_sentence_and_code_5",
            &[Need::Root],
            too_old,
        ),
        trial(
            "a_silent_plaso_is_a_sentence_and_code_5",
            &[Need::Root],
            silent,
        ),
        trial(
            "a_killed_plaso_costs_its_slice_and_no_other",
            &[Need::Root, Need::Plaso],
            killed,
        ),
        trial("a_hanging_plaso_costs_the_file_it_hangs_on", &hang, hanging),
    ]
}

/// Refused before a job is begun.
fn refused(environment: &Path, work: &Path, words: &[&str]) -> Result<(), Failed> {
    let done = finish(dfagent_with(environment, &[]).args(make_source(work, 1)));
    assert_eq!(done.code, 5, "{}{}", done.out, done.err);
    assert_eq!(done.err.lines().count(), 1, "{}", done.err);
    for word in words {
        assert!(
            sentence(&done).contains(word),
            "{word:?} is not in: {}",
            done.err
        );
    }
    let begun = fs::read_dir(work.join("out"))?.count();
    assert_eq!(begun, 0, "no job is begun");
    Ok(())
}

fn missing() -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    let nowhere = work.path().join("nowhere");
    refused(
        &nowhere,
        work.path(),
        &["find Plaso", "/nowhere", "make setup"],
    )
}

fn too_old() -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    let old = standin::make(&work.path().join("plaso"), 20_240_308, "/bin/true");
    refused(&old, work.path(), &["Plaso 20240308", "20260720"])
}

fn silent() -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    let place = standin::make(&work.path().join("plaso"), standin::GOOD, "/bin/true");
    fs::write(
        place.join("bin/python"),
        "#!/bin/sh\necho 'no module named plaso' >&2\nexit 1\n",
    )?;
    refused(
        &place,
        work.path(),
        &["ask Plaso in", "no module named plaso"],
    )
}

fn killed() -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    let mark = work.path().to_str().unwrap().to_owned();
    let mut command = lab::dfagent();
    standin::set(&mut command, &[("PLASO__AT_ONCE", "1")]);
    command
        .args(make_source(work.path(), 2))
        .args(["--parsers", PARSERS]);
    let agent = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let plaso = seen_within(HANGING, || running_plaso(&mark)).expect("Plaso is at work");
    kill(plaso, Signal::SIGKILL)?;
    let done = agent.wait_with_output()?;
    let err = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(3), "{err}");

    let out = work.path().join("out");
    let manifest = manifest(&out);
    let slices = manifest["slices"].as_array().unwrap();
    assert_eq!(slices.len(), 2);
    assert_eq!(slices[0]["verdict"]["level"], "failed");
    assert_eq!(
        slices[0]["ended"],
        serde_json::json!({"how": "signaled", "signal": 9})
    );
    assert_eq!(slices[1]["verdict"]["level"], "complete");
    let name = slices[0]["name"].as_str().unwrap();
    let said = reason(&manifest, "ended");
    assert!(
        said.contains(name) && said.contains("killed by signal 9"),
        "{said}"
    );
    assert_eq!(count(&timeline(&out), "of log 1"), LINES);
    assert_eq!(count(&timeline(&out), "of log 0"), 0);
    Ok(())
}

/// The checkout's Plaso with hang.py in the place of log2timeline.
fn hanging_environment(folder: &Path) -> PathBuf {
    let place = folder.join("plaso");
    let from = fs::canonicalize(lab::plaso()).unwrap();
    tool(
        "cp",
        &[
            "-a".as_ref(),
            "--reflink=auto".as_ref(),
            from.as_os_str(),
            place.as_os_str(),
        ],
    );
    let script = place.join("bin/log2timeline");
    fs::rename(&script, place.join("bin/log2timeline.real")).unwrap();
    fs::copy(lab::root().join("tests/faults/hang.py"), &script).unwrap();
    place
}

fn hanging() -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    let environment = hanging_environment(work.path());
    let limits = [
        ("PLASO__IDLE_LIMIT_SECONDS", "4"),
        ("PLASO__BUSY_LIMIT_SECONDS", "60"),
    ];
    let mut command = dfagent_with(&environment, &limits);
    command
        .args(make_source(work.path(), 1))
        .args(["--parsers", PARSERS]);
    let filter = work.path().join("00-part.yaml");
    fs::write(&filter, "type: include\npaths:\n- /var/log\n")?;
    let other = work.path().join("tree/var/log/log1");
    fs::copy(work.path().join("tree/var/log/log0"), other)?;
    let begun = Instant::now();
    let done = finish(&mut command);
    assert_eq!(done.code, 3, "{}{}", done.out, done.err);
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());

    let out = work.path().join("out");
    let manifest = manifest(&out);
    assert_eq!(reasons(&manifest), ["stalled"]);
    let said = reason(&manifest, "stalled");
    assert!(
        said.contains(r#"["/var/log/log0"]"#) && said.contains("nothing happened"),
        "{said}"
    );
    assert_eq!(manifest["slices"][0]["attempts"], 2);
    assert_eq!(
        count(&timeline(&out), "line 1 of log 0"),
        1,
        "of the other file only"
    );
    Ok(())
}
