//! What the service manager and the journal really get: datagrams on their sockets.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

mod lab;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use dfagent::life::notify::Notifier;
use dfagent::plaso::verdict::Level;
use dfagent::telemetry::{self, events::Event};
use lab::Need;
use libtest_mimic::Failed;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tracing_subscriber::layer::SubscriberExt as _;

/// Set for the process that plays the agent.
const SPEAKER: &str = "DFAGENT_TEST_SPEAKER";

fn main() {
    if std::env::var_os(SPEAKER).is_some() {
        speak();
        return;
    }
    lab::run(vec![
        lab::trial("the_manager_is_told_in_its_own_words", &[], told),
        lab::trial("without_a_manager_nothing_is_said", &[], alone),
        lab::trial(
            "the_journal_gets_our_fields_under_their_own_names",
            &[Need::Root],
            journal,
        ),
    ]);
}

fn speak() {
    let notifier = Notifier;
    notifier.ready("waiting\nREADY=0");
    notifier.status("1 job");
    notifier.reloading();
    notifier.alive();
    notifier.stopping("leaving");
}

fn speaker() -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env_clear().env(SPEAKER, "1");
    command
}

fn socket(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    let limit = Duration::from_secs(20);
    socket.set_read_timeout(Some(limit)).unwrap();
    socket
}

fn receive(socket: &UnixDatagram) -> Vec<u8> {
    let mut buffer = vec![0; 65536];
    let length = socket.recv(&mut buffer).expect("a datagram");
    buffer.truncate(length);
    buffer
}

fn told() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("notify");
    let manager = socket(&path);
    let status = speaker().env("NOTIFY_SOCKET", &path).status()?;
    assert!(status.success());
    let next = || String::from_utf8(receive(&manager)).unwrap();
    assert_eq!(next(), "READY=1\nSTATUS=waiting\\u{a}READY=0\n");
    assert_eq!(next(), "STATUS=1 job\n");
    let reloading = next();
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
    assert!(time.unwrap().trim().parse::<u64>()? > 0, "{reloading}");
    assert_eq!(next(), "WATCHDOG=1\n");
    assert_eq!(next(), "STOPPING=1\nSTATUS=leaving\n");
    Ok(())
}

fn alone() -> Result<(), Failed> {
    let output = speaker().output()?;
    assert!(output.status.success());
    assert!(output.stdout.is_empty() && output.stderr.is_empty());
    Ok(())
}

/// The journal's socket has a fixed place, so a thread with mounts of its own puts one there.
fn journal() -> Result<(), Failed> {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(none, "/", none, private, none).unwrap();
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        fs::create_dir_all("/run/systemd/journal").unwrap();
        let journald = socket(Path::new("/run/systemd/journal/socket"));
        let layer = telemetry::journal().unwrap();
        assert!(receive(&journald).is_empty(), "the layer's first try");
        let event = Event::JobNeedsOperator {
            job: "vol-0123".into(),
            why: "the disk\u{1b}[2J is odd".into(),
            help: "dfagent retry vol-0123".into(),
        };
        let done = Event::JobDone {
            job: "vol-0123".into(),
            verdict: Level::Complete,
        };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            event.emit();
            done.emit();
        });
        check(&event, &receive(&journald), &done, &receive(&journald));
    });
    thread.join().map_err(|_| Failed::from("see above"))
}

fn check(event: &Event, first: &[u8], done: &Event, second: &[u8]) {
    let fields = fields(first);
    let get = |name: &str| fields.iter().filter(|(field, _)| field == name).count();
    let has = |name: &str, value: &str| {
        let wanted = (name.to_owned(), value.to_owned());
        assert!(fields.contains(&wanted), "{wanted:?} in {fields:?}");
        assert_eq!(get(name), 1, "{name} once");
    };
    has("MESSAGE_ID", event.id());
    has("DFAGENT_JOB", "vol-0123");
    has("DFAGENT_VOLUME", "vol-0123");
    has("DFAGENT_ERROR", r"the disk\u{1b}[2J is odd");
    has("PRIORITY", "3");
    has("SYSLOG_IDENTIFIER", "dfagent");
    let text = r"vol-0123: the disk\u{1b}[2J is odd; try: dfagent retry vol-0123";
    has("MESSAGE", text);
    assert_eq!(get("DFAGENT_STAGE"), 0);
    let fields = self::fields(second);
    let has = |name: &str, value: &str| fields.contains(&(name.to_owned(), value.to_owned()));
    assert!(
        has("PRIORITY", "6") && has("MESSAGE_ID", done.id()),
        "{fields:?}"
    );
}

/// The fields of a datagram: `NAME=VALUE`, or `NAME`, eight bytes of length and the value, each ended by a newline.
fn fields(mut bytes: &[u8]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        let (line, rest) = bytes.split_at(end);
        let rest = &rest[1..];
        if let Some(middle) = line.iter().position(|byte| *byte == b'=') {
            fields.push((text(&line[..middle]), text(&line[middle + 1..])));
            bytes = rest;
            continue;
        }
        let (length, rest) = rest.split_first_chunk::<8>().unwrap();
        let (value, rest) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
        fields.push((text(line), text(value)));
        bytes = &rest[1..];
    }
    fields
}
