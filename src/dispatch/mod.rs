//! Pure: which jobs there are, what may happen to them next, and what has to be done for it.

pub mod job;
