//! The agent's side of delivery: it decides when a job is delivered, and takes back what was handed over. It never
//! speaks to a server, and a receipt is a claim that is compared with what was handed over.

use std::time::Instant;

use super::receipts::status_of;
use super::{Agent, sentence};
use crate::delivery::account::Account;
use crate::delivery::custody::DeliveryProof;
use crate::delivery::order::{How, Order};
use crate::delivery::outbox::Outbox;
use crate::delivery::receipt::{Delivered, ended};
use crate::dispatch::job::{DeliveryRecord, Job, State};
use crate::durable::FileError;
use crate::ledger::{Ledger, LedgerError};
use crate::plaso::verdict::Level;
use crate::printable;
use crate::status::{DeliveryStatus, OperatorTask};
use crate::telemetry::events::Event;

/// How a delivery ended.
struct Ended {
    delivered: Delivered,
    proof: DeliveryProof,
}

impl Agent {
    /// Looks at receipts if something changed.
    pub(super) fn settle_deliveries(&mut self) {
        let due = self.deliveries.due;
        if due.is_some_and(|due| due <= Instant::now()) {
            self.look_at_deliveries(false);
        }
    }

    /// Looks at how delivery is and at the receipts of all jobs that are not at their end; `all`: also at those that
    /// did not change.
    pub(super) fn look_at_deliveries(&mut self, all: bool) {
        let begun = Instant::now();
        let first = self.deliveries.looked.is_none();
        self.deliveries.due = None;
        self.deliveries.trouble = None;
        let settings = self.in_force.settings();
        if all
            && !self.deliveries.is_open(settings)
            && let Err(error) = self.deliveries.open(settings)
        {
            self.deliveries.trouble = Some(sentence(&error));
        }
        self.deliveries.look_at_server(settings);
        let outbox = &self.deliveries.outbox;
        self.deliveries.ec2.look(outbox, &settings.ec2);
        self.in_force
            .hold_slices(self.deliveries.ec2.hold().is_some());
        let now = self.now();
        let why = self.deliveries.hold(self.in_force.settings());
        let effects = self.dispatcher.hold(why, &now);
        self.carry_out(effects);
        self.name_cases();
        let open = |state: &State| !matches!(state, State::Done { .. } | State::Cancelled);
        let jobs = self.dispatcher.jobs();
        let jobs: Vec<Job> = jobs
            .filter(|(job, ..)| open(&job.state))
            .map(|(job, ..)| job.clone())
            .collect();
        let known = |id: &String| jobs.iter().any(|job| job.id == *id);
        self.deliveries.seen.retain(|id, _| known(id));
        for job in &jobs {
            self.look_at(job, all, first);
        }
        self.look_at_cancelled();
        self.deliveries.looked(begun);
        self.changed = true;
    }

    fn look_at(&mut self, job: &Job, all: bool, first: bool) {
        let mark = self.deliveries.mark(&job.id);
        let seen = self.deliveries.seen.entry(job.id.clone()).or_default();
        if !all && mark.is_some() && mark == seen.mark {
            return;
        }
        seen.mark = mark;
        let ended = self.take_stock(job, first);
        let kept = ended.and_then(|ended| {
            // The custody record is kept before the ledger says so.
            ended
                .as_ref()
                .map_or(Ok(()), |one| one.proof.keep(&job.folder))?;
            Ok(ended)
        });
        match kept {
            Ok(Some(ended)) => self.decide(job, ended),
            Ok(None) => {}
            Err(error) => {
                self.deliveries.trouble = Some(sentence(&error));
                // It is tried again at the next look.
                self.deliveries.seen.entry(job.id.clone()).or_default().mark = None;
            }
        }
    }

    /// Takes in how far a job's delivery is; what it came to, if it ended.
    fn take_stock(&mut self, job: &Job, first: bool) -> Result<Option<Ended>, FileError> {
        let delivering = matches!(job.state, State::Delivering { .. });
        let deliveries = &mut self.deliveries;
        let Some(order) = deliveries.outbox.order(&job.id)? else {
            let before = delivering.then(|| DeliveryProof::read(&job.folder));
            let before = before.transpose()?.flatten();
            if let Some(ended) = before.and_then(|proof| whole(proof, deliveries.outbox.server())) {
                return Ok(Some(ended));
            }
            let seen = deliveries.seen.entry(job.id.clone()).or_default();
            seen.status = DeliveryStatus::default();
            seen.task = delivering.then(|| OperatorTask {
                why: format!(
                    "{}: what is to be delivered is no longer in the outbox, so it has to be extracted anew",
                    job.id
                ),
                command: format!("dfagent retry --anew {}", job.id),
            });
            return Ok(None);
        };
        let handed = deliveries.outbox.slices(&job.id)?;
        let (receipt, unusable) = match deliveries.receipt(&order, &handed) {
            Ok(receipt) => (receipt, None),
            Err(why) => (None, Some(why)),
        };
        let mut status = status_of(&handed, receipt.as_ref());
        status.waits = unusable.or(status.waits);
        let seen = deliveries.seen.entry(job.id.clone()).or_default();
        seen.task = None;
        if let Some(why) = status
            .needs
            .clone()
            .filter(|_| status.needs != seen.status.needs)
        {
            Event::DeliveryNeedsOperator {
                job: job.id.clone(),
                why,
            }
            .emit();
        }
        seen.status = status.clone();
        let meter = deliveries.meters.entry(job.id.clone()).or_default();
        meter.add(&status, &mut self.totals, !first, Instant::now());
        let keep = self.in_force.settings().delivery.keep;
        let server = deliveries.outbox.server();
        let receipt = receipt.filter(|_| delivering);
        Ok(receipt.and_then(|receipt| {
            let delivered = ended(&order, &handed, &receipt)?;
            let proof = DeliveryProof::of(server, &order, &receipt, &delivered, keep);
            Some(Ended { delivered, proof })
        }))
    }

    /// A job is delivered, as its custody record says.
    fn decide(&mut self, job: &Job, one: Ended) {
        let Ended { delivered, proof } = one;
        self.had_work = true;
        let (sketch, now) = (proof.sketch, self.now());
        let effects = self.dispatcher.delivered(&job.id, delivered, sketch, &now);
        self.carry_out(effects);
        self.deliveries.seen.remove(&job.id);
    }

    /// Takes back what was handed over of a job that is given up. What was streamed of it is to be removed: delivery
    /// does that and says so.
    pub(super) fn withdraw(&mut self, id: &str) -> Result<(), FileError> {
        self.deliveries.meters.remove(id);
        let order = self.deliveries.outbox.order(id).ok().flatten();
        match order {
            Some(order) if order.way.how == How::Stream => {
                self.deliveries.outbox.cancel(order)?;
                self.deliveries.hint();
                Ok(())
            }
            _ => self.take_back(id),
        }
    }

    /// Takes back what was handed over; what was delivered stays.
    fn take_back(&mut self, id: &str) -> Result<(), FileError> {
        self.deliveries.seen.remove(id);
        self.deliveries.meters.remove(id);
        self.deliveries.outbox.forget_receipt(id);
        self.deliveries.outbox.withdraw(id)
    }

    /// Looks at cancelled jobs of which something is still to be removed.
    fn look_at_cancelled(&mut self) {
        let jobs = self.dispatcher.jobs();
        let cancelled: Vec<String> = jobs
            .filter(|(job, ..)| job.state == State::Cancelled)
            .map(|(job, ..)| job.id.clone())
            .collect();
        for id in cancelled {
            if let Err(error) = self.settle_cancelled(&id) {
                self.deliveries.trouble = Some(sentence(&error));
            }
        }
    }

    fn settle_cancelled(&mut self, id: &str) -> Result<(), FileError> {
        let Some(order) = self.deliveries.outbox.order(id)? else {
            self.deliveries.seen.remove(id);
            return Ok(());
        };
        let receipt = self.deliveries.receipt(&order, &[]).ok().flatten();
        if receipt
            .as_ref()
            .is_some_and(|one| one.removed == Some(true))
        {
            return self.take_back(id);
        }
        let mut status = status_of(&[], receipt.as_ref());
        let removing = "what was delivered of it is being removed from the server";
        status.waits = status.waits.or_else(|| Some(removing.to_owned()));
        let seen = self.deliveries.seen.entry(id.to_owned()).or_default();
        seen.status = status;
        Ok(())
    }

    /// Asks delivery to try once more. An order that is gone is told by `status`.
    pub(super) fn redeliver(&mut self, id: &str) -> Result<(), FileError> {
        let job = self.dispatcher.job(id);
        let again = job.and_then(|job| job.delivery.as_ref());
        let again = again.map_or(0, |delivery| delivery.again);
        self.deliveries.hint_at(id);
        let Some(order) = self.deliveries.outbox.order(id)? else {
            return Ok(());
        };
        let again = again.max(order.again.saturating_add(1));
        self.deliveries.outbox.keep_order(&Order { again, ..order })
    }

    /// All is proven: the outbox is emptied, and storage files that are not to be kept are removed. The order goes
    /// last, because by it an agent that was killed here finds what is left to do.
    pub(super) fn tidy(&mut self, id: &str) -> Result<(), FileError> {
        let folder = self.dispatcher.job(id).map(|job| job.folder.clone());
        if let Some(folder) = folder {
            DeliveryProof::read(&folder)?
                .unwrap_or_default()
                .remove_storage(&folder)?;
        }
        self.take_back(id)
    }

    /// What an agent that was killed had left to do: orders of jobs that are at their end are taken back, and a wish
    /// to try again that was only written down reaches its order.
    pub(super) fn tidy_outbox(&mut self) {
        let jobs = match self.deliveries.outbox.jobs() {
            Ok(jobs) => jobs,
            Err(error) => return complain(&error),
        };
        for id in jobs {
            if let Err(error) = self.tidy_order(&id) {
                complain(&error);
            }
        }
    }

    fn tidy_order(&mut self, id: &str) -> Result<(), FileError> {
        let Some(job) = self.dispatcher.job(id) else {
            let job = printable::line(id, 100);
            tracing::warn!(
                "the outbox holds {job}, which is no job of this agent; it is left there"
            );
            return Ok(());
        };
        let delivery = job.delivery.as_ref();
        let level = delivery.and_then(|one| one.level);
        let again = delivery.map_or(0, |one| one.again);
        match job.state {
            State::Done { .. } if level == Some(Level::Complete) => self.tidy(id),
            State::Done { .. } if level.is_none() => self.take_back(id),
            State::Cancelled => self.withdraw(id),
            State::Delivering { .. } => self.remind(id, again),
            _ => Ok(()),
        }
    }

    fn remind(&self, id: &str, again: u32) -> Result<(), FileError> {
        let order = self.deliveries.outbox.order(id)?;
        match order.filter(|order| order.again < again) {
            Some(order) => self.deliveries.outbox.keep_order(&Order { again, ..order }),
            None => Ok(()),
        }
    }

    /// Takes up other settings of delivery.
    pub(super) fn deliver_by(&mut self) {
        let settings = self.in_force.settings();
        let account = Account::named(&settings.delivery.user);
        self.deliveries.outbox = Outbox::at(self.in_force.directory(), Some(account)).by(settings);
        if let Err(error) = self.deliveries.open(settings) {
            let error = printable::causes(&error);
            tracing::error!(dfagent_error = error, "events cannot be handed over");
        }
        self.look_at_deliveries(true);
    }
}

/// What was delivered whole before is not handed over again: the record of then holds.
fn whole(proof: DeliveryProof, server: &str) -> Option<Ended> {
    let delivered = Delivered {
        level: Level::Complete,
        reasons: Vec::new(),
        documents: proof.documents,
    };
    let is_whole = proof.is_whole(&proof.run, server);
    is_whole.then_some(Ended { delivered, proof })
}

fn complain(error: &FileError) {
    let error = printable::causes(error);
    tracing::warn!(dfagent_error = error, "the outbox cannot be tidied up");
}

/// A job that the ledger lost and that was found with its manifest is still on its way, if there is an order for all
/// of it.
pub(super) fn recall(
    outbox: &Outbox,
    ledger: &mut Ledger,
    jobs: &mut [Job],
) -> Result<(), LedgerError> {
    for job in jobs {
        let State::Done { verdict } = job.state else {
            continue;
        };
        let closed = |order: &Order| order.closed.is_some();
        let order = outbox.order(&job.id).ok().flatten();
        if job.delivery.is_none() && order.as_ref().is_some_and(closed) {
            let again = order.map_or(0, |order| order.again);
            job.state = State::Delivering { verdict };
            job.delivery = Some(DeliveryRecord {
                again,
                ..DeliveryRecord::new(verdict)
            });
            ledger.keep(job, "found again in the outbox; it is being delivered")?;
        }
    }
    Ok(())
}
