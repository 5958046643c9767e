//! Why an exchange has no answer, in words for people.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::printable;

/// What can go wrong between us and a server.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The address is no good.
    #[error("use [{section}] url: {problem}")]
    Address {
        /// Section of the settings.
        section: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A file of certificates is no good.
    #[error("read certificates from {}: {problem}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// No authorities at all.
    #[error(
        "find the certificates of authorities: the system has none; install ca-certificates or name [{section}] ca_file"
    )]
    NoAuthorities {
        /// Section of the settings.
        section: &'static str,
    },
    /// There is no answer.
    #[error("{}", problem.sentence(server, section))]
    Exchange {
        /// The server.
        server: String,
        /// Section of the settings.
        section: &'static str,
        /// What happened.
        problem: Problem,
        /// The request was to change something and was sent completely: perhaps it did.
        whole: bool,
    },
}

/// What happened in an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No connection.
    Unreachable(String),
    /// The server's certificate is signed by nobody we know.
    UnknownAuthority,
    /// The server's certificate is no good for another reason.
    BadCertificate(String),
    /// The server refuses our certificate or wants one.
    OurCertificate(String),
    /// The connection broke, or what came is no HTTP.
    Broken(String),
    /// Nothing moves.
    Stuck(Duration),
    /// All is sent, nothing comes.
    Silent(Duration),
    /// All in all it took too long.
    Slow(Duration),
    /// The answer has more bytes than that.
    Huge(usize),
    /// The file that was to be sent could not be read.
    Source,
}

impl Problem {
    pub(super) fn of(error: &reqwest::Error) -> Self {
        for cause in causes(error) {
            if let Some(Err(problem)) = cause.downcast_ref::<rustls::Error>().map(of_tls) {
                return problem;
            }
        }
        let reason = innermost(error);
        if error.is_connect() {
            Self::Unreachable(reason)
        } else {
            Self::Broken(reason)
        }
    }

    pub(super) const fn came_after_connecting(&self) -> bool {
        !matches!(
            self,
            Self::Unreachable(_)
                | Self::UnknownAuthority
                | Self::BadCertificate(_)
                | Self::OurCertificate(_)
        )
    }

    fn sentence(&self, server: &str, section: &str) -> String {
        let seconds = |limit: &Duration| printable::time(limit.as_secs_f64());
        match self {
            Self::Unreachable(reason) => {
                format!("reach {server}: {reason}; is it up, and is [{section}] url right?")
            }
            Self::UnknownAuthority => format!(
                "trust the certificate of {server}: no authority that is known here signed it; give its authority in [{section}] ca_file"
            ),
            Self::BadCertificate(reason) => {
                format!(
                    "trust the certificate of {server}: {reason}; it has to be mended there, or [{section}] url is wrong"
                )
            }
            Self::OurCertificate(reason) => format!(
                "show {server} who we are: {reason}; correct [timesketch] client_certificate"
            ),
            Self::Broken(reason) => format!("get an answer from {server}: {reason}"),
            Self::Stuck(limit) => format!(
                "talk to {server}: nothing moved for {}; see [{section}] idle_seconds",
                seconds(limit)
            ),
            Self::Silent(limit) => format!(
                "get an answer from {server}: none came in {}; see [{section}] answer_seconds",
                seconds(limit)
            ),
            Self::Slow(limit) => format!(
                "talk to {server}: it was not done in {}; see [{section}] request_seconds",
                seconds(limit)
            ),
            Self::Huge(most) => format!(
                "read the answer of {server}: it is longer than {}, which is no honest answer",
                printable::size(*most as u64)
            ),
            Self::Source => {
                format!("send a file to {server}: it could not be read, or became shorter")
            }
        }
    }
}

/// Sorts what TLS complains about; `Ok` when it is no matter of certificates.
fn of_tls(error: &rustls::Error) -> Result<(), Problem> {
    use rustls::{AlertDescription as Alert, CertificateError};
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            Err(Problem::UnknownAuthority)
        }
        rustls::Error::InvalidCertificate(problem) => {
            let reason = match problem {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    "it has expired".to_owned()
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    "it is not valid yet".to_owned()
                }
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => {
                    "it is for another name".to_owned()
                }
                other => printable::line(&other.to_string(), 200),
            };
            Err(Problem::BadCertificate(reason))
        }
        rustls::Error::AlertReceived(
            alert @ (Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied),
        ) => {
            let reason = if *alert == Alert::CertificateRequired {
                "it wants a certificate of ours"
            } else {
                "it does not accept our certificate"
            };
            Err(Problem::OurCertificate(reason.to_owned()))
        }
        _ => Ok(()),
    }
}

/// The error and what it came from, also what hides within errors of the system.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| cause(*error))
}

fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let wrapped = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    match wrapped {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

/// The last cause, in a few words.
pub(super) fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut last = error.to_string();
    for cause in causes(error) {
        last = match cause.downcast_ref::<io::Error>() {
            // "connection refused" rather than "Connection refused (os error 111)".
            Some(error) if error.raw_os_error().is_some() => error.kind().to_string(),
            _ => cause.to_string(),
        };
    }
    printable::line(&last, 200)
}
