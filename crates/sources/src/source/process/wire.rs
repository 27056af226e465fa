//! What the daemon and its helper say to each other: frames of a length, a number and a text of bytes (pure).

use std::io::{self, Read, Write};

use zeroize::Zeroizing;

/// The largest frame: the list of programs, with their environments.
const LARGEST: usize = 16 * 1024 * 1024;
/// The length and the number.
const HEAD: usize = 4 + 8;

/// One message: which run it is about, and what it says.
pub(super) struct Frame {
    pub(super) run: u64,
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl Frame {
    pub(super) fn new(run: u64, parts: &[&[u8]]) -> Self {
        Self { run, body: Zeroizing::new(parts.concat()) }
    }

    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let length = u32::try_from(self.body.len()).map_err(io::Error::other)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(HEAD + self.body.len()));
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&self.run.to_le_bytes());
        bytes.extend_from_slice(&self.body);
        to.write_all(&bytes)
    }

    /// The next one; `None` at the end.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut head = [0; HEAD];
        match from.read_exact(&mut head) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let [length @ .., _, _, _, _, _, _, _, _] = head;
        let length = usize::try_from(u32::from_le_bytes(length)).map_err(io::Error::other)?;
        if length > LARGEST {
            return Err(io::Error::other("a frame is too large"));
        }
        let [_, _, _, _, run @ ..] = head;
        let mut body = Zeroizing::new(vec![0; length]);
        from.read_exact(&mut body)?;
        Ok(Some(Self { run: u64::from_le_bytes(run), body }))
    }
}
