//! Calls to upstreams as spans for an OpenTelemetry collector, by OTLP over HTTP. Built in with the feature `otel` only.
//!
//! `span`: what is said of a call, `otlp`: the messages, `target`: where they go (all pure); `exporter`: sends them.

mod exporter;
mod otlp;
mod span;
mod target;

use alppaca_core::{clock, credentials, text};
use alppaca_refresh as refresh;
use alppaca_settings as settings;
use alppaca_sources::fetch;

pub use exporter::follower;
pub use target::Target;
