//! The standard variables of the SDKs that are honoured for calls to AWS, as data: only `cli` reads them.

use std::path::PathBuf;

/// The environment's settings for calls to AWS. The configuration takes precedence.
/// <https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html>
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment {
    /// `AWS_ENDPOINT_URL_STS`.
    pub endpoint_url_sts: Option<String>,
    /// `AWS_USE_FIPS_ENDPOINT`.
    pub use_fips_endpoint: Option<bool>,
    /// `AWS_USE_DUALSTACK_ENDPOINT`.
    pub use_dualstack_endpoint: Option<bool>,
    /// `AWS_CA_BUNDLE`.
    pub ca_bundle: Option<PathBuf>,
}

impl Environment {
    /// Takes what `variable` says. As with the SDKs an empty variable is none, and a flag is `true` or `false`.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let text = |name| variable(name).filter(|value| !value.is_empty());
        let flag = |name| text(name).and_then(|value| value.to_ascii_lowercase().parse().ok());
        Self {
            endpoint_url_sts: text("AWS_ENDPOINT_URL_STS"),
            use_fips_endpoint: flag("AWS_USE_FIPS_ENDPOINT"),
            use_dualstack_endpoint: flag("AWS_USE_DUALSTACK_ENDPOINT"),
            ca_bundle: text("AWS_CA_BUNDLE").map(PathBuf::from),
        }
    }

    /// The variables that are set, and what they say.
    pub fn in_force(&self) -> Vec<(&'static str, String)> {
        let flag = |flag: Option<bool>| flag.map(|flag| flag.to_string());
        let all = [
            ("AWS_ENDPOINT_URL_STS", self.endpoint_url_sts.clone()),
            ("AWS_USE_FIPS_ENDPOINT", flag(self.use_fips_endpoint)),
            ("AWS_USE_DUALSTACK_ENDPOINT", flag(self.use_dualstack_endpoint)),
            ("AWS_CA_BUNDLE", self.ca_bundle.as_ref().map(|path| path.display().to_string())),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_read_as_the_sdks_read_them() {
        let environment = Environment::read(|name| {
            let value = match name {
                "AWS_ENDPOINT_URL_STS" => "http://127.0.0.1:1",
                "AWS_USE_FIPS_ENDPOINT" => "True",
                "AWS_USE_DUALSTACK_ENDPOINT" => "perhaps",
                _ => "",
            };
            Some(value.to_owned())
        });
        assert_eq!(
            environment.in_force(),
            [("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1".to_owned()), ("AWS_USE_FIPS_ENDPOINT", "true".to_owned())]
        );
    }
}
