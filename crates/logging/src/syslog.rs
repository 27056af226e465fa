//! Syslog, in the bytes of Python's `SysLogHandler`: `<priority>message` and a NUL.

use std::{
    fmt::Write as _,
    io::{self, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket},
    os::unix::net::{UnixDatagram, UnixStream},
    path::PathBuf,
    time::Duration,
};

use jiff::Timestamp;

use crate::needs::{Need, Needs};

use super::{
    level::Level,
    sink::{Batch, Failure, Sink},
};

/// A syslog server that takes longer is as good as gone.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The facilities in the order of their numbers (RFC 5424, section 6.2.1), as Python names them.
const FACILITIES: [&str; 24] = [
    "kern",
    "user",
    "mail",
    "daemon",
    "auth",
    "syslog",
    "lpr",
    "news",
    "uucp",
    "cron",
    "authpriv",
    "ftp",
    "ntp",
    "security",
    "console",
    "solaris-cron",
    "local0",
    "local1",
    "local2",
    "local3",
    "local4",
    "local5",
    "local6",
    "local7",
];

/// A facility.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Priority {
    facility: u8,
}

impl Default for Priority {
    /// `user`, as in Python.
    fn default() -> Self {
        Self { facility: 1 }
    }
}

impl Priority {
    pub(super) fn named(name: &str) -> Option<Self> {
        let facility = FACILITIES.iter().position(|known| *known == name)?;
        u8::try_from(facility).ok().map(|facility| Self { facility })
    }

    pub(super) fn numbered(facility: u8) -> Option<Self> {
        (usize::from(facility) < FACILITIES.len()).then_some(Self { facility })
    }

    /// Writes `<facility and severity>`.
    pub(super) fn push(self, level: Level, line: &mut String) {
        // Writing to a String cannot fail.
        let _infallible = write!(line, "<{}>", u16::from(self.facility) * 8 + u16::from(level.severity()));
    }

    /// Writes `<severity>`, as the journal reads it from a stream (sd-daemon(3)).
    pub(super) fn push_severity(level: Level, line: &mut String) {
        let _infallible = write!(line, "<{}>", level.severity());
    }
}

/// Where syslog listens.
#[derive(Debug, Clone)]
pub(super) enum Address {
    /// A socket file, such as `/dev/log`.
    Local(PathBuf),
    /// UDP.
    Datagrams(String, u16),
    /// TCP.
    Stream(String, u16),
}

impl Address {
    pub(super) fn network(host: &str, port: u16, stream: bool) -> Self {
        if stream { Self::Stream(host.to_owned(), port) } else { Self::Datagrams(host.to_owned(), port) }
    }
}

enum Connection {
    UnixDatagram(UnixDatagram),
    UnixStream(UnixStream),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

/// A syslog to write to. After a restart of the server it connects again.
pub(super) struct SyslogSink {
    address: Address,
    connection: Option<Connection>,
}

impl SyslogSink {
    pub(super) fn new(address: Address) -> Self {
        Self { address, connection: None }
    }

    fn connected(&mut self) -> io::Result<&mut Connection> {
        if self.connection.is_none() {
            self.connection = Some(connect(&self.address)?);
        }
        self.connection.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn send(&mut self, record: &[u8]) -> io::Result<()> {
        match self.connected()? {
            Connection::UnixDatagram(socket) => socket.send(record).map(|_all| ()),
            Connection::UnixStream(socket) => socket.write_all(record),
            Connection::Udp(socket) => socket.send(record).map(|_all| ()),
            Connection::Tcp(socket) => socket.write_all(record),
        }
    }
}

fn connect(address: &Address) -> io::Result<Connection> {
    match address {
        Address::Local(path) => {
            let socket = UnixDatagram::unbound()?;
            match socket.connect(path) {
                Ok(()) => Ok(Connection::UnixDatagram(socket)),
                // The socket is of the other kind (syslog-ng's unix-stream).
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PROTOTYPE.raw_os_error()) => {
                    UnixStream::connect(path).map(Connection::UnixStream)
                }
                Err(error) => Err(error),
            }
        }
        Address::Datagrams(host, port) => {
            let to = resolve(host, *port)?;
            let from: SocketAddr =
                if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
            let socket = UdpSocket::bind(from)?;
            socket.connect(to)?;
            Ok(Connection::Udp(socket))
        }
        Address::Stream(host, port) => {
            let socket = TcpStream::connect_timeout(&resolve(host, *port)?, TIMEOUT)?;
            socket.set_write_timeout(Some(TIMEOUT))?;
            Ok(Connection::Tcp(socket))
        }
    }
}

fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    (host, port).to_socket_addrs()?.next().ok_or_else(|| io::Error::other(format!("{host} has no address")))
}

impl Sink for SyslogSink {
    fn open(&mut self) -> io::Result<()> {
        self.connected().map(|_connection| ())
    }

    fn write(&mut self, batch: &Batch, _now: Timestamp) -> Result<(), Failure> {
        for (written, record) in batch.records().enumerate() {
            if self.send(record).is_err() {
                // Restarted, perhaps: once more on a new connection.
                self.connection = None;
                self.send(record).map_err(|error| {
                    self.connection = None;
                    Failure { written, error }
                })?;
            }
        }
        Ok(())
    }

    fn name(&self) -> String {
        match &self.address {
            Address::Local(path) => path.display().to_string(),
            Address::Datagrams(host, port) => format!("syslog at {host}:{port} (UDP)"),
            Address::Stream(host, port) => format!("syslog at {host}:{port} (TCP)"),
        }
    }

    fn needs(&self, needs: &mut Needs) {
        if let Address::Stream(_, port) = self.address {
            needs.add(Need::Connect(port), "syslog by TCP");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_those_of_the_rfc() {
        for (facility, level, expected) in [
            ("user", Level::Warning, "<12>"),
            ("daemon", Level::Error, "<27>"),
            ("local7", Level::Debug, "<191>"),
            ("kern", Level::Info, "<6>"),
            ("kern", Level::Notice, "<5>"),
        ] {
            let mut line = String::new();
            Priority::named(facility).expect("known").push(level, &mut line);
            assert_eq!(line, expected, "{facility}");
        }
        assert_eq!(Priority::named("nobody"), None);
        assert_eq!(Priority::numbered(24), None);
    }
}
