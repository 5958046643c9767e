//! Joining the slices' documents into one timeline, in the cage.
//!
//! Each slice's documents are ordered by time; the merge keeps one line of each in memory. Slices hold
//! disjoint files and psort has dropped the doubles within each, so nothing is dropped here.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What was joined.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct MergeReceipt {
    /// Documents written.
    pub documents: u64,
    /// Documents taken from each file, in the order given.
    pub by_file: Vec<u64>,
    /// Date and time of the first document.
    pub first: Option<String>,
    /// Date and time of the last document.
    pub last: Option<String>,
}

/// Why the documents cannot be joined.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// Reading or writing.
    #[error("{operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A line that is no document.
    #[error("understand line {line} of {}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
    /// A slice that is not ordered by time.
    #[error("join {}: line {line} is earlier than the one before", path.display())]
    Order {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
    },
}

#[derive(Deserialize)]
struct Stamp {
    timestamp: i64,
    #[serde(default)]
    datetime: Option<String>,
}

struct Stream {
    path: PathBuf,
    reader: BufReader<File>,
    line: Vec<u8>,
    number: u64,
    stamp: Option<Stamp>,
}

impl Stream {
    fn open(path: &Path) -> Result<Self, MergeError> {
        let file = File::open(path).map_err(failed("open", path))?;
        let reader = BufReader::with_capacity(256 * 1024, file);
        Ok(Self {
            path: path.to_path_buf(),
            reader,
            line: Vec::new(),
            number: 0,
            stamp: None,
        })
    }

    /// Reads the next document; its time, or none at the end.
    fn advance(&mut self) -> Result<Option<i64>, MergeError> {
        self.line.clear();
        let count = self
            .reader
            .read_until(b'\n', &mut self.line)
            .map_err(failed("read", &self.path))?;
        if count == 0 {
            return Ok(None);
        }
        self.number += 1;
        let stamp: Stamp =
            serde_json::from_slice(&self.line).map_err(|source| MergeError::Line {
                path: self.path.clone(),
                line: self.number,
                source,
            })?;
        if self
            .stamp
            .as_ref()
            .is_some_and(|before| before.timestamp > stamp.timestamp)
        {
            return Err(MergeError::Order {
                path: self.path.clone(),
                line: self.number,
            });
        }
        let time = stamp.timestamp;
        self.stamp = Some(stamp);
        Ok(Some(time))
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MergeError {
    let path = path.to_path_buf();
    move |source| MergeError::Io {
        operation,
        path,
        source,
    }
}

/// Joins `inputs` into `output`; equal times keep the order of the inputs.
///
/// # Errors
/// A file cannot be read or written, a line is no document, or a slice is out of order.
pub fn run(inputs: &[PathBuf], output: &Path) -> Result<MergeReceipt, MergeError> {
    let mut streams: Vec<Stream> = inputs
        .iter()
        .map(|path| Stream::open(path))
        .collect::<Result<_, _>>()?;
    let mut next = BinaryHeap::new();
    for (index, stream) in streams.iter_mut().enumerate() {
        if let Some(time) = stream.advance()? {
            next.push(Reverse((time, index)));
        }
    }
    let file = File::create(output).map_err(failed("create", output))?;
    let mut out = BufWriter::with_capacity(256 * 1024, file);
    let mut receipt = MergeReceipt {
        by_file: vec![0; inputs.len()],
        ..MergeReceipt::default()
    };
    while let Some(Reverse((_, index))) = next.pop() {
        let stream = &mut streams[index];
        out.write_all(&stream.line)
            .map_err(failed("write", output))?;
        receipt.documents += 1;
        receipt.by_file[index] += 1;
        let datetime = stream
            .stamp
            .as_mut()
            .and_then(|stamp| stamp.datetime.take());
        if receipt.first.is_none() {
            receipt.first.clone_from(&datetime);
        }
        receipt.last = datetime.or(receipt.last);
        if let Some(time) = stream.advance()? {
            next.push(Reverse((time, index)));
        }
    }
    let file = out
        .into_inner()
        .map_err(|error| failed("write", output)(error.into_error()))?;
    file.sync_all().map_err(failed("flush", output))?;
    Ok(receipt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, name: &str, times: &[i64]) -> PathBuf {
        let path = folder.join(name);
        let text: String = times
            .iter()
            .map(|time| format!("{{\"message\":\"\\ud800 {name}\",\"datetime\":\"d{time}\",\"timestamp\":{time}}}\n"))
            .collect();
        crate::durable::write(&path, text.as_bytes()).unwrap();
        path
    }

    #[test]
    fn documents_are_joined_by_time_and_none_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let inputs = [
            file(folder.path(), "a", &[-5, 1, 1, 9]),
            file(folder.path(), "b", &[]),
            file(folder.path(), "c", &[1, 2, 30]),
        ];
        let output = folder.path().join("timeline");
        let receipt = run(&inputs, &output).unwrap();
        assert_eq!((receipt.documents, receipt.by_file), (7, vec![4, 0, 3]));
        assert_eq!(
            (receipt.first.as_deref(), receipt.last.as_deref()),
            (Some("d-5"), Some("d30"))
        );
        let times: Vec<i64> = std::fs::read_to_string(output)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<Stamp>(line).unwrap().timestamp)
            .collect();
        assert_eq!(times, [-5, 1, 1, 1, 2, 9, 30]);
    }

    #[test]
    fn a_broken_line_and_a_broken_order_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("timeline");
        let disorder = file(folder.path(), "a", &[5, 4]);
        assert!(matches!(
            run(&[disorder], &output),
            Err(MergeError::Order { line: 2, .. })
        ));
        let cut = folder.path().join("cut");
        crate::durable::write(&cut, b"{\"timestamp\":1}\n{\"timest").unwrap();
        assert!(matches!(
            run(&[cut], &output),
            Err(MergeError::Line { line: 2, .. })
        ));
    }
}
