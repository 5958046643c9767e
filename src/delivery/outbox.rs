//! Where agent and delivery meet: two folders. In `outbox/JOB/` the agent puts the order and, by rename, a folder for
//! each finished slice; in `receipts/` delivery writes what became of them. Neither waits for the other, and either
//! may be killed at any time.
//!
//! A file, of Plaso's storage or of documents, is handed over as a second name (hard link) of the one in the job's
//! folder: it takes no space, and what delivery does cannot touch the first.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::account::Account;
use super::order::{self, HandedSlice, How, Order, Way};
use super::receipt::{self, Receipt, Standing};
use crate::config::Settings;
use crate::config::delivery::Destination;
use crate::durable::{self, FileError};
use crate::ec2::cloud::{self, Cloud, Wanted};
use crate::job::DOCUMENTS;
use crate::plaso::command::STORAGE;

/// Sizes beyond which a file is not what it should be.
const MOST: u64 = 4 * 1024 * 1024;
const MOST_CLOUD: u64 = 2 * 1024 * 1024;
const MOST_WANTED: u64 = 64 * 1024;

const ORDER: &str = "order.json";
const SLICE: &str = "slice.json";
const STANDING: &str = "delivery.standing";
const CLOUD: &str = "cloud.json";
const WANTED: &str = "volumes.json";

/// The meeting place.
#[derive(Clone, Debug)]
pub struct Outbox {
    outbox: PathBuf,
    receipts: PathBuf,
    /// Delivery's account, if it is another than ours.
    account: Option<Account>,
    /// The server that it is for.
    server: String,
    /// By which way new jobs are delivered.
    way: Way,
}

impl Outbox {
    /// The meeting place in this folder. With an account, what is handed over may be read by its group.
    #[must_use]
    pub fn at(folder: &Path, account: Option<Account>) -> Self {
        Self {
            outbox: folder.join("outbox"),
            receipts: folder.join("receipts"),
            account,
            server: String::new(),
            way: Way::default(),
        }
    }

    /// The same for the configured server and way: what was delivered whole to that server is not handed over again.
    #[must_use]
    pub fn by(self, settings: &Settings) -> Self {
        let how = match settings.delivery.to {
            Destination::Stream => How::Stream,
            Destination::Local | Destination::Upload => How::Upload,
        };
        Self {
            server: settings.server().to_owned(),
            way: Way {
                how,
                labels: settings.delivery.labels,
            },
            ..self
        }
    }

    /// By which way new jobs are delivered.
    #[must_use]
    pub const fn way(&self) -> Way {
        self.way
    }

    /// The server that it is for.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Makes both folders.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn make(&self) -> Result<(), FileError> {
        durable::make_folder(&self.outbox)?;
        durable::make_folder(&self.receipts)?;
        self.remove_withdrawn()?;
        self.open_to_delivery(&self.outbox, 0o750)?;
        if let Some(account) = self.account {
            let given =
                chown(&self.receipts, Some(account.uid), Some(account.gid)).and_then(|()| {
                    fs::set_permissions(&self.receipts, PermissionsExt::from_mode(0o755))
                });
            given.map_err(failed("give to delivery", &self.receipts))?;
        }
        Ok(())
    }

    /// Removes what a kill left of jobs that were taken back: their storage files would take space for ever.
    fn remove_withdrawn(&self) -> Result<(), FileError> {
        let entries = fs::read_dir(&self.outbox).map_err(failed("list", &self.outbox))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            if name.starts_with('.') && name.ends_with(".old") {
                // What cannot be removed now, or is being removed by somebody else, is gone by the next start.
                drop(durable::remove_folder(&path));
            }
        }
        Ok(())
    }

    /// The folder of orders, to be watched.
    #[must_use]
    pub fn orders_folder(&self) -> &Path {
        &self.outbox
    }

    /// The folder of receipts, to be watched.
    #[must_use]
    pub fn receipts_folder(&self) -> &Path {
        &self.receipts
    }

    fn job(&self, job: &str) -> PathBuf {
        self.outbox.join(job)
    }

    /// Lets delivery's group read.
    fn open_to_delivery(&self, path: &Path, mode: u32) -> Result<(), FileError> {
        if let Some(account) = self.account {
            let opened = chown(path, None, Some(account.gid))
                .and_then(|()| fs::set_permissions(path, PermissionsExt::from_mode(mode)));
            opened.map_err(failed("open to delivery", path))?;
        }
        Ok(())
    }

    // What the agent does.

    /// Keeps an order.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_order(&self, order: &Order) -> Result<(), FileError> {
        let folder = self.job(&order.job);
        if !folder.exists() {
            durable::make_folder(&folder)?;
            durable::sync_folder(&self.outbox)?;
        }
        self.open_to_delivery(&folder, 0o750)?;
        self.keep_for_delivery(&folder.join(ORDER), order)
    }

    /// Under its name delivery can read it from the first moment.
    fn keep_for_delivery(
        &self,
        path: &Path,
        value: &impl serde::Serialize,
    ) -> Result<(), FileError> {
        let made = path.with_extension("made");
        durable::write_json(&made, value)?;
        self.open_to_delivery(&made, 0o640)?;
        durable::rename(&made, path)
    }

    /// Says which volumes EC2 is to be asked about.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_wanted(&self, volumes: &[String]) -> Result<(), FileError> {
        let wanted = Wanted {
            schema: cloud::WANTED.to_owned(),
            volumes: volumes.to_vec(),
        };
        self.keep_for_delivery(&self.outbox.join(WANTED), &wanted)
    }

    /// Whether a slice is handed over.
    #[must_use]
    pub fn has(&self, job: &str, slice: &str) -> bool {
        self.job(job).join(slice).exists()
    }

    /// Hands a finished slice over, its storage file or its documents; once more is fine.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn hand_over(&self, job: &str, slice: &HandedSlice, file: &Path) -> Result<(), FileError> {
        let (made, done) = (
            self.job(job).join(format!(".{}.new", slice.name)),
            self.job(job).join(&slice.name),
        );
        if self.has(job, &slice.name) {
            return Ok(());
        }
        durable::remove_folder(&made)?;
        durable::make_folder(&made)?;
        let (from, about) = (file, made.join(SLICE));
        let file = made.join(file_of(slice));
        fs::hard_link(from, &file).map_err(failed("hand over", from))?;
        durable::write_json(&about, slice)?;
        self.open_to_delivery(&file, 0o640)?;
        self.open_to_delivery(&about, 0o640)?;
        self.open_to_delivery(&made, 0o750)?;
        durable::sync_folder(&made)?;
        durable::rename(&made, &done)
    }

    /// Cancels a job that is streamed: nothing more of it is delivered, and what was is to be removed. What was handed
    /// over goes now; the order goes when delivery has said that all is removed.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn cancel(&self, order: Order) -> Result<(), FileError> {
        let job = order.job.clone();
        if !order.cancelled {
            self.keep_order(&Order {
                cancelled: true,
                given_up: order.given_up + 1,
                closed: None,
                ..order
            })?;
        }
        for slice in folders(&self.job(&job))? {
            durable::remove_folder(&self.job(&job).join(slice))?;
        }
        Ok(())
    }

    /// Takes a job back: nothing of it is delivered any more.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn withdraw(&self, job: &str) -> Result<(), FileError> {
        let (there, going) = (self.job(job), self.outbox.join(format!(".{job}.old")));
        durable::remove_folder(&going)?;
        if there.exists() {
            durable::rename(&there, &going)?;
        }
        durable::remove_folder(&going)
    }

    /// Forgets what became of a job.
    pub fn forget_receipt(&self, job: &str) {
        drop(fs::remove_file(self.receipts.join(format!("{job}.json"))));
    }

    /// What became of a job, so far.
    ///
    /// # Errors
    /// There is a receipt, but it cannot be used.
    pub fn receipt(&self, job: &str) -> Result<Option<Receipt>, FileError> {
        let path = self.receipts.join(format!("{job}.json"));
        let receipt: Option<Receipt> = durable::read_json(&path, MOST)?;
        let known = |receipt: &Receipt| receipt.schema == receipt::SCHEMA && receipt.job == job;
        match receipt {
            Some(receipt) if !known(&receipt) => Err(FileError::Refused {
                path,
                reason: "it is of another release, or of another job",
            }),
            receipt => Ok(receipt),
        }
    }

    /// How delivery itself stands, and whether it runs; none where there was never one.
    #[must_use]
    pub fn standing(&self) -> Option<(Standing, bool)> {
        let read = durable::read_json(&self.receipts.join(STANDING), MOST);
        let standing: Standing = read.ok().flatten()?;
        Some((standing, self.is_served()))
    }

    /// What EC2 says, as delivery wrote it down; none where it says nothing.
    ///
    /// # Errors
    /// It cannot be read, or is of another release.
    pub fn cloud(&self) -> Result<Option<Cloud>, FileError> {
        let path = self.receipts.join(CLOUD);
        let cloud: Option<Cloud> = durable::read_json(&path, MOST_CLOUD)?;
        match cloud {
            Some(cloud) if cloud.schema != cloud::SCHEMA => Err(FileError::Refused {
                path,
                reason: "it is of another release",
            }),
            cloud => Ok(cloud),
        }
    }

    /// Whether somebody delivers what is here.
    fn is_served(&self) -> bool {
        // The folder is delivery's, so anything may stand there under this name, also a pipe.
        let lock = durable::open_plain(&self.receipts.join(".lock"));
        lock.is_ok_and(|file| Flock::lock(file, FlockArg::LockSharedNonblock).is_err())
    }

    // What delivery does.

    /// Says that delivery is at work here, until the answer is dropped; none when another one is.
    ///
    /// # Errors
    /// The lock cannot be made.
    pub fn serve(&self) -> Result<Option<Flock<fs::File>>, FileError> {
        let path = self.receipts.join(".lock");
        let open = fs::OpenOptions::new().create(true).append(true).open(&path);
        let file = open.map_err(failed("open", &path))?;
        Ok(Flock::lock(file, FlockArg::LockExclusiveNonblock).ok())
    }

    /// The jobs that there are orders for, by name.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn jobs(&self) -> Result<Vec<String>, FileError> {
        folders(&self.outbox)
    }

    /// The order for a job; none where there is none (any more).
    ///
    /// # Errors
    /// It cannot be read, or is of another release.
    pub fn order(&self, job: &str) -> Result<Option<Order>, FileError> {
        let path = self.job(job).join(ORDER);
        let order: Option<Order> = durable::read_json(&path, MOST)?;
        known(order, |order| &order.schema, path)
    }

    /// The slices of a job that were handed over, by name.
    ///
    /// # Errors
    /// A folder cannot be read, or what stands in it is of another release.
    pub fn slices(&self, job: &str) -> Result<Vec<HandedSlice>, FileError> {
        let mut slices = Vec::new();
        for name in folders(&self.job(job))? {
            let path = self.job(job).join(&name).join(SLICE);
            let slice: Option<HandedSlice> = durable::read_json(&path, MOST)?;
            slices.extend(known(slice, |slice| &slice.schema, path)?);
        }
        Ok(slices)
    }

    /// What is to be sent of a slice.
    #[must_use]
    pub fn file(&self, job: &str, slice: &HandedSlice) -> PathBuf {
        self.job(job).join(&slice.name).join(file_of(slice))
    }

    /// Keeps a receipt.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_receipt(&self, receipt: &Receipt) -> Result<(), FileError> {
        durable::write_json(
            &self.receipts.join(format!("{}.json", receipt.job)),
            receipt,
        )
    }

    /// The volumes that EC2 is to be asked about; none where the agent wants to know of none.
    ///
    /// # Errors
    /// It cannot be read, or is of another release.
    pub fn wanted(&self) -> Result<Vec<String>, FileError> {
        let path = self.outbox.join(WANTED);
        let wanted: Option<Wanted> = durable::read_json(&path, MOST_WANTED)?;
        match wanted {
            Some(wanted) if wanted.schema != cloud::WANTED => Err(FileError::Refused {
                path,
                reason: "it is of another release",
            }),
            wanted => Ok(wanted.unwrap_or_default().volumes),
        }
    }

    /// Keeps how delivery stands.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_standing(&self, standing: &Standing) -> Result<(), FileError> {
        durable::write_json(&self.receipts.join(STANDING), standing)
    }

    /// Keeps what EC2 says.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_cloud(&self, cloud: &Cloud) -> Result<(), FileError> {
        durable::write_json(&self.receipts.join(CLOUD), cloud)
    }

    /// EC2 is not asked any more.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn forget_cloud(&self) -> Result<(), FileError> {
        durable::remove_file(&self.receipts.join(CLOUD))
    }
}

/// The name of what is handed over of a slice.
const fn file_of(slice: &HandedSlice) -> &'static str {
    match slice.lines {
        Some(_) => DOCUMENTS,
        None => STORAGE,
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> FileError {
    let path = path.to_path_buf();
    move |source| FileError::System {
        operation,
        path,
        source,
    }
}

fn known<T>(
    read: Option<T>,
    schema: impl Fn(&T) -> &String,
    path: PathBuf,
) -> Result<Option<T>, FileError> {
    match read {
        Some(value) if schema(&value) != order::SCHEMA => Err(FileError::Refused {
            path,
            reason: "it is of a release that this one does not understand",
        }),
        read => Ok(read),
    }
}

/// Folders that are complete, by name; those being made have a dot in front.
fn folders(path: &Path) -> Result<Vec<String>, FileError> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed("list", path))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed("list", path))?;
        let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let name = entry.file_name();
        if let Some(name) = name
            .to_str()
            .filter(|name| folder && !name.starts_with('.'))
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Whether a name can be that of a job or slice: one part of a path, nothing hidden.
#[must_use]
pub fn is_name(name: &str) -> bool {
    !name.starts_with('.') && Path::new(name).file_name() == Some(OsStr::new(name))
}
