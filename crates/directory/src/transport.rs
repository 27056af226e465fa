//! Connections to a server of the directory: TCP, `StartTLS` and TLS. Nothing reaches the LDAP library that did not come
//! from a server whose certificate was verified, unless clear text is allowed.

use std::{os::unix::net::UnixStream as StdUnixStream, sync::Arc};

use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, split},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::{TlsConnector, rustls::ClientConfig};

use crate::{
    frames::{Frames, body_length},
    options::{Security, Server},
};

/// The request for `StartTLS`, with the message id 1: RFC 4511, section 4.14.1.
const START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
/// The beginning of its answer: the id, and a response of the extended operation.
const ANSWER: &[u8] = b"\x02\x01\x01\x78";
/// The longest answer.
const MAX_ANSWER: usize = 4096;

/// Connects. What the server sends comes out of the socket that is returned.
pub(crate) async fn connect(server: &Server, tls: Arc<ClientConfig>) -> Result<StdUnixStream, String> {
    let mut stream =
        TcpStream::connect((server.host.as_str(), server.port)).await.map_err(|error| error.to_string())?;
    // It only saves time.
    let _quicker = stream.set_nodelay(true);
    let (inside, outside) = UnixStream::pair().map_err(|error| error.to_string())?;
    let outside = outside.into_std().map_err(|error| error.to_string())?;
    if server.security == Security::None {
        tokio::spawn(relay(stream, inside));
        return Ok(outside);
    }
    if server.security == Security::StartTls {
        start_tls(&mut stream).await?;
    }
    let name = ServerName::try_from(server.host.clone()).map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(tls).connect(name, stream).await.map_err(|error| format!("TLS: {error}"))?;
    tokio::spawn(relay(stream, inside));
    Ok(outside)
}

async fn start_tls(stream: &mut TcpStream) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("StartTLS: {error}");
    stream.write_all(START_TLS).await.map_err(failed)?;
    let mut header = Vec::new();
    let length = loop {
        // Not a byte more than the answer has: what follows it is TLS.
        header.push(stream.read_u8().await.map_err(failed)?);
        if let Some(length) = body_length(&header).map_err(|error| format!("StartTLS: {error}"))? {
            break length;
        }
    };
    if length > MAX_ANSWER {
        return Err("StartTLS: the answer is too long".to_owned());
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.map_err(failed)?;
    match result_code(&body) {
        Some(0) => Ok(()),
        Some(code) => Err(format!("the server refuses StartTLS (result {code})")),
        None => Err("StartTLS: the answer is not one".to_owned()),
    }
}

/// The result in the answer to `StartTLS`.
fn result_code(body: &[u8]) -> Option<u8> {
    let rest = body.strip_prefix(ANSWER)?;
    let long = usize::from(rest.first()?.checked_sub(0x80).unwrap_or_default());
    match rest.get(1 + long..)? {
        [0x0a, 1, code, ..] => Some(*code),
        _ => None,
    }
}

/// Passes on both ways until one side ends.
async fn relay<S: AsyncRead + AsyncWrite>(server: S, library: UnixStream) {
    let (mut from_server, mut to_server) = split(server);
    let (mut from_library, mut to_library) = library.into_split();
    let inwards = async {
        let (mut frames, mut buffer) = (Frames::default(), vec![0; 16 * 1024]);
        loop {
            let length = from_server.read(&mut buffer).await.map_err(|error| error.to_string())?;
            if length == 0 {
                return Ok::<_, String>(());
            }
            frames.feed(&buffer[..length]).map_err(|error| error.to_string())?;
            to_library.write_all(&buffer[..length]).await.map_err(|error| error.to_string())?;
        }
    };
    tokio::select! {
        ended = inwards => if let Err(problem) = ended {
            tracing::debug!("directory: {problem}");
        },
        // The library has closed it.
        _closed = copy(&mut from_library, &mut to_server) => {}
    }
    // It is closed anyway.
    let _goodbye = to_server.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_start_tls_is_read_strictly() {
        assert_eq!(usize::from(START_TLS[1]), START_TLS.len() - 2);
        for (body, code) in [
            (&b"\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"[..], Some(0)),
            (b"\x02\x01\x01\x78\x07\x0a\x01\x02\x04\x00\x04\x00", Some(2)),
            (b"\x02\x01\x01\x78\x84\x00\x00\x00\x07\x0a\x01\x34\x04\x00\x04\x00", Some(52)),
            (b"\x02\x01\x02\x78\x07\x0a\x01\x00\x04\x00\x04\x00", None),
            (b"\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00", None),
            (b"\x02\x01\x01\x78\x07\x0a\x02\x00\x00", None),
            (b"\x02\x01\x01\x78\xff", None),
            (b"\x02\x01\x01\x78", None),
            (b"", None),
        ] {
            assert_eq!(result_code(body), code, "{body:x?}");
        }
    }
}
