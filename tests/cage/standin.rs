//! A stand-in for a Plaso environment: it answers the question for its version, and runs another program in
//! the place of log2timeline, in the real cage.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::lab;

/// The oldest release that is good enough.
pub const GOOD: u32 = 20_260_720;

/// Makes an environment that says this release and then runs `program` with what Python was called with.
pub fn make(folder: &Path, release: u32, program: &str) -> PathBuf {
    let bin = folder.join("bin");
    fs::create_dir_all(&bin).unwrap();
    let answer = format!(r#"{{"plaso":{release},"python":"3.11.2","libfsxfs":null}}"#);
    let python = format!(
        "#!/bin/sh\nif [ \"$1\" = -I ]; then\n    echo '{answer}'\nelse\n    exec {program} \"$@\"\nfi\n"
    );
    fs::write(bin.join("python"), python).unwrap();
    fs::write(bin.join("log2timeline"), "").unwrap();
    fs::set_permissions(bin.join("python"), fs::Permissions::from_mode(0o755)).unwrap();
    folder.to_path_buf()
}

/// An environment that does one of the deeds of standin.py.
pub fn doing(folder: &Path, deed: &str) -> PathBuf {
    let script = lab::root().join("tests/cage/standin.py");
    make(
        folder,
        GOOD,
        &format!("/usr/bin/python3 -B /plaso/standin.py {deed}"),
    );
    fs::copy(script, folder.join("standin.py")).unwrap();
    folder.to_path_buf()
}

/// The program under test with this environment; `settings` such as `("CAGE__FILE_MIB", "100")`.
pub fn dfagent_with(environment: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = lab::dfagent();
    command.env("DFAGENT__PLASO__ENVIRONMENT", environment);
    set(&mut command, settings);
    command
}

/// Lines in each log of [`make_source`].
pub const LINES: usize = 20;

/// Makes a folder source with a log and a filter file for each slice; the arguments of `process` for it.
pub fn make_source(work: &Path, slices: usize) -> Vec<String> {
    let path = |name: &str| work.join(name).to_str().unwrap().to_owned();
    let mut words = vec!["process".to_owned(), path("tree")];
    words.extend(["--to".to_owned(), path("out")]);
    for number in 0..slices {
        let log = work.join(format!("tree/var/log/log{number}"));
        fs::create_dir_all(log.parent().unwrap()).unwrap();
        let lines = (0..LINES).map(|second| {
            format!(
                "Nov 20 10:0{number}:{:02} tree-01 sshd[9]: line {second} of log {number}\n",
                second + 10
            )
        });
        fs::write(&log, lines.collect::<String>()).unwrap();
        let filter = path(&format!("{number}0-part.yaml"));
        let text = format!("type: include\npaths:\n- /var/log/log{number}\n");
        fs::write(&filter, text).unwrap();
        words.extend(["--filter".to_owned(), filter]);
    }
    words
}

/// A storage file of a real run over the same source.
pub fn real_storage(work: &Path, to: &Path) {
    let mut words = make_source(work, 1);
    words[3] = work.join("real").to_str().unwrap().to_owned();
    let done = lab::finish(lab::dfagent().args(words).args(["--parsers", "filestat"]));
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    let slices = fs::read_dir(lab::job_folder(&work.join("real")).join("slices")).unwrap();
    let slice = slices.flatten().next().unwrap().path();
    fs::copy(slice.join("storage.plaso"), to).unwrap();
}

/// Gives settings by the environment.
pub fn set(command: &mut Command, settings: &[(&str, &str)]) {
    for (key, value) in settings {
        command.env(format!("DFAGENT__{key}"), value);
    }
}

/// Looks again and again until there is something to be seen; none when the time is over.
pub fn seen_within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        let seen = look();
        if seen.is_some() || Instant::now() >= end {
            return seen;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Whether a condition holds within the limit.
pub fn holds_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    seen_within(limit, || condition().then_some(())).is_some()
}

/// Living processes whose mounts show the mark: a cage over something below that folder. Their pids and words.
pub fn caged(mark: &str) -> Vec<(u32, Vec<String>)> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let found = pids.filter_map(|pid| {
        let text = |name: &str| {
            let bytes = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        if !text("mountinfo").contains(mark) || text("stat").contains(") Z ") {
            return None;
        }
        let words = text("cmdline");
        let words = words.split_terminator('\0').map(str::to_owned).collect();
        Some((pid, words))
    });
    found.collect()
}
