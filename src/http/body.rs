//! A part of a file as the body of a request, read piece by piece while it leaves.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use futures_util::stream::try_unfold;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

/// Bytes in memory at once.
const PIECE: u64 = 64 * 1024;

/// How much of a body was handed to the connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moved {
    /// Bytes of the file.
    pub(crate) bytes: u64,
    /// When the last of them left, or the first was asked for.
    pub(crate) at: Option<Instant>,
    /// Nothing is left, so the server may have everything.
    pub(crate) all: bool,
    /// The file could not be read.
    pub(crate) failed: bool,
}

/// The bytes from `offset` on, and what to watch to see them go.
pub(crate) fn stream(
    file: File,
    offset: u64,
    length: u64,
) -> (reqwest::Body, watch::Receiver<Moved>) {
    let (tell, moved) = watch::channel(Moved::default());
    let file = Arc::new(file);
    let pieces = try_unfold(0_u64, move |done| {
        let (file, tell) = (Arc::clone(&file), tell.clone());
        async move {
            if done == length {
                return Ok::<_, io::Error>(None);
            }
            tell.send_modify(|moved| moved.at = Some(Instant::now()));
            let size = PIECE.min(length - done);
            let piece = match spawn_blocking(move || piece(&file, offset + done, size)).await {
                Ok(Ok(piece)) => piece,
                other => {
                    tell.send_modify(|moved| moved.failed = true);
                    return Err(other.map_or_else(io::Error::other, |read| {
                        read.err().unwrap_or_else(|| io::ErrorKind::Other.into())
                    }));
                }
            };
            let done = done + size;
            tell.send_replace(Moved {
                bytes: done,
                at: Some(Instant::now()),
                all: done == length,
                failed: false,
            });
            Ok(Some((piece, done)))
        }
    });
    (reqwest::Body::wrap_stream(pieces), moved)
}

fn piece(file: &File, offset: u64, size: u64) -> io::Result<Vec<u8>> {
    let size = usize::try_from(size).map_err(io::Error::other)?;
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}
