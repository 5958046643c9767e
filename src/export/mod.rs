//! Storage file to documents, exactly as `psort -o opensearch_ts` writes them. Runs in the cage: a storage file is
//! hostile.
//!
//! [`value`] is what Plaso stored.

pub mod value;
