//! Everything that an operator may search the journal for, each with an id of its own.
//!
//! The ids are part of the interface: `packaging/usr/lib/systemd/catalog/dfagent.catalog` has a text for each, and
//! monitoring may wait for them. They never change and are never used for something else.

use std::fmt;

use tracing::Level as Severity;

use crate::plaso::verdict::Level;
use crate::printable;

/// How much of one text is shown, in characters.
const MOST: usize = 1000;

/// Something that happened. A job has the id of its volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The agent is ready.
    AgentReady,
    /// It stops in order.
    AgentStopping,
    /// Not everything stopped in time.
    LateAtStop {
        /// What had to be ended.
        names: Vec<String>,
    },
    /// A new configuration is in force.
    ConfigurationReloaded,
    /// A new configuration is wrong; the old one stays in force.
    ConfigurationRefused {
        /// Why.
        why: String,
    },
    /// A volume that is ours is here.
    VolumeSeen {
        /// Its identity.
        volume: String,
        /// Where it was attached.
        point: String,
    },
    /// It went away.
    VolumeGone {
        /// Its identity.
        volume: String,
    },
    /// A job is at work.
    JobStarted {
        /// Which.
        job: String,
    },
    /// A job came to its next stage.
    JobStage {
        /// Which.
        job: String,
        /// What is done now.
        stage: String,
    },
    /// A job came to its end.
    JobDone {
        /// Which.
        job: String,
        /// Its verdict.
        verdict: Level,
    },
    /// A job is extracted, and its events are on their way to the server.
    JobDelivering {
        /// Which.
        job: String,
    },
    /// All events of a job are found on the server.
    JobDelivered {
        /// Which.
        job: String,
        /// How many events.
        documents: u64,
        /// Where they are found; empty: unknown.
        sketch: String,
    },
    /// Not all events of a job are found on the server, after all tries.
    JobDeliveredShort {
        /// Which.
        job: String,
        /// What is missing.
        why: String,
    },
    /// Delivery of a job waits for a person.
    DeliveryNeedsOperator {
        /// Which.
        job: String,
        /// What is to be done.
        why: String,
    },
    /// Delivery runs, and the server takes what is made.
    DeliveryReady,
    /// Nothing can be delivered at the moment.
    DeliveryNotReady {
        /// Why.
        why: String,
    },
    /// A job does not go on before a person has done something.
    JobNeedsOperator {
        /// Which.
        job: String,
        /// What is wrong.
        why: String,
        /// The command that helps.
        help: String,
    },
    /// A job was broken off and goes on by itself later.
    JobInterrupted {
        /// Which.
        job: String,
        /// Why.
        why: String,
    },
    /// A job brought the agent down too often.
    JobParked {
        /// Which.
        job: String,
    },
    /// A job waits for something.
    JobWaiting {
        /// Which.
        job: String,
        /// For what.
        why: String,
    },
    /// Somebody did something about a job.
    ActionDone {
        /// Which.
        job: String,
        /// Who: an account.
        by: String,
        /// What.
        action: String,
    },
    /// A hook did not do its work.
    HookFailed {
        /// After which job.
        job: String,
        /// Its name.
        hook: String,
        /// How it ended.
        why: String,
    },
    /// A hook did its work.
    HookDone {
        /// After which job.
        job: String,
        /// Its name.
        hook: String,
    },
    /// The ledger is damaged; a new one is made.
    LedgerSetAside {
        /// Where the damaged one is now.
        path: String,
        /// In what way it is damaged.
        why: String,
    },
    /// Jobs were found in their folders.
    LedgerRebuilt {
        /// How many.
        jobs: usize,
    },
    /// Plaso hung on a file.
    SliceStalled {
        /// In which job.
        job: String,
        /// In which slice.
        slice: String,
        /// The file that is left out.
        file: String,
    },
    /// EC2 announces that it takes the machine away, so nothing is begun.
    InstanceEnds {
        /// What is announced, and what follows.
        why: String,
    },
    /// The machine is switched off.
    PoweringOff,
}

macro_rules! ids {
    ($($name:ident = $id:literal,)+) => {
        /// Every event's name and its `MESSAGE_ID`.
        pub const IDS: &[(&str, &str)] = &[$((stringify!($name), $id)),+];

        impl Event {
            /// Its `MESSAGE_ID`.
            #[must_use]
            pub const fn id(&self) -> &'static str {
                match self {
                    $(Self::$name { .. } => $id,)+
                }
            }
        }
    };
}

ids! {
    AgentReady = "7c575bf04bd4498f8efecae9dc25e3eb",
    AgentStopping = "4842315b92b245aba249112109195335",
    LateAtStop = "16ba62958135441bbba2aa4be19d0028",
    ConfigurationReloaded = "61c34cddbd5f45bda5adf413a63cfc66",
    ConfigurationRefused = "4ef4c689be904956afb70fc278dcdb3a",
    VolumeSeen = "d061c7f62b974bedb18ef6afe7c8e06a",
    VolumeGone = "e2d9f3e64f00485484174d2f6150db96",
    JobStarted = "43514fbee2e64457ba10b27d1064d65f",
    JobStage = "a141754b24764e4bbe77f268bba66cdc",
    JobDone = "04750028f9f648568e556b3006da7498",
    JobDelivering = "1638db75b9bc44a2b86a3553c76ab685",
    JobDelivered = "4218e91cddc84b0a9ff9738745ed0ed1",
    JobDeliveredShort = "7dfb664e70db4c779d05091bda26b73f",
    DeliveryNeedsOperator = "e655365b4beb41858435d61f15f965cb",
    DeliveryReady = "3580770c26444146bbed341b8409988f",
    DeliveryNotReady = "52b1083cfae841bfb5eb401e0d2a899b",
    JobNeedsOperator = "af6909ad358540d0891d0ea9ac327f5e",
    JobInterrupted = "ad02c416a3324bc2882128c1e7618ce8",
    JobParked = "b49acd66a05146d0ba2cfab0342acc3d",
    JobWaiting = "68b1ecedd60c4936b458acdcf7ddf3b7",
    ActionDone = "118299e3a7c84765897e3c9cc6eec98e",
    HookFailed = "ec86504b8bdc426dbf6fdfddb0cca8e6",
    HookDone = "c20d112161914499984b3cf6a97638d1",
    LedgerSetAside = "e603a323ee4c484494f7fe722f6f2ac8",
    LedgerRebuilt = "e90e87b6d1d8432a9b349f7278ab3d0f",
    SliceStalled = "563411ff2f7d47e2b160326736ab2efa",
    InstanceEnds = "7a1a5993cb0341cf873f1a8403cc11d9",
    PoweringOff = "f6d42284dd5646de98a05b53c6d7cef4",
}

/// The fields that the journal can be searched by.
#[derive(Default)]
struct Fields<'a> {
    job: Option<&'a str>,
    volume: Option<&'a str>,
    stage: Option<&'a str>,
    error: Option<&'a str>,
}

impl Event {
    /// How bad it is. Error: evidence or a job is stuck until a person acts. Warning: something went wrong and
    /// was made good, or goes on by itself. Info: things go their way.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::JobNeedsOperator { .. }
            | Self::JobDeliveredShort { .. }
            | Self::DeliveryNeedsOperator { .. }
            | Self::JobParked { .. }
            | Self::HookFailed { .. }
            | Self::JobDone {
                verdict: Level::Failed,
                ..
            } => Severity::ERROR,
            Self::LateAtStop { .. }
            | Self::ConfigurationRefused { .. }
            | Self::DeliveryNotReady { .. }
            | Self::JobInterrupted { .. }
            | Self::InstanceEnds { .. }
            | Self::JobWaiting { .. }
            | Self::LedgerSetAside { .. }
            | Self::LedgerRebuilt { .. }
            | Self::SliceStalled { .. }
            | Self::JobDone {
                verdict: Level::Partial,
                ..
            } => Severity::WARN,
            _ => Severity::INFO,
        }
    }

    /// Says it.
    pub fn emit(&self) {
        let text = printable::line(&self.to_string(), MOST);
        let Fields {
            job,
            volume,
            stage,
            error,
        } = self.fields();
        let clean = |field: Option<&str>| field.map(|text| printable::line(text, MOST));
        let (job, volume, stage, error) = (clean(job), clean(volume), clean(stage), clean(error));
        // The level belongs to the place in the code, so there is a place for each.
        macro_rules! say {
            ($severity:expr) => {
                tracing::event!(
                    $severity,
                    MESSAGE_ID = self.id(),
                    DFAGENT_JOB = job.as_deref(),
                    DFAGENT_VOLUME = volume.as_deref(),
                    DFAGENT_STAGE = stage.as_deref(),
                    DFAGENT_ERROR = error.as_deref(),
                    "{text}"
                )
            };
        }
        match self.severity() {
            Severity::ERROR => say!(Severity::ERROR),
            Severity::WARN => say!(Severity::WARN),
            _ => say!(Severity::INFO),
        }
    }

    fn fields(&self) -> Fields<'_> {
        let about = |job| Fields {
            job: Some(job),
            volume: Some(job),
            ..Fields::default()
        };
        match self {
            Self::AgentReady
            | Self::AgentStopping
            | Self::LateAtStop { .. }
            | Self::ConfigurationReloaded
            | Self::DeliveryReady
            | Self::LedgerRebuilt { .. }
            | Self::PoweringOff => Fields::default(),
            Self::ConfigurationRefused { why }
            | Self::DeliveryNotReady { why }
            | Self::InstanceEnds { why }
            | Self::LedgerSetAside { why, .. } => Fields {
                error: Some(why),
                ..Fields::default()
            },
            Self::VolumeSeen { volume, .. } | Self::VolumeGone { volume } => Fields {
                volume: Some(volume),
                ..Fields::default()
            },
            Self::JobStarted { job }
            | Self::JobDone { job, .. }
            | Self::JobDelivering { job }
            | Self::JobDelivered { job, .. }
            | Self::JobParked { job }
            | Self::ActionDone { job, .. }
            | Self::HookDone { job, .. } => about(job),
            Self::JobStage { job, stage } => Fields {
                stage: Some(stage),
                ..about(job)
            },
            Self::SliceStalled { job, slice, file } => Fields {
                stage: Some(slice),
                error: Some(file),
                ..about(job)
            },
            Self::JobNeedsOperator { job, why, .. }
            | Self::JobDeliveredShort { job, why }
            | Self::DeliveryNeedsOperator { job, why }
            | Self::JobInterrupted { job, why }
            | Self::JobWaiting { job, why }
            | Self::HookFailed { job, why, .. } => Fields {
                error: Some(why),
                ..about(job)
            },
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AgentReady => write!(out, "ready"),
            Self::AgentStopping => write!(out, "stopping"),
            Self::LateAtStop { names } => {
                write!(out, "ended what did not stop in time: {}", names.join(", "))
            }
            Self::ConfigurationReloaded => write!(out, "the new configuration is in force"),
            Self::ConfigurationRefused { why } => {
                write!(
                    out,
                    "kept the old configuration, the new one is wrong: {why}"
                )
            }
            Self::VolumeSeen { volume, point } => write!(out, "{volume} was attached at {point}"),
            Self::VolumeGone { volume } => write!(out, "{volume} was detached"),
            Self::JobStarted { job } => write!(out, "{job}: started"),
            Self::JobStage { job, stage } => write!(out, "{job}: {stage}"),
            Self::JobDone { job, verdict } => write!(out, "{job}: done, {verdict}"),
            Self::JobDelivering { job } => write!(out, "{job}: extracted, being delivered"),
            Self::JobDelivered {
                job,
                documents,
                sketch,
            } => {
                let events = printable::count(*documents, "event is", "events are");
                write!(out, "{job}: delivered: {events} found: {sketch}")
            }
            Self::JobDeliveredShort { job, why } => write!(
                out,
                "{job}: not all of it is delivered: {why}; `dfagent retry {job}` tries once more"
            ),
            Self::DeliveryNeedsOperator { job, why } => write!(out, "{job}: {why}"),
            Self::DeliveryReady => write!(out, "events can be delivered"),
            Self::DeliveryNotReady { why } => {
                write!(out, "no event can be delivered now: {why}")
            }
            Self::JobNeedsOperator { job, why, help } => write!(out, "{job}: {why}; try: {help}"),
            Self::JobInterrupted { job, why } => write!(out, "{job}: interrupted: {why}"),
            Self::JobParked { job } => write!(
                out,
                "{job}: parked, because the agent went down with it too often; `dfagent retry {job}` goes on"
            ),
            Self::JobWaiting { job, why } => write!(out, "{job}: waiting: {why}"),
            Self::ActionDone { job, by, action } => write!(out, "{job}: {action} by {by}"),
            Self::HookFailed { job, hook, why } => write!(out, "{job}: hook {hook} failed: {why}"),
            Self::HookDone { job, hook } => write!(out, "{job}: hook {hook} done"),
            Self::LedgerSetAside { path, why } => {
                write!(out, "the ledger is damaged ({why}); it is now {path}")
            }
            Self::LedgerRebuilt { jobs } => {
                let jobs = printable::count(*jobs as u64, "job", "jobs");
                write!(out, "{jobs} found again by the folders")
            }
            Self::SliceStalled { job, slice, file } => {
                write!(
                    out,
                    "{job}: Plaso hung in {slice} on {file}, which is left out"
                )
            }
            Self::InstanceEnds { why } => write!(out, "{why}"),
            Self::PoweringOff => write!(out, "nothing is left to do: switching the machine off"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn catalog() -> BTreeMap<String, String> {
        let path = "packaging/usr/lib/systemd/catalog/dfagent.catalog";
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let text = std::fs::read_to_string(path).unwrap();
        let mut entries = text.split("\n-- ").skip(1);
        let entries = entries.by_ref().map(|entry| {
            let (id, rest) = entry.split_once('\n').unwrap();
            (id.trim().to_owned(), rest.to_owned())
        });
        entries.collect()
    }

    #[test]
    fn every_id_is_128_bits_and_used_once() {
        let ids: std::collections::BTreeSet<&str> = IDS.iter().map(|(_, id)| *id).collect();
        assert_eq!(ids.len(), IDS.len());
        for id in ids {
            assert_eq!(id.len(), 32);
            assert!(
                id.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')),
                "{id}"
            );
        }
    }

    #[test]
    fn the_catalog_has_a_text_for_every_event_and_no_other() {
        let catalog = catalog();
        for (name, id) in IDS {
            let entry = catalog
                .get(*id)
                .unwrap_or_else(|| panic!("no text for {name}"));
            assert!(entry.starts_with("Subject: "), "{name}: {entry}");
            assert!(entry.contains("\nDefined-By: dfagent\n"), "{name}");
            let (_, body) = entry.split_once("\n\n").unwrap();
            assert!(body.trim().len() > 40, "{name}: {body}");
        }
        assert_eq!(catalog.len(), IDS.len());
    }

    #[test]
    fn a_failed_job_is_an_error_and_a_partial_one_a_warning() {
        let done = |verdict| Event::JobDone {
            job: "vol-1".into(),
            verdict,
        };
        assert_eq!(done(Level::Complete).severity(), Severity::INFO);
        assert_eq!(done(Level::Partial).severity(), Severity::WARN);
        assert_eq!(done(Level::Failed).severity(), Severity::ERROR);
    }
}
