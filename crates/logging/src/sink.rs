//! What records are written to.

use std::io;

use jiff::Timestamp;

use crate::needs::Needs;

/// How large a buffer is kept for the next records.
const KEPT: usize = 64 * 1024;

/// Something that records are written to.
pub(super) trait Sink: Send {
    /// Opens it, so that a mistake shows at the start.
    fn open(&mut self) -> io::Result<()>;
    /// Writes all records. `now` is for sinks that begin a new file from time to time.
    fn write(&mut self, batch: &Batch, now: Timestamp) -> Result<(), Failure>;
    /// What to call it in a message.
    fn name(&self) -> String;
    /// Adds what it needs of the system. Local sockets need nothing.
    fn needs(&self, _: &mut Needs) {}
    /// Whether it is stderr, as which a person at a terminal sees it.
    fn is_stderr(&self) -> bool {
        false
    }
}

/// What went wrong, and how many of the records were written before.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) written: usize,
    pub(super) error: io::Error,
}

impl From<io::Error> for Failure {
    /// Before any was written.
    fn from(error: io::Error) -> Self {
        Self { written: 0, error }
    }
}

/// Writes as much as possible: how much that was.
pub(super) fn write_most(to: &mut impl io::Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match to.write(rest) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// Records, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    pub(super) fn push(&mut self, record: &str) {
        self.push_bytes(record.as_bytes());
    }

    pub(super) fn push_bytes(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.ends.push(self.bytes.len());
    }

    /// How many whole records the first `bytes` hold, and where the last of them ends.
    pub(super) fn whole(&self, bytes: usize) -> (usize, usize) {
        let count = self.ends.partition_point(|end| *end <= bytes);
        (count, count.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(0))
    }

    pub(super) fn clear(&mut self) {
        if self.bytes.capacity() > KEPT {
            *self = Self::default();
        }
        self.bytes.clear();
        self.ends.clear();
    }

    /// Removes the first `count` records.
    pub(super) fn discard(&mut self, count: usize) {
        let Some(start) = count.checked_sub(1).and_then(|last| self.ends.get(last)).copied() else { return };
        self.bytes.drain(..start);
        self.ends.drain(..count);
        self.ends.iter_mut().for_each(|end| *end -= start);
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).filter_map(|(start, end)| self.bytes.get(*start..*end))
    }
}
