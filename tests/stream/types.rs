//! Fields of different types: in either order, at the same moment, and too many of them.

use dfagent::opensearch::Position;
use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::Test;
use crate::case::{Case, document};

pub const TESTS: [(&str, Test); 4] = [
    (
        "values_of_another_type_are_found_in_either_order",
        conflicts,
    ),
    (
        "what_plaso_s_types_disagree_about_needs_no_mending",
        ambiguous,
    ),
    (
        "bulks_that_introduce_fields_at_the_same_moment_lose_nothing",
        race,
    ),
    ("more_fields_than_an_index_takes_lose_nothing", limit),
];

fn conflicts(version: &'static str) -> Result<(), Failed> {
    let kinds = [
        ("long", json!(12)),
        ("text", json!("abc")),
        ("float", json!(1.5)),
        ("bool", json!(true)),
        ("object", json!({"inner": 1})),
        ("large", json!(18_446_744_073_709_551_615_u64)),
        ("texts", json!(["one", "two"])),
        ("nothing", Value::Null),
    ];
    let case = Case::shared(version);
    let mut lines = Vec::new();
    for (first, value) in &kinds {
        for (second, other) in &kinds {
            let name = format!("field_{first}_{second}");
            for value in [value, other] {
                lines.push(document(lines.len() as u64, &json!({name.as_str(): value})));
            }
        }
    }
    let position = case.ships(&lines);
    assert_eq!(position.refused, 0, "{:?}", case.rejected());
    assert!(position.mended > 20, "{position:?}");
    // A value that does not fit is found as what it was.
    for (field, value) in [
        ("field_long_text", "abc"),
        ("field_object_long", "12"),
        ("field_bool_float", "1.5"),
    ] {
        let query = format!("dfagent_unindexed:\"{field} {value}\"");
        let found = case.search(&query);
        assert_eq!(found.len(), 1, "{query}");
        assert!(
            found[0].get(field).is_none() && found[0]["message"].is_string(),
            "{}",
            found[0]
        );
    }
    case.end();
    Ok(())
}

fn ambiguous(version: &'static str) -> Result<(), Failed> {
    let case = Case::shared(version);
    let mut lines = Vec::new();
    for name in dfagent::opensearch::mapping::AMBIGUOUS {
        for value in [json!(7), json!("seven"), json!(true), json!(0.5)] {
            lines.push(document(lines.len() as u64, &json!({name: value})));
        }
    }
    let position = case.ships(&lines);
    assert_eq!((position.refused, position.mended), (0, 0));
    case.end();
    Ok(())
}

fn race(version: &'static str) -> Result<(), Failed> {
    let mut case = Case::shared(version);
    case.alone_first = false;
    case.settings.connections = 8;
    case.settings.bulk_mib = 1;
    // Every bulk brings the same fields, of one type in one half and of another in the other.
    let lines: Vec<String> = (0..24_000)
        .map(|number| {
            let value = |at: u64| {
                if (number / 1_500 + at).is_multiple_of(2) {
                    json!(number)
                } else {
                    json!("text")
                }
            };
            let fields: serde_json::Map<_, _> =
                (0..8).map(|at| (format!("race{at}"), value(at))).collect();
            document(number, &Value::Object(fields))
        })
        .collect();
    let position = case.ships(&lines);
    assert_eq!(position.refused, 0, "{:?}", case.rejected().first());
    case.end();
    Ok(())
}

fn limit(version: &'static str) -> Result<(), Failed> {
    let case = Case::shared(version);
    // A string is three fields, so 5,000 are passed in the ninth document.
    let lines: Vec<String> = (0..14)
        .map(|number| {
            let fields: serde_json::Map<_, _> = (0..200)
                .map(|at| (format!("many{number}x{at}"), json!("word")))
                .collect();
            document(number, &Value::Object(fields))
        })
        .collect();
    let position = case.ships(&lines);
    assert_eq!(position.refused, 0, "{:?}", case.rejected().first());
    assert!(position.mended >= 5, "{position:?}");
    assert_eq!(
        case.search("dfagent_unindexed:\"many13x199 word\"").len(),
        1
    );
    assert_eq!(case.search("many0x0:word").len(), 1);
    assert_eq!(case.ship_from(Position::default()).unwrap(), position);
    case.end();
    Ok(())
}
