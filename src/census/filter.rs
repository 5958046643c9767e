//! The collection filter: Plaso's YAML filter files, read and matched as Plaso reads and matches them.
//!
//! A path is cut at every `/` before it is a pattern; each part is a regular expression for one name,
//! matched without case, from the start of the name to its end; a folder that matches is taken with all
//! below it (`plaso/engine/yaml_filter_file.py`, `path_filters.py`, `dfvfs/helpers/file_system_searcher.py`
//! of Plaso 20260720 and dfVFS 20260924).

use std::fmt::Write as _;

use regex::{Regex, RegexBuilder};
use serde::Deserialize;

use crate::printable::EvidencePath;

/// What a filter document does with its paths.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum FilterType {
    /// Take them.
    Include,
    /// Leave them out.
    Exclude,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    #[serde(rename = "description")]
    _description: Option<String>,
    #[serde(rename = "type")]
    kind: FilterType,
    #[serde(default = "slash")]
    path_separator: String,
    paths: Vec<String>,
}

fn slash() -> String {
    "/".to_owned()
}

/// One pattern of the filter.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// As it stands in the file.
    pub text: String,
    /// Whether it takes or leaves out.
    pub kind: FilterType,
    /// The number of its file, in order; an earlier file wins.
    pub category: usize,
    segments: Vec<Regex>,
}

/// A filter file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// It is not a Plaso filter file.
    #[error("read the filter file {file}: {reason}")]
    File {
        /// Its name.
        file: String,
        /// What is wrong and where.
        reason: String,
    },
    /// One of its paths is not usable.
    #[error("use the path {path} of the filter file {file}: {reason}")]
    Path {
        /// Its name.
        file: String,
        /// The path.
        path: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// There is nothing to collect.
    #[error("use the collection filter: none of its files names a path to include")]
    Nothing,
}

/// All filter files together.
#[derive(Clone, Debug)]
pub struct CollectionFilter {
    /// Names of the files, without number and ending (`10-triage.yaml` is `triage`), in order.
    pub categories: Vec<String>,
    /// All patterns, in order.
    pub patterns: Vec<Pattern>,
}

impl CollectionFilter {
    /// Reads the files, given as name and text, in the order that counts.
    ///
    /// # Errors
    /// A sentence about the first file or path that cannot be used.
    pub fn read<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, FilterError> {
        let mut filter = Self {
            categories: Vec::new(),
            patterns: Vec::new(),
        };
        for (name, text) in files {
            filter.add_file(name, text)?;
        }
        if filter
            .patterns
            .iter()
            .any(|pattern| pattern.kind == FilterType::Include)
        {
            Ok(filter)
        } else {
            Err(FilterError::Nothing)
        }
    }

    fn add_file(&mut self, name: &str, text: &str) -> Result<(), FilterError> {
        let documents: Vec<Document> =
            serde_saphyr::from_multiple(text).map_err(|error| FilterError::File {
                file: name.to_owned(),
                reason: crate::printable::line(&first_line(&error.to_string()), 200),
            })?;
        let category = self.categories.len();
        self.categories.push(category_name(name));
        for document in documents {
            if document.path_separator != "/" {
                return Err(FilterError::File {
                    file: name.to_owned(),
                    reason: "path_separator must be '/': this filter is for Linux filesystems"
                        .into(),
                });
            }
            for path in document.paths {
                let pattern = Pattern::parse(&path, document.kind, category).map_err(|reason| {
                    FilterError::Path {
                        file: name.to_owned(),
                        path: path.clone(),
                        reason,
                    }
                })?;
                self.patterns.push(pattern);
            }
        }
        Ok(())
    }

    /// The category that a path would get, if a pattern takes it or a folder above it.
    #[must_use]
    pub fn category_of(&self, path: &str) -> Option<usize> {
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        self.patterns
            .iter()
            .filter(|pattern| pattern.kind == FilterType::Include && pattern.takes(&names))
            .map(|pattern| pattern.category)
            .min()
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn category_name(file: &str) -> String {
    let stem = file.rsplit('/').next().unwrap_or(file);
    let stem = stem
        .strip_suffix(".yaml")
        .or_else(|| stem.strip_suffix(".yml"))
        .unwrap_or(stem);
    let stem = stem.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let name: String = stem.chars().map(safe).take(32).collect();
    if name.is_empty() {
        "filter".to_owned()
    } else {
        name
    }
}

impl Pattern {
    /// Reads one path of a filter file.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn parse(text: &str, kind: FilterType, category: usize) -> Result<Self, String> {
        let Some(relative) = text.strip_prefix('/') else {
            return Err(
                "it must be absolute, starting with /; Plaso passes over it without a word".into(),
            );
        };
        if relative.is_empty() || relative.ends_with('/') {
            return Err(
                "it must end with a name, not with /; Plaso passes over it without a word".into(),
            );
        }
        let segments: Result<Vec<Regex>, String> = relative.split('/').map(segment).collect();
        Ok(Self {
            text: text.to_owned(),
            kind,
            category,
            segments: segments?,
        })
    }

    /// How many names deep it reaches.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.segments.len()
    }

    /// Whether its part number `index` matches a name.
    #[must_use]
    pub fn matches(&self, index: usize, name: &str) -> bool {
        self.segments
            .get(index)
            .is_some_and(|segment| segment.is_match(name))
    }

    /// Whether it takes the path with these names: it matches the path or a folder above it.
    #[must_use]
    pub fn takes(&self, names: &[&str]) -> bool {
        names.len() >= self.segments.len()
            && self
                .segments
                .iter()
                .zip(names)
                .all(|(segment, name)| segment.is_match(name))
    }

    /// The parts from number `index` on, as text with a leading slash each.
    #[must_use]
    pub fn rest(&self, index: usize) -> String {
        self.text
            .split('/')
            .skip(1 + index)
            .fold(String::new(), |mut text, part| {
                text.push('/');
                text.push_str(part);
                text
            })
    }
}

/// One part of a path as a regular expression with Plaso's meaning: `re.match("^PART$")`, dots match
/// newlines, no case, and `$` also matches before a last newline.
fn segment(part: &str) -> Result<Regex, String> {
    if part.is_empty() {
        return Err("it has an empty name between two slashes".into());
    }
    let part = part.replace("\\Z", "\\z");
    let build = |text: &str| {
        RegexBuilder::new(text)
            .case_insensitive(true)
            .dot_matches_new_line(true)
            .build()
    };
    // The bare part first, so that a mistake is explained in its own terms.
    build(&part)
        .and_then(|_| build(&format!("\\A(?:^{part}\\n?\\z)")))
        .map_err(|error| {
            let last = error.to_string();
            let reason = last.lines().last().unwrap_or_default().trim().to_owned();
            format!(
                "{part} is not a regular expression that is understood here ({reason}); mind that \
                     the path is cut at every /, also inside brackets"
            )
        })
}

/// A pattern for exactly this name: with case, and without the newline that `$` lets pass.
#[must_use]
pub fn exact_names<'a>(names: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut names = names.into_iter().map(escape_name);
    let mut text = names.next().unwrap_or_default();
    for name in names {
        text.push('|');
        text.push_str(&name);
    }
    format!("(?-i:{text})\\Z")
}

/// A pattern for exactly this path.
#[must_use]
pub fn exact_path(path: &EvidencePath) -> String {
    path.segments().fold(String::new(), |mut text, name| {
        text.push('/');
        text.push_str(&exact_names([name]));
        text
    })
}

/// A name as a regular expression that means itself. A byte that is not UTF-8 becomes a dot, as the
/// lone surrogate that stands for it in Python cannot be written in a file.
fn escape_name(name: &[u8]) -> String {
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_ascii()
                && !character.is_ascii_alphanumeric()
                && !"_\n\r\t".contains(character)
            {
                text.push('\\');
            }
            text.push(character);
        }
        for _ in chunk.invalid() {
            text.push('.');
        }
    }
    text
}

/// A filter document with these paths, in printable ASCII.
#[must_use]
pub fn document(kind: FilterType, description: &str, paths: &[String]) -> String {
    let kind = match kind {
        FilterType::Include => "include",
        FilterType::Exclude => "exclude",
    };
    let mut text = format!(
        "---\ndescription: {}\ntype: {kind}\npath_separator: '/'\npaths:\n",
        quote(description)
    );
    for path in paths {
        text.push_str("- ");
        text.push_str(&quote(path));
        text.push('\n');
    }
    text
}

/// A YAML double-quoted scalar; PyYAML refuses characters that are not printable, so they are escaped.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            ' '..='~' => out.push(character),
            other => drop(write!(out, "\\U{:08X}", u32::from(other))),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn include(text: &str) -> Pattern {
        Pattern::parse(text, FilterType::Include, 0).unwrap()
    }

    #[test]
    fn names_match_as_plaso_matches_them() {
        let pattern = include("/var/log/auth[.]log.*");
        assert!(pattern.takes(&["VAR", "log", "Auth.log.2.gz"]));
        assert!(!pattern.takes(&["var", "log", "xauth.log"]));
        assert!(
            pattern.takes(&["var", "log", "auth.log", "below"]),
            "folders are taken whole"
        );
        // re.match("^a|b$") matches every name that starts with a: the alternatives are not grouped.
        assert!(include("/a|b").takes(&["abc"]));
        assert!(!include("/a|b").takes(&["xb"]));
        assert!(
            include("/syslog").takes(&["syslog\n"]),
            "$ matches before a last newline"
        );
        assert!(!include("/syslog\\Z").takes(&["syslog\n"]));
    }

    #[test]
    fn paths_that_plaso_would_pass_over_are_errors() {
        for (path, word) in [
            ("var/log", "absolute"),
            ("/var/log/", "end with a name"),
            ("/home/[^/]+/x", "cut at every /"),
            ("/a//b", "empty name"),
        ] {
            let reason = Pattern::parse(path, FilterType::Include, 0).unwrap_err();
            assert!(reason.contains(word), "{path}: {reason}");
        }
    }

    #[test]
    fn an_unknown_key_is_named() {
        let text = "type: include\npath: [/var]\n";
        let error = CollectionFilter::read([("10-x.yaml", text)])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("10-x.yaml") && error.contains("path"),
            "{error}"
        );
    }

    #[test]
    fn earlier_files_win() {
        let files = [
            (
                "10-triage.yaml",
                "type: include\npaths:\n- /var/log/auth[.]log\n",
            ),
            ("20-logs.yaml", "---\ntype: include\npaths:\n- /var/log\n"),
        ];
        let filter = CollectionFilter::read(files).unwrap();
        assert_eq!(filter.categories, ["triage", "logs"]);
        assert_eq!(filter.category_of("/var/log/auth.log"), Some(0));
        assert_eq!(filter.category_of("/var/log/syslog"), Some(1));
        assert_eq!(filter.category_of("/etc"), None);
    }

    #[test]
    fn an_exact_name_is_not_matched_by_its_neighbours() {
        let pattern = include(&exact_path(&EvidencePath::new(*b"/var/log/auth.log")));
        assert!(pattern.takes(&["var", "log", "auth.log"]));
        for other in ["AUTH.LOG", "authxlog", "auth.log\n", "auth.log.1"] {
            assert!(!pattern.takes(&["var", "log", other]), "{other:?}");
        }
    }

    #[test]
    fn a_document_is_printable_and_means_what_was_put_in() {
        let odd = EvidencePath::new("/a\u{1b}[1m\"'\n{x}%y%/é😀".as_bytes().to_vec());
        let text = document(FilterType::Include, "it's", &[exact_path(&odd)]);
        assert!(
            text.bytes()
                .all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)),
            "{text}"
        );
        let filter = CollectionFilter::read([("x.yaml", text.as_str())]).unwrap();
        assert!(filter.category_of("/a\u{1b}[1m\"'\n{x}%y%/é😀").is_some());
    }
}
