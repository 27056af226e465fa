//! The few requests of a browser that comes back, and the answers to them.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use crate::{admin::CallbackRequest, caller::Kernel, cli::web_browser, credentials::Secret, text::page};

/// The longest head. Codes of some providers are 2 KB.
const MAX_HEAD: usize = 32 * 1024;
/// Browsers open connections ahead and send nothing.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The most connections at a time.
const MAX_CONNECTIONS: usize = 32;

/// What distinguishes the browser that has begun.
const COOKIE: &str = "alppaca-sign-in";

/// A request.
pub(super) struct Incoming {
    stream: TcpStream,
    pub(super) target: Zeroizing<String>,
    pub(super) host: Option<String>,
    pub(super) cookie: Option<Secret>,
}

/// Accepts connections of this user for as long as the requests are taken: another user, who can read the address on the
/// browser's command line, could otherwise begin in the person's place.
pub(super) fn listen(listener: TcpListener, kernel: Kernel) -> mpsc::Receiver<Incoming> {
    let (send, received) = mpsc::channel();
    let open = Arc::new(AtomicUsize::new(0));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (Ok(client), Ok(page)) = (stream.peer_addr(), stream.local_addr()) else { continue };
            if !web_browser::is_own(&kernel, client, page) {
                continue;
            }
            if open.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
                open.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let (send, open) = (send.clone(), Arc::clone(&open));
            thread::spawn(move || {
                if let Some(incoming) = read(stream) {
                    // Nobody waits any more: the command is about to end.
                    let _over = send.send(incoming);
                }
                open.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    received
}

/// Reads the head of a GET; anything else is nothing that a browser sends here.
fn read(mut stream: TcpStream) -> Option<Incoming> {
    stream.set_read_timeout(Some(HEAD_TIMEOUT)).ok()?;
    stream.set_write_timeout(Some(HEAD_TIMEOUT)).ok()?;
    let mut head = Zeroizing::new(Vec::with_capacity(MAX_HEAD));
    let mut buffer = Zeroizing::new([0; 4096]);
    loop {
        let length = stream.read(&mut *buffer).ok().filter(|length| *length > 0)?;
        if head.len() + length > MAX_HEAD {
            return None;
        }
        head.extend_from_slice(buffer.get(..length)?);
        let mut lines = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut lines);
        if request.parse(&head).ok()?.is_partial() {
            continue;
        }
        if request.method != Some("GET") {
            return None;
        }
        let target = Zeroizing::new(request.path?.to_owned());
        let value = |name: &str| {
            let header = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(header.value).ok()
        };
        let host = value("host").map(str::to_owned);
        let cookies = value("cookie").unwrap_or_default().split(';');
        let ours = |cookie: &str| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('=').map(Secret::new);
        let cookie = cookies.into_iter().find_map(ours);
        return Some(Incoming { stream, target, host, cookie });
    }
}

impl Incoming {
    /// Sends the browser to the provider, with the cookie that it has to show when it comes back.
    pub(super) fn redirect(&mut self, url: &Secret, cookie: &Secret) {
        let cookie = format!("{COOKIE}={}; HttpOnly; SameSite=Lax; Path=/", cookie.expose());
        let head = format!("HTTP/1.1 302 Found\r\nLocation: {}\r\nSet-Cookie: {cookie}\r\n", url.expose());
        self.send(&Zeroizing::new(head), "");
    }

    /// A page with a title and a sentence.
    pub(super) fn page(&mut self, status: u16, title: &str, sentence: &str) {
        let body = page::page(title, &format!("<p>{}</p>", page::escaped(sentence)));
        let reason = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
        let head = format!("HTTP/1.1 {status} {}\r\n", reason.unwrap_or_default());
        self.send(&head, &body);
    }

    fn send(&mut self, head: &str, body: &str) {
        let (length, policy) = (body.len(), page::policy("'none'"));
        let rest = format!(
            "Content-Type: text/html; charset=utf-8\r\nContent-Length: {length}\r\nCache-Control: no-store\r\n\
             Content-Security-Policy: {policy}\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n"
        );
        // A browser that has gone sees nothing.
        let _gone = self.stream.write_all(Zeroizing::new([head, &rest, body].concat()).as_bytes());
    }
}

/// What a query says, for the daemon. The last value of a parameter counts.
pub(super) fn parameters(query: &str) -> CallbackRequest {
    let decode = |text: &str| {
        let spaced = Zeroizing::new(text.replace('+', " "));
        percent_decode_str(&spaced).decode_utf8().ok().map(|text| Zeroizing::new(text.into_owned()))
    };
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let find = |name: &str| pairs.clone().rfind(|(key, _)| *key == name).and_then(|(_, value)| decode(value));
    let secret = |name: &str| Secret::new(find(name).map(|text| text.as_str().to_owned()).unwrap_or_default());
    let text = |name: &str| find(name).map(|text| text.as_str().to_owned());
    CallbackRequest {
        code: secret("code"),
        state: secret("state"),
        iss: text("iss"),
        error: text("error"),
        error_description: text("error_description"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_brings_back_is_read() {
        let read = parameters("code=a%2Fb&state=s&iss=https%3A%2F%2Flogin&scope=x");
        assert_eq!((read.code.expose(), read.state.expose()), ("a/b", "s"));
        assert_eq!(read.iss.as_deref(), Some("https://login"));
        let read = parameters("error=access_denied&error_description=not+now&state=s");
        assert_eq!(
            (read.error.as_deref(), read.error_description.as_deref()),
            (Some("access_denied"), Some("not now"))
        );
        assert_eq!(read.code.expose(), "");
    }
}
