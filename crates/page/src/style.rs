//! How the page looks, and what its browser is told to do with it.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The style, which is in the page: nothing is loaded.
pub(crate) const STYLE: &str = include_str!("style.css");

/// What a browser may do with the page: apply the style with this SHA-256 in Base64, which a test computes, and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'sha256-99w4kSuWP1j8exHH7Nt5GKjmjFso+a0BPnGo+JTxONQ='; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The headers of every answer.
const HEADERS: [(HeaderName, &str); 8] = [
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

/// Puts them into `headers`.
pub(crate) fn protect(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// What the browser may do with the page.
pub(crate) fn policy() -> HeaderValue {
    HeaderValue::from_static(POLICY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_applies_this_style_and_no_other() {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, STYLE.as_bytes());
        let hash = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest);
        assert!(POLICY.contains(&format!("style-src 'sha256-{hash}';")), "{hash}");
        assert!(!STYLE.contains("@import") && !STYLE.contains("://") && !STYLE.contains('<'), "nothing is loaded");
    }
}
