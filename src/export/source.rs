//! Rows of a storage file made ready for documents, some of them kept.

use std::rc::Rc;

use super::document::{Prepared, Scratch};
use super::formatter::Formatters;
use super::kept::Kept;
use super::order::Key;
use super::read;
use super::store::{Finder, Store, StoreError, Unpacker, odd, row_number};
use super::stream::{self, Stream};
use super::value::Value;
use super::write::{self, Counts};

/// Memory for event data that other events share, and for streams.
const KEPT_DATA: usize = 24 * 1024 * 1024;
const KEPT_STREAMS: usize = 4 * 1024 * 1024;

const DATA: &str = "event_data";
const TAG: &str = "event_tag";

/// Finds and prepares what belongs to an event.
#[derive(Debug)]
pub(super) struct Source<'a> {
    formatters: &'a Formatters,
    data: Option<Finder<'a>>,
    unpacker: Unpacker,
    streams: Option<Finder<'a>>,
    tags: Option<Finder<'a>>,
    /// Rows of events and of their tags, in order.
    tagged: Vec<(i64, i64)>,
    scratch: Scratch,
    kept: Kept<Prepared>,
    kept_streams: Kept<Stream>,
}

/// The labels of an event, as JSON.
#[derive(Debug)]
pub(super) struct Tag {
    pub(super) json: Vec<u8>,
    pub(super) counts: Counts,
}

impl<'a> Source<'a> {
    pub(super) fn new(store: &'a Store, formatters: &'a Formatters) -> Result<Self, StoreError> {
        Ok(Self {
            formatters,
            data: store.finder(DATA, "_data")?,
            unpacker: store.unpacker(),
            streams: store.finder(stream::TABLE, stream::COLUMNS)?,
            tags: store.finder(TAG, "labels")?,
            tagged: tagged(store)?,
            scratch: Scratch::default(),
            kept: Kept::new(KEPT_DATA),
            kept_streams: Kept::new(KEPT_STREAMS),
        })
    }

    /// The data of an event, which is asked for again if `again`, or if other events have the same.
    pub(super) fn data(&mut self, key: Key, again: bool) -> Result<Rc<Prepared>, StoreError> {
        let keep = again || key.shared;
        let kept = if keep {
            self.kept.get(key.data)
        } else {
            self.kept.take(key.data)
        };
        if let Some(prepared) = kept {
            return Ok(prepared);
        }
        let mut prepared = self.prepare(key)?;
        if keep {
            prepared.shrink(&mut self.scratch);
        }
        let (size, prepared) = (prepared.size(), Rc::new(prepared));
        if keep {
            self.kept.put(key.data, &prepared, size);
        }
        Ok(prepared)
    }

    /// Takes back what was asked for, to use its memory again if nobody else has it.
    pub(super) fn done(&mut self, prepared: Rc<Prepared>) {
        if let Ok(prepared) = Rc::try_unwrap(prepared) {
            prepared.dissolve(&mut self.scratch);
        }
    }

    fn prepare(&mut self, key: Key) -> Result<Prepared, StoreError> {
        let missing = || odd("event", key.row, "names data that is not there");
        let finder = self.data.as_mut().ok_or_else(missing)?;
        let unpacker = &mut self.unpacker;
        let value = finder.find(key.data, |row| {
            let json = unpacker.unpack(DATA, key.data, row.get_ref(0)?)?;
            read::read(json).map_err(|_error| odd(DATA, key.data, "is no JSON"))
        })?;
        let value = value.ok_or_else(missing)?;
        let stream = match stream_row(&value).map_err(|reason| odd(DATA, key.data, reason))? {
            Some(row) => self.stream(row)?,
            None => None,
        };
        let scratch = &mut self.scratch;
        let prepared = Prepared::new(&value, stream.as_deref(), self.formatters, scratch);
        prepared.ok_or_else(|| odd(DATA, key.data, "has a hash that is not text"))
    }

    fn stream(&mut self, row: i64) -> Result<Option<Rc<Stream>>, StoreError> {
        if let Some(stream) = self.kept_streams.get(row) {
            return Ok(Some(stream));
        }
        let Some(finder) = &mut self.streams else {
            return Ok(None);
        };
        let Some(stream) = finder.find(row, Stream::new)? else {
            return Ok(None);
        };
        let stream = Rc::new(stream);
        self.kept_streams.put(row, &stream, stream.size());
        Ok(Some(stream))
    }

    /// The labels of the event in this row, if it has any. Of several tags psort takes the first.
    pub(super) fn tag(&mut self, row: i64) -> Result<Option<Tag>, StoreError> {
        let at = self.tagged.partition_point(|(event, _)| *event < row);
        let (Some(&(event, tag)), Some(finder)) = (self.tagged.get(at), &mut self.tags) else {
            return Ok(None);
        };
        if event != row {
            return Ok(None);
        }
        let labels = finder.find(tag, |row| {
            let labels = row.get_ref(0)?.as_bytes_or_null();
            let labels = labels.map_err(|_error| odd(TAG, tag, "has labels that are not text"))?;
            let labels = labels.map(read::read).transpose();
            labels.map_err(|_error| odd(TAG, tag, "has labels that are no JSON"))
        })?;
        match labels.flatten() {
            Some(Value::List(labels)) if !labels.is_empty() => {
                let (mut json, mut counts) = (Vec::new(), Counts::default());
                write::value(&Value::List(labels), &mut json, &mut counts);
                Ok(Some(Tag { json, counts }))
            }
            None | Some(Value::Null | Value::List(_)) => Ok(None),
            Some(_) => Err(odd(TAG, tag, "has labels that are no list")),
        }
    }
}

/// The row of the stream that event data names.
fn stream_row(data: &Value) -> Result<Option<i64>, &'static str> {
    let Some(identifier) = data.attribute("_event_data_stream_identifier") else {
        return Ok(None);
    };
    match identifier.as_text().and_then(|text| text.as_str()) {
        Some("") => Ok(None),
        Some(text) => row_number(text).map(Some).ok_or("names no stream"),
        None => Err("names no stream"),
    }
}

/// Rows of tagged events and of their first tags.
fn tagged(store: &Store) -> Result<Vec<(i64, i64)>, StoreError> {
    let mut tagged = Vec::new();
    store.rows(TAG, "_identifier, _event_identifier", |row| {
        let event = row.get_ref(1)?.as_str().ok();
        let event = event.filter(|event| event.starts_with("event."));
        if let Some(event) = event.and_then(row_number) {
            tagged.push((event, row.get(0)?));
        }
        Ok::<_, StoreError>(())
    })?;
    tagged.sort_unstable();
    Ok(tagged)
}
