//! Documents that are odd in every way that is known: what OpenSearch takes arrives as it is, what it would refuse
//! arrives in another form that a search finds.

use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::Test;
use crate::case::{Case, document};

pub const TESTS: [(&str, Test); 1] = [("odd_documents_arrive_as_they_are_or_mended", odd)];

/// What becomes of a document.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Becomes {
    /// It arrives as it is.
    Same,
    /// It arrives, and this is found among what is not indexed.
    Mended(&'static str),
    /// One version takes it, the other does not; either is right as long as it is found.
    Either,
}
use Becomes::{Either, Mended, Same};

/// Members that make a document odd, as JSON text, and what becomes of it.
const MEMBERS: &[(&str, Becomes)] = &[
    (r#""huge":1e400"#, Mended("huge 1e400")),
    (r#""half":"x\ud800y""#, Same),
    (r#""control":"\u0000\u0001\u0085\uffff\u202e\ufeff""#, Same),
    (r#""twice":"one","twice":"two""#, Mended("twice one")),
    (r#""a.b":"dotted""#, Same),
    (r#""a":"plain""#, Mended("a plain")),
    (r#""a.b.c":"deeper""#, Mended("a.b.c deeper")),
    (r#""":"empty""#, Mended("empty")),
    (r#"".x":"before""#, Mended("x before")),
    (r#""..":"dots""#, Mended("dots")),
    (r#""q..r":"double""#, Mended("q..r double")),
    (r#""x.":"after""#, Either),
    (r#"" ":"blank""#, Either),
    (r#""*":"star""#, Same),
    (r#""-":"dash""#, Same),
    (r#""é":"accent""#, Same),
    (r#""\"":"quote""#, Same),
    (r#""\n":"newline""#, Either),
    (r#""_id":"metadata""#, Mended("_id metadata")),
    (r#""_source":{"b":1}"#, Mended("_source")),
    (r#""_routing":"r""#, Mended("_routing r")),
    (r#""_x":"fine""#, Same),
    (r#""lists":[[1,2],[3]]"#, Same),
    (r#""none":[],"neither":{},"nor":null"#, Same),
    (
        r#""timesketch_label":"label""#,
        Mended("timesketch_label label"),
    ),
    (
        r#""timesketch_label":[{"name":"__ts_star","user_id":1}]"#,
        Mended("timesketch_label name __ts_star"),
    ),
    (r#""__ts_timeline_id":99"#, Mended("__ts_timeline_id 99")),
    (r#""__ts_emojis":["x"]"#, Mended("__ts_emojis x")),
    (
        r#""evidence_volume":"vol-forged""#,
        Mended("evidence_volume vol forged"),
    ),
    (
        r#""evidence_slice":["forged"]"#,
        Mended("evidence_slice forged"),
    ),
    (
        r#""datetime":"45800-12-02T05:37:58.000000+00:00""#,
        Mended("datetime 45800"),
    ),
    (
        r#""datetime":"+45800-12-02T05:37:58.000000+00:00""#,
        Mended("datetime 45800"),
    ),
    (
        r#""datetime":"-0027-12-02T05:37:58.000000+00:00""#,
        Mended("datetime 0027"),
    ),
    (
        r#""datetime":"-27-12-02T05:37:58.000000+00:00""#,
        Mended("datetime 27"),
    ),
    (r#""datetime":"""#, Mended("datetime")),
    (r#""datetime":"-""#, Mended("datetime")),
    (
        r#""datetime":"2026-02-30T00:00:00.000000+00:00""#,
        Mended("datetime 2026"),
    ),
    (
        r#""datetime":"2026-02-20T00:00:60.000000+00:00""#,
        Mended("datetime 2026"),
    ),
    (r#""datetime":"0000-01-01T00:00:00.000000+00:00""#, Same),
    (r#""datetime":null"#, Same),
    (r#""datetime":{"a":1}"#, Mended("datetime a 1")),
    (
        r#""timestamp":99999999999999999999999"#,
        Mended("timestamp 99999999999999999999999"),
    ),
    (
        r#""timestamp":-9223372036854775809"#,
        Mended("timestamp 9223372036854775809"),
    ),
    (r#""timestamp":1.5"#, Same),
    (r#""timestamp":"12""#, Same),
    (r#""timestamp":"soon""#, Mended("timestamp soon")),
    (r#""message":{"not":"text"}"#, Mended("message not text")),
    (r#""message":["a","b"]"#, Same),
    (r#""dfagent_unindexed":"theirs""#, Same),
    (
        r#""dfagent_unindexed":{"theirs":1}"#,
        Mended("dfagent_unindexed theirs 1"),
    ),
    (
        r#""number":18446744073709551616"#,
        Mended("number 18446744073709551616"),
    ),
    (r#""inner":{"deep":[{"":1}]}"#, Mended("inner deep")),
    (
        r#""inner2":{"x":99999999999999999999}"#,
        Mended("inner2 x 99999999999999999999"),
    ),
    (r#""o":{"p":1,"p":2}"#, Mended("o p 1")),
];

/// All of them, those too that are long or deep.
fn members() -> Vec<(String, Becomes)> {
    let long = |length: usize, what: &str| what.repeat(length);
    let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let short = MEMBERS
        .iter()
        .map(|(text, becomes)| ((*text).to_owned(), *becomes));
    let mut all: Vec<(String, Becomes)> = short.collect();
    all.push((format!("\"forty\":\"{}\"", long(40_000, "w")), Same));
    all.push((format!("\"mega\":\"{}\"", long(250_000, "w w ")), Same));
    all.push((format!("\"wide\":\"{}\"", long(20_000, "é")), Same));
    all.push((format!("\"wider\":\"{}\"", long(10_900, "\u{1F600}")), Same));
    all.push((format!("\"widest\":\"{}\"", long(40_000, "日")), Same));
    all.push((format!("\"{}\":\"n\"", long(300, "n")), Same));
    all.push((format!("\"{}\":\"longname\"", long(40_000, "n")), Either));
    all.push((format!("\"nest17\":{}", nested(17)), Same));
    all.push((format!("\"nest25\":{}", nested(25)), Mended("nest25")));
    all.push((format!("\"nest400\":{}", nested(400)), Mended("nest400")));
    all.push((format!("\"nest100\":{}", nested(100)), Mended("nest100")));
    all
}

fn odd(version: &'static str) -> Result<(), Failed> {
    let case = Case::shared(version);
    let members = members();
    let mut lines: Vec<String> = Vec::new();
    for (number, (more, _)) in members.iter().enumerate() {
        let mut line = document(number as u64, &json!({"odd_one": format!("odd{number}")}));
        // What is odd about it comes in place of the usual member.
        for name in ["datetime", "timestamp", "message"] {
            if more.starts_with(&format!("\"{name}\":")) {
                let mut usual: Value = serde_json::from_str(&line).unwrap();
                usual.as_object_mut().unwrap().remove(name);
                line = usual.to_string();
            }
        }
        line.pop();
        lines.push(format!("{line},{more}}}"));
    }
    lines.push("{}".to_owned());
    lines.push(" { \"odd_one\" : \"blanks\" } ".to_owned());
    let position = case.ships(&lines);
    let mut wrong = Vec::new();
    for told in case.rejected() {
        wrong.push(format!(
            "refused: {} {:.200}",
            told["reason"],
            told["document"].to_string()
        ));
    }
    let mut mended = 0;
    for (number, (more, becomes)) in members.iter().enumerate() {
        let found = case.search(&format!(
            "(odd_one:odd{number} OR dfagent_unindexed:odd{number}) AND __ts_timeline_id:7"
        ));
        let [found] = found.as_slice() else {
            wrong.push(format!("{} found: {more:.80}", found.len()));
            continue;
        };
        let moved = found["dfagent_unindexed"].as_array().is_some_and(|_| true);
        mended += u64::from(moved);
        if found["evidence_volume"] != "vol-0123" || found["evidence_slice"] != "0001-triage" {
            wrong.push(format!("labels: {found:.300}"));
        }
        match becomes {
            Same if moved => wrong.push(format!(
                "mended: {more:.80} {:.200}",
                found["dfagent_unindexed"]
            )),
            Mended(words) => {
                let query = format!(
                    "(odd_one:odd{number} OR dfagent_unindexed:odd{number}) AND dfagent_unindexed:\"{words}\""
                );
                if case.search(&query).len() != 1 {
                    wrong.push(format!(
                        "not found by {query}: {more:.80} {:.200}",
                        found["dfagent_unindexed"]
                    ));
                }
            }
            Same | Either => (),
        }
        let original: Value = serde_json::from_str(&lines[number]).unwrap_or_default();
        if *becomes == Same && !original.is_null() {
            let mut bare = found.clone();
            for name in ["__ts_timeline_id", "evidence_volume", "evidence_slice"] {
                bare.as_object_mut().unwrap().remove(name);
            }
            if bare != original {
                wrong.push(format!("changed: {more:.80}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{position:?} {wrong:#?}");
    assert_eq!(position.mended, mended);
    assert_eq!(
        case.search("odd_one:blanks AND evidence_volume:\"vol-0123\"")
            .len(),
        1
    );
    // A capped time keeps the document in a search by time, and its true value stands beside it.
    assert_eq!(case.search("datetime:[9999-01-01 TO *]").len(), 2);
    case.end();
    Ok(())
}
