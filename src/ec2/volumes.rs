//! `DescribeVolumes`: EC2's one question that is asked, signed by hand, because AWS's kit costs seven gigabytes of memory
//! to compile. It asks about given volumes and nothing else. What is answered is hostile: its size and shape are limited
//! before it is read, and each value is cut.

use std::path::Path;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Url};
use roxmltree::{Document, Node, ParsingOptions};

use super::cloud::{self, Volume};
use super::role::Credentials;
use super::signature::{Scope, Signed, Unsigned, sign};
use crate::clock;
use crate::config::delivery::is_web_address;
use crate::config::ec2::Ec2Settings;
use crate::http::{Answer, Budget, Limits, Setup, Wire, WireError};
use crate::printable;

/// How many volumes are asked about: more than an instance can have.
pub const MOST: usize = 160;

const LIMITS: Limits = Limits {
    connect: Duration::from_secs(3),
    answer: Duration::from_secs(6),
    idle: Duration::from_secs(5),
    // An interruption that is announced meanwhile has to wait for it.
    total: Duration::from_secs(10),
};
/// Bytes of an answer: fifty tags for each volume, at their longest, and what stands around them.
const ANSWER: usize = 8 * 1024 * 1024;
/// Elements and texts of an answer.
const NODES: u32 = 200_000;
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
const TOKEN: &str = "x-amz-security-token";
const DATE: &str = "x-amz-date";

/// Why nothing is known about volumes.
#[derive(Debug, thiserror::Error)]
pub enum VolumesError {
    /// No server's name can be made of it.
    #[error("find EC2's address: the instance's region is no name of one")]
    Region,
    /// There is no exchange.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The role may not.
    #[error(
        "ask EC2 about volumes: the instance's role may not; allow it ec2:DescribeVolumes, or do without volume tags"
    )]
    Forbidden,
    /// EC2 does not answer the question.
    #[error("ask EC2 about volumes: it answered {status}, {code}")]
    Refused {
        /// 503 and so on.
        status: u16,
        /// Its word for it, and its sentence; printable.
        code: String,
    },
    /// EC2 answers what cannot be the answer.
    #[error("understand what EC2 says about volumes")]
    Garbage,
}

/// EC2 in one region.
#[derive(Debug)]
pub struct Volumes {
    wire: Wire,
    host: String,
    region: String,
}

impl Volumes {
    /// Connects to nothing.
    ///
    /// # Errors
    /// There is no address.
    pub fn new(settings: &Ec2Settings, region: &str) -> Result<Self, VolumesError> {
        let url = if settings.endpoint.is_empty() {
            address(region).ok_or(VolumesError::Region)?
        } else {
            settings.endpoint.clone()
        };
        let wire = Wire::new(&Setup {
            url: &url,
            fits: is_web_address,
            section: "ec2",
            ca_file: Path::new(""),
            certificate: Path::new(""),
            limits: LIMITS,
        })?;
        let host = host(wire.base()).ok_or(VolumesError::Region)?;
        let region = region.to_owned();
        Ok(Self { wire, host, region })
    }

    /// What is known of these volumes; those that EC2 does not show are left out.
    ///
    /// # Errors
    /// No answer, or none that is one.
    pub async fn of(
        &self,
        ids: &[String],
        settings: &Ec2Settings,
        role: &Credentials,
    ) -> Result<Vec<Volume>, VolumesError> {
        let answer = self.exchange(&question(ids, false), role).await?;
        if answer.status != 200 {
            return Err(refusal(&answer));
        }
        let found = read(&answer, settings).ok_or(VolumesError::Garbage)?;
        Ok(found
            .into_iter()
            .filter(|volume| ids.contains(&volume.id))
            .collect())
    }

    /// Whether the role may ask, without an answer to the question.
    ///
    /// # Errors
    /// It may not, or that cannot be told.
    pub async fn try_out(&self, role: &Credentials) -> Result<(), VolumesError> {
        let answer = self.exchange(&question(&[], true), role).await?;
        match refusal(&answer) {
            // EC2's word for: it would have been answered.
            VolumesError::Refused { code, .. } if code.starts_with("DryRunOperation") => Ok(()),
            _ if answer.status == 200 => Ok(()),
            refusal => Err(refusal),
        }
    }

    async fn exchange(&self, form: &str, role: &Credentials) -> Result<Answer, VolumesError> {
        let Signed {
            date,
            authorization,
        } = sign(
            &Unsigned {
                method: "POST",
                path: "/",
                query: "",
                headers: &[("content-type", FORM), ("host", &self.host)],
                body: form.as_bytes(),
            },
            Scope {
                region: &self.region,
                service: "ec2",
            },
            role,
            clock::moment(),
        );
        let request = self.wire.request(Method::POST, "/");
        let mut request = request
            .header(CONTENT_TYPE, FORM)
            .header(DATE, date)
            .header(AUTHORIZATION, secret(&authorization)?);
        if !role.token().is_empty() {
            request = request.header(TOKEN, secret(role.token())?);
        }
        let request = request.body(form.to_owned()).build();
        let request = request.map_err(|error| self.wire.unbuilt(&error))?;
        let budget = Budget {
            bytes: ANSWER,
            total: LIMITS.total,
            moved: None,
            sent: None,
        };
        Ok(self.wire.exchange(request, budget).await?)
    }
}

fn secret(text: &str) -> Result<HeaderValue, VolumesError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| VolumesError::Garbage)?;
    value.set_sensitive(true);
    Ok(value)
}

/// EC2's address in a region; none if that is no name of one. The token of the role goes there.
fn address(region: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = (4..=32).contains(&region.len()) && region.chars().all(fits);
    let country = if region.starts_with("cn-") { ".cn" } else { "" };
    (good && !region.starts_with('-') && !region.ends_with('-'))
        .then(|| format!("https://ec2.{region}.amazonaws.com{country}"))
}

/// The host as it is sent: with the port, if that is not the usual one.
fn host(base: &str) -> Option<String> {
    let url = Url::parse(base).ok()?;
    let host = url.host_str()?;
    let port = url.port().map(|port| format!(":{port}"));
    Some(format!("{host}{}", port.unwrap_or_default()))
}

/// The question as a form. A volume that is named as a value of a filter may be missing; one that is named by its id
/// may not, and then there is no answer about the others.
fn question(ids: &[String], dry: bool) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("Action", "DescribeVolumes")
        .append_pair("Version", "2016-11-15");
    if dry {
        form.append_pair("DryRun", "true");
    }
    if !ids.is_empty() {
        form.append_pair("Filter.1.Name", "volume-id");
    }
    for (number, id) in (1..).zip(ids.iter().take(MOST)) {
        form.append_pair(&format!("Filter.1.Value.{number}"), id);
    }
    form.finish()
}

fn parsed(body: &str) -> Option<Document<'_>> {
    let options = ParsingOptions {
        allow_dtd: false,
        nodes_limit: NODES,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(body, options).ok()
}

/// The elements of a name directly below one.
fn below<'a>(node: Node<'a, 'a>, name: &'static str) -> impl Iterator<Item = Node<'a, 'a>> {
    node.children()
        .filter(move |child| child.tag_name().name() == name)
}

fn text<'a>(node: Node<'a, 'a>, name: &'static str) -> Option<&'a str> {
    below(node, name).next()?.text()
}

fn refusal(answer: &Answer) -> VolumesError {
    let status = answer.status;
    let body = answer.text();
    let document = parsed(&body);
    let said = document.as_ref().and_then(|document| {
        let errors = below(document.root_element(), "Errors").next()?;
        let error = below(errors, "Error").next()?;
        Some((text(error, "Code")?, text(error, "Message").unwrap_or("")))
    });
    match said {
        Some(("UnauthorizedOperation" | "AccessDenied", _)) => VolumesError::Forbidden,
        Some((code, message)) => VolumesError::Refused {
            status,
            code: printable::line(&format!("{code}: {message}"), 200),
        },
        None => VolumesError::Refused {
            status,
            code: "and no word of EC2's with it".to_owned(),
        },
    }
}

fn read(answer: &Answer, settings: &Ec2Settings) -> Option<Vec<Volume>> {
    let body = std::str::from_utf8(&answer.body).ok()?;
    let document = parsed(body)?;
    let root = document.root_element();
    if root.tag_name().name() != "DescribeVolumesResponse" {
        return None;
    }
    let set = below(root, "volumeSet").next()?;
    Some(
        below(set, "item")
            .take(MOST)
            .filter_map(|item| volume(item, settings))
            .collect(),
    )
}

fn volume(item: Node<'_, '_>, settings: &Ec2Settings) -> Option<Volume> {
    let value = |name| cloud::value(text(item, name)?.as_bytes());
    let mut volume = Volume {
        id: value("volumeId")?,
        snapshot: value("snapshotId"),
        gib: text(item, "size").and_then(|size| size.parse().ok()),
        encrypted: text(item, "encrypted").and_then(|yes| yes.parse().ok()),
        ..Volume::default()
    };
    let tags = below(item, "tagSet").flat_map(|set| below(set, "item"));
    for tag in tags {
        let (Some(key), Some(said)) = (text(tag, "key"), text(tag, "value")) else {
            continue;
        };
        let Some(said) = cloud::value(said.as_bytes()) else {
            continue;
        };
        if key == settings.case_tag {
            volume.tags.case = Some(said);
        } else if key == settings.sketch_tag {
            volume.tags.sketch = Some(said);
        } else if let Some(name) = cloud::NOTED.iter().find(|name| **name == key) {
            volume.noted.insert((*name).to_owned(), said);
        }
    }
    Some(volume)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            html: false,
            location: None,
            cookies: Vec::new(),
            after: None,
            body: body.as_bytes().to_vec(),
        }
    }

    fn found(set: &str) -> Option<Vec<Volume>> {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DescribeVolumesResponse \
             xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>1</requestId>{set}</DescribeVolumesResponse>"
        );
        read(&answer(200, &body), &Ec2Settings::default())
    }

    #[test]
    fn facts_and_tags_of_a_volume_are_read_and_other_tags_are_left() {
        let set = "<volumeSet><item><volumeId>vol-0123456789abcdef0</volumeId><size>20</size>\
            <snapshotId>snap-1</snapshotId><encrypted>true</encrypted><tagSet>\
            <item><key>dfagent:case</key><value>4711 &amp;&#10;&#x202e;[2J</value></item>\
            <item><key>dfagent:source-volume</key><value>vol-0fedcba9876543210</value></item>\
            <item><key>Name</key><value>secret plans</value></item></tagSet></item></volumeSet>";
        let [volume] = &found(set).unwrap()[..] else {
            panic!("one volume")
        };
        assert_eq!(volume.snapshot.as_deref(), Some("snap-1"));
        assert_eq!((volume.gib, volume.encrypted), (Some(20), Some(true)));
        let case = volume.tags.case.as_ref().unwrap();
        assert!(case.starts_with("4711 &") && !case.contains(['\n', '\u{202e}']));
        assert_eq!(volume.noted.len(), 1);
    }

    #[test]
    fn what_is_no_answer_gives_nothing_and_costs_little() {
        let deep = "<a>".repeat(100_000);
        let wide = format!("<volumeSet>{}</volumeSet>", "<item/>".repeat(300_000));
        let bomb = "<!DOCTYPE x [<!ENTITY a \"b\">]><DescribeVolumesResponse>&a;</DescribeVolumesResponse>";
        let settings = Ec2Settings::default();
        for body in ["", "<html>", "{}", bomb, &deep] {
            assert_eq!(read(&answer(200, body), &settings), None);
        }
        for set in ["", "<other/>", &wide, &deep] {
            assert_eq!(found(set), None);
        }
        assert_eq!(found("<volumeSet/>"), Some(Vec::new()));
        let huge = format!("{}{}", "<a>".repeat(90_000), "</a>".repeat(90_000));
        assert!(found(&huge).is_none(), "depth alone is no harm");
    }

    #[test]
    fn a_refusal_says_whose_right_is_missing_or_what_ec2_says() {
        let refused = |code| {
            let body = format!(
                "<Response><Errors><Error><Code>{code}</Code><Message>m&#10;</Message></Error></Errors></Response>"
            );
            refusal(&answer(403, &body)).to_string()
        };
        assert!(refused("UnauthorizedOperation").contains("allow it ec2:DescribeVolumes"));
        assert!(refused("RequestLimitExceeded").contains("RequestLimitExceeded: m"));
        assert!(!refused("x").chars().any(char::is_control));
        assert!(refusal(&answer(503, "<html>")).to_string().contains("503"));
    }

    #[test]
    fn a_region_cannot_lead_to_another_host() {
        let of = |region| address(region);
        let good = of("eu-central-1");
        assert_eq!(
            good.as_deref(),
            Some("https://ec2.eu-central-1.amazonaws.com")
        );
        assert!(of("cn-north-1").unwrap().ends_with(".com.cn"));
        for bad in [
            "",
            "x.evil.example/",
            "eu_central",
            "a@b.c",
            "-eu-1",
            "EU-1",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_port_is_part_of_the_host_that_is_signed() {
        let host = |url| host(url).unwrap();
        assert_eq!(host("http://127.0.0.1:5000"), "127.0.0.1:5000");
        assert_eq!(
            host("https://ec2.x-1.amazonaws.com:443"),
            "ec2.x-1.amazonaws.com"
        );
    }

    #[test]
    fn volumes_are_asked_for_by_a_filter() {
        let ids = ["vol-1".to_owned(), "vol-2".to_owned()];
        assert_eq!(
            question(&ids, false),
            "Action=DescribeVolumes&Version=2016-11-15&Filter.1.Name=volume-id&Filter.1.Value.1=vol-1&Filter.1.Value.2=vol-2"
        );
        assert!(question(&[], true).ends_with("&DryRun=true"));
    }
}
