//! Many volumes in one sketch, which one search has to reach.

use std::fs;

use dfagent::delivery::name;
use dfagent::delivery::order::Order;
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

use crate::case::{HANGING, holds_within};
use crate::lab::trial;
use crate::material::{self, HISTORY};
use crate::servers::{alone, shared};
use crate::stream::Stream;
use crate::while_open::{close, hand_over, serve};

/// Volumes whose indexes are made by default; the full number is 300.
const FEW: usize = 40;

/// Volumes that are delivered at once.
const AT_ONCE: usize = 10;

pub fn trials() -> Vec<Trial> {
    let needs = crate::needs();
    let volumes = std::env::var("DFAGENT_TEST_STREAM_VOLUMES").ok();
    let volumes = volumes.and_then(|text| text.parse().ok()).unwrap_or(FEW);
    vec![
        trial(
            format!("{AT_ONCE}_volumes_streamed_at_once_are_all_found_in_one_sketch"),
            &needs,
            at_once,
        ),
        trial(
            format!("one_search_reaches_the_indexes_of_{volumes}_volumes_in_one_sketch"),
            &needs,
            move || one_search(volumes),
        ),
    ]
}

fn at_once() -> Result<(), Failed> {
    let _shared = shared();
    let served = serve(Stream::of(&[HISTORY]));
    let _service = served.start();
    let jobs: Vec<String> = (0..AT_ONCE)
        .map(|number| {
            let job = material::copy_job(&served.case.at(&format!("{number}")), &[HISTORY]);
            material::part_documents(&job, &[HISTORY]);
            let job = material::rename_job(&job, &format!("vol-{number:02}"));
            let name = hand_over(&served, &job, &[HISTORY]);
            close(&served, &job);
            name
        })
        .collect();
    let all = || jobs.iter().all(|job| served.delivered(job).is_some());
    assert!(holds_within(HANGING, all), "{}", served.said("service"));
    for job in &jobs {
        served.is_delivered(job);
    }
    let (servers, sketch) = (served.case.servers, served.case.sketch);
    let one = material::events(&[HISTORY]);
    let mut expected: Vec<String> = (0..AT_ONCE).flat_map(|_| one.clone()).collect();
    expected.sort();
    assert!(
        servers.documents(sketch) == expected,
        "every event of every volume, once"
    );
    assert_eq!(servers.timelines(sketch).len(), AT_ONCE);
    Ok(())
}

/// One volume is streamed; the others have an index and a timeline each, made as delivery makes them, with one event.
fn one_search(volumes: usize) -> Result<(), Failed> {
    let _alone = alone();
    let stream = Stream::of(&[HISTORY]);
    stream.delivers();
    let (servers, sketch) = (stream.servers, stream.sketch);
    let text = fs::read_to_string(stream.job.join("timeline.jsonl")).unwrap();
    let mut event: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let body = dfagent::opensearch::mapping::index_body(true);
    let begun = std::time::Instant::now();
    let mut names = vec![stream.timeline().1];
    for number in 1..volumes {
        let order = Order {
            job: format!("vol-{number}"),
            ..Order::default()
        };
        let index = name::index("", servers.url(), sketch, &order, 0);
        let (status, said) = servers.of_opensearch("PUT", &index, &body);
        assert_eq!(status, 200, "{said}");
        let known = json!({"searchindex_name": index, "es_index_name": index, "public": false});
        let (_, known) = servers.api("POST", "searchindices/", known);
        let id = &known["objects"][0]["id"];
        servers.api(
            "POST",
            &format!("searchindices/{id}/"),
            json!({"status": "ready"}),
        );
        let wanted = json!({"timeline": id, "timeline_name": format!("host-{number}")});
        let path = format!("sketches/{sketch}/timelines/");
        let (status, made) = servers.api("POST", &path, wanted);
        assert_eq!(status, 201, "{made}");
        event["__ts_timeline_id"] = made["objects"][0]["id"].clone();
        event["message"] = json!(format!("needle of volume {number}"));
        servers.of_opensearch("PUT", &format!("{index}/_create/1"), &event);
        names.push(index);
    }
    servers.of_opensearch("POST", "_refresh", &Value::Null);
    let made = begun.elapsed();
    let begun = std::time::Instant::now();
    let body =
        json!({"query": "message:needle", "filter": {"size": 500, "indices": "_all", "chips": []}});
    let (status, found) = servers.api("POST", &format!("sketches/{sketch}/explore/"), body);
    let searched = begun.elapsed();
    assert_eq!(status, 200, "{found}");
    assert_eq!(found["meta"]["es_total_count_complete"], volumes - 1);
    let length: usize = names.iter().map(|name| name.len() + 1).sum();
    eprintln!(
        "{volumes} volumes in one sketch, {length} letters of names: made in {made:.1?}, one search {searched:.1?}"
    );
    for timeline in servers.timelines(sketch) {
        let path = format!("sketches/{sketch}/timelines/{}/", timeline["id"]);
        servers.api("DELETE", &path, Value::Null);
    }
    for name in names {
        servers.of_opensearch("DELETE", &name, &Value::Null);
    }
    Ok(())
}
