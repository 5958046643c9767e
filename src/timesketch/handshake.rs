//! temporary
#![allow(missing_docs)]
use super::Client;
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Good,
    Warning,
    Bad,
}
impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Good => "ok",
            Self::Warning => "warning",
            Self::Bad => "bad",
        })
    }
}
pub struct Finding {
    pub part: &'static str,
    pub level: Level,
    pub found: String,
    pub advice: Option<String>,
}
pub struct Handshake {
    pub lines: Vec<Finding>,
}
pub struct Ours {
    pub plaso: u32,
    pub storage_format: Option<u32>,
}
pub async fn shake(
    client: &Client,
    _sketch: Option<u64>,
    ours: Ours,
    _o: Option<&crate::opensearch::Client>,
) -> Handshake {
    let _ = (ours.plaso, ours.storage_format);
    let line = match client.version().await {
        Ok(v) => Finding {
            part: "timesketch",
            level: Level::Good,
            found: format!("{v:?}"),
            advice: None,
        },
        Err(e) => Finding {
            part: "timesketch",
            level: Level::Bad,
            found: crate::printable::causes(&e),
            advice: None,
        },
    };
    Handshake { lines: vec![line] }
}
