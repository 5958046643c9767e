//! What an error means for whoever asked a server.

use std::time::Duration;

/// What the caller may do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It may go away by itself.
    Passing {
        /// How long the server asks us to wait.
        after: Option<Duration>,
    },
    /// Like passing, but the server may have done what was asked.
    Unsure {
        /// How long the server asks us to wait.
        after: Option<Duration>,
    },
    /// Wrong user or password; nothing is tried again until the secret changes.
    Credentials,
    /// The request is larger than somebody on the way allows.
    TooLarge,
    /// There is no such thing.
    NotFound,
    /// A person has to look.
    Refused,
}
