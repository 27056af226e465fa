//! Cuts what arrives in pieces into lines, each of bounded length.

/// Lines of a stream.
#[derive(Debug)]
pub struct Lines {
    buffer: Vec<u8>,
    /// Up to here there is no end of a line.
    searched: usize,
    limit: usize,
}

/// A line that is longer than is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message is longer than {0} bytes")]
pub struct LineTooLong(pub usize);

impl Lines {
    /// Of at most `limit` bytes each.
    pub fn new(limit: usize) -> Self {
        Self { buffer: Vec::new(), searched: 0, limit }
    }

    /// Adds what has arrived.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next whole line, without its end; `None` if more has to arrive first.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, LineTooLong> {
        let found = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
        let length = found.map_or(self.buffer.len(), |at| self.searched + at);
        if length > self.limit {
            return Err(LineTooLong(self.limit));
        }
        if found.is_none() {
            self.searched = length;
            return Ok(None);
        }
        let rest = self.buffer.split_off(length + 1);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        line.truncate(length);
        self.searched = 0;
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_make_the_lines_of_the_whole(pieces in proptest::collection::vec("[ab\n]{0,5}", 0..12)) {
            let mut lines = Lines::new(usize::MAX);
            let mut found = Vec::new();
            for piece in &pieces {
                lines.push(piece.as_bytes());
                while let Some(line) = lines.next_line().expect("no limit") {
                    found.push(String::from_utf8(line).expect("text"));
                }
            }
            let whole = pieces.concat();
            let expected: Vec<_> = whole.rsplit_once('\n').map(|(lines, _)| lines.split('\n').collect()).unwrap_or_default();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_line_without_an_end_is_not_kept_for_ever() {
        let mut lines = Lines::new(4);
        lines.push(b"1234");
        assert_eq!(lines.next_line(), Ok(None));
        lines.push(b"\n12345\n");
        assert_eq!(lines.next_line(), Ok(Some(b"1234".to_vec())));
        assert_eq!(lines.next_line(), Err(LineTooLong(4)));
    }
}
