//! What is to be thought of a slice and of a job (pure): from facts, never from an exit code alone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::summary::StoreSummary;
use crate::cage::Ended;
use crate::printable::count;

/// The three verdicts, worst last.
#[derive(
    Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Everything the filter takes was read and is in the timeline.
    Complete,
    /// Something is missing, and it is named.
    Partial,
    /// There is no timeline.
    Failed,
}

impl std::fmt::Display for Level {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.pad(match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Failed => "failed",
        })
    }
}

/// A verdict with its reasons.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub struct Verdict {
    /// Which.
    pub level: Level,
    /// Why it is not complete; empty when it is.
    pub reasons: Vec<Reason>,
}

/// One reason.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub struct Reason {
    /// A stable name: `warnings`, `missing`, `silent`, `stalled`, `not_completed`, …
    pub kind: String,
    /// One sentence.
    pub text: String,
    /// Files concerned, the first hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}

impl Verdict {
    /// Nothing to complain about.
    #[must_use]
    pub const fn complete() -> Self {
        Self {
            level: Level::Complete,
            reasons: Vec::new(),
        }
    }

    /// No timeline, for one reason.
    #[must_use]
    pub fn failed(kind: &str, text: impl Into<String>) -> Self {
        let mut verdict = Self::complete();
        verdict.add(Level::Failed, kind, text, Vec::new());
        verdict
    }

    /// Adds a reason; the verdict is as bad as the worst of them.
    pub fn add(&mut self, level: Level, kind: &str, text: impl Into<String>, files: Vec<String>) {
        self.level = self.level.max(level);
        self.reasons.push(Reason {
            kind: kind.to_owned(),
            text: text.into(),
            files,
        });
    }
}

/// Everything that is known about the extraction of a slice.
#[derive(Clone, Debug)]
pub struct SliceFacts<'a> {
    /// How Plaso ended.
    pub ended: &'a Ended,
    /// Whether it said that it came to the end without errors.
    pub says_completed: bool,
    /// The storage file, if it could be read.
    pub summary: Result<&'a StoreSummary, &'a str>,
    /// Documents of the export, if there was one.
    pub documents: Result<u64, &'a str>,
    /// Whether file times were asked for, so that every entry has to be there.
    pub with_filestat: bool,
    /// Files left out after Plaso hung on them, with the sentence why.
    pub left_out: &'a [(String, String)],
}

/// The verdict over one slice.
#[must_use]
pub fn slice_verdict(facts: &SliceFacts<'_>) -> Verdict {
    let mut verdict = Verdict::complete();
    for (file, why) in facts.left_out {
        let text = format!("Plaso hung on a file, so it was left out ({why}).");
        verdict.add(Level::Partial, "stalled", text, vec![file.clone()]);
    }
    if !facts.ended.is_success() {
        verdict.add(
            Level::Failed,
            "ended",
            format!("Plaso {}.", facts.ended),
            Vec::new(),
        );
    } else if !facts.says_completed {
        let text = "Plaso did not say that it came to the end without errors.";
        verdict.add(Level::Partial, "not_completed", text, Vec::new());
    }
    match facts.summary {
        Ok(summary) => judge_store(summary, facts.with_filestat, &mut verdict),
        Err(reason) => {
            let text = format!("The storage file cannot be read: {reason}.");
            verdict.add(Level::Failed, "storage", text, Vec::new());
        }
    }
    if let Err(reason) = facts.documents {
        let text = format!("The events could not be exported: {reason}.");
        verdict.add(Level::Failed, "export", text, Vec::new());
    }
    verdict
}

fn judge_store(summary: &StoreSummary, with_filestat: bool, verdict: &mut Verdict) {
    if summary.aborted || !summary.completed {
        let text = "The storage file says that Plaso was broken off before the end.";
        verdict.add(Level::Failed, "aborted", text, Vec::new());
    }
    if with_filestat && summary.missing > 0 {
        let text = format!(
            "{} never taken up by Plaso.",
            count(summary.missing, "entry was", "entries were")
        );
        let files = summary
            .missing_named
            .iter()
            .map(ToString::to_string)
            .collect();
        verdict.add(Level::Partial, "missing", text, files);
    }
    if summary.silent > 0 {
        let text = format!(
            "{} no events though the name promises some.",
            count(summary.silent, "log gave", "logs gave")
        );
        let files = summary
            .silent_named
            .iter()
            .map(|one| one.path.to_string())
            .collect();
        verdict.add(Level::Partial, "silent", text, files);
    }
    if summary.warnings.count > 0 {
        let first = summary
            .warnings
            .first
            .first()
            .map_or("", |warning| warning.message.as_str());
        let first = crate::printable::line(first.lines().next().unwrap_or_default(), 120);
        let text = format!(
            "Plaso gave {}, the first: {first}.",
            count(summary.warnings.count, "warning", "warnings")
        );
        let mut files: Vec<String> = summary
            .warnings
            .first
            .iter()
            .filter_map(|warning| Some(warning.path.as_ref()?.to_string()))
            .collect();
        files.sort();
        files.dedup();
        verdict.add(Level::Partial, "warnings", text, files);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> StoreSummary {
        StoreSummary {
            completed: true,
            events: 3,
            ..StoreSummary::default()
        }
    }

    fn facts<'a>(ended: &'a Ended, summary: &'a StoreSummary) -> SliceFacts<'a> {
        SliceFacts {
            ended,
            says_completed: true,
            summary: Ok(summary),
            documents: Ok(3),
            with_filestat: true,
            left_out: &[],
        }
    }

    #[test]
    fn exit_code_0_alone_proves_nothing() {
        let ended = Ended::Exited { code: 0 };
        assert_eq!(slice_verdict(&facts(&ended, &good())), Verdict::complete());
        let aborted = StoreSummary {
            aborted: true,
            ..good()
        };
        assert_eq!(slice_verdict(&facts(&ended, &aborted)).level, Level::Failed);
        let cut_off = StoreSummary {
            completed: false,
            ..good()
        };
        assert_eq!(slice_verdict(&facts(&ended, &cut_off)).level, Level::Failed);
        let empty = StoreSummary::default();
        let silent = SliceFacts {
            says_completed: false,
            ..facts(&ended, &empty)
        };
        assert_eq!(slice_verdict(&silent).level, Level::Failed);
        let missing = StoreSummary {
            missing: 1,
            ..good()
        };
        assert_eq!(
            slice_verdict(&facts(&ended, &missing)).level,
            Level::Partial
        );
        let no_filestat = SliceFacts {
            with_filestat: false,
            ..facts(&ended, &missing)
        };
        assert_eq!(slice_verdict(&no_filestat).level, Level::Complete);
    }

    #[test]
    fn a_warning_makes_it_partial_and_names_the_file() {
        let path = crate::printable::EvidencePath::new(*b"/var/log/x");
        let warning = super::super::summary::Warning {
            message: "unable to parse".into(),
            parser: "text".into(),
            path: Some(path),
        };
        let warnings = super::super::summary::Warnings {
            count: 1,
            first: vec![warning],
        };
        let summary = StoreSummary { warnings, ..good() };
        let verdict = slice_verdict(&facts(&Ended::Exited { code: 0 }, &summary));
        assert_eq!(verdict.level, Level::Partial);
        assert_eq!(verdict.reasons[0].files, ["/var/log/x"]);
    }
}
