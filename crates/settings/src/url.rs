//! What is a URL.

use http::Uri;

/// Whether it is a URL with `http` or `https` and a host.
pub fn is_web_url(text: &str) -> bool {
    web_url(text).is_some()
}

/// The same, but with neither a user nor a query: paths can be added to it.
pub fn is_base_url(text: &str) -> bool {
    let has_user = |url: &Uri| url.authority().is_some_and(|authority| authority.as_str().contains('@'));
    web_url(text).is_some_and(|url| url.query().is_none() && !has_user(&url))
}

fn web_url(text: &str) -> Option<Uri> {
    let fine = |url: &Uri| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some();
    text.parse().ok().filter(fine)
}
