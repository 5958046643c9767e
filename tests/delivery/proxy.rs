//! The proxy between agent and server, as tests/timesketch/proxy.py is it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::lab;
use crate::servers::Servers;

/// How long a trial waits for the proxy to see something.
const HANGING: Duration = Duration::from_secs(120);

pub struct Proxy {
    child: Child,
    words: ChildStdin,
    pub port: u64,
    pub elsewhere: u64,
    said: Arc<(Mutex<Vec<Value>>, Condvar)>,
    secured: bool,
}

impl Proxy {
    /// A proxy before the servers that does to requests what these rules say.
    pub fn with_rules(servers: &Servers, rules: &Value) -> Self {
        Self::told(servers, json!({"rules": rules}))
    }

    pub fn told(servers: &Servers, mut told: Value) -> Self {
        told["to"] = json!(["127.0.0.1", servers.port()]);
        let mut child = Command::new("/usr/bin/python3")
            .arg("-B")
            .arg(lab::root().join("tests/timesketch/proxy.py"))
            .arg(told.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let words = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let said = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let words: Value = serde_json::from_str(&line).unwrap();
                heard.0.lock().unwrap().push(words);
                heard.1.notify_all();
            }
        });
        Self {
            child,
            words,
            port: first["port"].as_u64().unwrap(),
            elsewhere: first["elsewhere"].as_u64().unwrap(),
            said,
            secured: !told["cert"].is_null(),
        }
    }

    pub fn url(&self) -> String {
        let scheme = if self.secured { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// What it said so far.
    pub fn said(&self) -> Vec<Value> {
        self.said.0.lock().unwrap().clone()
    }

    /// How often something was done to a request.
    pub fn did(&self, what: &str) -> usize {
        let said = self.said();
        said.iter().filter(|words| words["do"] == what).count()
    }

    /// How many requests of that beginning it saw.
    pub fn saw(&self, request: &str) -> usize {
        let begins = |words: &&Value| {
            let seen = words["seen"].as_str();
            seen.is_some_and(|seen| seen.starts_with(request))
        };
        self.said().iter().filter(begins).count()
    }

    /// Waits until as many requests are held; the kind of the last one, none once `ended` says so.
    pub fn wait_held(&self, count: usize, mut ended: impl FnMut() -> bool) -> Option<String> {
        let (said, changed) = &*self.said;
        let mut heard = said.lock().unwrap();
        let mut waited = Duration::ZERO;
        let step = Duration::from_millis(50);
        loop {
            let mut held = heard.iter().filter_map(|words| words["held"].as_str());
            if let Some(kind) = held.nth(count - 1) {
                return Some(kind.to_owned());
            }
            if ended() {
                return None;
            }
            assert!(waited < HANGING, "nothing is held: {heard:?}");
            waited += step;
            heard = changed.wait_timeout(heard, step).unwrap().0;
        }
    }

    /// What is held goes on.
    pub fn go_on(&mut self) {
        writeln!(self.words).unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
