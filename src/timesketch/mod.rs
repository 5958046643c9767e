//! Timesketch's HTTP interface, as far as delivery needs it. It knows nothing of jobs, slices and folders.
//!
//! Everything is tried once: whether and when to ask again is the caller's decision, helped by [`Fault`]. Only a
//! lost session and a stale token are mended here, since then the server has done nothing of what was asked.

mod ask;
mod attach;
mod chunk;
mod client;
mod error;
pub mod handshake;
mod judge;
mod model;
mod session;

#[cfg(test)]
mod tests;

pub use crate::http::Fault;
pub use attach::{Description, SearchIndex};
pub use chunk::{Chunk, ChunkAnswer};
pub use client::Client;
pub use error::ClientError;
pub use model::{Datasource, DatasourceStatus, Sketch, Timeline, TimelineStatus, Version};
