//! The contract of the command line: help, output for people and for programs, errors, exit codes.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic"
)]

mod lab;
#[path = "cli/refusals.rs"]
mod refusals;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use clap::CommandFactory as _;
use dfagent::cli::args::Cli;
use insta::assert_snapshot;
use lab::{Finished, Need, dfagent, finish, job_folder, process, trial};
use libtest_mimic::Failed;
use regex::Regex;
use serde_json::Value;

fn main() {
    let mut trials = vec![
        trial("help_is_as_it_was_and_80_columns_wide", &[], help),
        trial("the_version_is_one_line", &[], version),
        trial("definitions_are_consistent", &[], definitions),
        trial("hidden_commands_are_shown_nowhere", &[], hidden),
        trial(
            "man_pages_and_completions_are_made_for_every_command",
            &[],
            assets,
        ),
        trial(
            "the_schema_of_the_manifest_is_the_checked_in_one",
            &[],
            manifest_schema,
        ),
        trial("a_full_disk_under_stdout_is_an_error", &[], full_stdout),
    ];
    trials.extend(refusals::trials());
    let real = [Need::Root, Need::Plaso];
    for (name, test) in [
        (
            "process_of_a_readable_source_prints_complete",
            complete as fn() -> _,
        ),
        ("process_of_an_unreadable_log_prints_partial", partial),
        ("process_json_is_the_manifest_and_fits_its_schema", json),
        ("a_done_job_says_so_and_a_broken_pipe_is_fine", broken_pipe),
        ("verify_names_what_is_same_changed_and_missing", verify),
        (
            "verify_compares_an_image_with_its_fingerprint",
            verify_image,
        ),
        ("an_encrypted_image_needs_an_operator", encrypted),
        (
            "a_job_begun_with_other_parsers_needs_an_operator",
            other_terms,
        ),
        ("check_has_a_line_for_every_part", check),
        (
            "without_root_the_program_says_so_and_reads_nothing",
            unprivileged,
        ),
    ] {
        trials.push(trial(name, &real, test));
    }
    lab::run(trials);
}

/// Where the trials work: below the target folder, made anew for each run.
static WORK: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli");
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

fn run(arguments: &[&str]) -> Finished {
    finish(dfagent().args(arguments).env("COLUMNS", "80"))
}

/// The job over a small folder that is read completely, run once.
static COMPLETE: LazyLock<(Finished, PathBuf)> = LazyLock::new(|| {
    let source = WORK.join("complete/source");
    let sample = lab::root().join("tests/filters/samples/var/log/auth.log");
    write(
        &source.join("var/log/auth.log"),
        fs::read(sample).unwrap().as_slice(),
    );
    write(&source.join("etc/hostname"), "web01\n");
    write(&source.join("etc/timezone"), "Etc/UTC\n");
    let out = WORK.join("complete/out");
    (process(&source, &out, &["--case", "4711"]), out)
});

/// The job over a folder with a log that no parser reads, run once.
static PARTIAL: LazyLock<(Finished, PathBuf)> = LazyLock::new(|| {
    let source = WORK.join("partial/source");
    write(&source.join("var/log/auth.log"), "no log line at all\n");
    let filter = WORK.join("partial/10-logins.yaml");
    write(&filter, "type: include\npaths:\n- /var/log/auth[.]log\n");
    let out = WORK.join("partial/out");
    let more = [
        "--filter",
        text(&filter),
        "--parsers",
        "filestat,text/syslog",
    ];
    (process(&source, &out, &more), out)
});

/// An output with everything replaced that differs from run to run or from machine to machine.
fn steady(output: &str) -> String {
    let mut output = output.replace(text(&WORK), "DIR");
    for (pattern, word) in [
        (r"source-[0-9a-f]{8}", "source-KEY"),
        (r"\d{4}-\d\d-\d\dT[0-9:.]+(Z|\+00:00)", "TIME"),
        (
            r"\d{8} on Python \d+\.\d+\.\d+",
            "RELEASE on Python VERSION",
        ),
        (r"(?m) +\d+\.\d  (complete|partial|failed)$", "     N.N  $1"),
        (r"(?m)limits: .*$", "limits: LIMITS"),
        (r"[0-9a-f]{64}", "SHA256"),
    ] {
        output = Regex::new(pattern)
            .unwrap()
            .replace_all(&output, word)
            .into_owned();
    }
    output
}

fn assert_plain(finished: &Finished) {
    for output in [&finished.out, &finished.err] {
        assert!(!output.contains('\u{1b}'), "an escape sequence: {output:?}");
    }
}

fn assert_narrow(output: &str) {
    for line in output.lines() {
        assert!(line.chars().count() <= 80, "over 80 columns: {line}");
    }
}

/// What a program said beside its progress: `  0.0 s  setting the source read-only`.
fn talk(finished: &Finished) -> Vec<&str> {
    let progress = Regex::new(r"^ *\d+\.\d s  \S").unwrap();
    finished
        .err
        .lines()
        .filter(|line| !progress.is_match(line))
        .collect()
}

/// The one sentence of an error; nothing is printed as a result.
fn sentence(finished: &Finished) -> &str {
    assert_plain(finished);
    assert_eq!(finished.out, "", "an error is no result");
    let talk = talk(finished);
    let [sentence] = talk[..] else {
        panic!("one sentence, not {talk:#?}")
    };
    assert!(sentence.starts_with("dfagent: failed to "), "{sentence}");
    assert!(sentence.len() < 400, "{sentence}");
    sentence
}

// --- help and definitions

fn help() -> Result<(), Failed> {
    for (name, arguments) in [
        ("help", &["--help"][..]),
        ("help_run", &["run", "--help"]),
        ("help_process", &["process", "--help"]),
        ("help_check", &["check", "--help"]),
        ("help_verify", &["verify", "--help"]),
    ] {
        let finished = run(arguments);
        assert_eq!((finished.code, finished.err.as_str()), (0, ""));
        assert_plain(&finished);
        assert_narrow(&finished.out);
        assert_snapshot!(name, finished.out);
    }
    Ok(())
}

fn version() -> Result<(), Failed> {
    let finished = run(&["--version"]);
    let expected = format!("dfagent {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((finished.code, finished.out), (0, expected));
    Ok(())
}

fn definitions() -> Result<(), Failed> {
    fn each(command: &clap::Command) {
        assert!(
            command.get_about().is_some(),
            "{}: no help",
            command.get_name()
        );
        let mut shorts = BTreeSet::new();
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{argument}: no help");
            if let Some(short) = argument.get_short() {
                assert!(shorts.insert(short), "{argument}: -{short} twice");
            }
            let help = argument.get_help().unwrap().to_string();
            assert!(
                !help.ends_with('.'),
                "{argument}: a fragment has no full stop"
            );
        }
        command.get_subcommands().for_each(each);
    }
    Cli::command().debug_assert();
    let mut command = Cli::command();
    command.build();
    each(&command);
    Ok(())
}

/// What build.rs made of the definitions.
fn made() -> PathBuf {
    Path::new(env!("OUT_DIR")).join("assets")
}

fn hidden() -> Result<(), Failed> {
    let word = Regex::new(r"\binside\b|sandbox'|Be the parent").unwrap();
    let help = run(&["--help"]).out;
    assert!(!word.is_match(&help), "{help}");
    for entry in fs::read_dir(made())? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        let line = text.lines().find(|line| word.is_match(line));
        assert_eq!(line, None, "{}", path.display());
        let name = path.file_name().unwrap().to_string_lossy();
        assert!(!name.contains("inside"), "{name}");
    }
    Ok(())
}

fn assets() -> Result<(), Failed> {
    let mut pages = vec!["dfagent.1".to_owned()];
    for command in Cli::command().get_subcommands() {
        if !command.is_hide_set() {
            pages.push(format!("dfagent-{}.1", command.get_name()));
        }
    }
    for page in pages {
        let text = fs::read_to_string(made().join(&page))?;
        assert!(text.contains(".SH NAME") && text.contains(".SH OPTIONS"));
        assert!(text.contains("Exit codes"), "{page}");
    }
    for (shell, file) in [
        ("bash", "dfagent.bash"),
        ("zsh", "_dfagent"),
        ("fish", "dfagent.fish"),
    ] {
        let text = fs::read_to_string(made().join(file))?;
        for word in [
            "process",
            "check",
            "verify",
            "full-hash",
            "parsers",
            "config",
        ] {
            assert!(text.contains(word), "completions of {shell} lack {word:?}");
        }
    }
    Ok(())
}

// --- schemas

fn schema_file(name: &str) -> PathBuf {
    lab::root().join("docs/schema").join(name)
}

fn assert_fits(instance: &Value, schema: &str) {
    let schema: Value =
        serde_json::from_str(&fs::read_to_string(schema_file(schema)).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(instance)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

fn manifest_schema() -> Result<(), Failed> {
    let schema = schemars::schema_for!(dfagent::manifest::Manifest);
    let mut text = serde_json::to_string_pretty(&schema)?;
    text.push('\n');
    let file = schema_file("manifest-1.json");
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        write(&file, &text);
    }
    let checked_in = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        checked_in == text,
        "docs/schema/manifest-1.json is not what the program's types say. If a released layout changed, it \
         needs a new number; else regenerate with `UPDATE_SCHEMA=1 cargo test --test cli`"
    );
    Ok(())
}

// --- results

fn complete() -> Result<(), Failed> {
    let (finished, out) = &*COMPLETE;
    assert_eq!(finished.code, 0, "{}{}", finished.out, finished.err);
    assert_plain(finished);
    assert_narrow(&finished.out);
    assert_eq!(talk(finished), Vec::<&str>::new(), "only progress");
    assert_snapshot!("process_complete", steady(&finished.out));
    let report = fs::read_to_string(job_folder(out).join("report.txt"))?;
    assert_narrow(&report);
    assert!(finished.out.starts_with(report.trim_end()), "{report}");
    Ok(())
}

fn partial() -> Result<(), Failed> {
    let (finished, out) = &*PARTIAL;
    assert_eq!(finished.code, 3, "{}{}", finished.out, finished.err);
    assert_plain(finished);
    assert_narrow(&finished.out);
    assert_narrow(&fs::read_to_string(job_folder(out).join("report.txt"))?);
    assert_snapshot!("process_partial", steady(&finished.out));
    Ok(())
}

fn json() -> Result<(), Failed> {
    for (done, source, code) in [
        (&*COMPLETE, "complete/source", 0),
        (&*PARTIAL, "partial/source", 3),
    ] {
        let finished = process(&WORK.join(source), &done.1, &["--json"]);
        assert_eq!(finished.code, code, "{}", finished.err);
        assert_plain(&finished);
        let manifest: Value = serde_json::from_str(&finished.out)?;
        assert_eq!(manifest["schema"], dfagent::manifest::SCHEMA);
        assert_eq!(manifest, lab::manifest(&done.1));
        assert_fits(&manifest, "manifest-1.json");
    }
    Ok(())
}

/// Runs a command whose standard output nobody reads.
fn unread(command: &mut Command) -> Result<Finished, Failed> {
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    let output = command.stdout(writer).stderr(Stdio::piped()).output()?;
    Ok(Finished {
        code: output.status.code().unwrap_or(-1),
        out: String::new(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn broken_pipe() -> Result<(), Failed> {
    let source = WORK.join("partial/source");
    let again = process(&source, &PARTIAL.1, &[]);
    let said = "This job was done before; remove its folder to do it anew.";
    assert_eq!(again.code, 3);
    assert!(again.out.contains(said), "{}", again.out);
    let manifest = job_folder(&COMPLETE.1).join("manifest.json");
    let done = text(&PARTIAL.1);
    for (code, arguments) in [
        (3, &["process", text(&source), "--to", done, "--json"][..]),
        (3, &["process", text(&source), "--to", done]),
        (0, &["verify", text(&manifest)]),
        (0, &["check", "--to", text(&WORK)]),
        (0, &["--help"]),
    ] {
        let finished = unread(dfagent().args(arguments))?;
        assert_eq!(finished.code, code, "{arguments:?}: {}", finished.err);
        assert_eq!(talk(&finished), Vec::<&str>::new(), "{arguments:?}");
    }
    Ok(())
}

fn full_stdout() -> Result<(), Failed> {
    let full = fs::OpenOptions::new().write(true).open("/dev/full")?;
    let mut command = dfagent();
    let output = command
        .arg("check")
        .stdout(full)
        .stderr(Stdio::piped())
        .output()?;
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err.starts_with("dfagent: failed to write to standard output: No space"),
        "{err}"
    );
    Ok(())
}

fn verify_json(manifest: &Path, code: i32) -> Result<Value, Failed> {
    let finished = run(&["verify", text(manifest), "--json"]);
    assert_eq!(finished.code, code, "{}{}", finished.out, finished.err);
    let result: Value = serde_json::from_str(&finished.out)?;
    assert_eq!(result["schema"], "dfagent-verify-1");
    assert_eq!(result["intact"], code == 0);
    assert_fits(&result, "verify-1.json");
    Ok(result)
}

fn verify() -> Result<(), Failed> {
    let job = job_folder(&COMPLETE.1);
    let finished = run(&["verify", text(&job.join("manifest.json"))]);
    assert_eq!(
        (finished.code, finished.err.as_str()),
        (0, ""),
        "{}",
        finished.out
    );
    assert_plain(&finished);
    assert_snapshot!("verify_same", steady(&finished.out));
    verify_json(&job.join("manifest.json"), 0)?;

    let copy = WORK.join("verify");
    lab::tool("cp", &["-a", text(&job), text(&copy)]);
    let timeline = fs::read_to_string(copy.join("timeline.jsonl"))?;
    write(
        &copy.join("timeline.jsonl"),
        timeline.replacen("web01", "web02", 1),
    );
    fs::remove_file(copy.join("slices/01-triage/storage.plaso"))?;
    let filter = copy.join("slices/02-logs/filter.yaml");
    fs::remove_file(&filter)?;
    std::os::unix::fs::symlink("/dev/zero", &filter)?;
    let finished = run(&["verify", text(&copy.join("manifest.json"))]);
    assert_eq!(finished.code, 1, "{}{}", finished.out, finished.err);
    assert_snapshot!("verify_changed", steady(&finished.out));
    verify_json(&copy.join("manifest.json"), 1)?;

    let manifest = fs::read_to_string(copy.join("manifest.json"))?;
    write(
        &copy.join("manifest.json"),
        manifest.replace("\"timeline.jsonl\"", "\"../../../../etc/passwd\""),
    );
    let result = verify_json(&copy.join("manifest.json"), 1)?;
    let outside = &result["things"][4];
    assert_eq!(outside["state"], "changed");
    assert!(
        outside["detail"].as_str().unwrap().contains("outside"),
        "{outside}"
    );
    Ok(())
}

fn verify_image() -> Result<(), Failed> {
    let image = WORK.join("image/zeros.img");
    write(&image, vec![0; 1 << 20]);
    let out = WORK.join("image/out");
    let finished = process(&image, &out, &["--full-hash", "--json"]);
    assert_eq!(finished.code, 1, "nothing in it: {}", finished.err);
    assert_fits(&serde_json::from_str(&finished.out)?, "manifest-1.json");
    let manifest = job_folder(&out).join("manifest.json");
    let evidence = |result: &Value| result["things"].as_array().unwrap().last().unwrap().clone();
    let line = evidence(&verify_json(&manifest, 0)?);
    assert_eq!(
        (&line["state"], &line["detail"]),
        (&"same".into(), &"whole source".into())
    );
    let mut bytes = vec![0; 1 << 20];
    bytes[700_001] = 1;
    write(&image, &bytes);
    let line = evidence(&verify_json(&manifest, 1)?);
    assert_eq!(line["state"], "changed", "{line}");
    fs::remove_file(&image)?;
    let line = evidence(&verify_json(&manifest, 0)?);
    assert_eq!(line["state"], "absent", "{line}");
    Ok(())
}

fn encrypted() -> Result<(), Failed> {
    let image = WORK.join("luks/disk.img");
    let mut bytes = b"LUKS\xba\xbe\x00\x01aes".to_vec();
    bytes.resize(4 << 20, 0);
    write(&image, &bytes);
    let finished = process(&image, &WORK.join("luks/out"), &[]);
    assert_eq!(finished.code, 5, "{}{}", finished.out, finished.err);
    assert_narrow(&finished.out);
    assert!(finished.out.contains("LUKS"), "{}", finished.out);
    Ok(())
}

/// A job that was broken off after it was begun, called again with other parsers.
fn other_terms() -> Result<(), Failed> {
    let unfinished = WORK.join("terms");
    let job = unfinished.join(job_folder(&PARTIAL.1).file_name().unwrap());
    fs::create_dir_all(&job)?;
    fs::copy(
        job_folder(&PARTIAL.1).join("job.json"),
        job.join("job.json"),
    )?;
    let finished = process(
        &WORK.join("partial/source"),
        &unfinished,
        &["--parsers", "filestat"],
    );
    assert_eq!(finished.code, 5, "{}{}", finished.out, finished.err);
    let sentence = sentence(&finished);
    assert!(sentence.contains("parsers"), "{sentence}");
    assert!(sentence.contains("another --to folder"), "{sentence}");
    Ok(())
}

/// A line of `check` without what is this machine's.
fn without_machine(line: &str) -> String {
    let fields: Vec<&str> = line.split_whitespace().collect();
    match fields[1] {
        part @ ("kernel" | "cage" | "plaso" | "libfsxfs" | "devices") => {
            format!("{:<8} {part}", "STATE")
        }
        _ => Regex::new(r"\d+")
            .unwrap()
            .replace_all(line, "N")
            .into_owned(),
    }
}

fn check() -> Result<(), Failed> {
    let folder = text(&WORK);
    let finished = run(&["check", "--to", folder]);
    assert_eq!((finished.code, finished.err.as_str()), (0, ""));
    assert_plain(&finished);
    // The folder first: its path may hold digits, too.
    let shown = finished.out.replace(folder, "DIR");
    let lines: Vec<String> = shown.lines().map(without_machine).collect();
    assert_snapshot!("check_ready", lines.join("\n"));

    let finished = run(&["check", "--to", folder, "--json"]);
    assert_eq!(finished.code, 0);
    let result: Value = serde_json::from_str(&finished.out)?;
    assert_eq!(result["schema"], "dfagent-check-1");
    assert_eq!(result["ready"], true);
    assert_fits(&result, "check-1.json");
    Ok(())
}

fn unprivileged() -> Result<(), Failed> {
    // Where another user can reach the program.
    let place = tempfile::Builder::new().prefix("dfagent-cli").tempdir()?;
    lab::tool("chmod", &["755", text(place.path())]);
    let program = place.path().join("dfagent");
    fs::copy(env!("CARGO_BIN_EXE_dfagent"), &program)?;
    let call = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "65534", "--clear-groups", text(&program)])
            .args(arguments)
            .env("DFAGENT__PLASO__ENVIRONMENT", "/nonexistent")
            .stdin(Stdio::null());
        finish(&mut command)
    };
    let out = place.path().join("out");
    let finished = call(&["process", text(place.path()), "--to", text(&out)]);
    assert_eq!(finished.code, 5);
    assert!(sentence(&finished).contains("sudo"), "{}", finished.err);
    assert!(!out.exists());

    let finished = call(&["check", "--to", "/nonexistent"]);
    assert_eq!((finished.code, finished.err.as_str()), (5, ""));
    let lines: Vec<String> = finished.out.lines().map(without_machine).collect();
    assert_snapshot!("check_missing", lines.join("\n"));
    let finished = call(&["check", "--to", "/nonexistent", "--json"]);
    let result: Value = serde_json::from_str(&finished.out)?;
    assert_eq!((finished.code, &result["ready"]), (5, &false.into()));
    assert_fits(&result, "check-1.json");
    Ok(())
}
