//! The wire format of SSH, RFC 4251, section 5: everything is bounded by the bytes that there are.

/// Why bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WireError(pub &'static str);

/// What is left to be read.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// All of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes are left.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// So many bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(WireError("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        self.take(N)?.try_into().map_err(|_| WireError("it ends too early"))
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, WireError> {
        self.array().map(u8::from_be_bytes)
    }

    /// A `uint32`.
    pub fn number(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A `uint64`.
    pub fn long(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    /// A `string`: bytes with their length before them.
    pub fn string(&mut self) -> Result<&'a [u8], WireError> {
        let length = self.number()?;
        self.take(usize::try_from(length).map_err(|_| WireError("it ends too early"))?)
    }

    /// A `string` that is UTF-8.
    pub fn text(&mut self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.string()?).map_err(|_| WireError("a text in it is not UTF-8"))
    }

    /// A positive number of any length, without leading zeros.
    pub fn positive(&mut self) -> Result<&'a [u8], WireError> {
        let bytes = self.string()?;
        let digits = match bytes {
            [0, rest @ ..] => rest,
            [first, ..] if *first < 0x80 => bytes,
            _ => return Err(WireError("a number in it is not positive")),
        };
        let leads = digits.first().is_none_or(|first| *first == 0);
        if leads { Err(WireError("a number in it is not positive")) } else { Ok(digits) }
    }

    /// All that is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Nothing may be left.
    pub fn end(self) -> Result<(), WireError> {
        if self.is_empty() { Ok(()) } else { Err(WireError("something follows it")) }
    }
}

/// Appends a string.
pub fn put(into: &mut Vec<u8>, string: &[u8]) {
    // What is put is never nearly so long.
    into.extend(u32::try_from(string.len()).unwrap_or(u32::MAX).to_be_bytes());
    into.extend(string);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_beyond_the_end() {
        let bytes = [0, 0, 0, 2, b'a', b'b', 7];
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.text(), Ok("ab"));
        assert!(reader.end().is_err());
        assert_eq!((reader.byte(), reader.byte()), (Ok(7), Err(WireError("it ends too early"))));
        for bytes in [&[0, 0, 0, 3, b'a', b'b'][..], &[0xff; 4], &[0, 0], &[]] {
            assert!(Reader::new(bytes).string().is_err(), "{bytes:?}");
        }
        assert!(Reader::new(&[0; 7]).long().is_err());
    }

    #[test]
    fn numbers_are_positive() {
        for (bytes, number) in [
            (&[0, 0, 0, 1, 5][..], Some(&[5][..])),
            (&[0, 0, 0, 2, 0, 0x80], Some(&[0x80])),
            (&[0, 0, 0, 1, 0x80], None),
            (&[0, 0, 0, 1, 0], None),
            (&[0, 0, 0, 0], None),
            (&[0, 0, 0, 3, 0, 0, 5], None),
        ] {
            assert_eq!(Reader::new(bytes).positive().ok(), number, "{bytes:?}");
        }
    }
}
