//! Plaso's formatter definitions as they stand in its YAML files.
//!
//! PyYAML reads YAML 1.1, serde-saphyr 1.2. What both read alike is kept; a definition that depends on a scalar that
//! they may read differently (`010`, `1:30`, `1_000`, dates, `yes`) is unknown, not guessed. Not seen are plain `0o7`
//! and `1e3`, which PyYAML takes for text; Plaso has neither.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A node of YAML. Of a key that stands twice, the last value has the place of the first.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// Nothing.
    Null,
    /// `true`, `false` and, in YAML 1.1, `yes`, `no`, `on` and `off`.
    Bool(bool),
    /// An integer.
    Integer(i128),
    /// A float.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Self>),
    /// Keys and values in their order.
    Map(Vec<(Self, Self)>),
}

/// All documents of a file.
///
/// # Errors
///
/// If it is not YAML, with the reason.
pub fn documents(text: &str) -> Result<Vec<Node>, String> {
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| error.to_string())
}

impl Node {
    /// The value of a key, unless it is not there or nothing.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(entries) = self else {
            return None;
        };
        let mut found = entries.iter().filter(|entry| entry.0.text() == Some(key));
        found
            .next()
            .map(|entry| &entry.1)
            .filter(|value| **value != Self::Null)
    }

    /// The text, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether PyYAML could read this text as something else, if it stands without quotation marks.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        let Self::Text(text) = self else {
            return false;
        };
        let number = text
            .bytes()
            .all(|byte| b"0123456789abcdefABCDEFxX_.:+-TZ t".contains(&byte))
            && text.starts_with(|first: char| first.is_ascii_digit() || "+-._".contains(first))
            && text.contains(|letter: char| letter.is_ascii_digit());
        let canonical = text
            .parse::<i128>()
            .is_ok_and(|number| number.to_string() == *text);
        number && !canonical
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Nodes)
    }
}

struct Nodes;

impl<'de> Visitor<'de> for Nodes {
    type Value = Node;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a node of YAML")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries: Vec<(Node, Node)> = Vec::new();
        while let Some((key, value)) = access.next_entry::<Node, Node>()? {
            match entries.iter_mut().find(|entry| entry.0 == key) {
                Some(entry) => entry.1 = value,
                None => entries.push((key, value)),
            }
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_as_plaso_reads_them() {
        let text = "a: 0x10\nb: -1\nc: 1.0\nd: '0x10'\ne: ~\nf: yes\ng: [x, 2]\n\"h\": 010\n---\na: 1\nb: 2\na: 3\n";
        let documents = documents(text).unwrap();
        let get = |key| documents[0].get(key).cloned();
        assert_eq!(get("a"), Some(Node::Integer(16)));
        assert_eq!(get("b"), Some(Node::Integer(-1)));
        assert_eq!(get("c"), Some(Node::Float(1.0)));
        assert_eq!(get("d"), Some(Node::Text("0x10".into())));
        assert_eq!(get("e"), None);
        assert_eq!(get("f"), Some(Node::Bool(true)));
        assert_eq!(
            get("g"),
            Some(Node::List(vec![Node::Text("x".into()), Node::Integer(2)]))
        );
        assert_eq!(get("h"), Some(Node::Integer(8)));
        let key = |key: &str| Node::Text(key.into());
        assert_eq!(
            documents[1],
            Node::Map(vec![
                (key("a"), Node::Integer(3)),
                (key("b"), Node::Integer(2))
            ])
        );
    }

    #[test]
    fn text_that_may_be_a_number_is_doubtful() {
        for text in ["010", "1:30", "1_000", "2001-01-01", "-0b1", "+1"] {
            assert!(Node::Text(text.into()).is_doubtful(), "{text}");
        }
        for text in ["1", "-40", "a", "SHA", "", "-", "{name}", "x1"] {
            assert!(!Node::Text(text.into()).is_doubtful(), "{text}");
        }
    }

    #[test]
    fn what_is_no_yaml_is_an_error() {
        assert!(documents("a: [").is_err());
    }
}
