//! Bringing events to the analyst. `local`: files in the job's folder.

pub mod local;
