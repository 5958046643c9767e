//! How work in a cage ends, by itself and with the agent.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde_json::{Value, json};

use crate::lab::{self, Need, finish, job_folder, trial};
use crate::standin::{self, caged, holds_within, make_source};

/// How long the kernel may take to clean up after a process that was killed.
const AT_ONCE: Duration = Duration::from_secs(2);
/// How long anything else may take before it counts as hanging.
const HANGING: Duration = Duration::from_secs(60);

pub fn trials() -> Vec<Trial> {
    let memory = holds_memory();
    vec![
        ended(
            "an_exit_code",
            "exit_3",
            &[],
            &json!({"how": "exited", "code": 3}),
        ),
        ended(
            "a_signal",
            "segmentation_fault",
            &[],
            &json!({"how": "signaled", "signal": 11}),
        ),
        ended(
            "the_time_limit",
            "hang",
            &[("PLASO__SLICE_LIMIT_SECONDS", "2")],
            &json!({"how": "timed_out"}),
        ),
        ended(
            "the_memory_limit_of_a_process",
            "take_memory",
            &[("CAGE__MEMORY_MIB", "512")],
            &json!({"how": "exited", "code": 42}),
        ),
        trial(
            "how_a_slice_ends_is_told_apart: the_memory_limit_of_all_processes",
            &[
                Need::Root,
                Need::Other(memory, "a cgroup v2 hierarchy with the memory controller"),
            ],
            || {
                ends(
                    "take_memory_of_many",
                    &[("CAGE__MEMORY_MIB", "512")],
                    &json!({"how": "out_of_memory"}),
                )
            },
        ),
        trial("output_without_end_is_not_kept", &[Need::Root], flood),
        trial(
            "cages_at_once_have_no_descriptor_of_each_other_or_of_the_agent_s_caller",
            &[Need::Root],
            two_at_once,
        ),
        trial(
            "killing_the_agent_ends_everything_inside_at_once",
            &[Need::Root],
            agent_killed,
        ),
    ]
}

/// Whether the memory of a whole cage can be limited here.
fn holds_memory() -> bool {
    dfagent::cage::cgroup::CgroupRoot::find(dfagent::cage::cgroup::Weights { cpu: 100, io: 100 })
        .is_some_and(|root| root.holds_memory())
}

fn ended(
    name: &str,
    deed: &'static str,
    settings: &'static [(&'static str, &'static str)],
    how: &Value,
) -> Trial {
    let how = how.clone();
    trial(
        format!("how_a_slice_ends_is_told_apart: {name}"),
        &[Need::Root],
        move || ends(deed, settings, &how),
    )
}

fn ends(deed: &str, settings: &[(&str, &str)], how: &Value) -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    let environment = standin::doing(&work.path().join("plaso"), deed);
    let mut command = standin::dfagent_with(&environment, settings);
    let done = finish(command.args(make_source(work.path(), 1)));
    assert_eq!(done.code, 1, "{}{}", done.out, done.err);
    let manifest = lab::manifest(&work.path().join("out"));
    assert_eq!(&manifest["slices"][0]["ended"], how, "{}", done.err);
    assert_eq!(manifest["verdict"]["level"], "failed");
    Ok(())
}

fn flood() -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    let environment = standin::doing(&work.path().join("plaso"), "flood");
    let mut command = standin::dfagent_with(&environment, &[]);
    let done = finish(command.args(make_source(work.path(), 1)));
    assert_eq!(done.code, 1, "{}{}", done.out, done.err);
    assert!(
        !done.err.contains('\x1b') && done.err.len() < 10_000,
        "{}",
        done.err.len()
    );
    Ok(())
}

fn two_at_once() -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    let environment = standin::doing(&work.path().join("plaso"), "descriptors");
    // Open in the agent from its start.
    let _inherited = memfd_create("inherited", MFdFlags::empty())?;
    let mut command = standin::dfagent_with(&environment, &[("PLASO__AT_ONCE", "2")]);
    let done = finish(command.args(make_source(work.path(), 2)));
    let slices = fs::read_dir(job_folder(&work.path().join("out")).join("slices"))?;
    let mut count = 0;
    for slice in slices {
        let text = fs::read_to_string(slice?.path().join("log2timeline.log.gz"))?;
        assert_eq!(text, "{}", "{}", done.err);
        count += 1;
    }
    assert_eq!(count, 2);
    Ok(())
}

fn agent_killed() -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    let mark = work.path().to_str().unwrap().to_owned();
    let environment = standin::doing(&work.path().join("plaso"), "family");
    let mut command = standin::dfagent_with(&environment, &[]);
    command.args(make_source(work.path(), 1));
    let mut agent = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let sleeping = || {
        let all = caged(&mark);
        all.iter()
            .filter(|(_, words)| words.iter().any(|word| word == "86397"))
            .count()
    };
    let begun = holds_within(HANGING, || sleeping() == 10);
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert!(begun, "ten processes were at work inside");
    assert!(
        holds_within(AT_ONCE, || caged(&mark).is_empty()),
        "{:?}",
        caged(&mark)
    );
    assert_eq!(lab::left_behind(&mark), Vec::<String>::new());
    Ok(())
}
