//! Text that comes from evidence, made safe to print, log and store.
//!
//! File names on a disk are bytes that an attacker chose: escape codes, newlines, bad UTF-8. This
//! module gives them one reversible form that is plain text, and one lossy form for sentences.
//! Everything that shows a name from evidence goes through here.

use std::fmt::Write as _;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A path inside a file system on evidence, as bytes, always absolute (`/var/log`).
///
/// In JSON and on a terminal it is a string in which a backslash is `\\` and every byte that is
/// not part of a printable character is `\xNN`, so that the bytes can be had back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EvidencePath(Vec<u8>);

impl EvidencePath {
    /// Takes the bytes of an absolute path.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes as they stand on the disk.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The names between the slashes.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        self.0
            .split(|byte| *byte == b'/')
            .filter(|segment| !segment.is_empty())
    }

    /// The last name, empty for the root.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.0
            .rsplit(|byte| *byte == b'/')
            .next()
            .unwrap_or_default()
    }

    /// The path one name further down.
    #[must_use]
    pub fn join(&self, name: &[u8]) -> Self {
        let mut bytes = self.0.clone();
        if bytes.last() != Some(&b'/') {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Self(bytes)
    }

    /// Reads the printable form back.
    ///
    /// # Errors
    /// A backslash that is followed by neither a backslash nor `xNN`.
    pub fn parse(text: &str) -> Result<Self, BadEscape> {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((first, tail)) = rest.split_first() {
            if *first != b'\\' {
                bytes.push(*first);
                rest = tail;
                continue;
            }
            match tail {
                [b'\\', after @ ..] => {
                    bytes.push(b'\\');
                    rest = after;
                }
                [b'x', high, low, after @ ..] => {
                    let digit = |byte: u8| char::from(byte).to_digit(16);
                    let (Some(high), Some(low)) = (digit(*high), digit(*low)) else {
                        return Err(BadEscape);
                    };
                    bytes.push(u8::try_from(high * 16 + low).map_err(|_| BadEscape)?);
                    rest = after;
                }
                _ => return Err(BadEscape),
            }
        }
        Ok(Self(bytes))
    }
}

/// A printable path that cannot be read back.
#[derive(Debug, thiserror::Error)]
#[error("a backslash in a stored path must be doubled or followed by xNN")]
pub struct BadEscape;

impl std::fmt::Display for EvidencePath {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character == '\\' {
                    out.write_str("\\\\")?;
                } else if is_plain(character) {
                    out.write_char(character)?;
                } else {
                    let mut buffer = [0; 4];
                    for byte in character.encode_utf8(&mut buffer).bytes() {
                        write!(out, "\\x{byte:02x}")?;
                    }
                }
            }
            for byte in chunk.invalid() {
                write!(out, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for EvidencePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EvidencePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for EvidencePath {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EvidencePath".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "absolute path on the evidence; a backslash is \\\\, a byte that is not printable is \\xNN"
        })
    }
}

/// Makes any text from outside fit for one line of a terminal or log: control characters and
/// text-direction overrides become `\u{N}`, and more than `limit` characters are cut with `…`.
#[must_use]
pub fn line(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == limit {
            out.push('…');
            break;
        }
        if is_plain(character) {
            out.push(character);
        } else {
            out.extend(character.escape_unicode());
        }
    }
    out
}

/// A number with its noun: `1 file`, `2 files`.
#[must_use]
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Bytes for people, in units of 1024.
#[must_use]
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" {
                format!("{bytes} B")
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// Seconds for people, in the unit that suits.
#[must_use]
pub fn time(seconds: f64) -> String {
    if seconds < 90.0 {
        format!("{seconds:.0} s")
    } else if seconds < 7200.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.1} h", seconds / 3600.0)
    }
}

/// The last line with words in it, made printable; a remark if there is none.
#[must_use]
pub fn last_line(text: &str, limit: usize) -> String {
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    line(last.unwrap_or("it said nothing"), limit)
}

/// An error and its causes in one line. Display texts start with what was tried and do not repeat their
/// causes; transparent layers are said once.
#[must_use]
pub fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in std::iter::successors(Some(error), |error| error.source()) {
        let text = line(&cause.to_string(), 600);
        if !parts.last().is_some_and(|last| last.ends_with(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ")
}

/// A character that shows itself and nothing else: no control, no direction override, no
/// line separator, nothing of zero width.
fn is_plain(character: char) -> bool {
    !character.is_control()
        && !matches!(character,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{61c}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_path_survives_its_printable_form(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let path = EvidencePath::new(bytes);
            prop_assert_eq!(EvidencePath::parse(&path.to_string()).unwrap(), path);
        }

        #[test]
        fn no_printable_form_holds_a_control_character(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(EvidencePath::new(bytes.clone()).to_string().chars().all(is_plain));
            prop_assert!(line(&String::from_utf8_lossy(&bytes), 40).chars().all(is_plain));
        }
    }

    #[test]
    fn escape_codes_are_spelled_out() {
        let path = EvidencePath::new(*b"/tmp/\x1b[2J\nx\xff\\");
        assert_eq!(path.to_string(), r"/tmp/\x1b[2J\x0ax\xff\\");
        assert_eq!(line("a\u{1b}[2J", 20), r"a\u{1b}[2J");
    }

    #[test]
    fn sizes_and_times_are_short() {
        assert_eq!(
            [size(0), size(1023), size(1536), size(5 << 40)],
            ["0 B", "1023 B", "1.5 KiB", "5.0 TiB"]
        );
        assert_eq!(
            [time(89.0), time(600.0), time(9000.0)],
            ["89 s", "10 min", "2.5 h"]
        );
    }
}
