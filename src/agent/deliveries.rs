//! What the agent knows of deliveries: how delivery itself is, how far each job is, and what a person has to do. It is
//! read from receipts; what follows from it is decided in [`super::delivering`].

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::cloud::Ec2;
use super::receipts::{Meter, shortened};
use super::sentence;
use crate::config::Settings;
use crate::config::delivery::WhenUnready;
use crate::delivery::account::Account;
use crate::delivery::custody::{cleaned, cleaned_standing};
use crate::delivery::order::{HandedSlice, Order};
use crate::delivery::outbox::Outbox;
use crate::delivery::receipt::Receipt;
use crate::durable::FileError;
use crate::life::folder::FolderWatch;
use crate::printable;
use crate::status::{DeliveryStatus, OperatorTask, ServerStatus};
use crate::telemetry::events::Event;

/// The shortest time between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// Which file a receipt was read from: number, size, and when it was written.
pub(super) type Mark = (u64, u64, i64, i64);

/// What is known of a job's delivery.
#[derive(Default)]
pub(super) struct Seen {
    /// Of the receipt that was read; none: it is read at the next look.
    pub(super) mark: Option<Mark>,
    pub(super) status: DeliveryStatus,
    /// What a person has to do that delivery cannot know of.
    pub(super) task: Option<OperatorTask>,
}

/// What is known of all deliveries.
pub(super) struct Deliveries {
    pub(super) outbox: Outbox,
    watch: Option<FolderWatch>,
    /// Jobs that are not at their end.
    pub(super) seen: BTreeMap<String, Seen>,
    /// What was counted; kept until the job is taken back, or a second delivery would be counted twice.
    pub(super) meters: BTreeMap<String, Meter>,
    server: Option<ServerStatus>,
    /// What EC2 says.
    pub(super) ec2: Ec2,
    /// What was said last about whether something can be delivered: none, nothing yet.
    said: Option<Option<String>>,
    /// When receipts are looked at, because something changed.
    pub(super) due: Option<Instant>,
    pub(super) looked: Option<Instant>,
    /// The time until the next look at the earliest.
    pause: Duration,
    /// What cannot be done at the moment, in a sentence.
    pub(super) trouble: Option<String>,
}

/// Whether delivery has something to do for the agent: to deliver, or to ask EC2.
fn is_needed(settings: &Settings) -> bool {
    settings.delivery.to.is_remote() || settings.ec2.is_used()
}

impl Deliveries {
    /// What stands in the agent's folder.
    pub(super) fn at(directory: &Path, settings: &Settings) -> Self {
        let account = Account::named(&settings.delivery.user);
        Self {
            outbox: Outbox::at(directory, Some(account)).by(settings),
            watch: None,
            seen: BTreeMap::new(),
            meters: BTreeMap::new(),
            server: None,
            ec2: Ec2::default(),
            said: None,
            due: None,
            looked: None,
            pause: PAUSE,
            trouble: None,
        }
    }

    /// Makes the meeting place where delivery has something to do, and listens there.
    pub(super) fn open(&mut self, settings: &Settings) -> Result<(), FileError> {
        if is_needed(settings) {
            self.outbox.make()?;
        }
        self.listen();
        Ok(())
    }

    /// Whether it is made, where it has to be.
    pub(super) fn is_open(&self, settings: &Settings) -> bool {
        !is_needed(settings) || self.outbox.receipts_folder().is_dir()
    }

    /// Watches the folder of receipts, if there is one. Without the watch the reconcile finds them.
    fn listen(&mut self) {
        let folder = self.outbox.receipts_folder();
        if self.watch.is_some() || !folder.is_dir() {
            return;
        }
        match FolderWatch::over(folder) {
            Ok(watch) => self.watch = Some(watch),
            Err(error) => {
                let error = printable::causes(&error);
                tracing::warn!(
                    dfagent_error = error,
                    "receipts are noticed once a minute only"
                );
            }
        }
    }

    /// Waits until something changed among the receipts; for ever where there are none. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        match &mut self.watch {
            Some(watch) => watch.changed().await,
            None => std::future::pending().await,
        }
    }

    /// Something changed: it is looked at soon, with all that changes until then.
    pub(super) fn hint(&mut self) {
        let earliest = self.looked.map(|looked| looked + self.pause);
        self.due = self.due.or(Some(earliest.unwrap_or_else(Instant::now)));
    }

    /// A look is over. Whoever writes receipts that take long to read is read less often: the agent has other work.
    pub(super) fn looked(&mut self, begun: Instant) {
        let now = Instant::now();
        self.looked = Some(now);
        self.pause = PAUSE.max(now.duration_since(begun) * 9);
    }

    /// A job or its order changed, so its receipt is read again though it did not change.
    pub(super) fn hint_at(&mut self, id: &str) {
        if let Some(seen) = self.seen.get_mut(id) {
            seen.mark = None;
        }
        self.hint();
    }

    /// How far the delivery of a job is.
    pub(super) fn of(&self, id: &str) -> Option<DeliveryStatus> {
        let seen = self.seen.get(id)?;
        let mut status = shortened(seen.status.clone());
        let meter = self.meters.get(id);
        status.bytes_per_second = meter.and_then(|meter| meter.rate(Instant::now()));
        (status.slices > 0 || status.waits.is_some() || seen.task.is_some()).then_some(status)
    }

    /// How delivery itself is.
    pub(super) fn server(&self) -> Option<ServerStatus> {
        self.server.clone()
    }

    /// What a person has to do about deliveries.
    pub(super) fn tasks(&self) -> Vec<OperatorTask> {
        let mut tasks = Vec::new();
        tasks.extend(self.ec2.hold().map(|why| OperatorTask {
            why: why.to_owned(),
            command: "journalctl -u dfagent-delivery".to_owned(),
        }));
        if self.server.as_ref().is_some_and(|server| !server.running) {
            tasks.push(OperatorTask {
                why: "delivery is not running, so no event reaches the server".to_owned(),
                command: "systemctl start dfagent-delivery".to_owned(),
            });
        }
        tasks.extend(self.trouble.as_ref().map(|why| OperatorTask {
            why: format!("a delivery stands still, because the agent {why}"),
            command: "journalctl -u dfagent".to_owned(),
        }));
        tasks.extend(self.seen.values().filter_map(|seen| seen.task.clone()));
        // One cause stops many jobs: it is said once.
        let mut needs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (id, seen) in &self.seen {
            if let Some(text) = &seen.status.needs {
                needs.entry(text).or_default().push(id);
            }
        }
        tasks.extend(needs.into_iter().map(|(text, jobs)| OperatorTask {
            why: format!("{}: {text}", jobs.join(", ")),
            command: "journalctl -u dfagent-delivery".to_owned(),
        }));
        tasks
    }

    /// Looks at how delivery itself is, and says so when it changed.
    pub(super) fn look_at_server(&mut self, settings: &Settings) {
        if !settings.delivery.to.is_remote() {
            self.server = None;
            self.said = None;
            return;
        }
        let standing = self.outbox.standing();
        let (told, running) = match standing {
            Some((standing, running)) => (Some(cleaned_standing(standing)), running),
            None => (None, false),
        };
        let server = ServerStatus {
            server: settings.server().to_owned(),
            running,
            ready: told.as_ref().and_then(|told| told.ready),
            at: told.as_ref().map(|told| told.at.clone()),
            lines: told.map(|told| told.lines).unwrap_or_default(),
        };
        let trouble = server.trouble();
        let known = trouble.is_some() || server.ready == Some(true);
        if known && self.said.as_ref() != Some(&trouble) {
            match &trouble {
                None => Event::DeliveryReady.emit(),
                Some(why) => Event::DeliveryNotReady { why: why.clone() }.emit(),
            }
            self.said = Some(trouble);
        }
        self.server = Some(server);
    }

    /// Why no job is begun now, if none is.
    pub(super) fn hold(&self, settings: &Settings) -> Option<String> {
        if let Some(why) = self.ec2.hold() {
            return Some(why.to_owned());
        }
        let server = self.server.as_ref()?;
        let passable = server.running && server.ready == Some(true);
        if passable || settings.delivery.when_unready == WhenUnready::Warn {
            return None;
        }
        let why = server.trouble();
        let why = why.unwrap_or_else(|| "the server was not asked yet".to_owned());
        Some(format!(
            "It is begun when events can be delivered (delivery.when_unready is \"block\"): {why}"
        ))
    }

    /// Which file the receipt of a job is now.
    pub(super) fn mark(&self, id: &str) -> Option<Mark> {
        let path = self.outbox.receipts_folder().join(format!("{id}.json"));
        let about = fs::symlink_metadata(path).ok()?;
        Some((about.ino(), about.size(), about.mtime(), about.mtime_nsec()))
    }

    /// The receipt for an order; none where there is none, or an older one.
    pub(super) fn receipt(
        &self,
        order: &Order,
        handed: &[HandedSlice],
    ) -> Result<Option<Receipt>, String> {
        let read = self.outbox.receipt(&order.job);
        let receipt = read.map_err(|error| format!("The agent {}.", sentence(&error)))?;
        let of_this = |one: &Receipt| one.run == order.run && one.again == order.again;
        Ok(receipt.filter(of_this).map(|one| cleaned(one, handed)))
    }
}
