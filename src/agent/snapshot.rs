//! What `status` is told, made of everything that the agent knows; published at most a few times a second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Agent;
use crate::clock;
use crate::dispatch::Dispatcher;
use crate::dispatch::job::Job;
use crate::durable;
use crate::metrics;
use crate::status::render::brief;
use crate::status::{
    AgentStatus, JobResultStatus, JobStatus, OperatorTask, SCHEMA, Status, Totals, attention, jobs,
};

/// The shortest time between two snapshots.
pub(super) const PAUSE: Duration = Duration::from_millis(250);

/// The shortest time between two writings of the metrics.
const METRICS: Duration = Duration::from_secs(15);

/// What is shown before anything is known.
pub(super) fn empty() -> Status {
    Status {
        schema: SCHEMA.to_owned(),
        agent: AgentStatus {
            running: true,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: Some(std::process::id()),
            since: None,
            state: "starting".to_owned(),
            places: 0,
            free_bytes: None,
            reserve_bytes: 0,
            configured: None,
            refused_configuration: None,
            power_off_at: None,
            delivery: None,
            at: clock::now(),
            totals: Totals::default(),
        },
        jobs: Vec::new(),
        ignored: Vec::new(),
        needs_operator: Vec::new(),
    }
}

/// What the manifests of jobs that were done before say.
pub(super) async fn results_of(dispatcher: &Dispatcher) -> BTreeMap<String, JobResultStatus> {
    let known: Vec<Job> = dispatcher.jobs().map(|(job, ..)| job.clone()).collect();
    let read = tokio::task::spawn_blocking(move || {
        let results = known
            .iter()
            .filter_map(|job| Some((job.id.clone(), jobs::recall(job)?)));
        results.collect()
    });
    read.await.unwrap_or_default()
}

impl Agent {
    /// Publishes how things stand, and writes the metrics when it is time.
    pub(super) fn publish(&mut self) {
        let status = Arc::new(self.status());
        let now = Instant::now();
        (self.changed, self.published) = (false, now);
        let words = brief(&status);
        if words != self.in_words {
            self.notifier.status(&words);
            self.in_words = words;
        }
        let file = &self.in_force.settings().metrics.file;
        let due = self
            .metrics_written
            .is_none_or(|last| last + METRICS <= now);
        if !file.as_os_str().is_empty() && (due || self.work.is_empty()) {
            if let Err(error) = metrics::write(file, &status) {
                let error = crate::printable::causes(&error);
                tracing::warn!(dfagent_error = error, "the metrics cannot be written");
            }
            self.metrics_written = Some(now);
        }
        self.snapshot.send_replace(status);
    }

    fn status(&self) -> Status {
        let now = Instant::now();
        let settings = self.in_force.settings();
        let all = self.dispatcher.jobs();
        let mut shown: Vec<JobStatus> = all
            .map(|(job, attached, stopping)| self.job(job, attached, stopping, now))
            .collect();
        jobs::sort(&mut shown);
        let stopping = self.stop_until.is_some();
        let agent = AgentStatus {
            since: Some(self.since.clone()),
            state: if stopping { "stopping" } else { "running" }.to_owned(),
            places: settings.at_once(),
            free_bytes: durable::free_bytes(&self.in_force.jobs()),
            reserve_bytes: settings.reserve_bytes(),
            configured: Some(self.in_force.read.clone()),
            refused_configuration: self.in_force.refused.clone(),
            power_off_at: self.power_off_wall(),
            delivery: self.deliveries.server(),
            totals: self.totals,
            ..empty().agent
        };
        let mut status = Status {
            schema: SCHEMA.to_owned(),
            agent,
            jobs: shown,
            ignored: self.dispatcher.ignored().to_vec(),
            needs_operator: self.own_troubles(),
        };
        status.needs_operator.extend(self.power.task());
        status.needs_operator = attention::tasks(&status);
        status
    }

    fn job(&self, job: &Job, attached: bool, stopping: bool, now: Instant) -> JobStatus {
        let progress = self.work.get(&job.id).map(|work| {
            let mut progress = work.tracker.progress(now);
            if stopping {
                "stopping".clone_into(&mut progress.stage);
            }
            progress
        });
        JobStatus {
            job: job.clone(),
            attached,
            progress,
            waits: self.dispatcher.waits_for(&job.id, &self.now()),
            delivery: self.deliveries.of(&job.id),
            result: self.results.get(&job.id).cloned(),
        }
    }

    /// Everything that a person has to do, but for jobs that stand still by themselves.
    pub(super) fn own_troubles(&self) -> Vec<OperatorTask> {
        let mut tasks = Vec::new();
        if let Some(why) = &self.trouble {
            tasks.push(OperatorTask {
                why: format!("nothing new is begun, because the agent {why}"),
                command: "journalctl -u dfagent".to_owned(),
            });
        }
        if let Some(why) = &self.in_force.refused {
            tasks.push(OperatorTask {
                why: format!(
                    "the earlier configuration is still in force, because the agent {why}"
                ),
                command: "dfagent check".to_owned(),
            });
        }
        tasks.extend(self.held_up_tasks());
        tasks.extend(self.deliveries.tasks());
        for (job, ..) in self.dispatcher.jobs() {
            tasks.extend(attention::after(job, self.results.get(&job.id)));
        }
        tasks
    }
}
