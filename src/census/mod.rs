//! Which files of a mounted filesystem the collection filter takes, and how they are cut into slices.
//!
//! Everything here but [`walk`] and [`identity`] is pure; those two read the mounted tree and run only in the
//! cage ([`crate::inside::census`]). The agent sees the [`report::CensusReport`] and the slices' filter files.

pub mod expect;
pub mod filter;
pub mod identity;
pub mod link;
pub mod plan;
pub mod report;
pub mod walk;
