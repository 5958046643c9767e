//! A job that is streamed: its slices have their documents, and what must be true afterwards.

use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::case::Case;
use crate::lab::{self, Finished};
use crate::material;
use crate::servers::{Servers, servers};

pub struct Stream {
    pub case: Case,
    pub more: Vec<&'static str>,
}

impl Deref for Stream {
    type Target = Case;

    fn deref(&self) -> &Case {
        &self.case
    }
}

impl DerefMut for Stream {
    fn deref_mut(&mut self) -> &mut Case {
        &mut self.case
    }
}

impl Stream {
    pub fn of(slices: &[&'static str]) -> Self {
        Self::on(servers(), slices)
    }

    pub fn on(servers: &'static Servers, slices: &[&'static str]) -> Self {
        let mut case = Case::on(servers, slices);
        material::part_documents(&case.job, slices);
        let address = format!("{:?}", case.servers.opensearch());
        case.set("opensearch", "url", &address);
        Self {
            case,
            more: vec!["--stream"],
        }
    }

    pub fn command(&self) -> Command {
        let mut command = self.case.command();
        command.args(&self.more);
        command
    }

    pub fn deliver(&self) -> Finished {
        lab::finish(&mut self.command())
    }

    /// Delivers, and everything must be there.
    pub fn delivers(&self) {
        let done = self.deliver();
        assert_eq!(done.code, 0, "{}{}", done.out, done.err);
        self.is_whole();
    }

    /// The delivery, begun.
    pub fn begin(&self) -> Child {
        let said = |name: &str| {
            std::fs::File::options()
                .create(true)
                .append(true)
                .open(self.at(name))
        };
        let mut command = self.command();
        command
            .stdout(said("stdout").unwrap())
            .stderr(said("stderr").unwrap());
        command.stdin(Stdio::null()).spawn().unwrap()
    }

    pub fn said(&self) -> String {
        std::fs::read_to_string(self.at("stderr")).unwrap_or_default()
    }

    /// Every event of the job is found once, in one timeline that says where it is from.
    pub fn is_whole(&self) {
        let timelines = self.servers.timelines(self.sketch);
        assert_eq!(timelines.len(), 1, "{timelines:?}\n{}", self.said());
        let timeline = assert_whole(self.servers, self.sketch, &self.slices);
        let record = self.record().expect("there is a record of the delivery");
        assert_eq!(record["level"], "complete", "{record}");
        let expected = material::events(&self.slices).len();
        assert_eq!(record["documents"], expected, "{record}");
        let path = format!("sketches/{}/timelines/{timeline}/", self.sketch);
        let (_, about) = self.servers.api("GET", &path, Value::Null);
        let sources = about["objects"][0]["datasources"].as_array().unwrap();
        assert_eq!(sources.len(), 1, "{sources:?}");
        let context: Value = serde_json::from_str(sources[0]["context"].as_str().unwrap()).unwrap();
        let manifest = lab::sha256(&self.job.join("manifest.json"));
        assert_eq!(context["manifest_sha256"], manifest, "{context}");
    }

    /// The one timeline of the sketch: its number and its index.
    pub fn timeline(&self) -> (u64, String) {
        one_timeline(self.servers, self.sketch)
    }

    /// Documents in an index; none when there is no such index, or it is closed.
    pub fn in_index(&self, index: &str) -> Option<u64> {
        self.servers
            .of_opensearch("POST", &format!("{index}/_refresh"), &Value::Null);
        let path = format!("{index}/_count");
        let (_, found) = self.servers.of_opensearch("GET", &path, &Value::Null);
        found["count"].as_u64()
    }
}

fn one_timeline(servers: &Servers, sketch: u64) -> (u64, String) {
    let timelines = servers.timelines(sketch);
    assert_eq!(timelines.len(), 1, "{timelines:?}");
    let timeline = &timelines[0];
    assert_eq!(timeline["status"], "ready", "{timeline}");
    let index = timeline["index"].as_str().unwrap().to_owned();
    (timeline["id"].as_u64().unwrap(), index)
}

/// A sketch holds the events of these slices, each once, in one timeline; its number.
pub fn assert_whole(servers: &Servers, sketch: u64, slices: &[&str]) -> u64 {
    let expected = material::events(slices);
    let (timeline, index) = one_timeline(servers, sketch);
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
    // No document is there twice that a search would not show.
    let path = format!("{index}/_count");
    let (_, counted) = servers.of_opensearch("GET", &path, &json!(null));
    assert_eq!(counted["count"], expected.len(), "in {index}");
    timeline
}
