//! A part of a storage file as an upload.

use std::path::Path;

use reqwest::RequestBuilder;
use reqwest::multipart::{Form, Part};

use super::ask::{self, Sending};
use super::error::ClientError;
use super::model::Timeline;
use crate::durable;
use crate::http::{Budget, Wire, stream};

/// A part of a storage file.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// The file.
    pub file: &'a Path,
    /// Its size in bytes.
    pub file_size: u64,
    /// Where the part begins.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
    /// Its number, from 0.
    pub index: u64,
    /// How many there are.
    pub total: u64,
    /// The same 32 hexadecimal digits for all parts.
    pub upload: &'a str,
    /// The sketch.
    pub sketch: u64,
    /// The timeline's name.
    pub timeline: &'a str,
    /// The file's name at the server; it ends with `.plaso`.
    pub file_name: &'a str,
    /// Timelines with one label share an index.
    pub data_label: &'a str,
    /// What made it.
    pub provider: &'a str,
    /// What is to stand beside it.
    pub context: &'a str,
}

/// What the server says about a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChunkAnswer {
    /// It waits for the others.
    Taken,
    /// It has all and begins to index; with the number of that task.
    Complete(Timeline, String),
}

/// The file is opened for every try, and must be what it was.
pub(super) fn load<'a>(
    request: RequestBuilder,
    wire: &Wire,
    chunk: &Chunk<'_>,
    sent: &'a (dyn Fn(u64) + Send + Sync),
) -> Result<Sending<'a>, ClientError> {
    let file = durable::open_own(chunk.file)?;
    let found = file.metadata().map(|about| about.len()).unwrap_or_default();
    if found != chunk.file_size {
        return Err(ClientError::Changed {
            path: chunk.file.to_path_buf(),
            expected: chunk.file_size,
            found,
        });
    }
    let (body, moved) = stream(file, chunk.offset, chunk.length);
    let part = Part::stream_with_length(body, chunk.length).file_name(chunk.file_name.to_owned());
    let numbers = [
        ("sketch_id", chunk.sketch),
        ("total_file_size", chunk.file_size),
        ("chunk_index", chunk.index),
        ("chunk_byte_offset", chunk.offset),
        ("chunk_total_chunks", chunk.total),
    ];
    let texts = [
        ("name", chunk.timeline),
        ("provider", chunk.provider),
        ("context", chunk.context),
        ("data_label", chunk.data_label),
        ("chunk_index_name", chunk.upload),
    ];
    let mut form = Form::new();
    for (name, number) in numbers {
        form = form.text(name, number.to_string());
    }
    for (name, text) in texts {
        form = form.text(name, text.to_owned());
    }
    // The file comes last, so that whoever has all of it has everything.
    let request = request.multipart(form.part("file", part));
    let budget = Budget {
        bytes: ask::ANSWER,
        total: wire.limits().total,
        moved: Some(moved),
        sent: Some(sent),
    };
    Ok(Sending { request, budget })
}
