//! Keeps `cloud.json`, what EC2 says about this instance, for the agent, which has no network to ask by. Nothing waits
//! for it, and nothing fails by it: what cannot be found out stands in it as a sentence and is asked again.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::outbox::Outbox;
use super::volumes::Asking;
use crate::config::ec2::Ec2Settings;
use crate::ec2::cloud::{Cloud, SCHEMA};
use crate::ec2::metadata::{Client, MetadataError};
use crate::printable;

/// How often announcements are asked for; an interruption is told two minutes ahead.
const EVERY: Duration = Duration::from_secs(5);
/// The longest pause after failures.
const MOST_PAUSE: Duration = Duration::from_secs(60);
/// How often tags, which may change, are asked for.
const TAGS: Duration = Duration::from_secs(60);

/// Keeps it up to date for as long as it is polled; `say` hears in short what is known whenever that changes.
pub async fn keep(outbox: Outbox, settings: Ec2Settings, say: impl Fn(&str)) -> Infallible {
    if !settings.is_used() {
        if let Err(error) = outbox.forget_cloud() {
            let error = printable::causes(&error);
            tracing::warn!(
                dfagent_error = error,
                "what EC2 said earlier is still there"
            );
        }
        return std::future::pending().await;
    }
    let mut keeper = match Client::new(&settings) {
        Ok(client) => Keeper::new(client, settings, &outbox),
        Err(error) => {
            let error = printable::causes(&error);
            tracing::warn!(dfagent_error = error, "EC2 is not asked");
            return std::future::pending().await;
        }
    };
    loop {
        let pause = keeper.turn(&outbox, &say).await;
        sleep(pause).await;
    }
}

struct Keeper {
    client: Client,
    settings: Ec2Settings,
    cloud: Cloud,
    /// What stands in the file.
    written: Option<Cloud>,
    /// When tags were asked for last.
    tagged: Option<Instant>,
    asking: Asking,
    pause: Duration,
}

impl Keeper {
    /// Begins with what an earlier start found out: a notice stands until EC2 takes it back. The next boot of the machine
    /// begins without (tmpfiles.d).
    fn new(client: Client, settings: Ec2Settings, outbox: &Outbox) -> Self {
        let known = outbox.cloud().ok().flatten();
        let fresh = || Cloud {
            schema: SCHEMA.to_owned(),
            ..Cloud::default()
        };
        Self {
            client,
            settings,
            cloud: known.unwrap_or_else(fresh),
            written: None,
            tagged: None,
            asking: Asking::new(),
            pause: EVERY,
        }
    }

    /// Asks once, writes down what is new, and says when to ask again.
    async fn turn(&mut self, outbox: &Outbox, say: &impl Fn(&str)) -> Duration {
        match self.ask().await {
            Ok(()) => {
                self.cloud.trouble.clear();
                self.pause = EVERY;
            }
            Err(error) => {
                let why = printable::line(&printable::causes(&error), 400);
                self.cloud.trouble = vec![format!("failed to {why}")];
                self.pause = (self.pause * 2).min(MOST_PAUSE);
            }
        }
        self.look_at_volumes(outbox).await;
        self.write(outbox, say);
        self.pause
    }

    /// What the agent sees is asked for once it is known where.
    async fn look_at_volumes(&mut self, outbox: &Outbox) {
        if self.cloud.instance.is_none() {
            return;
        }
        // Where the agent's file is no good nothing is asked; the agent writes a new one when it is started.
        let Ok(wanted) = outbox.wanted() else {
            return;
        };
        let (client, settings) = (&mut self.client, &self.settings);
        let trouble = self
            .asking
            .turn(client, settings, &wanted, &mut self.cloud)
            .await;
        self.cloud.trouble.extend(trouble);
    }

    /// Writes down what is known, if that is new.
    fn write(&mut self, outbox: &Outbox, say: &impl Fn(&str)) {
        if self.written.as_ref() == Some(&self.cloud) {
            return;
        }
        let said = |trouble| {
            let written = self.written.as_ref();
            written.is_some_and(|written| written.trouble.contains(trouble))
        };
        for trouble in self.cloud.trouble.iter().filter(|one| !said(one)) {
            tracing::warn!("{trouble}");
        }
        let text = in_short(&self.cloud);
        tracing::info!("{text}");
        say(&text);
        match outbox.keep_cloud(&self.cloud) {
            Ok(()) => self.written = Some(self.cloud.clone()),
            Err(error) => {
                let error = printable::causes(&error);
                tracing::error!(dfagent_error = error, "what EC2 says cannot be written");
            }
        }
    }

    /// Announcements come first, because they are in a hurry. What is known stays when a question fails.
    async fn ask(&mut self) -> Result<(), MetadataError> {
        self.cloud.notice = self.client.notice().await?;
        if self.cloud.instance.is_none() {
            self.cloud.instance = Some(self.client.instance().await?);
        }
        if self.tagged.is_none_or(|then| then.elapsed() >= TAGS) {
            self.cloud.tags = self.client.tags(&self.settings).await?;
            self.tagged = Some(Instant::now());
        }
        Ok(())
    }
}

/// What is known, in one line.
fn in_short(cloud: &Cloud) -> String {
    let mut text = match &cloud.instance {
        Some(instance) => format!("EC2: {} in {}", instance.id, instance.zone),
        None => "EC2: the instance is not known".to_owned(),
    };
    if let Some(notice) = &cloud.notice {
        let time = notice.time.as_deref().unwrap_or("a time that is not told");
        text = format!("{text}; notice: {} at {time}", notice.action);
    }
    for trouble in &cloud.trouble {
        text = format!("{text}; {trouble}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ec2::Use;
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    const DOCUMENT: &str = r#"{"instanceId":"i-1","region":"eu-central-1","availabilityZone":"eu-central-1a","accountId":"123456789012"}"#;

    const ROLE: &str = r#"{"Code":"Success","AccessKeyId":"ASIAX","SecretAccessKey":"s","Token":"t","Expiration":"2099-01-01T00:00:00Z"}"#;

    fn wanted(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    type Answers = Arc<Mutex<BTreeMap<String, (u16, String)>>>;

    /// A metadata service: a token that may be used a number of times, and answers by path.
    async fn double(answers: Answers, uses: usize) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut token, mut left) = (0, 0);
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
                let path = head.split(' ').nth(1).unwrap().to_owned();
                let (status, body) = if head.starts_with("post / ") {
                    let length = head.split("content-length: ").nth(1).unwrap();
                    let length = length.lines().next().unwrap().parse().unwrap();
                    stream.read_exact(&mut vec![0; length]).await.unwrap();
                    let mut answers = answers.lock().unwrap();
                    answers.entry("asked".to_owned()).or_default().0 += 1;
                    answers.get("/").cloned().unwrap_or((404, String::new()))
                } else if head.starts_with("put /latest/api/token ") {
                    assert!(head.contains("x-aws-ec2-metadata-token-ttl-seconds: 21600"));
                    (token, left) = (token + 1, uses);
                    (200, format!("token-{token}"))
                } else if left == 0
                    || !head.contains(&format!("x-aws-ec2-metadata-token: token-{token}\r\n"))
                {
                    (401, String::new())
                } else {
                    left -= 1;
                    let known = answers.lock().unwrap().get(&path).cloned();
                    known.unwrap_or((404, String::new()))
                };
                let text = format!(
                    "HTTP/1.1 {status} x\r\nlocation: http://evil.example/\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                // A client may have had enough of a long answer.
                drop(stream.write_all(text.as_bytes()).await);
            }
        });
        url
    }

    fn run(test: impl Future<Output = ()>) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap().block_on(test);
    }

    struct Case {
        answers: Answers,
        keeper: Keeper,
        outbox: Outbox,
        _folder: tempfile::TempDir,
    }

    impl Case {
        async fn new(uses: usize) -> Self {
            let answers = Answers::default();
            let settings = Ec2Settings {
                asks: Use::Yes,
                metadata: double(Arc::clone(&answers), uses).await,
                ..Ec2Settings::default()
            };
            let settings = Ec2Settings {
                endpoint: settings.metadata.clone(),
                ..settings
            };
            let folder = tempfile::tempdir().unwrap();
            let outbox = Outbox::at(folder.path(), None);
            outbox.make().unwrap();
            let client = Client::new(&settings).unwrap();
            let case = Self {
                answers,
                keeper: Keeper::new(client, settings, &outbox),
                outbox,
                _folder: folder,
            };
            case.set("dynamic/instance-identity/document", 200, DOCUMENT);
            case
        }

        fn set(&self, path: &str, status: u16, body: &str) {
            let path = format!("/latest/{path}");
            let mut answers = self.answers.lock().unwrap();
            answers.insert(path, (status, body.to_owned()));
        }

        /// A role, and what EC2 answers.
        fn ec2(&self, status: u16, body: &str) {
            let roles = "meta-data/iam/security-credentials/";
            self.set(roles, 200, "worker\n");
            self.set(&format!("{roles}worker"), 200, ROLE);
            let mut answers = self.answers.lock().unwrap();
            answers.insert("/".to_owned(), (status, body.to_owned()));
        }

        /// How often EC2 was asked.
        fn asked(&self) -> u16 {
            let answers = self.answers.lock().unwrap();
            answers.get("asked").map_or(0, |(count, _)| *count)
        }

        async fn turn(&mut self) -> (Cloud, Duration) {
            let pause = self.keeper.turn(&self.outbox, &|_| {}).await;
            (self.outbox.cloud().unwrap().unwrap(), pause)
        }
    }

    #[test]
    fn instance_tags_and_a_notice_that_comes_and_goes_are_written_down() {
        run(async {
            let mut case = Case::new(100).await;
            case.set(
                "meta-data/tags/instance/dfagent:case",
                200,
                "\u{1b}[1mred\n",
            );
            let (cloud, _) = case.turn().await;
            assert_eq!(cloud.instance.unwrap().zone, "eu-central-1a");
            assert!(cloud.tags.case.as_ref().unwrap().contains("red"));
            assert!(!cloud.tags.case.unwrap().chars().any(char::is_control));
            assert_eq!(cloud.notice, None);

            let path = "meta-data/spot/instance-action";
            let notice = r#"{"action":"terminate","time":"2026-11-25T08:00:00Z"}"#;
            case.set(path, 200, notice);
            let (cloud, _) = case.turn().await;
            assert_eq!(cloud.notice.unwrap().action, "terminate");
            case.set(path, 404, "");
            let (cloud, _) = case.turn().await;
            assert_eq!(cloud.notice, None);
        });
    }

    #[test]
    fn a_token_that_ran_out_is_replaced_once_and_not_for_ever() {
        run(async {
            let mut case = Case::new(2).await;
            let (cloud, _) = case.turn().await;
            assert_eq!(cloud.trouble, Vec::<String>::new());
            let mut never = Case::new(0).await;
            let (cloud, _) = never.turn().await;
            assert!(cloud.trouble[0].contains("401"), "{:?}", cloud.trouble);
        });
    }

    #[test]
    fn answers_that_are_none_are_a_sentence_and_the_pause_grows() {
        run(async {
            let path = "dynamic/instance-identity/document";
            let huge = "x".repeat(200_000);
            for (status, body) in [
                (500, ""),
                (302, ""),
                (200, "<html>"),
                (200, "{}"),
                (200, huge.as_str()),
            ] {
                let mut case = Case::new(100).await;
                case.set(path, status, body);
                let (cloud, first) = case.turn().await;
                assert_eq!(cloud.trouble.len(), 1, "{status} {}", body.len());
                let (_, second) = case.turn().await;
                assert!(second > first && second <= MOST_PAUSE);
                case.set(path, 200, DOCUMENT);
                let (cloud, pause) = case.turn().await;
                assert_eq!((cloud.trouble.len(), pause), (0, EVERY));
            }
        });
    }

    #[test]
    fn what_is_known_stays_when_the_service_goes_away() {
        run(async {
            let mut case = Case::new(100).await;
            let path = "meta-data/spot/instance-action";
            case.set(
                path,
                200,
                r#"{"action":"stop","time":"2026-11-25T08:00:00Z"}"#,
            );
            case.turn().await;
            case.set(path, 503, "");
            let (cloud, _) = case.turn().await;
            assert_eq!(cloud.trouble.len(), 1);
            assert!(cloud.instance.is_some() && cloud.notice.is_some());
        });
    }

    #[test]
    fn a_notice_outlives_a_restart_while_the_service_is_away() {
        run(async {
            let mut case = Case::new(100).await;
            let path = "meta-data/spot/instance-action";
            let notice = r#"{"action":"stop","time":"2026-11-25T08:00:00Z"}"#;
            case.set(path, 200, notice);
            case.turn().await;
            case.set(path, 503, "");
            let settings = case.keeper.settings.clone();
            let client = Client::new(&settings).unwrap();
            case.keeper = Keeper::new(client, settings, &case.outbox);
            let (cloud, _) = case.turn().await;
            assert_eq!(cloud.notice.unwrap().action, "stop");
        });
    }

    #[test]
    fn what_could_not_be_written_is_written_at_the_next_turn() {
        run(async {
            let mut case = Case::new(100).await;
            let receipts = case.outbox.receipts_folder().to_owned();
            std::fs::remove_dir(&receipts).unwrap();
            case.keeper.turn(&case.outbox, &|_| {}).await;
            std::fs::create_dir(&receipts).unwrap();
            let (cloud, _) = case.turn().await;
            assert!(cloud.instance.is_some());
        });
    }

    #[test]
    fn ec2_is_asked_once_for_a_volume_and_after_a_refusal_not_at_every_turn() {
        run(async {
            let mut case = Case::new(100).await;
            case.turn().await;
            assert_eq!(case.asked(), 0, "about no volume");
            case.outbox.keep_wanted(&wanted(&["vol-00000001"])).unwrap();
            case.ec2(503, "<Response><Errors><Error><Code>RequestLimitExceeded</Code></Error></Errors></Response>");
            for _ in 0..3 {
                let (cloud, pause) = case.turn().await;
                assert!(cloud.trouble[0].contains("RequestLimitExceeded"));
                assert_eq!(
                    (case.asked(), pause),
                    (1, EVERY),
                    "notices are asked for on time"
                );
            }
            // A new volume is reason enough to ask again, and about all.
            case.outbox
                .keep_wanted(&wanted(&["vol-00000001", "vol-00000002", "../x"]))
                .unwrap();
            case.ec2(
                200,
                "<DescribeVolumesResponse><volumeSet><item><volumeId>vol-00000001</volumeId></item>\
                 <item><volumeId>vol-00000002</volumeId></item><item><volumeId>vol-00000003</volumeId></item>\
                 </volumeSet></DescribeVolumesResponse>",
            );
            for _ in 0..3 {
                let (cloud, _) = case.turn().await;
                assert_eq!((cloud.volumes.len(), cloud.trouble.len()), (2, 0));
                assert_eq!(case.asked(), 2);
            }
            case.outbox.keep_wanted(&wanted(&["vol-00000002"])).unwrap();
            let (cloud, _) = case.turn().await;
            assert_eq!(cloud.volumes.len(), 1, "what is gone is forgotten");
        });
    }

    #[test]
    fn a_volume_that_ec2_does_not_show_and_a_machine_without_a_role_are_sentences() {
        run(async {
            let mut case = Case::new(100).await;
            case.outbox.keep_wanted(&wanted(&["vol-00000001"])).unwrap();
            let (cloud, _) = case.turn().await;
            assert!(
                cloud.trouble[0].contains("has no role"),
                "{:?}",
                cloud.trouble
            );
            let mut case = Case::new(100).await;
            case.outbox.keep_wanted(&wanted(&["vol-00000001"])).unwrap();
            case.ec2(
                200,
                "<DescribeVolumesResponse><volumeSet/></DescribeVolumesResponse>",
            );
            let (cloud, _) = case.turn().await;
            assert!(
                cloud.trouble[0].contains("find vol-00000001"),
                "{:?}",
                cloud.trouble
            );
        });
    }
}
