//! What the documents say of the data stream that events were found in.

use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::place;
use super::read;
use super::store::{StoreError, odd};
use super::value::Text;
use super::write::{self, Counts};

/// The table.
pub(super) const TABLE: &str = "event_data_stream";

/// Its columns, which are fields of documents in this order.
pub(super) const FIELDS: [&[u8]; 6] = [
    b"file_entropy",
    b"md5_hash",
    b"path_spec",
    b"sha1_hash",
    b"sha256_hash",
    b"yara_match",
];

/// The columns as SQL names them.
pub(super) const COLUMNS: &str =
    "_identifier, file_entropy, md5_hash, path_spec, sha1_hash, sha256_hash, yara_match";

/// A row, as JSON.
#[derive(Debug)]
pub(super) struct Stream {
    /// The values of [`FIELDS`] that are set.
    pub(super) fields: [Option<Vec<u8>>; 6],
    /// None, if only Plaso's own code can tell.
    pub(super) display_name: Option<Vec<u8>>,
    /// What had to be changed.
    pub(super) counts: Counts,
}

impl Stream {
    /// Of a row of [`COLUMNS`].
    pub(super) fn new(row: &Row<'_>) -> Result<Self, StoreError> {
        let number = row.get(0)?;
        let mut stream = Self {
            fields: Default::default(),
            display_name: Some(b"\"-\"".to_vec()),
            counts: Counts::default(),
        };
        for (index, name) in FIELDS.iter().enumerate() {
            let text = match row.get_ref(index + 1)? {
                ValueRef::Null => continue,
                ValueRef::Text(text) => text,
                _ => return Err(odd(TABLE, number, "has a value that is not text")),
            };
            let text = std::str::from_utf8(text)
                .map_err(|_error| odd(TABLE, number, "has text that is not UTF-8"))?;
            let mut out = Vec::with_capacity(text.len() + 2);
            match *name {
                // Written as it is stored: the order of its names differs from run to run of Plaso.
                b"path_spec" => {
                    stream.display_name = display_name(text);
                    write::string(&Text::from(text), &mut out, &mut stream.counts);
                }
                b"yara_match" => {
                    let list = read::read(text.as_bytes())
                        .map_err(|_error| odd(TABLE, number, "has a list that is no JSON"))?;
                    if list.is_null() {
                        continue;
                    }
                    write::value(&list, &mut out, &mut stream.counts);
                }
                _ => write::string(&Text::from(text), &mut out, &mut stream.counts),
            }
            stream.fields[index] = Some(out);
        }
        Ok(stream)
    }

    /// About how much memory it takes.
    pub(super) fn size(&self) -> usize {
        let fields = self.fields.iter().flatten().chain(&self.display_name);
        300 + fields.map(Vec::capacity).sum::<usize>()
    }
}

fn display_name(path_spec: &str) -> Option<Vec<u8>> {
    let name = place::display_name(&read::read(path_spec.as_bytes()).ok()?)?;
    let mut out = Vec::new();
    write::string(&name, &mut out, &mut Counts::default());
    Some(out)
}
