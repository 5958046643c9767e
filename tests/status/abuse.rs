//! What is done to the socket by programs that are broken, slow, many or hostile.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use dfagent::status::access::Access;
use dfagent::status::frame::{MOST_REQUEST, PATIENCE};
use dfagent::status::server::Server;
use dfagent::status::{Answer, Status};
use libtest_mimic::{Failed, Trial};
use nix::unistd::Group;
use tokio::sync::watch;

use super::lab::{Need, finish, trial};
use super::world::{
    ASK, AT_WORK, World, ask, calm, is_closed, large, receive, send, start, status, why,
};

pub fn trials() -> Vec<Trial> {
    let root = [Need::Root];
    let games = Group::from_name("games").ok().flatten().is_some();
    let others = [
        Need::Root,
        Need::Program("setpriv"),
        Need::Other(Path::new("/usr/bin/python3").exists(), "/usr/bin/python3"),
        Need::Other(games, "a group called games"),
    ];
    vec![
        trial(
            "a_huge_frame_is_refused_and_the_connection_closed",
            &root,
            huge,
        ),
        trial(
            "half_a_frame_and_silence_end_in_time_while_others_are_answered",
            &root,
            half,
        ),
        trial("garbage_is_refused_with_a_sentence", &root, garbage),
        trial("a_hundred_clients_at_once_are_all_answered", &root, hundred),
        trial(
            "a_hundred_silent_clients_of_one_user_keep_nobody_else_out",
            &others,
            silent,
        ),
        trial(
            "a_slow_reader_of_a_large_status_blocks_nobody",
            &root,
            slow_reader,
        ),
        trial(
            "a_status_too_large_for_an_answer_is_refused",
            &root,
            too_much,
        ),
        trial(
            "status_is_answered_while_the_main_loop_is_blocked",
            &root,
            blocked,
        ),
        trial(
            "an_action_goes_to_the_main_loop_and_its_answer_back",
            &root,
            action,
        ),
        trial(
            "an_action_of_an_agent_that_stops_is_refused",
            &root,
            stopping,
        ),
        trial(
            "each_request_of_a_connection_sees_the_newest_snapshot",
            &root,
            newest,
        ),
        trial(
            "a_stale_socket_is_replaced_and_a_second_server_refused",
            &root,
            second,
        ),
        trial(
            "a_stopped_server_takes_its_socket_and_its_clients_along",
            &root,
            stopped,
        ),
    ]
}

fn reading(status: Status) -> World {
    start(status, "no-such-group", "no-such-group")
}

fn huge() -> Result<(), Failed> {
    let world = reading(status());
    for length in [u32::MAX, u32::try_from(MOST_REQUEST)? + 1] {
        let mut stream = world.connect();
        stream.write_all(&length.to_be_bytes())?;
        let answer = receive(&mut stream)?;
        let words = why(&answer);
        assert!(words.contains("at most 65536"), "{words}");
        assert!(is_closed(&mut stream));
    }
    ask(&mut world.connect());
    Ok(())
}

fn half() -> Result<(), Failed> {
    let world = reading(status());
    let began = Instant::now();
    let mut silent = world.connect();
    let mut half = world.connect();
    half.write_all(&[0, 0, 0, 100, b'{'])?;
    let mut dripping = world.connect();
    dripping.write_all(&[0, 0])?;
    for _ in 0..50 {
        ask(&mut world.connect());
    }
    assert!(began.elapsed() < PATIENCE, "others were answered before");
    for stream in [&mut silent, &mut half, &mut dripping] {
        assert!(is_closed(stream));
    }
    let took = began.elapsed();
    let late = PATIENCE + Duration::from_secs(5);
    assert!(took >= PATIENCE && took < late, "{took:?}");
    Ok(())
}

fn garbage() -> Result<(), Failed> {
    let world = reading(status());
    let deep = "[".repeat(60_000);
    for (request, words) in [
        ("", "it is none"),
        ("\u{0}\u{1b}[2J", "it is none"),
        ("[]", "it is none"),
        (&deep, "it is none"),
        (
            r#"{"version":2,"ask":"status"}"#,
            "this agent speaks version 1, not 2",
        ),
        (
            r#"{"version":2,"wish":{"new":[1]}}"#,
            "this agent speaks version 1, not 2",
        ),
        (
            r#"{"version":1,"ask":"secrets"}"#,
            "does not know what was asked",
        ),
        (
            r#"{"version":1,"ask":{"act":{"action":"erase","job":"x"}}}"#,
            "does not know what was asked",
        ),
        (
            r#"{"version":1,"ask":"status","more":1}"#,
            "does not know what was asked",
        ),
    ] {
        let mut stream = world.connect();
        send(&mut stream, request);
        let answer = receive(&mut stream)?;
        assert!(why(&answer).contains(words), "{request:.40}: {answer:?}");
        assert!(is_closed(&mut stream), "{request:.40}");
    }
    let mut stream = world.connect();
    let job = r"\u001b[2J\nvol";
    let request = format!(r#"{{"version":1,"ask":{{"act":{{"action":"cancel","job":"{job}"}}}}}}"#);
    send(&mut stream, &request);
    let answer = receive(&mut stream)?;
    let words = why(&answer);
    assert!(
        words.contains("no such job") && !words.contains('\u{1b}'),
        "{words}"
    );
    Ok(())
}

/// All connect before any of them asks, so that more wait than are served at once.
fn hundred() -> Result<(), Failed> {
    let world = reading(status());
    let all = Arc::new(Barrier::new(100));
    let clients: Vec<_> = (0..100)
        .map(|_| {
            let (all, mut stream) = (Arc::clone(&all), world.connect());
            thread::spawn(move || {
                all.wait();
                ask(&mut stream).jobs.len()
            })
        })
        .collect();
    for client in clients {
        assert_eq!(client.join().expect("answered"), 3);
    }
    Ok(())
}

/// Connects a hundred times, says nothing, and counts the refusals: a connection that is closed without a word is none.
/// Ends when it is told to.
const SILENT: &str = r"
import json, socket, struct, sys
def refused(one):
    length = one.recv(4, socket.MSG_WAITALL)
    return bool(length) and 'refused' in json.loads(one.recv(struct.unpack('>I', length)[0], socket.MSG_WAITALL))
clients = [socket.socket(socket.AF_UNIX) for _ in range(100)]
for one in clients:
    one.connect(sys.argv[1])
print(sum(refused(one) for one in clients[16:]), flush=True)
sys.stdin.read()
";

/// The places of one user are taken, and those of all are not.
fn silent() -> Result<(), Failed> {
    let world = start(status(), "games", "games");
    let games = Group::from_name("games")?.expect("a group").gid;
    let mut clients = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534"])
        .arg(format!("--groups={games}"))
        .args(["/usr/bin/python3", "-c", SILENT])
        .arg(world.socket())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = String::new();
    let mut lines = BufReader::new(clients.stdout.take().expect("piped"));
    lines.read_line(&mut said)?;
    assert_eq!(said, "84\n", "all but 16 of them are refused");
    ask(&mut world.connect());
    let (user, group) = (12_345, games.as_raw());
    let other = finish(&mut world.command_as(user, group, "", &["status"]));
    assert_eq!(other.code, 5, "a job needs somebody: {}", other.err);
    drop(clients.stdin.take());
    assert!(clients.wait()?.success());
    Ok(())
}

fn slow_reader() -> Result<(), Failed> {
    let world = reading(large());
    let began = Instant::now();
    let mut slow: Vec<UnixStream> = (0..10).map(|_| world.connect()).collect();
    for stream in &mut slow {
        send(stream, ASK);
        stream.read_exact(&mut [0; 4])?;
    }
    for _ in 0..5 {
        assert_eq!(ask(&mut world.connect()).ignored.len(), 60_000);
    }
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    // They have what the socket held, and no end of it.
    for stream in &mut slow {
        let mut rest = Vec::new();
        wait_until_closed(stream);
        drop(stream.read_to_end(&mut rest));
        assert!(rest.len() < 1 << 20, "{}", rest.len());
    }
    Ok(())
}

/// Waits for the other side to hang up without taking anything of what it sent.
fn wait_until_closed(stream: &UnixStream) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd as _;
    let mut watched = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    let seconds = PollTimeout::from(30_000_u16);
    assert_eq!(poll(&mut watched, seconds).unwrap(), 1, "it hangs up");
}

fn too_much() -> Result<(), Failed> {
    let mut status = large();
    let one = status.ignored[0].clone();
    status.ignored = vec![one; 400_000];
    let world = reading(status);
    let mut stream = world.connect();
    send(&mut stream, ASK);
    assert!(why(&receive(&mut stream)?).contains("too much"));
    Ok(())
}

/// Nobody takes actions from the queue: those who act wait, those who look do not.
fn blocked() -> Result<(), Failed> {
    let mut world = reading(status());
    let mut acting: Vec<UnixStream> = (0..20).map(|_| world.connect()).collect();
    let began = Instant::now();
    for stream in &mut acting {
        send(stream, &cancel());
    }
    for _ in 0..50 {
        ask(&mut world.connect());
    }
    assert!(began.elapsed() < Duration::from_secs(5));
    for stream in &mut acting {
        let answer = receive(stream)?;
        assert!(why(&answer).contains("within 10 s"), "{answer:?}");
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
    let request = world.actions.try_recv()?;
    assert!(
        request.answer.is_closed(),
        "a late answer has nobody to go to"
    );
    Ok(())
}

fn cancel() -> String {
    format!(r#"{{"version":1,"ask":{{"act":{{"action":"cancel","job":"{AT_WORK}"}}}}}}"#)
}

fn action() -> Result<(), Failed> {
    let mut world = reading(status());
    let mut stream = world.connect();
    send(&mut stream, &cancel());
    let request = world.actions.blocking_recv().expect("an action");
    assert_eq!(request.action, dfagent::status::Action::Cancel);
    assert_eq!(
        (request.job.as_str(), request.by.as_str()),
        (AT_WORK, "root")
    );
    request
        .answer
        .send(Answer::Done("It ends.".to_owned()))
        .unwrap();
    assert!(matches!(receive(&mut stream)?, Answer::Done(said) if said == "It ends."));
    ask(&mut stream);
    Ok(())
}

fn stopping() -> Result<(), Failed> {
    let mut world = reading(status());
    let mut stream = world.connect();
    send(&mut stream, &cancel());
    drop(world.actions.blocking_recv().expect("an action"));
    assert!(why(&receive(&mut stream)?).contains("stopping"));
    world.actions.close();
    send(&mut stream, &cancel());
    assert!(why(&receive(&mut stream)?).contains("stopping"));
    Ok(())
}

fn newest() -> Result<(), Failed> {
    let world = reading(status());
    let mut stream = world.connect();
    assert_eq!(ask(&mut stream).jobs.len(), 3);
    world.snapshot.send(Arc::new(calm()))?;
    assert_eq!(ask(&mut stream).jobs.len(), 2);
    Ok(())
}

fn second() -> Result<(), Failed> {
    let world = reading(status());
    let access = || Access {
        readers: "no-such-group".to_owned(),
        operators: "no-such-group".to_owned(),
    };
    let (_keep, seen) = watch::channel(Arc::new(calm()));
    let (actions, _taken) = tokio::sync::mpsc::channel(1);
    let again = Server::start(&world.socket(), access(), seen.clone(), actions.clone());
    let words = again.expect_err("the second is refused").to_string();
    assert!(words.contains("another dfagent listens on it"), "{words}");
    assert_eq!(ask(&mut world.connect()).jobs.len(), 3, "the first goes on");
    let stale = world.folder.path().join("stale.sock");
    drop(UnixListener::bind(&stale)?);
    let server = Server::start(&stale, access(), seen, actions)?;
    let mut stream = UnixStream::connect(server.socket())?;
    assert_eq!(ask(&mut stream).jobs.len(), 2);
    Ok(())
}

fn stopped() -> Result<(), Failed> {
    let World {
        server,
        folder: _folder,
        snapshot: _snapshot,
        actions: _actions,
    } = reading(status());
    let socket = server.socket().clone();
    let mut open = UnixStream::connect(&socket)?;
    open.set_read_timeout(Some(super::world::LONG))?;
    ask(&mut open);
    let (done, ended) = mpsc::channel();
    let dropper = thread::spawn(move || {
        drop(server);
        done.send(())
    });
    ended.recv_timeout(Duration::from_secs(2))?;
    dropper.join().expect("no panic")?;
    assert!(!socket.exists());
    assert!(is_closed(&mut open));
    Ok(())
}
