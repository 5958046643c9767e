//! Stands in for `opensearch` on this branch alone, until that is here.
#![allow(missing_docs, clippy::all, clippy::pedantic, clippy::nursery)]

use std::io::{BufRead, BufReader, Seek};
use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::delivery::{OpensearchSettings, is_web_address};
use crate::http::{Answer, Budget, Limits, Setup, Wire, WireError};
use crate::timesketch::Fault;

const LIMITS: Limits = Limits {
    connect: Duration::from_secs(10),
    answer: Duration::from_secs(30),
    idle: Duration::from_secs(10),
    total: Duration::from_secs(60),
};

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("{0}")]
    Refused(String),
}

impl ClientError {
    pub fn fault(&self) -> Fault {
        match self {
            Self::Wire(_) => Fault::Passing { after: None },
            Self::Refused(_) => Fault::Refused,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("gone")]
    Gone,
    #[error("{0}")]
    Full(String),
    #[error(transparent)]
    File(#[from] std::io::Error),
}

#[derive(Debug)]
pub struct Client {
    wire: Wire,
}

pub struct About {
    pub version: String,
    pub distribution: String,
    pub cluster: String,
}
pub struct Shards {
    pub open: u64,
    pub limit: u64,
}

#[derive(Debug, Default)]
pub struct Pace;

pub struct Shipment<'a> {
    pub index: &'a str,
    pub documents: &'a Path,
    pub from: Position,
    pub timeline: Option<u64>,
    pub labels: &'a [(&'static str, String)],
    pub slice: &'a str,
    pub rejected: &'a Path,
    pub alone_first: bool,
}
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Position {
    pub offset: u64,
    pub documents: u64,
    pub refused: u64,
    pub mended: u64,
}
pub struct Progress {
    pub position: Position,
    pub waits: Option<String>,
}

pub mod mapping {
    pub fn index_body(_labels: bool) -> serde_json::Value {
        let mappings: serde_json::Value = serde_json::from_slice(
            &std::fs::read("target/timesketch/python/share/timesketch/plaso.mappings")
                .unwrap_or_default(),
        )
        .unwrap_or_default();
        serde_json::json!({"settings": {"number_of_shards": 1, "auto_expand_replicas": "0-1"}, "mappings": mappings})
    }
}

impl Client {
    pub fn new(
        settings: &OpensearchSettings,
        _: Option<&Path>,
    ) -> Result<Option<Self>, ClientError> {
        if settings.url.is_empty() {
            return Ok(None);
        }
        let wire = Wire::new(&Setup {
            url: &settings.url,
            fits: is_web_address,
            section: "opensearch",
            ca_file: &settings.ca_file,
            certificate: Path::new(""),
            limits: LIMITS,
        })?;
        Ok(Some(Self { wire }))
    }
    pub fn base(&self) -> &str {
        self.wire.base()
    }
    async fn ask(&self, method: Method, path: &str, body: String) -> Result<Answer, ClientError> {
        let request = self
            .wire
            .request(method, path)
            .header("content-type", "application/json")
            .body(body);
        let request = request.build().map_err(|error| self.wire.unbuilt(&error))?;
        let budget = Budget {
            bytes: 64 << 20,
            total: LIMITS.total,
            moved: None,
            sent: None,
        };
        Ok(self.wire.exchange(request, budget).await?)
    }
    pub async fn about(&self) -> Result<About, ClientError> {
        let answer = self.ask(Method::GET, "/", String::new()).await?;
        let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        Ok(About {
            version: value["version"]["number"].as_str().unwrap_or("").into(),
            distribution: value["version"]["distribution"]
                .as_str()
                .unwrap_or("")
                .into(),
            cluster: value["cluster_name"].as_str().unwrap_or("").into(),
        })
    }
    pub async fn clause_limit(&self) -> Result<u64, ClientError> {
        Ok(1024)
    }
    pub async fn shards(&self) -> Result<Shards, ClientError> {
        Ok(Shards {
            open: 0,
            limit: 1000,
        })
    }
    pub async fn create_index(&self, name: &str, body: &Value) -> Result<bool, ClientError> {
        let answer = self
            .ask(Method::PUT, &format!("/{name}"), body.to_string())
            .await?;
        match answer.status {
            200 => Ok(true),
            400 if answer.text().contains("resource_already_exists") => Ok(false),
            _ => Err(ClientError::Refused(answer.text().to_string())),
        }
    }
    pub async fn delete_index(&self, name: &str) -> Result<(), ClientError> {
        self.ask(Method::DELETE, &format!("/{name}"), String::new())
            .await
            .map(drop)
    }
    pub async fn refresh(&self, name: &str) -> Result<(), ClientError> {
        self.ask(Method::POST, &format!("/{name}/_refresh"), String::new())
            .await
            .map(drop)
    }
    pub async fn count(
        &self,
        index: &str,
        timeline: Option<u64>,
        _slice: Option<&str>,
    ) -> Result<u64, ClientError> {
        let query = match timeline {
            Some(id) => json!({"query": {"term": {"__ts_timeline_id": id}}}),
            None => json!({"query": {"match_all": {}}}),
        };
        let answer = self
            .ask(Method::POST, &format!("/{index}/_count"), query.to_string())
            .await?;
        let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        value["count"]
            .as_u64()
            .ok_or_else(|| ClientError::Refused(answer.text().to_string()))
    }
}

pub async fn ship(
    client: &Client,
    _pace: &Pace,
    shipment: &Shipment<'_>,
    on: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Position, ShipError> {
    let mut file = std::fs::File::open(shipment.documents)?;
    file.seek(std::io::SeekFrom::Start(shipment.from.offset))?;
    let mut lines = BufReader::new(file);
    let mut position = shipment.from;
    loop {
        let mut body = String::new();
        let (mut count, mut bytes) = (0, 0);
        while count < 50 {
            let mut line = String::new();
            let read = lines.read_line(&mut line)?;
            if read == 0 {
                break;
            }
            let id = position.documents + count;
            let mut document: Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(timeline) = shipment.timeline {
                document["__ts_timeline_id"] = json!(timeline);
            }
            for (name, value) in shipment.labels {
                document[*name] = json!(value);
            }
            body.push_str(&format!(
                "{{\"create\":{{\"_id\":\"{}-{id}\"}}}}\n{document}\n",
                shipment.slice
            ));
            bytes += read as u64;
            count += 1;
        }
        if count == 0 {
            return Ok(position);
        }
        let answer = client
            .ask(Method::POST, &format!("/{}/_bulk", shipment.index), body)
            .await?;
        let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let text = answer.text().to_string();
        if text.contains("index_closed_exception") || text.contains("index_not_found") {
            return Err(ShipError::Gone);
        }
        if answer.status != 200 {
            return Err(ClientError::Refused(text).into());
        }
        for item in value["items"].as_array().into_iter().flatten() {
            let status = item["create"]["status"].as_u64().unwrap_or(0);
            if status != 201 && status != 409 {
                position.refused += 1;
            }
        }
        position.documents += count;
        position.offset += bytes;
        on(Progress {
            position,
            waits: None,
        });
    }
}
