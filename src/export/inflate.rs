//! zlib's format into memory that is used again.

use flate2::{Decompress, FlushDecompress, Status};

/// Inflates rows.
#[derive(Debug)]
pub(super) struct Inflater {
    state: Decompress,
    buffer: Vec<u8>,
}

/// What memory is kept for the next row.
const KEPT: usize = 1024 * 1024;

impl Inflater {
    pub(super) fn new() -> Self {
        Self {
            state: Decompress::new(true),
            buffer: Vec::with_capacity(4096),
        }
    }

    /// Inflates one whole stream of at most `most` bytes; what follows its end is passed over, as Python does.
    pub(super) fn inflate(&mut self, bytes: &[u8], most: usize) -> Result<&[u8], &'static str> {
        self.state.reset(true);
        self.buffer.clear();
        self.buffer.shrink_to(KEPT);
        self.buffer
            .reserve_exact(bytes.len().saturating_mul(4).min(most));
        loop {
            let before = (self.state.total_in(), self.buffer.len());
            let read = usize::try_from(before.0).unwrap_or(usize::MAX);
            let rest = bytes.get(read..).unwrap_or_default();
            let status = self
                .state
                .decompress_vec(rest, &mut self.buffer, FlushDecompress::None);
            let length = self.buffer.len();
            match status.map_err(|_error| "is damaged")? {
                Status::StreamEnd => return Ok(&self.buffer),
                _ if length < self.buffer.capacity() => {
                    if before == (self.state.total_in(), length) {
                        return Err("is cut off");
                    }
                }
                _ if length >= most => return Err("is larger than any honest one"),
                _ => {
                    let more = length.max(4096).min(most - length);
                    self.buffer.reserve_exact(more);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn rows_of_any_size_come_out_whole_one_after_the_other() {
        let mut inflater = Inflater::new();
        for size in [0, 1, 300, 4096, 100_000, 3_000_000, 7] {
            let row: Vec<u8> = (0..size).map(|at: u32| at.to_le_bytes()[0]).collect();
            assert_eq!(inflater.inflate(&packed(&row), 1 << 22).unwrap(), row);
        }
    }

    #[test]
    fn a_bomb_a_cut_and_damage_are_told_apart_and_harm_nothing_after() {
        let mut inflater = Inflater::new();
        let row = packed(&[7; 2_000_000]);
        let said = inflater.inflate(&row, 1 << 20).unwrap_err();
        assert_eq!(said, "is larger than any honest one");
        assert!(inflater.buffer.capacity() <= 2 << 20);
        assert_eq!(
            inflater.inflate(&row[..50], 1 << 22).unwrap_err(),
            "is cut off"
        );
        assert_eq!(inflater.inflate(b"", 1 << 22).unwrap_err(), "is cut off");
        assert_eq!(
            inflater.inflate(b"not zlib", 1 << 22).unwrap_err(),
            "is damaged"
        );
        assert_eq!(inflater.inflate(&row, 1 << 22).unwrap(), [7; 2_000_000]);
    }
}
