//! An export from beginning to end.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::document::{Document, Moment};
use super::formatter::Formatters;
use super::group::Group;
use super::order::{Key, Sorted, Sorter};
use super::source::Source;
use super::store::{Store, StoreError, odd, row_number};
use super::time;
use super::words::Words;
use super::write::Counts;
use crate::plaso::summary::ExportReceipt;

/// Bytes that are written at once.
const CHUNK: usize = 256 * 1024;

/// Why a storage file cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The storage file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file beside the output that takes what does not fit into memory.
    #[error("sort the events by time")]
    Sort(#[source] io::Error),
    /// The output.
    #[error("write the documents")]
    Output(#[source] io::Error),
    /// An event that only Plaso's own code can write.
    #[error("have Plaso write event {row}")]
    Plaso {
        /// The row of the event.
        row: i64,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Events got lost on the way: a mistake of ours.
    #[error(
        "export all events: {documents} documents and {duplicates} duplicates came of {events} events"
    )]
    Count {
        /// Documents written.
        documents: u64,
        /// Events left out.
        duplicates: u64,
        /// Events in the storage file.
        events: u64,
    },
}

/// Plaso's own code, for what ours does not know.
pub trait Fallback {
    /// Appends the document of the event in this row of the table `event`, one line without its end.
    ///
    /// # Errors
    /// Plaso's code cannot be had, or cannot write it either.
    fn document(
        &mut self,
        row: i64,
        out: &mut Vec<u8>,
    ) -> Result<Counts, Box<dyn std::error::Error + Send + Sync>>;
}

/// Writes the documents of all events of a storage file to `output`, one a line, in psort's order and without the
/// doubles that psort leaves out. `scratch` is a folder for an unnamed file of 29 bytes an event; memory does not grow
/// with the number of events.
///
/// # Errors
/// The storage file is not Plaso's or damaged, the output cannot be written, or `rows` fails.
pub fn run(
    store: &Path,
    formatters: &Formatters,
    scratch: &Path,
    output: &mut impl Write,
    rows: &mut dyn Fallback,
) -> Result<ExportReceipt, ExportError> {
    let store = Store::open(store)?;
    let (mut sorted, descriptions, events) = sorted(&store, scratch)?;
    let mut export = Export {
        source: Source::new(&store, formatters)?,
        descriptions,
        rows,
        output,
        buffer: Vec::with_capacity(CHUNK * 2),
        datetime: Vec::new(),
        receipt: ExportReceipt {
            events,
            ..ExportReceipt::default()
        },
    };
    let mut group = Group::new();
    while let Some(key) = sorted.next().map_err(ExportError::Sort)? {
        if group.is_complete_before(&key) {
            export.flush(&mut group)?;
        }
        group.push(key);
    }
    export.flush(&mut group)?;
    export.finish()
}

/// All events by time, and the descriptions of their times.
fn sorted(store: &Store, scratch: &Path) -> Result<(Sorted, Words, u64), ExportError> {
    let mut sorter = Sorter::new(|| unnamed(scratch));
    let mut descriptions = Words::default();
    let mut events = 0;
    let mut held: Option<Key> = None;
    let columns = "_identifier, _event_data_identifier, timestamp, timestamp_desc";
    store.rows("event", columns, |row| {
        let mut key = event(row, &mut descriptions)?;
        if let Some(mut before) = held.take() {
            if before.data == key.data {
                (before.shared, key.shared) = (true, true);
            }
            sorter.push(before).map_err(ExportError::Sort)?;
        }
        held = Some(key);
        events += 1;
        Ok::<_, ExportError>(())
    })?;
    if let Some(last) = held {
        sorter.push(last).map_err(ExportError::Sort)?;
    }
    let sorted = sorter.finish().map_err(ExportError::Sort)?;
    Ok((sorted, descriptions, events))
}

fn event(row: &rusqlite::Row<'_>, descriptions: &mut Words) -> Result<Key, StoreError> {
    let number = row.get(0)?;
    let odd = |reason| odd("event", number, reason);
    let data = row.get_ref(1)?.as_str().ok().and_then(row_number);
    let description = row
        .get_ref(3)?
        .as_str_or_null()
        .map_err(|_error| odd("has a description that is not text"))?;
    Ok(Key {
        timestamp: row
            .get_ref(2)?
            .as_i64()
            .map_err(|_error| odd("has no time"))?,
        row: number,
        data: data.ok_or_else(|| odd("names no data"))?,
        description: descriptions
            .number(description)
            .ok_or_else(|| odd("has a description more than there are"))?,
        shared: false,
    })
}

/// A file without a name in a folder.
fn unnamed(folder: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_TMPFILE)
        .open(folder)
}

struct Export<'a, W> {
    source: Source<'a>,
    descriptions: Words,
    rows: &'a mut dyn Fallback,
    output: &'a mut W,
    buffer: Vec<u8>,
    datetime: Vec<u8>,
    receipt: ExportReceipt,
}

impl<W: Write> Export<'_, W> {
    /// Writes the events of a group, but for doubles.
    fn flush(&mut self, group: &mut Group) -> Result<(), ExportError> {
        let Some(timestamp) = group.timestamp() else {
            return Ok(());
        };
        self.datetime.clear();
        time::write(timestamp, &mut self.datetime);
        if let Some(key) = group.only() {
            return self.write(key);
        }
        let (source, descriptions) = (&mut self.source, &self.descriptions);
        let arranged = group.arrange(|key| {
            let data = source.data(key, true)?;
            Ok::<_, StoreError>((data.hash.clone(), descriptions.text(key.description)))
        })?;
        for event in arranged {
            match event {
                Some(key) => self.write(key)?,
                None => self.receipt.duplicates += 1,
            }
        }
        Ok(())
    }

    fn write(&mut self, key: Key) -> Result<(), ExportError> {
        let data = self.source.data(key, false)?;
        let counts = match &data.document {
            Some(document) => self.fill(key, document)?,
            None => {
                self.receipt.by_plaso += 1;
                let row = key.row;
                self.rows
                    .document(row, &mut self.buffer)
                    .map_err(|source| ExportError::Plaso { row, source })?
            }
        };
        self.source.done(data);
        self.buffer.push(b'\n');
        self.receipt.documents += 1;
        self.receipt.escaped_surrogates += u64::from(counts.surrogates);
        self.receipt.replaced_numbers += counts.numbers;
        if self.receipt.first.is_none() {
            self.receipt.first = Some(self.datetime());
        }
        if self.buffer.len() >= CHUNK {
            self.put()?;
        }
        Ok(())
    }

    fn fill(&mut self, key: Key, document: &Document) -> Result<Counts, ExportError> {
        let tag = self.source.tag(key.row)?;
        let (tag, tag_counts) = tag
            .as_ref()
            .map_or((b"[]".as_slice(), Counts::default()), |tag| {
                (tag.json.as_slice(), tag.counts)
            });
        let moment = Moment {
            timestamp: key.timestamp,
            datetime: &self.datetime,
            description: self.descriptions.json(key.description),
            tag,
        };
        let mut counts = document.write(&moment, &mut self.buffer);
        counts.surrogates |= tag_counts.surrogates;
        counts.numbers += tag_counts.numbers;
        Ok(counts)
    }

    fn datetime(&self) -> String {
        String::from_utf8_lossy(&self.datetime).into_owned()
    }

    fn put(&mut self) -> Result<(), ExportError> {
        self.output
            .write_all(&self.buffer)
            .map_err(ExportError::Output)?;
        self.buffer.clear();
        self.buffer.shrink_to(CHUNK * 2);
        Ok(())
    }

    fn finish(mut self) -> Result<ExportReceipt, ExportError> {
        self.put()?;
        self.output.flush().map_err(ExportError::Output)?;
        self.receipt.last = self.receipt.first.as_ref().map(|_| self.datetime());
        let ExportReceipt {
            documents,
            duplicates,
            events,
            ..
        } = self.receipt;
        if documents + duplicates != events {
            return Err(ExportError::Count {
                documents,
                duplicates,
                events,
            });
        }
        Ok(self.receipt)
    }
}

#[cfg(test)]
mod tests;
