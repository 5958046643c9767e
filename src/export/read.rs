//! JSON as Python's `json.loads` reads it: `NaN` and infinities are numbers, halves of characters stay halves, and of
//! equal names the last value takes the place of the first.
//!
//! Stricter than Python in three things that Plaso does not write: depth is at most [`DEEPEST`], raw bytes must be
//! UTF-8, and there is no byte order mark.

use std::collections::HashMap;

use super::value::{Text, Value};

/// How deep lists and maps may be in each other.
pub const DEEPEST: usize = 64;

/// Python refuses to make an integer of more digits (`sys.int_info.default_max_str_digits`).
const MOST_DIGITS: usize = 4300;

/// As many names as the outermost map mostly has.
const FEW_NAMES: usize = 16;

/// From how many names on a map is searched by hash, so that a hostile one takes no square of time.
const MANY_NAMES: usize = 32;

/// Bytes that are not JSON as Python reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read JSON at byte {at}: {what}")]
pub struct ReadError {
    /// Where.
    pub at: usize,
    /// What is wrong.
    pub what: &'static str,
}

/// Reads one value, with nothing but white space around it.
///
/// # Errors
///
/// If it is not JSON as Python reads it.
pub fn read(bytes: &[u8]) -> Result<Value, ReadError> {
    let mut reader = Reader { bytes, at: 0 };
    reader.skip_space();
    let value = reader.value(0)?;
    reader.skip_space();
    if reader.at == bytes.len() {
        Ok(value)
    } else {
        Err(reader.error("more than one value"))
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    const fn error(&self, what: &'static str) -> ReadError {
        ReadError { at: self.at, what }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn take_word(&mut self, word: &str) -> bool {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let there = rest.starts_with(word.as_bytes());
        if there {
            self.at += word.len();
        }
        there
    }

    fn value(&mut self, depth: usize) -> Result<Value, ReadError> {
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                Ok(Value::Text(self.text()?))
            }
            Some(b'{') => self.map(depth + 1),
            Some(b'[') => self.list(depth + 1),
            Some(b'-' | b'0'..=b'9' | b'N' | b'I') => self.number(),
            Some(b'n') if self.take_word("null") => Ok(Value::Null),
            Some(b't') if self.take_word("true") => Ok(Value::Bool(true)),
            Some(b'f') if self.take_word("false") => Ok(Value::Bool(false)),
            _ => Err(self.error("no value")),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, ReadError> {
        self.deepen(depth)?;
        let mut items = Vec::new();
        if self.take(b']') {
            return Ok(Value::List(items));
        }
        loop {
            self.skip_space();
            items.push(self.value(depth)?);
            self.skip_space();
            if self.take(b']') {
                return Ok(Value::List(items));
            }
            if !self.take(b',') {
                return Err(self.error("no comma and no end of the list"));
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, ReadError> {
        self.deepen(depth)?;
        let mut entries = Entries::default();
        if depth == 1 {
            entries.list.reserve(FEW_NAMES);
        }
        if self.take(b'}') {
            return Ok(Value::Map(entries.list));
        }
        loop {
            self.skip_space();
            if !self.take(b'"') {
                return Err(self.error("no name"));
            }
            let name = self.text()?;
            self.skip_space();
            if !self.take(b':') {
                return Err(self.error("no colon"));
            }
            self.skip_space();
            let value = self.value(depth)?;
            entries.set(name, value);
            self.skip_space();
            if self.take(b'}') {
                return Ok(Value::Map(entries.list));
            }
            if !self.take(b',') {
                return Err(self.error("no comma and no end of the map"));
            }
        }
    }

    fn deepen(&mut self, depth: usize) -> Result<(), ReadError> {
        if depth > DEEPEST {
            return Err(self.error("too deep"));
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    fn number(&mut self) -> Result<Value, ReadError> {
        if let Some(word) = ["NaN", "Infinity", "-Infinity"]
            .into_iter()
            .find(|word| self.take_word(word))
        {
            return Ok(Value::Number(word.into()));
        }
        let start = self.at;
        self.take(b'-');
        let whole = self.at;
        if !self.take(b'0') {
            self.digits()?;
        }
        let digits = self.at - whole;
        let mut float = false;
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
            float = true;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
            float = true;
        }
        if !float && digits > MOST_DIGITS {
            return Err(self.error("an integer with too many digits"));
        }
        let text = self.bytes.get(start..self.at).unwrap_or_default();
        let text = std::str::from_utf8(text).unwrap_or_default();
        Ok(Value::Number(text.into()))
    }

    fn digits(&mut self) -> Result<(), ReadError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.error("no digit"));
        }
        Ok(())
    }

    /// The rest of a string whose first quotation mark was taken.
    fn text(&mut self) -> Result<Text, ReadError> {
        let run = self.run()?;
        let mut text = Text::from_whole(run);
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    self.at += 1;
                    let point = self.escape()?;
                    text.push_code_point(point);
                }
                Some(_) => return Err(self.error("a control character in a string")),
                None => return Err(self.error("a string without end")),
            }
            let run = self.run()?;
            text.push_whole(run);
        }
    }

    /// The bytes up to the next that is not itself.
    fn run(&mut self) -> Result<&'a [u8], ReadError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let (length, ascii) = plain(rest);
        let run = rest.get(..length).unwrap_or_default();
        if !ascii && let Err(error) = std::str::from_utf8(run) {
            self.at += error.valid_up_to();
            return Err(self.error("bytes that are not UTF-8"));
        }
        self.at += length;
        Ok(run)
    }

    fn escape(&mut self) -> Result<u32, ReadError> {
        let point = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => u32::from(byte),
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => 10,
            Some(b'r') => 13,
            Some(b't') => 9,
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(self.error("an unknown escape")),
        };
        self.at += 1;
        Ok(point)
    }

    fn unicode(&mut self) -> Result<u32, ReadError> {
        let first = self.hex()?;
        if (0xd800..0xdc00).contains(&first) {
            let back = self.at;
            if self.take_word("\\u") {
                // As in Python, a second escape that is no hex is an error of its own, later.
                if let Ok(second @ 0xdc00..=0xdfff) = self.hex() {
                    return Ok(0x10000 + ((first - 0xd800) << 10 | (second - 0xdc00)));
                }
                self.at = back;
            }
        }
        Ok(first)
    }

    fn hex(&mut self) -> Result<u32, ReadError> {
        let digits = self.bytes.get(self.at..self.at + 4).unwrap_or_default();
        let mut point = 0;
        for &digit in digits {
            match char::from(digit).to_digit(16) {
                Some(digit) => point = point << 4 | digit,
                None => return Err(self.error("an escape without four hexadecimal digits")),
            }
        }
        if digits.len() < 4 {
            return Err(self.error("an escape without four hexadecimal digits"));
        }
        self.at += 4;
        Ok(point)
    }
}

/// How many bytes stand for themselves in a string, and whether they are ASCII.
fn plain(bytes: &[u8]) -> (usize, bool) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS != 0;
    let special = |byte: u8| byte == b'"' || byte == b'\\' || byte < 0x20;

    let mut length = 0;
    let mut ascii = true;
    while let Some(&chunk) = bytes.get(length..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_ne_bytes(chunk);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS != 0;
        if control
            || has_zero(word ^ (ONES * u64::from(b'"')))
            || has_zero(word ^ (ONES * u64::from(b'\\')))
        {
            break;
        }
        ascii &= word & HIGHS == 0;
        length += 8;
    }
    // Borrows can make the whole word look special when one byte is; the bytes themselves decide.
    for &byte in bytes.get(length..).unwrap_or_default() {
        if special(byte) {
            break;
        }
        ascii &= byte < 0x80;
        length += 1;
    }
    (length, ascii)
}

/// The entries of a map so far.
#[derive(Default)]
struct Entries {
    list: Vec<(Text, Value)>,
    places: HashMap<Text, usize>,
}

impl Entries {
    fn set(&mut self, name: Text, value: Value) {
        if let Some(entry) = self.place(&name).and_then(|place| self.list.get_mut(place)) {
            entry.1 = value;
            return;
        }
        if self.list.len() >= MANY_NAMES {
            self.places.insert(name.clone(), self.list.len());
        }
        self.list.push((name, value));
    }

    fn place(&self, name: &Text) -> Option<usize> {
        let first = self.list.iter().take(MANY_NAMES);
        first
            .enumerate()
            .find_map(|(place, entry)| (entry.0 == *name).then_some(place))
            .or_else(|| self.places.get(name).copied())
    }
}

#[cfg(test)]
mod tests;
