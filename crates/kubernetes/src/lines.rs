//! Cuts what arrives in pieces into lines, each of bounded length.

/// Lines of a stream.
#[derive(Debug)]
pub struct Lines {
    buffer: Vec<u8>,
    /// Up to here there is no end of a line.
    searched: usize,
    limit: usize,
    /// Whether what comes next is the rest of a line that is too long.
    skipping: bool,
}

/// A line that is longer than is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineTooLong;

impl Lines {
    /// Of at most `limit` bytes each.
    pub fn new(limit: usize) -> Self {
        Self { buffer: Vec::new(), searched: 0, limit, skipping: false }
    }

    /// Adds what has arrived.
    pub fn push(&mut self, piece: &[u8]) {
        let rest = match (self.skipping, piece.iter().position(|byte| *byte == b'\n')) {
            (false, _) => piece,
            (true, None) => return,
            (true, Some(end)) => piece.get(end + 1..).unwrap_or_default(),
        };
        self.skipping = false;
        self.buffer.extend_from_slice(rest);
    }

    /// The next whole line, without its end, or that one is left out; `None` if more has to arrive first.
    pub fn next_line(&mut self) -> Option<Result<Vec<u8>, LineTooLong>> {
        let found = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
        let length = found.map_or(self.buffer.len(), |at| self.searched + at);
        if found.is_none() && length <= self.limit {
            self.searched = length;
            return None;
        }
        self.searched = 0;
        if found.is_none() {
            self.skipping = true;
            self.buffer = Vec::new();
            return Some(Err(LineTooLong));
        }
        let rest = self.buffer.split_off(length + 1);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        line.truncate(length);
        Some(if length > self.limit { Err(LineTooLong) } else { Ok(line) })
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
                while let Some(line) = lines.next_line() {
                    found.push(String::from_utf8(line.expect("no limit")).expect("text"));
                }
            }
            let whole = pieces.concat();
            let expected: Vec<_> = whole.rsplit_once('\n').map(|(lines, _)| lines.split('\n').collect()).unwrap_or_default();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_not_kept_and_the_next_one_is_read() {
        let mut lines = Lines::new(4);
        lines.push(b"1234");
        assert_eq!(lines.next_line(), None);
        lines.push(b"\n12345\n67\n");
        assert_eq!(lines.next_line(), Some(Ok(b"1234".to_vec())));
        assert_eq!(lines.next_line(), Some(Err(LineTooLong)));
        assert_eq!(lines.next_line(), Some(Ok(b"67".to_vec())));
        lines.push(b"12345");
        assert_eq!(lines.next_line(), Some(Err(LineTooLong)));
        for _ in 0..9 {
            lines.push(b"12345");
            assert_eq!((lines.next_line(), lines.buffer.len()), (None, 0));
        }
        lines.push(b"1\n89\n");
        assert_eq!(lines.next_line(), Some(Ok(b"89".to_vec())));
        assert_eq!(lines.next_line(), None);
    }
}
