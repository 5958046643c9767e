//! Evidence that is damaged, or made to hurt.

use std::fs;
use std::path::Path;
use std::time::Instant;

use libtest_mimic::{Failed, Trial};

use super::{HANGING, PARSERS, count, lab, reason, standin, timeline};
use lab::{Finished, Need, finish, generate, job_folder, manifest, process, reasons, trial};
use standin::{LINES, make_source};

const JOURNAL: &str = "/var/log/journal/0123456789abcdef0123456789abcdef/system.journal";

pub fn trials() -> Vec<Trial> {
    let real = [Need::Root, Need::Plaso];
    let image = [Need::Root, Need::Plaso, Need::Driver("ext4")];
    vec![
        trial(
            "a_journal_without_end_costs_that_file_and_no_other",
            &real,
            journal_without_end,
        ),
        trial(
            "a_truncated_journal_is_partial_and_named",
            &real,
            truncated_journal,
        ),
        trial(
            "an_enriched_audit_log_gives_all_its_events",
            &real,
            audit_log,
        ),
        trial("a_log_that_gives_nothing_is_named", &real, silent_log),
        trial(
            "hostile_names_links_and_nodes_hurt_nobody",
            &image,
            hostile_image,
        ),
    ]
}

/// A folder source with a journal beside a log.
fn with_journal(work: &Path, kind: &str) -> Vec<String> {
    let mut words = make_source(work, 1);
    let journal = work.join(format!("tree{JOURNAL}"));
    fs::create_dir_all(journal.parent().unwrap()).unwrap();
    generate("hostile.py", &[kind, journal.to_str().unwrap()]);
    fs::write(
        work.join("00-part.yaml"),
        "type: include\npaths:\n- /var/log\n",
    )
    .unwrap();
    words.extend(["--parsers".to_owned(), PARSERS.to_owned()]);
    words
}

fn journal_without_end() -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    let mut command = lab::dfagent();
    standin::set(&mut command, &[("PLASO__BUSY_LIMIT_SECONDS", "8")]);
    let done = finish(command.args(with_journal(work.path(), "--journal-loop")));
    assert_eq!(done.code, 3, "{}{}", done.out, done.err);
    let out = work.path().join("out");
    let manifest = manifest(&out);
    assert_eq!(reasons(&manifest), ["stalled"]);
    let said = reason(&manifest, "stalled");
    assert!(said.contains(&format!("[\"{JOURNAL}\"]")), "{said}");
    let timeline = timeline(&out);
    assert_eq!(count(&timeline, "of log 0"), LINES, "all of the other file");
    Ok(())
}

fn truncated_journal() -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    let words = with_journal(work.path(), "--journal-truncated");
    let done = finish(lab::dfagent().args(words));
    assert_eq!(done.code, 3, "{}{}", done.out, done.err);
    let out = work.path().join("out");
    let said = reason(&manifest(&out), "warnings");
    assert!(said.contains(JOURNAL), "{said}");
    assert_eq!(count(&timeline(&out), "of log 0"), LINES);
    Ok(())
}

/// A folder source with the audit log of the samples; its lines are counted in expected.tsv.
fn with_audit_log(work: &Path) {
    let samples = lab::root().join("tests/filters/samples");
    let log = work.join("tree/var/log/audit/audit.log");
    fs::create_dir_all(log.parent().unwrap()).unwrap();
    fs::copy(samples.join("var/log/audit/audit.log"), &log).unwrap();
    let text = fs::read(&log).unwrap();
    assert!(text.contains(&0x1D), "the separator of an enriched log");
}

fn audit_log() -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    with_audit_log(work.path());
    let out = work.path().join("out");
    let done = process(&work.path().join("tree"), &out, &[]);
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    let lines = timeline(&out);
    let events = lines
        .lines()
        .filter(|line| line.contains(r#""selinux:line""#));
    assert_eq!(events.count(), 3);
    Ok(())
}

/// With the parser of audit logs alone Plaso passes over an enriched one without a word.
fn silent_log() -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    with_audit_log(work.path());
    let out = work.path().join("out");
    let parsers = ["--parsers", "filestat,text/selinux"];
    let done = process(&work.path().join("tree"), &out, &parsers);
    assert_eq!(done.code, 3, "{}{}", done.out, done.err);
    let said = reason(&manifest(&out), "silent");
    assert!(said.contains(r#"["/var/log/audit/audit.log"]"#), "{said}");
    Ok(())
}

fn hostile_image() -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    let (image, out) = (work.path().join("hostile.img"), work.path().join("out"));
    generate("hostile.py", &[&image]);
    let before = fs::metadata("/etc/shadow")?.modified()?;
    let begun = Instant::now();
    let done = process(&image, &out, &["--parsers", PARSERS]);
    assert!(begun.elapsed() < HANGING, "{:?}", begun.elapsed());
    assert_eq!(done.code, 3, "{}{}", done.out, done.err);
    assert_eq!(fs::metadata("/etc/shadow")?.modified()?, before);

    let manifest = manifest(&out);
    let undecodable = reason(&manifest, "undecodable_names");
    for name in [
        r"bad-utf8-\\xff\\xfe\\xc3(.log",
        r"half-utf8-\\xe2\\x82.log",
    ] {
        assert!(
            undecodable.contains(name),
            "{name} is not in: {undecodable}"
        );
    }
    let links = manifest["filesystems"][0]["links"].to_string();
    assert!(links.contains("/var/log/to-passwd-by-dots"), "{links}");
    assert!(links.contains("leads out of the evidence"), "{links}");
    assert_eq!(manifest["custody"]["differences"], serde_json::json!([]));
    assert_printable(&job_folder(&out), &done);
    all_lines_are_there(&timeline(&out));
    Ok(())
}

/// No control character but the line feed, and nothing that turns text round.
fn assert_printable(job: &Path, done: &Finished) {
    let texts = [
        done.out.clone(),
        done.err.clone(),
        fs::read_to_string(job.join("report.txt")).unwrap(),
        fs::read_to_string(job.join("manifest.json")).unwrap(),
    ];
    for text in texts {
        let odd =
            |c: &char| (c.is_control() && *c != '\n') || ('\u{202a}'..='\u{202e}').contains(c);
        assert_eq!(text.chars().find(odd), None, "{text}");
    }
}

/// Every log with a decodable name was read, whatever the name, and nothing beside the evidence.
fn all_lines_are_there(timeline: &str) {
    // The names in hostile.py; 6 to 8 are not UTF-8.
    let (names, undecodable) = (34, 6..9);
    for number in 0..names {
        let line = format!("hostile name {number:02}");
        assert_eq!(
            timeline.contains(&line),
            !undecodable.contains(&number),
            "{line}"
        );
    }
    for line in [
        "at the end of a deep chain",
        "small letters",
        "capital letters",
        "one line before a hole",
    ] {
        assert!(timeline.contains(line), "{line}");
    }
    let shadow = fs::read_to_string("/etc/shadow").unwrap();
    let secret = shadow.lines().next().unwrap();
    assert!(!timeline.contains(secret), "the host's /etc/shadow");
}
