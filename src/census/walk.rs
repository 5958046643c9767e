//! The walk over a mounted tree that finds what the collection filter takes; runs only in the cage.
//!
//! The order of descent is Plaso's: a pattern is followed name by name, a folder that matches is taken
//! whole. In addition links are resolved inside the evidence, and what they lead to is taken under its real
//! path: Plaso reads a link's own times but never what it points to.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::filter::{CollectionFilter, FilterType, Pattern, exact_path};
use super::link::{Resolved, on_disk, resolve};
use super::report::{Counts, LinkNote, Unreadable};
use crate::printable::EvidencePath;

/// Notes of one kind that are kept by name; all are counted.
const MOST_NOTES: usize = 100;

/// Patterns that links may add, and how often links behind links are looked for.
const MOST_DERIVED: usize = 2000;
const MOST_ROUNDS: usize = 8;

/// Deeper folders than Plaso descends into.
const MOST_DEPTH: usize = 1000;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A plain file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A pipe, socket or device node.
    Other,
}

/// One entry that the filter takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Bytes; zero for anything but a file.
    pub size: u64,
    /// About how much work it is, in bytes of plain log text.
    pub weight: u64,
    /// The number of the filter file that took it.
    pub category: usize,
    /// Modification and change time in nanoseconds, for the listing's hash.
    pub times: [i128; 2],
}

/// What the walk found.
#[derive(Debug, Default)]
pub struct Walked {
    /// Every entry by its path.
    pub entries: BTreeMap<EvidencePath, Entry>,
    /// Patterns that links and container configurations added to the filter.
    pub derived: Vec<Pattern>,
    /// Figures.
    pub counts: Counts,
    /// Links that need a word.
    pub links: Vec<LinkNote>,
    /// What could not be read.
    pub unreadable: Vec<Unreadable>,
    /// Names that are not UTF-8, taken or only passed by.
    pub undecodable: Vec<EvidencePath>,
}

impl Walked {
    /// SHA-256 over everything that was seen of the entries.
    #[must_use]
    pub fn listing_sha256(&self) -> String {
        let mut hasher = Sha256::new();
        for (path, entry) in &self.entries {
            hasher.update(path.as_bytes());
            hasher.update([0, entry.kind as u8]);
            hasher.update(entry.size.to_le_bytes());
            for time in entry.times {
                hasher.update(time.to_le_bytes());
            }
        }
        crate::durable::hex(&hasher.finalize())
    }
}

/// Walks the tree under `root`; `extra` are more folders to take, such as configured container folders.
#[must_use]
pub fn walk(root: &Path, filter: &CollectionFilter, extra: &[EvidencePath]) -> Walked {
    let (includes, excludes): (Vec<Pattern>, Vec<Pattern>) = filter
        .patterns
        .iter()
        .cloned()
        .partition(|p: &Pattern| p.kind == FilterType::Include);
    let mut walk = Walk {
        root,
        includes,
        excludes,
        found: Walked::default(),
        queue: Vec::new(),
    };
    let logs = filter.category_of("/var/lib/docker/containers");
    for folder in extra {
        walk.derive(
            &exact_path(folder),
            logs.unwrap_or(filter.categories.len().saturating_sub(1)),
        );
    }
    walk.round(&walk.includes.clone());
    for _ in 0..MOST_ROUNDS {
        let patterns = std::mem::take(&mut walk.queue);
        if patterns.is_empty() {
            break;
        }
        walk.round(&patterns);
    }
    walk.finish()
}

struct Walk<'a> {
    root: &'a Path,
    includes: Vec<Pattern>,
    excludes: Vec<Pattern>,
    found: Walked,
    /// Patterns for the next round.
    queue: Vec<Pattern>,
}

/// A pattern on its way down, with the number of its part that the next name must match.
type Active<'p> = Vec<(&'p Pattern, usize)>;

impl Walk<'_> {
    fn round(&mut self, patterns: &[Pattern]) {
        let active: Active<'_> = patterns.iter().map(|pattern| (pattern, 0)).collect();
        self.folder(&EvidencePath::new(*b"/"), &active, None, 0);
    }

    fn folder(
        &mut self,
        path: &EvidencePath,
        active: &Active<'_>,
        inherited: Option<usize>,
        depth: usize,
    ) {
        if depth > MOST_DEPTH {
            self.cannot_read(path, "deeper than 1000 folders");
            return;
        }
        let listing = match fs::read_dir(on_disk(self.root, path)) {
            Ok(listing) => listing,
            Err(error) => {
                self.cannot_read(path, &error.to_string());
                return;
            }
        };
        for item in listing {
            match item {
                Ok(item) => self.child(
                    &path.join(item.file_name().as_bytes()),
                    active,
                    inherited,
                    depth,
                ),
                Err(error) => {
                    self.cannot_read(path, &error.to_string());
                    return;
                }
            }
        }
    }

    fn child(
        &mut self,
        path: &EvidencePath,
        active: &Active<'_>,
        inherited: Option<usize>,
        depth: usize,
    ) {
        let name = String::from_utf8_lossy(path.name());
        if std::str::from_utf8(path.name()).is_err() {
            note(
                &mut self.found.undecodable,
                &mut self.found.counts.undecodable,
                path.clone(),
            );
        }
        let (ended, going): (Active<'_>, Active<'_>) = active
            .iter()
            .filter(|(pattern, index)| pattern.matches(*index, &name))
            .map(|(pattern, index)| (*pattern, index + 1))
            .partition(|(pattern, next)| *next == pattern.depth());
        let category = ended
            .iter()
            .map(|(pattern, _)| pattern.category)
            .chain(inherited)
            .min();
        if category.is_none() && going.is_empty() || self.is_excluded(path) {
            return;
        }
        let about = match fs::symlink_metadata(on_disk(self.root, path)) {
            Ok(about) => about,
            Err(error) => {
                self.cannot_read(path, &error.to_string());
                return;
            }
        };
        if let Some(category) = category {
            self.take(path, &about, category);
        }
        if about.is_dir() {
            self.folder(path, &going, category, depth + 1);
        } else if about.is_symlink() {
            self.link(path, &going, category);
        }
    }

    fn is_excluded(&self, path: &EvidencePath) -> bool {
        any_takes(&self.excludes, path)
    }

    fn take(&mut self, path: &EvidencePath, about: &Metadata, category: usize) {
        let kind = match about.file_type() {
            kind if kind.is_file() => Kind::File,
            kind if kind.is_dir() => Kind::Folder,
            kind if kind.is_symlink() => Kind::Link,
            _ => Kind::Other,
        };
        let size = if kind == Kind::File { about.len() } else { 0 };
        let nanoseconds =
            |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        let entry = Entry {
            kind,
            size,
            weight: PER_ENTRY + self.file_weight(path, size.min(about.blocks() * 512)),
            category,
            times: [
                nanoseconds(about.mtime(), about.mtime_nsec()),
                nanoseconds(about.ctime(), about.ctime_nsec()),
            ],
        };
        let known = self
            .found
            .entries
            .entry(path.clone())
            .or_insert_with(|| entry.clone());
        known.category = known.category.min(category);
    }

    /// The size of the text: what gzip's last four bytes say (RFC 1952), else the size on disk.
    fn file_weight(&self, path: &EvidencePath, size: u64) -> u64 {
        if !path.name().ends_with(b".gz") || size < 18 {
            return size;
        }
        let mut trailer = [0; 4];
        let read = fs::File::open(on_disk(self.root, path))
            .and_then(|file| file.read_exact_at(&mut trailer, size - 4));
        // No text packs better than about 1000 to 1; a trailer that says more is made up.
        read.map_or(size, |()| {
            u64::from(u32::from_le_bytes(trailer)).clamp(size, size * 1000)
        })
    }

    fn link(&mut self, path: &EvidencePath, going: &Active<'_>, category: Option<usize>) {
        let target = match resolve(self.root, path) {
            Resolved::To(target) => target,
            Resolved::Out => return self.leads_out(path, "leads out of the evidence"),
            Resolved::Loop => return self.leads_out(path, "leads round in a circle"),
            Resolved::Nowhere => return,
        };
        let mut above = target.as_bytes().to_vec();
        above.push(b'/');
        if target.as_bytes() == b"/" || path.as_bytes().starts_with(&above) {
            return self.leads_out(path, "leads to a folder above itself");
        }
        let exact = exact_path(&target);
        for (pattern, next) in going {
            let text = format!("{exact}{}", pattern.rest(*next));
            self.derive(&text, pattern.category);
        }
        if let Some(category) = category
            && !any_takes(&self.includes, &target)
        {
            if is_package_content(&target) {
                self.found.counts.links_to_packages += 1;
            } else {
                self.found.counts.links_followed += 1;
                self.derive(&exact, category);
            }
        }
    }

    fn leads_out(&mut self, path: &EvidencePath, what: &str) {
        let link = LinkNote {
            path: path.clone(),
            note: what.to_owned(),
        };
        note(
            &mut self.found.links,
            &mut self.found.counts.links_out,
            link,
        );
    }

    fn derive(&mut self, text: &str, category: usize) {
        let known = self
            .found
            .derived
            .iter()
            .any(|pattern| pattern.text == text);
        if known || self.found.derived.len() >= MOST_DERIVED {
            return;
        }
        if let Ok(pattern) = Pattern::parse(text, FilterType::Include, category) {
            self.found.derived.push(pattern.clone());
            self.queue.push(pattern);
        }
    }

    fn cannot_read(&mut self, path: &EvidencePath, reason: &str) {
        let unreadable = Unreadable {
            path: path.clone(),
            reason: crate::printable::line(reason, 80),
        };
        note(
            &mut self.found.unreadable,
            &mut self.found.counts.unreadable,
            unreadable,
        );
    }

    fn finish(self) -> Walked {
        let mut found = self.found;
        found.counts.entries = found.entries.len() as u64;
        let files = found
            .entries
            .values()
            .filter(|entry| entry.kind == Kind::File);
        (found.counts.files, found.counts.bytes) = files.fold((0, 0), |(count, bytes), entry| {
            (count + 1, bytes + entry.size)
        });
        found
    }
}

fn any_takes(patterns: &[Pattern], path: &EvidencePath) -> bool {
    if patterns.is_empty() {
        return false;
    }
    let names: Vec<_> = path.segments().map(String::from_utf8_lossy).collect();
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    patterns.iter().any(|pattern| pattern.takes(&names))
}

/// The first part of a file, empty if it cannot be read.
#[must_use]
pub fn head(root: &Path, path: &EvidencePath) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let read = fs::File::open(on_disk(root, path)).and_then(|file| file.read_at(&mut bytes, 0));
    bytes.truncate(read.unwrap_or(0));
    bytes
}

/// The work of one entry that is not in its bytes: opening it, its times, every parser's first look.
const PER_ENTRY: u64 = 512;

fn note<T>(notes: &mut Vec<T>, count: &mut u64, one: T) {
    *count += 1;
    if notes.len() < MOST_NOTES {
        notes.push(one);
    }
}

/// Programs and their data: a link to them (`/etc/alternatives`) says nothing that the link's own row
/// does not say, and they are thousands.
fn is_package_content(target: &EvidencePath) -> bool {
    let first = target.segments().next().unwrap_or_default();
    matches!(
        first,
        b"usr" | b"bin" | b"sbin" | b"lib" | b"lib64" | b"snap" | b"nix" | b"gnu"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for path in ["var/log/pods/a", "data/log/app", "home/u", "etc", "usr/bin"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        for path in [
            "var/log/auth.log",
            "var/log/pods/a/0.log",
            "data/log/app/x.log",
            "usr/bin/vi",
        ] {
            crate::durable::write(&root.join(path), b"text\n").unwrap();
        }
        crate::durable::write(&root.join("home/u/.bash_history"), b"ls\n").unwrap();
        symlink("/data/log/app", root.join("var/log/app")).unwrap();
        symlink("/usr/bin/vi", root.join("etc/editor")).unwrap();
        symlink("../../../../x", root.join("etc/out")).unwrap();
        symlink("/", root.join("var/log/all")).unwrap();
        symlink("/data/log", root.join("var/logs")).unwrap();
        folder
    }

    fn walked(root: &Path, text: &str) -> Walked {
        walk(
            root,
            &CollectionFilter::read([("10-t.yaml", text)]).unwrap(),
            &[],
        )
    }

    fn paths(walked: &Walked) -> Vec<String> {
        walked.entries.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn links_are_followed_inside_and_named_when_they_lead_out() {
        let folder = tree();
        let found = walked(folder.path(), "type: include\npaths:\n- /var/log\n- /etc\n");
        let paths = paths(&found);
        assert!(
            paths.contains(&"/data/log/app/x.log".to_owned()),
            "{paths:?}"
        );
        assert!(
            paths.contains(&"/etc/editor".to_owned()),
            "the link itself is an entry"
        );
        assert!(!paths.contains(&"/usr/bin/vi".to_owned()), "{paths:?}");
        assert_eq!(found.counts.links_to_packages, 1);
        let notes: Vec<_> = found
            .links
            .iter()
            .map(|link| link.path.to_string())
            .collect();
        assert!(
            notes.contains(&"/etc/out".to_owned()) && notes.contains(&"/var/log/all".to_owned())
        );
        assert_eq!(found.derived.len(), 1);
    }

    #[test]
    fn a_pattern_passes_through_a_linked_folder() {
        let folder = tree();
        let found = walked(
            folder.path(),
            "type: include\npaths:\n- /var/logs/app/.+[.]log\n",
        );
        assert_eq!(paths(&found), ["/data/log/app/x.log"]);
    }

    #[test]
    fn excluded_folders_are_left_out_whole() {
        let folder = tree();
        let text = "type: include\npaths: [/var/log]\n---\ntype: exclude\npaths: [/var/log/pods]\n";
        let found = walked(folder.path(), text);
        assert!(paths(&found).iter().all(|path| !path.contains("pods")));
        assert!(
            found
                .entries
                .contains_key(&EvidencePath::new(*b"/var/log/auth.log"))
        );
    }

    #[test]
    fn a_name_that_is_not_utf8_is_counted_and_taken() {
        use std::ffi::OsStr;
        let folder = tree();
        let odd = OsStr::from_bytes(b"odd\xff.log");
        fs::File::create(folder.path().join("var/log").join(odd)).unwrap();
        let found = walked(folder.path(), "type: include\npaths:\n- /var/log\n");
        assert_eq!(found.counts.undecodable, 1);
        assert!(
            found
                .entries
                .contains_key(&EvidencePath::new(*b"/var/log/odd\xff.log"))
        );
    }
}
