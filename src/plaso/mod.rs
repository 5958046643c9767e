//! Plaso: where it is, how it is called, what it says while it runs, and what is to be thought of the result.
//!
//! An exit code of 0 proves nothing here, and nothing is read from its output by position. Plaso is never
//! patched; it only ever runs in the cage.

pub mod command;
pub mod install;
pub mod stall;
pub mod summary;
pub mod verdict;
