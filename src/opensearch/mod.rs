//! OpenSearch: documents into an index without a loss, and the few questions around that. It knows nothing of jobs
//! and Timesketch.
//!
//! The pure parts decide: [`mapping`], `answer` (what became of each document), `mend` (what a refused document
//! becomes), `course` (what is left of a bulk), `pace` (how much at once). `ship` carries out.

mod answer;
mod batch;
mod client;
mod course;
mod documents;
mod error;
mod fits;
mod look;
pub mod mapping;
mod mend;
mod pace;
mod rejected;
mod ship;

pub use client::{About, Client, Shards};
pub use error::ClientError;
pub use pace::Pace;
pub use ship::{Position, Progress, ShipError, Shipment, ship};
