//! Storage file to documents, exactly as `psort -o opensearch_ts` writes them. Runs in the cage: a storage file is
//! hostile.
//!
//! The way of an event: [`store`] reads rows, `order` sorts events by time, `group` arranges those of one time as
//! psort does (`heap`), `source` finds their data, of which `document` makes JSON with `stream`, `place` and `time`;
//! [`run`] joins them.
//!
//! [`value`] is what Plaso stored, [`read`] and [`write`] are its JSON. [`formatter`] makes messages: [`yaml`] reads
//! Plaso's definitions, [`template`] its format strings, [`helper`] and [`custom`] prepare values, and [`python`] says
//! how Python would print them.

pub mod custom;
mod document;
pub mod formatter;
mod group;
mod heap;
pub mod helper;
mod inflate;
mod kept;
mod order;
mod place;
pub mod python;
pub mod read;
pub mod run;
mod source;
pub mod store;
mod stream;
pub mod template;
mod time;
mod unprintable;
pub mod value;
mod words;
pub mod write;
pub mod yaml;
