//! What can be read off the source: the invariants of ARCHITECTURE.md and the house rules.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use dfagent::cli::Exit;
use regex::Regex;

/// Files that are one long table, and may be longer than others.
const TABLES: [&str; 0] = [];

/// The most lines of a file.
const MOST_LINES: usize = 500;

/// Modules, and the modules that they do not use.
const DIRECTIONS: [(&[&str], &[&str]); 11] = [
    (&["printable", "durable", "clock", "sys"], &["*"]),
    (
        &["evidence", "census", "plaso", "cage"],
        &["device", "policy", "engine", "delivery", "cli"],
    ),
    (
        &["export"],
        &["device", "policy", "engine", "delivery", "inside", "cli"],
    ),
    (&["inside"], &["engine", "cli"]),
    (
        &["secret", "http", "opensearch", "timesketch", "ec2"],
        &[
            "delivery", "engine", "job", "agent", "dispatch", "status", "ledger", "cli",
        ],
    ),
    (
        &["engine", "delivery", "manifest", "report", "job"],
        &["cli", "agent", "dispatch", "status", "ledger"],
    ),
    (
        &["device", "policy"],
        &["engine", "dispatch", "status", "ledger", "agent", "cli"],
    ),
    (
        &["dispatch"],
        &["engine", "status", "ledger", "telemetry", "agent", "cli"],
    ),
    (
        &["ledger", "hooks", "life", "telemetry", "status", "metrics"],
        &["agent", "cli"],
    ),
    (&["agent"], &["cli"]),
    (&["config"], &["engine", "delivery", "cli", "inside"]),
];

struct Source {
    /// Path from the checkout.
    name: String,
    /// All of it.
    text: String,
    /// The part that is no test, without comments.
    code: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    collect(&root().join("src"), &mut paths);
    paths.sort();
    assert!(paths.len() > 40, "{paths:?}");
    paths
        .iter()
        .map(|path| {
            let text = fs::read_to_string(path).unwrap();
            let name = path.strip_prefix(root()).unwrap();
            Source {
                name: name.to_str().unwrap().to_owned(),
                // A module of nothing but tests has this name, and so has the folder of its parts.
                code: if path.ends_with("tests.rs") || name.iter().any(|part| part == "tests") {
                    String::new()
                } else {
                    code_of(&text)
                },
                text,
            }
        })
        .collect()
}

/// Test modules stand at the end of a file.
fn code_of(text: &str) -> String {
    let before = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = before.lines();
    let code = lines.filter(|line| !line.trim_start().starts_with("//"));
    code.fold(String::new(), |all, line| all + line + "\n")
}

/// The module of ours that a file belongs to: `evidence` of `src/evidence/source.rs`.
fn module(name: &str) -> &str {
    let inner = name.strip_prefix("src/").unwrap();
    inner.split(['/', '.']).next().unwrap()
}

/// The modules of ours that code uses: after `crate::`, also in braces, and after `dfagent::`.
fn used(code: &str) -> BTreeSet<&str> {
    let one = Regex::new(r"\b(?:crate|dfagent)::([a-z0-9_]+)").unwrap();
    let braces = Regex::new(r"(?s)\b(?:crate|dfagent)::\{(.*?)\};").unwrap();
    let first = Regex::new(r"(?:^|,)\s*([a-z0-9_]+)").unwrap();
    let mut used: BTreeSet<&str> = one
        .captures_iter(code)
        .map(|found| found.get(1).unwrap().as_str())
        .collect();
    for group in braces.captures_iter(code) {
        let inner = group.get(1).unwrap().as_str();
        used.extend(
            first
                .captures_iter(inner)
                .map(|found| found.get(1).unwrap().as_str()),
        );
    }
    used
}

fn modules() -> Vec<String> {
    let declared = Regex::new(r"(?m)^pub mod ([a-z0-9_]+);").unwrap();
    let text = read("src/lib.rs");
    let found = declared.captures_iter(&text).map(|one| one[1].to_owned());
    found.collect()
}

fn assert_none(what: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{what}: {wrong:#?}");
}

/// Lines of the code, but for these files, that match.
fn hits(pattern: &str, but: &[&str]) -> Vec<String> {
    let pattern = Regex::new(pattern).unwrap();
    let mut hits = Vec::new();
    for source in sources() {
        if but.contains(&source.name.as_str()) {
            continue;
        }
        let lines = source.code.lines().filter(|line| pattern.is_match(line));
        hits.extend(lines.map(|line| format!("{}: {}", source.name, line.trim())));
    }
    hits
}

#[test]
fn every_file_says_what_it_is_for() {
    let wrong: Vec<String> = sources()
        .into_iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| source.name)
        .collect();
    assert_none("no //! at the head", &wrong);
}

#[test]
fn no_file_is_too_long() {
    let wrong: Vec<String> = sources()
        .iter()
        .filter(|source| !TABLES.contains(&source.name.as_str()))
        .map(|source| (source.text.lines().count(), source))
        .filter(|(lines, _)| *lines > MOST_LINES)
        .map(|(lines, source)| format!("{}: {lines} lines", source.name))
        .collect();
    assert_none("over 500 lines", &wrong);
}

#[test]
fn nothing_panics_on_purpose() {
    let pattern = r"\.unwrap\(\)|\.expect\(|\bpanic!|\bunreachable!|\bassert(_eq|_ne)?!";
    assert_none("outside of tests", &hits(pattern, &[]));
}

#[test]
fn nothing_is_left_for_later() {
    let pattern =
        Regex::new(r"\bTODO\b|\bFIXME\b|\bXXX\b|\btodo!|\bunimplemented!|\bdbg!").unwrap();
    let mut wrong = Vec::new();
    for source in sources() {
        let lines = source.text.lines().filter(|line| pattern.is_match(line));
        wrong.extend(lines.map(|line| format!("{}: {line}", source.name)));
    }
    assert_none("left", &wrong);
}

#[test]
fn dependencies_run_downward() {
    let known: BTreeSet<String> = modules().into_iter().collect();
    let mut wrong = Vec::new();
    for (from, to) in DIRECTIONS {
        for name in from {
            assert!(
                known.contains(*name),
                "the table names {name}, which is gone"
            );
        }
        for source in sources() {
            let module = module(&source.name);
            if !from.contains(&module) {
                continue;
            }
            let ours = used(&source.code);
            let ours = ours.iter().filter(|one| known.contains(**one));
            let against = ours.filter(|one| **one != module && (to == ["*"] || to.contains(one)));
            wrong.extend(against.map(|one| format!("{} uses {one}", source.name)));
        }
    }
    assert_none("against the direction", &wrong);
}

#[test]
fn uses_are_seen() {
    let code = "use crate::{durable, engine::{Engine, job}, plaso};\nfn x() { crate::cli::run() }\n\
                use crate::{\n    sys,\n};";
    let used = used(code);
    for name in ["durable", "engine", "plaso", "cli", "sys"] {
        assert!(used.contains(name), "{name}: {used:?}");
    }
}

/// What opens or makes a file to write to it.
const WRITABLE: &str = r"(?x)
    \.write\(true\) | \.append\(true\) | \.create(_new)?\( | \.truncate\( | File::(create|options) | fs::write
    | O_RDWR | O_WRONLY | durable::write | set_len | \.write_all | write_at";

#[test]
fn evidence_is_never_opened_for_writing() {
    assert!(
        Regex::new(WRITABLE)
            .unwrap()
            .is_match("OpenOptions::new().write(true)")
    );
    assert!(Regex::new(WRITABLE).unwrap().is_match("File::options()"));
    let wrong: Vec<String> = hits(WRITABLE, &[])
        .into_iter()
        .filter(|hit| hit.starts_with("src/evidence/") || hit.starts_with("src/sys.rs"))
        .collect();
    assert_none("a writable open", &wrong);
    let opens: Vec<String> = hits(r"O_RDWR|O_WRONLY", &[]);
    assert_none("flags of a writable open", &opens);
    let mounts: Vec<String> = hits(r"MsFlags::MS_RDONLY|\.mount\(|\bmount\(", &[])
        .into_iter()
        .filter(|hit| !hit.starts_with("src/evidence/"))
        .collect();
    assert_none("only evidence/ mounts", &mounts);
}

/// A clock that somebody sets must not decide anything: it only writes down when something was.
#[test]
fn deadlines_are_on_a_clock_that_nobody_sets() {
    let asks = hits(r"SystemTime|Timestamp::now|Zoned::now", &["src/clock.rs"]);
    assert_none("asks the wall clock", &asks);
}

#[test]
fn only_sys_is_unsafe_and_only_main_ends_the_process() {
    assert_none("unsafe", &hits(r"\bunsafe\b", &["src/sys.rs"]));
    assert_none(
        "ends the process",
        &hits(r"process::(exit|abort)|\blibc::_?exit\b", &["src/main.rs"]),
    );
}

#[test]
fn the_code_map_names_every_module() {
    let map = read("ARCHITECTURE.md");
    assert!(map.lines().count() <= 200, "at most 200 lines");
    for module in modules() {
        let named = [
            format!("`{module}`"),
            format!("{module}.rs"),
            format!("{module}/"),
        ];
        assert!(
            named.iter().any(|name| map.contains(name)),
            "ARCHITECTURE.md does not name {module}"
        );
    }
    let listed = Regex::new(r"(?m)^  ([a-z0-9_]+)(\.rs|/)").unwrap();
    let known = modules();
    for found in listed.captures_iter(&map) {
        let name = &found[1];
        assert!(
            name == "main" || known.iter().any(|module| module == name),
            "ARCHITECTURE.md names {name}, which is gone"
        );
    }
}

/// Rows `| 78 | configuration |` below the line that announces them.
fn readme_codes() -> Vec<(u8, String)> {
    let readme = read("README.md");
    let (_, table) = readme.split_once("All exit codes:").unwrap();
    let row = Regex::new(r"^\| (\d+) \| (.+) \|$").unwrap();
    let lines = table.lines().skip_while(|line| line.is_empty());
    let rows = lines.take_while(|line| line.starts_with('|'));
    rows.filter_map(|line| row.captures(line))
        .map(|found| (found[1].parse().unwrap(), found[2].to_owned()))
        .collect()
}

#[test]
fn the_readme_and_the_help_list_the_exit_codes_of_the_program() {
    let number = Regex::new(r"Self::(\w+) => (\d+),").unwrap();
    let source = read("src/cli/exit.rs");
    let codes: Vec<u8> = number
        .captures_iter(&source)
        .map(|found| found[2].parse().unwrap())
        .collect();
    let known = [
        Exit::Complete,
        Exit::Failed,
        Exit::Usage,
        Exit::Partial,
        Exit::Unreachable,
        Exit::NeedsOperator,
        Exit::Config,
    ];
    assert_eq!(codes, known.map(Exit::code));
    let readme = readme_codes();
    let numbers: Vec<u8> = readme.iter().map(|(code, _)| *code).collect();
    assert_eq!(numbers, codes, "README.md");
    let help = read("src/cli/args.rs");
    for (code, meaning) in readme {
        let line = Regex::new(&format!(r"(?m)^{code} +{}", regex::escape(&meaning))).unwrap();
        assert!(line.is_match(&help), "--help: {code} {meaning}");
    }
}
