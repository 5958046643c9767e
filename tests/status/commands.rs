//! `status`, `retry`, `cancel` and `release` against a server: what is said, to whom, and how they end.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use dfagent::status::{Action, Answer};
use libtest_mimic::{Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Group, Pid, User};

use super::lab::{self, Finished, Need, finish, trial};
use super::world::{AT_WORK, DONE, STUCK, World, calm, start, status};

const NOBODY: u32 = 65534;

pub fn trials() -> Vec<Trial> {
    let root = [Need::Root];
    let others = [Need::Root, Need::Program("setpriv")];
    let games = Group::from_name("games").ok().flatten().is_some();
    let user = User::from_name("games").ok().flatten().is_some();
    let groups = [
        Need::Root,
        Need::Program("setpriv"),
        Need::Other(games && user, "a user and a group called games"),
    ];
    vec![
        trial(
            "status_shows_all_and_ends_with_5_where_somebody_is_needed",
            &root,
            shown,
        ),
        trial("status_json_is_the_status", &root, json),
        trial("status_of_one_job_is_about_that_job", &root, one_job),
        trial(
            "an_agent_that_is_down_is_code_4_and_one_sentence",
            &root,
            down,
        ),
        trial("an_action_says_what_happens_now", &root, acted),
        trial(
            "an_action_on_a_job_that_is_not_there_lists_those_that_are",
            &root,
            unknown,
        ),
        trial(
            "watch_shows_a_change_and_ends_on_an_interrupt_with_0",
            &root,
            watch,
        ),
        trial(
            "watch_ends_when_nobody_reads_it_any_more",
            &root,
            reader_gone,
        ),
        trial(
            "watch_on_a_terminal_draws_over_what_stands_there",
            &[Need::Root, Need::Program("script")],
            terminal,
        ),
        trial("a_stranger_gets_one_sentence_and_code_5", &others, stranger),
        trial("a_reader_looks_and_cannot_act", &groups, reader),
        trial(
            "an_operator_is_known_by_the_groups_of_the_user",
            &groups,
            operator,
        ),
        trial(
            "where_the_socket_lets_a_stranger_in_the_server_does_not",
            &groups,
            let_in,
        ),
    ]
}

fn run(world: &World, arguments: &[&str]) -> Finished {
    finish(&mut world.command(arguments))
}

/// One sentence on standard error, and nothing on standard output.
fn sentence(finished: &Finished) -> &str {
    assert_eq!(finished.out, "");
    assert_eq!(finished.err.lines().count(), 1, "{}", finished.err);
    assert!(
        finished.err.starts_with("dfagent: failed to "),
        "{}",
        finished.err
    );
    &finished.err
}

fn shown() -> Result<(), Failed> {
    let world = start(status(), "no-such-group", "no-such-group");
    let finished = run(&world, &["status"]);
    assert_eq!((finished.code, finished.err.as_str()), (5, ""));
    let first = finished.out.lines().next().unwrap_or_default();
    assert!(
        first.contains("1 running") && first.contains("1 needs an operator"),
        "{first}"
    );
    for words in [
        "NEEDS OPERATOR",
        "cryptsetup open",
        "/var/log/auth.log",
        "done: partial",
    ] {
        assert!(finished.out.contains(words), "{words}: {}", finished.out);
    }
    world.snapshot.send(Arc::new(calm()))?;
    assert_eq!(run(&world, &["status"]).code, 0);
    Ok(())
}

fn json() -> Result<(), Failed> {
    let world = start(status(), "no-such-group", "no-such-group");
    let finished = run(&world, &["status", "--json"]);
    assert_eq!(finished.code, 5);
    let said: serde_json::Value = serde_json::from_str(&finished.out)?;
    assert_eq!(said, serde_json::to_value(status())?);
    Ok(())
}

fn one_job() -> Result<(), Failed> {
    let world = start(status(), "no-such-group", "no-such-group");
    let finished = run(&world, &["status", DONE]);
    assert_eq!(finished.code, 0, "another job needs an operator");
    assert!(
        finished.out.contains(DONE) && !finished.out.contains(STUCK),
        "{}",
        finished.out
    );
    assert_eq!(run(&world, &["status", STUCK]).code, 5);
    let finished = run(&world, &["status", "vol-x"]);
    assert_eq!(finished.code, 1);
    assert!(sentence(&finished).contains(&format!("vol-x: no such job; there are {AT_WORK}, ")));
    Ok(())
}

fn down() -> Result<(), Failed> {
    let World {
        server,
        folder,
        snapshot,
        actions,
    } = start(status(), "no-such-group", "no-such-group");
    drop(server);
    let config = folder.path().join("dfagent.toml");
    let call =
        |arguments: &[&str]| finish(lab::dfagent().arg("--config").arg(&config).args(arguments));
    for arguments in [&["status"][..], &["status", "--json"], &["retry", AT_WORK]] {
        let finished = call(arguments);
        assert_eq!(finished.code, 4, "{arguments:?}: {}", finished.err);
        let first = finished.err.lines().next().unwrap_or_default();
        assert!(
            first.contains("it is not running") && first.contains("systemctl start"),
            "{first}"
        );
    }
    drop((snapshot, actions));
    Ok(())
}

/// Plays the main loop for one action.
fn answer_one(world: World, answer: Answer) -> thread::JoinHandle<(Action, String, World)> {
    let mut world = world;
    thread::spawn(move || {
        let request = world.actions.blocking_recv().expect("an action");
        request.answer.send(answer).expect("somebody waits");
        (request.action, request.by, world)
    })
}

fn acted() -> Result<(), Failed> {
    let world = start(status(), "no-such-group", "no-such-group");
    let mut command = world.command(&["retry", STUCK, "--anew"]);
    let main = answer_one(world, Answer::Done("It begins anew.".to_owned()));
    let finished = finish(&mut command);
    let (action, by, world) = main.join().expect("no panic");
    assert_eq!(
        (action, by.as_str()),
        (Action::Retry { anew: true }, "root")
    );
    assert_eq!(
        (finished.code, finished.out.as_str()),
        (0, "It begins anew.\n")
    );
    for (verb, job, code) in [
        ("cancel", DONE, 1),
        ("release", AT_WORK, 1),
        ("retry", STUCK, 5),
    ] {
        let world = start(status(), "no-such-group", "no-such-group");
        let mut command = world.command(&[verb, job]);
        let why = "do that: \u{1b}[2Jno".to_owned();
        let main = answer_one(world, Answer::Refused { why });
        let finished = finish(&mut command);
        main.join().expect("no panic");
        assert_eq!(finished.code, code, "{verb}: {}", finished.err);
        assert!(!sentence(&finished).contains('\u{1b}'));
    }
    drop(world);
    Ok(())
}

fn unknown() -> Result<(), Failed> {
    let world = start(status(), "no-such-group", "no-such-group");
    let finished = run(&world, &["cancel", "vol-x"]);
    assert_eq!(finished.code, 1);
    let words = sentence(&finished);
    for job in [AT_WORK, STUCK, DONE] {
        assert!(words.contains(job), "{words}");
    }
    Ok(())
}

/// The next line with these words.
fn await_line(lines: &mut impl Iterator<Item = std::io::Result<String>>, words: &str) -> String {
    lines
        .map(|line| line.expect("a line"))
        .find(|line| line.contains(words))
        .expect("it goes on until then")
}

fn interrupt(child: &mut Child) -> Option<i32> {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    child.wait().unwrap().code()
}

fn watch() -> Result<(), Failed> {
    let world = start(status(), "no-such-group", "no-such-group");
    let mut command = world.command(&["status", "--watch"]);
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    await_line(&mut lines, "1 needs an operator");
    world.snapshot.send(Arc::new(calm()))?;
    let head = await_line(&mut lines, "dfagent 0.1.0 running");
    assert!(!head.contains("operator"), "{head}");
    assert_eq!(interrupt(&mut child), Some(0));
    Ok(())
}

/// Nothing changes any more, so no write fails.
fn reader_gone() -> Result<(), Failed> {
    let world = start(calm(), "no-such-group", "no-such-group");
    let mut command = world.command(&["status", "--watch", "--json"]);
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    await_line(&mut lines, AT_WORK);
    drop(lines);
    assert_eq!(child.wait()?.code(), Some(0));
    Ok(())
}

/// On a terminal the second picture is drawn where the first one stands.
fn terminal() -> Result<(), Failed> {
    let world = start(status(), "no-such-group", "no-such-group");
    let config = world.folder.path().join("dfagent.toml");
    let program = env!("CARGO_BIN_EXE_dfagent");
    let line = format!(
        "exec {program} --config {} status --watch",
        config.display()
    );
    let mut child = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let head = await_line(&mut lines, "1 needs an operator");
    assert!(head.starts_with("\r\u{1b}[J\u{1b}[1mdfagent"), "{head:?}");
    world.snapshot.send(Arc::new(calm()))?;
    let again = await_line(&mut lines, "1 running, 0 waiting, 1 done;");
    assert!(again.contains("A\r\u{1b}[J"), "{again:?}");
    child.kill()?;
    child.wait()?;
    Ok(())
}

fn stranger() -> Result<(), Failed> {
    for readers in ["no-such-group", "root"] {
        let world = start(status(), readers, "no-such-group");
        for arguments in [&["status"][..], &["status", "--json"], &["cancel", AT_WORK]] {
            let finished = finish(&mut world.command_as(NOBODY, NOBODY, "", arguments));
            assert_eq!(finished.code, 5, "{}", finished.err);
            let words = sentence(&finished);
            let group = format!("not in the group {readers}");
            assert!(words.contains(&group) && words.contains("sudo"), "{words}");
        }
    }
    Ok(())
}

fn id(group: &str) -> u32 {
    Group::from_name(group)
        .unwrap()
        .expect("a group")
        .gid
        .as_raw()
}

fn reader() -> Result<(), Failed> {
    let mut world = start(calm(), "games", "root");
    let games = id("games");
    let look = finish(&mut world.command_as(NOBODY, games, "", &["status"]));
    assert_eq!(look.code, 0, "{}", look.err);
    for verb in ["retry", "cancel", "release"] {
        let act = finish(&mut world.command_as(NOBODY, games, "", &[verb, AT_WORK]));
        assert_eq!(act.code, 5, "{}", act.err);
        let words = sentence(&act);
        assert!(
            words.contains("act on jobs: nobody is not in the group root"),
            "{words}"
        );
    }
    assert!(
        world.actions.try_recv().is_err(),
        "the main loop hears nothing of it"
    );
    Ok(())
}

/// The process has the group only among its further ones, as after a login.
fn operator() -> Result<(), Failed> {
    let world = start(calm(), "games", "games");
    let user = User::from_name("games")?.expect("a user").uid.as_raw();
    let groups = id("games").to_string();
    let mut command = world.command_as(user, NOBODY, &groups, &["release", AT_WORK]);
    let main = answer_one(world, Answer::Done("It is let go.".to_owned()));
    let finished = finish(&mut command);
    assert_eq!(finished.code, 0, "{}", finished.err);
    let (action, by, _world) = main.join().expect("no panic");
    assert_eq!((action, by.as_str()), (Action::Release, "games"));
    Ok(())
}

/// A process that was given the group, of a user who does not belong to it: the mode of the socket is not all.
fn let_in() -> Result<(), Failed> {
    let world = start(calm(), "games", "root");
    let groups = id("games").to_string();
    let finished = finish(&mut world.command_as(NOBODY, NOBODY, &groups, &["status"]));
    assert_eq!(finished.code, 5, "{}", finished.err);
    let words = sentence(&finished);
    assert!(
        words.contains("look at the agent: nobody is not in the group games"),
        "{words}"
    );
    Ok(())
}
