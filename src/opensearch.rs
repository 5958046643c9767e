//! OpenSearch, asked for the one setting that limits searches in Timesketch. It never writes.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use crate::config::delivery::{OpensearchSettings, is_web_address};
use crate::http::{Budget, Limits, Setup, Wire, WireError};
use crate::printable;
use crate::secret::{Fingerprint, Secret, SecretError, Source};

/// The credential that systemd may give in place of a file.
const CREDENTIAL: &str = "opensearch-password";
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(10),
    answer: Duration::from_secs(30),
    idle: Duration::from_secs(10),
    total: Duration::from_secs(60),
};
/// Bytes of an answer.
const ANSWER: usize = 1024 * 1024;
const QUESTION: &str =
    "/_cluster/settings?include_defaults=true&filter_path=*.indices.query.bool.max_clause_count";
const SETTING: &str = "indices.query.bool.max_clause_count";
/// What counts before what.
const LEVELS: [&str; 3] = ["transient", "persistent", "defaults"];

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no exchange.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// There is no password.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The server does not know us.
    #[error(
        "log in to {server}: it does not know the user or the password; correct [opensearch] user or password_file"
    )]
    Credentials {
        /// The server.
        server: String,
    },
    /// The server does not say it.
    #[error("ask {server} for {SETTING}: it answered {status} ({message})")]
    Answer {
        /// The server.
        server: String,
        /// 200 and so on.
        status: u16,
        /// What is wrong with it.
        message: String,
    },
}

/// One OpenSearch.
pub struct Client {
    wire: Wire,
    user: String,
    source: Option<Source>,
    /// The secret that the server did not accept; it is not sent twice.
    refused: Mutex<Option<Fingerprint>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.wire.fmt(out)
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
        let source = if settings.user.is_empty() {
            None
        } else {
            let file = &settings.password_file;
            Some(Secret::source(file, CREDENTIAL, credentials)?)
        };
        Ok(Some(Self {
            wire,
            user: settings.user.clone(),
            source,
            refused: Mutex::new(None),
        }))
    }

    /// The server's address, without a slash at its end.
    #[must_use]
    pub fn base(&self) -> &str {
        self.wire.base()
    }

    /// How many pieces a search may have, `indices.query.bool.max_clause_count`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn clause_limit(&self) -> Result<u64, ClientError> {
        let mut request = self.wire.request(Method::GET, QUESTION);
        let secret = self.source.as_ref().map(Source::read).transpose()?;
        if let Some(secret) = &secret {
            if self.is_refused(secret.fingerprint()) {
                return Err(self.unknown_user());
            }
            request = request.basic_auth(&self.user, Some(secret.reveal()));
        }
        let request = request.build().map_err(|error| self.wire.unbuilt(&error))?;
        let budget = Budget {
            bytes: ANSWER,
            total: LIMITS.total,
            moved: None,
            sent: None,
        };
        let answer = self.wire.exchange(request, budget).await?;
        if answer.status == 401 {
            self.refuse(secret.map(|secret| secret.fingerprint().clone()));
            return Err(self.unknown_user());
        }
        let found = serde_json::from_slice(&answer.body).ok();
        if let (200, Some(limit)) = (answer.status, found.as_ref().and_then(limit)) {
            return Ok(limit);
        }
        let text = answer.text();
        let message = match text.trim() {
            _ if answer.status == 200 => "it does not say",
            "" => "without a word",
            text => text,
        };
        Err(ClientError::Answer {
            server: self.base().to_owned(),
            status: answer.status,
            message: printable::line(message, 300),
        })
    }

    fn unknown_user(&self) -> ClientError {
        let server = self.base().to_owned();
        ClientError::Credentials { server }
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

/// The value in force. Names may be nested or, with `flat_settings`, stand in one piece; numbers are text.
fn limit(answer: &Value) -> Option<u64> {
    LEVELS.iter().find_map(|level| {
        let level = answer.get(level)?;
        let nested = || level.pointer("/indices/query/bool/max_clause_count");
        let value = level.get(SETTING).or_else(nested)?;
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
        limit(&serde_json::from_str(text).unwrap())
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
