//! Loop devices of our own: numbers that nobody else has, attached read-only, removed at the end whatever happens.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::{self, tool};

/// Fresh loop devices. A device to which an image is attached is what udevd sees as a new volume.
pub struct Loops {
    numbers: Vec<String>,
}

impl Loops {
    pub fn add(count: usize) -> Self {
        let script = script();
        let added = tool(
            "/usr/bin/python3",
            &["-B", script.as_str(), "add", &count.to_string()],
        );
        Self {
            numbers: added.lines().map(str::to_owned).collect(),
        }
    }

    pub fn node(&self, place: usize) -> String {
        format!("/dev/loop{}", self.numbers[place])
    }

    pub fn nodes(&self) -> Vec<String> {
        (0..self.numbers.len())
            .map(|place| self.node(place))
            .collect()
    }

    pub fn attach(&self, place: usize, image: &Path) {
        let node = self.node(place);
        tool(
            "losetup",
            &["--read-only".as_ref(), node.as_ref(), image.as_os_str()],
        );
    }

    /// Detaches; one that is in use goes when its last user has closed it.
    pub fn detach(&self, place: usize) {
        tool("losetup", &["--detach", &self.node(place)]);
    }

    /// Puts another image of the same size behind a device that stays.
    pub fn change(&self, place: usize, image: &Path) {
        let (script, node) = (script(), self.node(place));
        let words = ["-B", &script, "change", &node, image.to_str().unwrap()];
        tool("/usr/bin/python3", &words);
    }

    /// Whether an image is attached.
    pub fn is_attached(&self, place: usize) -> bool {
        self.backing(place).is_some()
    }

    fn backing(&self, place: usize) -> Option<String> {
        let file = format!("/sys/block/loop{}/loop/backing_file", self.numbers[place]);
        fs::read_to_string(file).ok()
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        for place in 0..self.numbers.len() {
            if self.is_attached(place) {
                let mut detach = Command::new("losetup");
                drop(detach.arg("--detach").arg(self.node(place)).status());
            }
        }
        let mut remove = Command::new("/usr/bin/python3");
        remove.arg("-B").arg(script()).arg("remove");
        drop(remove.args(&self.numbers).status());
    }
}

fn script() -> String {
    let path = lab::root().join("tests/agent/loops.py");
    path.to_str().unwrap().to_owned()
}

/// Loop devices over a file below `mark` or over one of `nodes`: there must be none after a run but the nodes
/// themselves.
pub fn left_over(mark: &str, nodes: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/block").unwrap().flatten() {
        let node = format!("/dev/{}", entry.file_name().to_string_lossy());
        let backing = fs::read_to_string(entry.path().join("loop/backing_file"));
        let backing = PathBuf::from(backing.unwrap_or_default().trim());
        let ours = backing.starts_with(mark) || nodes.iter().any(|one| Path::new(one) == backing);
        if ours && !nodes.contains(&node) {
            found.push(format!("{node} over {}", backing.display()));
        }
    }
    found
}
