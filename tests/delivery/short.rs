//! Storage files that the server does not take as they are: too few events found, a format it does not read, none at
//! all; and sketches that take nothing.

use std::fs;

use dfagent::config::delivery::TimesketchSettings;
use dfagent::timesketch::Client;
use libtest_mimic::{Failed, Trial};
use serde_json::json;

use crate::case::{Case, Test};
use crate::lab::{self, trial};
use crate::material::{self, HISTORY, NOTHING, SYSLOG, alter, storage};
use crate::proxy::Proxy;
use crate::servers::{Servers, command, servers, shared};

pub fn trials() -> Vec<Trial> {
    let needs = crate::needs();
    let mut trials = Vec::new();
    for (format, words) in [("20270101", "too new"), ("20250918", "too old")] {
        let name = format!(
            "a_storage_format_that_is_{}_is_told_in_the_servers_words",
            words.replace(' ', "_")
        );
        trials.push(trial(name, &needs, move || other_format(format, words)));
    }
    let singles: [(&str, Test); 5] = [
        (
            "too_few_events_are_told_with_both_numbers_and_tried_again_alone",
            too_few,
        ),
        (
            "slices_without_events_are_delivered_without_an_upload",
            without_events,
        ),
        ("an_archived_sketch_is_one_sentence", archived),
        ("a_deleted_sketch_is_one_sentence", deleted),
        ("a_sketch_of_somebody_else_is_one_sentence", of_others),
    ];
    for (name, test) in singles {
        trials.push(trial(name, &needs, test));
    }
    trials
}

/// Three events after the year 9999: OpenSearch refuses them and Timesketch says nothing of it.
fn lose_three(case: &Case) {
    alter(&case.job, SYSLOG, |storage| {
        let late = "update event set timestamp = 253402300800000000 + _identifier \
                    where _identifier in (select _identifier from event order by 1 limit 3)";
        assert_eq!(storage.execute(late, []).unwrap(), 3);
    });
}

fn too_few() -> Result<(), Failed> {
    let _shared = shared();
    let mut case = Case::of(&[HISTORY, SYSLOG]);
    lose_three(&case);
    let proxy = Proxy::with_rules(case.servers, &json!([]));
    case.to(&proxy.url());
    case.set("delivery", "keep", "false");
    case.set("delivery", "tries", "1");
    let done = case.deliver();
    assert_eq!(done.code, 3, "{}{}", done.out, done.err);
    assert!(done.out.contains("77 of 80"), "{}", done.out);
    let record = case.record().unwrap();
    assert_eq!(record["level"], "partial", "{record}");
    assert!(
        record["reasons"][0].as_str().unwrap().contains("77 of 80"),
        "{record}"
    );
    assert!(
        storage(&case.job, SYSLOG).exists(),
        "what is not proven is kept"
    );
    assert_eq!(proxy.saw("POST /api/v1/upload/"), 2);
    let before = case.servers.timelines(case.sketch);

    // Once more: the slice that is short, and no other; what it left is removed.
    let done = case.deliver();
    assert_eq!(done.code, 3, "{}{}", done.out, done.err);
    assert_eq!(proxy.saw("POST /api/v1/upload/"), 3);
    let after = case.servers.timelines(case.sketch);
    assert_eq!(after.len(), 2, "{after:?}");
    assert_eq!(after[0], before[0], "the proven one is as it was");
    assert_ne!(after[1]["id"], before[1]["id"], "the short one is another");
    assert_eq!(after[1]["found"], 77, "{after:?}");
    Ok(())
}

fn other_format(format: &'static str, words: &'static str) -> Result<(), Failed> {
    let _shared = shared();
    let mut case = Case::of(&[HISTORY]);
    alter(&case.job, HISTORY, |storage| {
        let sql = "update metadata set value = ?1 where key = 'format_version'";
        assert_eq!(storage.execute(sql, [format]).unwrap(), 1);
    });
    case.set("delivery", "tries", "2");
    let done = case.deliver();
    assert_eq!(done.code, 1, "{}{}", done.out, done.err);
    assert!(done.out.contains(words), "{}", done.out);
    assert!(done.out.contains(format), "{}", done.out);
    let record = case.record().unwrap();
    assert_eq!(record["slices"][0]["tries"], 2, "{record}");
    assert_eq!(record["slices"][0]["stage"], "failed", "{record}");
    assert_eq!(
        case.servers.timelines(case.sketch).len(),
        1,
        "remains of earlier tries are removed"
    );
    Ok(())
}

fn without_events() -> Result<(), Failed> {
    let _shared = shared();
    let mut case = Case::of(&[NOTHING]);
    let proxy = Proxy::with_rules(case.servers, &json!([]));
    case.to(&proxy.url());
    let done = case.deliver();
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    assert_eq!(case.record().unwrap()["level"], "complete");
    assert_eq!(proxy.saw("POST /api/v1/upload/"), 0);
    Ok(())
}

fn archived() -> Result<(), Failed> {
    let _shared = shared();
    let case = Case::of(&[HISTORY]);
    let path = format!("sketches/{}/archive/", case.sketch);
    let (status, said) = case
        .servers
        .api("POST", &path, json!({"action": "archive"}));
    assert_eq!(status, 200, "{said}");
    case.stops(5, &["archived", "unarchive it"]);
    let (status, said) = case
        .servers
        .api("POST", &path, json!({"action": "unarchive"}));
    assert_eq!(status, 200, "{said}");
    case.delivers();
    Ok(())
}

fn deleted() -> Result<(), Failed> {
    let _shared = shared();
    let case = Case::of(&[HISTORY]);
    let path = format!("sketches/{}/", case.sketch);
    let (status, said) = case.servers.api("DELETE", &path, json!(null));
    assert_eq!(status, 200, "{said}");
    case.stops(5, &["not there", &case.sketch.to_string()]);
    Ok(())
}

/// Another account of the servers, as the agent's own client sees them.
pub fn stranger(servers: &Servers) -> Client {
    let done = lab::finish(command("account", &servers.state).arg("stranger"));
    assert_eq!(done.code, 0, "{}", done.err);
    let settings = TimesketchSettings {
        url: servers.url().to_owned(),
        user: "stranger".to_owned(),
        password_file: servers.password_file().with_file_name("stranger"),
        ..TimesketchSettings::default()
    };
    Client::new(&settings, None).unwrap()
}

/// Runs something of the agent's client.
pub fn wait_for<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

fn of_others() -> Result<(), Failed> {
    let _shared = shared();
    let stranger = stranger(servers());
    let sketch = wait_for(stranger.create_sketch("a stranger's", "")).unwrap();
    let mut case = Case::of(&[HISTORY]);
    case.set("timesketch", "sketch_id", &sketch.id.to_string());
    case.stops(5, &["the user may not do that", &sketch.id.to_string()]);
    // To read it is not enough.
    wait_for(stranger.share_sketch(sketch.id, false, &["dfagent".to_owned()], &[])).unwrap();
    case.stops(5, &["the user may not do that", &sketch.id.to_string()]);
    assert!(wait_for(stranger.timelines(sketch.id)).unwrap().is_empty());
    assert!(fs::exists(storage(&case.job, HISTORY)).unwrap());
    assert_eq!(material::events(&[HISTORY]).len(), 30);
    Ok(())
}
