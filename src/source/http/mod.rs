//! One HTTP client for all sources: bounded in time and size, through a proxy or not, plain or TLS. It follows no
//! redirect, repeats nothing, and reads no environment.

mod answer;
mod client;
mod connector;
mod proxies;
mod sdk;
mod settings;
mod tls;

pub(crate) use answer::Answer;
pub(crate) use client::{Call, Client};
pub use proxies::Proxies;
pub use sdk::sdk_client;
pub(crate) use settings::parse_url;
pub use settings::{Options, Proxy, SetupError};
