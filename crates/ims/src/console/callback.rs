//! Where the console may send a browser at the end of a session. Pure.

use http::Uri;

use crate::settings::{Node, Problem, read};

/// An origin and the beginning of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    origin: (String, String, u16),
    path: String,
}

impl Callback {
    /// Reads a URL such as `https://portal.example.com/aws/`.
    pub(super) fn read(node: &Node) -> Result<Self, Problem> {
        let text = read::text(node)?;
        match parse(&text) {
            Some((origin, path)) if !text.contains('?') => Ok(Self { origin, path }),
            _ => read::wrong(node, "a URL such as https://portal.example.com/aws/, without a query,"),
        }
    }

    /// Whether `url` is of this origin, and its path is this one or below it.
    pub fn covers(&self, url: &str) -> bool {
        let Some((origin, path)) = parse(url) else { return false };
        let below = path.strip_prefix(&self.path);
        let whole = |rest: &str| rest.is_empty() || rest.starts_with('/') || self.path.ends_with('/');
        origin == self.origin && below.is_some_and(whole)
    }

    /// As it is written.
    pub(super) fn render(&self) -> String {
        let (scheme, host, port) = &self.origin;
        format!("{scheme}://{host}:{port}{}", self.path)
    }
}

/// Scheme, host and port, and the path. Nothing that a browser may take for another origin or another path than we do:
/// browsers read `\` as `/`, drop tabs, and resolve `..`, also where it is encoded.
/// (<https://url.spec.whatwg.org/#concept-basic-url-parser>)
fn parse(url: &str) -> Option<((String, String, u16), String)> {
    let odd = |c: char| !c.is_ascii_graphic() || "\\\"<>^`{|}#@".contains(c);
    if url.chars().any(odd) {
        return None;
    }
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let usual = match &*scheme {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let host = uri.host().filter(|host| !host.is_empty())?.to_ascii_lowercase();
    let dots = |segment: &str| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".."
    };
    let path = uri.path();
    let lower = path.to_ascii_lowercase();
    if path.split('/').any(dots) || path.contains("//") || lower.contains("%2f") || lower.contains("%5c") {
        return None;
    }
    Some(((scheme, host, uri.port_u16().unwrap_or(usual)), path.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn callback(url: &str) -> Callback {
        let (origin, path) = parse(url).expect(url);
        Callback { origin, path }
    }

    #[test]
    fn only_the_same_origin_and_what_is_below_the_path_is_covered() {
        let allowed = callback("https://portal.example.com/aws");
        for url in [
            "https://portal.example.com/aws",
            "https://PORTAL.example.com:443/aws/",
            "HTTPS://portal.example.com/aws/a/b?c=d",
            "https://portal.example.com/aws?x=https://evil.example/",
        ] {
            assert!(allowed.covers(url), "{url}");
        }
        for url in [
            "http://portal.example.com/aws",
            "https://portal.example.com:8443/aws",
            "https://portal.example.com/",
            "https://portal.example.com/awsevil",
            "https://portal.example.com.evil.example/aws",
            "https://portal.example.com@evil.example/aws",
            "https://evil.example/https://portal.example.com/aws",
            "https://portal.example.com/aws/../evil",
            "https://portal.example.com/aws/%2E%2e/evil",
            "https://portal.example.com/aws/.%2e%2fevil",
            "https://portal.example.com/aws/%5c..%5cevil",
            "https://portal.example.com\\@evil.example/aws",
            "https://portal.example.com/aws\t",
            "https://portal.example.com/aws#x",
            "https:portal.example.com/aws",
            "//portal.example.com/aws",
            "/aws",
            "javascript:alert(1)",
            "data:text/html,x",
            "",
        ] {
            assert!(!allowed.covers(url), "{url}");
        }
        assert!(callback("https://a.example").covers("https://a.example/x"));
        assert!(!callback("https://a.example/x/").covers("https://a.example/x"));
    }

    proptest! {
        #[test]
        fn nothing_else_is_covered(rest in "[.:@/\\\\?#a-z0-9%]{0,20}") {
            let allowed = callback("https://a.example/x/");
            let url = format!("https://a.example{rest}");
            if allowed.covers(&url) {
                prop_assert!(rest.starts_with("/x/") || rest.starts_with(":443/x/"), "{url}");
                prop_assert!(!rest.split('?').next().unwrap_or_default().contains(".."), "{url}");
            }
        }
    }
}
