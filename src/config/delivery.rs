//! Settings of delivery: whether events go to a server, to which, as whom, and how hard is tried.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ConfigError;

const MIB: u64 = 1024 * 1024;

/// Where events go.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// Files in the job's folder.
    #[default]
    Local,
    /// Storage files to Timesketch.
    Upload,
    /// Documents into OpenSearch while later slices are extracted, as a timeline of Timesketch where there is one.
    Stream,
}

impl Destination {
    /// Whether events go to a server.
    #[must_use]
    pub const fn is_remote(self) -> bool {
        matches!(self, Self::Upload | Self::Stream)
    }
}

/// What an agent does while the server would not take what it makes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum WhenUnready {
    /// Extract, and say so; the events are delivered when the server is ready.
    #[default]
    Warn,
    /// Begin no job.
    Block,
}

/// `[delivery]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct DeliverySettings {
    /// Where events go.
    pub to: Destination,
    /// Account of the process that has the network and the secrets.
    pub user: String,
    /// Its folder.
    pub directory: PathBuf,
    /// Volumes whose events are uploaded at once.
    pub at_once: usize,
    /// Whether storage files stay when their events are proven.
    pub keep: bool,
    /// What an agent does while the server would not take what it makes.
    pub when_unready: WhenUnready,
    /// Seconds.
    pub patience_seconds: u64,
    /// Times.
    pub tries: u32,
    /// Whether documents that go into OpenSearch say which volume, host and slice they are from.
    pub labels: bool,
}

impl Default for DeliverySettings {
    fn default() -> Self {
        Self {
            to: Destination::Local,
            user: "dfagent-delivery".into(),
            directory: "/var/lib/dfagent-delivery".into(),
            at_once: 4,
            keep: true,
            when_unready: WhenUnready::Warn,
            patience_seconds: 900,
            tries: 3,
            labels: true,
        }
    }
}

/// How a server knows us.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Login {
    /// Timesketch's own form.
    #[default]
    Password,
    /// HTTP basic authentication, at a proxy that tells Timesketch who it is.
    Basic,
    /// Nothing but the client certificate, at a proxy.
    Certificate,
}

/// `[timesketch]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct TimesketchSettings {
    /// `https://timesketch.example.org`.
    pub url: String,
    /// How it knows us.
    pub login: Login,
    /// As whom.
    pub user: String,
    /// File with the password; empty: the systemd credential `timesketch-password`.
    pub password_file: PathBuf,
    /// Certificates of authorities, PEM, besides the system's.
    pub ca_file: PathBuf,
    /// Our own certificate and its key in one file, PEM.
    pub client_certificate: PathBuf,
    /// Number of the sketch; 0: by name.
    pub sketch_id: u64,
    /// Name of the sketch; `{case}` is filled in.
    pub sketch: String,
    /// Whether a sketch that we make may be read by every user of the server.
    pub public: bool,
    /// Users that may read a sketch that we make.
    pub readers: Vec<String>,
    /// Users that may write to it, too.
    pub writers: Vec<String>,
    /// MiB.
    pub chunk_mib: u64,
    /// Seconds.
    pub connect_seconds: u64,
    /// Seconds.
    pub answer_seconds: u64,
    /// Seconds.
    pub idle_seconds: u64,
    /// Seconds.
    pub request_seconds: u64,
}

impl Default for TimesketchSettings {
    fn default() -> Self {
        Self {
            url: String::new(),
            login: Login::Password,
            user: String::new(),
            password_file: PathBuf::new(),
            ca_file: PathBuf::new(),
            client_certificate: PathBuf::new(),
            sketch_id: 0,
            sketch: "{case}".into(),
            public: false,
            readers: Vec::new(),
            writers: Vec::new(),
            chunk_mib: 50,
            connect_seconds: 10,
            answer_seconds: 120,
            idle_seconds: 30,
            request_seconds: 3600,
        }
    }
}

impl TimesketchSettings {
    /// Bytes of a chunk, before a server refuses one for its size.
    #[must_use]
    pub const fn chunk_bytes(&self) -> u64 {
        self.chunk_mib * MIB
    }

    /// How long a connection may take.
    #[must_use]
    pub const fn connect_limit(&self) -> Duration {
        Duration::from_secs(self.connect_seconds)
    }

    /// How long a server may think after it has all of a request.
    #[must_use]
    pub const fn answer_limit(&self) -> Duration {
        Duration::from_secs(self.answer_seconds)
    }

    /// How long nothing may move in either direction while there is something to move.
    #[must_use]
    pub const fn idle_limit(&self) -> Duration {
        Duration::from_secs(self.idle_seconds)
    }

    /// How long a request with its answer may take in all.
    #[must_use]
    pub const fn request_limit(&self) -> Duration {
        Duration::from_secs(self.request_seconds)
    }
}

/// `[opensearch]`: where `stream` sends documents; else it is only asked for what limits searches.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct OpensearchSettings {
    /// `https://opensearch.example.org:9200`; empty: none.
    pub url: String,
    /// Nodes of one cluster, in place of `url`; the next one is taken when one is not reached.
    pub urls: Vec<String>,
    /// As whom; empty: without.
    pub user: String,
    /// File with the password; empty: the systemd credential `opensearch-password`.
    pub password_file: PathBuf,
    /// Certificates of authorities, PEM, besides the system's.
    pub ca_file: PathBuf,
    /// What names of our indexes begin with.
    pub index_prefix: String,
    /// Bulks that are under way at once.
    pub connections: usize,
    /// MiB of a bulk before it is packed.
    pub bulk_mib: u64,
}

impl Default for OpensearchSettings {
    fn default() -> Self {
        Self {
            url: String::new(),
            urls: Vec::new(),
            user: String::new(),
            password_file: PathBuf::new(),
            ca_file: PathBuf::new(),
            index_prefix: String::new(),
            connections: 2,
            bulk_mib: 5,
        }
    }
}

impl OpensearchSettings {
    /// The nodes, however they are written; none: there is no OpenSearch.
    #[must_use]
    pub fn nodes(&self) -> Vec<&str> {
        if self.url.is_empty() {
            self.urls.iter().map(String::as_str).collect()
        } else {
            vec![&self.url]
        }
    }

    /// Bytes of a bulk before it is packed, and before a server refuses one for its size.
    #[must_use]
    pub const fn bulk_bytes(&self) -> u64 {
        self.bulk_mib * MIB
    }

    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if !(self.url.is_empty() || self.urls.is_empty()) {
            return Err(("opensearch.urls", "use either url or urls"));
        }
        if !self.nodes().iter().all(|url| is_web_address(url)) {
            let problem = "each is to begin with https://, or http:// on loopback, and to hold no user or password";
            return Err(("opensearch.url", problem));
        }
        if !is_index_prefix(&self.index_prefix) {
            let problem = "use at most 32 small letters, digits and -, the first of them a letter";
            return Err(("opensearch.index_prefix", problem));
        }
        if !(1..=16).contains(&self.connections) {
            return Err(("opensearch.connections", "use 1 to 16"));
        }
        if !(1..=64).contains(&self.bulk_mib) {
            return Err(("opensearch.bulk_mib", "use 1 to 64"));
        }
        Ok(())
    }
}

/// What OpenSearch takes as a name, without what has a meaning in an address or a pattern.
fn is_index_prefix(prefix: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let begins = prefix
        .bytes()
        .next()
        .is_none_or(|byte| byte.is_ascii_lowercase());
    prefix.len() <= 32 && begins && prefix.bytes().all(fits)
}

pub(super) fn check(
    delivery: &DeliverySettings,
    timesketch: &TimesketchSettings,
    opensearch: &OpensearchSettings,
) -> Result<(), ConfigError> {
    let wrong = |key, problem: &str| {
        let problem = problem.to_owned();
        Err(ConfigError::Value { key, problem })
    };
    if let Err((key, problem)) = opensearch.check() {
        return wrong(key, problem);
    }
    if delivery.to == Destination::Upload && timesketch.url.is_empty() {
        return wrong(
            "timesketch.url",
            "delivery.to is \"upload\", so the server's address is needed",
        );
    }
    if delivery.to == Destination::Stream && opensearch.nodes().is_empty() {
        return wrong(
            "opensearch.url",
            "delivery.to is \"stream\", so the address of OpenSearch is needed",
        );
    }
    if !(timesketch.url.is_empty() || is_web_address(&timesketch.url)) {
        return wrong(
            "timesketch.url",
            "it is to begin with https://, or http:// on loopback, and to hold no user or password",
        );
    }
    if !(1..=64).contains(&delivery.at_once) {
        return wrong("delivery.at_once", "use 1 to 64");
    }
    if !(1..=20).contains(&delivery.tries) {
        return wrong("delivery.tries", "use 1 to 20");
    }
    if !(1..=4096).contains(&timesketch.chunk_mib) {
        return wrong("timesketch.chunk_mib", "use 1 to 4096");
    }
    for (key, seconds) in [
        ("delivery.patience_seconds", delivery.patience_seconds),
        ("timesketch.connect_seconds", timesketch.connect_seconds),
        ("timesketch.answer_seconds", timesketch.answer_seconds),
        ("timesketch.idle_seconds", timesketch.idle_seconds),
        ("timesketch.request_seconds", timesketch.request_seconds),
    ] {
        if !(1..=604_800).contains(&seconds) {
            return wrong(key, "use 1 to 604800 seconds");
        }
    }
    Ok(())
}

/// Plain HTTP would show the password to the network, so it is for loopback alone.
#[must_use]
pub fn is_web_address(url: &str) -> bool {
    let authority = |rest: &str| rest.split(['/', '?', '#']).next().unwrap_or("").to_owned();
    if let Some(rest) = url.strip_prefix("https://") {
        let host = authority(rest);
        return !host.is_empty() && !host.contains('@');
    }
    let Some(rest) = url.strip_prefix("http://") else {
        return false;
    };
    let host = authority(rest);
    let port = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, end)) if port(end) => name,
        _ => host.as_str(),
    };
    let address = name.parse::<std::net::Ipv4Addr>();
    matches!(name, "localhost" | "[::1]") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_never_goes_over_a_plain_network() {
        for good in [
            "https://t.example.org",
            "https://t:5000/",
            "http://127.0.0.1:5000",
            "http://localhost",
            "http://[::1]:5000",
        ] {
            assert!(is_web_address(good), "{good}");
        }
        for bad in [
            "http://t.example.org",
            "t.example.org",
            "https://",
            "https://u:p@t",
            "http://127.0.0.1@evil.example",
            "http://127.evil.example",
            "http://127.0.0.1.evil.example@x",
            "ftp://x",
            "",
        ] {
            assert!(!is_web_address(bad), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_meant_of_opensearch_is_refused_by_the_key() {
        type Change<'a> = &'a dyn Fn(&mut OpensearchSettings);
        let node = || "https://o.example:9200".to_owned();
        let with = |change: Change| {
            let mut settings = OpensearchSettings::default();
            change(&mut settings);
            settings.check().err().map(|(key, _)| key)
        };
        assert_eq!(with(&|_| ()), None);
        assert_eq!(with(&|set| set.urls = vec![node(), node()]), None);
        assert_eq!(with(&|set| set.index_prefix = "lab-7".into()), None);
        let wrong: [(Change, _); 7] = [
            (&|set| set.url = "http://o.example".into(), "opensearch.url"),
            (&|set| set.urls = vec![String::new()], "opensearch.url"),
            (
                &|set| (set.url, set.urls) = (node(), vec![node()]),
                "opensearch.urls",
            ),
            (
                &|set| set.index_prefix = "_x".into(),
                "opensearch.index_prefix",
            ),
            (
                &|set| set.index_prefix = "a,b".into(),
                "opensearch.index_prefix",
            ),
            (&|set| set.connections = 0, "opensearch.connections"),
            (&|set| set.bulk_mib = 65, "opensearch.bulk_mib"),
        ];
        for (change, key) in wrong {
            assert_eq!(with(change), Some(key));
        }
    }
}
