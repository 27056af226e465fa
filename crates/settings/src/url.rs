//! What is a URL.

use http::Uri;

/// Whether it is a URL with `http` or `https` and a host.
pub fn is_web_url(text: &str) -> bool {
    web_url(text).is_some()
}

/// The same, but with neither a user nor a query: paths can be added to it.
pub fn is_base_url(text: &str) -> bool {
    web_url(text).is_some_and(|url| url.query().is_none() && !has_user(&url))
}

/// The form of a URL of the web.
pub const WEB_URL: &str = "^[Hh][Tt][Tt][Pp][Ss]?://";

/// Whether nobody on the way can read or change what is asked there: it has `https`, or is on this host.
pub fn is_confidential_url(text: &str) -> bool {
    let Some(url) = web_url(text).filter(|url| !has_user(url)) else { return false };
    url.scheme_str() == Some("https") || url.host().is_some_and(is_loopback)
}

/// Whether a host of a URL is this one.
pub fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    host == "localhost" || address.is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

fn has_user(url: &Uri) -> bool {
    url.authority().is_some_and(|authority| authority.as_str().contains('@'))
}

fn web_url(text: &str) -> Option<Uri> {
    let fine = |url: &Uri| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some();
    text.parse().ok().filter(fine)
}
