//! Where spans go: what `traces_endpoint` says, and the standard variables of OpenTelemetry. Pure.
//!
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>

use std::path::PathBuf;

use http::HeaderName;
use percent_encoding::percent_decode_str;

use crate::{credentials::Secret, settings::url::is_base_url};

/// Where a collector usually listens.
const USUAL: &str = "http://localhost:4318";
/// What is added to the URL of a collector.
const PATH: &str = "/v1/traces";

/// Where spans are sent, and what is said with them.
#[derive(Debug, Clone)]
pub struct Target {
    /// The URL of the spans: `http://127.0.0.1:4318/v1/traces`.
    pub url: String,
    /// What describes this process: `service.name` and others.
    pub(crate) resource: Vec<(String, String)>,
    /// Further headers, such as one with a key.
    pub(crate) headers: Vec<(HeaderName, Secret)>,
    /// Further certificate authorities, PEM.
    pub(crate) ca_file: Option<PathBuf>,
}

impl Target {
    /// The target at `endpoint`, or where the environment says; `None` if the environment turns traces off. `variable` gives
    /// the value of a variable that is set and not empty.
    pub fn read<'a>(
        endpoint: Option<&str>,
        variable: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Option<Self>, String> {
        // What is said of traces takes precedence over what is said of everything.
        let of_exporter = |name: &str| {
            let names = ["TRACES_", ""].map(|kind| format!("OTEL_EXPORTER_OTLP_{kind}{name}"));
            names.into_iter().find_map(|name| variable(&name).map(|value| (name, value)))
        };
        let is_off = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || variable("OTEL_TRACES_EXPORTER") == Some("none");
        if is_off {
            return Ok(None);
        }
        let (said_by, url) = match endpoint {
            Some(base) => ("traces_endpoint".to_owned(), below(base)),
            None => {
                let protocol = of_exporter("PROTOCOL").filter(|(_, protocol)| *protocol != "http/protobuf");
                if let Some((name, protocol)) = protocol {
                    return Err(format!("{name}: {protocol:?} is not supported, only http/protobuf"));
                }
                match of_exporter("ENDPOINT") {
                    // This one is the whole URL.
                    Some((name, url)) if name.contains("TRACES") => (name, url.to_owned()),
                    Some((name, base)) => (name, below(base)),
                    None => (String::new(), below(USUAL)),
                }
            }
        };
        if !is_base_url(&url) {
            return Err(format!("{said_by}: a URL with http or https, a host and neither user nor query is expected"));
        }
        let ca_file = of_exporter("CERTIFICATE").map(|(_, path)| PathBuf::from(path));
        let headers = of_exporter("HEADERS").map(|(name, text)| headers(&name, text)).transpose()?.unwrap_or_default();
        Ok(Some(Self { url, resource: resource(variable)?, headers, ca_file }))
    }

    /// Whether headers are sent, such as one with a key.
    pub fn has_headers(&self) -> bool {
        !self.headers.is_empty()
    }
}

fn below(base: &str) -> String {
    format!("{}{PATH}", base.trim_end_matches('/'))
}

fn resource<'a>(variable: impl Fn(&str) -> Option<&'a str>) -> Result<Vec<(String, String)>, String> {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let own = [("service.name", "alppaca"), ("service.version", env!("CARGO_PKG_VERSION"))];
    let mut resource: Vec<_> = own.map(|(key, value)| pair(key, value)).into();
    let more = match variable("OTEL_RESOURCE_ATTRIBUTES") {
        Some(text) => pairs(text).ok_or("OTEL_RESOURCE_ATTRIBUTES: KEY=VALUE,KEY=VALUE is expected")?,
        None => Vec::new(),
    };
    let name = variable("OTEL_SERVICE_NAME").map(|name| pair("service.name", name));
    for (key, value) in more.into_iter().chain(name) {
        resource.retain(|(known, _)| *known != key);
        resource.push((key, value));
    }
    Ok(resource)
}

/// What is wrong is not quoted: a key may be in it.
fn headers(variable: &str, text: &str) -> Result<Vec<(HeaderName, Secret)>, String> {
    let header = |(name, value): (String, String)| {
        let legal = value.bytes().all(|byte| byte == b'\t' || (0x20..0x7f).contains(&byte));
        Some((name.parse::<HeaderName>().ok()?, legal.then(|| Secret::new(value))?))
    };
    let headers = pairs(text).and_then(|pairs| pairs.into_iter().map(header).collect());
    headers.ok_or_else(|| format!("{variable}: NAME=VALUE,NAME=VALUE is expected, each a legal header"))
}

/// `KEY=VALUE,KEY=VALUE`, percent-encoded.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let decode = |text: &str| Some(percent_decode_str(text.trim()).decode_utf8().ok()?.into_owned());
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        Some((decode(key)?, decode(value)?))
    };
    text.split(',').filter(|part| !part.trim().is_empty()).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(endpoint: Option<&str>, variables: &[(&str, &'static str)]) -> Result<Option<Target>, String> {
        let value = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        Target::read(endpoint, value)
    }

    #[test]
    fn the_setting_says_where_and_the_variables_the_rest() {
        let target = read(Some("http://127.0.0.1:4318/"), &[]).expect("legal").expect("on");
        assert_eq!((&*target.url, target.has_headers()), ("http://127.0.0.1:4318/v1/traces", false));
        assert_eq!(target.ca_file, None);
        let variables = [
            ("OTEL_SERVICE_NAME", "alppaca of alice"),
            ("OTEL_RESOURCE_ATTRIBUTES", "team=a%2Cb, service.name=other,service.version=1"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=k3y%3D"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/etc/ca.pem"),
            // It is what a URL here means.
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ];
        let target = read(Some("https://otel.example/base"), &variables).expect("legal").expect("on");
        let value = |key: &str| {
            let values = target.resource.iter().filter(|(name, _)| name == key);
            values.map(|(_, value)| value.clone()).collect::<Vec<_>>()
        };
        assert_eq!(value("service.name"), ["alppaca of alice"]);
        assert_eq!((value("team"), value("service.version")), (vec!["a,b".to_owned()], vec!["1".to_owned()]));
        let [(name, key)] = &*target.headers else { panic!("{target:?}") };
        assert_eq!((name.as_str(), key.expose()), ("api-key", "k3y="));
        assert!(!format!("{target:?}").contains("k3y"));
        assert_eq!(&*target.url, "https://otel.example/base/v1/traces");
        assert_eq!(target.ca_file, Some("/etc/ca.pem".into()));
    }

    #[test]
    fn the_environment_says_where_only_if_it_is_asked() {
        let url = |variables: &[(&str, &'static str)]| read(None, variables).expect("legal").expect("on").url;
        assert_eq!(url(&[]), "http://localhost:4318/v1/traces");
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        assert_eq!(url(&[base]), "http://c:4318/v1/traces");
        assert_eq!(url(&[base, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t:1/x")]), "http://t:1/x");
        for (name, value) in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert!(read(Some("http://c"), &[(name, value)]).expect("legal").is_none(), "{name}");
        }
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4318"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:s3cret@c:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "s3cret"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=s3cret"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=s3cret%0A"),
            ("OTEL_RESOURCE_ATTRIBUTES", "x"),
        ] {
            let why = read(None, &[(name, value)]).expect_err(name);
            assert!(why.starts_with(name) && !why.contains("s3cret"), "{why}");
        }
    }
}
