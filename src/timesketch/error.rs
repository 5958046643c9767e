//! Why Timesketch did not do what was asked, and what that means for whoever asked.

use std::path::PathBuf;
use std::time::Duration;

use crate::durable::FileError;
use crate::http::{Fault, Problem, WireError};
use crate::secret::SecretError;

/// What went wrong. `action` is a verb with its object: `upload to sketch 7 of https://…`.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no answer.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// There is no password.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The file that was to be sent does not open.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file that was to be sent is another one by now.
    #[error("upload {}: it was {expected} bytes long and is {found} now", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// Bytes.
        expected: u64,
        /// Bytes.
        found: u64,
    },
    /// The server does not know us.
    #[error(
        "log in to {server}: it does not know the user or the password; correct [timesketch] user or password_file"
    )]
    Credentials {
        /// The server.
        server: String,
    },
    /// The proxy knows us, Timesketch does not.
    #[error(
        "log in to {server}: Timesketch there does not learn from its proxy who we are; set SSO_ENABLED = True in timesketch.conf, or change [timesketch] login"
    )]
    Unknown {
        /// The server.
        server: String,
    },
    /// The server sends us elsewhere, though we are logged in.
    #[error(
        "{action}: it sends us to {place}; is [timesketch] url right, or is there a proxy that wants a login?"
    )]
    Elsewhere {
        /// What was tried.
        action: String,
        /// Where to.
        place: String,
    },
    /// A page for people.
    #[error(
        "{action}: it answered with a page instead of JSON ({title}): is [timesketch] url right, or is there a proxy that wants a login?"
    )]
    Page {
        /// What was tried.
        action: String,
        /// Its title.
        title: String,
        /// Perhaps it was done.
        whole: bool,
    },
    /// JSON that is not what Timesketch answers.
    #[error("{action}: its answer is not that of a Timesketch that is known here ({problem})")]
    Odd {
        /// What was tried.
        action: String,
        /// What is wrong with the answer.
        problem: String,
        /// Perhaps it was done.
        whole: bool,
    },
    /// The server, or something before it, is in trouble.
    #[error("{action}: it answered {status} ({message})")]
    Failed {
        /// What was tried.
        action: String,
        /// 429, 500 and more.
        status: u16,
        /// What it says about it.
        message: String,
        /// How long it asks us to wait.
        after: Option<Duration>,
        /// Perhaps it was done.
        whole: bool,
    },
    /// Somebody on the way allows no body of that size.
    #[error(
        "{action}: a request of this size is refused there; lower [timesketch] chunk_mib, or raise the limit of its proxy"
    )]
    TooLarge {
        /// What was tried.
        action: String,
    },
    /// There is no such thing.
    #[error("{action}: it is not there ({message})")]
    NotFound {
        /// What was tried.
        action: String,
        /// What the server says about it.
        message: String,
    },
    /// The server takes no uploads.
    #[error(
        "{action}: uploads are switched off there; set UPLOAD_ENABLED = True in timesketch.conf"
    )]
    UploadsOff {
        /// What was tried.
        action: String,
    },
    /// The sketch is closed.
    #[error("{action}: it is archived; unarchive it there, or name another sketch")]
    Archived {
        /// What was tried.
        action: String,
    },
    /// We may not.
    #[error("{action}: the user may not do that ({message}); give it the right there")]
    Forbidden {
        /// What was tried.
        action: String,
        /// What the server says about it.
        message: String,
    },
    /// Another no.
    #[error("{action}: it answered {status} ({message})")]
    Refused {
        /// What was tried.
        action: String,
        /// 400 and so on.
        status: u16,
        /// What the server says about it.
        message: String,
    },
    /// Users to share with that the server does not have.
    #[error(
        "{action}: it has no user {names}; correct [timesketch] readers and writers, or make them there"
    )]
    NoSuchUsers {
        /// What was tried.
        action: String,
        /// Their names.
        names: String,
    },
}

impl ClientError {
    /// What the caller may do about it.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Credentials { .. } => Fault::Credentials,
            Self::TooLarge { .. } => Fault::TooLarge,
            Self::NotFound { .. } => Fault::NotFound,
            Self::Elsewhere { .. } => Fault::Passing { after: None },
            Self::Page { whole, .. } | Self::Odd { whole, .. } => passing(*whole, None),
            Self::Failed { after, whole, .. } => passing(*whole, *after),
            Self::Wire(WireError::Exchange { problem, whole, .. }) => match problem {
                Problem::UnknownAuthority
                | Problem::BadCertificate(_)
                | Problem::OurCertificate(_)
                | Problem::Source => Fault::Refused,
                _ => passing(*whole, None),
            },
            Self::Wire(_)
            | Self::Secret(_)
            | Self::File(_)
            | Self::Changed { .. }
            | Self::Unknown { .. }
            | Self::UploadsOff { .. }
            | Self::Archived { .. }
            | Self::Forbidden { .. }
            | Self::Refused { .. }
            | Self::NoSuchUsers { .. } => Fault::Refused,
        }
    }

    /// The same error in a request that only prepared what was asked: of that, nothing was done.
    pub(super) fn before(mut self) -> Self {
        if let Self::Page { whole, .. }
        | Self::Odd { whole, .. }
        | Self::Failed { whole, .. }
        | Self::Wire(WireError::Exchange { whole, .. }) = &mut self
        {
            *whole = false;
        }
        self
    }
}

const fn passing(whole: bool, after: Option<Duration>) -> Fault {
    if whole {
        Fault::Unsure { after }
    } else {
        Fault::Passing { after }
    }
}
