//! A delivery under trial: a copy of the job, a sketch, settings, and what must be true afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::Value;
use tempfile::TempDir;

use crate::lab::{self, Finished};
use crate::material;
use crate::servers::{Servers, servers};

/// A trial.
pub type Test = fn() -> Result<(), Failed>;

/// How long anything may take before it counts as hanging.
pub const HANGING: Duration = Duration::from_secs(180);

pub struct Case {
    pub work: TempDir,
    pub servers: &'static Servers,
    pub sketch: u64,
    pub slices: Vec<&'static str>,
    pub job: PathBuf,
    settings: BTreeMap<(&'static str, &'static str), String>,
}

impl Case {
    /// A job with these slices, and a sketch for it.
    pub fn of(slices: &[&'static str]) -> Self {
        Self::on(servers(), slices)
    }

    pub fn on(servers: &'static Servers, slices: &[&'static str]) -> Self {
        let work = tempfile::tempdir().unwrap();
        let job = material::copy_job(&work.path().join("out"), slices);
        let sketch = servers.make_sketch("a trial");
        let mut case = Self {
            work,
            servers,
            sketch,
            slices: slices.to_vec(),
            job,
            settings: BTreeMap::new(),
        };
        let password = format!("{:?}", servers.password_file());
        let (url, number) = (format!("{:?}", servers.url()), sketch.to_string());
        for (section, key, value) in [
            ("timesketch", "url", url.as_str()),
            ("timesketch", "user", "\"dfagent\""),
            ("timesketch", "password_file", &password),
            ("timesketch", "sketch_id", &number),
            ("timesketch", "chunk_mib", "1"),
            ("timesketch", "connect_seconds", "5"),
            ("timesketch", "answer_seconds", "30"),
            ("timesketch", "idle_seconds", "5"),
            ("delivery", "patience_seconds", "60"),
        ] {
            case.set(section, key, value);
        }
        case
    }

    /// A setting, in the words of the configuration file.
    pub fn set(&mut self, section: &'static str, key: &'static str, value: &str) {
        self.settings.insert((section, key), value.to_owned());
    }

    pub fn to(&mut self, url: &str) {
        self.set("timesketch", "url", &format!("{url:?}"));
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    pub fn out(&self) -> PathBuf {
        self.at("out")
    }

    /// The program, with the settings of this trial in its configuration file.
    pub fn dfagent(&self) -> Command {
        let mut text = String::new();
        let mut before = "";
        for ((section, key), value) in &self.settings {
            if before != *section {
                text.push_str(&format!("[{section}]\n"));
            }
            before = section;
            text.push_str(&format!("{key} = {value}\n"));
        }
        let file = self.at("dfagent.toml");
        fs::write(&file, text).unwrap();
        let mut command = lab::dfagent();
        command.arg("--config").arg(file);
        command
    }

    pub fn command(&self) -> Command {
        let mut command = self.dfagent();
        command.args(["deliver", "--once"]).arg(self.out());
        command
    }

    pub fn deliver(&self) -> Finished {
        lab::finish(&mut self.command())
    }

    /// The delivery, begun.
    pub fn begin(&self) -> Child {
        let mut command = self.command();
        let said = |name: &str| {
            fs::File::options()
                .create(true)
                .append(true)
                .open(self.at(name))
        };
        command
            .stdout(said("stdout").unwrap())
            .stderr(said("stderr").unwrap());
        command.stdin(Stdio::null()).spawn().unwrap()
    }

    /// The state that delivery keeps of the job, as JSON.
    pub fn state(&self) -> Option<Value> {
        let name = self.job.file_name().unwrap().to_str().unwrap();
        let path = self.out().join(format!("delivery/state/{name}.json"));
        serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
    }

    /// The record of the delivery.
    pub fn record(&self) -> Option<Value> {
        let text = fs::read_to_string(self.job.join("delivery.json")).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Delivers, and everything must be there.
    pub fn delivers(&self) {
        let done = self.deliver();
        assert_eq!(done.code, 0, "{}{}", done.out, done.err);
        self.is_whole();
    }

    /// Delivery stops with one sentence, which has these words.
    pub fn stops(&self, code: i32, words: &[&str]) -> Finished {
        let done = self.deliver();
        assert_eq!(done.code, code, "{}{}", done.out, done.err);
        let sentences = done
            .err
            .lines()
            .filter(|line| line.starts_with("dfagent: "));
        let sentences: Vec<&str> = sentences.collect();
        assert_eq!(sentences.len(), 1, "one sentence: {}", done.err);
        for word in words {
            assert!(
                sentences[0].contains(word),
                "{word:?} is not in: {}",
                sentences[0]
            );
        }
        done
    }

    /// Every event of the job is found once, in as many timelines as there are slices with events.
    pub fn is_whole(&self) {
        assert_whole(self.servers, self.sketch, &self.slices);
        let record = self.record().expect("there is a record of the delivery");
        assert_eq!(record["level"], "complete", "{record}");
        let expected = material::events(&self.slices).len();
        assert_eq!(record["documents"], expected, "{record}");
    }
}

/// A sketch holds the events of these slices, each once.
pub fn assert_whole(servers: &Servers, sketch: u64, slices: &[&str]) {
    let expected = material::events(slices);
    let found = servers.documents(sketch);
    assert!(
        found == expected,
        "{} of {} events are found",
        found.len(),
        expected.len()
    );
    assert_eq!(
        servers.count(sketch),
        expected.len() as u64,
        "the search's count"
    );
    let timelines = servers.timelines(sketch);
    let with_events = slices
        .iter()
        .filter(|name| **name != material::NOTHING)
        .count();
    assert_eq!(timelines.len(), with_events, "{timelines:?}");
    for timeline in timelines {
        assert_eq!(timeline["status"], "ready", "{timeline}");
        assert_eq!(
            timeline["sources"],
            serde_json::json!(["ready"]),
            "{timeline}"
        );
    }
}

/// Looks again and again until the condition holds; false when the time is over.
pub fn holds_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Waits for a process to end; its code, -1 after a signal.
pub fn ends(child: &mut Child) -> i32 {
    let mut code = None;
    let ended = holds_within(HANGING, || {
        code = child
            .try_wait()
            .unwrap()
            .map(|status| status.code().unwrap_or(-1));
        code.is_some()
    });
    if !ended {
        drop(child.kill());
        drop(child.wait());
    }
    assert!(ended, "it ends");
    code.unwrap()
}

/// Every file below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}
