//! The census in the cage: walk, identity, plan; the answer as files in the attempt folder.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::census::expect;
use crate::census::filter::{CollectionFilter, FilterError, FilterType, document};
use crate::census::identity;
use crate::census::plan::{Slice, plan};
use crate::census::report::{CensusReport, CensusRequest, ListedEntry, SlicePatterns, SliceReport};
use crate::census::walk::{Entry, Kind, Walked, head, walk};
use crate::durable::{self, FileError};
use crate::evidence::plan::Reading;
use crate::printable::EvidencePath;

/// The answer's name in the attempt folder.
pub const REPORT: &str = "census.json";
/// The whole filter, with what links and configurations added, as one file for one run of Plaso.
pub const WHOLE_FILTER: &str = "filter.yaml";

/// Why there is no census.
#[derive(Debug, thiserror::Error)]
pub enum CensusError {
    /// The filter.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// Files of ours.
    #[error(transparent)]
    File(#[from] FileError),
    /// Writing the answer.
    #[error("write the census")]
    Write(#[from] io::Error),
}

/// Walks `root` and writes the answer into `folder`.
///
/// # Errors
/// The filter cannot be used or the answer not be written.
pub fn run(root: &Path, request: &CensusRequest, folder: &Path) -> Result<(), CensusError> {
    let files = request
        .filters
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()));
    let filter = CollectionFilter::read(files)?;
    let walked = walk(root, &filter, &identity::container_roots(root));
    let reading = match request.preferred {
        Reading::Raw if walked.counts.undecodable == 0 => Reading::Raw,
        _ => Reading::Mount,
    };
    let prefix = if reading == Reading::Mount {
        request.evidence.as_str()
    } else {
        ""
    };
    let excludes: Vec<String> = filter
        .patterns
        .iter()
        .filter(|pattern| pattern.kind == FilterType::Exclude)
        .map(|pattern| pattern.text.clone())
        .collect();
    let whole = whole_filter(&filter, &walked, prefix, &excludes);
    durable::write(&folder.join(WHOLE_FILTER), whole.as_bytes())?;
    let mut slices = Vec::new();
    for (number, slice) in plan(&walked.entries, &filter.categories, request.slicing)
        .into_iter()
        .enumerate()
    {
        // Two filter files may have one name behind their numbers; slices of both then have, too.
        let stem = folder.join(format!("{:03}-{}", number + 1, slice.name));
        slices.push(write_slice(root, slice, &walked, &stem, &excludes)?);
    }
    let report = CensusReport {
        identity: identity::read(root),
        counts: walked.counts,
        reading,
        slices,
        listing_sha256: walked.listing_sha256(),
        links: walked.links,
        unreadable: walked.unreadable,
        undecodable: walked.undecodable,
    };
    Ok(durable::write_json(&folder.join(REPORT), &report)?)
}

fn whole_filter(
    filter: &CollectionFilter,
    walked: &Walked,
    prefix: &str,
    excludes: &[String],
) -> String {
    let texts = |kind| {
        let patterns = filter
            .patterns
            .iter()
            .filter(move |pattern| pattern.kind == kind);
        patterns
            .map(|pattern| pattern.text.clone())
            .collect::<Vec<_>>()
    };
    let about = "The collection filter of this job";
    let mut text = document(FilterType::Include, about, &texts(FilterType::Include));
    if !walked.derived.is_empty() {
        let derived: Vec<String> = walked
            .derived
            .iter()
            .map(|pattern| pattern.text.clone())
            .collect();
        let about = "What symbolic links and container configurations lead to";
        text.push_str(&document(FilterType::Include, about, &derived));
    }
    if !excludes.is_empty() {
        let paths: Vec<String> = excludes
            .iter()
            .map(|path| format!("{prefix}{path}"))
            .collect();
        text.push_str(&document(FilterType::Exclude, "Left out", &paths));
    }
    text
}

/// What should come of an entry, by its name and the first part of it.
fn expectation(root: &Path, path: &EvidencePath, entry: Option<&Entry>) -> Option<&'static str> {
    let entry = entry.filter(|entry| entry.kind == Kind::File)?;
    expect::expected(path.as_bytes(), entry.size, &head(root, path))
}

fn write_slice(
    root: &Path,
    slice: Slice,
    walked: &Walked,
    stem: &Path,
    excludes: &[String],
) -> Result<SliceReport, CensusError> {
    let (patterns, listing) = (
        stem.with_extension("patterns"),
        stem.with_extension("entries"),
    );
    let content = SlicePatterns {
        includes: slice.includes,
        excludes: slice.excludes.iter().chain(excludes).cloned().collect(),
    };
    durable::write_json(&patterns, &content)?;
    let mut list = BufWriter::new(File::create(&listing)?);
    for path in &slice.entries {
        let expect = expectation(root, path, walked.entries.get(path)).map(str::to_owned);
        let line = ListedEntry {
            path: EvidencePath::clone(path),
            expect,
        };
        serde_json::to_writer(&mut list, &line).map_err(io::Error::from)?;
        list.write_all(b"\n")?;
    }
    list.into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_all()?;
    Ok(SliceReport {
        name: slice.name,
        category: slice.category,
        entries: slice.entries.len() as u64,
        bytes: slice.bytes,
        patterns: file_name(&patterns),
        listing: file_name(&listing),
    })
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
