//! The commands' side of the socket. Errors tell apart what a person does next: start the agent, join a
//! group, look why it hangs, or use programs of one version.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;

use super::frame::{self, FrameError, MOST_ANSWER, MOST_REQUEST, PATIENCE};
use super::{Answer, Ask, Request, VERSION};
use crate::config::worker::AgentSettings;

/// An action is waited for by the server, and the server by us.
const ACTION_PATIENCE: Duration = Duration::from_secs(15);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No socket, or nobody listens on it.
    #[error(
        "reach the agent at {}: it is not running; start it with `systemctl start dfagent`, \
         `journalctl -u dfagent` tells why it stopped",
        socket.display()
    )]
    Down {
        /// Where it should be.
        socket: PathBuf,
    },
    /// The socket is not for us.
    #[error("reach the agent at {}: you are not in the group {group}; join it or use `sudo`", socket.display())]
    NotAllowed {
        /// The socket.
        socket: PathBuf,
        /// The group that may look.
        group: String,
    },
    /// It listens, and says nothing.
    #[error(
        "hear from the agent at {} in time; `journalctl -u dfagent` tells what it is doing",
        socket.display()
    )]
    Late {
        /// The socket.
        socket: PathBuf,
    },
    /// It went away while it was asked.
    #[error("talk to the agent at {}", socket.display())]
    Broken {
        /// The socket.
        socket: PathBuf,
        /// How.
        source: FrameError,
    },
    /// It says something that is not known here.
    #[error(
        "understand the agent at {}: it seems to be of another version; `systemctl restart dfagent`",
        socket.display()
    )]
    NotUnderstood {
        /// The socket.
        socket: PathBuf,
        /// What is not understood.
        source: serde_json::Error,
    },
    /// Something else at this end.
    #[error("connect to {}", socket.display())]
    System {
        /// The socket.
        socket: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl ClientError {
    /// Whether the agent is not there, or might as well not be.
    #[must_use]
    pub const fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Down { .. } | Self::Late { .. } | Self::Broken { .. }
        )
    }
}

/// A connection; several questions may be asked one after the other, with less than five seconds between them.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    socket: PathBuf,
}

/// Asks one question.
///
/// # Errors
/// Every variant of [`ClientError`].
pub fn ask(agent: &AgentSettings, ask: Ask) -> Result<Answer, ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| ClientError::System {
            socket: agent.socket.clone(),
            source,
        })?;
    runtime.block_on(async { Connection::open(agent).await?.ask(ask).await })
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody is there, or we may not.
    pub async fn open(agent: &AgentSettings) -> Result<Self, ClientError> {
        let socket = agent.socket.clone();
        match timeout(PATIENCE, UnixStream::connect(&socket)).await {
            Ok(Ok(stream)) => Ok(Self { stream, socket }),
            Ok(Err(error)) => Err(no_connection(error, &socket, &agent.readers)),
            Err(_) => Err(ClientError::Late { socket }),
        }
    }

    /// Asks.
    ///
    /// # Errors
    /// No answer, none in time, or one that is not understood.
    pub async fn ask(&mut self, ask: Ask) -> Result<Answer, ClientError> {
        let patience = match ask {
            Ask::Status => PATIENCE,
            Ask::Act { .. } => ACTION_PATIENCE,
        };
        let version = VERSION;
        let request =
            serde_json::to_vec(&Request { version, ask }).map_err(|e| self.not_understood(e))?;
        let written = frame::write(&mut self.stream, &request, MOST_REQUEST, PATIENCE).await;
        // One that refuses before it has read all may be gone by now; what it said last is worth more.
        let answer = frame::read(&mut self.stream, MOST_ANSWER, patience).await;
        let answer = match (written, answer) {
            (_, Ok(answer)) => answer,
            (Err(error), Err(_)) | (Ok(()), Err(error)) => return Err(self.broken(error)),
        };
        serde_json::from_slice(&answer).map_err(|e| self.not_understood(e))
    }

    fn broken(&self, source: FrameError) -> ClientError {
        let socket = self.socket.clone();
        match source {
            FrameError::Late => ClientError::Late { socket },
            source => ClientError::Broken { socket, source },
        }
    }

    fn not_understood(&self, source: serde_json::Error) -> ClientError {
        ClientError::NotUnderstood {
            socket: self.socket.clone(),
            source,
        }
    }
}

fn no_connection(source: io::Error, socket: &Path, readers: &str) -> ClientError {
    let socket = socket.to_path_buf();
    match source.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => ClientError::Down { socket },
        ErrorKind::PermissionDenied => ClientError::NotAllowed {
            socket,
            group: readers.to_owned(),
        },
        // Its row is full: it does not accept any more.
        ErrorKind::WouldBlock => ClientError::Late { socket },
        _ => ClientError::System { socket, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(socket: &Path) -> AgentSettings {
        AgentSettings {
            socket: socket.to_path_buf(),
            ..AgentSettings::default()
        }
    }

    #[test]
    fn no_socket_and_a_stale_one_mean_that_the_agent_is_down() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dfagent.sock");
        let error = ask(&agent(&path), Ask::Status).unwrap_err();
        assert!(matches!(error, ClientError::Down { .. }), "{error}");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let error = ask(&agent(&path), Ask::Status).unwrap_err();
        assert!(matches!(error, ClientError::Down { .. }), "{error}");
    }

    #[test]
    fn one_that_hangs_up_or_talks_nonsense_is_told_from_one_that_is_down() {
        use std::io::{Read as _, Write as _};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dfagent.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let answers = std::thread::spawn(move || {
            for answer in [&b""[..], &b"\0\0\0\x02{}"[..], &b"\xff\xff\xff\xff"[..]] {
                let (mut stream, _) = listener.accept().unwrap();
                // The whole request, for what is left unread at the end cuts off the answer.
                let mut length = [0; 4];
                stream.read_exact(&mut length).unwrap();
                let mut request = vec![0; u32::from_be_bytes(length) as usize];
                stream.read_exact(&mut request).unwrap();
                stream.write_all(answer).unwrap();
            }
        });
        let mut errors = (0..3).map(|_| ask(&agent(&path), Ask::Status).unwrap_err());
        assert!(matches!(errors.next(), Some(ClientError::Broken { .. })));
        let nonsense = errors.next();
        assert!(matches!(nonsense, Some(ClientError::NotUnderstood { .. })));
        let huge = errors.next();
        assert!(matches!(
            huge,
            Some(ClientError::Broken {
                source: FrameError::TooLarge { .. },
                ..
            })
        ));
        answers.join().unwrap();
    }
}
