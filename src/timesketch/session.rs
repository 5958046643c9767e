//! Being logged in: one session for all that goes on at once, one login at a time, no password tried twice.

use std::collections::BTreeMap;

use reqwest::header::{CONTENT_TYPE, COOKIE, REFERER};
use reqwest::{Method, RequestBuilder};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::error::ClientError;
use super::judge;
use crate::config::delivery::Login;
use crate::http::{Answer, Budget, Wire};
use crate::secret::{Fingerprint, Secret, Source};

/// Timesketch's tokens live for an hour.
const TOKEN_AGE: Duration = Duration::from_secs(45 * 60);
/// Pages of Timesketch have some kilobytes.
const MOST_PAGE: usize = 1024 * 1024;
/// A load balancer adds one or two to Timesketch's one.
const MOST_COOKIES: usize = 16;
const MOST_COOKIE: usize = 8 * 1024;

/// What proves who we are, for one request.
#[derive(Clone)]
pub(super) struct Session {
    /// Counts logins.
    number: u64,
    cookies: BTreeMap<String, String>,
    token: String,
    /// When the token was given.
    taken: Instant,
    /// The password of HTTP basic, and the state of its file.
    basic: Option<std::sync::Arc<Secret>>,
}

/// Holds the session.
pub(super) struct Keeper {
    login: Login,
    user: String,
    source: Option<Source>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    session: Option<Session>,
    logins: u64,
    /// The secret that the server did not accept.
    refused: Option<Fingerprint>,
}

impl Keeper {
    pub(super) fn new(login: Login, user: &str, source: Option<Source>) -> Self {
        Self {
            login,
            user: user.to_owned(),
            source,
            state: Mutex::default(),
        }
    }

    pub(super) fn user(&self) -> &str {
        &self.user
    }

    /// Whether the server refused the secret that still stands in its file.
    pub(super) async fn is_locked_out(&self) -> bool {
        let refused = self.state.lock().await.refused.clone();
        let Some(source) = &self.source else {
            return false;
        };
        refused.is_some_and(|refused| {
            let now = source.read();
            now.is_ok_and(|secret| *secret.fingerprint() == refused)
        })
    }

    /// The session there is, or a new one; with a token that will do for a request that changes something.
    pub(super) async fn open(&self, wire: &Wire, changing: bool) -> Result<Session, ClientError> {
        let mut state = self.state.lock().await;
        match state.session.clone() {
            Some(session) if changing && session.taken.elapsed() > TOKEN_AGE => {
                self.refresh(wire, &mut state, session).await
            }
            Some(session) => Ok(session),
            None => self.log_in(wire, &mut state).await,
        }
    }

    /// Another session than one that the server no longer knows.
    pub(super) async fn renew(&self, wire: &Wire, lost: &Session) -> Result<Session, ClientError> {
        let mut state = self.state.lock().await;
        match state.session.clone() {
            Some(session) if session.number != lost.number => Ok(session),
            _ => self.log_in(wire, &mut state).await,
        }
    }

    /// Another token than one that the server no longer accepts.
    pub(super) async fn retoken(
        &self,
        wire: &Wire,
        stale: &Session,
    ) -> Result<Session, ClientError> {
        let mut state = self.state.lock().await;
        match state.session.clone() {
            Some(session) if session.number != stale.number || session.token != stale.token => {
                Ok(session)
            }
            Some(session) => self.refresh(wire, &mut state, session).await,
            None => self.log_in(wire, &mut state).await,
        }
    }

    /// Whether a 401 means the password itself: with HTTP basic it is in every request.
    pub(super) async fn condemn(&self, session: &Session) {
        if let Some(secret) = &session.basic {
            self.state.lock().await.refused = Some(secret.fingerprint().clone());
        }
    }

    async fn refresh(
        &self,
        wire: &Wire,
        state: &mut State,
        mut session: Session,
    ) -> Result<Session, ClientError> {
        let answer = self.page(wire, &mut session, "/").await?;
        if judge::session_is_lost(&answer) {
            return self.log_in(wire, state).await;
        }
        session.token = token("get a new token of", wire, answer)?;
        session.taken = Instant::now();
        state.session = Some(session.clone());
        Ok(session)
    }

    async fn log_in(&self, wire: &Wire, state: &mut State) -> Result<Session, ClientError> {
        state.session = None;
        let secret = self.source.as_ref().map(Source::read).transpose()?;
        let print = secret.as_ref().map(|secret| secret.fingerprint().clone());
        if print.is_some() && print == state.refused {
            return Err(unknown_user(wire));
        }
        let mut session = Session {
            number: state.logins + 1,
            cookies: BTreeMap::new(),
            token: String::new(),
            taken: Instant::now(),
            basic: None,
        };
        let entered = match (self.login, secret) {
            (Login::Password, Some(secret)) => self.by_form(wire, &mut session, &secret).await,
            (_, secret) => {
                session.basic = secret.map(std::sync::Arc::new);
                self.by_proxy(wire, &mut session).await
            }
        };
        if let Err(error) = entered {
            if matches!(error, ClientError::Credentials { .. }) {
                state.refused = print;
            }
            return Err(error);
        }
        state.refused = None;
        state.logins = session.number;
        state.session = Some(session.clone());
        Ok(session)
    }

    /// Timesketch's own form. It answers a wrong password with the form again, and a right one with a redirect.
    async fn by_form(
        &self,
        wire: &Wire,
        session: &mut Session,
        secret: &Secret,
    ) -> Result<(), ClientError> {
        const FORM: &str = "/login/?local_auth=1";
        let action = action("log in to", wire);
        let answer = self.page(wire, session, FORM).await?;
        if matches!(answer.status, 300..=399) {
            let place = judge::place(&answer);
            return Err(ClientError::Elsewhere { action, place });
        }
        session.token = token("log in to", wire, answer)?;
        session.taken = Instant::now();
        let body = zeroize::Zeroizing::new(
            form_urlencoded::Serializer::new(String::new())
                .append_pair("username", &self.user)
                .append_pair("password", secret.reveal())
                .append_pair("csrf_token", &session.token)
                .finish(),
        );
        let request = self
            .sign(wire.request(Method::POST, FORM), wire, session, false)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body.as_bytes().to_vec());
        let answer = self.exchange(wire, session, request).await?;
        match answer.status {
            300..=399 if !judge::place(&answer).contains("/login") => Ok(()),
            401 => Err(unknown_user(wire)),
            // The form again, and no other page that somebody may have put before it.
            200 if judge::token(&answer.text()).is_some() => Err(unknown_user(wire)),
            _ => match judge::accept(&action, answer, false) {
                Err(error) => Err(error),
                Ok(_) => Err(judge::odd(&action, "no redirect after the form", false)),
            },
        }
    }

    /// A proxy that knows us and tells Timesketch, which only listens on its login page.
    async fn by_proxy(&self, wire: &Wire, session: &mut Session) -> Result<(), ClientError> {
        let mut answer = self.page(wire, session, "/").await?;
        if matches!(answer.status, 300..=399) {
            let login = self.page(wire, session, "/login/").await?;
            if !matches!(login.status, 200..=399) {
                answer = login;
            } else {
                answer = self.page(wire, session, "/").await?;
                if matches!(answer.status, 300..=399) {
                    let server = wire.base().to_owned();
                    return Err(ClientError::Unknown { server });
                }
            }
        }
        if answer.status == 401 && session.basic.is_some() {
            return Err(unknown_user(wire));
        }
        session.token = token("log in to", wire, answer)?;
        session.taken = Instant::now();
        Ok(())
    }

    async fn page(
        &self,
        wire: &Wire,
        session: &mut Session,
        path: &str,
    ) -> Result<Answer, ClientError> {
        let request = self.sign(wire.request(Method::GET, path), wire, session, false);
        self.exchange(wire, session, request).await
    }

    async fn exchange(
        &self,
        wire: &Wire,
        session: &mut Session,
        request: RequestBuilder,
    ) -> Result<Answer, ClientError> {
        let request = request.build().map_err(|error| wire.unbuilt(&error))?;
        let budget = Budget {
            bytes: MOST_PAGE,
            total: wire.limits().total.min(super::ask::SHORT),
            moved: None,
            sent: None,
        };
        let answer = wire.exchange(request, budget).await;
        let answer = answer.map_err(|error| ClientError::from(error).before())?;
        session.take_cookies(&answer.cookies);
        Ok(answer)
    }

    /// Puts onto a request what proves who we are.
    pub(super) fn sign(
        &self,
        request: RequestBuilder,
        wire: &Wire,
        session: &Session,
        changing: bool,
    ) -> RequestBuilder {
        let mut request = request.header(REFERER, wire.base());
        if !session.cookies.is_empty() {
            let pairs = session.cookies.iter();
            let pairs: Vec<String> = pairs
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            request = request.header(COOKIE, pairs.join("; "));
        }
        if changing {
            request = request.header("X-CSRFToken", &session.token);
        }
        match &session.basic {
            Some(secret) => request.basic_auth(&self.user, Some(secret.reveal())),
            None => request,
        }
    }
}

impl Session {
    /// Takes over what `Set-Cookie` says. All is for the one server that we talk to, so the rest of the rules of
    /// cookies does not matter.
    fn take_cookies(&mut self, lines: &[String]) {
        for line in lines {
            let mut parts = line.split(';').map(str::trim);
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
                continue;
            };
            let gone = value.is_empty() || parts.any(|part| part.eq_ignore_ascii_case("max-age=0"));
            if gone {
                self.cookies.remove(name);
            } else if name.len() + value.len() <= MOST_COOKIE
                && (self.cookies.len() < MOST_COOKIES || self.cookies.contains_key(name))
            {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

fn action(verb: &str, wire: &Wire) -> String {
    format!("{verb} {}", wire.base())
}

fn unknown_user(wire: &Wire) -> ClientError {
    ClientError::Credentials {
        server: wire.base().to_owned(),
    }
}

/// The token in a page of Timesketch.
fn token(verb: &str, wire: &Wire, mut answer: Answer) -> Result<String, ClientError> {
    let action = action(verb, wire);
    if let Some(token) = (answer.status == 200)
        .then(|| judge::token(&answer.text()))
        .flatten()
    {
        return Ok(token);
    }
    // No page of Timesketch; if it is no error either, it is somebody else's.
    answer.html |= matches!(answer.status, 200..=299);
    Err(match judge::accept(&action, answer, false) {
        Err(error) => error,
        Ok(_) => judge::odd(&action, "no token in its page", false),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::Mutex;
    use std::sync::atomic::Ordering;

    use futures_util::future::join_all;

    use super::super::tests::{Fake, VERSION, page};
    use super::super::{Client, Fault};
    use crate::config::delivery::{Login, TimesketchSettings};
    use crate::http::tests::{Act, Stub, answer, json};

    #[tokio::test]
    async fn credentials_never_follow_a_redirect() {
        let thief = Arc::new(Stub::start(|_| json("200 OK", "{}")).await);
        for status in ["302 Found", "307 Temporary", "308 Permanent"] {
            for login in [Login::Password, Login::Basic] {
                let fake = Fake::start(|_| Act::Silence).await;
                let head = format!("Location: {}/login\r\n", thief.url());
                let stub = Stub::start(move |heard| match heard.line.as_str() {
                    "GET /login/?local_auth=1" => page(1, ""),
                    _ => answer(status, &head, ""),
                })
                .await;
                let settings = TimesketchSettings {
                    url: stub.url(),
                    login,
                    password_file: fake.password_file(),
                    ..TimesketchSettings::default()
                };
                let client = Client::new(&settings, None).unwrap();
                client.version().await.unwrap_err();
            }
        }
        assert!(thief.lines().is_empty());
    }

    #[tokio::test]
    async fn a_proxy_that_knows_us_is_told_every_time() {
        let inside = Arc::new(Mutex::new(false));
        let open = Arc::clone(&inside);
        let stub = Stub::start(move |heard| match heard.line.as_str() {
            _ if heard.header("authorization").is_none() => answer("401 Unauthorized", "", ""),
            "GET /login/" => {
                *open.lock().unwrap() = true;
                answer("302 FOUND", "Location: /\r\nSet-Cookie: session=s\r\n", "")
            }
            _ if !*open.lock().unwrap() => answer("302 FOUND", "Location: /login/\r\n", ""),
            "GET /" => page(1, ""),
            _ => json("200 OK", VERSION),
        })
        .await;
        let fake = Fake::start(|_| Act::Silence).await;
        let mut settings = TimesketchSettings {
            url: stub.url(),
            user: "agent".into(),
            login: Login::Basic,
            password_file: fake.password_file(),
            ..TimesketchSettings::default()
        };
        Client::new(&settings, None)
            .unwrap()
            .version()
            .await
            .unwrap();
        assert!(*inside.lock().unwrap());
        settings.login = Login::Certificate;
        let error = Client::new(&settings, None)
            .unwrap()
            .version()
            .await
            .unwrap_err();
        assert_eq!(error.fault(), Fault::Refused);
    }

    #[tokio::test]
    async fn a_proxy_that_does_not_know_us_is_asked_once() {
        let known = Arc::new(Mutex::new(true));
        let knows = Arc::clone(&known);
        let stub = Stub::start(move |heard| match heard.line.as_str() {
            _ if !*knows.lock().unwrap() => answer("401 Unauthorized", "", ""),
            "GET /" => page(1, ""),
            _ => json("200 OK", VERSION),
        })
        .await;
        let fake = Fake::start(|_| Act::Silence).await;
        let settings = TimesketchSettings {
            url: stub.url(),
            login: Login::Basic,
            password_file: fake.password_file(),
            ..TimesketchSettings::default()
        };
        let client = Client::new(&settings, None).unwrap();
        client.version().await.unwrap();
        *known.lock().unwrap() = false;
        let before = stub.lines().len();
        for _ in 0..3 {
            let error = client.version().await.unwrap_err();
            assert_eq!(error.fault(), Fault::Credentials);
        }
        assert_eq!(stub.lines().len(), before + 1);
        *known.lock().unwrap() = true;
        fake.set_password("another");
        client.version().await.unwrap();
    }

    #[tokio::test]
    async fn a_wrong_password_is_tried_once_until_its_file_changes() {
        let fake = Fake::start(|_| json("200 OK", VERSION)).await;
        fake.memory.accepts.store(false, Ordering::SeqCst);
        let client = fake.client();
        for result in join_all((0..4).map(|_| client.version())).await {
            let error = result.unwrap_err();
            assert_eq!(error.fault(), Fault::Credentials);
            assert!(!format!("{error} {error:?}").contains("canary"));
        }
        assert_eq!(fake.logins(), 1);
        assert!(client.is_locked_out().await);
        fake.set_password("another");
        assert!(!client.is_locked_out().await);
        fake.memory.accepts.store(true, Ordering::SeqCst);
        client.version().await.unwrap();
        assert_eq!(fake.logins(), 2);
    }
}
