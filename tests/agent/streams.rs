//! A job that is streamed: what the agent hands over, and that nothing of it is forgotten when it is cancelled. The trial
//! plays delivery.

use std::fs;

use dfagent::delivery::order::How;
use dfagent::delivery::receipt::{Receipt, Stage, Streamed};
use dfagent::plaso::verdict::Level;
use dfagent::status::Action;
use libtest_mimic::{Failed, Trial};

use crate::daemon::{Agent, find};
use crate::deliveries::{ACCOUNT, Delivery};
use crate::disks::{Disk, LazyDisk};
use crate::lab::trial;
use crate::needs;
use crate::scene::Scene;

pub fn trials(two: &LazyDisk) -> Vec<Trial> {
    let made = |name: &str, test: fn(&Disk) -> Result<(), Failed>| {
        let disk = two.clone();
        trial(name, &needs(), move || test(disk.get()))
    };
    vec![
        made(
            "documents_are_handed_over_and_a_stream_is_done_when_both_servers_count_them",
            streamed,
        ),
        made(
            "a_cancelled_stream_is_remembered_until_delivery_has_removed_it",
            cancelled,
        ),
    ]
}

fn configure(scene: &Scene) {
    let more = format!(
        "case = \"4711\"\n[delivery]\nto = \"stream\"\nuser = \"{ACCOUNT}\"\n\
         [timesketch]\nurl = \"https://timesketch.example.org\"\n\
         [opensearch]\nurl = \"https://opensearch.example.org\"\n"
    );
    scene.configure(&scene.loops.nodes(), &more);
}

/// What is true of a stream of which all slices are at this stage.
fn receipt(delivery: &Delivery, id: &str, stage: Stage, refused: u64) -> Receipt {
    let handed = delivery.outbox.slices(id).unwrap();
    let mut receipt = delivery.receipt(id, stage, refused);
    for (one, handed) in receipt.slices.iter_mut().zip(&handed) {
        one.streamed = Some(Streamed {
            documents: handed.documents,
            refused,
            ..Streamed::default()
        });
    }
    receipt
}

fn streamed(disk: &Disk) -> Result<(), Failed> {
    let mut scene = Scene::replaying(disk, 1, 0.0);
    configure(&scene);
    let agent = scene.start();
    let delivery = Delivery::start(&scene);
    let id = agent.wait_job();
    agent.wait_for(&id, "delivering");
    let order = delivery.order(&id);
    assert_eq!(order.way.how, How::Stream);
    let handed = delivery.outbox.slices(&id)?;
    assert!(handed.len() > 1);
    for slice in &handed {
        let file = delivery.outbox.file(&id, slice);
        let text = fs::read_to_string(&file)?;
        assert!(file.ends_with("documents.jsonl"), "{}", file.display());
        assert_eq!(text.lines().count() as u64, slice.documents);
        let lines = slice.lines.as_ref().unwrap();
        assert_eq!(lines.bytes, text.len() as u64);
    }
    let all: u64 = handed.iter().map(|slice| slice.documents).sum();
    let waits = agent.wait("it says how many events wait", |status| {
        let told = find(status, &id)?.delivery.as_ref()?.streamed.clone()?;
        (told.lag == all).then_some(told)
    });
    assert!(waits.lag_seconds.is_some());

    // Proven is not told before the manifest stands beside the timeline.
    let mut told = receipt(&delivery, &id, Stage::Proven, 0);
    delivery.say(&told);
    agent.wait("it is found", |status| {
        let told = find(status, &id)?.delivery.as_ref()?.streamed.clone()?;
        (told.sent == all && told.lag == 0).then_some(())
    });
    assert_eq!(agent.wait_for(&id, "delivering").job.id, id);
    told.manifest_sha256 = order.closed.map(|closed| closed.manifest_sha256);
    delivery.say(&told);
    let job = agent.wait_for(&id, "done").job;
    assert_eq!(job.delivery.unwrap().level, Some(Level::Complete));
    assert_eq!(delivery.outbox.jobs()?, Vec::<String>::new());
    ends(agent, &mut scene);
    Ok(())
}

fn cancelled(disk: &Disk) -> Result<(), Failed> {
    let mut scene = Scene::replaying(disk, 1, 0.0);
    configure(&scene);
    let agent = scene.start();
    let delivery = Delivery::start(&scene);
    let id = agent.wait_job();
    agent.wait_for(&id, "delivering");
    agent.act(Action::Cancel, &id).unwrap();
    agent.wait_for(&id, "cancelled");
    let order = delivery.order(&id);
    assert_eq!((order.cancelled, order.given_up), (true, 1));
    assert_eq!(delivery.outbox.slices(&id)?, Vec::new());
    let waits = |agent: &Agent| {
        agent.wait("it says what it waits for", |status| {
            let waits = find(status, &id)?.delivery.as_ref()?.waits.clone()?;
            waits.contains("being removed").then_some(())
        });
    };
    waits(&agent);
    // The order stays over a restart.
    agent.kill();
    let agent = scene.start();
    waits(&agent);
    assert_eq!(delivery.order(&id), order);
    let removed = Receipt {
        removed: Some(true),
        ..delivery.receipt(&id, Stage::Proven, 0)
    };
    delivery.say(&removed);
    agent.wait("the order is gone", |_| {
        delivery.outbox.jobs().unwrap().is_empty().then_some(())
    });

    // Gone on with, it is handed over again: of documents that were joined, the timeline.
    agent.act(Action::Retry { anew: false }, &id).unwrap();
    agent.wait_for(&id, "delivering");
    let handed = delivery.outbox.slices(&id)?;
    assert_eq!(handed.len(), 1);
    assert_eq!(handed[0].name, "timeline");
    let order = delivery.order(&id);
    assert!(!order.cancelled);
    let mut told = receipt(&delivery, &id, Stage::Proven, 0);
    told.manifest_sha256 = order.closed.map(|closed| closed.manifest_sha256);
    delivery.say(&told);
    agent.wait_for(&id, "done");
    ends(agent, &mut scene);
    Ok(())
}

fn ends(agent: Agent, scene: &mut Scene) {
    let (status, _) = agent.stop();
    assert_eq!(status.code(), Some(0));
    scene.assert_nothing_left();
}
