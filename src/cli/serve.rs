//! `dfagent deliver` as a service: it serves the agent's outbox until it is told to stop, takes up a changed
//! configuration by itself, and feeds the watchdog. It needs no rights where it is started as delivery's account.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use nix::unistd::Uid;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::exit::Exit;
use super::foreground::{self, Wanted};
use crate::config::delivery::Destination;
use crate::config::{FRAGMENTS, MAIN_FILE, Settings};
use crate::delivery::account::Account;
use crate::delivery::cloud;
use crate::delivery::outbox::Outbox;
use crate::delivery::service::{Service, ServiceError};
use crate::durable;
use crate::life::notify::Notifier;
use crate::life::reload;
use crate::printable;
use crate::telemetry::events::Event;

/// How often the loop turns where nobody watches it.
const UNWATCHED: Duration = Duration::from_secs(600);

/// What the service was started with.
pub(super) struct Start<'a> {
    /// The file that is read instead of the installed ones.
    pub(super) config: Option<&'a Path>,
    /// What the command line says instead of the configuration.
    pub(super) wanted: Wanted<'a>,
}

impl Start<'_> {
    /// The settings as they are now.
    fn settings(&self) -> anyhow::Result<Settings> {
        let mut settings = Settings::load(self.config)?;
        let streaming = self.wanted.streaming.is_some_and(|one| one.stream);
        if self.wanted.to.is_some() || streaming || has_server(&settings) {
            foreground::set_servers(&mut settings, &self.wanted)?;
        }
        Ok(settings)
    }

    fn folders(&self) -> Vec<PathBuf> {
        let above = |file: &Path| file.parent().unwrap_or(Path::new("/")).to_path_buf();
        match self.config {
            Some(file) => vec![above(file)],
            None => vec![above(Path::new(MAIN_FILE)), PathBuf::from(FRAGMENTS)],
        }
    }
}

/// Whether there is somebody to deliver to. With a server and `to = "local"`, what was handed over before is delivered.
fn has_server(settings: &Settings) -> bool {
    settings.delivery.to.is_remote() || !settings.timesketch.url.is_empty()
}

/// The server, and OpenSearch where documents go there directly.
fn says_where(settings: &Settings) -> String {
    let (server, nodes) = (settings.server(), settings.opensearch.nodes());
    match settings.delivery.to {
        Destination::Stream if !nodes.contains(&server) => {
            format!("{server} by way of {}", nodes.join(", "))
        }
        _ => server.to_owned(),
    }
}

/// Serves until it is told to stop.
pub(super) fn serve(start: &Start<'_>) -> anyhow::Result<Exit> {
    let settings = start.settings()?;
    let place = Place::of(&settings);
    if Uid::effective().is_root() {
        place.make(&settings)?;
    }
    super::runtime()
        .context("start")?
        .block_on(run(start, &place, settings))
}

/// Where it works: the folders of its start, whatever the configuration says later.
struct Place {
    agent: PathBuf,
    own: PathBuf,
}

impl Place {
    fn of(settings: &Settings) -> Self {
        Self {
            agent: settings.agent.directory.clone(),
            own: settings.delivery.directory.clone(),
        }
    }

    /// Makes the folders and leaves root behind. The agent makes the meeting place; where it was not started yet, this
    /// is the chance to have both there.
    fn make(&self, settings: &Settings) -> anyhow::Result<()> {
        let account = Account::named(&settings.delivery.user);
        Outbox::at(&self.agent, Some(account)).make()?;
        durable::make_folder(&self.own)?;
        account.own(&self.own)?;
        account
            .become_it()
            .context("become the account of [delivery] user")
    }
}

/// Work under one configuration.
struct Work {
    settings: Settings,
    says: String,
    stop: watch::Sender<bool>,
    serving: Pin<Box<dyn Future<Output = Result<(), ServiceError>>>>,
}

impl Work {
    fn under(settings: Settings, place: &Place) -> Result<Self, ServiceError> {
        let (stop_now, mut stop) = watch::channel(false);
        if !has_server(&settings) {
            let idle = async move {
                drop(stop.wait_for(|stop| *stop).await);
                Ok(())
            };
            let says = "nothing to deliver: delivery.to is \"local\"".to_owned();
            return Ok(Self::beside_cloud(settings, place, stop_now, says, idle));
        }
        let service = Service {
            outbox: Outbox::at(&place.agent, None),
            folder: place.own.clone(),
            credentials: foreground::credentials(),
            in_foreground: false,
            listener: Arc::new(|_| {}),
            stop,
            settings: settings.clone(),
        };
        let context = Arc::new(service.set_up()?);
        let deliver = async move {
            let (_never, finish) = watch::channel(false);
            context.run(finish).await.map(drop)
        };
        let says = format!("delivering to {}", says_where(&settings));
        Ok(Self::beside_cloud(settings, place, stop_now, says, deliver))
    }

    /// The work, and beside it, for as long as it lasts, what is asked of EC2.
    fn beside_cloud(
        settings: Settings,
        place: &Place,
        stop: watch::Sender<bool>,
        says: String,
        work: impl Future<Output = Result<(), ServiceError>> + 'static,
    ) -> Self {
        let begins = says.clone();
        let say = move |text: &str| Notifier.status(&format!("{begins}; {text}"));
        let cloud = cloud::keep(Outbox::at(&place.agent, None), settings.ec2.clone(), say);
        Self {
            settings,
            says,
            stop,
            serving: Box::pin(async move {
                tokio::select! {
                    ended = work => ended,
                    never = cloud => match never {},
                }
            }),
        }
    }

    /// Ends it in order: whatever is under way is on disk and is gone on with.
    async fn end(self) -> Result<(), ServiceError> {
        self.stop.send_replace(true);
        self.serving.await
    }
}

/// What wakes the loop.
struct Signs {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    changes: mpsc::Receiver<Vec<PathBuf>>,
    /// A quarter of the service manager's patience. The loop that answers it is the one that does the work.
    watchdog: Interval,
}

impl Signs {
    fn set_up(start: &Start<'_>) -> anyhow::Result<Self> {
        let hear = |kind| signal(kind).context("listen for signals");
        let limit = sd_notify::watchdog_enabled();
        let mut watchdog =
            interval(limit.map_or(UNWATCHED, |limit| (limit / 4).max(Duration::from_millis(1))));
        watchdog.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let changes = reload::watch(&start.folders()).unwrap_or_else(|error| {
            let error = printable::causes(&error);
            tracing::warn!(dfagent_error = error, "changes are taken up at SIGHUP only");
            mpsc::channel(1).1
        });
        Ok(Self {
            interrupt: hear(SignalKind::interrupt())?,
            terminate: hear(SignalKind::terminate())?,
            hangup: hear(SignalKind::hangup())?,
            changes,
            watchdog,
        })
    }
}

async fn run(start: &Start<'_>, place: &Place, settings: Settings) -> anyhow::Result<Exit> {
    let mut signs = Signs::set_up(start)?;
    let mut work = Work::under(settings, place)?;
    Notifier.ready(&work.says);
    loop {
        tokio::select! {
            // All arms but the work itself may be dropped at any time, and that one is only borrowed.
            ended = &mut work.serving => return ended.map(|()| Exit::Complete).map_err(Into::into),
            _ = signs.interrupt.recv() => break,
            _ = signs.terminate.recv() => break,
            _ = signs.hangup.recv() => work = take_up(start, place, work).await?,
            Some(_) = signs.changes.recv() => work = take_up(start, place, work).await?,
            _ = signs.watchdog.tick() => Notifier.alive(),
        }
    }
    Notifier.stopping("stopping");
    work.end().await?;
    Ok(Exit::Complete)
}

/// Takes up the configuration as it is now. What is wrong is refused, and what was in force stays.
async fn take_up(start: &Start<'_>, place: &Place, before: Work) -> Result<Work, ServiceError> {
    let read = start
        .settings()
        .map_err(|error| printable::causes(error.as_ref()));
    let next = match read {
        Ok(settings) if settings == before.settings => {
            // A wrong configuration may have been put right.
            Notifier.status(&before.says);
            return Ok(before);
        }
        Ok(settings) => Work::under(settings, place).map_err(|error| printable::causes(&error)),
        Err(why) => Err(why),
    };
    match next {
        Ok(next) => {
            before.end().await?;
            Event::ConfigurationReloaded.emit();
            Notifier.status(&next.says);
            Ok(next)
        }
        Err(why) => {
            Notifier.status(&format!(
                "{}; kept the old configuration: {why}",
                before.says
            ));
            Event::ConfigurationRefused { why }.emit();
            Ok(before)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_here(test: impl Future<Output = ()>) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap().block_on(test);
    }

    fn write(path: &Path, place: &Path, rest: &str) {
        let text = format!(
            "[agent]\ndirectory = \"{0}\"\n[delivery]\ndirectory = \"{0}/own\"\n{rest}",
            place.display()
        );
        durable::write(path, text.as_bytes()).unwrap();
    }

    #[test]
    fn without_a_server_it_runs_touches_nothing_and_takes_up_a_server_later() {
        run_here(async {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("d.toml");
            write(&file, folder.path(), "to = \"local\"\n");
            let start = Start {
                config: Some(&file),
                wanted: Wanted::default(),
            };
            let settings = start.settings().unwrap();
            let place = Place::of(&settings);
            let work = Work::under(settings, &place).unwrap();
            assert!(work.says.contains("nothing to deliver"), "{}", work.says);
            assert!(!folder.path().join("own").exists());

            write(&file, folder.path(), "to = \"upload\"\n");
            let work = take_up(&start, &place, work).await.unwrap();
            assert!(work.says.contains("nothing to deliver"), "{}", work.says);

            let server = "to = \"upload\"\n[timesketch]\nurl = \"https://t.example.org\"\nuser = \"u\"\n\
                          login = \"certificate\"\n";
            write(&file, folder.path(), server);
            let work = take_up(&start, &place, work).await.unwrap();
            assert_eq!(work.says, "delivering to https://t.example.org");

            write(&file, folder.path(), "to = \"local\"\n");
            Outbox::at(folder.path(), None).make().unwrap();
            let work = take_up(&start, &place, work).await.unwrap();
            assert!(work.says.contains("nothing to deliver"), "{}", work.says);
            work.end().await.unwrap();
        });
    }

    #[test]
    fn a_server_on_the_command_line_is_delivered_to() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("d.toml");
        write(&file, folder.path(), "to = \"local\"\n");
        let start = Start {
            config: Some(&file),
            wanted: Wanted {
                to: Some("https://t.example.org"),
                ..Wanted::default()
            },
        };
        let settings = start.settings().unwrap();
        assert!(has_server(&settings));
        assert_eq!(settings.timesketch.url, "https://t.example.org");
    }
}
