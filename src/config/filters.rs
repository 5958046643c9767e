//! The collection filter files and the parser list that are in force.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{ConfigError, files_in};

/// The files that ship, by name.
const BUILT_IN: [(&str, &str); 3] = [
    (
        "10-triage.yaml",
        include_str!("../../packaging/usr/share/dfagent/filters/10-triage.yaml"),
    ),
    (
        "20-logs.yaml",
        include_str!("../../packaging/usr/share/dfagent/filters/20-logs.yaml"),
    ),
    (
        "30-persistence.yaml",
        include_str!("../../packaging/usr/share/dfagent/filters/30-persistence.yaml"),
    ),
];

const PARSERS: &str = include_str!("../../packaging/usr/share/dfagent/parsers");

/// The parsers and plugins that ship.
#[must_use]
pub fn built_in_parsers() -> Vec<String> {
    let without_comment = |line: &str| line.split('#').next().unwrap_or_default().trim().to_owned();
    PARSERS
        .lines()
        .map(without_comment)
        .filter(|name| !name.is_empty())
        .collect()
}

/// Filter files, name and text, in order: the built-in ones with those of the drop-in folder over them, or,
/// if any are `given`, only those.
///
/// # Errors
/// A file or folder cannot be read.
pub fn in_force(folder: &Path, given: &[PathBuf]) -> Result<Vec<(String, String)>, ConfigError> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    if given.is_empty() {
        files.extend(BUILT_IN.map(|(name, text)| (name.to_owned(), text.to_owned())));
        add_folder(&mut files, folder)?;
    }
    for path in given {
        if path.is_dir() {
            add_folder(&mut files, path)?;
        } else {
            add_file(&mut files, path)?;
        }
    }
    files.retain(|_, text| !text.trim().is_empty());
    Ok(files.into_iter().collect())
}

fn add_folder(files: &mut BTreeMap<String, String>, folder: &Path) -> Result<(), ConfigError> {
    for path in files_in(folder, "yaml")? {
        add_file(files, &path)?;
    }
    Ok(())
}

fn add_file(files: &mut BTreeMap<String, String>, path: &Path) -> Result<(), ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_path_buf(),
        source,
    })?;
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    files.insert(name, text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::census::filter::CollectionFilter;

    #[test]
    fn the_built_in_filter_can_be_used() {
        let files = in_force(Path::new("/nonexistent"), &[]).unwrap();
        let files = files
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()));
        let filter = CollectionFilter::read(files).unwrap();
        assert_eq!(filter.categories, ["triage", "logs", "persistence"]);
        assert_eq!(filter.category_of("/var/log/auth.log"), Some(0));
        assert_eq!(filter.category_of("/root/.bash_history"), Some(0));
        assert_eq!(
            filter.category_of("/var/log/journal/ab/system.journal"),
            Some(1)
        );
        assert!(
            built_in_parsers()
                .iter()
                .all(|name| super::super::is_parser_name(name))
        );
    }

    #[test]
    fn a_drop_in_replaces_adds_and_switches_off() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("10-triage.yaml", "type: include\npaths: [/mine]\n"),
            ("20-logs.yaml", "\n"),
            ("90-site.yaml", "type: include\npaths: [/srv/app]\n"),
            ("notes.txt", "not a filter"),
        ] {
            crate::durable::write(&folder.path().join(name), text.as_bytes()).unwrap();
        }
        let files = in_force(folder.path(), &[]).unwrap();
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["10-triage.yaml", "30-persistence.yaml", "90-site.yaml"]
        );
        assert!(files[0].1.contains("/mine"));
    }
}
