//! What the agent makes of what EC2 says. It asks nobody: it reads what delivery wrote down, does not trust it, and says
//! in the outbox which volumes it would like to know about.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Agent, sentence};
use crate::clock;
use crate::config::ec2::{Ec2Settings, OnRebalance};
use crate::delivery::outbox::Outbox;
use crate::dispatch::job::State;
use crate::ec2::cloud::{Cloud, Notice, NoticeKind, is_volume};
use crate::printable;
use crate::telemetry::events::Event;

/// How long before the announced time what runs is stopped: the last slice has to be written down by then.
const MARGIN: Duration = Duration::from_secs(30);
/// EC2 announces an interruption two minutes ahead, if it does not say when.
const AHEAD: Duration = Duration::from_secs(120);

/// No clock is trusted with more than this.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What EC2 says, as far as delivery has written it down.
#[derive(Default)]
pub(super) struct Ec2 {
    cloud: Option<Cloud>,
    announced: Option<Announced>,
    /// What delivery was told last that we would like to know about.
    wanted: Option<Vec<String>>,
}

/// An announcement that something follows from.
struct Announced {
    notice: Notice,
    /// What is announced and what follows, in a sentence.
    why: String,
    /// When what runs is stopped; none: not at all, or it was.
    break_off: Option<Instant>,
}

impl Ec2 {
    /// Reads what stands there now; says so if something else is announced. A file that is no good stops nothing.
    pub(super) fn look(&mut self, outbox: &Outbox, settings: &Ec2Settings) {
        let read = settings.is_used().then(|| outbox.cloud());
        self.cloud = read.unwrap_or(Ok(None)).unwrap_or_else(|error| {
            let error = sentence(&error);
            tracing::warn!(dfagent_error = error, "what EC2 says is not known");
            None
        });
        let notice = self.cloud.as_ref().and_then(|cloud| cloud.notice.as_ref());
        let known = self.announced.as_ref().map(|known| &known.notice);
        let why = notice.and_then(|notice| in_words(notice, settings.on_rebalance));
        if known == notice && self.hold() == why.as_deref() {
            return;
        }
        let before = self.announced.take();
        self.announced = notice.cloned().zip(why).map(|(notice, why)| Announced {
            break_off: break_off(&notice, clock::moment()),
            notice,
            why,
        });
        match (&self.announced, before) {
            (Some(Announced { why, .. }), _) => Event::InstanceEnds { why: why.clone() }.emit(),
            (None, Some(_)) => tracing::info!("EC2 does not take this instance away any more"),
            (None, None) => {}
        }
    }

    /// Why nothing is begun now, if nothing is.
    pub(super) fn hold(&self) -> Option<&str> {
        self.announced.as_ref().map(|known| known.why.as_str())
    }

    /// When what runs is to be stopped.
    pub(super) fn break_off_at(&self) -> Option<Instant> {
        self.announced.as_ref()?.break_off
    }

    /// The case of a volume, if a tag names one.
    pub(super) fn case(&self, volume: &str) -> Option<String> {
        let (case, _) = self.cloud.as_ref()?.case(volume)?;
        Some(case)
    }
}

impl Agent {
    /// Tells delivery which volumes it is good to know about: those of jobs that are not at their end.
    pub(super) fn ask_ec2(&mut self) {
        if !self.in_force.settings().ec2.is_used() {
            return;
        }
        let over = |state: &State| matches!(state, State::Done { .. } | State::Cancelled);
        let jobs = self.dispatcher.jobs().filter(|(job, ..)| !over(&job.state));
        let mut wanted: Vec<String> = jobs
            .map(|(job, ..)| job.volume.id.clone())
            .filter(|id| is_volume(id))
            .collect();
        wanted.sort();
        if self.deliveries.ec2.wanted.as_ref() != Some(&wanted) {
            match self.deliveries.outbox.keep_wanted(&wanted) {
                Ok(()) => self.deliveries.ec2.wanted = Some(wanted),
                Err(error) => {
                    let error = sentence(&error);
                    tracing::warn!(dfagent_error = error, "EC2 is not asked about new volumes");
                }
            }
        }
        self.name_cases();
    }

    /// Jobs at work get the case that a tag names.
    pub(super) fn name_cases(&mut self) {
        let ec2 = &self.deliveries.ec2;
        let effects = self.dispatcher.name_cases(|volume| ec2.case(volume));
        self.carry_out(effects);
    }

    /// Stops in order what still runs shortly before EC2 takes the instance away.
    pub(super) fn break_off(&mut self) {
        let announced = self.deliveries.ec2.announced.as_mut();
        let Some(announced) = announced.filter(|one| one.is_due()) else {
            return;
        };
        announced.break_off = None;
        tracing::warn!(
            "EC2 takes this instance away soon: jobs are stopped in order and go on later"
        );
        let effects = self.dispatcher.break_off();
        self.carry_out(effects);
    }
}

impl Announced {
    fn is_due(&self) -> bool {
        self.break_off.is_some_and(|at| at <= Instant::now())
    }
}

/// When what runs is to be stopped.
fn break_off(notice: &Notice, now: Timestamp) -> Option<Instant> {
    if notice.kind != NoticeKind::Interruption {
        return None;
    }
    let time: Option<Timestamp> = notice.time.as_ref().and_then(|time| time.parse().ok());
    let left = time.map_or(Ok(AHEAD), |time| time.duration_since(now).try_into());
    // What is past already comes out negative, and is now.
    let left: Duration = left.unwrap_or_default();
    Some(Instant::now() + left.min(LONGEST).saturating_sub(MARGIN))
}

fn in_words(notice: &Notice, on_rebalance: OnRebalance) -> Option<String> {
    let will = match (notice.kind, notice.action.as_str(), on_rebalance) {
        (NoticeKind::Rebalance, _, OnRebalance::GoOn) => return None,
        (NoticeKind::Rebalance, _, OnRebalance::Hold) => {
            return Some(
                "EC2 recommends to leave this instance, which it may take away: no job and no slice is begun, because \
                 [ec2] on_rebalance is \"hold\"."
                    .to_owned(),
            );
        }
        (NoticeKind::Interruption, "terminate", _) => "terminate",
        (NoticeKind::Interruption, "stop", _) => "stop",
        (NoticeKind::Interruption, "hibernate", _) => "hibernate",
        _ => return None,
    };
    let at = notice.time.as_deref().map(|time| printable::line(time, 40));
    let at = at.map_or_else(String::new, |time| format!(" at {time}"));
    Some(format!(
        "EC2 will {will} this instance{at}: no job and no slice is begun until that is taken back, and what runs is \
         stopped in order {} seconds before.",
        MARGIN.as_secs()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ec2::Use;
    use crate::durable;
    use crate::ec2::cloud::{SCHEMA, Tags};

    fn settings() -> Ec2Settings {
        Ec2Settings {
            asks: Use::Yes,
            ..Ec2Settings::default()
        }
    }

    fn outbox(folder: &tempfile::TempDir) -> Outbox {
        let outbox = Outbox::at(folder.path(), None);
        outbox.make().unwrap();
        outbox
    }

    fn said(notice: Option<Notice>, settings: &Ec2Settings) -> Ec2 {
        let folder = tempfile::tempdir().unwrap();
        let outbox = outbox(&folder);
        let cloud = Cloud {
            schema: SCHEMA.to_owned(),
            notice,
            tags: Tags {
                case: Some("4711\u{7}".to_owned()),
                sketch: None,
            },
            ..Cloud::default()
        };
        outbox.keep_cloud(&cloud).unwrap();
        let mut ec2 = Ec2::default();
        ec2.look(&outbox, settings);
        ec2
    }

    fn notice(kind: NoticeKind, action: &str, time: &str) -> Notice {
        Notice {
            kind,
            action: action.to_owned(),
            time: Some(time.to_owned()),
        }
    }

    const THEN: &str = "2026-11-25T08:00:00Z";

    #[test]
    fn an_interruption_holds_jobs_and_nothing_else_does() {
        let hold = |kind, action| {
            let time = format!("{THEN}\u{1b}[2J");
            let ec2 = said(Some(notice(kind, action, &time)), &settings());
            ec2.hold().map(str::to_owned)
        };
        let why = hold(NoticeKind::Interruption, "terminate").unwrap();
        assert!(why.starts_with("EC2 will terminate this instance at 2026-11-25T08:00:00Z"));
        assert!(!why.chars().any(char::is_control), "{why:?}");
        assert_eq!(hold(NoticeKind::Rebalance, "rebalance"), None);
        assert_eq!(hold(NoticeKind::Interruption, "dance"), None);
        assert_eq!(said(None, &settings()).hold(), None);
    }

    #[test]
    fn a_recommendation_holds_jobs_where_that_is_wanted_and_stops_none() {
        let settings = Ec2Settings {
            on_rebalance: OnRebalance::Hold,
            ..settings()
        };
        let rebalance = notice(NoticeKind::Rebalance, "rebalance", THEN);
        let ec2 = said(Some(rebalance), &settings);
        assert!(ec2.hold().unwrap().contains("on_rebalance"));
        assert_eq!(ec2.break_off_at(), None);
    }

    #[test]
    fn what_runs_is_stopped_half_a_minute_before_the_time_and_at_once_when_that_is_past() {
        let now: Timestamp = "2026-11-25T07:58:00Z".parse().unwrap();
        let left = |time: &str| {
            let at = break_off(&notice(NoticeKind::Interruption, "stop", time), now).unwrap();
            let left = at.saturating_duration_since(Instant::now());
            // The clock has gone on a little.
            (left + Duration::from_millis(500)).as_secs()
        };
        assert_eq!(left(THEN), 90);
        assert_eq!(left("soon"), 90);
        assert_eq!(left("2026-11-25T07:58:10Z"), 0);
        assert_eq!(left("2020-11-25T07:58:10Z"), 0);
        assert!(left("9999-01-01T00:00:00Z") <= LONGEST.as_secs());
    }

    #[test]
    fn an_announcement_that_is_taken_back_is_forgotten_and_a_new_one_has_its_own_time() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = outbox(&folder);
        let mut ec2 = Ec2::default();
        let mut see = |notice: Option<Notice>| {
            let cloud = Cloud {
                schema: SCHEMA.to_owned(),
                notice,
                ..Cloud::default()
            };
            outbox.keep_cloud(&cloud).unwrap();
            ec2.look(&outbox, &settings());
            ec2.break_off_at()
        };
        let of = |time| Some(notice(NoticeKind::Interruption, "stop", time));
        let first = see(of("2999-01-01T00:00:00Z")).unwrap();
        assert_eq!(see(of("2999-01-01T00:00:00Z")), Some(first));
        assert!(see(of(THEN)).unwrap() < first);
        assert_eq!(see(None), None);
    }

    #[test]
    fn a_case_is_that_of_the_tag_without_its_control_characters() {
        let case = said(None, &settings()).case("vol-01234567").unwrap();
        assert!(case.starts_with("4711") && !case.chars().any(char::is_control));
        let unused = Ec2Settings {
            asks: Use::No,
            ..Ec2Settings::default()
        };
        assert_eq!(said(None, &unused).case("vol-01234567"), None);
    }

    #[test]
    fn a_file_that_is_missing_or_no_good_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = outbox(&folder);
        let mut ec2 = Ec2::default();
        ec2.look(&outbox, &settings());
        assert_eq!(ec2.hold(), None);
        let path = outbox.receipts_folder().join("cloud.json");
        for bad in [&b"{"[..], b"{\"schema\":\"other\"}", &[b' '; 3_000_000]] {
            durable::write(&path, bad).unwrap();
            ec2.look(&outbox, &settings());
            assert_eq!(ec2.hold(), None);
        }
    }
}
