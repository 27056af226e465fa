//! What all calls to AWS have in common: where they go, through what, and how many.

use std::{path::PathBuf, time::Duration};

use super::{Environment, StsSettings};
use crate::{
    fetch::{self, Proxying, is_clear_text, proxying},
    needs::Needs,
    refresh::CallLimit,
    settings::{
        Fields, Keys, Node, Problem, Rendered, Setting,
        read::{self, render_duration},
        render::{AsYaml, quoted},
        url::{WEB_URL, is_base_url},
    },
    source::host_env::HostEnv,
};

/// How a service of AWS is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aws {
    /// The region whose endpoint is asked (`region`).
    pub region: String,
    /// Another endpoint (`endpoint`): `http` or `https`.
    pub endpoint: Option<String>,
    /// The FIPS endpoint (`fips`); `None`: what the environment says.
    pub fips: Option<bool>,
    /// The endpoint with IPv4 and IPv6 (`dual_stack`); `None`: what the environment says.
    pub dual_stack: Option<bool>,
    /// The HTTP proxy for these calls alone (`proxy`, `no_proxy`).
    pub proxying: Proxying,
    /// Further certificate authorities, PEM (`ca_file`). The system's stay in force.
    pub ca_file: Option<PathBuf>,
    /// For the TCP, proxy and TLS handshakes of one connection (`connect_timeout`).
    pub connect_timeout: Duration,
    /// For one whole call (`timeout`).
    pub timeout: Duration,
    /// How many calls may begin in a second (`rate`).
    pub rate: Rate,
    /// How many calls may run at once (`concurrency`).
    pub concurrency: usize,
}

/// So many calls in so much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub calls: u32,
    /// In which time.
    pub per: Duration,
}

impl Rate {
    /// As calls per second.
    pub fn per_second(self) -> f64 {
        f64::from(self.calls) / self.per.as_secs_f64()
    }
}

/// How many settings there are.
pub const COUNT: usize = 11;

/// Whether the FIPS endpoint is called.
pub(in crate::source) const FIPS: Setting = Setting::nested(
    "fips",
    "",
    "Whether to use the FIPS endpoint; the default is the value of `AWS_USE_FIPS_ENDPOINT`.",
);
/// Whether the endpoint with IPv4 and IPv6 is called.
pub(in crate::source) const DUAL_STACK: Setting = Setting::nested(
    "dual_stack",
    "",
    "Whether to use the endpoint with IPv4 and IPv6; the default is the value of `AWS_USE_DUALSTACK_ENDPOINT`.",
);
/// Further certificate authorities.
pub(in crate::source) const CA_FILE: Setting = Setting::nested(
    "ca_file",
    "",
    "PEM file of additional certificate authorities; the default is the value of `AWS_CA_BUNDLE`. The system's \
         stay in force.",
);
/// For a connection.
pub(in crate::source) const CONNECT_TIMEOUT: Setting =
    Setting::nested("connect_timeout", "3s", "Longest time for the TCP, proxy and TLS handshakes of a connection.");
/// For a call.
pub(in crate::source) const TIMEOUT: Setting = Setting::nested("timeout", "15s", "Longest time for one whole call.");
/// The settings, for the tables of the kinds that call AWS.
pub const SETTINGS: [Setting; COUNT] = [
    Setting::nested("region", "eu-central-1", "The region of the endpoint."),
    Setting::nested("endpoint", "", "Another endpoint: `https://host[:port]`. Takes precedence over the environment."),
    FIPS,
    DUAL_STACK,
    proxying::PROXY,
    proxying::NO_PROXY,
    CA_FILE,
    CONNECT_TIMEOUT,
    TIMEOUT,
    Setting::nested(
        "rate",
        "10/s",
        "How many calls may begin: `10/s`, `300/m`. AWS applies its own limit to the whole account.",
    ),
    Setting::nested("concurrency", "8", "How many calls may run at once."),
];

impl Keys for Aws {
    const SETTINGS: &'static [Setting] = &SETTINGS;

    fn read(fields: &mut Fields) -> Option<Self> {
        let read_region = fields.value("region", read::region);
        let read_rate = fields.value("rate", rate);
        let concurrency = fields.value("concurrency", read::count);
        Self::read_way(fields, read_region, read_rate, concurrency)
    }
}

// Here `ca_file` stands before the proxy, other than in the table.
impl Rendered for Aws {
    fn render(&self) -> Vec<(&'static str, String)> {
        let optional = [
            ("endpoint", self.endpoint.as_deref().map(quoted)),
            ("fips", self.fips.map(|fips| fips.to_string())),
            ("dual_stack", self.dual_stack.map(|dual_stack| dual_stack.to_string())),
            ("ca_file", self.ca_file.as_ref().map(|path| quoted(&path.to_string_lossy()))),
        ];
        let mut all = vec![("region", quoted(&self.region))];
        all.extend(optional.into_iter().filter_map(|(key, value)| Some((key, value?))));
        all.extend(self.proxying.render());
        all.extend([
            ("connect_timeout", render_duration(self.connect_timeout)),
            ("timeout", render_duration(self.timeout)),
            ("rate", render_rate(self.rate)),
            ("concurrency", self.concurrency.to_string()),
        ]);
        all
    }
}

impl Aws {
    /// Reads the settings that are above, without these three.
    pub fn read_way(
        fields: &mut Fields,
        region: Option<String>,
        rate: Option<Rate>,
        concurrency: Option<usize>,
    ) -> Option<Self> {
        fields.exclude("endpoint", &["fips", "dual_stack"]);
        let read_endpoint = fields.optional("endpoint", endpoint);
        warn_of_clear_text(read_endpoint.as_ref().and_then(Option::as_deref), fields);
        let fips = fields.optional("fips", read::boolean);
        let dual_stack = fields.optional("dual_stack", read::boolean);
        let proxying = Proxying::read(fields);
        let ca_file = fields.optional("ca_file", read::path);
        let connect_timeout = fields.value("connect_timeout", read::limit);
        let timeout = fields.value("timeout", read::limit);
        Some(Self {
            region: region?,
            endpoint: read_endpoint?,
            fips: fips?,
            dual_stack: dual_stack?,
            proxying: proxying?,
            ca_file: ca_file?,
            connect_timeout: connect_timeout?,
            timeout: timeout?,
            rate: rate?,
            concurrency: concurrency?,
        })
    }

    /// How many calls it may get.
    pub fn call_limit(&self) -> CallLimit {
        CallLimit { concurrency: self.concurrency, rate: Some(self.rate.per_second()) }
    }

    /// How it is called, as the one HTTP client wants it.
    pub(in crate::source) fn http(&self, host_env: &HostEnv) -> Result<fetch::Options, String> {
        host_env.to_aws((self.connect_timeout, self.timeout), self.ca_file.as_ref(), &self.proxying)
    }

    /// Adds the server that is called, at `url` or one of AWS, with what is on the way there.
    pub(in crate::source) fn calls(&self, host_env: &HostEnv, url: Option<&str>, what: &str, needs: &mut Needs) {
        needs.url(url.unwrap_or("https://amazonaws.com"), what);
        self.proxying.needs(&host_env.proxies, needs);
        if let Some(file) = &host_env.aws.ca_bundle {
            needs.read(file, "AWS_CA_BUNDLE");
        }
    }

    /// The settings of an STS: what the configuration says, and where it says nothing what the environment does.
    pub fn sts(&self, host_env: &HostEnv) -> Result<StsSettings, String> {
        let Endpoint { url, fips, dual_stack } = self.sts_endpoint(&host_env.aws);
        let http = self.http(host_env)?;
        Ok(StsSettings { region: self.region.clone(), endpoint: url, fips, dual_stack, http })
    }

    fn sts_endpoint(&self, environment: &Environment) -> Endpoint {
        let url = self.endpoint.clone().or_else(|| environment.endpoint_url_sts.clone());
        // One that is written down is asked as it is.
        let flag =
            |own: Option<bool>, environment: Option<bool>| url.is_none() && own.or(environment).unwrap_or_default();
        let fips = flag(self.fips, environment.use_fips_endpoint);
        let dual_stack = flag(self.dual_stack, environment.use_dualstack_endpoint);
        Endpoint { url, fips, dual_stack }
    }

    /// In a few words.
    pub fn summary(&self) -> String {
        let at = self.endpoint.as_ref().map_or_else(|| self.region.clone(), Clone::clone);
        format!("{at}{}, at most {}", self.proxying.summary(), render_rate(self.rate))
    }
}

/// Has a person know that AWS is called in clear text.
pub(in crate::source) fn warn_of_clear_text(endpoint: Option<&str>, fields: &mut Fields) {
    if let (true, Some(place)) = (endpoint.is_some_and(is_clear_text), fields.place("endpoint")) {
        let message = "credentials will travel in clear text: AWS is called by http over the network";
        fields.warnings.push(Problem::new(place, message));
    }
}

/// `http(s)://host[:port][/path]`, without anything secret.
pub(crate) fn endpoint(node: &Node) -> Result<String, Problem> {
    let text = read::text_like(node, WEB_URL)?;
    if is_base_url(&text) {
        return Ok(text);
    }
    let message = "an endpoint such as https://sts.example.com is expected here, without a user name or query";
    Err(Problem::new(node.place.clone(), message).without_line())
}

/// `10/s`, `300/m`, `1000/h`.
pub(crate) fn rate(node: &Node) -> Result<Rate, Problem> {
    let text = read::text_like(node, "^\\s*\\+?[0-9]+\\s*/\\s*[smh]\\s*$")?;
    let parse = || {
        let (calls, unit) = text.split_once('/')?;
        let seconds = match unit.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return None,
        };
        let calls = calls.trim().parse().ok().filter(|calls| (1..=1_000_000).contains(calls))?;
        Some(Rate { calls, per: Duration::from_secs(seconds) })
    };
    parse().ok_or_else(|| {
        let message = format!("a rate such as 10/s, 300/m or 1000/h is expected here, not {text:?}");
        Problem::new(node.place.clone(), message)
    })
}

impl AsYaml for Rate {
    fn as_yaml(&self) -> Option<String> {
        Some(render_rate(*self))
    }
}

pub(crate) fn render_rate(rate: Rate) -> String {
    let unit = match rate.per.as_secs() {
        60 => "m",
        3600 => "h",
        _ => "s",
    };
    format!("{}/{unit}", rate.calls)
}

/// An endpoint, and which of AWS's own it is if there is none.
struct Endpoint {
    url: Option<String>,
    fips: bool,
    dual_stack: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::yaml;

    fn read(text: &str) -> Aws {
        let file = crate::settings::problem::Source { name: "a.yaml".into(), text: text.to_owned() };
        let node = yaml::read(&std::sync::Arc::new(file)).expect("legal").expect("not empty");
        Fields::new(Vec::new(), &SETTINGS).nested(node, &SETTINGS, Aws::read).expect(text)
    }

    #[test]
    fn the_configuration_goes_before_the_environment() {
        let environment =
            Environment { use_fips_endpoint: Some(true), use_dualstack_endpoint: Some(true), ..Environment::default() };
        let found = read("fips: false").sts_endpoint(&environment);
        assert!(!found.fips && found.dual_stack && found.url.is_none());
        let found = read("endpoint: 'https://b.example'").sts_endpoint(&environment);
        assert_eq!((found.url.as_deref(), found.fips, found.dual_stack), (Some("https://b.example"), false, false));
        let environment = Environment { endpoint_url_sts: Some("http://127.0.0.1:1".into()), ..environment };
        let found = read("{}").sts_endpoint(&environment);
        assert_eq!((found.url.as_deref(), found.fips), (Some("http://127.0.0.1:1"), false));
    }
}
