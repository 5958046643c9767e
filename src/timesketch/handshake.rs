//! Whether the server would take what we are about to make: asked before hours of work, changing nothing.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::client::Client;
use super::error::ClientError;
use crate::printable;

/// Releases of Plaso that were seen to read a storage format: the format, then releases after its own.
const KNOWN_GOOD: [(u32, &[u32]); 1] = [(20_260_516, &[20_260_720])];

/// With fewer pieces than this, Timesketch refuses words that people do search for.
const ENOUGH_CLAUSES: u64 = 4096;
const REMEDY: &str =
    r#"PUT /_cluster/settings {"persistent":{"indices.query.bool.max_clause_count":8192}}"#;

/// How bad a finding is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Good,
    /// It may go wrong.
    Warning,
    /// It will go wrong.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// `timesketch`, `login`, `plaso`, `uploads`, `sketch`, `opensearch`, `shards` or `searches`.
    pub part: Cow<'static, str>,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// All that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Handshake {
    /// In the order of the questions.
    pub lines: Vec<Finding>,
}

/// What we make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ours {
    /// Our release of Plaso, a date.
    pub plaso: u32,
    /// The format of its storage files, a date, too.
    pub storage_format: Option<u32>,
}

impl Handshake {
    /// The worst of all; good when nothing was looked at.
    #[must_use]
    pub fn level(&self) -> Level {
        let levels = self.lines.iter().map(|line| line.level);
        levels.max().unwrap_or(Level::Good)
    }

    fn add(
        &mut self,
        part: &'static str,
        level: Level,
        found: impl Into<String>,
        advice: Option<&str>,
    ) {
        self.lines.push(finding(part, level, found, advice));
    }
}

/// A finding.
#[must_use]
pub fn finding(
    part: &'static str,
    level: Level,
    found: impl Into<String>,
    advice: Option<&str>,
) -> Finding {
    Finding {
        part: part.into(),
        level,
        found: found.into(),
        advice: advice.map(str::to_owned),
    }
}

/// Asks whether it takes our storage files. What cannot be asked, because something before it failed, has no line.
pub async fn shake(client: &Client, sketch: Option<u64>, ours: Ours) -> Handshake {
    let mut hand = Handshake::default();
    if let Some(plaso) = meet(&mut hand, client).await {
        hand.lines.push(judge_plaso(plaso, ours));
        uploads(&mut hand, client, sketch).await;
    }
    hand
}

/// Asks whether it would show what others put into OpenSearch: for that it need take no uploads.
pub async fn greet(client: &Client, sketch: Option<u64>) -> Handshake {
    let mut hand = Handshake::default();
    let known = meet(&mut hand, client).await.is_some();
    if let Some(sketch) = sketch.filter(|_| known) {
        let advice = Some("correct [timesketch] sketch_id, or the sketch there");
        match client.sketch(sketch).await {
            Ok(there) if there.archived => {
                let found = format!("sketch {sketch} is archived");
                hand.add("sketch", Level::Bad, found, advice);
            }
            Ok(_) => {
                let found = format!("sketch {sketch} may be read");
                hand.add("sketch", Level::Good, found, None);
            }
            Err(error) => hand.add("sketch", Level::Bad, failed(&error), advice),
        }
    }
    hand
}

/// Its release of Plaso, if it answers and knows us.
async fn meet(hand: &mut Handshake, client: &Client) -> Option<u32> {
    match client.version().await {
        Ok(version) => {
            let (release, server) = (&version.timesketch, client.base());
            let found = format!("Timesketch {release} answers at {server}");
            hand.add("timesketch", Level::Good, found, None);
            hand.add("login", Level::Good, "it knows us", None);
            Some(version.plaso)
        }
        Err(error) => {
            hand.add(part_of(&error), Level::Bad, failed(&error), None);
            None
        }
    }
}

async fn uploads(hand: &mut Handshake, client: &Client, sketch: Option<u64>) {
    let result = match sketch {
        Some(sketch) => client.can_upload(sketch).await,
        None => client.takes_uploads().await,
    };
    let accepts = "it takes uploads";
    match result {
        Ok(()) => {
            hand.add("uploads", Level::Good, accepts, None);
            if let Some(sketch) = sketch {
                let found = format!("sketch {sketch} may be written to");
                hand.add("sketch", Level::Good, found, None);
            }
        }
        Err(
            error @ (ClientError::NotFound { .. }
            | ClientError::Archived { .. }
            | ClientError::Forbidden { .. }),
        ) if sketch.is_some() => {
            // These are asked for after uploads as such.
            hand.add("uploads", Level::Good, accepts, None);
            let advice = "correct [timesketch] sketch_id, or the sketch there";
            hand.add("sketch", Level::Bad, failed(&error), Some(advice));
        }
        Err(error) => hand.add("uploads", Level::Bad, failed(&error), None),
    }
}

const fn part_of(error: &ClientError) -> &'static str {
    match error {
        ClientError::Credentials { .. }
        | ClientError::Secret(_)
        | ClientError::Unknown { .. }
        | ClientError::Elsewhere { .. } => "login",
        _ => "timesketch",
    }
}

fn failed(error: &(dyn std::error::Error + 'static)) -> String {
    format!("failed to {}", printable::causes(error))
}

/// Whether the server's Plaso reads what ours writes. A release reads formats up to its own date at best, and
/// newer ones drop old formats.
fn judge_plaso(server: u32, ours: Ours) -> Finding {
    let plaso = |level, found: String, advice| finding("plaso", level, found, advice);
    let pin = Some("run the same release of Plaso here and there");
    if server == 0 || ours.plaso == 0 {
        let whose = if server == 0 { "the server's" } else { "our" };
        let found = format!("{whose} release of Plaso is not known");
        return plaso(Level::Warning, found, pin);
    }
    if server == ours.plaso {
        return plaso(Level::Good, format!("Plaso {server} here and there"), None);
    }
    let both = format!("Plaso {server} there, {} here", ours.plaso);
    let seen = KNOWN_GOOD.iter().any(|(format, releases)| {
        Some(*format) == ours.storage_format && releases.contains(&server)
    });
    match ours.storage_format {
        _ if seen => plaso(Level::Good, format!("{both}; it reads our files"), None),
        Some(format) if server < format => {
            let found = format!("{both}; it cannot read our files, whose format is {format}");
            plaso(Level::Bad, found, pin)
        }
        _ if server < ours.plaso => plaso(
            Level::Warning,
            format!("{both}; it is older than ours"),
            pin,
        ),
        _ => {
            let found = format!("{both}; newer releases no longer read old formats");
            plaso(Level::Warning, found, pin)
        }
    }
}

/// Whether a search may have as many pieces as people's searches have.
#[must_use]
pub fn judge_clauses(part: &'static str, limit: u64) -> Finding {
    let found = format!("a search may have {limit} pieces (max_clause_count)");
    if limit >= ENOUGH_CLAUSES {
        return finding(part, Level::Good, found, None);
    }
    let advice =
        format!("Timesketch will refuse long words without a field name; raise it with {REMEDY}");
    finding(part, Level::Warning, found, Some(&advice))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Fake, VERSION};
    use super::*;
    use crate::http::tests::json;
    use std::sync::atomic::Ordering;

    const OURS: Ours = Ours {
        plaso: 20_260_720,
        storage_format: Some(20_260_516),
    };

    #[test]
    fn the_server_s_plaso_is_judged_by_release_and_format() {
        let other = |plaso, storage_format| Ours {
            plaso,
            storage_format,
        };
        let later = other(20_261_101, Some(20_261_001));
        for (server, ours, level) in [
            (20_260_720, OURS, Level::Good),
            (20_260_720, other(20_260_720, None), Level::Good),
            (20_260_512, OURS, Level::Bad),
            (20_240_308, OURS, Level::Bad),
            (20_260_601, OURS, Level::Warning),
            (20_260_512, other(20_260_720, None), Level::Warning),
            (20_261_101, OURS, Level::Warning),
            // A newer agent that still writes a format which was seen to be read.
            (20_260_720, other(20_260_901, Some(20_260_516)), Level::Good),
            (20_260_720, later, Level::Bad),
            (20_261_015, later, Level::Warning),
            (0, OURS, Level::Warning),
            (20_260_720, other(0, None), Level::Warning),
        ] {
            let found = judge_plaso(server, ours);
            assert_eq!(found.level, level, "{server} {ours:?} {}", found.found);
            assert_eq!(found.advice.is_none(), level == Level::Good);
        }
    }

    #[test]
    fn the_default_number_of_pieces_is_too_small() {
        assert_eq!(judge_clauses("searches", 8192).level, Level::Good);
        let warning = judge_clauses("searches", 1024);
        assert_eq!(warning.level, Level::Warning);
        assert!(warning.advice.unwrap().contains(REMEDY));
    }

    fn parts(hand: &Handshake) -> Vec<(&str, Level)> {
        let lines = hand.lines.iter();
        lines.map(|line| (line.part.as_ref(), line.level)).collect()
    }

    async fn shake_with(
        status: &'static str,
        message: &'static str,
        sketch: Option<u64>,
    ) -> Handshake {
        let fake = Fake::start(move |heard| match heard.line.as_str() {
            "GET /api/v1/version/" => json("200 OK", VERSION),
            _ => json(status, &format!(r#"{{"message": "{message}"}}"#)),
        })
        .await;
        shake(&fake.client(), sketch, OURS).await
    }

    #[tokio::test]
    async fn every_part_has_a_line_of_its_own() {
        use Level::{Bad, Good};
        let head = [("timesketch", Good), ("login", Good), ("plaso", Good)];
        let empty = "no file uploaded nor any events";
        let missing = "Unable to upload data without supplying a sketch to";
        for (status, message, sketch, tail) in [
            (
                "400 B",
                empty,
                Some(7),
                vec![("uploads", Good), ("sketch", Good)],
            ),
            (
                "404 N",
                "No sketch",
                Some(7),
                vec![("uploads", Good), ("sketch", Bad)],
            ),
            (
                "403 F",
                "no write",
                Some(7),
                vec![("uploads", Good), ("sketch", Bad)],
            ),
            (
                "400 B",
                "an archived sketch",
                Some(7),
                vec![("uploads", Good), ("sketch", Bad)],
            ),
            (
                "400 B",
                "Upload not enabled",
                Some(7),
                vec![("uploads", Bad)],
            ),
            ("400 B", "Upload not enabled", None, vec![("uploads", Bad)]),
            ("400 B", missing, None, vec![("uploads", Good)]),
            ("500 I", "", None, vec![("uploads", Bad)]),
        ] {
            let hand = shake_with(status, message, sketch).await;
            assert_eq!(parts(&hand), [&head[..], &tail].concat(), "{message}");
        }
    }

    #[tokio::test]
    async fn without_a_login_nothing_else_is_asked() {
        let fake = Fake::start(|_| json("200 OK", VERSION)).await;
        fake.memory.accepts.store(false, Ordering::SeqCst);
        let hand = shake(&fake.client(), Some(7), OURS).await;
        assert_eq!(parts(&hand), [("login", Level::Bad)]);
        assert_eq!(hand.level(), Level::Bad);
        assert!(
            hand.lines[0]
                .found
                .starts_with("failed to log in to http://")
        );
    }
}
