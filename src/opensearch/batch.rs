//! Documents that are sent together, as the text of a bulk. Pure.

use std::ops::Range;

use super::rejected::Refusal;

/// Bytes that are kept of a document that is refused.
pub(super) const BEGINNING: usize = 1024 * 1024;
/// Documents of a bulk.
const MOST: usize = 10_000;
/// Bytes of what stands before each document in a bulk.
const ACTION: usize = 60;

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
    /// Adds a document with its id and where its line begins. `early`: it is other than its line.
    pub(super) fn add(
        &mut self,
        (id, offset): (String, u64),
        object: &[u8],
        additions: &Additions,
        early: bool,
    ) {
        let begin = self.text.len();
        additions.splice(object, &mut self.text);
        self.documents.push(Document {
            id,
            offset,
            place: begin..self.text.len(),
            early,
            mended: None,
        });
    }

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

    /// Whether it has about so many bytes.
    pub(super) fn is_full(&self, bytes: usize) -> bool {
        self.lines > 0
            && (self.text.len() + self.documents.len() * ACTION >= bytes
                || self.lines >= MOST as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spliced(object: &str, additions: &Additions) -> String {
        let mut out = Vec::new();
        additions.splice(object.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn additions_stand_at_the_end_of_an_object() {
        let additions = Additions::new(Some(7), &[("evidence_host", "a\"}\u{1}".to_owned())]);
        let ours = r#""__ts_timeline_id":7,"evidence_host":"a\"}\u0001""#;
        assert_eq!(spliced("{}", &additions), format!("{{{ours}}}"));
        assert_eq!(spliced(" { } ", &additions), format!(" {{ {ours}}}"));
        assert_eq!(
            spliced(r#"{"a":{}} "#, &additions),
            format!("{{\"a\":{{}},{ours}}}")
        );
        let none = Additions::new(None, &[]);
        assert_eq!(spliced(r#"{"a":1}"#, &none), r#"{"a":1}"#);
        assert_eq!(spliced("{}", &none), "{}");
    }
}
