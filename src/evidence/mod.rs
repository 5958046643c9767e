//! A source of evidence, from "set read-only" to "proved untouched".
//!
//! Nothing in this program opens evidence for writing. A disk is held, covered by a read-only loop,
//! probed in the cage, and mounted with options that replay nothing (facts of each filesystem in
//! [`plan`]). What the bytes mean is never decided here: parsing happens in the cage
//! ([`crate::inside`]), this module only acts on the report.
//!
//! Called by [`crate::engine`].

pub(crate) mod claims;
pub mod fingerprint;
pub mod loopdev;
pub mod mount;
pub mod namespace;
pub mod outcome;
pub mod plan;
pub mod probe;
pub mod source;
