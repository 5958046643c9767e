//! The settings and the mapping of an index. Pure.
//!
//! The mapping is Timesketch's own `plaso.mappings` (20261014), so that its searches, labels and aggregations find
//! what they expect; a test compares. What differs, and why:
//!
//! - Fields in [`AMBIGUOUS`] are text. Plaso's data types disagree about them; the first document of an index would
//!   decide, and the other kind be refused.
//! - `.wildcard` takes at most 10,922 characters, not 32,766: OpenSearch 3.8.0 counts characters here and refuses the
//!   document when they are more than 32,766 bytes, of which a character has up to three per UTF-16 unit.
//! - Our labels are keywords, and `dfagent_unindexed` is text.

use serde_json::{Map, Value, json};

/// Fields of `plaso.mappings` that are text.
const TEXTS: [&str; 18] = [
    "message",
    "application",
    "data",
    "doc_type",
    "event_type",
    "exit_status",
    "facility",
    "file_reference",
    "file_size",
    "flags",
    "identifier",
    "message_status",
    "message_type",
    "offset",
    "sequence_number",
    "severity",
    "source_port",
    "user_identifier",
];

/// More of them.
const MORE_TEXTS: [&str; 2] = ["version", "http_response_bytes"];

/// Attributes that are text in one of Plaso's data types and a number, a truth value or a time in another, or a
/// number here and a truth value there (Plaso 20260720, docstrings of all classes of event data), less those of
/// `plaso.mappings`.
pub const AMBIGUOUS: [&str; 26] = [
    "call_type",
    "container_identifier",
    "deleted",
    "destination",
    "destination_identifier",
    "destination_port",
    "direction",
    "group_identifier",
    "hidden",
    "http_status",
    "is_hidden",
    "message_identifier",
    "mode",
    "owner_identifier",
    "pid",
    "priority",
    "process_identifier",
    "received_bytes",
    "record_identifier",
    "request_time",
    "revision_number",
    "sent_bytes",
    "status",
    "thread_identifier",
    "time_taken",
    "values",
];

/// What we put into documents so that one can search for it.
pub const LABELS: [&str; 6] = [
    "evidence_case",
    "evidence_filesystem",
    "evidence_host",
    "evidence_instance",
    "evidence_slice",
    "evidence_volume",
];

/// Where a value stands that OpenSearch would not take where it stood: a list of `name=JSON`.
pub const UNINDEXED: &str = "dfagent_unindexed";

/// Mapped fields of an index. A string is three, and OpenSearch's own limit of 1,000 was passed by documents with
/// 311 new ones.
const FIELDS: u64 = 5_000;
/// A third of 32,766, the most bytes of a value that Lucene stores.
const LONGEST_WILDCARD: u64 = 10_922;

/// What an index is made with. `labels`: documents bear ours.
#[must_use]
pub fn index_body(labels: bool) -> Value {
    json!({
        "settings": {
            "index.number_of_shards": 1,
            "index.auto_expand_replicas": "0-1",
            "index.mapping.total_fields.limit": FIELDS,
        },
        "mappings": mappings(labels),
    })
}

fn mappings(labels: bool) -> Value {
    let mut properties = Map::new();
    for name in TEXTS.iter().chain(&MORE_TEXTS).chain(&AMBIGUOUS) {
        properties.insert((*name).to_owned(), text());
    }
    properties.insert("timesketch_label".into(), json!({"type": "nested"}));
    properties.insert("datetime".into(), json!({"type": "date"}));
    properties.insert(UNINDEXED.into(), json!({"type": "text"}));
    if labels {
        for name in LABELS {
            properties.insert(name.into(), json!({"type": "keyword"}));
        }
    }
    json!({
        "date_detection": false,
        "dynamic_templates": [{"strings": {"match_mapping_type": "string", "mapping": text()}}],
        "properties": properties,
    })
}

fn text() -> Value {
    json!({
        "type": "text",
        "fields": {
            "keyword": {"type": "keyword", "ignore_above": 256},
            "wildcard": {"type": "wildcard", "ignore_above": LONGEST_WILDCARD},
        },
    })
}
