//! Cutting what the census found into slices (pure).
//!
//! Every entry belongs to exactly one slice, and Plaso, given a slice's filter, processes exactly its
//! entries: that is the property the tests below try to break. Plaso has two rules to work with: a folder
//! that an include names is taken with everything below it, its own row included; an exclude takes out a
//! path with everything below it. So a folder is named whole where all below it is in the slice; where some
//! of it is elsewhere, those parts are excluded. What would need an exclude with something of the slice
//! below it cannot be said, so folders between two entries of a slice always belong to it too.

use std::collections::{BTreeMap, BTreeSet};

use super::filter::{FilterType, document, exact_names, exact_path};
use super::report::Slicing;
use super::walk::{Entry, Kind};
use crate::printable::EvidencePath;

/// Names in one pattern; Python tries alternatives one after the other.
const NAMES_IN_PATTERN: usize = 200;

/// By how much the very first slice is smaller than the smallest of the others.
const FIRST_PART: u64 = 8;

/// One slice of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Short and safe in paths.
    pub name: String,
    /// The number of the filter file that took most of it.
    pub category: usize,
    /// Its entries, in order.
    pub entries: Vec<EvidencePath>,
    /// Bytes in its files.
    pub bytes: u64,
    /// Patterns to include.
    pub includes: Vec<String>,
    /// Patterns to exclude, without the evidence's own path in front.
    pub excludes: Vec<String>,
}

/// Cuts the entries into slices, most telling first.
#[must_use]
pub fn plan(
    entries: &BTreeMap<EvidencePath, Entry>,
    categories: &[String],
    slicing: Slicing,
) -> Vec<Slice> {
    let mut tree = Node::default();
    for (path, entry) in entries {
        tree.insert(path, entry);
    }
    let mut assigner = Assigner::new(entries, slicing, categories.len());
    for category in 0..categories.len() {
        assigner.start_category(category);
        tree.assign(category, &mut assigner);
    }
    let order = assigner.order();
    tree.renumber(&order);
    tree.close_gaps(None);
    let names = slice_names(&assigner, &order, categories);
    let slices = names.into_iter().enumerate().map(|(number, name)| {
        let mut words = Words::default();
        tree.describe(&EvidencePath::new(*b"/"), number, false, &mut words);
        Slice {
            name,
            category: assigner.slices[order[number]].0,
            entries: words.entries,
            bytes: words.bytes,
            includes: patterns(&words.includes),
            excludes: patterns(&words.excludes),
        }
    });
    slices.filter(|slice| !slice.entries.is_empty()).collect()
}

/// The filter file of a slice; excludes get `prefix` in front: the evidence's path when Plaso reads a mounted
/// folder (it compares excludes with the whole path there), else nothing.
#[must_use]
pub fn filter_file(name: &str, includes: &[String], excludes: &[String], prefix: &str) -> String {
    let mut text = document(FilterType::Include, &format!("Slice {name}"), includes);
    if !excludes.is_empty() {
        let excludes: Vec<String> = excludes
            .iter()
            .map(|path| format!("{prefix}{path}"))
            .collect();
        let about = "Parts of these folders that are not in this slice";
        text.push_str(&document(FilterType::Exclude, about, &excludes));
    }
    text
}

/// Gives numbers to entries as they come, opening a new slice when the current one is heavy enough.
struct Assigner {
    /// The most that the very first slice weighs: its events are to be there after seconds.
    first: u64,
    target: u64,
    category: usize,
    current: Option<usize>,
    /// The very first slice.
    front: Option<usize>,
    /// Category and weight of every slice.
    slices: Vec<(usize, u64)>,
}

impl Assigner {
    fn new(entries: &BTreeMap<EvidencePath, Entry>, slicing: Slicing, categories: usize) -> Self {
        let total: u64 = entries.values().map(|entry| entry.weight).sum();
        let share = total / (3 * slicing.at_once.max(1) as u64);
        let target = share.clamp(slicing.smallest, slicing.largest.max(slicing.smallest));
        Self {
            // A filter of one file says nothing of what tells most.
            first: if categories > 1 {
                (slicing.smallest / FIRST_PART).max(1)
            } else {
                target
            },
            target,
            category: 0,
            current: None,
            front: None,
            slices: Vec::new(),
        }
    }

    /// The first file's entries never share a slice with others: they are to be there first. Later ones
    /// may share the slice that is open.
    fn start_category(&mut self, category: usize) {
        self.category = category;
        if category <= 1 {
            self.current = None;
        }
    }

    fn assign(&mut self, entry: &Entry) -> usize {
        if let Some(number) = self.assign_first(entry) {
            return number;
        }
        if entry.kind == Kind::File && entry.weight > self.target {
            return self.open(entry.weight);
        }
        let fits = |number: usize| self.slices[number].1 + entry.weight <= self.target;
        let number = match self.current {
            Some(number) if fits(number) => {
                self.slices[number].1 += entry.weight;
                number
            }
            _ => self.open(entry.weight),
        };
        self.current = Some(number);
        number
    }

    /// The slice that is to be there after seconds takes what fits of the first category.
    fn assign_first(&mut self, entry: &Entry) -> Option<usize> {
        if self.category > 0 || entry.weight > self.first {
            return None;
        }
        let number = *self.front.get_or_insert_with(|| {
            self.slices.push((0, 0));
            self.slices.len() - 1
        });
        let weight = &mut self.slices[number].1;
        (*weight + entry.weight <= self.first).then(|| {
            *weight += entry.weight;
            number
        })
    }

    fn open(&mut self, weight: u64) -> usize {
        self.slices.push((self.category, weight));
        self.slices.len() - 1
    }

    /// Old numbers in the order of running: the very first slice, then by category, the heaviest first, so that
    /// none is left running alone at the end.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.slices.len()).collect();
        order.sort_by_key(|&number| {
            let (category, weight) = self.slices[number];
            (self.front != Some(number), category, u64::MAX - weight)
        });
        order
    }
}

fn slice_names(assigner: &Assigner, order: &[usize], categories: &[String]) -> Vec<String> {
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    order
        .iter()
        .map(|&number| {
            let category = assigner.slices[number].0;
            let count = seen.entry(category).or_insert(0);
            *count += 1;
            let name = categories.get(category).map_or("rest", String::as_str);
            if *count == 1 {
                name.to_owned()
            } else {
                format!("{name}-{count}")
            }
        })
        .collect()
}

/// The entries as a tree; a node without an entry is a folder that only leads to some.
#[derive(Debug, Default)]
struct Node {
    entry: Option<Entry>,
    slice: Option<usize>,
    /// Slices that this node or anything below it belongs to.
    below: BTreeSet<usize>,
    children: BTreeMap<Vec<u8>, Node>,
}

impl Node {
    fn insert(&mut self, path: &EvidencePath, entry: &Entry) {
        let node = path.segments().fold(self, |node, name| {
            node.children.entry(name.to_vec()).or_default()
        });
        node.entry = Some(entry.clone());
    }

    fn assign(&mut self, category: usize, assigner: &mut Assigner) {
        if let Some(entry) = self
            .entry
            .as_ref()
            .filter(|entry| entry.category == category)
        {
            self.slice = Some(assigner.assign(entry));
        }
        for child in self.children.values_mut() {
            child.assign(category, assigner);
        }
    }

    fn renumber(&mut self, order: &[usize]) {
        self.slice = self
            .slice
            .and_then(|old| order.iter().position(|number| *number == old));
        self.below = self.slice.into_iter().collect();
        for child in self.children.values_mut() {
            child.renumber(order);
            self.below.extend(child.below.iter().copied());
        }
    }

    /// Moves a folder to its parent's slice when something below it is in that slice.
    fn close_gaps(&mut self, parent: Option<usize>) {
        if let (Some(parent), Some(_)) = (parent, self.slice)
            && self.below.contains(&parent)
        {
            self.slice = Some(parent);
        }
        self.below = self.slice.into_iter().collect();
        for child in self.children.values_mut() {
            child.close_gaps(self.slice);
            self.below.extend(child.below.iter().copied());
        }
    }

    fn describe(&self, path: &EvidencePath, slice: usize, covered: bool, words: &mut Words) {
        if !self.below.contains(&slice) {
            if covered {
                words.excludes.push(path.clone());
            }
            return;
        }
        let own = self.slice == Some(slice);
        if own {
            if !covered {
                words.includes.push(path.clone());
            }
            words.entries.push(path.clone());
            words.bytes += self.entry.as_ref().map_or(0, |entry| entry.size);
        }
        for (name, child) in &self.children {
            child.describe(&path.join(name), slice, own, words);
        }
    }
}

#[derive(Default)]
struct Words {
    includes: Vec<EvidencePath>,
    excludes: Vec<EvidencePath>,
    entries: Vec<EvidencePath>,
    bytes: u64,
}

/// One pattern for many names of a folder.
fn patterns(paths: &[EvidencePath]) -> Vec<String> {
    let mut by_folder: BTreeMap<&[u8], Vec<&[u8]>> = BTreeMap::new();
    for path in paths {
        let name = path.name();
        let folder = &path.as_bytes()[..path.as_bytes().len() - name.len()];
        by_folder.entry(folder).or_default().push(name);
    }
    let mut patterns = Vec::new();
    for (folder, names) in by_folder {
        let folder = exact_path(&EvidencePath::new(folder));
        for names in names.chunks(NAMES_IN_PATTERN) {
            patterns.push(format!("{folder}/{}", exact_names(names.iter().copied())));
        }
    }
    patterns
}

#[cfg(test)]
mod tests {
    use super::super::filter::Pattern;
    use super::*;
    use proptest::prelude::*;

    /// What Plaso would process for one slice: every match of an include, a folder with all below it,
    /// without what an exclude takes; an entry that two includes match counts twice.
    fn processed(slice: &Slice, tree: &BTreeMap<EvidencePath, Entry>) -> Vec<EvidencePath> {
        let parse = |text: &String| Pattern::parse(text, FilterType::Include, 0).unwrap();
        let includes: Vec<Pattern> = slice.includes.iter().map(parse).collect();
        let excludes: Vec<Pattern> = slice.excludes.iter().map(parse).collect();
        let mut found = Vec::new();
        for path in tree.keys() {
            let names: Vec<String> = path
                .segments()
                .map(|name| String::from_utf8(name.to_vec()).unwrap())
                .collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            if excludes.iter().any(|pattern| pattern.takes(&names)) {
                continue;
            }
            let times = includes
                .iter()
                .filter(|pattern| pattern.takes(&names))
                .count();
            found.extend(std::iter::repeat_n(path.clone(), times));
        }
        found
    }

    fn entry(kind: Kind, size: u64, category: usize) -> Entry {
        Entry {
            kind,
            size,
            weight: size + 1,
            category,
            times: [0; 2],
        }
    }

    fn slicing(smallest: u64) -> Slicing {
        Slicing {
            at_once: 2,
            smallest,
            largest: 10 * smallest,
        }
    }

    /// A random tree whose entries are closed downwards (a folder taken is taken whole), with names that
    /// differ only by case.
    fn trees() -> impl Strategy<Value = BTreeMap<EvidencePath, Entry>> {
        let name = prop_oneof![
            Just("a"),
            Just("A"),
            Just("b.log"),
            Just("bxlog"),
            Just("c")
        ];
        let path = proptest::collection::vec(name, 1..6);
        let item = (path, 0_u64..50, 0_usize..3, any::<bool>());
        proptest::collection::vec(item, 1..60).prop_map(|items| {
            let mut tree: BTreeMap<EvidencePath, Entry> = BTreeMap::new();
            for (names, size, category, whole) in items {
                let depth = if whole { 1 } else { names.len() };
                for end in depth..=names.len() {
                    let path =
                        EvidencePath::new(format!("/{}", names[..end].join("/")).into_bytes());
                    let kind = if end == names.len() {
                        Kind::File
                    } else {
                        Kind::Folder
                    };
                    let known = tree
                        .entry(path)
                        .or_insert_with(|| entry(kind, size, category));
                    known.category = known.category.min(category);
                    if kind == Kind::Folder {
                        *known = Entry {
                            kind,
                            ..entry(kind, 0, known.category)
                        };
                    }
                }
            }
            close(&mut tree);
            let all: Vec<EvidencePath> = tree.keys().cloned().collect();
            for path in all {
                let below = tree.keys().any(|other| {
                    other.as_bytes().starts_with(path.join(b"").as_bytes()) && *other != path
                });
                if below && let Some(folder) = tree.get_mut(&path) {
                    folder.kind = Kind::Folder;
                }
            }
            tree
        })
    }

    /// Adds the folders between an entry and a taken folder above it.
    fn close(tree: &mut BTreeMap<EvidencePath, Entry>) {
        for path in tree.keys().cloned().collect::<Vec<_>>() {
            let mut above = EvidencePath::new(Vec::new());
            let mut inherited = None;
            for name in path.segments() {
                above = above.join(name);
                match tree.get(&above) {
                    Some(entry) => inherited = Some(entry.category),
                    None => {
                        if let Some(category) = inherited {
                            tree.insert(above.clone(), entry(Kind::Folder, 0, category));
                        }
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn every_entry_is_processed_once_and_only_once(tree in trees(), smallest in 1_u64..200) {
            let categories = ["triage".to_owned(), "logs".to_owned(), "rest".to_owned()];
            let slices = plan(&tree, &categories, slicing(smallest));
            let mut all = Vec::new();
            for slice in &slices {
                let mut processed = processed(slice, &tree);
                processed.sort();
                let mut promised = slice.entries.clone();
                promised.sort();
                prop_assert_eq!(&processed, &promised, "slice {}", slice.name);
                all.extend(processed);
            }
            all.sort();
            let expected: Vec<EvidencePath> = tree.keys().cloned().collect();
            prop_assert_eq!(all, expected);
        }
    }

    fn tree(items: &[(&str, Kind, u64, usize)]) -> BTreeMap<EvidencePath, Entry> {
        let make = |(path, kind, size, category): &(&str, Kind, u64, usize)| {
            (
                EvidencePath::new(path.as_bytes()),
                entry(*kind, *size, *category),
            )
        };
        items.iter().map(make).collect()
    }

    #[test]
    fn triage_is_first_and_a_large_file_stands_alone() {
        let tree = tree(&[
            ("/var/log", Kind::Folder, 0, 1),
            ("/var/log/auth.log", Kind::File, 50, 0),
            ("/var/log/journal", Kind::Folder, 0, 1),
            ("/var/log/journal/huge.journal", Kind::File, 5000, 1),
            ("/var/log/syslog", Kind::File, 20, 1),
        ]);
        let categories = ["triage".to_owned(), "logs".to_owned()];
        let slices = plan(&tree, &categories, slicing(100));
        let names: Vec<&str> = slices.iter().map(|slice| slice.name.as_str()).collect();
        assert_eq!(names, ["triage", "logs", "logs-2"]);
        assert_eq!(
            slices[0].entries,
            [EvidencePath::new(*b"/var/log/auth.log")]
        );
        assert_eq!(
            slices[1].entries,
            [EvidencePath::new(*b"/var/log/journal/huge.journal")]
        );
        assert_eq!(slices[2].includes, [r"/(?-i:var)\Z/(?-i:log)\Z"]);
        assert_eq!(
            slices[2].excludes,
            [
                r"/(?-i:var)\Z/(?-i:log)\Z/(?-i:auth\.log)\Z",
                r"/(?-i:var)\Z/(?-i:log)\Z/(?-i:journal)\Z/(?-i:huge\.journal)\Z"
            ]
        );
    }

    #[test]
    fn excludes_carry_the_evidence_s_path_on_a_mount_only() {
        let file = |prefix| filter_file("x", &["/var".into()], &["/var/a".into()], prefix);
        assert!(file("").contains("\"/var/a\""));
        assert!(file("/evidence").contains("\"/evidence/var/a\""));
    }
}
