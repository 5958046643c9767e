//! Many at once: volumes into one sketch, and agents that make it.

use std::collections::BTreeSet;
use std::time::Duration;

use dfagent::config::delivery::TimesketchSettings;
use dfagent::delivery::sketch::Sketches;
use dfagent::timesketch::Client;
use futures_util::future::join_all;
use libtest_mimic::{Failed, Trial};
use serde_json::json;

use crate::case::{Case, HANGING, holds_within};
use crate::lab::trial;
use crate::material::{self, HISTORY};
use crate::servers::{servers, shared};
use crate::service::Served;
use crate::short::{stranger, wait_for};

const VOLUMES: usize = 20;
const AGENTS: usize = 50;

pub fn trials() -> Vec<Trial> {
    let needs = crate::needs();
    vec![
        trial(
            format!("{VOLUMES}_volumes_at_once_are_all_found_in_one_sketch"),
            &needs,
            volumes,
        ),
        trial(
            format!("{AGENTS}_agents_at_once_make_one_sketch_and_it_is_private"),
            &needs,
            agents,
        ),
    ]
}

fn volumes() -> Result<(), Failed> {
    let _shared = shared();
    let served = Served::over(Case::of(&[HISTORY]));
    let service = served.start();
    let jobs: Vec<String> = (0..VOLUMES)
        .map(|number| {
            let job = material::copy_job(&served.case.at(&format!("{number}")), &[HISTORY]);
            served.hand_over(&material::rename_job(&job, &format!("vol-{number:02}")))
        })
        .collect();
    let missing = || {
        jobs.iter()
            .filter(|job| served.delivered(job).is_none())
            .count()
    };
    let all = holds_within(HANGING, || missing() == 0);
    assert!(
        all,
        "{} of {VOLUMES} are missing: {}",
        missing(),
        served.said("service")
    );
    for job in &jobs {
        served.is_delivered(job);
    }
    drop(service);
    let (servers, sketch) = (served.case.servers, served.case.sketch);
    let one = material::events(&[HISTORY]);
    let mut expected: Vec<String> = (0..VOLUMES).flat_map(|_| one.clone()).collect();
    expected.sort();
    assert!(
        servers.documents(sketch) == expected,
        "every event of every volume, once"
    );
    assert_eq!(servers.count(sketch), expected.len() as u64);
    let timelines = servers.timelines(sketch);
    let names: BTreeSet<String> = timelines
        .iter()
        .map(|one| one["name"].to_string())
        .collect();
    assert_eq!(
        (timelines.len(), names.len()),
        (VOLUMES, VOLUMES),
        "{names:?}"
    );
    Ok(())
}

/// As many clients as agents, each with what one process shares. They begin at the same moment, logged in.
fn agents() -> Result<(), Failed> {
    let _shared = shared();
    let servers = servers();
    let settings = TimesketchSettings {
        url: servers.url().to_owned(),
        user: "dfagent".to_owned(),
        password_file: servers.password_file(),
        ..TimesketchSettings::default()
    };
    let name = format!("50 agents {}", std::process::id());
    let found = wait_for(async {
        let clients: Vec<Client> = (0..AGENTS)
            .map(|_| Client::new(&settings, None).unwrap())
            .collect();
        join_all(
            clients
                .iter()
                .map(async |client| client.version().await.unwrap()),
        )
        .await;
        let sketches: Vec<Sketches> = (0..AGENTS).map(|_| Sketches::default()).collect();
        let finds = clients.iter().zip(&sketches);
        join_all(
            finds.map(async |(client, sketches)| sketches.find(client, &settings, &name).await),
        )
        .await
    });
    let ids: BTreeSet<u64> = found.into_iter().map(|link| link.unwrap().id).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let id = *ids.first().unwrap();
    let left = || servers.ask(&json!(["sketches", name]));
    let one_left = holds_within(Duration::from_secs(10), || left() == json!([id]));
    assert!(one_left, "{} are left, {id} is used", left());
    let error = wait_for(stranger(servers).sketch(id))
        .unwrap_err()
        .to_string();
    assert!(error.contains("the user may not do that"), "{error}");
    Ok(())
}
