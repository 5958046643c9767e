//! A server that has too much to do, or takes only small requests, or has a full disk.

use std::sync::Arc;

use dfagent::opensearch::{Position, ShipError};
use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::Test;
use crate::case::{Case, document, plain};
use crate::node::Node;

pub const TESTS: [(&str, Test); 4] = [
    ("a_busy_server_gets_less_at_once_until_all_is_there", busy),
    ("a_breaker_that_takes_nothing_is_waited_for", waited_for),
    ("a_full_disk_is_told_and_nothing_is_lost", full),
    (
        "what_is_too_large_goes_in_parts_and_one_that_is_too_large_is_named",
        too_large,
    ),
];

const BREAKER: &str = "network.breaker.inflight_requests.limit";

/// Documents of a few KiB, so that bulks are full.
fn heavy(count: u64) -> Vec<String> {
    (0..count)
        .map(|number| {
            document(
                number,
                &json!({"text": format!("word{number} ").repeat(300)}),
            )
        })
        .collect()
}

fn busy(version: &'static str) -> Result<(), Failed> {
    let case = Case::shared(version);
    case.node.set(BREAKER, &json!("1mb"));
    let lines = heavy(2_500);
    case.write(&lines);
    let shipped = case.ship_from(Position::default());
    case.node.set(BREAKER, &Value::Null);
    let position = shipped.unwrap();
    assert_eq!((position.documents, position.refused), (2_500, 0));
    case.is_whole(position);
    let waits = case.waits();
    assert!(waits.iter().any(|text| text.contains("429")), "{waits:?}");
    case.end();
    Ok(())
}

fn waited_for(version: &'static str) -> Result<(), Failed> {
    let case = Case::shared(version);
    case.node.set("indices.breaker.total.limit", &json!("1%"));
    let lines = plain(3_000);
    case.write(&lines);
    let node = Arc::clone(&case.node);
    let shipped = case.ship_until(Position::default(), &|progress| {
        if progress.waits.is_some() {
            node.set("indices.breaker.total.limit", &Value::Null);
        }
    });
    case.node.set("indices.breaker.total.limit", &Value::Null);
    case.is_whole(shipped.unwrap());
    assert!(!case.waits().is_empty());
    case.end();
    Ok(())
}

fn full(version: &'static str) -> Result<(), Failed> {
    let mut case = Case::shared(version);
    case.settings.bulk_mib = 1;
    let lines = heavy(1_500);
    case.write(&lines);
    let settings = format!("{}/_settings", case.index);
    let block = |on: Value| json!({"index.blocks.read_only_allow_delete": on});
    let node = Arc::clone(&case.node);
    let last = std::sync::Mutex::new(Position::default());
    let stopped = case.ship_until(Position::default(), &|progress| {
        *last.lock().unwrap() = progress.position;
        if progress.position.documents > 300 {
            node.tell("PUT", &settings, &block(json!(true)));
        }
    });
    let error = stopped.unwrap_err();
    assert!(matches!(&error, ShipError::Full(_)), "{error}");
    assert!(error.to_string().contains("disk"), "{error}");
    let last = last.into_inner().unwrap();
    assert!(last.documents < 1_500 && last.refused == 0, "{last:?}");
    let still = case.ship_from(last).unwrap_err();
    assert!(matches!(still, ShipError::Full(_)), "{still}");
    case.node.tell("PUT", &settings, &block(Value::Null));
    let position = case.ship_from(last).unwrap();
    assert_eq!((position.documents, position.refused), (1_500, 0));
    case.is_whole(position);
    case.end();
    Ok(())
}

fn too_large(version: &'static str) -> Result<(), Failed> {
    let node = Arc::new(Node::start(version, &["http.max_content_length=1mb"]));
    let case = Case::on(node);
    let mut lines = heavy(2_000);
    lines[700] = document(700, &json!({"text": "too much ".repeat(200_000)}));
    case.write(&lines);
    let position = case.ship_from(Position::default()).unwrap();
    assert_eq!((position.documents, position.refused), (2_000, 1));
    case.is_whole(position);
    let told = &case.rejected()[0];
    assert!(
        told["reason"].as_str().unwrap().contains("bytes"),
        "{}",
        told["reason"]
    );
    assert!(
        told["document"]
            .as_str()
            .unwrap()
            .contains("event number 700")
    );
    Ok(())
}
