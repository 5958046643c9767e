//! Bringing events to the analyst. `local`: files in the job's folder. `upload`: storage files to Timesketch, by way
//! of the outbox, until exactly the exported events are found there. `stream`: documents into OpenSearch, by the same
//! way, until exactly they are found there and in Timesketch.
//!
//! What touches evidence has no network, and what has the network and the secrets sees no evidence: they share the
//! two folders of [`outbox`], [`order`] in one direction, [`receipt`] in the other.

pub mod account;
pub mod cloud;
pub mod course;
pub mod custody;
pub mod fill;
pub mod local;
pub mod name;
pub mod order;
pub mod outbox;
pub mod patience;
pub mod receipt;
pub mod service;
pub mod sketch;
pub mod standing;
pub mod state;
pub mod steps;
pub mod streaming;
mod volumes;
