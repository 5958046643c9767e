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
        let mut text = Text::from_whole(run.to_vec());
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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::export::write;

    fn text(bytes: &str) -> Text {
        match read(bytes.as_bytes()) {
            Ok(Value::Text(text)) => text,
            other => panic!("{bytes}: {other:?}"),
        }
    }

    #[test]
    fn strings_are_as_in_python() {
        let points = |json: &str| text(json).code_points().collect::<Vec<_>>();
        assert_eq!(points(r#""\ud83d\ude00""#), [0x1f600]);
        assert_eq!(points(r#""\ud83dx""#), [0xd83d, 0x78]);
        assert_eq!(points(r#""\ud83d\u0041""#), [0xd83d, 0x41]);
        assert_eq!(points(r#""\ud83d\ud83d\ude00""#), [0xd83d, 0x1f600]);
        assert_eq!(points(r#""\ude00\ud83d""#), [0xde00, 0xd83d]);
        assert_eq!(
            points(r#""\b\f\n\r\t\/\\\"é""#),
            [8, 12, 10, 13, 9, 0x2f, 0x5c, 0x22, 0xe9]
        );
        assert_eq!(text("\"1234567\u{7f}é8901234567890\"").as_bytes().len(), 23);
    }

    #[test]
    fn a_name_that_comes_again_keeps_its_place() {
        let entry = |name: &str, value: &str| (Text::from(name), Value::Number(value.into()));
        assert_eq!(
            read(br#"{"a":1,"b":2,"a":3}"#),
            Ok(Value::Map(vec![entry("a", "3"), entry("b", "2")]))
        );
        let twice: Vec<_> = (0..200).map(|n| format!("\"{}\":{n}", n % 100)).collect();
        let Ok(Value::Map(map)) = read(format!("{{{}}}", twice.join(",")).as_bytes()) else {
            panic!("no map");
        };
        let last = (0..100).map(|n| entry(&n.to_string(), &(n + 100).to_string()));
        assert_eq!(map, last.collect::<Vec<_>>());
    }

    #[test]
    fn what_python_refuses_is_refused() {
        for wrong in [
            "",
            " ",
            "01",
            "1.",
            ".5",
            "-",
            "+1",
            "1e",
            "[1,]",
            "{\"a\":1,}",
            "{a:1}",
            "\"\t\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\ud83d\\u12\"",
            "nul",
            "-NaN",
            "1 2",
            "\"",
            "[",
            "\u{feff}1",
            "'a'",
            "1_0",
        ] {
            assert!(read(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
        assert!(read(b"\"\xff\"").is_err());
        assert!(read(&[b'['; 100_000]).is_err());
        let deep = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(deep(DEEPEST).as_bytes()).is_ok());
        assert_eq!(
            read(deep(DEEPEST + 1).as_bytes()),
            Err(ReadError {
                at: DEEPEST,
                what: "too deep"
            })
        );
        assert!(read("9".repeat(4300).as_bytes()).is_ok());
        assert!(read("9".repeat(4301).as_bytes()).is_err());
    }

    #[test]
    fn numbers_keep_their_digits() {
        for digits in [
            "0",
            "-0",
            "1.50",
            "1E400",
            "123456789012345678901234567890",
            "NaN",
            "Infinity",
            "-Infinity",
        ] {
            assert_eq!(
                read(format!(" {digits}\n").as_bytes()),
                Ok(Value::Number(digits.into()))
            );
        }
    }

    /// Any value whose numbers are as Python writes them.
    pub(crate) fn value() -> impl Strategy<Value = Value> {
        let any_text = prop::collection::vec(
            prop_oneof![0_u32..0x80, 0_u32..=0x0010_ffff, 0xd7ff_u32..0xe001],
            0..12,
        )
        .prop_map(|points| {
            // A high half before a low one would be read as one character.
            let mut text = Text::default();
            let mut high = false;
            for point in points {
                if !(high && (0xdc00..=0xdfff).contains(&point)) {
                    text.push_code_point(point);
                    high = (0xd800..0xdc00).contains(&point);
                }
            }
            text
        });
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(|number| Value::Number(number.to_string().into())),
            any_text.clone().prop_map(Value::Text),
        ];
        leaf.prop_recursive(4, 40, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
                prop::collection::btree_map(any_text.clone(), inner, 0..6)
                    .prop_map(|map| Value::Map(map.into_iter().collect())),
            ]
        })
    }

    fn same(ours: &Value, theirs: &serde_json::Value) -> bool {
        match (ours, theirs) {
            (Value::Null, serde_json::Value::Null) => true,
            (Value::Bool(ours), serde_json::Value::Bool(theirs)) => ours == theirs,
            (Value::Number(ours), serde_json::Value::Number(theirs)) => {
                ours.parse::<f64>().ok() == theirs.as_f64()
            }
            (Value::Text(ours), serde_json::Value::String(theirs)) => ours.as_str() == Some(theirs),
            (Value::List(ours), serde_json::Value::Array(theirs)) => {
                ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| same(a, b))
            }
            (Value::Map(ours), serde_json::Value::Object(theirs)) => {
                ours.len() == theirs.len()
                    && ours.iter().all(|(name, value)| {
                        theirs
                            .get(name.as_str().unwrap_or_default())
                            .is_some_and(|theirs| same(value, theirs))
                    })
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(read(&bytes));
        }

        #[test]
        fn json_like_bytes_are_read_as_serde_reads_them(
            bytes in r#"[\[\]{}",:0-9eE+. truefalsn\\/bé\u{1}-]{0,24}"#
        ) {
            let ours = read(bytes.as_bytes());
            // What serde_json takes is JSON, except that it joins or refuses halves and infinities.
            if let Ok(theirs) = serde_json::from_str::<serde_json::Value>(&bytes) {
                prop_assert!(same(&ours.unwrap(), &theirs), "{}", bytes);
            } else if let Ok(ours) = ours {
                prop_assert!(bytes.contains(['e', 'E', '\\']), "{} as {:?}", bytes, ours);
            }
        }

        #[test]
        fn what_was_written_is_read_again(value in value()) {
            let mut bytes = Vec::new();
            write::value(&value, &mut bytes, &mut write::Counts::default());
            prop_assert_eq!(read(&bytes), Ok(value));
        }
    }
}
