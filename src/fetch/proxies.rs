//! Which proxy is used for which URL.

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;

use super::Proxy;

/// A proxy for each scheme, and the hosts for which none is used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxies {
    /// For URLs with `http`. The proxy sees the requests.
    pub http: Option<Proxy>,
    /// For URLs with `https`, by CONNECT. The proxy sees nothing but the host's name.
    pub https: Option<Proxy>,
    /// Hosts that are asked directly, as in `NO_PROXY`: a name stands for itself and all names below it, with or
    /// without a leading dot; an address, or a network as `10.0.0.0/8`; `*` for all.
    pub except: Vec<String>,
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
        proxy.filter(|_| !self.excepts(url))
    }

    fn excepts(&self, url: &Uri) -> bool {
        // It knows the rules of `NO_PROXY` and is asked about nothing else, so its proxy may be any.
        let matcher = Matcher::builder().all("http://any.invalid:1").no(self.except.join(",")).build();
        matcher.intercept(url).is_none()
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
    fn names_addresses_and_networks_are_asked_directly() {
        let except = ["example.com", ".corp", "10.0.0.0/8", "192.0.2.7", "fd00::/8"].map(str::to_owned).to_vec();
        let proxies = Proxies { except, ..Proxies::always(proxy("p")) };
        for direct in [
            "https://example.com/",
            "https://EXAMPLE.com/",
            "https://a.b.example.com:8443/",
            "https://vault.corp/",
            "http://10.1.2.3/",
            "http://192.0.2.7:80/",
            "http://[fd00:ec2::254]/",
        ] {
            assert_eq!(used(&proxies, direct), None, "{direct}");
        }
        for through in
            ["https://notexample.com/", "https://sts.amazonaws.com/", "http://192.0.2.8/", "http://[2001:db8::1]/"]
        {
            assert!(used(&proxies, through).is_some(), "{through}");
        }
        let proxies = Proxies { except: vec!["*".into()], ..Proxies::always(proxy("p")) };
        assert_eq!(used(&proxies, "https://any.example/"), None);
    }
}
