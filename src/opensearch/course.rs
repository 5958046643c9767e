//! What was tried with the documents of a bulk, and what is left of it. Pure.

use std::collections::HashMap;

use super::batch::Batch;
use super::mend;
use super::rejected::Refusal;

/// How often a document may be in trouble, or lose a race, before that counts as a refusal.
const TROUBLES: u8 = 5;
/// Bytes of one document that a server may close the connection for.
const SUSPECT: usize = 1024 * 1024;
/// Forms of a document that are tried.
const FORMS: u8 = 5;

/// What became of a bulk.
pub(super) struct Settled {
    pub(super) end: u64,
    pub(super) documents: u64,
    pub(super) mended: u64,
    pub(super) refused: Vec<Refusal>,
}

/// Where the documents of a bulk are.
pub(super) struct Course {
    batch: Batch,
    /// Those that are neither there nor refused.
    pub(super) left: Vec<usize>,
    refused: Vec<Refusal>,
    /// What was tried with a document that made trouble.
    tried: HashMap<usize, Tried>,
    /// Documents at once: fewer, to find the one that spoils all.
    most: usize,
}

#[derive(Default)]
struct Tried {
    times: u8,
    forms: u8,
    refused: bool,
}

impl Course {
    pub(super) fn new(batch: Batch) -> Self {
        Self {
            left: (0..batch.documents.len()).collect(),
            batch,
            refused: Vec::new(),
            tried: HashMap::new(),
            most: usize::MAX,
        }
    }

    /// What is sent next, and how many documents that are.
    pub(super) fn next(&self, bytes: usize) -> (Vec<u8>, usize) {
        let most = self.most.min(self.left.len());
        self.batch
            .bulk(self.left.get(..most).unwrap_or_default(), bytes)
    }

    pub(super) fn went_well(&mut self) {
        self.most = self.most.saturating_mul(2);
    }

    /// Whether a document may be sent once more as it is.
    pub(super) fn tries(&mut self, number: usize) -> bool {
        let tried = self.tried.entry(number).or_default();
        tried.times += 1;
        tried.times < TROUBLES
    }

    /// Gives a document another form, or refuses it; true: it is to be sent again.
    pub(super) fn mend(&mut self, number: usize, reason: &str) -> bool {
        let tried = self.tried.entry(number).or_default();
        if tried.forms < FORMS
            && let Some(body) = mend::after(self.batch.body(number), reason, tried.forms)
        {
            tried.forms += 1;
            self.batch.mend(number, body);
            return true;
        }
        self.refuse(number, reason.to_owned());
        false
    }

    pub(super) fn refuse(&mut self, number: usize, reason: String) {
        self.tried.entry(number).or_default().refused = true;
        self.refused.extend(self.batch.refusal(number, reason));
    }

    fn refuse_first(&mut self, reason: String) {
        if !self.left.is_empty() {
            let first = self.left.remove(0);
            self.refuse(first, reason);
        }
    }

    /// The first `count` are too much for one request.
    pub(super) fn too_large(&mut self, count: usize, bytes: usize) {
        if count > 1 {
            self.most = count / 2;
        } else {
            self.refuse_first(format!("it has {bytes} bytes, which is too much there"));
        }
    }

    /// One of the first `count` spoils the bulk for all.
    pub(super) fn unreadable(&mut self, count: usize, reason: &str) {
        if count > 1 {
            self.most = count / 2;
        } else if let Some(first) = self.left.first().copied()
            && !self.mend(first, reason)
        {
            self.left.remove(0);
        }
    }

    pub(super) fn broken(&mut self, count: usize, bytes: usize) {
        self.most = (count / 2).max(1);
        let first = self.left.first().copied();
        if let Some(first) = first.filter(|_| count == 1 && bytes > SUSPECT)
            && !self.tries(first)
        {
            self.refuse_first(format!(
                "OpenSearch closes the connection on its {bytes} bytes"
            ));
        }
    }

    pub(super) fn settled(mut self) -> Settled {
        let early = self.batch.documents.iter().map(|document| document.early);
        let mended = early.enumerate().filter(|(number, early)| {
            let tried = self.tried.get(number);
            let refused = tried.is_some_and(|tried| tried.refused);
            !refused && (*early || tried.is_some_and(|tried| tried.forms > 0))
        });
        let mended = mended.count() as u64;
        self.refused.append(&mut self.batch.refused);
        self.refused.sort_by_key(|refusal| refusal.offset);
        Settled {
            end: self.batch.end,
            documents: self.batch.lines,
            mended,
            refused: self.refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::Additions;
    use super::*;

    fn course(documents: u64) -> Course {
        let mut batch = Batch::default();
        (batch.lines, batch.end) = (documents, 10 * documents);
        let additions = Additions::new(None, &[]);
        for number in 0..documents {
            let object = format!(r#"{{"n":{number}}}"#);
            batch.add(
                (number.to_string(), 10 * number),
                object.as_bytes(),
                &additions,
                number == 1,
            );
        }
        Course::new(batch)
    }

    #[test]
    fn the_one_that_spoils_a_bulk_is_found_by_halves() {
        let mut course = course(100);
        let mut requests = 0;
        while !course.left.is_empty() {
            let (_, count) = course.next(usize::MAX);
            requests += 1;
            if course.left[..count].contains(&70) {
                course.unreadable(count, "no");
            } else {
                course.left.drain(..count);
                course.went_well();
            }
        }
        assert!(requests < 40, "{requests}");
        let settled = course.settled();
        let refused: Vec<&str> = settled.refused.iter().map(|refusal| &*refusal.id).collect();
        assert_eq!(
            (refused, settled.documents, settled.end),
            (vec!["70"], 100, 1000)
        );
    }

    #[test]
    fn what_is_too_large_is_halved_and_one_that_is_too_large_is_named() {
        let mut course = course(8);
        let mut counts = Vec::new();
        for _ in 0..4 {
            let (text, count) = course.next(usize::MAX);
            counts.push(count);
            course.too_large(count, text.len());
        }
        assert_eq!(counts, [8, 4, 2, 1]);
        assert_eq!(course.left, [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(course.settled().refused[0].id, "0");
    }

    #[test]
    fn a_document_is_mended_until_there_is_no_way_and_kept_as_it_was() {
        let mut course = course(3);
        assert!(course.mend(0, "field [n]"), "moved");
        assert!(!course.mend(0, "field [n]"), "nothing is left to move");
        assert!(course.mend(2, "field [n]"));
        let settled = course.settled();
        assert_eq!(settled.refused.len(), 1);
        assert_eq!(settled.refused[0].line, br#"{"n":0}"#);
        // One before it was sent, one after it was refused.
        assert_eq!(settled.mended, 2);
    }

    #[test]
    fn trouble_with_a_document_has_an_end() {
        let mut course = course(1);
        let tries = (0..100).take_while(|_| course.tries(0)).count();
        assert_eq!(tries, usize::from(TROUBLES) - 1);
        // A broken connection is held against one large document only.
        for _ in 0..100 {
            course.broken(1, 100);
        }
        assert_eq!(course.left, [0]);
        course.broken(1, SUSPECT + 1);
        assert!(course.left.is_empty());
    }
}
