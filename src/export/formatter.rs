//! Messages and sources as psort puts them into documents (`plaso/formatters/interface.py`, `default.py` and
//! `output/formatting_helper.py` of Plaso 20260720).
//!
//! Plaso formats the dictionary that `EventData.CopyToDict` gives: all attributes that are not null, in stored order,
//! `data_type` among them. Callers pass the whole map of an event's data as it was read: null values, and names that
//! begin with `_` (`__type__`, `_parser_chain` and the like), are passed over here, since no formatter can name them.
//! Attributes of the event's data stream (`path_spec`, hashes) and of the event itself must not be among them.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use super::python::Known;

use super::helper::{self, Helper, Values};
use super::python;
use super::template::{self, Part};
use super::value::{Text, Value};
use super::yaml::{self, Node};

/// The keys that a definition may have (`formatters/yaml_formatters_file.py`).
const KEYS: [&str; 11] = [
    "data_type",
    "boolean_helpers",
    "custom_helpers",
    "enumeration_helpers",
    "flags_helpers",
    "message",
    "separator",
    "short_message",
    "short_source",
    "source",
    "type",
];

/// Attributes that the default formatter leaves out, beside those with `_`.
const RESERVED: [&str; 5] = [
    "data_type",
    "date_time",
    "path_spec",
    "timestamp",
    "timestamp_desc",
];

/// Formatters that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FormattersError {
    /// The folder or file cannot be read.
    #[error("read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what Plaso takes.
    #[error("read the formatters in {path}: {reason}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// All formatters there are.
#[derive(Debug)]
pub struct Formatters {
    formatters: HashMap<String, Formatter>,
    default: Formatter,
}

/// What makes messages of one type of event.
#[derive(Debug)]
pub struct Formatter {
    source_short: String,
    source_long: String,
    helpers: Vec<Helper>,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// Something in its definition is not known here.
    Unknown,
    /// Of types that Plaso has no formatter for.
    Default,
    Basic(Vec<Part>),
    Conditional {
        separator: Text,
        pieces: Vec<Piece>,
    },
}

#[derive(Debug)]
struct Piece {
    /// The attribute without which it is left out.
    name: Option<String>,
    parts: Vec<Part>,
}

impl Formatters {
    /// Reads Plaso's folder of formatters, and those that take the place of them: a file or a folder.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or is not of formatters, or two in the folder are of the same type.
    pub fn load(folder: &Path, custom: Option<&Path>) -> Result<Self, FormattersError> {
        let mut formatters = HashMap::new();
        for path in files(folder)? {
            for (data_type, formatter) in read(&path)? {
                if formatters.insert(data_type.clone(), formatter).is_some() {
                    let reason = format!("a second formatter of {data_type}");
                    return Err(FormattersError::File { path, reason });
                }
            }
        }
        if let Some(custom) = custom {
            let paths = if custom.is_dir() {
                files(custom)?
            } else {
                vec![custom.to_owned()]
            };
            for path in paths {
                formatters.extend(read(&path)?);
            }
        }
        let source = || "N/A".to_owned();
        let default = Formatter {
            source_short: source(),
            source_long: source(),
            helpers: Vec::new(),
            body: Body::Default,
        };
        Ok(Self {
            formatters,
            default,
        })
    }

    /// The formatter of a type, or the default one.
    #[must_use]
    pub fn of(&self, data_type: &str) -> &Formatter {
        let formatter = if data_type
            .bytes()
            .all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase())
        {
            self.formatters.get(data_type)
        } else {
            self.formatters.get(&data_type.to_lowercase())
        };
        formatter.unwrap_or(&self.default)
    }

    /// The types that have a formatter, in order.
    #[must_use]
    pub fn data_types(&self) -> BTreeSet<&str> {
        self.formatters.keys().map(String::as_str).collect()
    }
}

/// The files that Plaso's glob finds, in order.
fn files(folder: &Path) -> Result<Vec<PathBuf>, FormattersError> {
    let failed = |source| FormattersError::Read {
        path: folder.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if name.ends_with(b".yaml") && !name.starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<Vec<(String, Formatter)>, FormattersError> {
    let text = fs::read_to_string(path).map_err(|source| FormattersError::Read {
        path: path.to_owned(),
        source,
    })?;
    let failed = |reason| FormattersError::File {
        path: path.to_owned(),
        reason,
    };
    let mut found = Vec::new();
    for definition in yaml::documents(&text).map_err(failed)? {
        let data_type = definition.get("data_type").and_then(Node::text);
        let data_type =
            data_type.ok_or_else(|| failed("a definition has no data_type".to_owned()))?;
        found.push((data_type.to_lowercase(), Formatter::of(&definition)));
    }
    Ok(found)
}

impl Formatter {
    fn of(definition: &Node) -> Self {
        let source = |key| definition.get(key).and_then(Node::text).unwrap_or_default();
        let (helpers, body) = known(definition).unwrap_or((Vec::new(), Body::Unknown));
        Self {
            source_short: source("short_source").to_owned(),
            source_long: source("source").to_owned(),
            helpers,
            body,
        }
    }

    /// The document's `source_short`.
    #[must_use]
    pub fn source_short(&self) -> &str {
        &self.source_short
    }

    /// The document's `source_long`.
    #[must_use]
    pub fn source_long(&self) -> &str {
        &self.source_long
    }

    /// Whether no message of it is known here.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        matches!(self.body, Body::Unknown)
    }

    /// Adds the message for these attributes; nothing where only Plaso's own code can say.
    ///
    /// That is so where the formatter has something that is not known here; where a value is a date or another object;
    /// where psort would print addresses of objects because an attribute is missing; and where it would raise.
    #[must_use]
    pub fn message(&self, attributes: &[(Text, Value)], out: &mut Text) -> Known {
        let start = out.as_bytes().len();
        if self.compose(attributes, out).is_some() {
            out.drop_line_ends(start);
            Known::Yes
        } else {
            out.truncate(start);
            Known::Unknown
        }
    }

    fn compose(&self, attributes: &[(Text, Value)], out: &mut Text) -> Option<()> {
        let mut values = Values::new(attributes);
        for helper in &self.helpers {
            helper.apply(&mut values)?;
        }
        match &self.body {
            Body::Unknown => None,
            Body::Default => default(attributes, out),
            Body::Basic(parts) => print(parts, &values, out),
            Body::Conditional { separator, pieces } => {
                let mut first = true;
                for piece in pieces {
                    if piece
                        .name
                        .as_ref()
                        .is_some_and(|name| values.get(name).is_null())
                    {
                        continue;
                    }
                    if !first {
                        out.push_text(separator);
                    }
                    first = false;
                    print(&piece.parts, &values, out)?;
                }
                Some(())
            }
        }
    }
}

fn print(parts: &[Part], values: &Values<'_>, out: &mut Text) -> Option<()> {
    for part in parts {
        match part {
            Part::Literal(text) => out.push_text(text),
            Part::Field(name, spec) => {
                if !values.has(name) {
                    return None;
                }
                template::print(values.get(name), *spec, out)?;
            }
        }
    }
    Some(())
}

/// What psort writes for a type without a formatter.
fn default(attributes: &[(Text, Value)], out: &mut Text) -> Option<()> {
    out.push_str("<WARNING DEFAULT FORMATTER> Attributes: ");
    let mut first = true;
    for (name, value) in attributes {
        let reserved = name.as_bytes().starts_with(b"_")
            || RESERVED
                .iter()
                .any(|reserved| reserved.as_bytes() == name.as_bytes());
        if reserved || value.is_null() || is_date(value) {
            continue;
        }
        if matches!(value, Value::List(items) if items.first().is_some_and(is_date)) {
            continue;
        }
        out.push_str(if first { "" } else { " " });
        first = false;
        out.push_text(name);
        out.push_str(": ");
        python::str(value, out)?;
    }
    Some(())
}

fn is_date(value: &Value) -> bool {
    python::kind_of(value).is_some_and(|kind| kind.as_bytes() == b"DateTimeValues")
}

/// What a definition says, if all of it is known.
fn known(definition: &Node) -> Option<(Vec<Helper>, Body)> {
    let Node::Map(entries) = definition else {
        return None;
    };
    if entries
        .iter()
        .any(|entry| !entry.0.text().is_some_and(|key| KEYS.contains(&key)))
    {
        return None;
    }
    for key in ["short_source", "source"] {
        definition
            .get(key)?
            .text()
            .filter(|source| !source.is_empty())?;
    }
    let message = definition.get("message")?;
    let short = definition.get("short_message")?;
    let body = match definition.get("type")?.text()? {
        "basic" => {
            short.text().filter(|short| !short.is_empty())?;
            let message = message.text().filter(|message| !message.is_empty())?;
            Body::Basic(template::parse(message)?)
        }
        "conditional" => {
            // Plaso looks at the pieces of both before the first message.
            short_pieces(short)?;
            let separator = match definition.get("separator") {
                None => " ",
                Some(separator) => separator.text()?,
            };
            if separator.contains(['{', '}']) {
                return None;
            }
            Body::Conditional {
                separator: separator.into(),
                pieces: pieces(message)?,
            }
        }
        _ => return None,
    };
    Some((helper::of(definition)?, body))
}

fn pieces(node: &Node) -> Option<Vec<Piece>> {
    let Node::List(nodes) = node else {
        return None;
    };
    if nodes.is_empty() {
        return None;
    }
    nodes.iter().map(|node| piece(node.text()?)).collect()
}

/// Plaso takes text for a list of characters, of which none names an attribute.
fn short_pieces(node: &Node) -> Option<()> {
    match node {
        Node::Text(text) => (!text.is_empty()).then_some(()),
        _ => pieces(node).map(drop),
    }
}

fn piece(text: &str) -> Option<Piece> {
    // Plaso would take a name between doubled braces for that of an attribute.
    if text.contains("{{") {
        return None;
    }
    let parts = template::parse(text)?;
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for part in &parts {
        if let Part::Field(name, _) = part {
            names.insert(name);
        }
    }
    if names.len() > 1 {
        return None;
    }
    let name = names.first().map(|&name| name.to_owned());
    Some(Piece { name, parts })
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests make plain files")]
mod tests;
