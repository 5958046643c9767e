//! One OpenSearch, of one node or several.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::{Value, json};

use super::error::{self, ClientError};
use crate::config::delivery::{OpensearchSettings, is_web_address};
use crate::http::{Answer, Budget, Limits, Problem, Setup, Wire, WireError};
use crate::printable;
use crate::secret::{Fingerprint, Secret, Source};

/// The credential that systemd may give in place of a file.
const CREDENTIAL: &str = "opensearch-password";
/// A bulk of 400 documents that each bring a new field took 49 s (3.8.0, loaded machine): each is a change of the
/// cluster's state.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(10),
    answer: Duration::from_secs(240),
    idle: Duration::from_secs(30),
    total: Duration::from_secs(300),
};
/// What is no bulk takes no longer.
const SHORT: Duration = Duration::from_secs(60);
/// Bytes of an answer.
const ANSWER: usize = 1024 * 1024;
/// Bytes of the answer to a bulk; a reason is a few hundred bytes for each document that is refused.
const BULK_ANSWER: usize = 64 * 1024 * 1024;
const SETTING: &str = "indices.query.bool.max_clause_count";
const SHARDS: &str = "cluster.max_shards_per_node";
/// What counts before what.
const LEVELS: [&str; 3] = ["transient", "persistent", "defaults"];
/// What an index is written under. A bulk to a name that is not there would make an index of that name, with any
/// mapping; an alias can be required to be there (`require_alias`, OpenSearch 1.0 and later), and goes with its index.
const ALIAS: &str = "-in";

/// What answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// `2.19.5`.
    pub version: String,
    /// `opensearch`; empty: it does not say.
    pub distribution: String,
    /// Name of the cluster.
    pub cluster: String,
}

/// How many shards there are and may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shards {
    /// Of open indexes, those without a place included.
    pub open: u64,
    /// All nodes together; nothing: it does not say.
    pub limit: Option<u64>,
}

/// One OpenSearch.
pub struct Client {
    nodes: Vec<Wire>,
    /// Which node is asked first: the one that answered last.
    first: AtomicUsize,
    user: String,
    source: Option<Source>,
    /// The secret that the server did not accept; it is not sent twice.
    refused: Mutex<Option<Fingerprint>>,
}

/// What is asked.
struct Ask<'a> {
    method: Method,
    path: &'a str,
    body: Body<'a>,
}

enum Body<'a> {
    None,
    Json(&'a Value),
    /// Lines, packed by gzip.
    Packed(&'a [u8]),
}

impl std::fmt::Debug for Client {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.nodes.fmt(out)
    }
}

impl Client {
    /// A client, where one is configured. `credentials` is systemd's folder of credentials.
    ///
    /// # Errors
    /// An address or files that are no good, or no password for a user.
    pub fn new(
        settings: &OpensearchSettings,
        credentials: Option<&Path>,
    ) -> Result<Option<Self>, ClientError> {
        let nodes = settings.nodes();
        if nodes.is_empty() {
            return Ok(None);
        }
        let wire = |url: &str| {
            Wire::new(&Setup {
                url,
                fits: is_web_address,
                section: "opensearch",
                ca_file: &settings.ca_file,
                certificate: Path::new(""),
                limits: LIMITS,
            })
        };
        let nodes = nodes.into_iter().map(wire).collect::<Result<_, _>>()?;
        let source = if settings.user.is_empty() {
            None
        } else {
            let file = &settings.password_file;
            Some(Secret::source(file, CREDENTIAL, credentials)?)
        };
        Ok(Some(Self {
            nodes,
            first: AtomicUsize::new(0),
            user: settings.user.clone(),
            source,
            refused: Mutex::new(None),
        }))
    }

    /// The address of the node that is asked first, without a slash at its end.
    #[must_use]
    pub fn base(&self) -> &str {
        let first = self.first.load(Ordering::Relaxed) % self.nodes.len();
        self.nodes.get(first).map_or("", Wire::base)
    }

    /// What answers. The answer proves that the login works.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn about(&self) -> Result<About, ClientError> {
        let action = format!("ask {} what it is", self.base());
        let found = self.get(&action, "/").await?;
        let text = |path| {
            let found = found.pointer(path).and_then(Value::as_str);
            found.map(|text| printable::line(text, 100))
        };
        let Some(version) = text("/version/number") else {
            return Err(ClientError::odd(&action, "no version"));
        };
        Ok(About {
            version,
            distribution: text("/version/distribution").unwrap_or_default(),
            cluster: text("/cluster_name").unwrap_or_default(),
        })
    }

    /// How many pieces a search may have, `indices.query.bool.max_clause_count`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn clause_limit(&self) -> Result<u64, ClientError> {
        let action = format!("ask {} for {SETTING}", self.base());
        let found = self.setting(&action, SETTING).await?;
        found.ok_or_else(|| ClientError::odd(&action, "it does not say"))
    }

    /// How many shards there are, and how many there may be.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn shards(&self) -> Result<Shards, ClientError> {
        let action = format!("ask {} for its shards", self.base());
        let health = self.get(&action, "/_cluster/health").await?;
        let number = |name| health.get(name).and_then(Value::as_u64);
        let (Some(active), Some(nodes)) = (number("active_shards"), number("number_of_data_nodes"))
        else {
            return Err(ClientError::odd(&action, "no number of shards"));
        };
        let more = ["unassigned_shards", "initializing_shards"];
        let more: u64 = more
            .into_iter()
            .filter_map(number)
            .fold(0, u64::saturating_add);
        let each = self.setting(&action, SHARDS).await?;
        Ok(Shards {
            open: active.saturating_add(more),
            limit: each.map(|each| each.saturating_mul(nodes)),
        })
    }

    /// Makes an index that documents can be shipped to; false: there is one of that name already.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn create_index(&self, name: &str, body: &Value) -> Result<bool, ClientError> {
        let action = format!("make the index {name} of {}", self.base());
        let mut body = body.clone();
        if let Some(body) = body.as_object_mut() {
            let alias = format!("{name}{ALIAS}");
            body.insert("aliases".into(), json!({ alias: {} }));
        }
        let path = format!("/{name}");
        let ask = Ask {
            method: Method::PUT,
            path: &path,
            body: Body::Json(&body),
        };
        let answer = self.ask(ask, SHORT, ANSWER).await?;
        if answer.status == 400 && answer.text().contains("resource_already_exists_exception") {
            return Ok(false);
        }
        error::accept(&action, answer).map(|_| true)
    }

    /// Deletes an index; one that is not there is fine.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn delete_index(&self, name: &str) -> Result<(), ClientError> {
        let action = format!("delete the index {name} of {}", self.base());
        let path = format!("/{name}");
        let ask = Ask {
            method: Method::DELETE,
            path: &path,
            body: Body::None,
        };
        let answer = self.ask(ask, SHORT, ANSWER).await?;
        match error::accept(&action, answer) {
            Ok(_) | Err(ClientError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes all that was acknowledged visible to searches.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn refresh(&self, index: &str) -> Result<(), ClientError> {
        let action = format!("refresh the index {index} of {}", self.base());
        let path = format!("/{index}/_refresh");
        let ask = Ask {
            method: Method::POST,
            path: &path,
            body: Body::None,
        };
        let answer = self.ask(ask, SHORT, ANSWER).await?;
        error::accept(&action, answer).map(|_| ())
    }

    /// How many documents a search finds in an index: all, or those of a timeline or a slice.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn count(
        &self,
        index: &str,
        timeline: Option<u64>,
        slice: Option<&str>,
    ) -> Result<u64, ClientError> {
        let action = format!("count documents in the index {index} of {}", self.base());
        let timeline = timeline.map(|number| json!({"term": {"__ts_timeline_id": number}}));
        let slice = slice.map(|name| json!({"term": {"evidence_slice": name}}));
        let terms: Vec<Value> = timeline.into_iter().chain(slice).collect();
        let body = json!({"query": {"bool": {"filter": terms}}});
        let path = format!("/{index}/_count");
        let ask = Ask {
            method: Method::POST,
            path: &path,
            body: Body::Json(&body),
        };
        let answer = self.ask(ask, SHORT, ANSWER).await?;
        let found = read(&action, &error::accept(&action, answer)?)?;
        let failed = found.pointer("/_shards/failed").and_then(Value::as_u64);
        match (found.get("count").and_then(Value::as_u64), failed) {
            (Some(count), Some(0)) => Ok(count),
            (_, Some(1..)) => Err(ClientError::odd(&action, "a shard did not answer")),
            _ => Err(ClientError::odd(&action, "no number")),
        }
    }

    /// Sends a bulk, whatever is answered.
    pub(super) async fn bulk(&self, index: &str, packed: &[u8]) -> Result<Answer, ClientError> {
        let error = "items.*.error";
        let path = format!(
            "/{index}{ALIAS}/_bulk?require_alias=true&filter_path=errors,items.*.status,{error}.type,{error}.reason,\
             {error}.caused_by.reason,{error}.caused_by.caused_by.reason,error,status"
        );
        let ask = Ask {
            method: Method::POST,
            path: &path,
            body: Body::Packed(packed),
        };
        self.ask(ask, LIMITS.total, BULK_ANSWER).await
    }

    async fn get(&self, action: &str, path: &str) -> Result<Value, ClientError> {
        let ask = Ask {
            method: Method::GET,
            path,
            body: Body::None,
        };
        let answer = self.ask(ask, SHORT, ANSWER).await?;
        read(action, &error::accept(action, answer)?)
    }

    async fn setting(&self, action: &str, name: &str) -> Result<Option<u64>, ClientError> {
        let path = format!("/_cluster/settings?include_defaults=true&filter_path=*.{name}");
        Ok(setting(&self.get(action, &path).await?, name))
    }

    /// Asks one node, and the next where one is not reached.
    async fn ask(
        &self,
        ask: Ask<'_>,
        total: Duration,
        bytes: usize,
    ) -> Result<Answer, ClientError> {
        let first = self.first.load(Ordering::Relaxed);
        let count = self.nodes.len();
        let mut last = None;
        for number in (0..count).map(|step| (first.wrapping_add(step)) % count) {
            let Some(wire) = self.nodes.get(number) else {
                continue;
            };
            match self.ask_node(wire, &ask, total, bytes).await {
                Ok(answer) => {
                    // A node that cannot answer may not be the cluster's only one.
                    let next = number + usize::from(matches!(answer.status, 502..=504));
                    self.first.store(next % count, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) => {
                    let wire = match &error {
                        ClientError::Wire(WireError::Exchange { problem, .. }) => problem,
                        _ => return Err(error),
                    };
                    self.first.store((number + 1) % count, Ordering::Relaxed);
                    if !matches!(wire, Problem::Unreachable(_)) {
                        return Err(error);
                    }
                    last = Some(error);
                }
            }
        }
        let none = || ClientError::odd("ask OpenSearch", "no node is configured");
        Err(last.unwrap_or_else(none))
    }

    async fn ask_node(
        &self,
        wire: &Wire,
        ask: &Ask<'_>,
        total: Duration,
        bytes: usize,
    ) -> Result<Answer, ClientError> {
        let mut request = wire.request(ask.method.clone(), ask.path);
        let secret = self.source.as_ref().map(Source::read).transpose()?;
        if let Some(secret) = &secret {
            if self.is_refused(secret.fingerprint()) {
                return Err(unknown_user(wire));
            }
            request = request.basic_auth(&self.user, Some(secret.reveal()));
        }
        request = match ask.body {
            Body::None => request,
            Body::Json(value) => request
                .header(CONTENT_TYPE, "application/json")
                .body(value.to_string()),
            Body::Packed(bytes) => request
                .header(CONTENT_TYPE, "application/x-ndjson")
                .header(CONTENT_ENCODING, "gzip")
                .body(bytes.to_vec()),
        };
        let request = request.build().map_err(|error| wire.unbuilt(&error))?;
        let budget = Budget {
            bytes,
            total,
            moved: None,
            sent: None,
        };
        let answer = wire.exchange(request, budget).await?;
        if answer.status == 401 {
            self.refuse(secret.map(|secret| secret.fingerprint().clone()));
            return Err(unknown_user(wire));
        }
        Ok(answer)
    }

    fn is_refused(&self, fingerprint: &Fingerprint) -> bool {
        let refused = self.refused.lock();
        refused.is_ok_and(|refused| refused.as_ref() == Some(fingerprint))
    }

    fn refuse(&self, fingerprint: Option<Fingerprint>) {
        if let Ok(mut refused) = self.refused.lock() {
            *refused = fingerprint;
        }
    }
}

fn unknown_user(wire: &Wire) -> ClientError {
    let server = wire.base().to_owned();
    ClientError::Credentials { server }
}

fn read(action: &str, answer: &Answer) -> Result<Value, ClientError> {
    serde_json::from_slice(&answer.body)
        .map_err(|error| ClientError::odd(action, &error.to_string()))
}

/// The value in force. Names may be nested or, with `flat_settings`, stand in one piece; numbers are text.
fn setting(answer: &Value, name: &str) -> Option<u64> {
    let pointer = format!("/{}", name.replace('.', "/"));
    LEVELS.iter().find_map(|level| {
        let level = answer.get(level)?;
        let value = level.get(name).or_else(|| level.pointer(&pointer))?;
        let text = value.as_str().and_then(|text| text.parse().ok());
        text.or_else(|| value.as_u64())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::{Stub, answer, json};
    use std::os::unix::fs::PermissionsExt;

    fn of(text: &str) -> Option<u64> {
        setting(&serde_json::from_str(text).unwrap(), SETTING)
    }

    #[test]
    fn the_limit_is_read_in_every_form_and_the_strongest_level_wins() {
        let nested = r#"{"defaults":{"indices":{"query":{"bool":{"max_clause_count":"1024"}}}}}"#;
        assert_eq!(of(nested), Some(1024));
        let flat = r#"{"persistent":{"indices.query.bool.max_clause_count":8192},
            "defaults":{"indices.query.bool.max_clause_count":"1024"}}"#;
        assert_eq!(of(flat), Some(8192));
        for odd in ["{}", "[]", r#"{"defaults":{"indices":7}}"#, "null"] {
            assert_eq!(of(odd), None, "{odd}");
        }
    }

    #[tokio::test]
    async fn no_client_where_none_is_configured() {
        let none = Client::new(&OpensearchSettings::default(), None);
        assert!(none.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_wrong_password_is_sent_once() {
        let stub = Stub::start(|_| answer("401 Unauthorized", "", "canary")).await;
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("password");
        crate::durable::write(&file, b"secret").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let settings = OpensearchSettings {
            url: stub.url(),
            user: "agent".into(),
            password_file: file,
            ..OpensearchSettings::default()
        };
        let client = Client::new(&settings, None).unwrap().unwrap();
        for _ in 0..3 {
            let error = client.clause_limit().await.unwrap_err();
            assert!(matches!(error, ClientError::Credentials { .. }), "{error}");
        }
        let heard = stub.heard();
        assert_eq!(heard.len(), 1);
        assert!(heard[0].header("authorization").is_some());
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_one_line() {
        let stub = Stub::start(|_| json("403 Forbidden", "{\"error\":\n\"no\"}")).await;
        let settings = OpensearchSettings {
            url: stub.url(),
            ..OpensearchSettings::default()
        };
        let client = Client::new(&settings, None).unwrap().unwrap();
        let text = client.clause_limit().await.unwrap_err().to_string();
        assert!(text.contains("403") && !text.contains('\n'), "{text}");
    }
}
