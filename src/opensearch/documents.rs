//! Documents of a slice, line by line, as the text of bulks.
//!
//! A line came out of the cage: it is looked at before it is put between others, and one that is no JSON object, or
//! has more bytes than any event, is refused here.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use sha2::{Digest, Sha256};

use super::mend;
use super::rejected::Refusal;
use crate::durable;

/// Bytes of a line. OpenSearch takes 100 MiB by default; an event of Plaso has about one KiB.
pub(super) const LONGEST: usize = 32 * 1024 * 1024;
/// Bytes that are kept of a line that is longer.
const BEGINNING: usize = 1024 * 1024;
/// Documents of a bulk.
const MOST: usize = 10_000;
/// Bytes of what stands before each document in a bulk.
const ACTION: usize = 60;
/// Lines of one timestamp that are told apart by what they hold; any more are told apart by where they stand.
const TWINS: usize = 256 * 1024;

/// What each document gets.
pub(super) struct Additions {
    /// Members, with a comma in front.
    members: Vec<u8>,
}

impl Additions {
    pub(super) fn new(timeline: Option<u64>, labels: &[(&str, String)]) -> Self {
        let mut members = Vec::new();
        let timeline = timeline.map(|number| ("__ts_timeline_id", number.into()));
        let labels = labels
            .iter()
            .map(|(name, value)| (*name, value.as_str().into()));
        for (name, value) in timeline.into_iter().chain(labels) {
            let value: serde_json::Value = value;
            let name = serde_json::Value::from(name);
            members.extend_from_slice(format!(",{name}:{value}").as_bytes());
        }
        Self { members }
    }

    /// Puts them before the end of an object.
    fn splice(&self, object: &[u8], out: &mut Vec<u8>) {
        let end = object.iter().rposition(|byte| *byte == b'}');
        let inner = object.get(..end.unwrap_or_default()).unwrap_or_default();
        let last = inner.iter().rev().find(|byte| !byte.is_ascii_whitespace());
        // Nothing stands before the first member of an empty object.
        let skipped = usize::from(last == Some(&b'{')).min(self.members.len());
        out.extend_from_slice(inner);
        out.extend_from_slice(self.members.get(skipped..).unwrap_or_default());
        out.push(b'}');
    }
}

/// What is seen of a line at a glance.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// Microseconds.
    pub(super) timestamp: Option<i64>,
    /// It has what OpenSearch refuses for sure, or what would pass for ours.
    pub(super) odd: bool,
}

/// Looks at a line.
///
/// # Errors
/// It is no JSON object.
pub(super) fn look(line: &[u8]) -> Result<Look, String> {
    let text = str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?;
    serde_json::from_str(text).map_err(|error| format!("it is no JSON object: {error}"))
}

impl<'de> Deserialize<'de> for Look {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Glance)
    }
}

struct Glance;

#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Plain<'a> {
    Number(i64),
    Text(#[serde(borrow)] Cow<'a, str>),
    Other(IgnoredAny),
}

impl<'de> Visitor<'de> for Glance {
    type Value = Look;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Look, A::Error> {
        let mut look = Look::default();
        while let Some(Name(name)) = map.next_key()? {
            match &*name {
                "timestamp" => match map.next_value()? {
                    Plain::Number(number) => look.timestamp = Some(number),
                    _ => look.odd = true,
                },
                "datetime" => match map.next_value()? {
                    Plain::Text(text) => look.odd |= !mend::is_usual_datetime(&text),
                    _ => look.odd = true,
                },
                other => {
                    look.odd |= mend::is_ours(other);
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(look)
    }
}

/// A document of a bulk.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) id: String,
    /// Where its line begins.
    pub(super) offset: u64,
    /// Where it stands in the text.
    place: Range<usize>,
    /// It was mended before it was put there.
    pub(super) early: bool,
    /// What stands in its place.
    mended: Option<Vec<u8>>,
}

/// Documents to be sent together, and what was refused on the way.
#[derive(Debug, Default)]
pub(super) struct Batch {
    text: Vec<u8>,
    pub(super) documents: Vec<Document>,
    pub(super) refused: Vec<Refusal>,
    /// Lines of the file.
    pub(super) lines: u64,
    /// Where the line behind the last begins.
    pub(super) end: u64,
}

impl Batch {
    /// The document as it is sent.
    pub(super) fn body(&self, document: usize) -> &[u8] {
        let Some(document) = self.documents.get(document) else {
            return b"";
        };
        let plain = || self.text.get(document.place.clone()).unwrap_or_default();
        document.mended.as_deref().unwrap_or_else(plain)
    }

    /// Puts another form of a document in its place.
    pub(super) fn mend(&mut self, document: usize, body: Vec<u8>) {
        if let Some(document) = self.documents.get_mut(document) {
            document.mended = Some(body);
        }
    }

    /// A document that was refused, as it was before anything was tried with it.
    pub(super) fn refusal(&self, document: usize, reason: String) -> Option<Refusal> {
        let document = self.documents.get(document)?;
        let line = self.text.get(document.place.clone())?;
        Some(Refusal {
            id: document.id.clone(),
            offset: document.offset,
            reason,
            line: line.get(..BEGINNING).unwrap_or(line).to_vec(),
        })
    }

    /// As many of these documents as have no more than so many bytes together, but at least one, as the text of a
    /// bulk, and how many they are.
    pub(super) fn bulk(&self, documents: &[usize], most: usize) -> (Vec<u8>, usize) {
        let mut text = Vec::new();
        for (count, number) in documents.iter().enumerate() {
            let body = self.body(*number);
            if count > 0 && text.len() + body.len() + ACTION > most {
                return (text, count);
            }
            let id = self.documents.get(*number).map_or("", |found| &found.id);
            text.extend_from_slice(b"{\"create\":{\"_id\":\"");
            text.extend_from_slice(id.as_bytes());
            text.extend_from_slice(b"\"}}\n");
            text.extend_from_slice(body);
            text.push(b'\n');
        }
        (text, documents.len())
    }

    fn is_full(&self, bytes: usize) -> bool {
        self.lines > 0
            && (self.text.len() + self.documents.len() * ACTION >= bytes
                || self.lines >= MOST as u64)
    }
}

/// The documents of a slice, from a position on.
pub(super) struct Documents {
    file: BufReader<File>,
    offset: u64,
    key: Sha256,
    twins: Twins,
    additions: Additions,
}

/// A line of the file without its end.
enum Line {
    Whole(Vec<u8>),
    /// The beginning of one that is too long.
    Long(Vec<u8>),
}

impl Line {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) | Self::Long(bytes) => bytes,
        }
    }
}

impl Documents {
    /// `index` and `slice` are part of each id.
    pub(super) fn open(
        file: File,
        from: u64,
        (index, slice): (&str, &str),
        additions: Additions,
    ) -> io::Result<Self> {
        let mut key = Sha256::new();
        for part in [index, slice] {
            key.update((part.len() as u64).to_le_bytes());
            key.update(part);
        }
        let mut this = Self {
            file: BufReader::with_capacity(256 * 1024, file),
            offset: 0,
            key,
            twins: Twins::default(),
            additions,
        };
        this.skip_to(from)?;
        Ok(this)
    }

    /// Learns which lines stand before the position at its timestamp.
    fn skip_to(&mut self, from: u64) -> io::Result<()> {
        if from == 0 {
            return Ok(());
        }
        let (mut latest, mut begin) = (None, from);
        while self.offset < from {
            let here = self.offset;
            let Some(line) = self.line()? else { break };
            let stamp = stamp_of(&line);
            if stamp > latest {
                (latest, begin) = (stamp, here);
            }
        }
        if self.offset != from {
            let problem = format!("no line begins at byte {from}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        self.file.seek(SeekFrom::Start(begin))?;
        self.offset = begin;
        while self.offset < from {
            let here = self.offset;
            let Some(line) = self.line()? else { break };
            self.id(&line, stamp_of(&line), here);
        }
        Ok(())
    }

    /// Documents of about so many bytes; nothing at the end.
    pub(super) fn batch(&mut self, bytes: usize) -> io::Result<Option<Batch>> {
        let mut batch = Batch::default();
        while !batch.is_full(bytes) {
            let offset = self.offset;
            let Some(line) = self.line()? else { break };
            batch.lines += 1;
            self.take(&mut batch, line, offset);
        }
        batch.end = self.offset;
        Ok((batch.lines > 0).then_some(batch))
    }

    fn take(&mut self, batch: &mut Batch, line: Line, offset: u64) {
        let looked = match &line {
            Line::Whole(bytes) => look(bytes),
            Line::Long(_) => Err(format!("it has more than {LONGEST} bytes")),
        };
        let stamp = looked.as_ref().ok().and_then(|look| look.timestamp);
        let id = self.id(&line, stamp, offset);
        let mended = match &looked {
            Ok(look) if look.odd => mend::before(line.bytes()),
            _ => None,
        };
        if let Err(reason) = looked {
            let mut line = line.bytes().to_vec();
            line.truncate(BEGINNING);
            batch.refused.push(Refusal {
                id,
                offset,
                reason,
                line,
            });
            return;
        }
        let begin = batch.text.len();
        let object = mended.as_deref().unwrap_or_else(|| line.bytes());
        self.additions.splice(object, &mut batch.text);
        batch.documents.push(Document {
            id,
            offset,
            place: begin..batch.text.len(),
            early: mended.is_some(),
            mended: None,
        });
    }

    /// What a document is called, by what it holds: whoever sends it again calls it the same.
    fn id(&mut self, line: &Line, stamp: Option<i64>, offset: u64) -> String {
        let content = Sha256::digest(line.bytes());
        let (number, place) = self.twins.number(stamp, &content, offset);
        let mut hash = self.key.clone();
        hash.update(content);
        hash.update(number.to_le_bytes());
        hash.update(place.to_le_bytes());
        let hash = hash.finalize();
        durable::hex(hash.get(..16).unwrap_or_default())
    }

    fn line(&mut self) -> io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        let most = LONGEST as u64 + 1;
        let read = (&mut self.file).take(most).read_until(b'\n', &mut bytes)?;
        self.offset += read as u64;
        if read == 0 {
            return Ok(None);
        }
        if bytes.pop_if(|last| *last == b'\n').is_some() || (read as u64) < most {
            return Ok(Some(Line::Whole(bytes)));
        }
        self.offset += self.file.skip_until(b'\n')? as u64;
        bytes.truncate(BEGINNING);
        Ok(Some(Line::Long(bytes)))
    }
}

fn stamp_of(line: &Line) -> Option<i64> {
    match line {
        Line::Whole(bytes) => look(bytes).ok()?.timestamp,
        Line::Long(_) => None,
    }
}

/// Which repetition of the same line a line is. Lines are ordered by time, so the same line is at the same
/// timestamp; psort does not leave out all of them when one timestamp has more events than it holds at once.
#[derive(Default)]
struct Twins {
    /// The latest timestamp.
    latest: Option<i64>,
    /// Lines of that.
    seen: HashMap<[u8; 16], u64>,
}

impl Twins {
    /// The number. A line that has no time, is out of order, or one of too many to remember is told apart by its
    /// place, too.
    fn number(&mut self, stamp: Option<i64>, content: &[u8], offset: u64) -> (u64, u64) {
        let by_place = (u64::MAX, offset);
        if stamp.is_none() || stamp < self.latest {
            return by_place;
        }
        if stamp > self.latest {
            self.latest = stamp;
            self.seen.clear();
        }
        let mut key = [0; 16];
        key.iter_mut()
            .zip(content)
            .for_each(|(to, from)| *to = *from);
        if self.seen.len() >= TWINS && !self.seen.contains_key(&key) {
            return by_place;
        }
        let number = self.seen.entry(key).or_default();
        *number += 1;
        (*number, 0)
    }
}
