//! The header of the PROXY protocol, by which a load balancer says whose connection it passes on.
//! <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use tokio::io::{AsyncRead, AsyncReadExt};

/// What version 2 begins with, in as many bytes as each header of version 1 has at least.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header of version 1, with its end of line.
const LONGEST_LINE: usize = 107;
/// More than any balancer adds to the addresses, in bytes.
const MAX_LENGTH: usize = 4096;

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// That of a client at this address.
    Client(IpAddr),
    /// The balancer's own, such as a check of the server's health.
    Balancer,
}

/// Why a connection does not say whose it is.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// It has no such header.
    #[error("there is no PROXY header")]
    Missing,
    /// It has one that is against the specification, or too long.
    #[error("the PROXY header is malformed")]
    Malformed,
    /// The balancer does not know the client's address, or it is of another kind.
    #[error("the PROXY header has no address of a client over TCP")]
    NoAddress,
    /// The connection has ended.
    #[error("the connection ended in the PROXY header: {0}")]
    Ended(#[from] io::Error),
}

/// Reads the header, and not a byte more.
pub async fn read_header<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Origin, HeaderError> {
    let mut start = [0; SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    if start == SIGNATURE {
        return version_2(stream).await;
    }
    if !start.starts_with(b"PROXY ") {
        return Err(HeaderError::Missing);
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() == LONGEST_LINE {
            return Err(HeaderError::Malformed);
        }
        line.push(stream.read_u8().await?);
    }
    version_1(&line[..line.len() - 2])
}

/// `PROXY TCP4 SOURCE DESTINATION PORT PORT`.
fn version_1(line: &[u8]) -> Result<Origin, HeaderError> {
    let line = str::from_utf8(line).map_err(|_| HeaderError::Malformed)?;
    let words: Vec<&str> = line.split(' ').collect();
    let port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok();
    let v4 = |text: &str| text.parse::<Ipv4Addr>().map(IpAddr::from);
    let v6 = |text: &str| text.parse::<Ipv6Addr>().map(IpAddr::from);
    let source = match *words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => return Err(HeaderError::NoAddress),
        ["PROXY", "TCP4", source, destination, from, to] if port(from) && port(to) => {
            v4(destination).and_then(|_| v4(source))
        }
        ["PROXY", "TCP6", source, destination, from, to] if port(from) && port(to) => {
            v6(destination).and_then(|_| v6(source))
        }
        _ => return Err(HeaderError::Malformed),
    };
    source.map(|source| Origin::Client(source.to_canonical())).map_err(|_| HeaderError::Malformed)
}

async fn version_2<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Origin, HeaderError> {
    let [command, family] = [stream.read_u8().await?, stream.read_u8().await?];
    let length = usize::from(stream.read_u16().await?);
    if length > MAX_LENGTH {
        return Err(HeaderError::Malformed);
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    match (command, family) {
        (0x20, _) => return Ok(Origin::Balancer),
        (0x21, 0x11 | 0x21) => {}
        (0x21, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => return Err(HeaderError::NoAddress),
        _ => return Err(HeaderError::Malformed),
    }
    // Source, destination, two ports; what follows says more about the connection.
    let source = match family {
        0x11 => rest.first_chunk::<12>().and_then(|all| all.first_chunk::<4>()).map(|source| IpAddr::from(*source)),
        _ => rest.first_chunk::<36>().and_then(|all| all.first_chunk::<16>()).map(|source| IpAddr::from(*source)),
    };
    source.map(|source| Origin::Client(source.to_canonical())).ok_or(HeaderError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The origin, and what is left.
    async fn read(mut bytes: &[u8]) -> (Result<Origin, HeaderError>, &[u8]) {
        (read_header(&mut bytes).await, bytes)
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest, b"GET /"].concat()
    }

    fn client(address: &str) -> Origin {
        Origin::Client(address.parse().expect("an address"))
    }

    #[tokio::test]
    async fn both_versions_name_the_client() {
        let longest = format!("PROXY TCP6 {0} {0} 65535 65535\r\n", ["ffff"; 8].join(":"));
        assert_eq!(longest.len(), 104, "the limit counts `UNKNOWN`");
        for (header, expected) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", "192.0.2.1"),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n", "2001:db8::1"),
            ("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", "192.0.2.1"),
            (&longest, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ] {
            let bytes = format!("{header}GET /");
            let (origin, rest) = read(bytes.as_bytes()).await;
            assert_eq!((origin.expect(header), rest), (client(expected), &b"GET /"[..]));
        }
        let four = [&[192, 0, 2, 1, 198, 51, 100, 1, 0, 1, 0, 2][..], b"\x04\0\x01x"].concat();
        let mapped: Ipv6Addr = "::ffff:192.0.2.1".parse().expect("an address");
        let six = [&mapped.octets()[..], &[0; 20]].concat();
        for bytes in [v2(0x21, 0x11, &four), v2(0x21, 0x21, &six)] {
            let (origin, rest) = read(&bytes).await;
            assert_eq!((origin.expect("a header"), rest), (client("192.0.2.1"), &b"GET /"[..]));
        }
        for bytes in [v2(0x20, 0x00, b""), v2(0x20, 0x11, &four)] {
            assert_eq!(read(&bytes).await.0.expect("a header"), Origin::Balancer);
        }
    }

    #[tokio::test]
    async fn what_names_no_client_is_refused() {
        for text in [
            "PROXY TCP4 192.0.2.1 198.51.100.1 1\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3\r\n",
            "PROXY TCP4  192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.01 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 65536\r\n",
            "PROXY TCP4 2001:db8::1 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 2\n\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n",
            &format!("PROXY TCP4 {}\r\n", "1".repeat(200)),
        ] {
            let error = read(text.as_bytes()).await.0.expect_err(text);
            assert!(matches!(error, HeaderError::Malformed), "{text}: {error}");
        }
        for text in ["GET / HTTP/1.1\r\n", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}xx"] {
            assert!(matches!(read(text.as_bytes()).await.0, Err(HeaderError::Missing)), "{text}");
        }
        for text in ["PROXY TCP4 192.0.2.1", "PROXY", ""] {
            assert!(matches!(read(text.as_bytes()).await.0, Err(HeaderError::Ended(_))), "{text}");
        }
        assert!(matches!(read(b"PROXY UNKNOWN\r\n").await.0, Err(HeaderError::NoAddress)));
        for family in [0x00, 0x12, 0x31] {
            assert!(matches!(read(&v2(0x21, family, &[0; 216])).await.0, Err(HeaderError::NoAddress)), "{family}");
        }
        for (command, family, length) in [(0x21, 0x11, 11), (0x21, 0x21, 35), (0x22, 0x11, 12), (0x11, 0x11, 12)] {
            let bytes = v2(command, family, &vec![0; length]);
            assert!(matches!(read(&bytes).await.0, Err(HeaderError::Malformed)), "{command} {family} {length}");
        }
        assert!(matches!(read(&v2(0x21, 0x11, &[0; 4097])).await.0, Err(HeaderError::Malformed)));
    }
}
