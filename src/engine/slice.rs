//! One slice on its way: Plaso, summary, export, verdict, a finished folder.
//!
//! An extraction that hangs on a file is stopped and done again without that file; one that is broken off
//! for any other reason leaves only a folder that nobody looks at again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::export::Exported;
use super::filesystem::system;
use super::job::JobContext;
use super::{EngineError, Progress, room};
use crate::cage::command::inside;
use crate::cage::task::{take_over, words};
use crate::cage::{CageRequest, Caged, CagedEvidence, Ended};
use crate::census::filter::exact_path;
use crate::census::plan::filter_file;
use crate::census::report::SlicePatterns;
use crate::clock::now;
use crate::durable;
use crate::evidence::plan::Reading;
use crate::job::{DOCUMENTS, PlannedSlice};
use crate::manifest::{FileRecord, SliceRecord, View};
use crate::plaso::command::{
    self, Extraction, FILTER, LOG, STORAGE, last_status, path_in_display_name, says_completed,
};
use crate::plaso::stall::{Patience, Sample, StallDetector};
use crate::plaso::summary::StoreSummary;
use crate::plaso::verdict::{Level, SliceFacts, slice_verdict};
use crate::printable::{self, EvidencePath};

const SUMMARY: &str = "summary.json";
/// The list of entries inside the cage.
const LISTING: &str = "/listing";

/// Runs of Plaso over one slice at the most, each leaving out one more file that it hangs on.
const MOST_ATTEMPTS: u32 = 4;

const MOST_ANSWER: u64 = 64 * 1024 * 1024;

/// How often a running Plaso is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How one run of Plaso went.
struct Extracted {
    ended: Ended,
    says_completed: bool,
    hung: Option<Hung>,
    cpu: Option<Duration>,
}

/// On what it hung.
struct Hung {
    file: String,
    why: String,
}

/// A slice at work.
pub(super) struct SliceRun<'a> {
    pub(super) job: &'a JobContext,
    pub(super) planned: &'a PlannedSlice,
    view: &'a View,
    reading: Reading,
    evidence: CagedEvidence,
    pub(super) attempt: PathBuf,
    left_out: Vec<(String, String)>,
}

impl<'a> SliceRun<'a> {
    pub(super) fn new(job: &'a JobContext, planned: &'a PlannedSlice) -> Result<Self, EngineError> {
        let view = job.view(&planned.filesystem)?;
        Ok(Self {
            job,
            planned,
            view,
            reading: view.reading,
            evidence: job.evidence(&planned.filesystem, view.reading)?.clone(),
            attempt: job.folder.running_slice(&planned.name),
            left_out: Vec::new(),
        })
    }

    fn command(&self) -> Vec<String> {
        let plaso = &self.job.engine.plaso;
        command::extraction(&Extraction {
            python: &plaso.python,
            log2timeline: &plaso.log2timeline,
            artifacts: plaso.artifacts.as_deref(),
            parsers: &self.job.selection.parsers,
            time_zone: Some(&self.view.time_zone),
            evidence: &self.evidence.inside,
            memory_bytes: self.job.engine.settings.cage.limits().memory_bytes,
        })
    }

    /// Does the slice and returns the record of its finished folder.
    pub(super) async fn run(mut self) -> Result<SliceRecord, EngineError> {
        self.job.talk.tell(Progress::SliceStarted {
            name: self.planned.name.clone(),
        });
        let mut attempts = 0;
        let (begun, started, extracted, summary) = loop {
            attempts += 1;
            let (begun, started) = (Instant::now(), now());
            self.prepare()?;
            let extracted = self.extract().await?;
            if !self.job.source.still_present() {
                return Err(EngineError::Gone);
            }
            let summary = self.summarise().await?;
            if !self.try_again(&extracted, &summary)? || attempts == MOST_ATTEMPTS {
                break (begun, started, extracted, summary);
            }
        };
        let exported = match &summary {
            Ok(summary)
                if extracted.ended.is_success() && summary.completed && !summary.aborted =>
            {
                self.export().await?
            }
            _ => Err("the extraction did not come to its end".to_owned()),
        };
        let record = self.judge(attempts, &started, &extracted, &summary, &exported);
        // What Plaso made of a device that was pulled in its last moment must not count either.
        if !self.job.source.still_present() {
            return Err(EngineError::Gone);
        }
        self.publish(record, begun).await
    }

    /// Whether another way promises more: without the file that Plaso hung on, or by the mount when its own
    /// code did not find every entry on the device.
    fn try_again(
        &mut self,
        extracted: &Extracted,
        summary: &Result<StoreSummary, String>,
    ) -> Result<bool, EngineError> {
        if let Some(hung) = &extracted.hung {
            self.job.talk.tell(Progress::SliceStalled {
                name: self.planned.name.clone(),
                file: hung.file.clone(),
            });
            let path = path_in_display_name(&hung.file, &self.evidence.inside);
            self.left_out
                .push((path.unwrap_or(&hung.file).to_owned(), hung.why.clone()));
            return Ok(path.is_some());
        }
        let lost = summary.as_ref().is_ok_and(|summary| summary.missing > 0);
        if self.reading == Reading::Mount || !lost {
            return Ok(false);
        }
        self.reading = Reading::Mount;
        self.evidence = self
            .job
            .evidence(&self.planned.filesystem, Reading::Mount)?
            .clone();
        Ok(true)
    }

    /// A fresh attempt folder with the slice's filter, less what was found to hang.
    fn prepare(&self) -> Result<(), EngineError> {
        durable::remove_folder(&self.attempt)?;
        durable::make_folder(&self.attempt)?;
        let patterns = self.job.folder.at("plan").join(&self.planned.patterns);
        let SlicePatterns {
            includes,
            mut excludes,
        } = durable::read_json(&patterns, MOST_ANSWER)?.unwrap_or_default();
        let hung = self
            .left_out
            .iter()
            .map(|(path, _)| EvidencePath::new(path.as_bytes()));
        excludes.extend(hung.map(|path| exact_path(&path)));
        let prefix = match self.reading {
            Reading::Raw => "",
            Reading::Mount => &self.evidence.inside,
        };
        let filter = filter_file(&self.planned.name, &includes, &excludes, prefix);
        durable::write(&self.attempt.join(FILTER), filter.as_bytes())?;
        let cage = &self.job.engine.cage;
        cage.hand_over(&self.attempt)
            .map_err(|error| system("hand a folder to the cage", error))
    }

    async fn extract(&self) -> Result<Extracted, EngineError> {
        let engine = &self.job.engine;
        let request = CageRequest {
            name: self.planned.name.clone(),
            program: self.command(),
            evidence: Some(self.evidence.clone()),
            attempt: self.attempt.clone(),
            read_only: engine.plaso.read_only(),
            data: Vec::new(),
            time_limit: engine.settings.slice_limit(),
        };
        let mut caged = engine.cage.start(&request)?;
        let patience = Patience {
            idle: Duration::from_secs(engine.settings.plaso.idle_limit_seconds),
            busy: Duration::from_secs(engine.settings.plaso.busy_limit_seconds),
        };
        let mut detector = StallDetector::new(patience);
        let begun = Instant::now();
        let mut looks = tokio::time::interval(LOOK);
        let mut stop = self.job.talk.stop.clone();
        let (ended, hung) = loop {
            // All arms may be dropped at any time: `wait`, `tick` and `stopped` are cancel-safe.
            tokio::select! {
                ended = caged.wait() => break (ended, None),
                _ = looks.tick() => {
                    self.watch_space(&mut caged)?;
                    if let Some(why) = self.look(&caged, &mut detector, begun.elapsed()) {
                        caged.kill();
                        let file = printable::line(detector.file(), 1000);
                        break (caged.wait().await, Some(Hung { file, why }));
                    }
                }
                () = stopped(&mut stop) => {
                    self.stop(&mut caged).await;
                    return Err(EngineError::Stopped);
                }
            }
        };
        if !ended.is_success() {
            self.watch_space(&mut caged)?;
        }
        let (says_completed, cpu) = (says_completed(&caged.output()), caged.cpu_time());
        Ok(Extracted {
            ended,
            says_completed,
            hung,
            cpu,
        })
    }

    /// Ends the run before the disk is full: Plaso would hang there.
    fn watch_space(&self, caged: &mut Caged) -> Result<(), EngineError> {
        let reserve = self.job.engine.settings.reserve_bytes();
        room::check(self.job.folder.path(), reserve).inspect_err(|_| caged.kill())
    }

    fn look(&self, caged: &Caged, detector: &mut StallDetector, now: Duration) -> Option<String> {
        let storage = std::fs::symlink_metadata(self.attempt.join(STORAGE));
        let status = last_status(&caged.output()).unwrap_or_default();
        self.job.talk.tell(Progress::SliceTick {
            name: self.planned.name.clone(),
            events: status.events,
            file: printable::line(&status.file, 200),
        });
        let storage_bytes = storage.map_or(0, |about| about.len());
        detector.observe(
            now,
            Sample {
                storage_bytes,
                status,
                cpu: caged.cpu_time(),
            },
        )
    }

    async fn stop(&self, caged: &mut Caged) {
        caged.interrupt();
        let grace = Duration::from_secs(self.job.engine.settings.plaso.stop_grace_seconds);
        if tokio::time::timeout(grace, caged.wait()).await.is_err() {
            tracing::warn!(
                slice = self.planned.name,
                "Plaso did not stop in time and was ended"
            );
            caged.kill();
            caged.wait().await;
        }
    }

    async fn summarise(&self) -> Result<Result<StoreSummary, String>, EngineError> {
        let attempt = |name: &str| format!("{}/{name}", inside::ATTEMPT);
        let program = words(&[
            inside::GUARD,
            "inside",
            "summary",
            &attempt(STORAGE),
            LISTING,
            &self.evidence.inside,
            &attempt(SUMMARY),
        ]);
        let listing = self.job.folder.at("plan").join(&self.planned.listing);
        let done = self
            .helper(
                "summary",
                program,
                vec![(listing, LISTING.to_owned())],
                Vec::new(),
            )
            .await?;
        Ok(done.and_then(|()| self.answer(SUMMARY)))
    }

    /// A second run in the same attempt folder. A full disk is nothing to judge the slice by.
    pub(super) async fn helper(
        &self,
        name: &'static str,
        program: Vec<String>,
        read_only: Vec<(PathBuf, String)>,
        data: Vec<(&'static str, String)>,
    ) -> Result<Result<(), String>, EngineError> {
        let request = CageRequest {
            name: format!("{}-{name}", self.planned.name),
            program,
            evidence: None,
            attempt: self.attempt.clone(),
            read_only,
            data,
            time_limit: self.job.engine.settings.slice_limit(),
        };
        let mut caged = self.job.engine.cage.start(&request)?;
        let mut looks = tokio::time::interval(LOOK);
        let mut stop = self.job.talk.stop.clone();
        let ended = loop {
            // All arms may be dropped at any time: `wait`, `tick` and `stopped` are cancel-safe.
            tokio::select! {
                ended = caged.wait() => break ended,
                _ = looks.tick() => {
                    self.job.talk.tell(Progress::Alive);
                    self.watch_space(&mut caged)?;
                }
                () = stopped(&mut stop) => {
                    caged.kill();
                    caged.wait().await;
                    return Err(EngineError::Stopped);
                }
            }
        };
        if ended.is_success() {
            return Ok(Ok(()));
        }
        self.watch_space(&mut caged)?;
        Ok(Err(format!(
            "{name} {ended}: {}",
            printable::last_line(&caged.errors(), 200)
        )))
    }

    pub(super) fn answer<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T, String> {
        let answer = durable::read_json(&self.attempt.join(name), MOST_ANSWER);
        answer
            .map_err(|error| error.to_string())?
            .ok_or_else(|| format!("it left no {name}"))
    }

    fn judge(
        &self,
        attempts: u32,
        started: &str,
        extracted: &Extracted,
        summary: &Result<StoreSummary, String>,
        exported: &Result<Exported, String>,
    ) -> SliceRecord {
        let with_filestat = self
            .job
            .selection
            .parsers
            .iter()
            .any(|name| name == "filestat");
        let verdict = slice_verdict(&SliceFacts {
            ended: &extracted.ended,
            says_completed: extracted.says_completed,
            summary: summary.as_ref().map_err(String::as_str),
            documents: exported
                .as_ref()
                .map(|exported| exported.receipt.documents)
                .map_err(String::as_str),
            with_filestat: with_filestat && self.left_out.is_empty(),
            left_out: &self.left_out,
        });
        let summary = summary.as_ref().cloned().unwrap_or_default();
        let Exported { receipt, exporter } = exported.as_ref().cloned().unwrap_or_default();
        SliceRecord {
            name: self.planned.name.clone(),
            filesystem: self.planned.filesystem.clone(),
            verdict,
            entries: self.planned.entries,
            bytes: self.planned.bytes,
            events: summary.events,
            documents: receipt.documents,
            parsers: summary.parsers,
            ended: extracted.ended.clone(),
            attempts,
            started: started.to_owned(),
            seconds: 0.0,
            cpu_seconds: extracted.cpu.map(|cpu| cpu.as_secs_f64()),
            reading: self.reading,
            command: self.command(),
            warnings: summary.warnings,
            harmless_warnings: summary.harmless_warnings,
            recovery_warnings: summary.recovery_warnings,
            timelining_warnings: summary.timelining_warnings,
            exporter,
            by_plaso: receipt.by_plaso,
            rewritten_documents: [receipt.escaped_surrogates, receipt.replaced_numbers],
            files: Vec::new(),
        }
    }

    /// Moves the results into a folder of our own and gives it its final name.
    async fn publish(
        &self,
        mut record: SliceRecord,
        begun: Instant,
    ) -> Result<SliceRecord, EngineError> {
        let name = &self.planned.name;
        let kept = self
            .job
            .folder
            .path()
            .join("slices")
            .join(format!("{name}.new"));
        let mut files: Vec<String> = [STORAGE, LOG, FILTER].map(str::to_owned).into();
        if record.verdict.level < Level::Failed {
            files.push(DOCUMENTS.to_owned());
        }
        files.retain(|name| std::fs::symlink_metadata(self.attempt.join(name)).is_ok());
        take_over(&self.attempt, &kept, &files)?;
        files.retain(|name| name != DOCUMENTS);
        for file in &files {
            let hashed = FileRecord::of(kept.join(file), format!("slices/{name}/{file}"));
            record.files.push(self.job.talk.during(hashed).await?);
        }
        record.seconds = begun.elapsed().as_secs_f64();
        durable::write_json(&kept.join("slice.json"), &record)?;
        durable::remove_folder(&self.job.folder.slice(name))?;
        durable::rename(&kept, &self.job.folder.slice(name))?;
        self.job.talk.tell(Progress::SliceDone {
            name: name.clone(),
            documents: record.documents,
            bytes: record.bytes,
            seconds: record.seconds,
            level: record.verdict.level,
        });
        Ok(record)
    }
}

/// Ends when a stop is asked for; never, if nobody can ask any more.
pub(super) async fn stopped(stop: &mut tokio::sync::watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}
