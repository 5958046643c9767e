//! Storage file to documents, exactly as `psort -o opensearch_ts` writes them. Runs in the cage: a storage file is
//! hostile.
//!
//! [`value`] is what Plaso stored, [`read`] and [`write`] are its JSON. [`formatter`] makes messages: [`yaml`] reads
//! Plaso's definitions, [`template`] its format strings, [`helper`] and [`custom`] prepare values, and [`python`] says
//! how Python would print them.

pub mod custom;
pub mod formatter;
pub mod helper;
pub mod python;
pub mod read;
pub mod template;
mod unprintable;
pub mod value;
pub mod write;
pub mod yaml;
