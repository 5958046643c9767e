//! Documents of a slice, line by line, as the text of bulks.
//!
//! A line came out of the cage: it is looked at before it is put between others, and one that is no JSON object, or
//! has more bytes than any event, is refused here.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use sha2::{Digest, Sha256};

use super::batch::{Additions, BEGINNING, Batch};
use super::look::look;
use super::mend;
use super::rejected::Refusal;
use crate::durable;

/// Bytes of a line. OpenSearch takes 100 MiB by default; an event of Plaso has about one KiB.
pub(super) const LONGEST: usize = 32 * 1024 * 1024;
/// Lines of one timestamp that are told apart by what they hold; any more are told apart by where they stand.
const TWINS: usize = 256 * 1024;

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
        let object = mended.as_deref().unwrap_or_else(|| line.bytes());
        batch.add((id, offset), object, &self.additions, mended.is_some());
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;
    use tempfile::TempDir;

    fn open(path: &std::path::Path, from: u64) -> io::Result<Documents> {
        let additions = Additions::new(Some(7), &[("evidence_slice", "s\"1".to_owned())]);
        Documents::open(
            File::open(path).unwrap(),
            from,
            ("index", "slice"),
            additions,
        )
    }

    /// Ids of documents and refusals, and where bulks end.
    fn read(path: &std::path::Path, from: u64, bytes: usize) -> (Vec<(u64, String)>, Vec<u64>) {
        let mut documents = open(path, from).unwrap();
        let (mut ids, mut ends) = (Vec::new(), Vec::new());
        while let Some(batch) = documents.batch(bytes).unwrap() {
            let sent = batch
                .documents
                .iter()
                .map(|document| (document.offset, document.id.clone()));
            ids.extend(sent);
            ids.extend(
                batch
                    .refused
                    .iter()
                    .map(|refusal| (refusal.offset, refusal.id.clone())),
            );
            ends.push(batch.end);
        }
        ids.sort();
        (ids, ends)
    }

    #[test]
    fn a_line_of_any_length_is_read_and_only_its_beginning_is_kept() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("documents");
        let mut text = vec![b'x'; LONGEST + 300];
        text.extend_from_slice(b"\n{\"a\":1}\n{\"b\":2}");
        durable::write(&path, &text).unwrap();
        let mut documents = open(&path, 0).unwrap();
        let batch = documents.batch(usize::MAX).unwrap().unwrap();
        assert_eq!((batch.lines, batch.end), (3, text.len() as u64));
        assert_eq!(batch.refused[0].line.len(), BEGINNING);
        assert_eq!(
            batch.body(1),
            br#"{"b":2,"__ts_timeline_id":7,"evidence_slice":"s\"1"}"#
        );
        assert!(documents.batch(1).unwrap().is_none());
        // A position within a line is none.
        assert!(open(&path, 17).is_err());
        assert!(open(&path, text.len() as u64 + 1).is_err());
    }

    #[test]
    fn a_bulk_has_no_more_bytes_than_may_be_but_one_document() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("documents");
        durable::write(&path, &b"{\"a\":\"0123456789\"}\n".repeat(10)).unwrap();
        let batch = open(&path, 0).unwrap().batch(usize::MAX).unwrap().unwrap();
        let all: Vec<usize> = (0..10).collect();
        let (one, count) = batch.bulk(&all, 1);
        assert_eq!(count, 1);
        assert_eq!(batch.bulk(&all, usize::MAX).1, 10);
        for most in [one.len(), 2 * one.len() + 20, 5 * one.len()] {
            let (text, count) = batch.bulk(&all, most);
            assert!(text.len() <= most && text.len() == count * one.len());
        }
        let lines: Vec<&[u8]> = one.split(|byte| *byte == b'\n').collect();
        let action: Value = serde_json::from_slice(lines[0]).unwrap();
        assert_eq!(action["create"]["_id"], batch.documents[0].id.as_str());
        assert_eq!((lines[1], lines.len()), (batch.body(0), 3));
    }

    #[test]
    fn of_more_equal_moments_than_are_remembered_each_line_has_its_id() {
        let mut twins = Twins::default();
        let mut seen = std::collections::HashSet::new();
        for number in 0..TWINS as u64 + 10 {
            let content = number.to_le_bytes();
            assert!(seen.insert((content, twins.number(Some(1), &content, number))));
        }
        assert!(twins.seen.len() <= TWINS);
        let late = TWINS as u64 + 5;
        assert_eq!(
            twins.number(Some(1), &late.to_le_bytes(), 99),
            (u64::MAX, 99)
        );
        assert_eq!(twins.number(Some(2), &late.to_le_bytes(), 100), (1, 0));
    }

    /// Lines in and out of order, alike and not, documents and not.
    fn lines() -> impl Strategy<Value = Vec<String>> {
        let line = prop_oneof![
            (0_i64..4, 0_u8..3)
                .prop_map(|(stamp, other)| format!(r#"{{"timestamp":{stamp},"x":{other}}}"#)),
            Just(r#"{"x":1}"#.to_owned()),
            Just("no document".to_owned()),
            Just(String::new()),
        ];
        (prop::collection::vec(line, 0..40), any::<bool>()).prop_map(|(mut lines, order)| {
            if order {
                lines.sort();
            }
            lines
        })
    }

    proptest! {
        #[test]
        fn ids_differ_and_are_the_same_from_any_position(lines in lines(), bytes in 1_usize..400) {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("documents");
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            durable::write(&path, text.as_bytes()).unwrap();
            let (all, ends) = read(&path, 0, bytes);
            prop_assert_eq!(all.len(), lines.len());
            let ids: std::collections::HashSet<&String> = all.iter().map(|(_, id)| id).collect();
            prop_assert_eq!(ids.len(), all.len());
            for end in ends {
                let (rest, _) = read(&path, end, bytes * 2);
                let expected: Vec<_> = all.iter().filter(|(offset, _)| *offset >= end).cloned().collect();
                prop_assert_eq!(rest, expected);
            }
        }
    }
}
