//! Slices of a job that is still extracted: the service shows the first of them before the last is there.

use std::fs;
use std::path::Path;

use dfagent::config::Settings;
use dfagent::config::delivery::Destination;
use dfagent::delivery::fill;
use dfagent::job::JobRecord;
use dfagent::manifest::Manifest;
use libtest_mimic::{Failed, Trial};
use serde_json::Value;

use crate::case::{HANGING, holds_within};
use crate::lab::trial;
use crate::material::{self, AUTH, HISTORY, SYSLOG};
use crate::servers::shared;
use crate::service::Served;
use crate::stream::{Stream, assert_whole};

pub fn trials() -> Vec<Trial> {
    vec![trial(
        "the_first_events_are_found_while_the_job_is_still_at_work",
        &crate::needs(),
        first_events,
    )]
}

/// A service over an outbox of an agent that streams.
pub fn serve(stream: Stream) -> Served {
    let mut case = stream.case;
    case.set("delivery", "to", "\"stream\"");
    let mut settings = Settings::default();
    settings.delivery.to = Destination::Stream;
    settings.timesketch.url = case.servers.url().to_owned();
    let mut served = Served::over(case);
    served.outbox = served.outbox.by(&settings);
    served
}

pub fn manifest(job: &Path) -> Manifest {
    let text = fs::read_to_string(job.join("manifest.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Hands the slices of a job over, as the engine does while others are at work.
pub fn hand_over(served: &Served, job: &Path, slices: &[&str]) -> String {
    let manifest = manifest(job);
    let text = fs::read_to_string(job.join("job.json")).unwrap();
    let record: JobRecord = serde_json::from_str(&text).unwrap();
    let name = &manifest.job;
    fill::open(&served.outbox, name, name, &record).unwrap();
    for slice in &manifest.slices {
        if slices.contains(&slice.name.as_str()) {
            let plaso = &manifest.plaso.version;
            fill::slice(
                &served.outbox,
                job,
                name,
                slice,
                &manifest.filesystems,
                plaso,
            )
            .unwrap();
        }
    }
    name.clone()
}

pub fn close(served: &Served, job: &Path) {
    fill::close(&served.outbox, job, &manifest(job)).unwrap();
}

fn first_events() -> Result<(), Failed> {
    let _shared = shared();
    let served = serve(Stream::of(&[HISTORY, AUTH, SYSLOG]));
    let _service = served.start();
    let path = served.case.job.clone();
    let (servers, sketch) = (served.case.servers, served.case.sketch);
    let found = || match servers.timelines(sketch).as_slice() {
        [] => 0,
        [one] => one["found"].as_u64().unwrap_or(0),
        more => panic!("{more:?}"),
    };
    let job = hand_over(&served, &path, &[]);
    for (number, slice) in [HISTORY, AUTH].into_iter().enumerate() {
        hand_over(&served, &path, &[slice]);
        let so_far = material::events(&[HISTORY, AUTH][..=number]).len() as u64;
        let all = || found() == so_far;
        assert!(
            holds_within(HANGING, all),
            "{} of {so_far}: {}",
            found(),
            served.said("service")
        );
        let order = served.outbox.order(&job).unwrap().unwrap();
        assert!(order.closed.is_none(), "the job is at work");
        assert!(served.delivered(&job).is_none());
    }
    close(&served, &path);
    served.is_delivered(&job);
    assert_whole(servers, sketch, &[HISTORY, AUTH, SYSLOG]);
    let receipt = served.receipt(&job).unwrap();
    for slice in receipt.slices {
        let streamed = slice.streamed.unwrap();
        assert_eq!(streamed.documents, slice.expected);
        assert_eq!(streamed.refused, 0);
    }
    let state: Value = served.case.state().unwrap_or_default();
    assert!(state.is_null(), "its memory is the service's own");
    Ok(())
}
