//! What EC2 says about this machine and its volumes: the metadata service and one question to EC2 itself, asked by the
//! process that has the network.
//!
//! Nothing here decides anything, nothing here is needed: whoever asks goes on without an answer. What is answered is
//! hostile: it is cut to a size and freed of control characters before it is kept.

pub mod cloud;
pub mod metadata;
pub mod role;
pub mod signature;
pub mod volumes;
