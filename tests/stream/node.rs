//! One node of OpenSearch, as tests/timesketch/servers.py runs it, asked by curl.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::lab;

/// What Timesketch's release stack pins, and the newest that is known here.
pub const VERSIONS: [&str; 2] = ["2.19.5", "3.8.0"];

/// Nodes that trials share.
static SHARED: Mutex<Vec<(&str, Arc<Node>)>> = Mutex::new(Vec::new());

pub struct Node {
    pub url: String,
    state: PathBuf,
    running: Child,
    folder: TempDir,
}

pub fn is_installed(version: &str) -> bool {
    let place = lab::root().join("target/timesketch");
    place.join("python/bin/python").exists()
        && place.join(format!("opensearch-{version}/java")).exists()
}

/// The node of a version that trials share.
pub fn shared(version: &'static str) -> Arc<Node> {
    let mut nodes = SHARED.lock().unwrap();
    if let Some((_, node)) = nodes.iter().find(|(of, _)| *of == version) {
        return Arc::clone(node);
    }
    // One at a time is enough memory.
    nodes.clear();
    let node = Arc::new(Node::start(version, &[]));
    nodes.push((version, Arc::clone(&node)));
    node
}

/// Ends what trials shared.
pub fn end() {
    SHARED.lock().unwrap().clear();
}

fn command(action: &str, state: &Path) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command
        .arg("-B")
        .arg(lab::root().join("tests/timesketch/servers.py"))
        .arg(action)
        .arg("opensearch")
        .arg("--state")
        .arg(state);
    command
}

impl Node {
    /// Starts a node with settings of its own.
    pub fn start(version: &str, settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let mut command = command("run", &state);
        command.args(["--opensearch", version, "--heap", "1g"]);
        for setting in settings {
            command.args(["--opensearch-set", setting]);
        }
        let mut running = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut lines = BufReader::new(running.stdout.take().unwrap());
        lines.read_line(&mut line).unwrap();
        let about: Value = serde_json::from_str(&line).expect("the node gets ready");
        Self {
            url: about["opensearch"].as_str().unwrap().to_owned(),
            state,
            running,
            folder,
        }
    }

    pub fn port(&self) -> u64 {
        let (_, port) = self.url.rsplit_once(':').unwrap();
        port.parse().unwrap()
    }

    /// Ends the node as a power failure would.
    pub fn kill(&self) {
        let text = std::fs::read_to_string(self.state.join("opensearch.pid")).unwrap();
        let pid = text.split_whitespace().next().unwrap().parse().unwrap();
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }

    /// Starts a node that was killed, at the same address.
    pub fn start_again(&self) {
        let done = lab::finish(&mut command("start", &self.state));
        assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    }

    /// Any request: its status and its JSON.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--noproxy", "*", "--globoff"]);
        command.args(["--write-out", "\n%{http_code}", "--request", method]);
        command.arg(format!("{}/{path}", self.url));
        if !body.is_null() {
            command.args(["--header", "Content-Type: application/json", "--data"]);
            command.arg(body.to_string());
        }
        let done = lab::finish(&mut command);
        assert_eq!(done.code, 0, "{}{}", done.out, done.err);
        let (body, status) = done.out.rsplit_once('\n').unwrap();
        // One half of a character is no text to this library.
        let body = body.replace("\\ud800", "half");
        let body = serde_json::from_str(&body).unwrap_or_default();
        (status.parse().unwrap(), body)
    }

    /// A request that has to succeed.
    pub fn tell(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask(method, path, body);
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    /// Sets a setting of the cluster for as long as the node runs; null: as it was.
    pub fn set(&self, name: &str, value: &Value) {
        let body = serde_json::json!({"persistent": {name: value}});
        self.tell("PUT", "_cluster/settings", &body);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.running.stdin.take());
        drop(self.running.wait());
    }
}
