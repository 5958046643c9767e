//! Storage files: an export ends with an error or with a document for each event that is no double.
#![no_main]

use std::error::Error;
use std::fs;
use std::sync::LazyLock;

use dfagent::export::formatter::Formatters;
use dfagent::export::run::{self, Fallback};
use dfagent::export::write::Counts;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use serde::de::IgnoredAny;

static FORMATTERS: LazyLock<Formatters> = LazyLock::new(dfagent_fuzz::formatters);

/// SQLite wants a file with a name. It is below `TMPDIR`.
static FOLDER: LazyLock<tempfile::TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a folder"));

/// Plaso's code is not asked: what it would answer is not what is tried here.
struct Nobody;

impl Fallback for Nobody {
    fn document(
        &mut self,
        _: i64,
        out: &mut Vec<u8>,
    ) -> Result<Counts, Box<dyn Error + Send + Sync>> {
        out.extend_from_slice(b"{}");
        Ok(Counts::default())
    }
}

fuzz_target!(|data: &[u8]| {
    let store = FOLDER.path().join("store.plaso");
    fs::write(&store, data).expect("write the storage file");
    let mut output = Vec::new();
    let done = run::run(&store, &FORMATTERS, FOLDER.path(), &mut output, &mut Nobody);
    let Ok(receipt) = done else { return };
    let output = std::str::from_utf8(&output).expect("documents are UTF-8");
    assert_eq!(receipt.documents, output.lines().count() as u64);
    assert_eq!(receipt.documents + receipt.duplicates, receipt.events);
    for line in output.lines() {
        // Into a value of its own it takes neither half characters nor integers of hundreds of digits.
        let read = serde_json::from_str::<IgnoredAny>(line);
        assert!(read.is_ok(), "{read:?}: {line}");
    }
});

// A file of another length is none, and bytes that moved to other pages mean nothing.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let seed = seed as usize;
    let (length, place) = (8 << (seed % 7), seed / 7);
    if size < length {
        return fuzzer_mutate(data, size, max_size);
    }
    let start = place % (size - length + 1);
    let mut part = data[start..start + length].to_vec();
    fuzzer_mutate(&mut part, length, length);
    data[start..start + length].copy_from_slice(&part);
    size
});
