//! The agent and EC2: the trial plays delivery and writes down what EC2 says; the agent itself has no network.

use std::fs;

use dfagent::delivery::outbox::Outbox;
use dfagent::ec2::cloud::{Cloud, Instance, Notice, NoticeKind, SCHEMA, Tags};
use libtest_mimic::{Failed, Trial};

use crate::disks::{Disk, LazyDisk};
use crate::lab::{Need, trial};
use crate::needs;
use crate::scene::Scene;
use crate::volumes::wait_at_work;

const DOCUMENT: &str =
    "{\n  \"instanceId\" : \"i-0123456789abcdef0\",\n  \"region\" : \"eu-central-1\"\n}";
const EC2: &str = "[ec2]\nuse = \"yes\"\n";

pub fn trials(two: &LazyDisk) -> Vec<Trial> {
    let needs = needs();
    let mut traced = needs.clone();
    traced.push(Need::Program("strace"));
    let (told, silent) = (two.clone(), two.clone());
    vec![
        trial(
            "an_interruption_stops_a_job_in_order_before_its_time_and_it_goes_on_when_that_is_taken_back",
            &needs,
            move || interrupted(told.get()),
        ),
        trial(
            "the_agent_and_all_that_it_starts_open_no_socket_of_the_network",
            &traced,
            move || no_network(silent.get()),
        ),
    ]
}

fn said(notice: Option<Notice>) -> Cloud {
    Cloud {
        schema: SCHEMA.to_owned(),
        instance: Instance::of(DOCUMENT.as_bytes(), b"c2lnbmVk\n"),
        tags: Tags {
            case: Some("tagged\u{1b}[2J".to_owned()),
            sketch: None,
        },
        notice,
        ..Cloud::default()
    }
}

fn notice(time: &str) -> Notice {
    Notice {
        kind: NoticeKind::Interruption,
        action: "terminate".to_owned(),
        time: Some(time.to_owned()),
    }
}

fn interrupted(disk: &Disk) -> Result<(), Failed> {
    let mut scene = Scene::replaying(disk, 1, 60.0);
    scene.configure(
        &scene.loops.nodes(),
        &format!("case = \"configured\"\n{EC2}"),
    );
    let outbox = Outbox::at(scene.directory(), None);
    let agent = scene.start();
    let id = agent.wait_job();
    wait_at_work(&agent, &id);
    let pid = agent.status().agent.pid;

    // There is time left: nothing new is begun, what runs goes on.
    outbox.keep_cloud(&said(Some(notice("2999-01-01T00:00:00Z"))))?;
    agent.wait("it is said", |status| {
        let task = status.needs_operator.first()?;
        task.why
            .contains("will terminate this instance at 2999")
            .then_some(())
    });
    let job = agent.wait_for(&id, "running");
    assert!(
        job.job.case.as_ref().unwrap().starts_with("tagged"),
        "{job:?}"
    );

    // There is none left.
    outbox.keep_cloud(&said(Some(notice("2020-01-01T00:00:00Z"))))?;
    let job = agent.wait_for(&id, "queued");
    assert!(!job.job.folder.join("manifest.json").exists());
    assert_eq!(agent.status().agent.pid, pid, "the agent itself goes on");

    for log in 0..disk.logs {
        scene.set_delay(log, 0.0);
    }
    outbox.keep_cloud(&said(None))?;
    let done = agent.wait_done(1);
    let text = fs::read_to_string(done[0].folder.join("manifest.json"))?;
    let manifest: dfagent::manifest::Manifest = serde_json::from_str(&text)?;
    assert_eq!(manifest.case, done[0].case);
    let case = manifest.case.unwrap();
    assert!(case.starts_with("tagged") && !case.chars().any(char::is_control));
    let instance = manifest.cloud.unwrap().instance.unwrap();
    assert_eq!(instance.document, DOCUMENT, "byte for byte");
    let report = fs::read_to_string(done[0].folder.join("report.txt"))?;
    assert!(report.contains("read on i-0123456789abcdef0"), "{report}");
    let log = agent.log_text();
    assert_eq!(
        log.matches("at 2999-01-01T00:00:00Z: no job").count(),
        1,
        "{log}"
    );
    agent.stop();
    scene.assert_nothing_left();
    Ok(())
}

fn no_network(disk: &Disk) -> Result<(), Failed> {
    let mut scene = Scene::replaying(disk, 1, 0.0);
    scene.configure(&scene.loops.nodes(), EC2);
    let trace = scene.at("trace");
    let words = ["-f", "-qq", "-e", "trace=socket", "-e", "signal=none", "-o"];
    let words: Vec<&str> = words.into_iter().chain([trace.to_str().unwrap()]).collect();
    let mut agent = scene.start_traced(&words);
    assert!(agent.is_ready(), "{}", agent.log_text());
    agent.wait_done(1);
    agent.stop();
    let text = fs::read_to_string(&trace)?;
    let sockets: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("socket("))
        .collect();
    assert!(
        sockets.iter().any(|line| line.contains("AF_NETLINK")),
        "{text}"
    );
    let local = |line: &&&str| !line.contains("AF_UNIX") && !line.contains("AF_NETLINK");
    let others: Vec<&&str> = sockets.iter().filter(local).collect();
    assert!(others.is_empty(), "{others:#?}");
    Ok(())
}
