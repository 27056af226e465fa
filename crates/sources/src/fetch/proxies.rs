//! Chooses the proxy for a URL.

use http::Uri;

use super::{Direct, Proxy};

/// A proxy for each scheme, and the hosts for which none is used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxies {
    /// For URLs with `http`. The proxy sees the requests.
    pub http: Option<Proxy>,
    /// For URLs with `https`, by CONNECT. The proxy sees nothing but the host's name.
    pub https: Option<Proxy>,
    /// Hosts that are asked directly.
    pub except: Vec<Direct>,
}

impl Proxies {
    /// No proxy at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// This one for every URL.
    pub fn always(proxy: Proxy) -> Self {
        Self { http: Some(proxy.clone()), https: Some(proxy), except: Vec::new() }
    }

    /// The proxy for `url`, if it needs one.
    pub fn for_url(&self, url: &Uri) -> Option<&Proxy> {
        let proxy = match url.scheme_str() {
            Some("https") => self.https.as_ref(),
            _ => self.http.as_ref(),
        };
        proxy.filter(|_| !self.except.iter().any(|direct| direct.covers(url)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(host: &str) -> Proxy {
        Proxy { url: format!("http://{host}:3128"), credentials: None }
    }

    fn used(proxies: &Proxies, url: &str) -> Option<String> {
        proxies.for_url(&url.parse().expect("a URL")).map(|proxy| proxy.url.clone())
    }

    #[test]
    fn each_scheme_has_its_proxy() {
        let proxies = Proxies { http: Some(proxy("plain")), https: None, except: Vec::new() };
        assert_eq!(used(&proxies, "http://x/").as_deref(), Some("http://plain:3128"));
        assert_eq!(used(&proxies, "https://x/"), None);
        let proxies = Proxies::always(proxy("p"));
        assert_eq!(used(&proxies, "https://x/"), used(&proxies, "http://x/"));
        assert_eq!(used(&Proxies::none(), "https://x/"), None);
    }

    #[test]
    fn what_is_excepted_is_asked_directly() {
        let except = [".corp", "10.0.0.0/8"].map(|entry| entry.parse().expect("legal")).to_vec();
        let proxies = Proxies { except, ..Proxies::always(proxy("p")) };
        assert_eq!((used(&proxies, "https://vault.corp/"), used(&proxies, "http://10.1.2.3/")), (None, None));
        assert!(used(&proxies, "https://sts.amazonaws.com/").is_some());
    }
}
