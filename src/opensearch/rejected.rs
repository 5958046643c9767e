//! Documents that OpenSearch does not take in any form, kept beside the job: one JSON object a line.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};

use crate::printable;

/// Bytes of the file. What is refused beyond that is only counted.
const MOST: u64 = 64 * 1024 * 1024;
/// Characters of a document that are kept.
const DOCUMENT: usize = 256 * 1024;
/// Characters of a reason.
const REASON: usize = 2_000;

/// A document that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Its id.
    pub(super) id: String,
    /// Where its line begins.
    pub(super) offset: u64,
    /// Why not.
    pub(super) reason: String,
    /// Its line, or the beginning of it.
    pub(super) line: Vec<u8>,
}

/// A line of the file.
#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    slice: &'a str,
    /// Bytes into the slice's documents, where the whole of it stands.
    offset: u64,
    reason: String,
    /// With all that is not plain text escaped.
    document: String,
}

#[derive(Deserialize)]
struct Known {
    id: String,
}

/// The file. It is made with the first document.
pub(super) struct Rejected {
    path: PathBuf,
    open: Option<(File, u64, HashSet<String>)>,
}

impl Rejected {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            open: None,
        }
    }

    /// Keeps documents, each once however often it is told, and returns when they are on the disk.
    pub(super) fn keep(&mut self, slice: &str, refused: &[Refusal]) -> io::Result<()> {
        if refused.is_empty() {
            return Ok(());
        }
        if self.open.is_none() {
            self.open = Some(open(&self.path)?);
        }
        let Some((file, size, known)) = &mut self.open else {
            return Ok(());
        };
        let mut lines = Vec::new();
        for refusal in refused {
            if known.contains(&refusal.id) {
                continue;
            }
            let mut line = serde_json::to_vec(&Line {
                id: &refusal.id,
                slice,
                offset: refusal.offset,
                reason: printable::line(&refusal.reason, REASON),
                document: printable::line(&String::from_utf8_lossy(&refusal.line), DOCUMENT),
            })?;
            line.push(b'\n');
            if *size + line.len() as u64 > MOST {
                continue;
            }
            *size += line.len() as u64;
            lines.append(&mut line);
            known.insert(refusal.id.clone());
        }
        file.write_all(&lines)?;
        file.sync_data()
    }
}

/// Opens or makes the file, cuts off a line that a crash left unfinished, and learns what it holds.
fn open(path: &Path) -> io::Result<(File, u64, HashSet<String>)> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).bits())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a plain file"));
    }
    let mut known = HashSet::new();
    let mut whole = 0;
    let mut lines = BufReader::new(&file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = lines.read_until(b'\n', &mut line)? as u64;
        let Ok(found) = serde_json::from_slice::<Known>(&line) else {
            break;
        };
        if line.last() != Some(&b'\n') {
            break;
        }
        known.insert(found.id);
        whole += read;
    }
    file.set_len(whole)?;
    let mut file = file;
    file.seek(SeekFrom::Start(whole))?;
    Ok((file, whole, known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    fn refusal(id: &str, line: &[u8]) -> Refusal {
        Refusal {
            id: id.to_owned(),
            offset: 7,
            reason: "it is \u{1b}[31mred".to_owned(),
            line: line.to_vec(),
        }
    }

    fn lines(path: &Path) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn each_document_is_kept_once_however_often_it_is_told() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("rejected.jsonl");
        Rejected::new(&path).keep("s", &[]).unwrap();
        assert!(!path.exists(), "no file for nothing");
        for _ in 0..2 {
            let mut rejected = Rejected::new(&path);
            rejected
                .keep("s", &[refusal("1", b"x"), refusal("2", b"\xff\n\x07")])
                .unwrap();
            rejected
                .keep("s", &[refusal("2", b"y"), refusal("3", b"z")])
                .unwrap();
        }
        let kept = lines(&path);
        let ids: Vec<&str> = kept
            .iter()
            .map(|line| line["id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, ["1", "2", "3"]);
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(['\u{1b}', '\u{7}']), "{text}");
        assert_eq!(kept[1]["document"], "\u{fffd}\\u{a}\\u{7}");
        assert_eq!(
            (&kept[0]["slice"], &kept[0]["offset"]),
            (&"s".into(), &7.into())
        );
    }

    #[test]
    fn a_line_that_a_crash_cut_off_is_written_anew() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("rejected.jsonl");
        Rejected::new(&path)
            .keep("s", &[refusal("1", b"x"), refusal("2", b"y")])
            .unwrap();
        let text = fs::read(&path).unwrap();
        for cut in 1..=text.len() {
            durable_write(&path, &text[..cut]);
            Rejected::new(&path)
                .keep("s", &[refusal("1", b"x"), refusal("2", b"y")])
                .unwrap();
            assert_eq!(fs::read(&path).unwrap(), text, "cut at {cut}");
        }
    }

    fn durable_write(path: &Path, bytes: &[u8]) {
        crate::durable::write(path, bytes).unwrap();
    }

    #[test]
    fn no_link_is_followed() {
        let folder = TempDir::new().unwrap();
        let (path, target) = (
            folder.path().join("rejected.jsonl"),
            folder.path().join("target"),
        );
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(
            Rejected::new(&path)
                .keep("s", &[refusal("1", b"x")])
                .is_err()
        );
        assert!(!target.exists());
    }

    #[test]
    fn a_document_is_cut_and_the_file_bounded() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("rejected.jsonl");
        let mut rejected = Rejected::new(&path);
        let long = vec![b'w'; 1024 * 1024];
        for number in 0..300 {
            rejected
                .keep("s", &[refusal(&number.to_string(), &long)])
                .unwrap();
        }
        let size = fs::metadata(&path).unwrap().len();
        assert!((MOST - 1024 * 1024..=MOST).contains(&size), "{size}");
    }
}
