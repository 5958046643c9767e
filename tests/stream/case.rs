//! A shipment under trial: an index, a file of documents, and what must be true afterwards.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use dfagent::config::delivery::OpensearchSettings;
use dfagent::opensearch::{Client, Pace, Position, Progress, ShipError, Shipment, mapping, ship};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::node::{self, Node};

static NUMBER: AtomicU64 = AtomicU64::new(0);
pub const TIMELINE: u64 = 7;
pub const SLICE: &str = "0001-triage";

pub struct Case {
    pub node: Arc<Node>,
    pub index: String,
    pub settings: OpensearchSettings,
    pub said: Mutex<Vec<Progress>>,
    pub alone_first: bool,
    folder: TempDir,
}

/// A document as psort writes one, with more members.
pub fn document(second: u64, more: &Value) -> String {
    let mut document = json!({
        "parser": "text/syslog",
        "data_type": "syslog:line",
        "datetime": format!("2026-11-01T{:02}:{:02}:{:02}.000000+00:00", second / 3600 % 24, second / 60 % 60, second % 60),
        "message": format!("[sshd, pid: 7] event number {second} of host"),
        "source_short": "LOG",
        "tag": [],
        "timestamp": 1_793_491_200_000_000_u64 + second * 1_000_000,
        "timestamp_desc": "Content Modification Time",
    });
    for (name, value) in more.as_object().unwrap() {
        document[name] = value.clone();
    }
    document.to_string()
}

/// So many plain documents.
pub fn plain(count: u64) -> Vec<String> {
    (0..count)
        .map(|number| {
            document(
                number,
                &json!({"username": format!("user{}", number % 50), "inode": number.to_string()}),
            )
        })
        .collect()
}

impl Case {
    /// An index on the node that trials share.
    pub fn shared(version: &'static str) -> Self {
        Self::on(node::shared(version))
    }

    pub fn on(node: Arc<Node>) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let settings = OpensearchSettings {
            url: node.url.clone(),
            ..OpensearchSettings::default()
        };
        let case = Self {
            node,
            index: format!("dftrial{number}"),
            settings,
            said: Mutex::default(),
            alone_first: true,
            folder: tempfile::tempdir().unwrap(),
        };
        case.run(async {
            let body = mapping::index_body(true);
            let made = case.client().create_index(&case.index, &body).await;
            assert!(made.unwrap(), "the index is made");
        });
        case
    }

    pub fn run<T>(&self, what: impl Future<Output = T>) -> T {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap().block_on(what)
    }

    pub fn client(&self) -> Client {
        Client::new(&self.settings, None).unwrap().unwrap()
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write<T: AsRef<[u8]>>(&self, lines: &[T]) {
        let mut text = Vec::new();
        for line in lines {
            text.extend_from_slice(line.as_ref());
            text.push(b'\n');
        }
        fs::write(self.at("documents.jsonl"), text).unwrap();
    }

    /// Ships what was written, from a position on.
    pub fn ship_from(&self, from: Position) -> Result<Position, ShipError> {
        self.ship_until(from, &|_| ())
    }

    /// The same; `on` hears of the progress.
    pub fn ship_until(
        &self,
        from: Position,
        on: &(dyn Fn(&Progress) + Send + Sync),
    ) -> Result<Position, ShipError> {
        let labels = [
            ("evidence_volume", "vol-0123".to_owned()),
            ("evidence_slice", SLICE.to_owned()),
        ];
        let (documents, rejected) = (self.at("documents.jsonl"), self.at("rejected.jsonl"));
        let shipment = Shipment {
            index: &self.index,
            documents: &documents,
            from,
            timeline: Some(TIMELINE),
            labels: &labels,
            slice: SLICE,
            rejected: &rejected,
            alone_first: self.alone_first,
        };
        let hear = |progress: Progress| {
            on(&progress);
            self.said.lock().unwrap().push(progress);
        };
        let (client, pace) = (self.client(), Pace::new(&self.settings));
        self.run(ship(&client, &pace, &shipment, &hear))
    }

    /// Ships lines to the end, and none is lost.
    pub fn ships<T: AsRef<[u8]>>(&self, lines: &[T]) -> Position {
        self.write(lines);
        let position = self.ship_from(Position::default()).unwrap();
        assert_eq!(position.documents, lines.len() as u64, "{position:?}");
        self.is_whole(position);
        position
    }

    /// What is in the index and what was refused are all documents, and the record names the latter.
    pub fn is_whole(&self, position: Position) {
        let length = fs::metadata(self.at("documents.jsonl")).unwrap().len();
        assert_eq!(position.offset, length, "all of the file");
        let there = position.documents - position.refused;
        assert_eq!(self.count(), there, "{position:?} {:?}", self.rejected());
        assert_eq!(
            self.rejected().len() as u64,
            position.refused,
            "{position:?}"
        );
    }

    /// What a search finds, by timeline and by slice.
    pub fn count(&self) -> u64 {
        self.run(async {
            let client = self.client();
            client.refresh(&self.index).await.unwrap();
            let count = client
                .count(&self.index, Some(TIMELINE), None)
                .await
                .unwrap();
            let slice = client.count(&self.index, None, Some(SLICE)).await.unwrap();
            assert_eq!(count, slice, "labels and timeline");
            count
        })
    }

    /// The record of refused documents.
    pub fn rejected(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.at("rejected.jsonl")).unwrap_or_default();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let ids: HashSet<&str> = lines
            .iter()
            .map(|line| line["id"].as_str().unwrap())
            .collect();
        assert_eq!(ids.len(), lines.len(), "each once");
        lines
    }

    /// The documents that a query string finds.
    pub fn search(&self, query: &str) -> Vec<Value> {
        let body = json!({"size": 100, "query": {"query_string": {"query": query, "default_operator": "AND"}}});
        let mut answer = self
            .node
            .tell("POST", &format!("{}/_search", self.index), &body);
        let hits = answer["hits"]["hits"].take();
        let mut found: Vec<Value> = hits.as_array().unwrap().clone();
        found.iter_mut().map(|hit| hit["_source"].take()).collect()
    }

    /// What it said that it waited for.
    pub fn waits(&self) -> Vec<String> {
        let said = self.said.lock().unwrap();
        said.iter()
            .filter_map(|progress| progress.waits.clone())
            .collect()
    }

    /// Deletes the index, so that a node does not fill up.
    pub fn end(self) {
        self.run(async { self.client().delete_index(&self.index).await.unwrap() });
    }
}
