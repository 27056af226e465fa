//! One HTTP/1 request head, from bytes to what the faces need of it. Pure.

use std::mem::MaybeUninit;

/// The longest head that is accepted. botocore's and Java's user agents run to 300 bytes, and a
/// session token in a header to 4 KiB; 8 KiB must pass (`docs/conformance.md`, case 62).
pub const MAX_HEAD: usize = 16 * 1024;
/// The most header lines that are accepted.
const MAX_HEADERS: usize = 64;
/// How many headers only one protocol may have.
pub const OWN_HEADERS: usize = 2;
/// The longest body that is read and thrown away; nothing that we serve takes one.
const MAX_BODY: u64 = 64 * 1024;

/// What there is in the buffer.
#[derive(Debug)]
pub enum Parsed<'a> {
    /// Not yet a whole head.
    Partial,
    /// A request, and how many bytes its head takes.
    Whole(Request<'a>, usize),
    /// Not HTTP/1, or not acceptable: 400.
    Malformed,
    /// More than [`MAX_HEAD`] bytes or too many lines: 431.
    TooLarge,
}

/// What the faces need of a request.
#[derive(Debug, Default)]
pub struct Request<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// The request target, as sent: origin form, or absolute form from a client behind a proxy.
    pub target: &'a str,
    /// Whether the connection may serve another request afterwards.
    pub keep_alive: bool,
    /// HTTP/1.0 when false.
    pub http11: bool,
    /// How many bytes of body follow; `None` if that is unknown or too much to read.
    pub body: Option<u64>,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// `Host`.
    pub host: Option<&'a [u8]>,
    /// The headers that only the protocol of the face has.
    pub own: [Option<&'a [u8]>; OWN_HEADERS],
    /// Whether it has a header of another protocol, which may be secret.
    pub foreign: bool,
    /// `Authorization`, as sent.
    pub authorization: Option<&'a [u8]>,
    /// `User-Agent`, for the log.
    pub user_agent: Option<&'a [u8]>,
    /// Whether some proxy has passed the request on (`Via`, `Forwarded`, `X-Forwarded-*`, `X-Real-IP`, `Proxy-*`).
    pub forwarded: bool,
    /// Whether a web page made a browser send it (`Origin`, `Referer`, any `Sec-*` but for a person who types the address).
    pub from_web_page: bool,
    /// `X-Alppaca-Probe`: the client asks whether alppaca answers here.
    pub probe: bool,
}

/// Reads a head from the beginning of `buffer`. `own` are the names of the headers that only the protocol has; `all` those of
/// all protocols, none of which may have two values.
pub fn parse<'a>(buffer: &'a [u8], own: &[&str; OWN_HEADERS], all: &[&str]) -> Parsed<'a> {
    // Not initialised: most requests have a few lines.
    let mut lines = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut []);
    match head.parse_with_uninit_headers(buffer, &mut lines) {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => match read(&head, own, all) {
            Some(request) => Parsed::Whole(request, length),
            None => Parsed::Malformed,
        },
        Ok(httparse::Status::Partial) if buffer.len() < MAX_HEAD => Parsed::Partial,
        Ok(_) | Err(httparse::Error::TooManyHeaders) => Parsed::TooLarge,
        Err(_) => Parsed::Malformed,
    }
}

/// `None` if the head contradicts itself.
fn read<'a>(head: &httparse::Request<'_, 'a>, own: &[&str; OWN_HEADERS], all: &[&str]) -> Option<Request<'a>> {
    let http11 = head.version? == 1;
    let mut request = Request { method: head.method?, target: head.path?, http11, body: Some(0), ..Request::default() };
    let mut length = None;
    let mut chunked = false;
    let (mut close, mut keep_alive) = (false, false);
    let (mut browser, mut typed) = (false, false);
    for line in head.headers.iter() {
        let name = line.name.as_bytes();
        let value = line.value;
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        // By length first: a comparison each would cost more than the rest of the request.
        match name.len() {
            4 if is("host") => set_once(&mut request.host, value)?,
            6 if is("origin") => request.from_web_page = true,
            6 if is("expect") => request.expects_continue = value.eq_ignore_ascii_case(b"100-continue"),
            7 if is("referer") => request.from_web_page = true,
            10 if is("connection") => {
                close |= lists(value, "close");
                keep_alive |= lists(value, "keep-alive");
            }
            10 if is("user-agent") => request.user_agent = Some(value),
            13 if is("authorization") => set_once(&mut request.authorization, value)?,
            // `none` is a person typing the address.
            14 if is("sec-fetch-site") && value == b"none" => typed = true,
            14 if is("content-length") => set_once(&mut length, value)?,
            15 if is("x-alppaca-probe") => request.probe = true,
            17 if is("transfer-encoding") => chunked = true,
            _ => match request.own.iter_mut().zip(own).find(|(_, own)| is(own)) {
                Some((own, _)) => set_once(own, value)?,
                None if all.iter().any(|foreign| is(foreign)) => {
                    request.foreign = true;
                    is_single(head, name, value).then_some(())?;
                }
                None => {
                    browser |= begins(name, "sec-");
                    request.forwarded |= is_of_a_proxy(name);
                }
            },
        }
    }
    request.from_web_page |= browser && !typed;
    request.keep_alive = !close && (http11 || keep_alive);
    if let Some(value) = length {
        let digits = Some(value).filter(|v| !v.is_empty() && v.iter().all(u8::is_ascii_digit))?;
        let length = std::str::from_utf8(digits).ok()?.parse().ok();
        request.body = length.filter(|length| *length <= MAX_BODY);
    }
    if chunked {
        request.body = None;
    }
    if request.body.is_none() {
        request.keep_alive = false;
    }
    Some(request)
}

/// A header that may come only once: two that differ are an attack or a defect.
fn set_once<'a>(place: &mut Option<&'a [u8]>, value: &'a [u8]) -> Option<()> {
    match place.replace(value) {
        Some(earlier) if earlier != value => None,
        _ => Some(()),
    }
}

/// Whether a header of this name and value has no line with another value.
fn is_single(head: &httparse::Request, name: &[u8], value: &[u8]) -> bool {
    let same = |line: &httparse::Header| line.name.as_bytes().eq_ignore_ascii_case(name);
    head.headers.iter().filter(|line| same(line)).all(|line| line.value == value)
}

/// Whether the elements of a list have this word among them.
fn lists(value: &[u8], wanted: &str) -> bool {
    value.split(|b| *b == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()))
}

fn begins(name: &[u8], prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
}

/// Whether the header is one that proxies add, or that is meant for them. No SDK sends one.
fn is_of_a_proxy(name: &[u8]) -> bool {
    let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
    match name.first().map(u8::to_ascii_lowercase) {
        Some(b'v') => is("via"),
        Some(b'f') => is("forwarded"),
        Some(b'p') => begins(name, "proxy-"),
        Some(b'x') => is("x-real-ip") || begins(name, "x-forwarded-"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OWN: [&str; OWN_HEADERS] = ["x-token", "x-token-ttl"];
    const ALL: [&str; 3] = ["x-token", "x-token-ttl", "x-other"];

    fn whole(text: &str) -> Request<'_> {
        match parse(text.as_bytes(), &OWN, &ALL) {
            Parsed::Whole(request, length) if length == text.len() => request,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn header_names_match_in_any_case() {
        let request = whole(
            "PUT /latest/api/token HTTP/1.1\r\nHOST: h\r\nX-Token-TTL: 21600\r\n\
             x-TOKEN: T\r\nContent-Length: 0\r\n\r\n",
        );
        assert_eq!(request.method, "PUT");
        assert_eq!(request.host, Some(&b"h"[..]));
        assert_eq!(request.own, [Some(&b"T"[..]), Some(&b"21600"[..])]);
        assert_eq!(request.body, Some(0));
    }

    #[test]
    fn keep_alive_follows_version_and_connection_header() {
        for (version, header, expected) in [
            ("1.1", "", true),
            ("1.1", "Connection: close\r\n", false),
            ("1.1", "Connection: TE, Close\r\n", false),
            ("1.0", "", false),
            ("1.0", "Connection: Keep-Alive\r\n", true),
            ("1.1", "Connection: close\r\nConnection: keep-alive\r\n", false),
            ("1.0", "Connection: TE\r\nConnection: keep-alive\r\n", true),
        ] {
            let text = format!("GET / HTTP/{version}\r\n{header}\r\n");
            assert_eq!(whole(&text).keep_alive, expected, "{text}");
        }
    }

    #[test]
    fn what_proxies_and_browsers_add_is_noticed() {
        for (header, forwarded, from_web_page) in [
            ("Via: 1.1 proxy", true, false),
            ("FORWARDED: for=192.0.2.1", true, false),
            ("X-Real-IP: 192.0.2.1", true, false),
            ("X-Forwarded-For: ", true, false),
            ("x-forwarded-host: example.org", true, false),
            ("Proxy-Connection: keep-alive", true, false),
            ("Proxy-Authorization: Basic x", true, false),
            ("X-Forwarded: not a known header", false, false),
            ("Viable: yes", false, false),
            ("Sec-Fetch-Site: cross-site", false, true),
            ("Sec-Fetch-Site: none", false, false),
            ("Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate", false, false),
            ("Sec-Fetch-Mode: no-cors", false, true),
            ("sec-fetch-dest: image", false, true),
            ("Sec-WebSocket-Key: x", false, true),
            ("Origin: null\r\nSec-Fetch-Site: none", false, true),
            ("Second: x", false, false),
        ] {
            let text = format!("GET / HTTP/1.1\r\n{header}\r\n\r\n");
            let request = whole(&text);
            assert_eq!((request.forwarded, request.from_web_page), (forwarded, from_web_page), "{header}");
        }
    }

    #[test]
    fn a_body_that_cannot_be_measured_ends_the_connection() {
        for header in ["Transfer-Encoding: chunked", "Content-Length: 99999999", "Content-Length: 99999999999999999999"]
        {
            let text = format!("PUT / HTTP/1.1\r\n{header}\r\n\r\n");
            let request = whole(&text);
            assert_eq!((request.body, request.keep_alive), (None, false), "{header}");
        }
    }

    #[test]
    fn contradictions_and_garbage_are_malformed() {
        for text in [
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nX-Token: a\r\nX-Token: b\r\n\r\n",
            "GET / HTTP/1.1\r\nX-Other: a\r\nX-Token: a\r\nx-OTHER: b\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: \r\n\r\n",
            "GET /\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "\x16\x03\x01\x02\0\x01\0\x01",
            "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        ] {
            assert!(matches!(parse(text.as_bytes(), &OWN, &ALL), Parsed::Malformed), "{text:?}");
        }
    }

    #[test]
    fn the_headers_of_other_protocols_are_noticed() {
        for (header, foreign) in [("X-Other: a\r\nX-Other: a", true), ("X-Token: a", false), ("X-Others: a", false)] {
            assert_eq!(whole(&format!("GET / HTTP/1.1\r\n{header}\r\n\r\n")).foreign, foreign, "{header}");
        }
    }

    #[test]
    fn heads_are_bounded_in_bytes_and_lines() {
        let long = |value: usize| format!("GET / HTTP/1.1\r\nUser-Agent: {}\r\n\r\n", "x".repeat(value));
        assert!(matches!(parse(long(8192).as_bytes(), &OWN, &ALL), Parsed::Whole(..)));
        assert!(matches!(parse(long(MAX_HEAD).as_bytes(), &OWN, &ALL), Parsed::TooLarge));
        assert!(matches!(parse(&long(MAX_HEAD).as_bytes()[..MAX_HEAD], &OWN, &ALL), Parsed::TooLarge));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MAX_HEADERS + 1));
        assert!(matches!(parse(many.as_bytes(), &OWN, &ALL), Parsed::TooLarge));
        assert!(matches!(parse(b"GET / HT", &OWN, &ALL), Parsed::Partial));
        assert!(matches!(parse(b"", &OWN, &ALL), Parsed::Partial));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes, &OWN, &ALL);
        }
    }
}
