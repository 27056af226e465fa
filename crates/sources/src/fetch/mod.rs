//! The only HTTP client, for upstreams and for all other outgoing calls: bounded in time and size, through a proxy or
//! not, plain or TLS. It follows no redirect, repeats nothing, and reads no environment.

mod answer;
mod bearer;
mod client;
mod connector;
mod direct;
mod imds;
mod json;
mod proxies;
pub mod proxying;
mod renewed;
mod resolver;
mod settings;
mod tls;

pub use answer::Answer;
pub(crate) use bearer::bearer;
pub use client::{Call, Client, Stream};
pub use direct::{Direct, DirectError};
pub use imds::{ImdsClient, ImdsError, TOKEN_PATH};
pub(crate) use json::{required_secret, secret};
pub use proxies::Proxies;
pub use proxying::{ProxyChoice, ProxyVariables, Proxying};
pub use renewed::Renewed;
pub(crate) use resolver::Resolver;
pub use settings::{Options, Proxy, SetupError};
pub use settings::{is_clear_text, parse_url};
pub(crate) use tls::authorities;
pub use tls::{certified_key, client_config, content_faults, end_of, end_of_certificate};

/// Why there is no answer: what was asked, and what came instead. Never has a secret in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FetchError(pub String);
