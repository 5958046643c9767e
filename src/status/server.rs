//! The agent's side of the socket: a thread of its own with a runtime of its own, so that `status` is answered
//! at once whatever the pipeline does.
//!
//! It knows a snapshot and a queue for actions, and nothing else of the agent. Nobody who connects is trusted:
//! see [`super::frame`] and [`super::access`].

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc as handshake};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::Serialize;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::access::{Access, Person};
use super::frame::{self, FrameError, MOST_ANSWER, MOST_REQUEST, PATIENCE};
pub use super::listen::SocketError;
use super::listen::{self, Bound};
use super::{Action, Answer, Ask, Request, Status, VERSION};
use crate::printable;

/// Connections at once; others wait for their turn in the order in which they came.
const MOST_CONNECTIONS: usize = 64;

/// Connections of one user at once, who else could keep everybody out; of root as many as there are.
const MOST_OF_ONE: usize = 16;

/// Threads that look up users and groups.
const MOST_LOOKUPS: usize = 4;

/// How long the main loop may take for an action.
const ACTION_PATIENCE: Duration = Duration::from_secs(10);

/// Names of jobs are shorter.
const LONGEST_NAME: usize = 200;

/// Something that the main loop is asked to do.
#[derive(Debug)]
pub struct ActionRequest {
    /// What.
    pub action: Action,
    /// The job; plain text that need not be the name of one.
    pub job: String,
    /// Who wants it.
    pub by: String,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Answer>,
}

/// The server; it ends, and its socket is removed, when this is dropped.
#[derive(Debug)]
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    socket: Bound,
}

impl Server {
    /// Starts to answer on `socket`.
    ///
    /// # Errors
    /// Another agent answers there, or the socket or the thread cannot be had.
    pub fn start(
        socket: &Path,
        access: Access,
        snapshot: watch::Receiver<Arc<Status>>,
        actions: mpsc::Sender<ActionRequest>,
    ) -> Result<Self, SocketError> {
        let (listener, bound) = listen::bind(socket, &access)?;
        let shared = Arc::new(Shared {
            access,
            snapshot,
            actions,
            cached: Mutex::new(None),
        });
        let (stop, stopped) = oneshot::channel();
        let (started, ready) = handshake::channel();
        let thread = thread::Builder::new()
            .name("status".to_owned())
            .spawn(move || run(listener, shared, stopped, &started))
            .map_err(SocketError::Thread)?;
        let server = Self {
            stop: Some(stop),
            thread: Some(thread),
            socket: bound,
        };
        match ready.recv() {
            Ok(Ok(())) => Ok(server),
            Ok(Err(error)) => Err(SocketError::Thread(error)),
            Err(gone) => Err(SocketError::Thread(io::Error::other(gone))),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> &PathBuf {
        &self.socket.path
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.socket.remove();
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// The thread: ends when the other end of `stopped` is gone. Look-ups that hang are left behind.
fn run(
    listener: std::os::unix::net::UnixListener,
    shared: Arc<Shared>,
    stopped: oneshot::Receiver<()>,
    started: &handshake::Sender<io::Result<()>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(MOST_LOOKUPS)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return started.send(Err(error)).unwrap_or_default(),
    };
    runtime.block_on(async {
        let listener = UnixListener::from_std(listener);
        let said = listener.as_ref().map(drop);
        let said = said.map_err(|error| io::Error::from(error.kind()));
        started.send(said).unwrap_or_default();
        let Ok(listener) = listener else { return };
        tokio::select! {
            () = accept(&listener, &shared) => {}
            _ = stopped => {}
        }
    });
    runtime.shutdown_background();
}

/// Without a free place nobody is accepted; the kernel keeps them in a row.
async fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut users = Users::default();
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((mut stream, _)) => {
                let (shared, own) = (Arc::clone(shared), users.place(&stream));
                tokio::spawn(async move {
                    match own {
                        Some(_own) => shared.serve(stream).await,
                        None => shared.end(&mut stream, &too_many()).await,
                    }
                    drop(place);
                });
            }
            Err(error) => {
                // Descriptors have run out, or the like: what helps is that others end.
                tracing::warn!(%error, "failed to accept on the status socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Those who are connected, by user.
#[derive(Default)]
struct Users(HashMap<u32, Arc<Semaphore>>);

impl Users {
    /// A place among those of the user; none if all are taken, or if nobody knows whose they would be.
    fn place(&mut self, stream: &UnixStream) -> Option<OwnedSemaphorePermit> {
        let user = stream.peer_cred().ok()?.uid();
        let most = if user == 0 {
            MOST_CONNECTIONS
        } else {
            MOST_OF_ONE
        };
        // Who left is forgotten.
        self.0.retain(|_, places| Arc::strong_count(places) > 1);
        let places = self.0.entry(user);
        let places = places.or_insert_with(|| Arc::new(Semaphore::new(most)));
        Arc::clone(places).try_acquire_owned().ok()
    }
}

fn too_many() -> Answer {
    refused(format!(
        "talk to the agent: this user has {MOST_OF_ONE} connections already; end some of them"
    ))
}

/// A snapshot and its answer as bytes.
type Cached = Option<(Arc<Status>, Arc<[u8]>)>;

struct Shared {
    access: Access,
    snapshot: watch::Receiver<Arc<Status>>,
    actions: mpsc::Sender<ActionRequest>,
    cached: Mutex<Cached>,
}

/// [`Answer::Status`] without a copy of the status.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Borrowed<'a> {
    Status(&'a Status),
}

impl Shared {
    /// Answers one connection until it ends, is silent for too long, or asks what cannot be understood.
    async fn serve(self: &Arc<Self>, mut stream: UnixStream) {
        let Some(person) = self.person(&stream).await else {
            let answer = refused("look at the agent: it could not find out who you are in time");
            return self.end(&mut stream, &answer).await;
        };
        loop {
            let bytes = match frame::read(&mut stream, MOST_REQUEST, PATIENCE).await {
                Ok(bytes) => bytes,
                Err(error @ FrameError::TooLarge { .. }) => {
                    return self.end(&mut stream, &refused(error.to_string())).await;
                }
                Err(_) => return,
            };
            let answer = match understand(&bytes) {
                Ok(ask) => self.answer(ask, &person).await,
                Err(answer) => return self.end(&mut stream, &answer).await,
            };
            let written = frame::write(&mut stream, &answer, MOST_ANSWER, PATIENCE).await;
            if written.is_err() {
                return;
            }
        }
    }

    /// A last answer; whether it arrives does not matter any more.
    async fn end(&self, stream: &mut UnixStream, answer: &Answer) {
        let written = frame::write(stream, &bytes(answer), MOST_ANSWER, PATIENCE).await;
        written.unwrap_or_default();
    }

    /// Who is there; none if that cannot be found out in time.
    async fn person(self: &Arc<Self>, stream: &UnixStream) -> Option<Person> {
        let peer = stream.peer_cred().ok()?;
        if peer.uid() == 0 {
            return Some(self.access.person(0, 0));
        }
        let shared = Arc::clone(self);
        let lookup =
            tokio::task::spawn_blocking(move || shared.access.person(peer.uid(), peer.gid()));
        timeout(PATIENCE, lookup).await.ok()?.ok()
    }

    async fn answer(&self, ask: Ask, person: &Person) -> Arc<[u8]> {
        match ask {
            Ask::Status if person.look => self.status(),
            Ask::Status => {
                tracing::warn!(who = person.name, "refused to show the status");
                bytes(&refused(self.access.no_look(&person.name)))
            }
            Ask::Act { action, job } => bytes(&self.act(action, job, person).await),
        }
    }

    /// The snapshot as bytes, made once for all who ask.
    fn status(&self) -> Arc<[u8]> {
        let now = Arc::clone(&self.snapshot.borrow());
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((status, bytes)) = &*cached
            && Arc::ptr_eq(status, &now)
        {
            return Arc::clone(bytes);
        }
        let made: Arc<[u8]> = match serde_json::to_vec(&Borrowed::Status(&now)) {
            Ok(made) if made.len() <= MOST_ANSWER => made.into(),
            Ok(_) => bytes(&refused("say how things stand: there is too much to say")),
            Err(_) => bytes(&refused("say how things stand")),
        };
        *cached = Some((now, Arc::clone(&made)));
        made
    }

    /// Asks the main loop, and keeps a record of who was refused what.
    async fn act(&self, action: Action, job: String, person: &Person) -> Answer {
        let shown = printable::line(&job, LONGEST_NAME);
        let answer = if !person.act {
            refused(self.access.no_act(&person.name))
        } else if shown != job {
            refused(format!("find the job {shown}: there is no such job"))
        } else {
            self.pass_on(action, job, person.name.clone()).await
        };
        // What is done the agent says itself.
        if let Answer::Refused { why } = &answer {
            let who = &person.name;
            tracing::warn!(who, ?action, job = shown, why, "refused an action");
        }
        answer
    }

    async fn pass_on(&self, action: Action, job: String, by: String) -> Answer {
        let (answer, answered) = oneshot::channel();
        let request = ActionRequest {
            action,
            job,
            by,
            answer,
        };
        let asked = async {
            self.actions.send(request).await.ok()?;
            answered.await.ok()
        };
        match timeout(ACTION_PATIENCE, asked).await {
            Ok(Some(answer)) => answer,
            Ok(None) => refused("do that: the agent is stopping"),
            Err(_) => refused(format!(
                "hear from the agent's main loop within {} s; it may still do it, see `dfagent status`",
                ACTION_PATIENCE.as_secs()
            )),
        }
    }
}

fn refused(why: impl Into<String>) -> Answer {
    Answer::Refused { why: why.into() }
}

/// Our own types always become JSON; should they not, the other side is told nothing it can read.
fn bytes(answer: &Answer) -> Arc<[u8]> {
    serde_json::to_vec(answer).unwrap_or_default().into()
}

/// The version comes first: a later program may ask what is not known here.
fn understand(bytes: &[u8]) -> Result<Ask, Answer> {
    #[derive(serde::Deserialize)]
    struct Version {
        version: u32,
    }
    let Ok(said) = serde_json::from_slice::<Version>(bytes) else {
        return Err(refused("understand the request: it is none"));
    };
    if said.version != VERSION {
        return Err(refused(format!(
            "understand the request: this agent speaks version {VERSION}, not {}",
            said.version
        )));
    }
    let request: Result<Request, _> = serde_json::from_slice(bytes);
    request.map(|request| request.ask).map_err(|_| {
        refused(format!(
            "understand the request: this agent speaks version {VERSION} and does not know what was asked"
        ))
    })
}
