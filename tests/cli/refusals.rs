//! What the program refuses: one sentence on standard error with the place and the key, and an exit code.

use lab::{Finished, Need, dfagent, finish, process, trial};
use libtest_mimic::Trial;

use super::{WORK, assert_plain, lab, run, sentence, text, write};

/// All of them.
pub(super) fn trials() -> Vec<Trial> {
    [
        bad_sources(),
        bad_arguments(),
        bad_servers(),
        bad_settings(),
        bad_filters(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A trial: these arguments end with this code and a sentence with these words.
fn refusal(
    name: &str,
    needs: &[Need],
    code: i32,
    words: &'static [&'static str],
    call: impl FnOnce() -> Finished + Send + 'static,
) -> Trial {
    trial(
        format!("refused_with_one_sentence: {name}"),
        needs,
        move || {
            let finished = call();
            assert_eq!(finished.code, code, "{}{}", finished.out, finished.err);
            let sentence = sentence(&finished);
            for word in words {
                assert!(sentence.contains(word), "{word:?} is not in: {sentence}");
            }
            Ok(())
        },
    )
}

fn bad_sources() -> Vec<Trial> {
    let real = [Need::Root, Need::Plaso];
    vec![
        refusal(
            "a source that is not there",
            &real,
            1,
            &["open ", "/nowhere: No such file"],
            || process(&WORK.join("nowhere"), &WORK.join("refused"), &[]),
        ),
        refusal(
            "a pipe as a source",
            &real,
            1,
            &["/pipe as evidence", "neither a block device"],
            || {
                let pipe = WORK.join("pipe");
                nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
                process(&pipe, &WORK.join("refused"), &[])
            },
        ),
        refusal(
            "an empty file as a source",
            &real,
            1,
            &["/empty.img as evidence", "empty (0 bytes)"],
            || {
                write(&WORK.join("empty.img"), "");
                process(&WORK.join("empty.img"), &WORK.join("refused"), &[])
            },
        ),
        refusal(
            "a file as the output folder",
            &real,
            1,
            &["make the output folder", "/plain"],
            || {
                write(&WORK.join("plain"), "x");
                process(&WORK, &WORK.join("plain"), &[])
            },
        ),
    ]
}

fn bad_arguments() -> Vec<Trial> {
    let parsers =
        |more: &'static [&'static str]| move || process(&WORK, &WORK.join("refused"), more);
    vec![
        trial("no_source_is_a_matter_of_usage", &[], || {
            for (arguments, word) in [
                (&["process", "--to", "x"][..], "<SOURCE>"),
                (&["process", "/"], "--to <DIR|URL>"),
                (&["process", "/", "--to", "x", "--colour"], "'--colour'"),
                (&["proces"], "'process'"),
                (&["verify"], "<MANIFEST>"),
            ] {
                let finished = run(arguments);
                assert_plain(&finished);
                assert_eq!((finished.code, finished.out.as_str()), (2, ""));
                assert!(finished.err.starts_with("error: "), "{}", finished.err);
                assert!(finished.err.contains(word), "{}", finished.err);
            }
            Ok(())
        }),
        refusal(
            "a parser's name with a space",
            &[],
            78,
            &["--parsers", "\"a b\" is no name"],
            parsers(&["--parsers", "utmp,a b"]),
        ),
        refusal(
            "a parser's name that is an option",
            &[],
            78,
            &["--parsers", "\"--hashers\""],
            parsers(&["--parsers=--hashers"]),
        ),
        refusal(
            "no parser at all",
            &[],
            78,
            &["--parsers", "\"\" is no name"],
            parsers(&["--parsers", ""]),
        ),
        refusal(
            "a manifest that is not there",
            &[],
            1,
            &["read /nonexistent/manifest.json", "no such file"],
            || run(&["verify", "/nonexistent/manifest.json"]),
        ),
        refusal(
            "a manifest that is none",
            &[],
            1,
            &["/plain.json", "line 1"],
            || {
                write(&WORK.join("plain.json"), "plain text\n");
                run(&["verify", text(&WORK.join("plain.json"))])
            },
        ),
    ]
}

fn bad_servers() -> Vec<Trial> {
    vec![
        refusal(
            "a server to which the password would go in the clear",
            &[],
            78,
            &["--to", "https://", "loopback"],
            || run(&["process", "/", "--to", "http://timesketch.example"]),
        ),
        refusal(
            "delivery without a server",
            &[],
            78,
            &["--to", "[timesketch] url"],
            || run(&["deliver", "--once", "/"]),
        ),
        refusal(
            "a folder to deliver that holds no job",
            &[],
            1,
            &["manifest.json", "dfagent process"],
            || {
                let empty = tempfile::tempdir().unwrap();
                run(&[
                    "deliver",
                    "--once",
                    text(empty.path()),
                    "--to",
                    "https://timesketch.example",
                ])
            },
        ),
    ]
}

fn bad_settings() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (name, settings, words) in [
        (
            "an unknown key",
            "[plaso]\nat_onze = 3\n",
            &["refused.toml, line 2", "`at_onze`"][..],
        ),
        (
            "a value of the wrong type",
            "\n[plaso]\nat_once = \"two\"\n",
            &["refused.toml, line 3", "at_once"],
        ),
        (
            "a negative number",
            "[cage]\nprocesses = -1\n",
            &["refused.toml, line 2", "processes", "-1"],
        ),
        (
            "a value that is too small",
            "[cage]\nmemory_mib = 5\n",
            &["cage.memory_mib", "at least 512"],
        ),
        (
            "a value of more bytes than can be counted",
            "[cage]\nmemory_mib = 9223372036854775807\n",
            &["cage.memory_mib", "at most"],
        ),
        (
            "values that contradict each other",
            "[slices]\nsmallest_mib = 40\n",
            &["slices.largest_mib", "slices.smallest_mib (40)"],
        ),
        (
            "broken TOML",
            "[evidence]\nfull_hash = yes\n",
            &["refused.toml, line 2", "full_hash = yes"],
        ),
    ] {
        trials.push(refusal(name, &[], 78, words, move || {
            let file = WORK.join("refused.toml");
            write(&file, settings);
            run(&["check", "--config", text(&file)])
        }));
    }
    trials.push(refusal(
        "a configuration file that is not there",
        &[],
        78,
        &["/nonexistent.toml"],
        || run(&["check", "--config", "/nonexistent.toml"]),
    ));
    for (variable, value, words) in [
        (
            "DFAGENT__PLASO__AT_ONCE",
            "abc",
            &["DFAGENT__", "plaso.at_once", "\"abc\""][..],
        ),
        (
            "DFAGENT__PLASO__AT_ONZE",
            "2",
            &["DFAGENT__", "at_onze", "plaso"],
        ),
        (
            "DFAGENT__CAGE__PROCESSES",
            "1",
            &["cage.processes", "at least 16"],
        ),
    ] {
        trials.push(refusal(
            &format!("{variable}={value}"),
            &[],
            78,
            words,
            move || finish(dfagent().arg("check").env(variable, value)),
        ));
    }
    trials
}

fn bad_filters() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (name, filter, words) in [
        (
            "a filter with an unknown key",
            "type: include\npath: [/var]\n",
            &["10-refused.yaml", "line 2", "`path`"][..],
        ),
        (
            "a filter of an unknown type",
            "type: sometimes\npaths:\n- /a\n",
            &["10-refused.yaml", "line 1", "`sometimes`"],
        ),
        (
            "a relative path in a filter",
            "type: include\npaths:\n- /etc\n- var/log\n",
            &["10-refused.yaml", "the path var/log", "absolute"],
        ),
        (
            "a path in a filter that ends with a slash",
            "type: include\npaths:\n- /var/log/\n",
            &["10-refused.yaml", "the path /var/log/", "end with a name"],
        ),
        (
            "a slash inside brackets in a filter",
            "type: include\npaths:\n- /home/[^/]+/x\n",
            &["10-refused.yaml", "/home/[^/]+/x", "cut at every /"],
        ),
        (
            "broken YAML",
            "type: include\npaths:\n- [/home\nx: {",
            &["10-refused.yaml", "line 4"],
        ),
        (
            "a filter that takes nothing",
            "type: exclude\npaths:\n- /var\n",
            &["none of its files names a path to include"],
        ),
    ] {
        trials.push(refusal(name, &[Need::Root], 78, words, move || {
            let file = WORK.join("10-refused.yaml");
            write(&file, filter);
            process(&WORK, &WORK.join("refused"), &["--filter", text(&file)])
        }));
    }
    trials.push(refusal(
        "a filter file that is not there",
        &[Need::Root],
        78,
        &["/nonexistent.yaml"],
        || {
            process(
                &WORK,
                &WORK.join("refused"),
                &["--filter", "/nonexistent.yaml"],
            )
        },
    ));
    trials
}
