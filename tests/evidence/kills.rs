//! Two runs at once, and runs that are killed at any moment.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use crate::case::{
    CLEANED_UP, Case, FEW_PATHS, HANGING, assert_custody, holds_within, in_job, timeline,
};
use crate::lab::dice::Dice;
use crate::lab::{self, Need, documents, job_folder, left_behind, manifest, trial};
use crate::states::maker;

pub fn trials() -> Vec<Trial> {
    let mut trials = twins();
    trials.extend(killed());
    trials
}

fn twins() -> Vec<Trial> {
    let pairs = [
        ("ext4", ["same-uuid-a", "same-uuid-b"]),
        ("xfs", ["same-uuid-xfs-a", "same-uuid-xfs-b"]),
    ];
    let trials = pairs.map(|(kind, names)| {
        let needs = [Need::Root, Need::Plaso, Need::Driver(kind), maker(kind)];
        trial(
            format!("two_{kind}_disks_with_one_uuid_are_read_at_once"),
            &needs,
            move || read_at_once(names),
        )
    });
    trials.into()
}

fn read_at_once(names: [&str; 2]) -> Result<(), Failed> {
    let cases = names.map(Case::of);
    let children = cases.each_ref().map(|case| {
        let mut command = case.command(&case.out(), &[FEW_PATHS]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    });
    // Both are at the same stage: filesystems mounted, slices at work.
    for case in &cases {
        assert!(
            holds_within(HANGING, || in_job(&case.out(), "plan.json")),
            "{names:?} get a plan"
        );
    }
    for (case, child) in cases.iter().zip(children) {
        let done = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&done.stdout);
        assert_eq!(done.status.code(), Some(0), "{said}");
        case.assert_untouched();
        assert_custody(&manifest(&case.out()));
        assert!(timeline(case).contains("Failed password"));
    }
    let uuids = cases
        .each_ref()
        .map(|case| manifest(&case.out())["filesystems"][0]["uuid"].clone());
    assert!(uuids[0].is_string());
    assert_eq!(uuids[0], uuids[1]);
    Ok(())
}

/// Kills for each of the two filesystems.
const KILLS: u32 = 25;

/// Three slices: two work at once and one waits, so a kill meets finished, running and future ones.
const THREE_SLICES: &[&[&str]] = &[
    &["/etc/hostname", "/root/[.]bash_history"],
    &["/var/log/auth[.]log"],
    &["/var/log/cron[.]log"],
];

fn killed() -> Vec<Trial> {
    let trials = [("ext4-clean", "ext4"), ("xfs-clean", "xfs")].map(|(image, kind)| {
        let needs = [Need::Root, Need::Plaso, Need::Driver(kind), maker(kind)];
        trial(
            format!("{KILLS}_kills_leave_{kind}_untouched_and_the_job_goes_on_to_its_end"),
            &needs,
            move || killed_and_untouched(image),
        )
    });
    trials.into()
}

/// A moment of a run. Probe, mounts and census are over in its first tenth, so the square makes early moments
/// likelier.
fn moment(dice: &mut Dice, length: Duration) -> Duration {
    let earliest = Duration::from_millis(50);
    earliest + length.saturating_sub(earliest).mul_f64(dice.roll().powi(2))
}

fn killed_and_untouched(image: &str) -> Result<(), Failed> {
    let case = Case::of(image);
    let begun = Instant::now();
    let undisturbed = case.at("undisturbed");
    let done = lab::finish(&mut case.command(&undisturbed, THREE_SLICES));
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    let length = begun.elapsed();
    let expected = documents(&job_folder(&undisturbed).join("timeline.jsonl"));

    let (mut dice, mut killed, mut with_cage, mut resumed) = (Dice::new(image), 0, 0, 0);
    let mut agents = Vec::new();
    while killed < KILLS {
        let mut command = case.command(&case.out(), THREE_SLICES);
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        agents.push(child.id());
        match kill_at(child, moment(&mut dice, length), case.mark()) {
            Some(cage) => {
                killed += 1;
                with_cage += u32::from(cage);
            }
            // It was at its end before the kill: a job finished in pieces. Another one is begun.
            None => resumed += finished_whole(&case, &expected),
        }
        case.assert_untouched();
    }
    let done = lab::finish(&mut case.command(&case.out(), THREE_SLICES));
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    resumed += finished_whole(&case, &expected);
    case.assert_untouched();
    assert!(
        with_cage >= KILLS / 4,
        "kills met cages at work: {with_cage}"
    );
    assert!(resumed >= KILLS / 4, "jobs went on after kills: {resumed}");
    assert_eq!(groups_of(&agents), Vec::<PathBuf>::new(), "control groups");
    eprintln!("{image}: {KILLS} kills, {with_cage} with a cage at work, {resumed} times gone on");
    Ok(())
}

/// Kills the agent at that moment and waits until everything of it is gone; whether a cage was at work.
/// None if the agent ended by itself before.
pub fn kill_at(mut child: Child, moment: Duration, mark: &str) -> Option<bool> {
    let agent = child.id();
    let mut status = None;
    holds_within(moment, || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    if let Some(status) = status {
        assert_eq!(status.code(), Some(0), "the agent ended by itself");
        return None;
    }
    let cage = !cage_of(agent, mark).is_empty();
    child.kill().unwrap();
    child.wait().unwrap();
    let gone = holds_within(CLEANED_UP, || {
        cage_of(agent, mark).is_empty() && left_behind(mark).is_empty()
    });
    assert!(
        gone,
        "after a kill at {moment:?}: {:?} {:?}",
        cage_of(agent, mark),
        left_behind(mark)
    );
    Some(cage)
}

/// Processes, besides the agent, that name a place of the trial in their arguments or mounts, or are in
/// a control group of the agent. One that is dead and waits for init to take note of it is none: it holds
/// neither files nor mounts, and how soon init looks is up to the host.
pub fn cage_of(agent: u32, mark: &str) -> Vec<String> {
    let group = format!("/dfagent/{agent}-");
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let others = pids.filter(|pid| *pid != agent && *pid != std::process::id());
    let found = others.filter_map(|pid| {
        let text = |name: &str| {
            let bytes = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let arguments = text("cmdline");
        let ours = arguments.contains(mark)
            || text("mountinfo").contains(mark)
            || text("cgroup").contains(&group);
        let stat = text("stat");
        let dead = stat.contains(") Z ") || stat.contains(") X ") || stat.is_empty();
        (ours && !dead).then(|| format!("{arguments}: {}", stat.trim()))
    });
    found.collect()
}

/// Control groups of agents that are gone, if there is a cgroup v2 hierarchy.
fn groups_of(agents: &[u32]) -> Vec<PathBuf> {
    let folders = ["/sys/fs/cgroup/dfagent", "/sys/fs/cgroup/unified/dfagent"];
    let entries = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok());
    let paths = entries.flatten().flatten().map(|entry| entry.path());
    paths
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            agents
                .iter()
                .any(|agent| name.starts_with(&format!("{agent}-")))
        })
        .collect()
}

/// The finished job has the timeline of an undisturbed one; removes it, says how often it was gone on with.
fn finished_whole(case: &Case, expected: &[String]) -> u32 {
    let manifest = manifest(&case.out());
    assert_custody(&manifest);
    assert_eq!(manifest["verdict"]["level"], "complete");
    let found = documents(&job_folder(&case.out()).join("timeline.jsonl"));
    assert!(found == expected, "the timeline of an undisturbed run");
    fs::remove_dir_all(case.out()).unwrap();
    manifest["resumed"].as_u64().unwrap().try_into().unwrap()
}
