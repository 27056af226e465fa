//! Refuses requests regardless of their path: those that a proxy passed on, that a web page
//! made a browser send, or that name a host which may be a rebound DNS name.

use super::request::Request;
use crate::text::is_harmless_host;

/// The names by which containers of Docker and Podman find their host. Names below `.internal` cannot be registered, but a
/// hostile resolver could answer for it to a browser of this host: so they are for containers alone.
const CONTAINER_HOSTS: [&str; 2] = ["host.docker.internal", "host.containers.internal"];

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A proxy or an open relay is being used to reach us.
    Forwarded,
    /// It comes from a web page.
    WebPage,
    /// Its `Host` is a name that an attacker may have pointed at us (DNS rebinding).
    Host,
}

/// Whether a request may be one that only a container may send: it has such a name in its `Host`, or in a target in
/// absolute form.
pub(crate) fn is_for_containers(request: &Request) -> bool {
    let target = Some(request.target.as_bytes()).filter(|target| !target.starts_with(b"/"));
    let has = |text: &[u8], name: &str| text.windows(name.len()).any(|part| part.eq_ignore_ascii_case(name.as_bytes()));
    request.host.into_iter().chain(target).any(|text| CONTAINER_HOSTS.iter().any(|name| has(text, name)))
}

/// Whether `name` is one by which a container finds its host.
pub(crate) fn is_container_host(name: &str) -> bool {
    CONTAINER_HOSTS.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Judges a request. `authority` is that of a target in absolute form, which outranks `Host`
/// (RFC 9112, section 3.2.2). `knows`: whether a host may have that name, in addition to IP literals and `localhost`.
/// `in_container`: whether it is a container's.
pub(crate) fn judge(
    request: &Request,
    authority: Option<&str>,
    knows: impl Fn(&str) -> bool,
    in_container: bool,
) -> Result<(), Refusal> {
    if request.forwarded {
        return Err(Refusal::Forwarded);
    }
    if request.from_web_page {
        return Err(Refusal::WebPage);
    }
    let host = match (authority, request.host) {
        (Some(authority), _) => authority,
        (None, Some(host)) => std::str::from_utf8(host).map_err(|_| Refusal::Host)?,
        // HTTP/1.0 and hand-made requests; no browser leaves it out.
        (None, None) => return Ok(()),
    };
    let known = is_harmless_host(host, |name| (in_container && is_container_host(name)) || knows(name));
    if known { Ok(()) } else { Err(Refusal::Host) }
}

#[cfg(test)]
mod tests {
    use super::{
        super::request::{Parsed, parse},
        *,
    };

    #[test]
    fn the_names_of_a_containers_host_are_for_containers() {
        for host in ["host.docker.internal", "HOST.containers.internal.:80"] {
            let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let Parsed::Whole(request, _) = parse(head.as_bytes(), &[""; 2], &[]) else { panic!("{head}") };
            assert_eq!(judge(&request, None, |_| false, true), Ok(()), "{host}");
            assert_eq!(judge(&request, None, |_| false, false), Err(Refusal::Host), "{host}");
            assert_eq!(judge(&request, None, is_container_host, false), Ok(()), "{host}");
        }
        for (head, expected) in [
            ("GET / HTTP/1.1\r\nHost: Host.Docker.Internal:80\r\n\r\n", true),
            ("GET http://host.containers.internal/ HTTP/1.1\r\nHost: x\r\n\r\n", true),
            ("GET /host.containers.internal HTTP/1.1\r\nHost: x\r\n\r\n", false),
            ("GET / HTTP/1.1\r\n\r\n", false),
        ] {
            let Parsed::Whole(request, _) = parse(head.as_bytes(), &[""; 2], &[]) else { panic!("{head}") };
            assert_eq!(is_for_containers(&request), expected, "{head}");
        }
    }
}
