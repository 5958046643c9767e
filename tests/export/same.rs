//! What is the same as psort's.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use libtest_mimic::{Failed, Trial};

use crate::exporters::{self, Case, Export, number};
use crate::lab::{Need, root, trial};

/// The kinds of storage files of generate.py, and what a trial claims of one.
const KINDS: [(&str, &str); 7] = [
    ("formatters", "every_formatter_and_kind_of_value"),
    ("streams", "every_type_of_path_specification"),
    ("order", "order_doubles_and_tags"),
    ("shuffled", "events_in_no_order_of_their_data"),
    ("years", "years_up_to_the_last"),
    ("absent", "what_is_missing"),
    ("raw", "json_in_other_forms"),
];

pub fn trials() -> Vec<Trial> {
    let plaso = [Need::Plaso];
    let mut trials: Vec<Trial> = KINDS
        .iter()
        .map(|(kind, claim)| {
            trial(format!("documents_are_psorts_of_{claim}"), &plaso, || {
                generated(kind)
            })
        })
        .collect();
    trials.push(trial(
        "documents_are_psorts_of_data_that_is_not_compressed",
        &plaso,
        uncompressed,
    ));
    trials.push(trial(
        "documents_are_psorts_in_the_earlier_format",
        &plaso,
        earlier,
    ));
    trials.push(trial(
        "documents_are_psorts_of_more_events_at_one_moment_than_it_puts_in_order_at_a_time",
        &plaso,
        many,
    ));
    trials.push(trial(
        "events_before_the_year_0_are_documents_though_psort_dies_of_them",
        &plaso,
        negative,
    ));
    trials.push(trial(
        "documents_are_psorts_with_the_formatters_of_timesketch",
        &[
            Need::Plaso,
            Need::Other(
                of_timesketch().exists(),
                "Timesketch (run `make setup-test`)",
            ),
        ],
        || custom(of_timesketch()),
    ));
    trials.push(trial(
        "documents_are_psorts_with_formatters_that_override_plasos",
        &plaso,
        || custom(exporters::here("formatters.yaml")),
    ));
    for (kind, claim) in [
        ("folder", "the_sample_files"),
        ("host", "a_folder_of_a_host"),
        ("disk", "a_disk"),
    ] {
        let needs = [Need::Plaso, Need::Program("mkfs.ext4")];
        trials.push(trial(
            format!("documents_are_psorts_of_what_log2timeline_finds_in_{claim}"),
            &needs,
            move || known(kind),
        ));
    }
    trials.push(trial(
        "the_comparison_sees_what_differs",
        &plaso,
        comparison,
    ));
    trials
}

fn generated(kind: &str) -> Result<(), Failed> {
    for seed in 1..=number("DFAGENT_TEST_SEEDS", 1) {
        eprintln!("{kind}: seed {seed}");
        let case = Case::new();
        let store = case.make("generate.py", &[kind], &["--seed", &seed.to_string()]);
        let done = case.assert_same(&store, None);
        assert!(done.receipt["documents"].as_u64() > Some(9));
    }
    Ok(())
}

fn uncompressed() -> Result<(), Failed> {
    let case = Case::new();
    let more = ["--compression", "none", "--events", "2"];
    let store = case.make("generate.py", &["formatters"], &more);
    case.assert_same(&store, None);
    Ok(())
}

/// Today's Plaso refuses the earlier format by its number, so what is right is said by the same file with today's, and
/// there is nothing here that only Plaso's code could write.
fn earlier() -> Result<(), Failed> {
    for kind in ["streams", "order"] {
        let case = Case::new();
        let store = case.make("generate.py", &[kind], &[]);
        let expected = case.psort(&store, None);
        fs::remove_file(&store)?;
        let store = case.make("generate.py", &[kind], &["--earlier"]);
        exporters::assert_equal(&expected, &case.ours(&store, None));
    }
    Ok(())
}

fn many() -> Result<(), Failed> {
    let case = Case::new();
    let store = case.make("many.py", &[], &["--events", "106000"]);
    let done = case.assert_same(&store, None);
    let (documents, duplicates) = (
        done.receipt["documents"].as_u64(),
        done.receipt["duplicates"].as_u64(),
    );
    assert!(documents > Some(90_000) && duplicates > Some(5_000));
    Ok(())
}

fn negative() -> Result<(), Failed> {
    let case = Case::new();
    let store = case.make("generate.py", &["positive"], &[]);
    let mut expected = case.psort(&store, None);
    let store = case.make("generate.py", &["negative"], &[]);
    let actual = case.ours(&store, None);
    let (before, after): (Vec<String>, Vec<String>) =
        lines(&actual).partition(|line| line.contains("\"datetime\":\"-"));
    assert_eq!(before.len(), 5, "{before:?}");
    let count = expected.receipt["documents"].as_u64().unwrap();
    assert_eq!(actual.receipt["documents"].as_u64(), Some(count + 5));
    let times: Vec<i64> = before
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|document| document["timestamp"].as_i64().unwrap())
        .collect();
    assert!(times.is_sorted() && times[0] == i64::MIN, "{times:?}");
    let rest = case.path("rest.jsonl");
    fs::write(
        &rest,
        after
            .iter()
            .map(|line| format!("{line}\n"))
            .collect::<String>(),
    )?;
    let mut actual = Export {
        documents: rest,
        receipt: serde_json::Value::Null,
    };
    expected.receipt = actual.receipt.take();
    exporters::assert_equal(&expected, &actual);
    Ok(())
}

fn lines(export: &Export) -> impl Iterator<Item = String> {
    let file = fs::File::open(&export.documents).unwrap();
    BufReader::new(file).lines().map(Result::unwrap)
}

fn of_timesketch() -> PathBuf {
    root().join("target/timesketch/python/share/timesketch/plaso_formatters.yaml")
}

fn custom(formatters: PathBuf) -> Result<(), Failed> {
    let case = Case::new();
    let more = ["--events", "4", "--custom", formatters.to_str().unwrap()];
    let store = case.make("generate.py", &["formatters"], &more);
    let plain = case.ours(&store, None);
    let plain: Vec<String> = lines(&plain).collect();
    fs::remove_file(case.path("ours.jsonl"))?;
    let with = case.assert_same(&store, Some(&formatters));
    assert!(
        lines(&with).zip(plain).any(|(one, other)| one != other),
        "these formatters make a difference"
    );
    Ok(())
}

fn known(kind: &str) -> Result<(), Failed> {
    let case = Case::new();
    let store = case.make("known.py", &[kind], &[]);
    let done = case.assert_same(&store, None);
    assert!(done.receipt["documents"].as_u64() > Some(400));
    assert_eq!(
        done.receipt["by_plaso"].as_u64(),
        Some(0),
        "what log2timeline finds on Linux needs none of Plaso's code"
    );
    Ok(())
}

/// Each change of a document is one that the comparison sees, and the order of a path specification's keys none.
fn comparison() -> Result<(), Failed> {
    let case = Case::new();
    let write = |name: &str, text: &str| {
        let path = case.path(name);
        fs::write(&path, text).unwrap();
        path
    };
    let document =
        r#"{"a":1,"path_spec":"{\"b\": 1, \"c\": \"\\\"\"}","x":"<O object at 0x7f00>"}"#;
    let same = r#"{"a":1,"path_spec":"{\"c\": \"\\\"\", \"b\": 1}","x":"<O object at 0x1>"}"#;
    let other = r#"{"b":2}"#;
    let expected = write("expected", &format!("{document}\n{other}\n"));
    let code = |actual: String| {
        let mut command = exporters::python(&exporters::here("compare.py"));
        command.arg(&expected).arg(write("actual", &actual));
        crate::lab::finish(&mut command).code
    };
    assert_eq!(code(format!("{same}\n{other}\n")), 0);
    for changed in [
        format!("{other}\n{document}\n"),
        format!("{document}\n"),
        format!("{document}\n{other}\n{other}\n"),
        format!("{document}\n{other}"),
        format!("{document}\n{}\n", other.replace(':', ": ")),
        format!("{}\n{other}\n", document.replace("\"a\":1", "\"a\":1.0")),
        format!(
            "{}\n{other}\n",
            document.replace("\\\"b\\\": 1", "\\\"b\\\": 2")
        ),
        format!(
            r#"{{"path_spec":"{{\"b\": 1, \"c\": \"\\\"\"}}","a":1,"x":""}}{}"#,
            "\n"
        ),
    ] {
        assert_eq!(code(changed.clone()), 1, "{changed}");
    }
    Ok(())
}
