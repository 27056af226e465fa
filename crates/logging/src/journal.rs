//! The journal, in its native protocol: a datagram for each record, with fields that `journalctl` can look for.
//!
//! <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>

use std::{fmt::Write as _, io, os::unix::net::UnixDatagram, path::PathBuf};

use jiff::Timestamp;

use super::{
    format::{Format, Record},
    sink::{Batch, Failure, Sink},
};

/// What ends each field of a rendered record; no value has it.
const END: char = '\0';
/// Longer values are cut: with a few more fields a datagram has to stay below the kernel's limit (`wmem_default`).
const MOST: usize = 48 * 1024;

/// Renders a record as fields, `NAME=value`, each ended by [`END`]. Most have the names that python-systemd uses.
pub(super) fn render(format: &Format, identifier: &str, record: &Record, entry: &mut String) {
    let _infallible = write!(
        entry,
        "PRIORITY={}{END}SYSLOG_IDENTIFIER={identifier}{END}LOGGER={}{END}THREAD_NAME={}{END}CODE_FILE={}{END}CODE_LINE={}{END}",
        record.level.severity(),
        record.name,
        record.thread,
        record.path,
        record.line,
    );
    for field in record.fields.iter() {
        entry.extend(field.name.chars().map(|character| character.to_ascii_uppercase()));
        let _infallible = write!(entry, "={}{END}", field.value);
    }
    entry.push_str("MESSAGE=");
    format.render(record, entry);
    entry.push(END);
}

/// The journal. After a restart of its daemon it is connected again.
pub(super) struct JournalSink {
    path: PathBuf,
    socket: Option<UnixDatagram>,
    packet: Vec<u8>,
}

impl JournalSink {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, socket: None, packet: Vec::new() }
    }

    fn send(&mut self) -> io::Result<()> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(&self.path)?;
                socket
            }
        };
        if !self.packet.is_empty() {
            socket.send(&self.packet)?;
        }
        self.socket = Some(socket);
        Ok(())
    }
}

impl Sink for JournalSink {
    fn open(&mut self) -> io::Result<()> {
        self.packet.clear();
        self.send()
    }

    fn write(&mut self, batch: &Batch, _now: Timestamp) -> Result<(), Failure> {
        for (written, entry) in batch.records().enumerate() {
            encode(entry, &mut self.packet);
            // Restarted, perhaps: once more on a new connection.
            self.send().or_else(|_gone| self.send()).map_err(|error| Failure { written, error })?;
        }
        Ok(())
    }

    fn name(&self) -> String {
        format!("the journal at {}", self.path.display())
    }

    /// It takes the place of stderr, which is connected to the journal.
    fn is_stderr(&self) -> bool {
        true
    }
}

/// The fields of a rendered record as the protocol wants them: `NAME=value` and a line feed, or, if the value has line feeds of
/// its own, the name, a line feed, the length in 64 bits, little-endian, the value, a line feed.
fn encode(entry: &[u8], packet: &mut Vec<u8>) {
    packet.clear();
    for field in entry.split(|byte| *byte == END as u8) {
        let Some(equals) = field.iter().position(|byte| *byte == b'=') else { continue };
        let (name, value) = (&field[..equals], &field[equals + 1..]);
        // Not within a character.
        let end = (0..=MOST).rev().find(|at| value.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80));
        let value = end.and_then(|end| value.get(..end)).unwrap_or(value);
        packet.extend_from_slice(name);
        if value.contains(&b'\n') {
            packet.push(b'\n');
            packet.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            packet.push(b'=');
        }
        packet.extend_from_slice(value);
        packet.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fields::Fields, level::Level};

    const RECORD: Record<'_> = Record {
        created: Timestamp::UNIX_EPOCH,
        started: Timestamp::UNIX_EPOCH,
        level: Level::Notice,
        name: "alppaca_refresh::report",
        message: "role web: fetched",
        fields: Fields::of("role=web\ncaller_uid:1000\n"),
        thread: "refresh",
        path: "report.rs",
        line: 7,
    };

    fn packet(format: &str, record: &Record) -> Vec<u8> {
        let (mut entry, mut packet) = (String::new(), Vec::new());
        render(&Format::parse(format).expect("legal"), "alppaca", record, &mut entry);
        encode(entry.as_bytes(), &mut packet);
        packet
    }

    #[test]
    fn a_record_is_the_bytes_that_the_protocol_documents() {
        let head = "PRIORITY=5\nSYSLOG_IDENTIFIER=alppaca\nLOGGER=alppaca_refresh::report\nTHREAD_NAME=refresh\n\
                    CODE_FILE=report.rs\nCODE_LINE=7\nROLE=web\nCALLER_UID=1000\n";
        let simple = format!("{head}MESSAGE=[WARNING] role web: fetched\n");
        assert_eq!(packet("[%(levelname)s] %(message)s", &RECORD), simple.as_bytes());
        // Of two lines: 23 bytes.
        let lines = [head.as_bytes(), b"MESSAGE\n\x17\0\0\0\0\0\0\0role web: fetched\nlines\n"].concat();
        assert_eq!(packet("%(message)s\nlines", &RECORD), lines);
    }

    #[test]
    fn a_value_without_bounds_still_fits_into_a_datagram() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let journal = UnixDatagram::bind(&path).expect("a socket");
        let (mut sink, mut batch) = (JournalSink::new(path.clone()), Batch::default());
        let long = "x".repeat(1024 * 1024);
        for message in [&*long, "short"] {
            let mut entry = String::new();
            render(&Format::parse("%(message)s").expect("legal"), "a", &Record { message, ..RECORD }, &mut entry);
            batch.push(&entry);
        }
        sink.open().expect("it is there");
        sink.write(&batch, Timestamp::UNIX_EPOCH).expect("both fit");
        let mut buffer = vec![0; 256 * 1024];
        assert!((MOST..MOST + 1024).contains(&journal.recv(&mut buffer).expect("a datagram")));
        let length = journal.recv(&mut buffer).expect("a datagram");
        assert!(buffer[..length].ends_with(b"MESSAGE=short\n"));
        // The journal is restarted.
        drop(journal);
        std::fs::remove_file(&path).expect("ours");
        let journal = UnixDatagram::bind(&path).expect("a socket");
        sink.write(&batch, Timestamp::UNIX_EPOCH).expect("it is connected again");
        assert!(journal.recv(&mut buffer).is_ok());
    }
}
