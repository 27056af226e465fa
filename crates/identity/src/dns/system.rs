//! The name service of the host.

use std::net::{IpAddr, SocketAddr};

use dns_lookup::{AddrInfoHints, LookupErrorKind, SockType, getaddrinfo, getnameinfo};

use super::{LookupError, Resolve};

/// `NI_NAMEREQD` of Linux: an address without a name is an error, not a name.
const NAME_REQUIRED: i32 = 8;

/// The name service of the host: its files, NSS and DNS.
pub struct System;

impl Resolve for System {
    fn name(&self, address: IpAddr) -> Result<String, LookupError> {
        getnameinfo(&SocketAddr::new(address, 0), NAME_REQUIRED).map(|(name, _service)| name).map_err(failure)
    }

    fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        let hints = AddrInfoHints { socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
        let found = getaddrinfo(Some(name), None, Some(hints)).map_err(failure)?;
        found
            .map(|entry| entry.map(|entry| entry.sockaddr.ip()))
            .collect::<Result<_, _>>()
            .map_err(|error| LookupError::Failed(error.to_string()))
    }
}

fn failure(error: dns_lookup::LookupError) -> LookupError {
    match error.kind() {
        LookupErrorKind::NoName | LookupErrorKind::NoData => LookupError::NotFound,
        _ => LookupError::Failed(std::io::Error::from(error).to_string()),
    }
}
