//! An event's document, as `GetFieldValues` of Plaso 20260720 `output/shared_opensearch.py` builds it.
//!
//! An event's data is mostly the same for several events, so its document is made once, with gaps for what belongs to
//! the single event. Order of the fields: `parser`, `data_type`, what the data has in stored order, what its stream
//! has, and then those of psort's own fields that were not there yet.

use std::rc::Rc;

use super::formatter::{Formatters, Known};
use super::python;
use super::stream::{FIELDS, Stream};
use super::value::{Text, Value};
use super::write::{self, Counts};

/// psort's own fields, in its order.
const OWN: [&[u8]; 8] = [
    b"datetime",
    b"display_name",
    b"message",
    b"source_long",
    b"source_short",
    b"tag",
    b"timestamp",
    b"timestamp_desc",
];

/// The hash of data that has none.
const NO_HASH: &[u8] = b"UNKNOWN";

/// A row of event data, made ready for the documents of its events.
#[derive(Debug)]
pub(super) struct Prepared {
    /// By which psort groups events.
    pub(super) hash: Rc<[u8]>,
    /// None, if only Plaso's own code knows what to write.
    pub(super) document: Option<Document>,
}

/// A document with gaps.
#[derive(Debug, Default)]
pub(super) struct Document {
    bytes: Vec<u8>,
    gaps: [(usize, Gap); 4],
    counts: Counts,
}

/// Memory that is used again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    bytes: Vec<u8>,
    message: Text,
}

/// What of it is used again.
const MOST_SCRATCH: usize = 1024 * 1024;

/// What belongs to the single event.
#[derive(Clone, Copy, Debug, Default)]
enum Gap {
    #[default]
    Datetime,
    Tag,
    Timestamp,
    Description,
}

/// The values for the gaps, of which all but the time are JSON.
#[derive(Debug)]
pub(super) struct Moment<'a> {
    pub(super) timestamp: i64,
    pub(super) datetime: &'a [u8],
    pub(super) description: &'a [u8],
    pub(super) tag: &'a [u8],
}

impl Prepared {
    /// Of event data and its stream; none, if its hash is not text.
    pub(super) fn new(
        data: &Value,
        stream: Option<&Stream>,
        formatters: &Formatters,
        scratch: &mut Scratch,
    ) -> Option<Self> {
        let hash = match data.attribute("_event_values_hash") {
            None => NO_HASH,
            Some(hash) => hash.as_text()?.as_bytes(),
        };
        Some(Self {
            hash: hash.into(),
            document: Maker::make(data, stream, formatters, scratch),
        })
    }

    /// Gives the memory that it does not need back.
    pub(super) fn shrink(&mut self, scratch: &mut Scratch) {
        if let Some(document) = &mut self.document {
            let exact = document.bytes.as_slice().to_vec();
            scratch.bytes = std::mem::replace(&mut document.bytes, exact);
        }
    }

    /// Gives its memory back.
    pub(super) fn dissolve(self, scratch: &mut Scratch) {
        if let Some(document) = self.document {
            scratch.bytes = document.bytes;
        }
    }

    /// About how much memory it takes.
    pub(super) fn size(&self) -> usize {
        let document = self.document.as_ref();
        300 + document.map_or(0, |document| document.bytes.capacity())
    }
}

impl Document {
    /// Appends the document of an event.
    pub(super) fn write(&self, moment: &Moment<'_>, out: &mut Vec<u8>) -> Counts {
        let mut from = 0;
        for &(to, gap) in &self.gaps {
            out.extend_from_slice(self.bytes.get(from..to).unwrap_or_default());
            from = to;
            match gap {
                Gap::Datetime => {
                    out.push(b'"');
                    out.extend_from_slice(moment.datetime);
                    out.push(b'"');
                }
                Gap::Tag => out.extend_from_slice(moment.tag),
                Gap::Timestamp => push_number(moment.timestamp, out),
                Gap::Description => out.extend_from_slice(moment.description),
            }
        }
        out.extend_from_slice(self.bytes.get(from..).unwrap_or_default());
        self.counts
    }
}

fn push_number(number: i64, out: &mut Vec<u8>) {
    use std::io::Write;
    // Memory takes every write.
    write!(out, "{number}").unwrap_or_default();
}

struct Maker<'a> {
    data: &'a Value,
    stream: Option<&'a Stream>,
    message: &'a Text,
    sources: [&'a str; 2],
    document: Document,
    /// How many gaps there are.
    gaps: usize,
    /// Which of psort's own and the stream's fields are there.
    there: u32,
}

impl<'a> Maker<'a> {
    fn make(
        data: &'a Value,
        stream: Option<&'a Stream>,
        formatters: &'a Formatters,
        scratch: &'a mut Scratch,
    ) -> Option<Document> {
        let Value::Map(entries) = data else {
            return None;
        };
        let formatter = formatters.of(data.attribute("data_type")?.as_text()?.as_str()?);
        scratch.message.empty(MOST_SCRATCH);
        if formatter.message(entries, &mut scratch.message) != Known::Yes {
            return None;
        }
        let mut bytes = std::mem::take(&mut scratch.bytes);
        bytes.clear();
        bytes.shrink_to(MOST_SCRATCH);
        let mut maker = Self {
            data,
            stream,
            message: &scratch.message,
            sources: [formatter.source_long(), formatter.source_short()],
            document: Document {
                bytes,
                ..Document::default()
            },
            gaps: 0,
            there: 0,
        };
        maker.fields(entries)?;
        if let Some(stream) = stream {
            maker.document.counts.surrogates |= stream.counts.surrogates;
            maker.document.counts.numbers += stream.counts.numbers;
        }
        Some(maker.document)
    }

    fn fields(&mut self, entries: &'a [(Text, Value)]) -> Option<()> {
        let has_chain = self.data.attribute("_parser_chain").is_some();
        if has_chain {
            // psort looks for an attribute of the name that it writes, not of the one that it read.
            let dash = Value::Text(Text::from("-"));
            let parser = self.data.attribute("parser").unwrap_or(&dash);
            self.field(&Text::from("parser"), parser)?;
        }
        let data_type = self.data.attribute("data_type")?;
        self.field(&Text::from("data_type"), data_type)?;
        for (name, value) in entries {
            let bytes = name.as_bytes();
            let done = bytes == b"data_type" || has_chain && bytes == b"parser";
            if !done && !value.is_null() && !is_inner(bytes)? && !is_date(value) {
                self.field(name, value)?;
            }
        }
        for (number, name) in FIELDS.iter().enumerate() {
            let set = self
                .stream
                .is_some_and(|stream| stream.fields[number].is_some());
            if set && !self.is_there(OWN.len() + number) {
                self.name(name);
                self.of_stream(number, &Value::Null)?;
            }
        }
        for (number, name) in OWN.iter().enumerate() {
            if !self.is_there(number) {
                self.name(name);
                self.own(number)?;
            }
        }
        self.document.bytes.push(b'}');
        Some(())
    }

    const fn is_there(&self, number: usize) -> bool {
        self.there >> number & 1 == 1
    }

    /// Writes a field that stands in the data; none, if only Plaso's code knows how.
    fn field(&mut self, name: &Text, value: &Value) -> Option<()> {
        let bytes = name.as_bytes();
        if let Some(number) = OWN.iter().position(|own| *own == bytes) {
            self.there |= 1 << number;
            self.name(bytes);
            return self.own(number);
        }
        if let Some(number) = FIELDS.iter().position(|field| *field == bytes) {
            self.there |= 1 << (OWN.len() + number);
            self.name(bytes);
            return self.of_stream(number, value);
        }
        self.comma();
        self.text(name);
        self.document.bytes.push(b':');
        match value {
            Value::Number(digits) if bytes == b"inode" && is_integer(digits) => {
                let digits = if &**digits == "-0" { "0" } else { digits };
                self.text(&Text::from(digits));
            }
            Value::Bool(set) if bytes == b"inode" => {
                self.text(&Text::from(if *set { "1" } else { "0" }));
            }
            _ => return self.plain(value),
        }
        Some(())
    }

    fn comma(&mut self) {
        let first = self.document.bytes.is_empty();
        self.document.bytes.push(if first { b'{' } else { b',' });
    }

    /// Begins a field of a known name, which needs no escapes.
    fn name(&mut self, name: &[u8]) {
        self.comma();
        self.document.bytes.push(b'"');
        self.document.bytes.extend_from_slice(name);
        self.document.bytes.extend_from_slice(b"\":");
    }

    fn text(&mut self, text: &Text) {
        let document = &mut self.document;
        write::string(text, &mut document.bytes, &mut document.counts);
    }

    fn plain(&mut self, value: &Value) -> Option<()> {
        let document = &mut self.document;
        write::stored(value, &mut document.bytes, &mut document.counts)
    }

    fn own(&mut self, number: usize) -> Option<()> {
        let gap = match number {
            0 => Gap::Datetime,
            1 => return self.display_name(),
            2 => {
                self.text(self.message);
                return Some(());
            }
            3 | 4 => {
                let source = Text::from(self.sources[number - 3]);
                self.text(&source);
                return Some(());
            }
            5 => Gap::Tag,
            6 => Gap::Timestamp,
            _ => Gap::Description,
        };
        let here = self.document.gaps.get_mut(self.gaps)?;
        *here = (self.document.bytes.len(), gap);
        self.gaps += 1;
        Some(())
    }

    fn display_name(&mut self) -> Option<()> {
        match self.data.attribute("display_name") {
            Some(Value::Text(name)) if !name.as_bytes().is_empty() => {
                self.text(name);
            }
            None | Some(Value::Text(_)) => match self.stream {
                Some(stream) => {
                    let name = stream.display_name.as_ref()?;
                    self.document.bytes.extend_from_slice(name);
                }
                None => self.document.bytes.extend_from_slice(b"\"-\""),
            },
            Some(_) => return None,
        }
        Some(())
    }

    /// A field that a stream may have.
    fn of_stream(&mut self, number: usize, value: &Value) -> Option<()> {
        let name = FIELDS[number];
        let set = self
            .stream
            .and_then(|stream| stream.fields[number].as_ref());
        let empty: &[u8] = match (set, self.stream) {
            (Some(set), _) => set,
            _ if name == b"yara_match" => b"[]",
            _ if name == b"path_spec" => return None,
            (None, Some(_)) => b"\"-\"",
            (None, None) => return self.plain(value),
        };
        self.document.bytes.extend_from_slice(empty);
        Some(())
    }
}

/// Whether an attribute is for Plaso itself; none for a name that no parser gives, which may be one of a method of
/// Plaso's class.
fn is_inner(name: &[u8]) -> Option<bool> {
    match name {
        b"__type__" | b"__container_type__" => Some(true),
        [] | [b'A'..=b'Z', ..] | [b'_', b'_', ..] => None,
        [first, ..] => Some(*first == b'_'),
    }
}

fn is_integer(number: &str) -> bool {
    number
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'-')
}

/// A date, or a list that begins with one. psort leaves these out.
fn is_date(value: &Value) -> bool {
    let value = match value {
        Value::List(items) => items.first(),
        other => Some(other),
    };
    let kind = value.and_then(python::kind_of);
    kind.is_some_and(|kind| kind.as_bytes() == b"DateTimeValues")
}
