//! Where the two services of IAM Identity Center are, by the rules of the AWS SDK.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use aws_sdk_sso::config::endpoint as portal;
use aws_sdk_ssooidc::config::endpoint as oidc;
use aws_smithy_runtime_api::client::endpoint::EndpointFuture;
use oidc::ResolveEndpoint as _;
use portal::ResolveEndpoint as _;

use crate::text::flatten;

/// Where both services are.
pub(super) struct Endpoints {
    /// Gives tokens.
    pub(super) oidc: String,
    /// Gives accounts, roles and credentials.
    pub(super) portal: String,
}

impl Endpoints {
    /// At this one URL.
    pub(super) fn at(url: &str) -> Self {
        let url = url.trim_end_matches('/').to_owned();
        Self { oidc: url.clone(), portal: url }
    }

    /// Those of a region.
    pub(super) fn of(region: &str, fips: bool, dual_stack: bool) -> Result<Self, String> {
        let wrong = |error: &dyn std::error::Error| format!("there is no endpoint in {region}: {}", flatten(error));
        let params = oidc::Params::builder().region(region).use_fips(fips).use_dual_stack(dual_stack).build();
        let oidc = url(oidc::DefaultResolver::new().resolve_endpoint(&params.map_err(|error| wrong(&error))?))?;
        let params = portal::Params::builder().region(region).use_fips(fips).use_dual_stack(dual_stack).build();
        let portal = url(portal::DefaultResolver::new().resolve_endpoint(&params.map_err(|error| wrong(&error))?))?;
        Ok(Self { oidc, portal })
    }
}

/// The rules wait for nothing.
fn url(future: EndpointFuture<'_>) -> Result<String, String> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(endpoint)) => Ok(endpoint.url().trim_end_matches('/').to_owned()),
        Poll::Ready(Err(error)) => Err(flatten(&*error)),
        Poll::Pending => Err("the rules of endpoints do not answer".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_are_where_botocore_looks_for_them() {
        for (region, fips, dual_stack, oidc, portal) in [
            ("eu-west-1", false, false, "oidc.eu-west-1.amazonaws.com", "portal.sso.eu-west-1.amazonaws.com"),
            ("cn-north-1", false, false, "oidc.cn-north-1.amazonaws.com.cn", "portal.sso.cn-north-1.amazonaws.com.cn"),
            ("us-east-1", true, false, "oidc-fips.us-east-1.amazonaws.com", "portal.sso-fips.us-east-1.amazonaws.com"),
            ("us-east-1", false, true, "oidc.us-east-1.api.aws", "portal.sso.us-east-1.api.aws"),
        ] {
            let found = Endpoints::of(region, fips, dual_stack).expect(region);
            assert_eq!(
                (found.oidc, found.portal),
                (format!("https://{oidc}"), format!("https://{portal}")),
                "{region}"
            );
        }
        assert_eq!(Endpoints::at("http://127.0.0.1:1/").oidc, "http://127.0.0.1:1");
    }
}
