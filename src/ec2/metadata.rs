//! The metadata service of an instance, version 2: a token first, then questions with it. Every question is short in
//! time and size, and none is repeated but for a token that ran out.

use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderValue;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::cloud::{self, Instance, Notice, Tags};
use super::role::{self, Credentials};
use crate::config::ec2::{Ec2Settings, is_metadata_address};
use crate::http::{Answer, Budget, Limits, Setup, Wire, WireError};

const LIMITS: Limits = Limits {
    connect: Duration::from_secs(1),
    answer: Duration::from_secs(2),
    idle: Duration::from_secs(1),
    total: Duration::from_secs(4),
};
/// Bytes of an answer.
const ANSWER: usize = 64 * 1024;
/// How long a token is asked for, in seconds.
const LIFE: u64 = 21_600;
/// How long before its end it is used no more.
const MARGIN: u64 = 300;
const TOKEN: &str = "x-aws-ec2-metadata-token";
const TOKEN_LIFE: &str = "x-aws-ec2-metadata-token-ttl-seconds";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// There is no exchange.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// It gives no token.
    #[error(
        "get a token of EC2's metadata service: it answered {status}; allow it to the instance (HttpEndpoint), or set [ec2] use = \"no\""
    )]
    Token {
        /// 403 and so on.
        status: u16,
    },
    /// It answers something else.
    #[error("ask EC2's metadata service for {what}: it answered {status}")]
    Answer {
        /// The path.
        what: String,
        /// 500 and so on.
        status: u16,
    },
    /// It answers what cannot be the answer.
    #[error("understand what EC2's metadata service says about {what}")]
    Garbage {
        /// What it was asked for.
        what: &'static str,
    },
}

/// The service.
pub struct Client {
    wire: Wire,
    token: Option<(HeaderValue, Instant)>,
}

impl Client {
    /// Connects to nothing.
    ///
    /// # Errors
    /// An address that is no good.
    pub fn new(settings: &Ec2Settings) -> Result<Self, MetadataError> {
        let wire = Wire::new(&Setup {
            url: &settings.metadata,
            fits: is_metadata_address,
            section: "ec2",
            ca_file: Path::new(""),
            certificate: Path::new(""),
            limits: LIMITS,
        })?;
        Ok(Self { wire, token: None })
    }

    /// The instance's facts.
    ///
    /// # Errors
    /// No answer, or none that is one.
    pub async fn instance(&mut self) -> Result<Instance, MetadataError> {
        let document = self
            .get("/latest/dynamic/instance-identity/document")
            .await?;
        let signature = self
            .get("/latest/dynamic/instance-identity/rsa2048")
            .await?;
        let signature = signature.unwrap_or_default();
        Instance::of(&document.unwrap_or_default(), &signature).ok_or(MetadataError::Garbage {
            what: "the instance's identity",
        })
    }

    /// The instance's tags; none of them where they are not shown to it.
    ///
    /// # Errors
    /// No answer.
    pub async fn tags(&mut self, settings: &Ec2Settings) -> Result<Tags, MetadataError> {
        Ok(Tags {
            case: self.tag(&settings.case_tag).await?,
            sketch: self.tag(&settings.sketch_tag).await?,
        })
    }

    async fn tag(&mut self, key: &str) -> Result<Option<String>, MetadataError> {
        let found = self
            .get(&format!("/latest/meta-data/tags/instance/{key}"))
            .await?;
        Ok(found.and_then(|bytes| cloud::value(&bytes)))
    }

    /// What is announced; an interruption counts before a recommendation.
    ///
    /// # Errors
    /// No answer, or none that is one.
    pub async fn notice(&mut self) -> Result<Option<Notice>, MetadataError> {
        let garbage = |what| MetadataError::Garbage { what };
        if let Some(body) = self.get("/latest/meta-data/spot/instance-action").await? {
            let notice = Notice::interruption(&body);
            return notice.map(Some).ok_or(garbage("an interruption"));
        }
        let path = "/latest/meta-data/events/recommendations/rebalance";
        let Some(body) = self.get(path).await? else {
            return Ok(None);
        };
        let notice = Notice::rebalance(&body);
        notice.map(Some).ok_or(garbage("a rebalance"))
    }

    /// The credentials of the instance's role; none where it has no role.
    ///
    /// # Errors
    /// No answer, or none that is one.
    pub async fn role(&mut self) -> Result<Option<Credentials>, MetadataError> {
        const PATH: &str = "/latest/meta-data/iam/security-credentials/";
        let garbage = || MetadataError::Garbage { what: "its role" };
        let Some(listing) = self.get(PATH).await? else {
            return Ok(None);
        };
        let name = role::name(&listing).ok_or_else(garbage)?;
        let said = self.get(&format!("{PATH}{name}")).await?;
        let said = Zeroizing::new(said.unwrap_or_default());
        Credentials::of(&said).map(Some).ok_or_else(garbage)
    }

    /// What stands under a path; none if there is nothing.
    async fn get(&mut self, path: &str) -> Result<Option<Vec<u8>>, MetadataError> {
        let mut answer = self.ask(path).await?;
        if answer.status == 401 {
            self.token = None;
            answer = self.ask(path).await?;
        }
        match answer.status {
            200 if answer.html => Err(MetadataError::Garbage { what: "itself" }),
            200 => Ok(Some(answer.body)),
            404 => Ok(None),
            status => Err(MetadataError::Answer {
                what: path.to_owned(),
                status,
            }),
        }
    }

    async fn ask(&mut self, path: &str) -> Result<Answer, MetadataError> {
        let token = self.token().await?;
        let request = self.wire.request(Method::GET, path).header(TOKEN, token);
        self.exchange(request).await
    }

    async fn token(&mut self) -> Result<HeaderValue, MetadataError> {
        if let Some((token, end)) = &self.token
            && Instant::now() < *end
        {
            return Ok(token.clone());
        }
        let request = self.wire.request(Method::PUT, "/latest/api/token");
        let answer = self.exchange(request.header(TOKEN_LIFE, LIFE)).await?;
        if answer.status != 200 {
            return Err(MetadataError::Token {
                status: answer.status,
            });
        }
        let garbage = |_| MetadataError::Garbage { what: "a token" };
        let mut token = HeaderValue::from_bytes(answer.body.trim_ascii()).map_err(garbage)?;
        token.set_sensitive(true);
        let end = Instant::now() + Duration::from_secs(LIFE - MARGIN);
        self.token = Some((token.clone(), end));
        Ok(token)
    }

    async fn exchange(&self, request: reqwest::RequestBuilder) -> Result<Answer, MetadataError> {
        let request = request.build().map_err(|error| self.wire.unbuilt(&error))?;
        let budget = Budget {
            bytes: ANSWER,
            total: LIMITS.total,
            moved: None,
            sent: None,
        };
        Ok(self.wire.exchange(request, budget).await?)
    }
}
