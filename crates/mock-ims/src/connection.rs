//! One connection to a mock IMS: requests in, planned answers out.

use std::{io, sync::Arc};

use percent_encoding::percent_decode_str;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

use super::{
    Answer, Behaviour, Issued, Request,
    answer::{HUGE, Manner, Plan, response},
    handle::Shared,
    issue::random,
};

/// Longer heads are cut off.
const MAX_HEAD: usize = 16 * 1024;

/// Serves requests until either side has enough.
pub(super) async fn serve(mut stream: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(request) = next_request(&mut stream, &mut buffer).await? {
        let closing = request.header("connection") == Some("close");
        shared.note_request(request.clone());
        let behaviour = shared.behaviour();
        sleep(behaviour.latency).await;
        let plan = plan(&request, &behaviour, &shared)?.with_headers(super::issue::now(), &behaviour.headers);
        if !send(&mut stream, plan).await? || closing {
            break;
        }
    }
    stream.shutdown().await
}

fn plan(request: &Request, behaviour: &Behaviour, shared: &Shared) -> io::Result<Plan> {
    let simple = |status: &str| Plan { bytes: response(status, &[], b""), manner: Manner::KeepAlive };
    // A proxy's client may leave the absolute form in.
    let path = request
        .target
        .strip_prefix("http://")
        .map_or(Some(request.target.as_str()), |rest| rest.find('/').map(|slash| &rest[slash..]));
    let Some(name) = path.and_then(|path| path.strip_prefix(behaviour.list_path.as_str())) else {
        return Ok(simple("404 Not Found"));
    };
    if request.method != "GET" {
        return Ok(simple("405 Method Not Allowed"));
    }
    if random::<1>()?[0] % 100 < behaviour.fail_percent {
        return Ok(simple("503 Service Unavailable"));
    }
    if name.is_empty() {
        return Ok(behaviour.list.plan_list(&behaviour.roles));
    }
    let role = percent_decode_str(name).decode_utf8_lossy();
    if !behaviour.roles.iter().any(|known| *known == role) {
        return Ok(simple("404 Not Found"));
    }
    let answer = behaviour.answer_for(&role);
    let mut issued = Issued::new(&role, behaviour.lifetime)?;
    if *answer == Answer::Expired {
        issued.expiration = super::issue::now() - jiff::SignedDuration::from_hours(1);
    }
    shared.note_issued(&issued);
    Ok(answer.plan_document(&issued))
}

async fn next_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Request>> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Request::new(&mut headers);
        if let httparse::Status::Complete(length) = head.parse(buffer).map_err(io::Error::other)? {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let request = Request {
                method: head.method.unwrap_or_default().to_owned(),
                target: head.path.unwrap_or_default().to_owned(),
                headers: head.headers.iter().map(|h| (h.name.to_ascii_lowercase(), text(h.value))).collect(),
            };
            buffer.drain(..length);
            return Ok(Some(request));
        }
        if buffer.len() > MAX_HEAD || stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// Sends what is planned; says whether the connection may go on.
async fn send(stream: &mut TcpStream, plan: Plan) -> io::Result<bool> {
    let Plan { bytes, manner } = plan;
    match manner {
        Manner::KeepAlive => stream.write_all(&bytes).await?,
        Manner::Close => {
            stream.write_all(&bytes).await?;
            return Ok(false);
        }
        Manner::Drip(pause) => {
            for byte in bytes {
                stream.write_all(&[byte]).await?;
                sleep(pause).await;
            }
        }
        Manner::Reset => {
            stream.write_all(&bytes[..bytes.len() / 2]).await?;
            stream.set_zero_linger()?;
            // An end without shutdown, so that the client sees the reset and no end.
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Manner::Cut => {
            stream.write_all(&bytes[..bytes.len() / 2]).await?;
            return Ok(false);
        }
        Manner::Huge { chunked } => {
            stream.write_all(&bytes).await?;
            send_filler(stream, chunked).await?;
        }
        Manner::Hang => {
            // Until the client has had enough.
            let mut ignored = [0; 1024];
            while stream.read(&mut ignored).await? > 0 {}
            return Ok(false);
        }
    }
    Ok(true)
}

async fn send_filler(stream: &mut TcpStream, chunked: bool) -> io::Result<()> {
    const BLOCK: usize = 64 * 1024;
    let filler = "x".repeat(BLOCK);
    let block = if chunked { format!("{BLOCK:x}\r\n{filler}\r\n") } else { filler };
    for _ in 0..HUGE / BLOCK {
        stream.write_all(block.as_bytes()).await?;
    }
    if chunked { stream.write_all(b"0\r\n\r\n").await } else { Ok(()) }
}
