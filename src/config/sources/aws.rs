//! What all calls to AWS have in common: where they go, through what, and how many.

use std::{path::PathBuf, time::Duration};

use super::{
    super::{Proxying, build::is_clear_text, proxies},
    setting,
};
use alppaca_settings::{
    Setting,
    fields::Fields,
    problem::Problem,
    read::{self, render_duration},
    render::quoted,
    yaml::Node,
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
pub(in crate::config) const COUNT: usize = 11;

/// The settings, for the tables of the kinds that call AWS.
pub(in crate::config) const SETTINGS: [Setting; COUNT] = [
    setting("region", "eu-central-1", "The region of the endpoint."),
    setting("endpoint", "", "Another endpoint: `https://host[:port]`. Takes precedence over the environment."),
    setting("fips", "", "Whether to use the FIPS endpoint; the default is the value of `AWS_USE_FIPS_ENDPOINT`."),
    setting(
        "dual_stack",
        "",
        "Whether to use the endpoint with IPv4 and IPv6; the default is the value of `AWS_USE_DUALSTACK_ENDPOINT`.",
    ),
    proxies::SETTINGS[0],
    proxies::SETTINGS[1],
    setting(
        "ca_file",
        "",
        "PEM file of additional certificate authorities; the default is the value of `AWS_CA_BUNDLE`. The system's \
         stay in force.",
    ),
    setting("connect_timeout", "3s", "Longest time for the TCP, proxy and TLS handshakes of a connection."),
    setting("timeout", "15s", "Longest time for one whole call."),
    setting(
        "rate",
        "10/s",
        "How many calls may begin: `10/s`, `300/m`. AWS applies its own limit to the whole account.",
    ),
    setting("concurrency", "8", "How many calls may run at once."),
];

impl Aws {
    /// Reads the settings that are above.
    pub(in crate::config) fn read(fields: &mut Fields) -> Option<Self> {
        fields.exclude("endpoint", &["fips", "dual_stack"]);
        let read_region = fields.value("region", read::region);
        let read_endpoint = fields.optional("endpoint", endpoint);
        if let (Some(Some(url)), Some(place)) = (&read_endpoint, fields.place("endpoint"))
            && is_clear_text(url)
        {
            let message = "credentials will travel in clear text: AWS is called by http over the network";
            fields.warnings.push(Problem::new(place, message));
        }
        let fips = fields.optional("fips", read::boolean);
        let dual_stack = fields.optional("dual_stack", read::boolean);
        let proxying = Proxying::read(fields);
        let ca_file = fields.optional("ca_file", read::path);
        let connect_timeout = fields.value("connect_timeout", read::limit);
        let timeout = fields.value("timeout", read::limit);
        let read_rate = fields.value("rate", rate);
        let concurrency = fields.value("concurrency", read::count);
        Some(Self {
            region: read_region?,
            endpoint: read_endpoint?,
            fips: fips?,
            dual_stack: dual_stack?,
            proxying: proxying?,
            ca_file: ca_file?,
            connect_timeout: connect_timeout?,
            timeout: timeout?,
            rate: read_rate?,
            concurrency: concurrency?,
        })
    }

    /// The settings as YAML.
    pub(in crate::config) fn render(&self) -> Vec<(&'static str, String)> {
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

    /// In a few words.
    pub fn summary(&self) -> String {
        let at = self.endpoint.as_ref().map_or_else(|| self.region.clone(), Clone::clone);
        format!("{at}{}, at most {}", self.proxying.summary(), render_rate(self.rate))
    }
}

/// `http(s)://host[:port][/path]`, without anything secret.
pub(in crate::config) fn endpoint(node: &Node) -> Result<String, Problem> {
    let text = read::text(node)?;
    let url: Option<http::Uri> = text.parse().ok();
    let fine = url.is_some_and(|url| {
        let user = url.authority().is_some_and(|authority| authority.as_str().contains('@'));
        matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some() && !user && url.query().is_none()
    });
    if fine {
        return Ok(text);
    }
    let message = "an endpoint such as https://sts.example.com is expected here, without a user name or query";
    Err(Problem::new(node.place.clone(), message).without_line())
}

/// `10/s`, `300/m`, `1000/h`.
pub(in crate::config) fn rate(node: &Node) -> Result<Rate, Problem> {
    let text = read::text(node)?;
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

pub(in crate::config) fn render_rate(rate: Rate) -> String {
    let unit = match rate.per.as_secs() {
        60 => "m",
        3600 => "h",
        _ => "s",
    };
    format!("{}/{unit}", rate.calls)
}
