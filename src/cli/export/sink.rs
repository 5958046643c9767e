//! Where the documents go in the end: a file that appears whole, or standard output.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::work::Scratch;
use crate::durable;

/// zstd's level: its own default.
const ZSTD: i32 = 3;

/// The output.
pub(super) enum Sink {
    Standard,
    File(PathBuf),
}

impl Sink {
    /// Says no before the work where the result could not be kept.
    pub(super) fn open(output: &Path) -> anyhow::Result<Self> {
        if output == Path::new("-") {
            return Ok(Self::Standard);
        }
        if output.symlink_metadata().is_ok() {
            bail!(
                "write {}: it is there already; remove it or name another file",
                output.display()
            );
        }
        let folder = match output.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let folder = std::fs::canonicalize(folder)
            .with_context(|| format!("find the folder {}", folder.display()))?;
        match output.file_name() {
            Some(name) => Ok(Self::File(folder.join(name))),
            None => bail!("write {}: it names no file", output.display()),
        }
    }

    /// Where there is room for what is not finished.
    pub(super) fn folder(&self) -> PathBuf {
        let folder = match self {
            Self::Standard => None,
            Self::File(file) => file.parent().map(Path::to_path_buf),
        };
        folder.unwrap_or_else(std::env::temp_dir)
    }

    /// Takes the documents.
    pub(super) fn take(&self, scratch: &Scratch, documents: &Path) -> anyhow::Result<()> {
        let mut from = File::open(documents).context("read the documents")?;
        match self {
            Self::Standard => match io::copy(&mut from, &mut io::stdout().lock()) {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    Err(error).context("write to standard output")
                }
                _ => Ok(()),
            },
            Self::File(file) => {
                let whole = match file.extension().and_then(|ending| ending.to_str()) {
                    Some("gz" | "zst") => compress(&mut from, &scratch.file("compressed"), file)
                        .with_context(|| format!("compress {}", file.display()))?,
                    _ => documents.to_path_buf(),
                };
                Ok(durable::rename(&whole, file)?)
            }
        }
    }
}

fn compress(from: &mut File, to: &Path, name: &Path) -> io::Result<PathBuf> {
    let out = File::create_new(to)?;
    let out = if name.extension().is_some_and(|ending| ending == "gz") {
        let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
        io::copy(from, &mut encoder)?;
        encoder.finish()?
    } else {
        let mut encoder = zstd::Encoder::new(out, ZSTD)?;
        io::copy(from, &mut encoder)?;
        encoder.finish()?
    };
    (&out).flush()?;
    out.sync_all()?;
    Ok(to.to_path_buf())
}
