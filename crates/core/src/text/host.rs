//! What a `Host` header says, judged without a look-up.

use std::net::IpAddr;

/// Whether a `Host` is an address, `localhost` or a name that one `knows`: any other may be the name of another site that has
/// been pointed at this host (DNS rebinding).
pub fn is_harmless_host(host: &str, knows: impl Fn(&str) -> bool) -> bool {
    if host.is_empty() {
        return true;
    }
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        return matches!(address.parse(), Ok(IpAddr::V6(_))) && is_port(port);
    }
    let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
    let name = name.strip_suffix('.').unwrap_or(name);
    is_port(port)
        && (matches!(name.parse(), Ok(IpAddr::V4(_))) || name.eq_ignore_ascii_case("localhost") || knows(name))
}

/// Nothing, or a colon and a number.
fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_known_names_pass_and_other_names_do_not() {
        let knows = |name: &str| name == "known.example.com";
        for host in [
            "",
            "169.254.169.254",
            "169.254.169.254:80",
            "127.0.0.1:25772",
            "[fd00::254]",
            "[::1]:80",
            "localhost",
            "LOCALHOST:1",
            "localhost.",
            "known.example.com:80",
        ] {
            assert!(is_harmless_host(host, knows), "{host}");
        }
        for host in [
            "evil.example.com",
            "169.254.169.254.evil.com",
            "localhost.evil.com",
            "[fd00::254",
            "[x]",
            "::1",
            "127.0.0.1:x",
            "127.1",
            "0x7f000001",
            "[127.0.0.1]",
            "a@127.0.0.1",
            "[::1]x",
            "localhost..",
        ] {
            assert!(!is_harmless_host(host, knows), "{host}");
        }
    }
}
