//! One HTTP exchange with one server: encrypted, limited in time and size, never redirected, never repeated.
//!
//! It knows no interface, no session and no retry; who asks again is decided above. Every request has a
//! connection of its own: one that the server closes while it is being used again looks like an answer that was
//! lost, and a handshake a minute costs nothing beside that doubt.

mod answer;
mod body;
mod error;
mod fault;
mod tls;

#[cfg(test)]
pub(crate) mod tests;

use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use reqwest::{Method, Request, Url};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

pub use answer::Answer;
pub(crate) use body::{Moved, stream};
pub use error::{Problem, WireError};
pub use fault::Fault;

/// What we call ourselves.
const AGENT: &str = concat!("dfagent/", env!("CARGO_PKG_VERSION"));

/// Times after which something is given up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Name look-up, connection and TLS.
    pub connect: Duration,
    /// From the whole request to the head of the answer.
    pub answer: Duration,
    /// Without a byte while there is something to move.
    pub idle: Duration,
    /// A request with its answer.
    pub total: Duration,
}

/// What to use and whom to trust.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// The server's address.
    pub url: &'a str,
    /// Whether an address will do: what goes there in the clear is for each caller to say.
    pub fits: fn(&str) -> bool,
    /// The section of the settings that it stands in, for sentences.
    pub section: &'static str,
    /// Authorities besides the system's, PEM; may be empty.
    pub ca_file: &'a Path,
    /// Our certificate and key, PEM; may be empty.
    pub certificate: &'a Path,
    /// Times.
    pub limits: Limits,
}

/// What one request may cost.
pub(crate) struct Budget<'a> {
    /// Bytes of the answer.
    pub(crate) bytes: usize,
    /// The request with its answer.
    pub(crate) total: Duration,
    /// What the body has handed over, if it is a long one.
    pub(crate) moved: Option<watch::Receiver<Moved>>,
    /// Who wants to hear of it.
    pub(crate) sent: Option<&'a (dyn Fn(u64) + Send + Sync)>,
}

/// A way to one server.
pub struct Wire {
    http: reqwest::Client,
    base: String,
    section: &'static str,
    limits: Limits,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Wire({})", self.base)
    }
}

impl Wire {
    /// Reads certificates; connects to nothing.
    ///
    /// # Errors
    /// An address that would show a password to the network, or files that hold no certificates.
    pub fn new(setup: &Setup<'_>) -> Result<Self, WireError> {
        let section = setup.section;
        let address = |problem: &str| WireError::Address {
            section,
            problem: problem.to_owned(),
        };
        if !(setup.fits)(setup.url) {
            return Err(address(
                "it is to begin with https://, or http:// on loopback, and to hold no user or password",
            ));
        }
        let url = Url::parse(setup.url).map_err(|error| address(&error.to_string()))?;
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
            return Err(address("it is to end with the host, the port or a folder"));
        }
        let tls = tls::configuration(setup, url.scheme() == "https")?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(AGENT)
            .http1_only()
            .no_proxy()
            .referer(false)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .pool_max_idle_per_host(0)
            .connect_timeout(setup.limits.connect)
            .build()
            .map_err(|error| address(&error::innermost(&error)))?;
        Ok(Self {
            http,
            base: url.as_str().trim_end_matches('/').to_owned(),
            section,
            limits: setup.limits,
        })
    }

    /// The server's address, without a slash at its end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The times in force.
    pub(crate) const fn limits(&self) -> Limits {
        self.limits
    }

    /// Begins a request; the path has a slash in front.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// What is to be said about a request that cannot be built.
    pub(crate) fn unbuilt(&self, error: &reqwest::Error) -> WireError {
        WireError::Address {
            section: self.section,
            problem: error::innermost(error),
        }
    }

    /// Sends a request and reads the whole answer, whatever it says.
    pub(crate) async fn exchange(
        &self,
        request: Request,
        budget: Budget<'_>,
    ) -> Result<Answer, WireError> {
        let mut course = Course {
            changing: !matches!(*request.method(), Method::GET | Method::HEAD),
            began: Instant::now(),
            moved: budget.moved.clone(),
        };
        let end = course.began + budget.total;
        match timeout_at(end, self.run(request, &budget, &mut course)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(problem)) => Err(self.error(problem, &course)),
            Err(_) => Err(self.error(Problem::Slow(budget.total), &course)),
        }
    }

    fn error(&self, problem: Problem, course: &Course) -> WireError {
        WireError::Exchange {
            server: self.base.clone(),
            section: self.section,
            whole: course.changing && problem.came_after_connecting() && course.all_is_sent(),
            problem,
        }
    }

    async fn run(
        &self,
        request: Request,
        budget: &Budget<'_>,
        course: &mut Course,
    ) -> Result<Answer, Problem> {
        let mut answer = pin!(self.http.execute(request));
        let mut moved = budget.moved.clone();
        loop {
            let (deadline, stall) = course.deadline(self.limits);
            let news = async {
                if let Some(moved) = moved.as_mut()
                    && moved.changed().await.is_ok()
                {
                    return *moved.borrow_and_update();
                }
                std::future::pending().await
            };
            tokio::select! {
                biased;
                answer = &mut answer => {
                    let response = answer.map_err(|error| course.explain(&error))?;
                    if let (Some(sent), Some(now)) = (budget.sent, course.now()) {
                        sent(now.bytes);
                    }
                    let idle = self.limits.idle;
                    return read(response, idle, budget.bytes).await;
                }
                news = news => {
                    if let Some(sent) = budget.sent {
                        sent(news.bytes);
                    }
                }
                () = sleep_until(deadline) => return Err(stall),
            }
        }
    }
}

/// How far a request has come.
struct Course {
    changing: bool,
    began: Instant,
    moved: Option<watch::Receiver<Moved>>,
}

impl Course {
    fn now(&self) -> Option<Moved> {
        self.moved.as_ref().map(|moved| *moved.borrow())
    }

    /// Whether the server may have all of the request. A short body leaves with the head.
    fn all_is_sent(&self) -> bool {
        self.now().is_none_or(|moved| moved.all)
    }

    /// When to give up, and why.
    fn deadline(&self, limits: Limits) -> (Instant, Problem) {
        let late = |limit| Problem::Silent(limit);
        match self.now().map(|moved| (moved.at, moved.all)) {
            Some((Some(at), true)) => (at + limits.answer, late(limits.answer)),
            Some((Some(at), false)) => (at + limits.idle, Problem::Stuck(limits.idle)),
            // The connection has its own limit; what is left is the wait behind it.
            Some((None, _)) => (
                self.began + limits.connect + limits.idle,
                Problem::Stuck(limits.idle),
            ),
            None => (
                self.began + limits.connect + limits.answer,
                late(limits.answer),
            ),
        }
    }

    fn explain(&self, error: &reqwest::Error) -> Problem {
        if self.now().is_some_and(|moved| moved.failed) {
            return Problem::Source;
        }
        Problem::of(error)
    }
}

async fn read(
    mut response: reqwest::Response,
    idle: Duration,
    most: usize,
) -> Result<Answer, Problem> {
    let mut answer = Answer::of(&response);
    loop {
        let piece = timeout(idle, response.chunk());
        let piece = piece.await.map_err(|_| Problem::Stuck(idle))?;
        match piece.map_err(|error| Problem::of(&error))? {
            None => return Ok(answer),
            Some(piece) if answer.body.len() + piece.len() > most => {
                return Err(Problem::Huge(most));
            }
            Some(piece) => answer.body.extend_from_slice(&piece),
        }
    }
}
