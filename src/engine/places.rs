//! Places for work that needs a core, and who is next: triage of all jobs, then planning, then the rest, fair
//! over jobs.
//!
//! [`Queue`] decides and knows neither tasks nor clocks; [`Places`] makes tasks wait for its decisions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// How long slices after triage wait for a job that has not had its triage, from the last place that it got: its turn
/// comes later the more jobs there are. A job that takes longer, because its disk is slow or very large, no longer
/// keeps the others back.
const PATIENCE: Duration = Duration::from_secs(60);

/// Work that takes a place, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// A slice of the first filter file.
    Triage,
    /// Probe, mount and census.
    Planning,
    /// Any other slice.
    Later,
}

#[derive(Debug)]
struct Member {
    priority: i64,
    running: usize,
    /// When it had a place last, as a count of places given.
    served: u64,
    /// Until when others wait for its triage; none once it has had it.
    awaited_until: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    member: u64,
    work: Work,
}

/// Who is next.
#[derive(Debug)]
struct Queue {
    places: usize,
    /// Whether nobody gets one for now.
    held: bool,
    taken: usize,
    given: u64,
    tickets: u64,
    members: BTreeMap<u64, Member>,
    waiting: Vec<Waiting>,
}

impl Queue {
    fn number(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    /// The ticket that gets the next free place; none if there is no place or nobody may have it yet.
    fn next(&self, now: Instant) -> Option<u64> {
        if self.held || self.taken >= self.places {
            return None;
        }
        let best = self.waiting.iter().min_by_key(|one| {
            let member = self.members.get(&one.member);
            let fair = member.map(|member| (-member.priority, member.running, member.served));
            (one.work, fair, one.ticket)
        })?;
        (best.work < Work::Later || self.kept_back_until(now).is_none()).then_some(best.ticket)
    }

    /// Until when later work waits for some job's triage. A job that is alone asks for its triage first anyway, and
    /// need not leave a core idle while the last of it runs.
    fn kept_back_until(&self, now: Instant) -> Option<Instant> {
        if self.members.len() == 1 {
            return None;
        }
        let awaited = self
            .members
            .values()
            .filter_map(|member| member.awaited_until);
        awaited.filter(|until| *until > now).max()
    }

    fn take(&mut self, ticket: u64, now: Instant) {
        let Some(place) = self.waiting.iter().position(|one| one.ticket == ticket) else {
            return;
        };
        let waited = self.waiting.swap_remove(place);
        (self.taken, self.given) = (self.taken + 1, self.given + 1);
        if let Some(member) = self.members.get_mut(&waited.member) {
            (member.running, member.served) = (member.running + 1, self.given);
            member.awaited_until = member.awaited_until.map(|_| now + PATIENCE);
        }
    }

    fn give_back(&mut self, member: u64) {
        self.taken -= 1;
        if let Some(member) = self.members.get_mut(&member) {
            member.running -= 1;
        }
    }
}

/// The places of this machine, shared by all jobs.
#[derive(Debug)]
pub struct Places {
    /// Never held while something is awaited.
    queue: Mutex<Queue>,
    changed: Notify,
}

impl Places {
    /// So many places.
    #[must_use]
    pub fn new(places: usize) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::new(Queue {
                places,
                held: false,
                taken: 0,
                given: 0,
                tickets: 0,
                members: BTreeMap::new(),
                waiting: Vec::new(),
            }),
            changed: Notify::new(),
        })
    }

    /// Changes how many there are; work that has a place keeps it.
    pub fn resize(&self, places: usize) {
        self.queue().places = places;
        self.changed.notify_waiters();
    }

    /// Gives nobody a place for now, or gives them again; work that has a place keeps it.
    pub fn hold(&self, held: bool) {
        self.queue().held = held;
        self.changed.notify_waiters();
    }

    /// How many there are.
    #[must_use]
    pub fn number(&self) -> usize {
        self.queue().places
    }

    /// A job that will need places. Until it has had its triage, later slices of others wait for it.
    #[must_use]
    pub fn join(self: &Arc<Self>, priority: i64) -> Membership {
        let mut queue = self.queue();
        let member = queue.number();
        let new = Member {
            priority,
            running: 0,
            served: 0,
            awaited_until: Some(Instant::now() + PATIENCE),
        };
        queue.members.insert(member, new);
        drop(queue);
        Membership {
            places: Arc::clone(self),
            member,
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job that shares the places; leaves when dropped.
#[derive(Debug)]
pub struct Membership {
    places: Arc<Places>,
    member: u64,
}

impl Membership {
    /// Waits for a place.
    ///
    /// Cancel-safe: who stops waiting is no longer in the queue.
    pub async fn place(&self, work: Work) -> Place {
        let ticket = {
            let mut queue = self.places.queue();
            let ticket = queue.number();
            let member = self.member;
            queue.waiting.push(Waiting {
                ticket,
                member,
                work,
            });
            ticket
        };
        let _ticket = Ticket {
            places: &self.places,
            ticket,
        };
        loop {
            let mut changed = std::pin::pin!(self.places.changed.notified());
            changed.as_mut().enable();
            let kept_back = {
                let mut queue = self.places.queue();
                let now = Instant::now();
                if queue.next(now) == Some(ticket) {
                    queue.take(ticket, now);
                    break;
                }
                queue.kept_back_until(now)
            };
            match kept_back {
                Some(until) => drop(tokio::time::timeout_at(until, changed).await),
                None => changed.await,
            }
        }
        // There may be a place for the next one, too.
        self.places.changed.notify_waiters();
        Place {
            places: Arc::clone(&self.places),
            member: self.member,
        }
    }

    /// Says that nobody has to wait for this job's triage any more.
    pub fn triage_is_over(&self) {
        if let Some(member) = self.places.queue().members.get_mut(&self.member) {
            member.awaited_until = None;
        }
        self.places.changed.notify_waiters();
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.places.queue().members.remove(&self.member);
        self.places.changed.notify_waiters();
    }
}

/// One who waits; no longer in the queue when dropped.
struct Ticket<'a> {
    places: &'a Places,
    ticket: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut queue = self.places.queue();
        queue.waiting.retain(|one| one.ticket != self.ticket);
        drop(queue);
        self.places.changed.notify_waiters();
    }
}

/// A place that is taken; free again when dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    member: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.queue().give_back(self.member);
        self.places.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream::{FuturesUnordered, StreamExt as _};
    use proptest::prelude::*;
    use std::cell::Cell;

    async fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(Duration::ZERO, future).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn triage_of_every_job_comes_before_later_slices() {
        let places = Places::new(2);
        let (one, other) = (places.join(0), places.join(0));
        one.triage_is_over();
        assert!(now(one.place(Work::Later)).await.is_none());
        let triage = now(other.place(Work::Triage)).await.unwrap();
        assert!(now(one.place(Work::Later)).await.is_none());
        drop(triage);
        other.triage_is_over();
        assert!(now(one.place(Work::Later)).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_is_alone_leaves_no_place_idle_until_its_triage_is_over() {
        let places = Places::new(2);
        let one = places.join(0);
        let _triage = now(one.place(Work::Triage)).await.unwrap();
        let later = now(one.place(Work::Later)).await;
        assert!(later.is_some());
        drop(later);
        let _other = places.join(0);
        assert!(now(one.place(Work::Later)).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_never_comes_to_its_triage_keeps_nobody_back_for_ever() {
        let places = Places::new(1);
        let (one, _stuck) = (places.join(0), places.join(9));
        one.triage_is_over();
        let begun = Instant::now();
        let _place = one.place(Work::Later).await;
        assert_eq!(begun.elapsed().as_secs(), PATIENCE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_wait_for_their_turn_triage_of_each_comes_before_later_slices() {
        // Odd, so that the last one's planning leaves a place to whoever may have it.
        const JOBS: usize = 19;
        let places = Places::new(2);
        let members: Vec<Membership> = (0..JOBS).map(|_| places.join(0)).collect();
        let (triaged, early) = (Cell::new(0), Cell::new(0));
        let run = async |member: &Membership| {
            for work in [Work::Planning, Work::Triage, Work::Later] {
                let _place = member.place(work).await;
                early.set(early.get() + usize::from(work == Work::Later && triaged.get() < JOBS));
                tokio::time::sleep(Duration::from_secs(20)).await;
                if work == Work::Triage {
                    triaged.set(triaged.get() + 1);
                    member.triage_is_over();
                }
            }
        };
        let mut tasks: FuturesUnordered<_> = members.iter().map(run).collect();
        while tasks.next().await.is_some() {}
        assert_eq!((triaged.get(), early.get()), (JOBS, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn places_go_round_among_jobs_and_priority_goes_first() {
        let places = Places::new(1);
        let members = [places.join(0), places.join(0), places.join(5)];
        members.iter().for_each(Membership::triage_is_over);
        let first = members[0].place(Work::Later).await;
        let order = Mutex::new(Vec::new());
        let wait = |index: usize| {
            let (members, order) = (&members, &order);
            async move {
                let _place = members[index].place(Work::Later).await;
                order.lock().unwrap().push(index);
                tokio::task::yield_now().await;
            }
        };
        let all = async { tokio::join!(wait(0), wait(1), wait(0), wait(1), wait(2)) };
        let release = async {
            tokio::task::yield_now().await;
            drop(first);
        };
        tokio::join!(all, release);
        assert_eq!(*order.lock().unwrap(), [2, 1, 0, 1, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn places_that_are_held_are_given_to_nobody_until_they_are_let_go() {
        let places = Places::new(2);
        let one = places.join(0);
        let first = one.place(Work::Triage).await;
        places.hold(true);
        assert!(now(one.place(Work::Triage)).await.is_none());
        drop(first);
        let let_go = async {
            tokio::task::yield_now().await;
            places.hold(false);
        };
        let (second, ()) = tokio::join!(one.place(Work::Planning), let_go);
        drop(second);
    }

    #[tokio::test(start_paused = true)]
    async fn fewer_places_take_effect_when_work_ends() {
        let places = Places::new(2);
        let one = places.join(0);
        let (first, second) = (one.place(Work::Triage).await, one.place(Work::Triage).await);
        places.resize(1);
        drop(first);
        assert!(now(one.place(Work::Triage)).await.is_none());
        drop(second);
        assert!(now(one.place(Work::Triage)).await.is_some());
    }

    proptest! {
        #[test]
        fn never_more_than_the_places_and_nobody_is_forgotten(
            works in proptest::collection::vec((0..4_usize, 0..3_usize, 1..50_u64), 1..40), places in 1..4_usize,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let most = runtime.block_on(async {
                let all = Places::new(places);
                let members: Vec<Membership> = (0..4).map(|one| all.join(one)).collect();
                let (at_work, most) = (Cell::new(0_usize), Cell::new(0_usize));
                let mut tasks: FuturesUnordered<_> = works.iter().map(|(member, work, time)| {
                    let work = [Work::Triage, Work::Planning, Work::Later][*work];
                    let (members, at_work, most) = (&members, &at_work, &most);
                    async move {
                        let _place = members[*member].place(work).await;
                        at_work.set(at_work.get() + 1);
                        most.set(most.get().max(at_work.get()));
                        tokio::time::sleep(Duration::from_millis(*time)).await;
                        at_work.set(at_work.get() - 1);
                    }
                }).collect();
                while tasks.next().await.is_some() {}
                most.get()
            });
            prop_assert!(most <= places);
        }
    }
}
