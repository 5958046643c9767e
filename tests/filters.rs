//! The collection filter and the parser list that ship: their rules, and that Plaso understands them as we do.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by a panic"
)]

mod lab;
#[path = "filters/samples.rs"]
mod samples;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use dfagent::census::filter::CollectionFilter;
use dfagent::census::walk::walk;
use flate2::read::GzDecoder;
use lab::{Need, tool, trial};
use libtest_mimic::Failed;

fn main() {
    let plaso = [Need::Plaso];
    let journal_remote = Need::Other(
        ["/lib", "/usr/lib"]
            .iter()
            .any(|folder| Path::new(folder).join(JOURNAL_REMOTE).exists()),
        "systemd-journal-remote",
    );
    lab::run(vec![
        trial("filter_files_have_plasos_keys_only", &[], keys),
        trial("every_path_keeps_the_rules", &[], rules),
        trial("the_rules_find_mistakes", &[], rules_find),
        trial("a_reason_stands_above_every_path", &[], reasons),
        trial("no_two_paths_of_a_file_take_the_same", &[], disjoint),
        trial(
            "plaso_takes_each_filter_file_and_all_in_one",
            &plaso,
            accepted,
        ),
        trial("our_filters_take_what_plaso_takes", &plaso, same_as_plaso),
        trial(
            "odd_patterns_take_what_plaso_takes",
            &plaso,
            odd_same_as_plaso,
        ),
        trial(
            "plaso_knows_every_parser_of_the_list",
            &plaso,
            samples::parsers,
        ),
        trial("every_sample_gives_its_events", &plaso, || {
            samples::samples(|data_type| data_type != JOURNAL)
        }),
        trial(
            "the_journal_sample_gives_its_events",
            &[Need::Plaso, journal_remote],
            || samples::samples(|data_type| data_type == JOURNAL),
        ),
    ]);
}

const JOURNAL: &str = "systemd:journal";
const JOURNAL_REMOTE: &str = "systemd/systemd-journal-remote";

/// Where the trials work: below the target folder, made anew for each run.
static WORK: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("filters");
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&folder).unwrap();
    folder
});

fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    dfagent::durable::write(path, bytes.as_ref()).unwrap();
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The filter files that ship, in order.
fn shipped() -> Vec<(String, String)> {
    let folder = lab::root().join("packaging/usr/share/dfagent/filters");
    let mut files: Vec<(String, String)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    assert!(files.iter().all(|(name, _)| name.ends_with(".yaml")));
    files
}

/// The files' texts behind each other: each is a stream of documents that begin with `---`.
fn joined(files: &[(String, String)]) -> String {
    files.iter().map(|(_, text)| text.as_str()).collect()
}

fn read(files: &[(String, String)]) -> CollectionFilter {
    let files = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()));
    CollectionFilter::read(files).unwrap()
}

/// The paths of a file as they stand there.
fn paths(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("- "))
        .collect()
}

// --- rules

fn keys() -> Result<(), Failed> {
    for (name, text) in shipped() {
        for (index, document) in text.split("---\n").enumerate() {
            if index == 0 {
                assert_eq!(document, "", "{name}: a document begins with ---");
                continue;
            }
            let found: Vec<&str> = document
                .lines()
                .filter(|line| !line.starts_with(['#', '-']))
                .map(|line| line.split_once(':').map_or(line, |(key, _)| key))
                .collect();
            let expected = ["description", "type", "path_separator", "paths"];
            assert_eq!(found, expected, "{name}, document {index}");
            for line in ["type: include", "path_separator: '/'", "paths:"] {
                assert!(
                    document.lines().any(|found| found == line),
                    "{name}, document {index}: {line}"
                );
            }
        }
    }
    Ok(())
}

/// What is wrong with a path, by the rules of the head of 10-triage.yaml.
fn mistake(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        return Some("not absolute");
    }
    if path.ends_with('/') || path.contains("//") {
        return Some("an empty name");
    }
    let (mut depth, mut class) = (0, false);
    let mut characters = path.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            ']' => class = false,
            '/' if class || depth > 0 => return Some("a slash inside brackets"),
            _ if class => {}
            '[' => class = true,
            '(' => depth += 1,
            ')' => depth -= 1,
            '|' if depth == 0 => return Some("alternatives without parentheses"),
            '.' if !matches!(characters.peek(), Some('+' | '*')) => return Some("a bare dot"),
            '\\' => return Some("a backslash: a dot is [.]"),
            '%' | '{' => return Some("Plaso expands it"),
            '^' | '$' => return Some("an anchor: a name is matched whole"),
            '#' | ' ' | '\'' | '"' => return Some("YAML sees something else in it"),
            _ => {}
        }
    }
    (depth != 0 || class).then_some("a bracket without its other half")
}

fn rules() -> Result<(), Failed> {
    let mut wrong = Vec::new();
    for (name, text) in shipped() {
        for path in paths(&text) {
            if let Some(mistake) = mistake(path) {
                wrong.push(format!("{name}: {path}: {mistake}"));
            }
        }
        let read = read(&[(name.clone(), text.clone())]);
        let as_read: Vec<&str> = read.patterns.iter().map(|one| one.text.as_str()).collect();
        assert_eq!(as_read, paths(&text), "{name}: YAML and lines say the same");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

fn rules_find() -> Result<(), Failed> {
    for path in [
        "var/log",
        "/var/log/",
        "/var//log",
        "/home/[^/]+/x",
        "/var/(log/a|b)",
        "/etc/a|b",
        "/var/log/auth.log",
        "/.ssh",
        "/var/log/auth\\.log",
        "/a/%x%",
        "/a/(b",
        "/a/b$",
    ] {
        assert!(mistake(path).is_some(), "{path} is a mistake");
    }
    for path in ["/[.].+", "/[^.].*[.](sh|p?y)", "/usr/lib64/x-y"] {
        assert_eq!(mistake(path), None, "{path}");
    }
    Ok(())
}

/// A group of paths is a run of them without a comment between; the first group of a document may have its
/// reason at the document's head.
fn reasons() -> Result<(), Failed> {
    for (name, text) in shipped() {
        let mut reason = false;
        for (number, line) in text.lines().enumerate() {
            if line == "---" {
                reason = false;
            } else if let Some(comment) = line.strip_prefix('#') {
                reason |= comment.len() > 10;
            } else if line.starts_with("- ") {
                assert!(reason, "{name}, line {}: no reason above it", number + 1);
            } else if line == "paths:" {
                // What stands above is the head.
            } else {
                assert!(line.contains(": "), "{name}, line {}", number + 1);
            }
        }
        let comments = text.lines().filter(|line| line.starts_with('#')).count();
        let paths = paths(&text).len();
        assert!(
            comments * 4 >= paths,
            "{name}: {comments} lines of reasons for {paths} paths"
        );
    }
    Ok(())
}

// --- sample paths

/// Names that one part of a path matches: every alternative, with and without what is optional.
fn names(part: &str) -> Vec<String> {
    let mut characters: Vec<char> = part.chars().rev().collect();
    let names = alternatives(&mut characters);
    assert!(characters.is_empty(), "{part}");
    names
}

/// Reads alternatives up to a closing parenthesis or the end; characters are taken from the end of `rest`.
fn alternatives(rest: &mut Vec<char>) -> Vec<String> {
    let mut done = Vec::new();
    let mut current = vec![String::new()];
    loop {
        let atom = match rest.pop() {
            None | Some(')') => {
                done.append(&mut current);
                return done;
            }
            Some('|') => {
                done.append(&mut current);
                current = vec![String::new()];
                continue;
            }
            Some('(') => alternatives(rest),
            Some('[') => {
                let mut class = String::new();
                while let Some(character) = rest.pop().filter(|one| *one != ']') {
                    class.push(character);
                }
                let negated = class.starts_with('^');
                vec![if negated {
                    "q".to_owned()
                } else {
                    class[..1].to_owned()
                }]
            }
            Some('.') => vec!["sample".to_owned()],
            Some(character) => vec![character.to_string()],
        };
        let quantifier = rest.pop_if(|one| matches!(one, '?' | '*' | '+'));
        let mut atom = atom;
        if matches!(quantifier, Some('?' | '*')) {
            atom.push(String::new());
        }
        current = current
            .iter()
            .flat_map(|before| atom.iter().map(move |after| format!("{before}{after}")))
            .collect();
    }
}

/// Paths that a pattern matches.
fn expand(pattern: &str) -> Vec<String> {
    pattern
        .split('/')
        .skip(1)
        .fold(vec![String::new()], |paths, part| {
            let names = names(part);
            paths
                .iter()
                .flat_map(|path| names.iter().map(move |name| format!("{path}/{name}")))
                .collect()
        })
}

fn takers(filter: &CollectionFilter, path: &str) -> Vec<String> {
    let names: Vec<&str> = path.split('/').skip(1).collect();
    let all = filter.patterns.iter();
    all.filter(|pattern| pattern.takes(&names))
        .map(|pattern| pattern.text.clone())
        .collect()
}

fn disjoint() -> Result<(), Failed> {
    assert_eq!(
        names("su(do)?[.]l[^.]*"),
        ["sudo.lq", "sudo.l", "su.lq", "su.l"]
    );
    let mut wrong = BTreeSet::new();
    for (name, text) in shipped() {
        let filter = read(&[(name.clone(), text.clone())]);
        for pattern in &filter.patterns {
            for path in expand(&pattern.text) {
                let takers = takers(&filter, &path);
                assert!(takers.contains(&pattern.text), "{path} of {}", pattern.text);
                if takers.len() > 1 {
                    wrong.insert(format!("{name}: {path} is taken by {takers:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

// --- Plaso

/// Runs log2timeline over a folder; what it logged, which with --quiet are complaints only.
fn log2timeline(name: &str, source: &Path, more: &[&str]) -> (PathBuf, String) {
    let store = WORK.join(format!("{name}.plaso"));
    let log = WORK.join(format!("{name}.log.gz"));
    let program = lab::plaso().join("bin/log2timeline");
    let mut arguments = vec![
        "--unattended",
        "--quiet",
        "--status_view",
        "none",
        "--single_process",
        "--hashers",
        "none",
        "--timezone",
        "UTC",
        "--logfile",
        text(&log),
        "--storage_file",
        text(&store),
    ];
    arguments.extend(more);
    arguments.push(text(source));
    tool(text(&program), &arguments);
    let mut said = String::new();
    // Without a complaint there is no log.
    if let Ok(packed) = fs::File::open(&log) {
        GzDecoder::new(packed).read_to_string(&mut said).unwrap();
    }
    (store, said)
}

fn accepted() -> Result<(), Failed> {
    let source = WORK.join("accepted");
    for path in ["var/log/auth.log", "var/log/syslog", "etc/hosts", "x"] {
        write(&source.join(path), "text\n");
    }
    let mut files = shipped();
    files.push(("all.yaml".to_owned(), joined(&files)));
    for (name, filter) in files {
        let file = WORK.join(&name);
        write(&file, &filter);
        let more = ["--parsers", "filestat", "--file_filter", text(&file)];
        let (store, said) = log2timeline(&name, &source, &more);
        let complaint = said
            .lines()
            .find(|line| line.contains("[WARNING]") || line.contains("[ERROR]"));
        assert_eq!(complaint, None, "{name}");
        let events = samples::events(&store, &source);
        assert!(!events.is_empty(), "{name}: nothing found");
        assert!(!events.contains_key(&("x".into(), "fs:stat".into())));
    }
    Ok(())
}

fn found_by_plaso(name: &str, filter: &str, folder: &Path) -> BTreeSet<String> {
    let file = WORK.join(format!("{name}.yaml"));
    write(&file, filter);
    let python = lab::plaso().join("bin/python");
    let script = lab::root().join("tests/filters/find_paths.py");
    let found = tool(text(&python), &[text(&script), text(&file), text(folder)]);
    serde_json::from_str(&found).unwrap()
}

fn found_by_us(files: &[(String, String)], folder: &Path) -> BTreeSet<String> {
    let walked = walk(folder, &read(files), &[]);
    assert_eq!(walked.counts.unreadable, 0);
    walked
        .entries
        .keys()
        .map(|path| String::from_utf8(path.as_bytes().to_vec()).unwrap())
        .collect()
}

/// Makes a file or, at every second path, a folder with something in it, where nothing else is in the way.
fn plant(root: &Path, paths: impl IntoIterator<Item = String>) -> usize {
    let mut planted = 0;
    for (index, path) in paths.into_iter().enumerate() {
        let mut place = root.join(path.trim_start_matches('/'));
        if index % 2 == 1 {
            place.push("below");
            place.push("Deeper\n");
        }
        let free = !place.exists() && fs::create_dir_all(place.parent().unwrap()).is_ok();
        if free && fs::File::create(&place).is_ok() {
            planted += 1;
        }
    }
    planted
}

fn assert_same(ours: &BTreeSet<String>, plasos: &BTreeSet<String>) {
    let few = |one: &BTreeSet<String>, other: &BTreeSet<String>| -> Vec<String> {
        one.difference(other).take(10).cloned().collect()
    };
    let none: Vec<String> = Vec::new();
    assert_eq!(few(plasos, ours), none, "only Plaso takes these");
    assert_eq!(few(ours, plasos), none, "only we take these");
}

fn same_as_plaso() -> Result<(), Failed> {
    let files = shipped();
    let mut wanted = Vec::new();
    for pattern in read(&files).patterns {
        let all = expand(&pattern.text);
        // Some of each pattern's paths, and what is next to them.
        for path in all.iter().step_by(1 + all.len() / 3) {
            let odd = match wanted.len() % 7 {
                0 => path.to_uppercase(),
                1 => format!("{path}\n"),
                2 => format!("{path}\n\n"),
                3 => format!("{path}~"),
                4 => path.replacen('/', "/x", 2),
                5 => path.replace('s', "ſ").replace('K', "\u{212a}"),
                _ => path.replace("sample", "Größe 名前\u{1f600}"),
            };
            wanted.extend([path.clone(), odd]);
        }
    }
    let root = WORK.join("tree");
    let planted = plant(&root, wanted);
    assert!(planted >= 300, "{planted} paths planted");
    let ours = found_by_us(&files, &root);
    assert_same(&ours, &found_by_plaso("ours", &joined(&files), &root));
    let all = found_by_us(
        &[("0.yaml".into(), "type: include\npaths: ['/.+']\n".into())],
        &root,
    );
    assert!(ours.len() >= 300 && ours.len() + 100 <= all.len());
    Ok(())
}

/// Alternatives, classes, anchors and flags as a filter file of a site may use them.
const ODD: &str = r"type: include
description: odd
paths:
- /group/a(b|c)d?/x[0-9]{1,3}[.]log
- /open|ended
- /class/[^a-c.][!-~]+
- /class/[]x]y
- /anchor/^start
- /anchor/end$
- /anchor/strict\Z
- /anchor/\Aboth\Z
- /anchor/(^a|b$)c?
- /case/(?-i:Exact)
- /case/(?i:straße|Σ)
- /digits/\d+
- /words/\w+
- /space/\S*\s\S*
- /lazy/a.*?b
- /escape/\[x\]\{y\}\.z
- /dot/.
- /deep/.+/.+/leaf
- /deep/(.*)/(?:x)/leaf
- '/boundary/\bone\b.*'
";

fn odd_same_as_plaso() -> Result<(), Failed> {
    let paths = "group/abd/x1.log group/ac/x123.LOG group/ac/x1234.log group/abcd/x1.log group/ab/x1_log \
                 open openly opex ended ENDED ende unended class/dog class/Add class/.x class/d class/Étude class/]y \
                 class/xy class/zy class/é! class/!~ \
                 anchor/start anchor/starts anchor/end anchor/ended anchor/strict anchor/STRICT anchor/both \
                 anchor/a anchor/ac anchor/b anchor/bc anchor/bb case/Exact case/exact case/EXACT \
                 case/straße case/STRAẞE case/strasse case/σ case/ς case/Σ digits/1 digits/٣ digits/1a digits/² \
                 words/a_1 words/été words/名前 words/a-b words/Ж lazy/ab lazy/axxb lazy/abc lazy/AB \
                 escape/[x]{y}.z escape/xy.z escape/[X]{Y}.Z dot/a dot/é dot/名 dot/😀 dot/ab deep/a/b/leaf deep/a/leaf \
                 deep/a/x/leaf deep/A/X/LEAF deep/a/b/c/leaf boundary/one boundary/one,two boundary/ones group/ſ \
                 case/eKact open/a/b/c other/x.log";
    let mut wanted: Vec<String> = paths.split_whitespace().map(str::to_owned).collect();
    let mut more: Vec<String> = wanted.iter().map(|path| format!("{path}\n")).collect();
    more.extend(wanted.iter().map(|path| format!("{path}\n\n")));
    more.extend(
        [
            "space/a b",
            "space/a\tb",
            "space/ab",
            "space/a\u{a0}b",
            "space/ ",
            "dot/\n",
        ]
        .map(str::to_owned),
    );
    wanted.extend(more);
    let root = WORK.join("odd");
    // Files only: each name stands for itself. Not in it: a newline after a `$` that a pattern has of its own,
    // which Python passes and we do not; İ and ı, which are an i for Python without case.
    let own_dollar = |path: &String| path.starts_with("anchor/end") || path.starts_with("anchor/b");
    wanted.retain(|path| !(own_dollar(path) && path.ends_with('\n')));
    for path in wanted {
        let place = root.join(path);
        if fs::create_dir_all(place.parent().unwrap()).is_ok() && !place.exists() {
            drop(fs::File::create(place));
        }
    }
    let ours = found_by_us(&[("odd.yaml".into(), ODD.into())], &root);
    assert_same(&ours, &found_by_plaso("odd", ODD, &root));
    assert!(ours.len() > 60, "{ours:?}");
    Ok(())
}
