//! Hands a secret URL to the browser by a page on loopback: its address is on the browser's command line, where other users
//! can read it, but it is served once, and to this user only.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::Command,
    task::JoinSet,
    time::timeout,
};
use zeroize::Zeroizing;

use super::{Failure, web_browser};
use crate::{caller::Kernel, credentials::Secret};

/// How long a browser may take to start.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long one connection may take.
const TURN: Duration = Duration::from_secs(5);
/// After a failed accept.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest head of a request.
const MAX_HEAD: usize = 16 * 1024;

/// What is the same in all answers.
const REST: &str =
    "Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Opens `url` in the first of the browsers that can be started; ready when the browser has been sent there.
pub(super) async fn open(url: &Secret) -> Result<(), Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(Failure::runtime)?;
    let address = listener.local_addr().map_err(Failure::runtime)?;
    let kernel = web_browser::kernel()?;
    let mut secret = [0; 16];
    let random = SystemRandom::new().fill(&mut secret);
    random.map_err(|_| Failure::runtime("the system provides no random numbers"))?;
    let path = format!("/{}", URL_SAFE_NO_PAD.encode(secret));
    let page = Arc::new(Page { path, address, url: url.clone(), kernel });
    let spawn = |command| Command::from(command).spawn();
    let mut browser = web_browser::start(&format!("http://{address}{}", page.path), spawn).map_err(|tried| {
        let hint = "Set BROWSER, or use `alppaca console --url`, which prints the URL; it is a secret.";
        Failure::runtime(format!("no browser can be started: {tried}\n{hint}"))
    })?;
    let failed = async {
        match browser.wait().await {
            // Many hand the page over to one that runs, and end.
            Ok(status) if status.success() => std::future::pending().await,
            Ok(status) => format!("the browser ended: {status}"),
            Err(error) => format!("the browser: {error}"),
        }
    };
    let why = tokio::select! {
        () = serve(&page, &listener) => return Ok(()),
        why = failed => why,
        () = crate::clock::sleep(PATIENCE) => format!("no browser came within {} seconds", PATIENCE.as_secs()),
    };
    Err(Failure::runtime(format!("{why}\n`alppaca console --url` prints the URL; it is a secret.")))
}

/// Ready when the page was served to this user. Browsers also open connections on which they send nothing.
async fn serve(page: &Arc<Page>, listener: &TcpListener) {
    let mut turns = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) if page.is_own(peer) => {
                    let page = Arc::clone(page);
                    turns.spawn(async move { timeout(TURN, page.answer(stream)).await });
                }
                // Another user, who is told nothing.
                Ok(_) => {}
                Err(_) => crate::clock::sleep(PAUSE).await,
            },
            Some(turn) = turns.join_next() => {
                // A client that is slow, or is gone, has no other effect.
                if let Ok(Ok(Ok(true))) = turn {
                    return;
                }
            }
        }
    }
}

/// What is served.
struct Page {
    path: String,
    address: SocketAddr,
    url: Secret,
    kernel: Kernel,
}

impl Page {
    /// Whether the client at `peer` is this user.
    fn is_own(&self, peer: SocketAddr) -> bool {
        web_browser::is_own(&self.kernel, peer, self.address)
    }

    /// Answers one request; whether that was the redirection.
    async fn answer(&self, mut stream: TcpStream) -> io::Result<bool> {
        let mut head = Vec::with_capacity(1024);
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            if head.len() > MAX_HEAD || stream.read_buf(&mut head).await? == 0 {
                return Ok(false);
            }
        }
        let is_meant = self.is_meant(&head);
        let (status, name, location) =
            if is_meant { ("302 Found", "\r\nLocation: ", self.url.expose()) } else { ("404 Not Found", "", "") };
        let mut answer = Zeroizing::new(String::with_capacity(512 + location.len()));
        for part in ["HTTP/1.1 ", status, name, location, "\r\n", REST] {
            answer.push_str(part);
        }
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        Ok(is_meant)
    }

    /// Whether a request is for the page, by its own address: a name that leads to 127.0.0.1 is another site's.
    fn is_meant(&self, head: &[u8]) -> bool {
        let mut lines = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut lines);
        if !matches!(request.parse(head), Ok(httparse::Status::Complete(_))) {
            return false;
        }
        let address = self.address.to_string();
        let host = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("host"));
        request.method == Some("GET")
            && request.path == Some(self.path.as_str())
            && host.is_some_and(|host| host.value == address.as_bytes())
    }
}
