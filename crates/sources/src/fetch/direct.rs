//! Hosts that are reached without a proxy: one entry of `no_proxy`.

use std::{fmt, net::IpAddr, str::FromStr};

use http::Uri;
use ipnet::IpNet;

/// One entry, which is known to have a meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Direct {
    written: String,
    hosts: Hosts,
    /// Only this port of them.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    All,
    Network(IpNet),
    /// In lower case. All names below it, too.
    Name(String),
    /// As `*.example.com` in Go: the names below it alone.
    Below(String),
}

/// What is wrong with an entry, and what to write in its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectError {
    /// Nothing, or something that no host has in it.
    #[error("a name, an address, a network such as 10.0.0.0/8, or * is expected, each with or without :port")]
    Form,
    /// `http://…` or a path.
    #[error("a host is expected, not a URL: leave out the scheme and the path")]
    Url,
    /// `127.*`, `a*.example.com`.
    #[error(
        "* stands for all hosts or, as in *.example.com, for all names below one; a network is written as 127.0.0.0/8"
    )]
    Star,
    /// `10.0.0.0/33`, `10.0/8`, `10.0.0.0/8:80`.
    #[error("a network is an address and the number of its bits, such as 10.0.0.0/8 or fd00::/8, without a port")]
    Network,
    /// `10.0.0`, `10.0.0.`, `010.0.0.1`.
    #[error("neither an address nor a name; the beginning of an address is written as a network, such as 10.0.0.0/8")]
    Address,
    /// `x:y`, `x:0`.
    #[error("the port is no number from 1 to 65535; an address of IPv6 with a port is written as [::1]:80")]
    Port,
}

impl Direct {
    /// Whether this entry means the host of `url`.
    pub(super) fn covers(&self, url: &Uri) -> bool {
        let usual = if url.scheme_str() == Some("https") { 443 } else { 80 };
        if self.port.is_some_and(|port| port != url.port_u16().unwrap_or(usual)) {
            return false;
        }
        let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = host.parse::<IpAddr>() {
            return match &self.hosts {
                Hosts::All => true,
                Hosts::Network(network) => network.contains(&address.to_canonical()),
                Hosts::Name(_) | Hosts::Below(_) => false,
            };
        }
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let below = |name: &str| host.strip_suffix(name).is_some_and(|front| front.len() > 1 && front.ends_with('.'));
        match &self.hosts {
            Hosts::All => true,
            Hosts::Network(_) => false,
            Hosts::Name(name) => host == *name || below(name),
            Hosts::Below(name) => below(name),
        }
    }
}

impl FromStr for Direct {
    type Err = DirectError;

    fn from_str(written: &str) -> Result<Self, DirectError> {
        let text = written.trim();
        let entry = |hosts, port| Ok(Self { written: text.to_owned(), hosts, port });
        if text == "*" {
            return entry(Hosts::All, None);
        }
        if text.contains("://") {
            return Err(DirectError::Url);
        }
        if let Some((address, bits)) = text.split_once('/') {
            if address.parse::<IpAddr>().is_err() && bits.parse::<u8>().is_err() {
                return Err(DirectError::Url);
            }
            let network: IpNet = text.parse().map_err(|_| DirectError::Network)?;
            return entry(Hosts::Network(network), None);
        }
        let (host, port) = host_and_port(text)?;
        if let Ok(address) = host.parse::<IpAddr>() {
            return entry(Hosts::Network(address.to_canonical().into()), port);
        }
        let (host, below_alone) = match host.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (host.strip_prefix('.').unwrap_or(host), false),
        };
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        check_name(&name)?;
        entry(if below_alone { Hosts::Below(name) } else { Hosts::Name(name) }, port)
    }
}

/// `host`, `host:port`, `::1`, `[::1]` or `[::1]:port`.
fn host_and_port(text: &str) -> Result<(&str, Option<u16>), DirectError> {
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Some(port)),
        _ => Err(DirectError::Port),
    };
    if let Some(rest) = text.strip_prefix('[') {
        let (address, behind) = rest.split_once(']').ok_or(DirectError::Form)?;
        if !address.contains(':') || address.parse::<IpAddr>().is_err() {
            return Err(DirectError::Form);
        }
        return match behind.strip_prefix(':') {
            Some(text) => Ok((address, port(text)?)),
            None if behind.is_empty() => Ok((address, None)),
            None => Err(DirectError::Form),
        };
    }
    match text.split_once(':') {
        Some(_) if text.parse::<IpAddr>().is_ok() => Ok((text, None)),
        Some((host, text)) => Ok((host, port(text)?)),
        None => Ok((text, None)),
    }
}

fn check_name(name: &str) -> Result<(), DirectError> {
    if name.contains('*') {
        return Err(DirectError::Star);
    }
    let legal = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if !name.split('.').all(legal) {
        return Err(DirectError::Form);
    }
    // No name ends with a number (RFC 1123), so it is a part of an address.
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) { Err(DirectError::Address) } else { Ok(()) }
}

impl fmt::Display for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(entry: &str, url: &str) -> bool {
        entry.parse::<Direct>().expect(entry).covers(&url.parse().expect(url))
    }

    #[test]
    fn each_form_means_what_it_means_to_curl_or_go() {
        for (entry, direct, through) in [
            ("*", &["http://x/", "https://[::1]/"][..], &[][..]),
            (
                "example.com",
                &["http://example.com/", "https://EXAMPLE.com./", "http://a.b.example.com:81/"],
                &["http://notexample.com/", "http://example.org/"],
            ),
            (".example.com", &["http://example.com/", "http://a.example.com/"], &["http://notexample.com/"]),
            ("example.com.", &["http://example.com/", "http://a.example.com/"], &["http://x/"]),
            (
                "*.example.com",
                &["http://a.example.com/", "http://a.b.example.com/"],
                &["http://example.com/", "http://notexample.com/"],
            ),
            (
                "Example.COM:8443",
                &["https://example.com:8443/", "https://a.example.com:8443/"],
                &["https://example.com/"],
            ),
            ("example.com:443", &["https://example.com/"], &["http://example.com/"]),
            ("*.x.y:80", &["http://a.x.y/"], &["http://a.x.y:81/", "http://x.y/"]),
            ("192.0.2.7", &["http://192.0.2.7/", "http://192.0.2.7:81/"], &["http://192.0.2.8/", "http://7/"]),
            ("192.0.2.7:81", &["http://192.0.2.7:81/"], &["http://192.0.2.7/"]),
            ("::1", &["http://[::1]/"], &["http://[::2]/"]),
            ("[::1]", &["http://[::1]/", "http://[::1]:81/"], &["http://[::2]/"]),
            ("[::1]:81", &["http://[::1]:81/"], &["http://[::1]/"]),
            ("::ffff:192.0.2.7", &["http://192.0.2.7/"], &["http://192.0.2.8/"]),
            ("10.0.0.0/8", &["http://10.1.2.3/"], &["http://11.0.0.1/", "http://ten/"]),
            ("10.1.2.3/8", &["http://10.9.9.9/"], &["http://11.0.0.1/"]),
            ("fd00::/8", &["http://[fd00:ec2::254]/"], &["http://[2001:db8::1]/"]),
            ("my_host", &["http://my_host/"], &["http://myhost/"]),
        ] {
            for url in direct {
                assert!(covers(entry, url), "{entry} means {url}");
            }
            for url in through {
                assert!(!covers(entry, url), "{entry} does not mean {url}");
            }
        }
    }

    #[test]
    fn what_would_do_nothing_is_refused() {
        for (entry, error) in [
            ("", DirectError::Form),
            (" ", DirectError::Form),
            (".", DirectError::Form),
            ("a..b", DirectError::Form),
            ("a b", DirectError::Form),
            ("<local>", DirectError::Form),
            ("müller.de", DirectError::Form),
            ("[::1", DirectError::Form),
            ("[a]", DirectError::Form),
            ("[::1]x", DirectError::Form),
            ("http://example.com", DirectError::Url),
            ("example.com/x", DirectError::Url),
            ("127.*", DirectError::Star),
            ("*.*", DirectError::Star),
            ("*example.com", DirectError::Star),
            ("a*.example.com", DirectError::Star),
            ("10.0.0.0/33", DirectError::Network),
            ("fd00::/129", DirectError::Network),
            ("10.0/8", DirectError::Network),
            ("10.0.0.0/8:80", DirectError::Network),
            ("10.0.0.0/255.0.0.0", DirectError::Network),
            ("10.0.0", DirectError::Address),
            ("10.0.0.", DirectError::Address),
            ("010.0.0.1", DirectError::Address),
            ("x:", DirectError::Port),
            ("x:0", DirectError::Port),
            ("x:+1", DirectError::Port),
            ("x:65536", DirectError::Port),
            ("x:http", DirectError::Port),
        ] {
            assert_eq!(entry.parse::<Direct>(), Err(error), "{entry}");
        }
    }
}
