//! Plaso's command lines, and what its status lines mean (pure).

use crate::cage::command::inside;

/// What is the same for every slice of a filesystem.
#[derive(Clone, Debug)]
pub struct Extraction<'a> {
    /// Python inside the cage.
    pub python: &'a str,
    /// log2timeline inside the cage.
    pub log2timeline: &'a str,
    /// The artifact definitions that it needs, inside the cage; it looks for all of them where this is none.
    pub artifacts: Option<&'a str>,
    /// Parsers and plugins.
    pub parsers: &'a [String],
    /// Zone of stamps without one.
    pub time_zone: Option<&'a str>,
    /// The evidence inside the cage.
    pub evidence: &'a str,
    /// Memory that the process may take, in bytes.
    pub memory_bytes: u64,
}

/// The storage file's name in the attempt folder.
pub const STORAGE: &str = "storage.plaso";
/// Plaso's log in the attempt folder.
pub const LOG: &str = "log2timeline.log.gz";
/// The slice's filter in the attempt folder.
pub const FILTER: &str = "filter.yaml";

/// log2timeline over one slice: a stock single-process run that never asks and never follows.
#[must_use]
pub fn extraction(run: &Extraction<'_>) -> Vec<String> {
    let attempt = |name: &str| format!("{}/{name}", inside::ATTEMPT);
    let mut words: Vec<String> = [run.python, run.log2timeline, "--unattended", "--quiet"]
        .map(str::to_owned)
        .into();
    words.extend(["--status_view", "linear", "--status_view_interval", "1"].map(str::to_owned));
    words.extend(["--single_process", "--hashers", "none"].map(str::to_owned));
    words.extend(
        [
            "--partitions",
            "all",
            "--volumes",
            "all",
            "--vss_stores",
            "none",
        ]
        .map(str::to_owned),
    );
    words.extend([
        "--process_memory_limit".to_owned(),
        run.memory_bytes.to_string(),
    ]);
    if let Some(artifacts) = run.artifacts {
        words.extend(["--artifact_definitions".to_owned(), artifacts.to_owned()]);
    }
    words.extend(["--temporary_directory".to_owned(), "/tmp".to_owned()]);
    words.extend(["--logfile".to_owned(), attempt(LOG)]);
    words.extend(["--storage_file".to_owned(), attempt(STORAGE)]);
    words.extend(["--parsers".to_owned(), run.parsers.join(",")]);
    words.extend(["--file_filter".to_owned(), attempt(FILTER)]);
    if let Some(zone) = run.time_zone {
        words.extend(["--timezone".to_owned(), zone.to_owned()]);
    }
    words.push(run.evidence.to_owned());
    words
}

/// What the last status line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Events made so far, or records read as long as no event is made.
    pub events: u64,
    /// The file that is being read, as Plaso shows it (`EXT:/var/log/syslog`).
    pub file: String,
}

/// Finds the last whole status line in the output of the linear view.
#[must_use]
pub fn last_status(output: &str) -> Option<Status> {
    let complete = &output[..output.rfind('\n')?];
    complete.lines().rev().find_map(status_line)
}

fn status_line(line: &str) -> Option<Status> {
    let (_, rest) = line.split_once("event data produced: ")?;
    let (data, rest) = rest.split_once(", ")?;
    let (events, file) = match rest.split_once("events produced: ") {
        Some((_, rest)) => rest.split_once(", file: ")?,
        None => (data, rest.split_once("file: ")?.1),
    };
    let (data, events): (u64, u64) = (data.trim().parse().ok()?, events.trim().parse().ok()?);
    Some(Status {
        events: data.max(events),
        file: file.trim().to_owned(),
    })
}

/// Whether Plaso said that it came to the end without errors.
#[must_use]
pub fn says_completed(output: &str) -> bool {
    output
        .lines()
        .any(|line| line.trim() == "Processing completed.")
}

/// The path on the evidence in a display name; none if it is escaped or of another kind.
#[must_use]
pub fn path_in_display_name<'a>(display_name: &'a str, evidence: &str) -> Option<&'a str> {
    let (kind, path) = display_name.split_once(':')?;
    if path.contains('\\') || !path.starts_with('/') {
        return None;
    }
    match kind {
        "OS" => path
            .strip_prefix(evidence)
            .filter(|path| path.starts_with('/')),
        _ => Some(
            path.strip_prefix(evidence)
                .filter(|rest| rest.starts_with('/'))
                .unwrap_or(path),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_the_one_that_is_documented() {
        let parsers = ["filestat".to_owned(), "utmp".to_owned()];
        let run = Extraction {
            python: "/plaso/bin/python",
            log2timeline: "/plaso/bin/log2timeline",
            artifacts: Some("/plaso/share/dfagent/artifacts.yaml"),
            parsers: &parsers,
            time_zone: Some("Europe/Berlin"),
            evidence: "/evidence",
            memory_bytes: 1 << 30,
        };
        let text = extraction(&run).join(" ");
        assert!(text.starts_with("/plaso/bin/python /plaso/bin/log2timeline --unattended"));
        assert!(text.contains("--single_process --hashers none"));
        assert!(text.contains("--artifact_definitions /plaso/share/dfagent/artifacts.yaml"));
        assert!(text.contains("--parsers filestat,utmp --file_filter /attempt/filter.yaml"));
        assert!(text.ends_with("--timezone Europe/Berlin /evidence"));
    }

    #[test]
    fn the_last_whole_status_line_counts() {
        let output = "Main (PID: 8) status: running, event data produced: 7, events produced: 0, file: \
                      EXT:/var/log/a, b\n\nMain (PID: 8) status: running, event data produced: 9, events prod";
        let status = last_status(output).unwrap();
        assert_eq!(
            status,
            Status {
                events: 7,
                file: "EXT:/var/log/a, b".into()
            }
        );
        assert_eq!(last_status("nothing of the kind\n"), None);
    }

    #[test]
    fn completed_with_errors_is_not_completed() {
        assert!(says_completed("x\nProcessing completed.\n"));
        assert!(!says_completed("Processing completed with errors.\n"));
    }

    #[test]
    fn a_display_name_gives_the_path_on_the_evidence() {
        let path = |name| path_in_display_name(name, "/evidence");
        assert_eq!(path("EXT:/var/log/x"), Some("/var/log/x"));
        assert_eq!(path("OS:/evidence/var/log/x"), Some("/var/log/x"));
        assert_eq!(path("GZIP:/evidence/var/log/x.gz"), Some("/var/log/x.gz"));
        assert_eq!(path("OS:/elsewhere"), None);
        assert_eq!(path(r"EXT:/a\x1b"), None);
    }
}
