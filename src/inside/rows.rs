//! One long-lived Python with Plaso's own code, for the events whose documents ours does not know how to make.
//!
//! It is started with the first such event, and asked by lines: `packaging/usr/lib/dfagent/export_documents.py
//! --rows`. What it answers comes from the storage file, so lengths are capped.

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use crate::export::run::Fallback;
use crate::export::write::Counts;
use crate::printable;

/// The longest answer.
const MOST_ANSWER: u64 = 512 * 1024 * 1024;

/// What is kept of what it says.
const MOST_WORDS: usize = 8 * 1024;

/// Why Plaso's code gives no document.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// No Python.
    #[error("start {}", program.display())]
    Start {
        /// The Python.
        program: OsString,
        /// Why not.
        source: io::Error,
    },
    /// It ended, and this is what it said.
    #[error("{said}")]
    Ended {
        /// Its last line.
        said: String,
    },
    /// It wrote something else.
    #[error("understand the answer of Plaso's exporter")]
    Answer,
}

/// Plaso's code, started when it is first needed.
#[derive(Debug)]
pub struct Rows {
    command: Vec<OsString>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    words: Option<JoinHandle<Vec<u8>>>,
    line: Vec<u8>,
}

impl Rows {
    /// `command` is a Python with Plaso, the script, and its arguments.
    #[must_use]
    pub const fn new(command: Vec<OsString>) -> Self {
        Self {
            command,
            running: None,
        }
    }

    fn running(&mut self) -> Result<&mut Running, RowsError> {
        match &mut self.running {
            Some(running) => Ok(running),
            empty => Ok(empty.insert(Running::start(&self.command)?)),
        }
    }
}

impl Fallback for Rows {
    fn document(
        &mut self,
        row: i64,
        out: &mut Vec<u8>,
    ) -> Result<Counts, Box<dyn Error + Send + Sync>> {
        Ok(self.running()?.ask(row, out)?)
    }
}

impl Running {
    fn start(command: &[OsString]) -> Result<Self, RowsError> {
        let (program, arguments) = command.split_first().ok_or(RowsError::Answer)?;
        let failed = |source| RowsError::Start {
            program: program.clone(),
            source,
        };
        let mut child = Command::new(program)
            .args(arguments)
            // The order of names in a path specification follows from this.
            .env("PYTHONHASHSEED", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (questions, errors) = (child.stdin.take(), child.stderr.take());
        let Some(answers) = child.stdout.take() else {
            return Err(failed(io::ErrorKind::BrokenPipe.into()));
        };
        Ok(Self {
            child,
            questions,
            answers: BufReader::with_capacity(64 * 1024, answers),
            // Read all the time, lest it waits for somebody to read.
            words: errors.map(|errors| std::thread::spawn(move || last_words(errors))),
            line: Vec::new(),
        })
    }

    fn ask(&mut self, row: i64, out: &mut Vec<u8>) -> Result<Counts, RowsError> {
        let asked = match &mut self.questions {
            Some(questions) => questions.write_all(format!("{row}\n").as_bytes()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        self.line.clear();
        let mut answer = (&mut self.answers).take(MOST_ANSWER);
        let read = asked.and_then(|()| answer.read_until(b'\n', &mut self.line));
        if read.is_err() || self.line.pop() != Some(b'\n') {
            return Err(self.end());
        }
        let (counts, document) = parts(&self.line).ok_or(RowsError::Answer)?;
        out.extend_from_slice(document);
        Ok(counts)
    }

    /// What it said before it ended; it is made to end.
    fn end(&mut self) -> RowsError {
        self.questions = None;
        let said = self.words.take().and_then(|words| words.join().ok());
        let said = String::from_utf8_lossy(&said.unwrap_or_default()).into_owned();
        RowsError::Ended {
            said: printable::last_line(&said, 400),
        }
    }
}

impl Drop for Running {
    /// Without questions it ends by itself.
    fn drop(&mut self) {
        self.questions = None;
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.child.kill().unwrap_or_default();
            drop(self.child.wait());
        }
    }
}

/// The end of what it says until it ends.
fn last_words(mut errors: ChildStderr) -> Vec<u8> {
    let (mut words, mut part) = (Vec::new(), [0; 1024]);
    while let Ok(read @ 1..) = errors.read(&mut part) {
        words.extend_from_slice(part.get(..read).unwrap_or_default());
        let surplus = words.len().saturating_sub(MOST_WORDS);
        words.drain(..surplus);
    }
    words
}

/// `1 0 {…}`.
fn parts(line: &[u8]) -> Option<(Counts, &[u8])> {
    let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse::<u64>().ok();
    let mut parts = line.splitn(3, |byte| *byte == b' ');
    let counts = Counts {
        surrogates: number(parts.next()?)? != 0,
        numbers: number(parts.next()?)?,
    };
    let document = parts.next()?;
    (document.first() == Some(&b'{') && document.last() == Some(&b'}'))
        .then_some((counts, document))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Rows {
        Rows::new(["sh", "-c", script].map(OsString::from).to_vec())
    }

    #[test]
    fn a_document_comes_with_what_was_changed_in_it() {
        let mut rows = shell("while read row; do echo \"1 2 {\\\"row\\\": $row}\"; done");
        let mut out = Vec::new();
        for row in [7, 9] {
            let counts = rows.document(row, &mut out).unwrap();
            let expected = Counts {
                surrogates: true,
                numbers: 2,
            };
            assert_eq!(counts, expected);
        }
        assert_eq!(out, b"{\"row\": 7}{\"row\": 9}");
    }

    #[test]
    fn without_plaso_the_reason_is_told() {
        let mut rows = Rows::new(vec!["/nowhere/python".into()]);
        let error = rows.document(1, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "start /nowhere/python");
        let mut rows = shell("read row; echo noise >&2; echo 'export_documents: it is no use' >&2");
        let error = rows.document(1, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "export_documents: it is no use");
        let mut rows = shell("read row; echo '0 0 gibberish'");
        let error = rows.document(1, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().starts_with("understand"), "{error}");
    }
}
