//! What runs on the far side: hidden subcommands of our own binary that read hostile bytes in the cage.
//!
//! Each reads files, writes its answer as a file into `/attempt`, and knows nothing of jobs. The agent reads
//! the answers back with a size limit ([`crate::durable`]).

pub mod census;
pub mod export;
pub mod guard;
pub mod merge;
pub mod probe;
pub mod rows;
pub mod summary;
