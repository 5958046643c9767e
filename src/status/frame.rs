//! Frames on the socket: four bytes of length, big-endian, then as many bytes.
//!
//! The other side may be slow, silent or hostile: a length over the limit is refused before memory is taken
//! for it, and every frame has a deadline for its last byte. What is in a frame is not looked at here.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

/// The longest request.
pub const MOST_REQUEST: usize = 64 * 1024;

/// The longest answer.
pub const MOST_ANSWER: usize = 16 * 1024 * 1024;

/// How long a frame may take from the first wait to its last byte.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other side went away where a frame may begin.
    #[error("read from a connection that the other side closed")]
    Closed,
    /// The deadline passed.
    #[error("wait any longer for the other side")]
    Late,
    /// The frame is longer than it may be.
    #[error("take a message of {length} bytes: at most {most} are taken")]
    TooLarge {
        /// What it says of itself.
        length: usize,
        /// The limit.
        most: usize,
    },
    /// The system refused, or the other side went away within a frame.
    #[error("talk over the socket")]
    System(#[from] io::Error),
}

/// Reads one frame of at most `most` bytes.
///
/// # Errors
/// Every variant of [`FrameError`].
pub async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    most: usize,
    patience: Duration,
) -> Result<Vec<u8>, FrameError> {
    let whole = async {
        let length = read_length(stream).await?;
        if length > most {
            return Err(FrameError::TooLarge { length, most });
        }
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).await?;
        Ok(bytes)
    };
    timeout(patience, whole)
        .await
        .unwrap_or(Err(FrameError::Late))
}

/// Nothing at all instead of a length is an end in good order; a part of it is not.
async fn read_length(stream: &mut (impl AsyncRead + Unpin)) -> Result<usize, FrameError> {
    let mut length = [0; 4];
    let first = stream.read(&mut length).await?;
    if first == 0 {
        return Err(FrameError::Closed);
    }
    stream.read_exact(&mut length[first..]).await?;
    Ok(u32::from_be_bytes(length) as usize)
}

/// Writes one frame; a reader that does not take it in time is given up.
///
/// # Errors
/// Every variant of [`FrameError`] but `Closed`.
pub async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
    most: usize,
    patience: Duration,
) -> Result<(), FrameError> {
    let length = bytes.len();
    let too_large = FrameError::TooLarge { length, most };
    let prefix = match u32::try_from(length) {
        Ok(short) if length <= most => short.to_be_bytes(),
        _ => return Err(too_large),
    };
    let whole = async {
        stream.write_all(&prefix).await?;
        stream.write_all(bytes).await?;
        Ok(stream.flush().await?)
    };
    timeout(patience, whole)
        .await
        .unwrap_or(Err(FrameError::Late))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read() {
        let (mut near, mut far) = tokio::io::duplex(8);
        let sent = [b'x'; 1000];
        let (written, read) = tokio::join!(
            write(&mut near, &sent, 1000, PATIENCE),
            read(&mut far, 1000, PATIENCE)
        );
        written.unwrap();
        assert_eq!(read.unwrap(), sent);
    }

    #[tokio::test]
    async fn a_length_over_the_limit_is_refused_before_its_bytes_come() {
        let (mut near, mut far) = tokio::io::duplex(8);
        near.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
        let error = read(&mut far, MOST_REQUEST, PATIENCE).await.unwrap_err();
        assert!(matches!(
            error,
            FrameError::TooLarge {
                most: MOST_REQUEST,
                ..
            }
        ));
        let error = write(&mut near, &[0; 9], 8, PATIENCE).await.unwrap_err();
        assert!(matches!(error, FrameError::TooLarge { length: 9, most: 8 }));
    }

    #[tokio::test]
    async fn an_end_between_frames_is_told_from_one_within() {
        let (near, mut far) = tokio::io::duplex(8);
        drop(near);
        let error = read(&mut far, 10, PATIENCE).await.unwrap_err();
        assert!(matches!(error, FrameError::Closed));
        let (mut near, mut far) = tokio::io::duplex(8);
        near.write_all(&[0, 0]).await.unwrap();
        drop(near);
        let error = read(&mut far, 10, PATIENCE).await.unwrap_err();
        assert!(matches!(error, FrameError::System(_)), "{error}");
    }

    #[tokio::test]
    async fn silence_and_a_reader_that_does_not_read_end_at_the_deadline() {
        let (mut near, mut far) = tokio::io::duplex(8);
        let short = Duration::from_millis(20);
        near.write_all(&[0, 0, 0, 9, 1]).await.unwrap();
        let error = read(&mut far, 10, short).await.unwrap_err();
        assert!(matches!(error, FrameError::Late));
        let error = write(&mut near, &[0; 100], 100, short).await.unwrap_err();
        assert!(matches!(error, FrameError::Late));
    }
}
