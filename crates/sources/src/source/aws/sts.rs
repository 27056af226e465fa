//! Chooses the STS endpoint, and holds what all calls to it share.

use aws_sdk_sts::config::{BehaviorVersion, Builder, Config, Region, retry::RetryConfig, timeout::TimeoutConfig};

use super::sdk_client;
use crate::fetch::Options;

/// Which STS is asked, and how.
#[derive(Debug, Clone)]
pub struct StsSettings {
    /// The region whose endpoint is asked, and for which a call is signed.
    pub region: String,
    /// Another endpoint.
    pub endpoint: Option<String>,
    /// The FIPS endpoint.
    pub fips: bool,
    /// The endpoint with IPv4 and IPv6.
    pub dual_stack: bool,
    /// Time-outs, CA and proxy.
    pub http: Options,
}

impl StsSettings {
    /// The SDK's configuration for it.
    pub(crate) fn config(self) -> Builder {
        let mut config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(self.region))
            .use_fips(self.fips)
            .use_dual_stack(self.dual_stack)
            .http_client(sdk_client(self.http))
            // Both are ours: when to ask again is for `refresh` to decide.
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled());
        config.set_endpoint_url(self.endpoint);
        config
    }
}
