//! Who gets the page. Pure. It has no secrets, but names of roles and hosts: no other site that a browser shows may read it,
//! whatever name it has for this host, nor anybody to whom a proxy passes it on unasked.

use http::{HeaderMap, Method, header, request::Parts};

use crate::text::is_harmless_host;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its `Host` is a name that may be another site's.
    Host,
    /// Another site makes the browser ask.
    Site,
    /// A proxy passes it on, and no setting says that one does.
    Forwarded,
    /// It wants to do something.
    Method,
    /// There is nothing there.
    Path,
}

impl Refusal {
    /// The status, and what a person reads.
    pub(crate) fn answer(self) -> (http::StatusCode, &'static str) {
        use http::StatusCode;
        match self {
            Self::Host => (
                StatusCode::FORBIDDEN,
                "This page is shown under an address, such as 127.0.0.1, or localhost. Another name has to be in \
                 status_page.hosts of the configuration.",
            ),
            Self::Site => (
                StatusCode::FORBIDDEN,
                "Another page has led the browser here. Type the address of this page yourself, or use a bookmark.",
            ),
            Self::Forwarded => (
                StatusCode::FORBIDDEN,
                "A proxy has passed this request on. The name by which the proxy is known has to be in status_page.hosts of \
                 the configuration.",
            ),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "This page can only be read."),
            Self::Path => (StatusCode::NOT_FOUND, "There is one page here, at /."),
        }
    }
}

/// How the page is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// It is read again by itself.
    Refreshing,
    /// It stays as it is.
    Still,
}

/// Judges a request. `hosts`: names, beside addresses and `localhost`, under which the page is shown.
pub(crate) fn judge(request: &Parts, hosts: &[String]) -> Result<Wanted, Refusal> {
    let headers = &request.headers;
    let knows = |name: &str| hosts.iter().any(|host| host.eq_ignore_ascii_case(name));
    let named = headers.get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or("?"));
    let target = request.uri.authority().map(http::uri::Authority::as_str);
    if named.chain(target).any(|host| !is_harmless_host(host, knows))
        || headers.get_all(header::HOST).iter().count() > 1
    {
        return Err(Refusal::Host);
    }
    if is_of_another_site(headers) {
        return Err(Refusal::Site);
    }
    let forwarded = ["forwarded", "x-forwarded-for", "via"].iter().any(|name| headers.contains_key(*name));
    if forwarded && hosts.is_empty() {
        return Err(Refusal::Forwarded);
    }
    if request.method != Method::GET {
        return Err(Refusal::Method);
    }
    match (request.uri.path(), request.uri.query()) {
        ("/", Some("refresh=0")) => Ok(Wanted::Still),
        ("/", None) => Ok(Wanted::Refreshing),
        _ => Err(Refusal::Path),
    }
}

/// A browser says where a request comes from: from nowhere if a person has typed the address, and from the page itself if that
/// is read again. An `Origin` has a script of another site, whose browser may be too old to say more.
fn is_of_another_site(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(http::HeaderValue::as_bytes);
    headers.contains_key(header::ORIGIN) || site.is_some_and(|site| site != b"none" && site != b"same-origin")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(line: &str, headers: &[(&str, &str)], hosts: &[&str]) -> Result<Wanted, Refusal> {
        let (method, target) = line.split_once(' ').expect("both");
        let mut request = http::Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        judge(&request.body(()).expect("a request").into_parts().0, &hosts)
    }

    #[test]
    fn a_person_gets_it_and_other_sites_do_not() {
        const PROXY: &[&str] = &["status.example.com"];
        for (line, headers, hosts, expected) in [
            ("GET /", &[("host", "127.0.0.1:9311")][..], &[][..], Ok(Wanted::Refreshing)),
            ("GET /?refresh=0", &[("host", "localhost"), ("sec-fetch-site", "none")], &[], Ok(Wanted::Still)),
            ("GET /", &[("host", "[::1]:1"), ("sec-fetch-site", "same-origin")], &[], Ok(Wanted::Refreshing)),
            ("GET /", &[], &[], Ok(Wanted::Refreshing)),
            ("GET /", &[("host", "evil.example.com")], &[], Err(Refusal::Host)),
            ("GET http://evil.example.com/", &[("host", "localhost")], &[], Err(Refusal::Host)),
            ("GET /", &[("host", "localhost"), ("host", "localhost")], &[], Err(Refusal::Host)),
            ("GET /", &[("host", "Status.example.com")], PROXY, Ok(Wanted::Refreshing)),
            ("GET /", &[("host", "localhost"), ("sec-fetch-site", "cross-site")], &[], Err(Refusal::Site)),
            ("GET /", &[("host", "localhost"), ("sec-fetch-site", "same-site")], PROXY, Err(Refusal::Site)),
            ("GET /", &[("host", "localhost"), ("origin", "http://localhost")], &[], Err(Refusal::Site)),
            ("GET /", &[("host", "localhost"), ("x-forwarded-for", "10.0.0.1")], &[], Err(Refusal::Forwarded)),
            ("GET /", &[("host", "localhost"), ("via", "1.1 x")], &[], Err(Refusal::Forwarded)),
            ("GET /", &[("host", "status.example.com"), ("forwarded", "for=x")], PROXY, Ok(Wanted::Refreshing)),
            ("POST /", &[("host", "localhost")], &[], Err(Refusal::Method)),
            ("HEAD /", &[("host", "localhost")], &[], Err(Refusal::Method)),
            ("GET /favicon.ico", &[("host", "localhost")], &[], Err(Refusal::Path)),
            ("GET /?refresh=1", &[("host", "localhost")], &[], Err(Refusal::Path)),
            ("GET /?x", &[("host", "localhost")], &[], Err(Refusal::Path)),
        ] {
            assert_eq!(judged(line, headers, hosts), expected, "{line} {headers:?}");
        }
    }
}
