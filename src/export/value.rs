//! Values of an event as Plaso stored them: numbers keep their digits, text may hold halves of characters.

use std::ops::Deref;

use smallvec::SmallVec;

/// Bytes that need no memory of their own: nearly all names and numbers, and many values, are that short, and taking
/// and giving back memory for each was a sixth of an export.
type Short = SmallVec<[u8; 24]>;

/// Text as Python has it: UTF-8, in which lone surrogates stand as their three bytes (WTF-8).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text(Short);

/// A number in its own digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digits(Short);

/// A value of JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number in its own digits, also `NaN`, `Infinity` and `-Infinity`, which Python writes.
    Number(Digits),
    /// Text.
    Text(Text),
    /// A list.
    List(Vec<Value>),
    /// Names and values in the order in which they were stored.
    Map(Vec<(Text, Value)>),
}

impl Text {
    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same as a string, unless it has lone surrogates.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Adds text that is whole.
    pub fn push_str(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    /// Adds other text. Two halves that come to stand side by side stay two, as in Python.
    pub fn push_text(&mut self, text: &Self) {
        self.0.extend_from_slice(&text.0);
    }

    /// Adds a code point, which may be a surrogate; none beyond U+10FFFF is added.
    pub fn push_code_point(&mut self, point: u32) {
        if let Some(character) = char::from_u32(point) {
            self.0
                .extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        } else if (0xd800..=0xdfff).contains(&point) {
            let part = |shift: u32, mask: u32| u8::try_from(point >> shift & mask).unwrap_or(0);
            self.0.extend([
                0xe0 | part(12, 0x0f),
                0x80 | part(6, 0x3f),
                0x80 | part(0, 0x3f),
            ]);
        }
    }

    /// Takes bytes that are UTF-8, in which lone surrogates may stand as three bytes.
    pub(super) fn from_whole(bytes: &[u8]) -> Self {
        Self(Short::from_slice(bytes))
    }

    /// Adds bytes that are such text.
    pub(super) fn push_whole(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Drops all of it, and what memory it has beyond `most` bytes.
    pub(super) fn empty(&mut self, most: usize) {
        if self.0.capacity() > most {
            self.0 = Short::new();
        }
        self.0.clear();
    }

    /// Drops what stands behind the first `length` bytes, which end a character.
    pub(super) fn truncate(&mut self, length: usize) {
        self.0.truncate(length);
    }

    /// Drops line feeds and carriage returns behind the first `start` bytes.
    pub(super) fn drop_line_ends(&mut self, start: usize) {
        let end = |byte: u8| matches!(byte, b'\n' | b'\r');
        let mut new = self.0.iter().skip(start);
        if new.any(|&byte| end(byte)) {
            let mut place = 0;
            self.0.retain(|byte| {
                place += 1;
                place <= start || !end(*byte)
            });
        }
    }

    /// Its code points, surrogates among them.
    pub fn code_points(&self) -> impl Iterator<Item = u32> + '_ {
        CodePoints(&self.0)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::from_whole(text.as_bytes())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Short::from_vec(text.into_bytes()))
    }
}

/// The bytes were written by [`Text`], so they are whole.
impl From<&str> for Digits {
    fn from(digits: &str) -> Self {
        Self(Short::from_slice(digits.as_bytes()))
    }
}

impl Deref for Digits {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

struct CodePoints<'a>(&'a [u8]);

impl Iterator for CodePoints<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (&first, rest) = self.0.split_first()?;
        let (length, bits) = match first {
            0..=0x7f => (0, u32::from(first)),
            0x80..=0xdf => (1, u32::from(first & 0x1f)),
            0xe0..=0xef => (2, u32::from(first & 0x0f)),
            _ => (3, u32::from(first & 0x07)),
        };
        let (tail, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(
            tail.iter()
                .fold(bits, |point, byte| point << 6 | u32::from(byte & 0x3f)),
        )
    }
}

impl Value {
    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&Text> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What a map has under a name, unless that is Python's `None`.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&Self> {
        let Self::Map(entries) = self else {
            return None;
        };
        let mut entries = entries.iter();
        let (_, value) = entries.find(|(key, _)| key.as_bytes() == name.as_bytes())?;
        (!value.is_null()).then_some(value)
    }

    /// Whether it is Python's `None`.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_holds_any_code_points(points in prop::collection::vec(0_u32..=0x0010_ffff, 0..40)) {
            let mut text = Text::default();
            points.iter().for_each(|&point| text.push_code_point(point));
            prop_assert_eq!(text.code_points().collect::<Vec<_>>(), points);
        }
    }
}
