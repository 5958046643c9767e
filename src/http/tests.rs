//! A server that misbehaves on demand, and what an exchange makes of it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::*;

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    /// `POST /x`.
    pub(crate) line: String,
    /// The head as text.
    pub(crate) head: String,
    /// As much of the body as was read.
    pub(crate) body: Vec<u8>,
}

impl Heard {
    /// The value of a header; its name in small letters.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            (key.eq_ignore_ascii_case(name)).then_some(value)
        })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Reads all, answers.
    Answer(Vec<u8>),
    /// Reads all, answers that, byte by byte, with a pause between.
    Drip(Vec<u8>, Duration),
    /// Reads all, answers that but for so many bytes at the end, which never come.
    Halt(Vec<u8>, usize),
    /// Reads that many bytes of the body, then resets the connection.
    Reset(usize),
    /// Reads all and says nothing.
    Silence,
    /// Reads nothing and says nothing.
    Deaf,
    /// Answers before it has read the body, and reads on.
    Early(Vec<u8>),
    /// Answers with a body that does not end.
    Endless,
}

/// An answer in bytes; `head` holds more header lines.
pub(crate) fn answer(status: &str, head: &str, body: &str) -> Act {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{head}\r\n{body}");
    Act::Answer(text.into_bytes())
}

pub(crate) fn json(status: &str, body: &str) -> Act {
    answer(status, "Content-Type: application/json\r\n", body)
}

type Script = Arc<dyn Fn(&Heard) -> Act + Send + Sync>;

/// A server on loopback.
pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    task: JoinHandle<()>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stub {
    /// The script sees the head of a request and says what is done.
    pub(crate) async fn start(script: impl Fn(&Heard) -> Act + Send + Sync + 'static) -> Self {
        Self::serve(None, script).await
    }

    pub(super) async fn serve(
        tls: Option<TlsAcceptor>,
        script: impl Fn(&Heard) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (log, script): (_, Script) = (Arc::clone(&heard), Arc::new(script));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, script, tls) = (Arc::clone(&log), Arc::clone(&script), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => converse(stream, &log, &script, reset).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                converse(stream, &log, &script, drop).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            heard,
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// The first lines of all requests.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.heard().into_iter().map(|heard| heard.line).collect()
    }
}

fn reset(stream: TcpStream) {
    let socket = socket(&stream);
    // Closing with a linger time of nothing resets the connection.
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::Linger, &LINGER).unwrap();
    drop(stream);
}

const LINGER: nix::libc::linger = nix::libc::linger {
    l_onoff: 1,
    l_linger: 0,
};

fn socket(stream: &TcpStream) -> std::os::fd::OwnedFd {
    use std::os::fd::AsFd;
    stream.as_fd().try_clone_to_owned().unwrap()
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    log: &Mutex<Vec<Heard>>,
    script: &Script,
    break_it: fn(S),
) {
    let mut seen = Vec::new();
    let end = loop {
        if let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        match stream.read_buf(&mut seen).await {
            Ok(count) if count > 0 => {}
            _ => return,
        }
    };
    let head = String::from_utf8_lossy(&seen[..end]).into_owned();
    let line = head.lines().next().unwrap().replace(" HTTP/1.1", "");
    let mut heard = Heard {
        line,
        head,
        body: seen.split_off(end),
    };
    let whole = heard
        .header("content-length")
        .map_or(0, |text| text.parse().unwrap());
    let act = script(&heard);
    let wanted = match act {
        Act::Reset(count) => count.min(whole),
        Act::Deaf | Act::Early(_) => 0,
        _ => whole,
    };
    while heard.body.len() < wanted {
        let count = stream.read_buf(&mut heard.body).await.unwrap_or(0);
        if count == 0 {
            break;
        }
    }
    log.lock().unwrap().push(heard);
    match act {
        Act::Answer(bytes) => drop(stream.write_all(&bytes).await.ok()),
        Act::Drip(bytes, pause) => {
            for byte in bytes {
                if stream.write_all(&[byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(pause).await;
            }
        }
        Act::Halt(bytes, left) => {
            stream.write_all(&bytes[..bytes.len() - left]).await.ok();
            std::future::pending().await
        }
        Act::Reset(_) => break_it(stream),
        Act::Silence | Act::Deaf => std::future::pending().await,
        Act::Early(bytes) => {
            stream.write_all(&bytes).await.ok();
            tokio::io::copy(&mut stream, &mut tokio::io::sink())
                .await
                .ok();
        }
        Act::Endless => {
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n";
            stream.write_all(head).await.ok();
            while stream.write_all(&[b' '; 65_536]).await.is_ok() {}
        }
    }
}

const SOON: Duration = Duration::from_millis(200);

pub(super) const LIMITS: Limits = Limits {
    connect: Duration::from_secs(5),
    answer: Duration::from_secs(5),
    idle: Duration::from_secs(5),
    total: Duration::from_secs(20),
};

fn wire(url: &str, limits: Limits) -> Wire {
    Wire::new(&Setup {
        fits: crate::config::delivery::is_web_address,
        url,
        section: "timesketch",
        ca_file: Path::new(""),
        certificate: Path::new(""),
        limits,
    })
    .unwrap()
}

async fn get(wire: &Wire) -> Result<Answer, WireError> {
    ask(wire, Method::GET, None).await
}

pub(super) async fn ask(
    wire: &Wire,
    method: Method,
    body: Option<(reqwest::Body, watch::Receiver<Moved>)>,
) -> Result<Answer, WireError> {
    let mut request = wire.request(method, "/x");
    let mut moved = None;
    if let Some((body, receiver)) = body {
        request = request.header("content-length", LENGTH).body(body);
        moved = Some(receiver);
    }
    let budget = Budget {
        bytes: 1024,
        total: wire.limits().total,
        moved,
        sent: None,
    };
    wire.exchange(request.build().unwrap(), budget).await
}

/// Large enough for no buffer on the way to take all of it.
const LENGTH: u64 = 64 * 1024 * 1024;

fn large(folder: &TempDir) -> (reqwest::Body, watch::Receiver<Moved>) {
    let file = fs::File::create_new(folder.path().join("file")).unwrap();
    file.set_len(LENGTH).unwrap();
    stream(
        fs::File::open(folder.path().join("file")).unwrap(),
        0,
        LENGTH,
    )
}

/// The problem, and whether the request may have been carried out.
pub(super) fn problem(result: Result<Answer, WireError>) -> (Problem, bool) {
    match result {
        Err(WireError::Exchange { problem, whole, .. }) => (problem, whole),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = ask(&wire(&url, LIMITS), Method::POST, None)
        .await
        .unwrap_err();
    let text = format!("reach {url}: connection refused; is it up, and is [timesketch] url right?");
    assert_eq!(error.to_string(), text);
    assert!(!problem(Err(error)).1);
}

#[tokio::test]
async fn a_lost_answer_may_mean_that_it_was_done() {
    for (method, whole) in [(Method::GET, false), (Method::POST, true)] {
        let stub = Stub::start(|_| Act::Reset(usize::MAX)).await;
        let result = ask(&wire(&stub.url(), LIMITS), method, None).await;
        let (problem, done) = problem(result);
        assert!(matches!(problem, Problem::Broken(_)), "{problem:?}");
        assert_eq!(done, whole);
    }
}

#[tokio::test]
async fn a_connection_that_breaks_within_the_body_did_nothing() {
    let stub = Stub::start(|_| Act::Reset(1024 * 1024)).await;
    let folder = TempDir::new().unwrap();
    let result = ask(
        &wire(&stub.url(), LIMITS),
        Method::POST,
        Some(large(&folder)),
    )
    .await;
    let (problem, done) = problem(result);
    assert!(matches!(problem, Problem::Broken(_)), "{problem:?}");
    assert!(!done);
}

#[tokio::test]
async fn a_server_that_stops_reading_is_given_up() {
    let stub = Stub::start(|_| Act::Deaf).await;
    let folder = TempDir::new().unwrap();
    let limits = Limits {
        idle: SOON,
        ..LIMITS
    };
    let result = ask(
        &wire(&stub.url(), limits),
        Method::POST,
        Some(large(&folder)),
    )
    .await;
    assert_eq!(problem(result), (Problem::Stuck(SOON), false));
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let stub = Stub::start(|_| Act::Silence).await;
    let limits = Limits {
        answer: SOON,
        connect: SOON,
        ..LIMITS
    };
    let result = ask(&wire(&stub.url(), limits), Method::POST, None).await;
    assert_eq!(problem(result), (Problem::Silent(SOON), true));
    let folder = TempDir::new().unwrap();
    let result = ask(
        &wire(&stub.url(), limits),
        Method::POST,
        Some(large(&folder)),
    )
    .await;
    assert_eq!(problem(result), (Problem::Silent(SOON), true));
}

#[tokio::test]
async fn an_answer_that_stops_in_the_middle_is_given_up() {
    let text = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab".to_vec();
    let stub = Stub::start(move |_| Act::Drip(text.clone(), Duration::from_millis(1))).await;
    let broken = get(&wire(&stub.url(), LIMITS)).await;
    assert!(matches!(problem(broken).0, Problem::Broken(_)));
    // Longer than we wait, then the rest.
    let text = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab".to_vec();
    let stub = Stub::start(move |_| Act::Halt(text.clone(), 1)).await;
    let limits = Limits {
        idle: SOON,
        ..LIMITS
    };
    let stuck = get(&wire(&stub.url(), limits)).await;
    assert_eq!(problem(stuck).0, Problem::Stuck(SOON));
}

#[tokio::test]
async fn a_byte_now_and_then_does_not_last_for_ever() {
    let text = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{}",
        "x".repeat(500)
    );
    let pause = Duration::from_millis(20);
    let stub = Stub::start(move |_| Act::Drip(text.clone().into_bytes(), pause)).await;
    let total = Duration::from_secs(2);
    let limits = Limits { total, ..LIMITS };
    assert_eq!(
        problem(get(&wire(&stub.url(), limits)).await).0,
        Problem::Slow(total)
    );
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let stub = Stub::start(|_| Act::Endless).await;
    let result = get(&wire(&stub.url(), LIMITS)).await;
    assert_eq!(problem(result).0, Problem::Huge(1024));
}

#[tokio::test]
async fn what_is_no_http_is_no_answer() {
    let stub = Stub::start(|_| Act::Answer(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())).await;
    let (problem, _) = problem(get(&wire(&stub.url(), LIMITS)).await);
    assert!(matches!(problem, Problem::Broken(_)), "{problem:?}");
}

#[tokio::test]
async fn a_refusal_that_comes_before_the_body_is_read_is_heard() {
    let text = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let stub = Stub::start(|_| Act::Early(text.to_vec())).await;
    let folder = TempDir::new().unwrap();
    let result = ask(
        &wire(&stub.url(), LIMITS),
        Method::POST,
        Some(large(&folder)),
    )
    .await;
    assert_eq!(result.unwrap().status, 413);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Stub::start(|_| json("200 OK", "{}")).await;
    let location = format!("Location: {}/there\r\n", other.url());
    let stub = Stub::start(move |_| answer("302 Found", &location, "")).await;
    let got = get(&wire(&stub.url(), LIMITS)).await.unwrap();
    assert_eq!(got.status, 302);
    assert_eq!(got.location, Some(format!("{}/there", other.url())));
    assert!(other.lines().is_empty());
}

#[tokio::test]
async fn a_file_that_became_shorter_is_told_apart_from_a_broken_connection() {
    let stub = Stub::start(|_| Act::Silence).await;
    let folder = TempDir::new().unwrap();
    let body = large(&folder);
    let file = fs::File::options()
        .write(true)
        .open(folder.path().join("file"));
    file.unwrap().set_len(1000).unwrap();
    let result = ask(&wire(&stub.url(), LIMITS), Method::POST, Some(body)).await;
    assert_eq!(problem(result), (Problem::Source, false));
}

#[test]
fn an_address_has_no_parts_that_would_get_lost() {
    for url in [
        "http://t.example",
        "http://169.254.169.254",
        "https://u@t",
        "https://t/?a",
        "https://t/#a",
        "https://",
    ] {
        let setup = Setup {
            fits: crate::config::delivery::is_web_address,
            url,
            section: "timesketch",
            ca_file: Path::new(""),
            certificate: Path::new(""),
            limits: LIMITS,
        };
        assert!(Wire::new(&setup).is_err(), "{url}");
    }
    assert_eq!(
        wire("http://localhost:5000/sub/", LIMITS).base(),
        "http://localhost:5000/sub"
    );
}
