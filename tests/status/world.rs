//! A server with an example of a status, and a main loop that a trial plays itself.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use dfagent::status::access::Access;
use dfagent::status::server::{ActionRequest, Server};
use dfagent::status::{Answer, Status};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use crate::lab;

/// A job at work, one that needs somebody, and one that is done.
pub const AT_WORK: &str = "vol-00000000000000001";
pub const STUCK: &str = "vol-00000000000000002";
pub const DONE: &str = "vol-00000000000000003";

/// Longer than any step of a trial may take when nothing is waited for.
pub const LONG: Duration = Duration::from_secs(30);

fn job(id: &str, state: &Value) -> Value {
    json!({
        "id": id, "case": "IR-17", "priority": 0, "folder": format!("/jobs/{id}"), "mountpoint": null,
        "volume": {"id": id, "node": "/dev/nvme1n1", "sequence": 3, "size": 1_073_741_824_u64,
                   "point": "/dev/sdf", "entry": "evidence"},
        "state": state, "starts": 1, "crashes": 0, "created": "2026-11-20T02:30:00Z",
        "changed": "2026-11-20T02:59:59Z", "hooks_due": [],
        "hooks_done": [{"name": "copy", "ok": true, "outcome": "it ended with code 0"}],
    })
}

/// The example.
pub fn status() -> Status {
    let progress = json!({
        "stage": "extracting", "slices": 40, "slices_done": 12, "bytes": 4096, "bytes_done": 1024,
        "events": 5000, "events_per_second": 812.5, "seconds": 6.0, "seconds_left": 18.5,
        "at_work": [{"name": "p1-013", "events": 7, "file": "/var/log/auth.log"}], "unread": [],
    });
    let result = json!({"reasons": ["p2 was not read."], "documents": 9,
                        "timeline": format!("/jobs/{DONE}/timeline.jsonl")});
    let stuck =
        json!({"name": "needs_operator", "why": "It is encrypted.", "help": "cryptsetup open"});
    let done = json!({"name": "done", "verdict": "partial"});
    let value = json!({
        "schema": "dfagent-status-1",
        "agent": {"running": true, "version": "0.1.0", "pid": 1, "since": "2026-11-20T02:00:00Z",
                  "state": "running", "places": 2, "free_bytes": 1_073_741_824_u64, "reserve_bytes": 1,
                  "configured": null, "refused_configuration": null, "power_off_at": null,
                  "at": "2026-11-20T03:00:00Z",
                  "totals": {"slices": 0, "slice_seconds": 0, "bytes": 0, "events": 0, "stalls": 0, "jobs": 0,
                             "job_seconds": 0, "slices_delivered": 0, "documents_delivered": 0, "bytes_sent": 0}},
        "jobs": [
            {"job": job(AT_WORK, &json!({"name": "running"})), "attached": true,
             "progress": progress, "result": null},
            {"job": job(STUCK, &stuck), "attached": true, "progress": null, "result": null},
            {"job": job(DONE, &done), "attached": false, "progress": null, "result": result},
        ],
        "ignored": [{"node": "/dev/nvme0n1", "size": 8, "reason": "It is mounted on /."}],
        "needs_operator": [{"why": format!("{STUCK}: It is encrypted."), "command": "cryptsetup open"}],
    });
    serde_json::from_value(value).expect("the example is a status")
}

/// The same without anything that a person has to do.
pub fn calm() -> Status {
    let mut status = status();
    status.jobs.retain(|job| job.job.id != STUCK);
    status.needs_operator.clear();
    status
}

/// A status whose answer is larger than what a socket takes at once.
pub fn large() -> Status {
    let mut status = status();
    let one = status.ignored[0].clone();
    status.ignored = vec![one; 60_000];
    status
}

/// A server, and what a main loop holds.
pub struct World {
    pub server: Server,
    pub folder: TempDir,
    pub snapshot: watch::Sender<Arc<Status>>,
    pub actions: mpsc::Receiver<ActionRequest>,
}

/// Starts a server for these groups.
pub fn start(status: Status, readers: &str, operators: &str) -> World {
    let folder = tempfile::tempdir().unwrap();
    // Others have to get as far as the socket; it is the socket that is on trial.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (snapshot, seen) = watch::channel(Arc::new(status));
    let (ask, actions) = mpsc::channel(16);
    let access = Access {
        readers: readers.to_owned(),
        operators: operators.to_owned(),
    };
    let config = folder.path().join("dfagent.toml");
    let text = format!(
        "[agent]\ndirectory = \"{0}\"\nsocket = \"{0}/dfagent.sock\"\nreaders = \"{readers}\"\noperators = \"{operators}\"\n",
        folder.path().display()
    );
    dfagent::durable::write(&config, text.as_bytes()).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    let socket = folder.path().join("dfagent.sock");
    let server = Server::start(&socket, access, seen, ask).expect("the server starts");
    World {
        server,
        folder,
        snapshot,
        actions,
    }
}

impl World {
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("dfagent.sock")
    }

    pub fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        stream
    }

    /// `dfagent` with this world's configuration.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = lab::dfagent();
        command
            .arg("--config")
            .arg(self.folder.path().join("dfagent.toml"))
            .args(arguments);
        command
    }

    /// The same as somebody else: user, group and further groups by number. The program is copied to where
    /// everybody can run it.
    pub fn command_as(&self, user: u32, group: u32, groups: &str, arguments: &[&str]) -> Command {
        let program = self.folder.path().join("dfagent");
        if !program.exists() {
            fs::copy(env!("CARGO_BIN_EXE_dfagent"), &program).unwrap();
        }
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={user}"))
            .arg(format!("--regid={group}"))
            .arg(match groups {
                "" => "--clear-groups".to_owned(),
                groups => format!("--groups={groups}"),
            })
            .arg(program)
            .arg("--config")
            .arg(self.folder.path().join("dfagent.toml"))
            .args(arguments);
        command
    }
}

/// One frame.
pub fn send(stream: &mut UnixStream, text: &str) {
    let length = u32::try_from(text.len()).unwrap();
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend_from_slice(text.as_bytes());
    stream.write_all(&frame).unwrap();
}

/// One frame of the other side.
pub fn receive(stream: &mut UnixStream) -> io::Result<Answer> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut bytes)?;
    serde_json::from_slice(&bytes).map_err(io::Error::other)
}

/// The request for the status.
pub const ASK: &str = r#"{"version":1,"ask":"status"}"#;

/// Asks for the status and must get it.
pub fn ask(stream: &mut UnixStream) -> Box<Status> {
    send(stream, ASK);
    match receive(stream).expect("an answer") {
        Answer::Status(status) => status,
        other => panic!("not a status: {other:?}"),
    }
}

/// The sentence of a refusal.
pub fn why(answer: &Answer) -> &str {
    match answer {
        Answer::Refused { why } => why,
        other => panic!("not refused: {other:?}"),
    }
}

/// Whether the other side has hung up: there is nothing more to read.
pub fn is_closed(stream: &mut UnixStream) -> bool {
    match stream.read(&mut [0; 1]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    }
}
