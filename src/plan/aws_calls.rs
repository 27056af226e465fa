//! Which endpoint of STS is asked: what the configuration says, and where it says nothing what the environment does.

use super::{Surroundings, kinds::aws_options};
use crate::{
    config,
    source::aws::{Environment, StsSettings},
};

/// An endpoint, and which of AWS's own it is if there is none.
struct Endpoint {
    url: Option<String>,
    fips: bool,
    dual_stack: bool,
}

/// The endpoint that `config` means here.
fn endpoint(config: &config::Aws, environment: &Environment) -> Endpoint {
    let url = config.endpoint.clone().or_else(|| environment.endpoint_url_sts.clone());
    // One that is written down is asked as it is.
    let flag =
        |config: Option<bool>, environment: Option<bool>| url.is_none() && config.or(environment).unwrap_or_default();
    let fips = flag(config.fips, environment.use_fips_endpoint);
    let dual_stack = flag(config.dual_stack, environment.use_dualstack_endpoint);
    Endpoint { url, fips, dual_stack }
}

/// The settings of an STS.
pub(super) fn sts(config: &config::Aws, surroundings: &Surroundings) -> Result<StsSettings, String> {
    let Endpoint { url, fips, dual_stack } = endpoint(config, &surroundings.aws);
    let http = aws_options(config, surroundings)?;
    Ok(StsSettings { region: config.region.clone(), endpoint: url, fips, dual_stack, http })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_goes_before_the_environment() {
        let text =
            "sources:\n  a: {kind: sts, fips: false}\n  b: {kind: sts, endpoint: 'https://b.example'}\nims_host: x\n";
        let loaded = config::parse(vec![("a.yaml".into(), text.to_owned())]).expect("legal");
        let aws = |name| loaded.config.upstreams.sts(Some(name)).clone();
        let environment =
            Environment { use_fips_endpoint: Some(true), use_dualstack_endpoint: Some(true), ..Environment::default() };
        let found = endpoint(&aws("a"), &environment);
        assert!(!found.fips && found.dual_stack && found.url.is_none());
        let found = endpoint(&aws("b"), &environment);
        assert_eq!((found.url.as_deref(), found.fips, found.dual_stack), (Some("https://b.example"), false, false));
        let environment = Environment { endpoint_url_sts: Some("http://127.0.0.1:1".into()), ..environment };
        let found = endpoint(&aws("none, so the default"), &environment);
        assert_eq!((found.url.as_deref(), found.fips), (Some("http://127.0.0.1:1"), false));
    }
}
