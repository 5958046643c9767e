//! The client against a small Timesketch that forgets sessions, tires of tokens and answers nonsense on demand.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tempfile::TempDir;

use super::*;
use crate::config::delivery::{Login, TimesketchSettings};
use crate::durable;
use crate::http::tests::{Act, Heard, Stub, answer, json};

const SECRET: &str = "canary & Ümlaut=1";
pub(super) const HTML: &str = "Content-Type: text/html; charset=utf-8\r\n";
pub(super) const VERSION: &str =
    r#"{"meta":{"version":"20261014","plaso_version":"20260720"},"objects":[]}"#;

/// What the little server remembers.
#[derive(Default)]
pub(super) struct Memory {
    session: AtomicU64,
    token: AtomicU64,
    /// It accepts the password.
    pub(super) accepts: std::sync::atomic::AtomicBool,
}

pub(super) struct Fake {
    pub(super) stub: Stub,
    pub(super) memory: Arc<Memory>,
    folder: TempDir,
}

pub(super) fn page(token: u64, more: &str) -> Act {
    let text = format!("<html><head><meta name=\"csrf-token\" content=\"t{token}.x-y_z\"/></head>");
    answer("200 OK", &format!("{HTML}{more}"), &text)
}

impl Fake {
    /// The script answers what comes with a good session and token.
    pub(super) async fn start(script: impl Fn(&Heard) -> Act + Send + Sync + 'static) -> Self {
        let memory = Arc::new(Memory::default());
        memory.accepts.store(true, Ordering::SeqCst);
        let inner = Arc::clone(&memory);
        let stub = Stub::start(move |heard| inner.serve(heard, &script)).await;
        let folder = TempDir::new().unwrap();
        let this = Self {
            stub,
            memory,
            folder,
        };
        this.set_password(SECRET);
        this
    }

    pub(super) fn password_file(&self) -> PathBuf {
        self.folder.path().join("password")
    }

    pub(super) fn set_password(&self, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.password_file();
        durable::write(&path, format!("{text}\n").as_bytes()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(super) fn client(&self) -> Client {
        self.client_by(Login::Password)
    }

    fn client_by(&self, login: Login) -> Client {
        let settings = TimesketchSettings {
            url: format!("{}/", self.stub.url()),
            login,
            user: "agent".into(),
            password_file: self.password_file(),
            connect_seconds: 1,
            answer_seconds: 1,
            idle_seconds: 1,
            request_seconds: 20,
            ..TimesketchSettings::default()
        };
        Client::new(&settings, None).unwrap()
    }

    fn count(&self, line: &str) -> usize {
        self.stub.lines().iter().filter(|one| *one == line).count()
    }

    pub(super) fn logins(&self) -> usize {
        self.count("POST /login/?local_auth=1")
    }
}

impl Memory {
    fn serve(&self, heard: &Heard, script: &dyn Fn(&Heard) -> Act) -> Act {
        let token = self.token.load(Ordering::SeqCst);
        let cookie = heard.header("cookie").unwrap_or_default();
        let session = format!("session=s{}", self.session.load(Ordering::SeqCst));
        let inside = cookie.split("; ").any(|pair| pair == session);
        match heard.line.as_str() {
            "GET /login/?local_auth=1" => page(token, "Set-Cookie: session=nobody; HttpOnly\r\n"),
            "POST /login/?local_auth=1" if self.accepts.load(Ordering::SeqCst) => {
                let number = self.session.fetch_add(1, Ordering::SeqCst) + 1;
                let head = format!("Location: /\r\nSet-Cookie: session=s{number}; Path=/\r\n");
                answer("302 FOUND", &head, "")
            }
            "POST /login/?local_auth=1" => page(token, ""),
            // It looks at the token before it looks at the user.
            line if !inside && !line.starts_with("GET") => {
                let text = r#"{"message": "The CSRF session token is missing."}"#;
                json("400 BAD REQUEST", text)
            }
            _ if !inside => answer("302 FOUND", "Location: /login/?next=%2F\r\n", ""),
            "GET /" => page(token, ""),
            line if !line.starts_with("GET")
                && heard.header("x-csrftoken") != Some(&format!("t{token}.x-y_z")) =>
            {
                json(
                    "400 BAD REQUEST",
                    r#"{"message": "The CSRF token has expired."}"#,
                )
            }
            _ => script(heard),
        }
    }
}

pub(super) fn upload(file: &std::path::Path) -> Chunk<'_> {
    Chunk {
        file,
        file_size: 300_000,
        offset: 100_000,
        length: 200_000,
        index: 1,
        total: 2,
        upload: "0123456789abcdef0123456789abcdef",
        sketch: 7,
        timeline: "web-1 \"é\"",
        file_name: "dfagent-abc.plaso",
        data_label: "label",
        provider: "dfagent",
        context: "{\"case\":\"c\"}",
    }
}

pub(super) fn storage(fake: &Fake) -> PathBuf {
    let path = fake.folder.path().join("storage");
    let bytes: Vec<u8> = (0..300_000_u32)
        .map(|number| (number % 251) as u8)
        .collect();
    durable::write(&path, &bytes).unwrap();
    path
}

const DONE: &str =
    r#"{"meta":{"upload_complete":true,"task_id":"t"},"objects":[{"id":3,"name":"n"}]}"#;

pub(super) fn quiet(_: u64) {}

#[tokio::test]
async fn one_login_serves_all_who_ask_at_once() {
    let fake = Fake::start(|_| json("200 OK", VERSION)).await;
    let client = fake.client();
    for version in join_all((0..10).map(|_| client.version())).await {
        assert_eq!(version.unwrap().plaso, 20_260_720);
    }
    assert_eq!(fake.logins(), 1);
}

#[tokio::test]
async fn the_login_form_is_sent_as_the_shipped_proxy_wants_it() {
    let fake = Fake::start(|_| json("200 OK", VERSION)).await;
    fake.client().version().await.unwrap();
    let form = &fake.stub.heard()[1];
    let kind = form.header("content-type");
    assert_eq!(kind, Some("application/x-www-form-urlencoded"));
    assert_eq!(form.header("referer"), Some(fake.stub.url().as_str()));
    let text = "username=agent&password=canary+%26+%C3%9Cmlaut%3D1&csrf_token=t0.x-y_z";
    assert_eq!(form.text(), text);
}

#[tokio::test]
async fn a_lost_session_leads_to_one_login_for_all() {
    let fake = Fake::start(|_| json("200 OK", VERSION)).await;
    let client = fake.client();
    client.version().await.unwrap();
    fake.memory.session.store(100, Ordering::SeqCst);
    for version in join_all((0..5).map(|_| client.version())).await {
        version.unwrap();
    }
    assert_eq!(fake.logins(), 2);
}

#[tokio::test]
async fn a_server_that_forgets_every_session_is_not_asked_for_ever() {
    let fake = Fake::start(|_| answer("302 Found", "Location: /login/?next=secret\r\n", "")).await;
    let error = fake.client().version().await.unwrap_err();
    assert_eq!(error.fault(), Fault::Passing { after: None });
    assert!(
        error.to_string().contains("it sends us to /login/;"),
        "{error}"
    );
    assert_eq!(fake.logins(), 2);
}

#[tokio::test]
async fn a_chunk_is_sent_anew_after_a_lost_session() {
    let fake = Fake::start(|_| json("201 CREATED", DONE)).await;
    let (client, file) = (fake.client(), storage(&fake));
    client.send_chunk(&upload(&file), &quiet).await.unwrap();
    fake.memory.session.store(100, Ordering::SeqCst);
    let answer = client.send_chunk(&upload(&file), &quiet).await.unwrap();
    assert!(matches!(answer, ChunkAnswer::Complete(Timeline { id: 3, .. }, task) if task == "t"));
    let heard = fake.stub.heard();
    let bodies = heard
        .iter()
        .filter(|heard| heard.line.ends_with("/upload/"));
    let bodies: Vec<usize> = bodies.map(|heard| heard.body.len()).collect();
    assert_eq!(bodies.len(), 3);
    assert!(
        bodies
            .iter()
            .all(|size| size == &bodies[0] && *size > 200_000),
        "{bodies:?}"
    );
}

#[tokio::test]
async fn a_chunk_holds_its_part_of_the_file_and_says_how_long_it_is() {
    let fake = Fake::start(|_| json("201 CREATED", DONE)).await;
    let (client, file) = (fake.client(), storage(&fake));
    let most = AtomicU64::new(0);
    let sent = |bytes| {
        most.fetch_max(bytes, Ordering::SeqCst);
    };
    client.send_chunk(&upload(&file), &sent).await.unwrap();
    assert_eq!(most.into_inner(), 200_000);
    let heard = fake.stub.heard().pop().unwrap();
    assert_eq!(heard.header("transfer-encoding"), None);
    let length: usize = heard.header("content-length").unwrap().parse().unwrap();
    assert_eq!(length, heard.body.len());
    let part = &std::fs::read(&file).unwrap()[100_000..];
    assert!(heard.body.windows(part.len()).any(|window| window == part));
    let text = heard.text();
    for (name, value) in [
        ("name", "web-1 \"é\""),
        ("sketch_id", "7"),
        ("total_file_size", "300000"),
        ("provider", "dfagent"),
        ("context", "{\"case\":\"c\"}"),
        ("data_label", "label"),
        ("chunk_index", "1"),
        ("chunk_byte_offset", "100000"),
        ("chunk_total_chunks", "2"),
        ("chunk_index_name", "0123456789abcdef0123456789abcdef"),
    ] {
        let field = format!("form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        assert!(text.contains(&field), "{name}");
    }
    assert!(text.contains("name=\"file\"; filename=\"dfagent-abc.plaso\""));
}

#[tokio::test]
async fn another_file_than_the_one_that_was_begun_is_not_sent() {
    let fake = Fake::start(|_| json("201 CREATED", DONE)).await;
    let (client, file) = (fake.client(), storage(&fake));
    durable::write(&file, b"short").unwrap();
    let error = client.send_chunk(&upload(&file), &quiet).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Refused);
    assert_eq!(fake.count("POST /api/v1/upload/"), 0);
}

#[tokio::test]
async fn a_tired_token_is_renewed_without_a_login() {
    let fake = Fake::start(|_| json("200 OK", "{}")).await;
    let client = fake.client();
    client.delete_timeline(1, 2).await.unwrap();
    fake.memory.token.store(5, Ordering::SeqCst);
    client.delete_timeline(1, 2).await.unwrap();
    assert_eq!((fake.logins(), fake.count("GET /")), (1, 1));
    assert_eq!(fake.count("DELETE /api/v1/sketches/1/timelines/2/"), 3);
}

#[tokio::test]
async fn an_old_token_is_renewed_before_it_is_refused() {
    let fake = Fake::start(|_| json("200 OK", "{}")).await;
    let client = fake.client();
    client.delete_timeline(1, 2).await.unwrap();
    for (minutes, pages) in [(44, 0), (2, 1), (44, 1)] {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(minutes * 60)).await;
        tokio::time::resume();
        client.delete_timeline(1, 2).await.unwrap();
        assert_eq!(fake.count("GET /"), pages, "{minutes}");
    }
    assert_eq!(fake.logins(), 1);
}

#[tokio::test]
async fn trouble_while_logging_in_did_nothing_of_what_was_asked() {
    for act in [Act::Reset(usize::MAX), answer("500 Oops", "", "")] {
        let stub = Stub::start(move |heard| match heard.line.as_str() {
            "GET /login/?local_auth=1" => page(1, ""),
            _ => act.clone(),
        })
        .await;
        let fake = Fake::start(|_| Act::Silence).await;
        let settings = TimesketchSettings {
            url: stub.url(),
            password_file: fake.password_file(),
            ..TimesketchSettings::default()
        };
        let client = Client::new(&settings, None).unwrap();
        let error = client.create_sketch("a", "b").await.unwrap_err();
        assert_eq!(error.fault(), Fault::Passing { after: None });
        assert_eq!(stub.lines().last().unwrap(), "POST /login/?local_auth=1");
    }
}

#[tokio::test]
async fn a_token_that_is_never_good_is_renewed_once() {
    let text = r#"{"message": "The CSRF token is invalid."}"#;
    let fake = Fake::start(move |_| json("400 BAD REQUEST", text)).await;
    let error = fake.client().delete_timeline(1, 2).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Refused);
    assert_eq!((fake.logins(), fake.count("GET /")), (1, 1));
    assert_eq!(fake.count("DELETE /api/v1/sketches/1/timelines/2/"), 2);
}

#[tokio::test]
async fn the_probe_of_uploads_wants_to_be_refused_for_being_empty() {
    let table = [
        (
            "400 B",
            "Unable to upload data, no file uploaded nor any events.",
            true,
        ),
        ("400 B", "Upload not enabled", false),
        ("404 N", "No sketch found with this ID.", false),
        ("403 F", "user does not have write access.", false),
        ("200 OK", "", false),
    ];
    for (status, text, good) in table {
        let body = format!(r#"{{"message": "{text}"}}"#);
        let fake = Fake::start(move |_| json(status, &body)).await;
        let result = fake.client().can_upload(7).await;
        assert_eq!(result.is_ok(), good, "{text}: {result:?}");
        let heard = fake.stub.heard().pop().unwrap();
        assert!(heard.text().contains("name=\"sketch_id\"\r\n\r\n7\r\n"));
    }
}

#[tokio::test]
async fn sketches_are_found_by_their_exact_name_on_all_pages() {
    let fake = Fake::start(|heard| {
        let second = heard.line.contains("page=2");
        json("200 OK", if second {
            r#"{"objects":[{"id":2,"name":"a\\b","status":"new"},{"id":9,"name":"A\\b"}],"meta":{"next_page":null}}"#
        } else {
            r#"{"objects":[{"id":5,"name":"a\\b","status":"ready"},{"id":4,"name":"a\\b","status":"archived"},
                {"id":3,"name":"xa\\b"}],"meta":{"next_page":2}}"#
        })
    })
    .await;
    let found = fake.client().sketches_named(r"a\b").await.unwrap();
    let ids: Vec<u64> = found.iter().map(|sketch| sketch.id).collect();
    assert_eq!(ids, [2, 5]);
    assert!(
        fake.stub
            .lines()
            .iter()
            .any(|line| line.contains("search_query=a_b&"))
    );
}
