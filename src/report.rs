//! A job's result for people: `report.txt`, and what `process` prints. 80 columns, no colour.

use crate::ec2::cloud::Tagged;
use crate::manifest::{CloudRecord, FilesystemRecord, Manifest};
use crate::plaso::verdict::Reason;
use crate::printable;

const WIDTH: usize = 80;

/// Files named for one reason.
const FILES_SHOWN: usize = 10;

/// Renders the report.
#[must_use]
pub fn render(manifest: &Manifest) -> String {
    let mut out = String::new();
    field(
        &mut out,
        "verdict",
        &manifest.verdict.level.to_string().to_uppercase(),
    );
    field(&mut out, "job", &manifest.job);
    if let Some(case) = &manifest.case {
        field(&mut out, "case", &printable::line(case, 200));
    }
    if let Some(cloud) = &manifest.cloud {
        field(&mut out, "cloud", &cloud_line(cloud));
    }
    field(
        &mut out,
        "source",
        &printable::line(&manifest.source.path, 200),
    );
    for filesystem in &manifest.filesystems {
        field(&mut out, &filesystem.label, &filesystem_line(filesystem));
    }
    field(&mut out, "evidence", &custody_line(manifest));
    match &manifest.timeline {
        Some(timeline) => {
            let range = timeline.first.as_deref().zip(timeline.last.as_deref());
            let range =
                range.map_or_else(String::new, |(first, last)| format!(", {first} to {last}"));
            field(
                &mut out,
                "timeline",
                &format!("{} events{range}", timeline.documents),
            );
        }
        None => field(&mut out, "timeline", "none"),
    }
    field(
        &mut out,
        "plaso",
        &format!(
            "{} on Python {}",
            manifest.plaso.version, manifest.plaso.python
        ),
    );
    field(
        &mut out,
        "cage",
        &format!("limits: {}", manifest.cage.limited_by),
    );
    field(
        &mut out,
        "time",
        &format!("{} to {}", manifest.started, manifest.finished),
    );
    slices(&mut out, manifest);
    if !manifest.verdict.reasons.is_empty() {
        out.push_str("\nWhy it is not complete:\n");
        manifest
            .verdict
            .reasons
            .iter()
            .for_each(|one| reason(&mut out, one));
    }
    out
}

fn field(out: &mut String, name: &str, value: &str) {
    wrap(out, &format!("{name:<10} "), "           ", value);
}

fn cloud_line(cloud: &CloudRecord) -> String {
    let mut parts = Vec::new();
    if let Some(one) = &cloud.instance {
        parts.push(format!(
            "read on {} in {} of account {}",
            one.id, one.zone, one.account
        ));
    }
    if let Some(volume) = &cloud.volume {
        let snapshot = volume.snapshot.as_deref();
        let from = snapshot.map_or_else(String::new, |id| format!(" from {id}"));
        parts.push(format!("{}{from}", volume.id));
    }
    parts.extend(cloud.case_from.map(|from| match from {
        Tagged::Volume => "the case is a tag of the volume".to_owned(),
        Tagged::Instance => "the case is a tag of the instance".to_owned(),
    }));
    printable::line(&parts.join("; "), 400)
}

fn filesystem_line(filesystem: &FilesystemRecord) -> String {
    let kind = filesystem.kind.as_deref().unwrap_or("");
    if let Some(unread) = &filesystem.unread {
        return format!("not read ({}). {}", unread.name, unread.sentence);
    }
    let mut parts = vec![kind.to_owned()];
    if let Some(identity) = &filesystem.identity {
        parts.extend(identity.hostname.clone());
        parts.extend(identity.distribution.clone());
        parts.extend(identity.cloud_instance_id.clone());
    }
    if let Some(view) = &filesystem.view {
        parts.push(format!("zone {}", view.time_zone));
        let reading = serde_json::to_value(view.reading).ok();
        let reading = reading
            .as_ref()
            .and_then(|reading| reading.as_str())
            .unwrap_or_default();
        parts.push(format!(
            "read {}",
            if reading == "raw" {
                "from the device"
            } else {
                "from the mount"
            }
        ));
        if view.journal_dirty == Some(true) {
            parts.push("journal NOT replayed".to_owned());
        }
        if view.recorded_errors {
            parts.push("it had recorded errors".to_owned());
        }
    }
    if let Some(counts) = &filesystem.counts {
        parts.push(printable::count(counts.files, "file", "files"));
    }
    parts.retain(|part| !part.is_empty());
    parts.join(", ")
}

fn custody_line(manifest: &Manifest) -> String {
    let custody = &manifest.custody;
    if !custody.differences.is_empty() {
        return format!("CHANGED: {}", custody.differences.join("; "));
    }
    let Some(after) = &custody.after else {
        let seen = custody
            .listings
            .iter()
            .any(|[before, after]| before == after);
        return if seen {
            "unchanged: same paths, sizes and times".into()
        } else {
            "not compared".into()
        };
    };
    let hashed = if after.full_sha256.is_some() {
        "whole source and "
    } else {
        ""
    };
    let writes = if after.writes.is_some() {
        ", no writes counted"
    } else {
        ""
    };
    format!(
        "unchanged: {hashed}{} sectors hashed before and after{writes}",
        after.sectors.len()
    )
}

fn slices(out: &mut String, manifest: &Manifest) {
    if manifest.slices.is_empty() {
        return;
    }
    out.push_str(&format!(
        "\n{:<28} {:>9} {:>9} {:>9} {:>7}  verdict\n",
        "slice", "files", "events", "documents", "seconds"
    ));
    for slice in &manifest.slices {
        out.push_str(&format!(
            "{:<28} {:>9} {:>9} {:>9} {:>7.1}  {}\n",
            printable::line(&slice.name, 28),
            slice.entries,
            slice.events,
            slice.documents,
            slice.seconds,
            slice.verdict.level
        ));
    }
}

fn reason(out: &mut String, reason: &Reason) {
    wrap(out, "- ", "  ", &printable::line(&reason.text, 1000));
    for file in reason.files.iter().take(FILES_SHOWN) {
        out.push_str(&format!("    {}\n", printable::line(file, 200)));
    }
    if let Some(more) = reason
        .files
        .len()
        .checked_sub(FILES_SHOWN)
        .filter(|more| *more > 0)
    {
        out.push_str(&format!("    and {more} more in manifest.json\n"));
    }
}

/// Words in lines of at most [`WIDTH`] characters; a longer word keeps a line of its own.
fn wrap(out: &mut String, first: &str, next: &str, text: &str) {
    let mut line = first.to_owned();
    let mut empty = true;
    for word in text.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&format!("{}\n", line.trim_end()));
            next.clone_into(&mut line);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    out.push_str(&format!("{}\n", line.trim_end()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_wrapped_at_80_columns() {
        let mut out = String::new();
        wrap(&mut out, "source     ", "           ", &"word ".repeat(40));
        assert!(
            out.lines().all(|line| line.chars().count() <= WIDTH),
            "{out}"
        );
        assert!(out.lines().nth(1).unwrap().starts_with("           word"));
    }
}
