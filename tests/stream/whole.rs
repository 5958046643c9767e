//! All documents arrive once, wherever a shipment begins.

use std::fs;
use std::sync::{Arc, Mutex};

use dfagent::opensearch::{Position, mapping};
use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::Test;
use crate::case::{Case, document, plain};
use crate::lab;
use crate::node::Node;

pub const TESTS: [(&str, Test); 5] = [
    ("all_documents_arrive_with_labels_and_timeline", all),
    ("from_any_position_on_the_same_documents_arrive", resumed),
    ("equal_lines_all_arrive_and_none_twice", twins),
    (
        "lines_that_are_no_documents_are_named_and_spoil_nothing",
        no_documents,
    ),
    ("what_is_asked_of_a_server_is_answered", questions),
];

/// Compares with the file that the server reads.
pub fn mapping() -> Result<(), Failed> {
    let file = lab::root().join("target/timesketch/python/share/timesketch/plaso.mappings");
    if !file.exists() {
        return Err("needs Timesketch (run `make setup-test`)".into());
    }
    let mut theirs: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let mut ours = mapping::index_body(true)["mappings"].take();
    // What is shorter, and why, stands in the module.
    let text = ours
        .to_string()
        .replace("\"ignore_above\":10922", "\"ignore_above\":32766");
    ours = serde_json::from_str(&text).unwrap();
    let added = mapping::AMBIGUOUS
        .iter()
        .chain(&mapping::LABELS)
        .chain([&mapping::UNINDEXED]);
    for name in added {
        let removed = ours["properties"].as_object_mut().unwrap().remove(*name);
        assert!(removed.is_some(), "{name}");
        assert!(
            theirs["properties"].get(*name).is_none(),
            "{name} is theirs"
        );
    }
    assert_eq!(ours.take(), theirs.take());
    Ok(())
}

fn all(version: &'static str) -> Result<(), Failed> {
    let case = Case::shared(version);
    let position = case.ships(&plain(12_000));
    assert_eq!((position.refused, position.mended), (0, 0));
    let found = case.search("message:\"event number 4711\"");
    assert_eq!(found.len(), 1, "{found:?}");
    let mut expected: Value = serde_json::from_str(&plain(4712)[4711]).unwrap();
    expected["__ts_timeline_id"] = json!(7);
    expected["evidence_volume"] = json!("vol-0123");
    expected["evidence_slice"] = json!("0001-triage");
    assert_eq!(found[0], expected);
    // Again from the beginning: nothing new.
    let again = case.ship_from(Position::default()).unwrap();
    assert_eq!(again, position);
    case.is_whole(position);
    case.end();
    Ok(())
}

fn resumed(version: &'static str) -> Result<(), Failed> {
    let mut case = Case::shared(version);
    case.settings.bulk_mib = 1;
    let mut lines = plain(9_000);
    for number in (500..9_000).step_by(1_000) {
        lines[number] = "no document".to_owned();
        lines[number + 1] = document(
            number as u64 + 1,
            &json!({"datetime": "45800-12-02T05:37:58.000000+00:00"}),
        );
    }
    // Many of one moment, some of them alike, over the ends of bulks.
    for (number, line) in lines.iter_mut().enumerate().take(5_000).skip(2_000) {
        *line = document(2_000, &json!({"n": number % 900}));
    }
    case.write(&lines);
    let positions = Mutex::new(Vec::new());
    let end = case.ship_until(Position::default(), &|progress| {
        positions.lock().unwrap().push(progress.position)
    });
    let end = end.unwrap();
    assert_eq!((end.documents, end.refused, end.mended), (9_000, 6, 6));
    case.is_whole(end);
    let positions = positions.into_inner().unwrap();
    assert!(positions.len() >= 3, "{positions:?}");
    for position in positions {
        assert_eq!(case.ship_from(position).unwrap(), end, "from {position:?}");
        case.is_whole(end);
    }
    case.end();
    Ok(())
}

fn twins(version: &'static str) -> Result<(), Failed> {
    let case = Case::shared(version);
    let one = |number: u64| document(number, &json!({}));
    let lines = [
        one(1),
        one(1),
        document(1, &json!({"n": 1})),
        one(1),
        one(2),
        one(2),
    ];
    case.ships(&lines);
    assert_eq!(case.ship_from(Position::default()).unwrap().documents, 6);
    assert_eq!(case.count(), 6);
    case.end();
    Ok(())
}

fn no_documents(version: &'static str) -> Result<(), Failed> {
    let case = Case::shared(version);
    let long = vec![b'x'; 33 * 1024 * 1024];
    let bad: [(&[u8], &str); 9] = [
        (b"", "no JSON object"),
        (b"null", "no JSON object"),
        (b"[]", "no JSON object"),
        (b"{\"a\":1}}", "no JSON object"),
        (b"{\"a\":NaN}", "no JSON object"),
        (b"{\"index\":{}}\r{}", "no JSON object"),
        (b"{\"a\":\"\xff\xfe\"}", "not UTF-8"),
        (b"{\"a\":\"\xed\xa0\x80\"}", "not UTF-8"),
        (&long, "more than 33554432 bytes"),
    ];
    let good = plain(20);
    let mut lines: Vec<&[u8]> = Vec::new();
    for (number, (line, _)) in bad.iter().enumerate() {
        lines.extend([good[number].as_bytes(), line]);
    }
    let position = case.ships(&lines);
    assert_eq!(position.refused, 9);
    for (told, (line, reason)) in case.rejected().iter().zip(bad) {
        assert!(
            told["reason"].as_str().unwrap().contains(reason),
            "{}",
            told["reason"]
        );
        assert_eq!(told["slice"], "0001-triage");
        let kept = told["document"].as_str().unwrap();
        assert!(
            kept.len() <= 300_000
                && kept.starts_with(&*String::from_utf8_lossy(&line[..line.len().min(3)]))
        );
    }
    case.end();
    Ok(())
}

fn questions(version: &'static str) -> Result<(), Failed> {
    // Of its own: on a shared one, other trials make indices, too, and shards are of them all.
    let case = Case::on(Arc::new(Node::start(version, &[])));
    let client = case.client();
    case.run(async {
        let about = client.about().await.unwrap();
        assert_eq!(
            (about.version.as_str(), about.distribution.as_str()),
            (version, "opensearch")
        );
        assert_eq!(client.clause_limit().await.unwrap(), 1024);
        let before = client.shards().await.unwrap();
        assert_eq!(before.limit, Some(1_000));
        let body = mapping::index_body(false);
        assert!(client.create_index("dfquestions", &body).await.unwrap());
        assert!(
            !client.create_index("dfquestions", &body).await.unwrap(),
            "it is there"
        );
        let after = client.shards().await.unwrap();
        assert_eq!(after.open, before.open + 1);
        client.delete_index("dfquestions").await.unwrap();
        client.delete_index("dfquestions").await.unwrap();
        let gone = client.count("dfquestions", None, None).await.unwrap_err();
        assert_eq!(gone.fault(), dfagent::timesketch::Fault::NotFound, "{gone}");
    });
    Ok(())
}
