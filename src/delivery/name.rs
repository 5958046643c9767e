//! Pure: what a timeline is called, what its context says, and which index it shares.

use serde_json::json;
use sha2::{Digest, Sha256};

use super::order::{HandedSlice, Order};
use crate::durable;
use crate::ec2::cloud::Cloud;
use crate::printable;

/// Timesketch's limit on names, in characters.
const MOST: usize = 255;

/// The timeline of a slice: `web-1 01-triage p1 vol-0abc`. Sorted by name, the timelines of a host stand together and
/// in the order of their slices, whatever the number of hosts; what tells them apart stands in front, because
/// Timesketch's page cuts names after some thirty characters. The host is the name that stands on the evidence, or the
/// cloud's instance id; where there is neither it is the volume.
#[must_use]
pub fn timeline(order: &Order, slice: &HandedSlice) -> String {
    let (head, tail) = head_and_tail(order, slice);
    let name = printable::line(&slice.name, 40);
    let mut words = vec![head, name];
    // Where a volume has several filesystems the slice's name has it already.
    if !slice.name.split('-').any(|part| part == slice.filesystem) {
        words.push(printable::line(&slice.filesystem, 20));
    }
    words.push(tail);
    words.join(" ").trim().chars().take(MOST).collect()
}

/// The timeline of a whole job that is streamed: `web-1 vol-0abc`. The host is that of the slice that comes first.
#[must_use]
pub fn whole_timeline(order: &Order, slice: &HandedSlice) -> String {
    let (head, tail) = head_and_tail(order, slice);
    format!("{head} {tail}").trim().to_owned()
}

/// Host and volume, or the volume alone.
fn head_and_tail(order: &Order, slice: &HandedSlice) -> (String, String) {
    let volume = printable::line(&order.volume, 100);
    let host = slice.host.as_deref().or(slice.instance.as_deref());
    let host = host.map(|host| printable::line(host.trim(), 80));
    match host.filter(|host| !host.is_empty()) {
        Some(host) => (host, volume),
        None => (volume, String::new()),
    }
}

/// What the datasource keeps about where it is from, as JSON on one line.
#[must_use]
pub fn context(order: &Order, slice: &HandedSlice) -> String {
    let manifest = order.closed.as_ref().map(|closed| &closed.manifest_sha256);
    json!({
        "case": order.case,
        "volume": order.volume,
        "job": order.job,
        "started": order.run,
        "host": slice.host,
        "instance": slice.instance,
        "filesystem": slice.filesystem,
        "slice": slice.name,
        "evidence_sha256": order.evidence_sha256,
        "storage_sha256": slice.sha256,
        "slice_record_sha256": slice.record_sha256,
        "manifest_sha256": manifest,
        "events": slice.events,
        "documents": slice.documents,
        "plaso": slice.plaso,
        "dfagent": env!("CARGO_PKG_VERSION"),
    })
    .to_string()
}

/// What the datasource of a streamed timeline keeps about where it is from, as JSON on one line. The hash of the
/// manifest is known when the job has ended.
#[must_use]
pub fn whole_context(order: &Order, first: &HandedSlice, index: &str) -> String {
    let manifest = order.closed.as_ref().map(|closed| &closed.manifest_sha256);
    json!({
        "case": order.case,
        "volume": order.volume,
        "job": order.job,
        "started": order.run,
        "host": first.host,
        "instance": first.instance,
        "index": index,
        "evidence_sha256": order.evidence_sha256,
        "manifest_sha256": manifest,
        "plaso": first.plaso,
        "dfagent": env!("CARGO_PKG_VERSION"),
    })
    .to_string()
}

/// What every document of a slice says about where it is from, as far as it is known.
#[must_use]
pub fn labels(order: &Order, slice: &HandedSlice) -> Vec<(&'static str, String)> {
    let known = [
        ("evidence_volume", Some(order.volume.as_str())),
        ("evidence_filesystem", Some(slice.filesystem.as_str())),
        ("evidence_host", slice.host.as_deref()),
        ("evidence_instance", slice.instance.as_deref()),
        ("evidence_case", order.case.as_deref()),
        ("evidence_slice", Some(slice.name.as_str())),
    ];
    let known = known.into_iter();
    known
        .filter_map(|(name, value)| Some((name, printable::line(value?.trim(), 200))))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

/// Letters of an index's name behind its prefix.
pub const INDEX: usize = 10;

/// The letters of base32 (RFC 4648, section 6), small.
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The index of a generation of a run: short, because Timesketch names all indexes of a sketch in one address.
/// It is the same whoever makes it, so that a delivery that lost its memory finds what it made.
#[must_use]
pub fn index(prefix: &str, server: &str, sketch: u64, order: &Order, generation: u32) -> String {
    let mut hasher = Sha256::new();
    for part in [server, &sketch.to_string(), &order.job, &order.run] {
        hasher.update(part);
        hasher.update([0]);
    }
    hasher.update(generation.to_be_bytes());
    let hash = hasher.finalize();
    // Each byte has more than the five bits that are taken of it.
    let letter = |byte: &u8| char::from(LETTERS[usize::from(byte % 32)]);
    let letters: String = hash.iter().take(INDEX - 2).map(letter).collect();
    format!("{prefix}df{letters}")
}

/// The label by which Timesketch puts all slices of a run into one index: one for each would come to OpenSearch's
/// limit of shards with a hundred hosts.
#[must_use]
pub fn data_label(order: &Order) -> String {
    let mut hasher = Sha256::new();
    for part in [&order.job, &order.run] {
        hasher.update(part);
        hasher.update([0]);
    }
    let hash = durable::hex(&hasher.finalize());
    format!("dfagent-{}", &hash[..16])
}

/// The name of the storage file on its way: it says which upload it is, so that it can be looked for.
#[must_use]
pub fn file(upload: &str, slice: &HandedSlice) -> String {
    let hash: String = slice.sha256.chars().take(16).collect();
    format!("dfagent-{hash}-{upload}.plaso")
}

/// The sketch's name: the case, if the configuration asks for it.
#[must_use]
pub fn sketch(template: &str, case: Option<&str>) -> String {
    let name = template.replace("{case}", case.unwrap_or("dfagent"));
    let name: String = printable::line(name.trim(), MOST)
        .chars()
        .take(MOST)
        .collect();
    if name.is_empty() {
        "dfagent".to_owned()
    } else {
        name
    }
}

/// The order with the case that a tag names, and the name of its sketch. A tag that names the sketch counts before one
/// that names the case, and the volume's before the instance's; what was configured is for volumes without.
#[must_use]
pub fn tagged(cloud: &Cloud, template: &str, mut order: Order) -> (Order, String) {
    // A job of the agent's has the volume's name.
    if let Some((case, _)) = cloud.case(&order.job) {
        order.case = Some(case);
    }
    let named = cloud.sketch(&order.job).map(|(name, _)| name);
    let name = named.unwrap_or_else(|| sketch(template, order.case.as_deref()));
    (order, name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ec2::cloud::Tags;

    #[test]
    fn names_are_short_printable_and_in_order() {
        let order = Order {
            volume: "vol-0abc".into(),
            ..Order::default()
        };
        let mut slice = HandedSlice {
            name: "01-triage".into(),
            filesystem: "p1".into(),
            host: Some("web-1".into()),
            ..HandedSlice::default()
        };
        assert_eq!(timeline(&order, &slice), "web-1 01-triage p1 vol-0abc");
        slice.host = Some(format!("evil\u{1b}[2J\n{}", "x".repeat(1000)));
        let name = timeline(&order, &slice);
        assert!(
            name.len() < 255 && !name.contains(['\u{1b}', '\n']),
            "{name}"
        );
        slice.host = None;
        slice.instance = Some("i-0123".into());
        assert_eq!(timeline(&order, &slice), "i-0123 01-triage p1 vol-0abc");
        slice.name = "02-p1-logs".into();
        assert_eq!(timeline(&order, &slice), "i-0123 02-p1-logs vol-0abc");
        slice.instance = None;
        assert_eq!(timeline(&order, &slice), "vol-0abc 02-p1-logs");
    }

    #[test]
    fn runs_of_one_job_share_no_index() {
        let label = |run: &str| {
            data_label(&Order {
                job: "j".into(),
                run: run.into(),
                ..Order::default()
            })
        };
        assert_eq!(label("1"), label("1"));
        assert_ne!(label("1"), label("2"));
    }

    #[test]
    fn an_index_is_short_and_each_generation_run_sketch_and_server_has_its_own() {
        let of = |server: &str, sketch, run: &str, generation| {
            let order = Order {
                job: "j".into(),
                run: run.into(),
                ..Order::default()
            };
            index("ir-", server, sketch, &order, generation)
        };
        let all = [
            of("s", 1, "1", 0),
            of("t", 1, "1", 0),
            of("s", 2, "1", 0),
            of("s", 1, "2", 0),
            of("s", 1, "1", 1),
        ];
        for (number, name) in all.iter().enumerate() {
            assert_eq!(name.len(), 3 + INDEX, "{name}");
            assert!(name.starts_with("ir-df"), "{name}");
            assert!(!all[..number].contains(name), "{all:?}");
        }
        assert_eq!(of("s", 1, "1", 0), all[0]);
    }

    #[test]
    fn labels_are_those_that_are_known() {
        let order = Order {
            volume: "vol-0abc".into(),
            ..Order::default()
        };
        let slice = HandedSlice {
            name: "01-triage".into(),
            host: Some("web\u{1b}-1".into()),
            instance: Some(" ".into()),
            ..HandedSlice::default()
        };
        let found = labels(&order, &slice);
        let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            ["evidence_volume", "evidence_host", "evidence_slice"]
        );
        assert!(!found[1].1.contains('\u{1b}'), "{found:?}");
    }

    #[test]
    fn tags_name_case_and_sketch_before_what_was_configured() {
        let order = || Order {
            job: "vol-1".to_owned(),
            case: Some("configured".to_owned()),
            ..Order::default()
        };
        let named = |case: Option<&str>, name: Option<&str>| {
            let tags = Tags {
                case: case.map(str::to_owned),
                sketch: name.map(str::to_owned),
            };
            let cloud = Cloud {
                tags,
                ..Cloud::default()
            };
            let (order, sketch) = tagged(&cloud, "IR {case}", order());
            (order.case.unwrap_or_default(), sketch)
        };
        let both = |case: &str, sketch: &str| (case.to_owned(), sketch.to_owned());
        assert_eq!(named(None, None), both("configured", "IR configured"));
        assert_eq!(named(Some("4711"), None), both("4711", "IR 4711"));
        assert_eq!(named(Some("4711"), Some("own")), both("4711", "own"));
        let (case, cleaned) = named(None, Some("a\nb"));
        assert!(case == "configured" && !cleaned.contains('\n'));
    }

    #[test]
    fn the_sketch_is_the_case_unless_it_is_named() {
        assert_eq!(sketch("{case}", Some("4711")), "4711");
        assert_eq!(sketch("{case}", None), "dfagent");
        assert_eq!(sketch("IR {case}!", Some("4711")), "IR 4711!");
        assert_eq!(sketch(" ", None), "dfagent");
    }
}
