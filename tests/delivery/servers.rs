//! The real servers: started once, asked by a client that is not the agent's.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lab;

/// Trials that need the servers as they are share them; one that takes a server away has them alone.
static SHARED: RwLock<()> = RwLock::new(());
static SERVERS: OnceLock<Servers> = OnceLock::new();

/// The servers stay as they are for as long as this is held.
pub fn shared() -> RwLockReadGuard<'static, ()> {
    SHARED.read().unwrap_or_else(PoisonError::into_inner)
}

/// Nobody else uses the servers for as long as this is held.
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    SHARED.write().unwrap_or_else(PoisonError::into_inner)
}

/// Servers that run.
pub struct Servers {
    pub state: PathBuf,
    pub about: Value,
    asker: Mutex<Asker>,
    /// Ends with its standard input.
    running: Mutex<Option<Child>>,
    folder: Mutex<Option<TempDir>>,
}

struct Asker {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

fn version() -> String {
    std::env::var("OPENSEARCH_VERSION").unwrap_or_else(|_| "2.19.5".to_owned())
}

pub fn is_installed(version: &str) -> bool {
    let place = lab::root().join("target/timesketch");
    place.join("python/bin/timesketch_importer").exists()
        && place.join(format!("opensearch-{version}/java")).exists()
}

pub fn are_installed() -> bool {
    is_installed(&version())
}

/// `servers.py` with these arguments, for the servers of this state.
pub fn command(action: &str, state: &Path) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command
        .arg("-B")
        .arg(lab::root().join("tests/timesketch/servers.py"))
        .arg(action)
        .arg("--state")
        .arg(state);
    command
}

/// The servers that all trials share.
pub fn servers() -> &'static Servers {
    SERVERS.get_or_init(|| match std::env::var_os("DFAGENT_TEST_TIMESKETCH") {
        Some(state) => {
            let text = std::fs::read_to_string(Path::new(&state).join("servers.json"));
            let about = serde_json::from_str(&text.unwrap()).unwrap();
            Servers::over(state.into(), about, None, None)
        }
        None => Servers::start(&version()),
    })
}

/// Ends the servers, if any were started.
pub fn end() {
    if let Some(servers) = SERVERS.get() {
        servers.stop();
    }
}

impl Servers {
    pub fn start(version: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let mut running = command("run", &state)
            .args(["--worker-count", "2", "--opensearch", version])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut lines = BufReader::new(running.stdout.take().unwrap());
        lines.read_line(&mut line).unwrap();
        let about = serde_json::from_str(&line).expect("the servers get ready");
        Self::over(state, about, Some(running), Some(folder))
    }

    fn over(state: PathBuf, about: Value, running: Option<Child>, folder: Option<TempDir>) -> Self {
        let mut asker = Command::new("/usr/bin/python3")
            .arg("-B")
            .arg(lab::root().join("tests/timesketch/ask.py"))
            .arg(state.join("servers.json"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let questions = asker.stdin.take().unwrap();
        let answers = BufReader::new(asker.stdout.take().unwrap());
        let asker = Asker {
            child: asker,
            questions,
            answers,
        };
        Self {
            state,
            about,
            asker: Mutex::new(asker),
            running: Mutex::new(running),
            folder: Mutex::new(folder),
        }
    }

    pub fn stop(&self) {
        let mut asker = self.asker.lock().unwrap_or_else(PoisonError::into_inner);
        // It has nothing to put in order.
        drop(asker.child.kill());
        drop(asker.child.wait());
        let running = self.running.lock().unwrap().take();
        if let Some(mut running) = running {
            drop(running.stdin.take());
            running.wait().unwrap();
        }
        drop(self.folder.lock().unwrap().take());
    }

    pub fn url(&self) -> &str {
        self.about["url"].as_str().unwrap()
    }

    pub fn port(&self) -> u16 {
        let (_, port) = self.url().rsplit_once(':').unwrap();
        port.parse().unwrap()
    }

    pub fn opensearch(&self) -> &str {
        self.about["opensearch"].as_str().unwrap()
    }

    pub fn password_file(&self) -> PathBuf {
        self.about["password_file"].as_str().unwrap().into()
    }

    /// Asks a question of tests/timesketch/ask.py.
    pub fn ask(&self, question: &Value) -> Value {
        let mut asker = self.asker.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(asker.questions, "{question}").unwrap();
        let mut line = String::new();
        asker.answers.read_line(&mut line).unwrap();
        let mut answer: Value = serde_json::from_str(&line).unwrap();
        assert!(answer["refused"].is_null(), "{question}: {answer}");
        answer["answer"].take()
    }

    pub fn make_sketch(&self, name: &str) -> u64 {
        self.ask(&json!(["make_sketch", name])).as_u64().unwrap()
    }

    pub fn count(&self, sketch: u64) -> u64 {
        self.ask(&json!(["count", sketch])).as_u64().unwrap()
    }

    /// The timelines of a sketch with their states and counts.
    pub fn timelines(&self, sketch: u64) -> Vec<Value> {
        let found = self.ask(&json!(["state", sketch]));
        found.as_array().unwrap().clone()
    }

    /// What identifies each event of a sketch, sorted.
    pub fn documents(&self, sketch: u64) -> Vec<String> {
        let found = self.ask(&json!(["documents", sketch]));
        let mut found: Vec<String> = serde_json::from_value(found).unwrap();
        found.sort();
        found
    }

    /// Any request below /api/v1/, as the user of the trials: its status and JSON.
    pub fn api(&self, method: &str, path: &str, body: Value) -> (u64, Value) {
        let mut answer = self.ask(&json!(["api", method, path, body]));
        (answer[0].as_u64().unwrap(), answer[1].take())
    }

    /// Any request to OpenSearch: its status and JSON.
    pub fn of_opensearch(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--noproxy", "*", "--globoff"]);
        command.args(["--write-out", "\n%{http_code}", "--request", method]);
        command.arg(format!("{}/{path}", self.opensearch()));
        if !body.is_null() {
            command.args(["--header", "Content-Type: application/json", "--data"]);
            command.arg(body.to_string());
        }
        let done = lab::finish(&mut command);
        assert_eq!(done.code, 0, "{}{}", done.out, done.err);
        let (body, status) = done.out.rsplit_once('\n').unwrap();
        let body = serde_json::from_str(body).unwrap_or_default();
        (status.parse().unwrap(), body)
    }

    /// Does something to named servers; the answers' sessions may end by it.
    pub fn act(&self, action: &str, names: &[&str], more: &[&str]) {
        let done = lab::finish(command(action, &self.state).args(names).args(more));
        assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    }
}
