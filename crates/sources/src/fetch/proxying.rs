//! Which proxy is used: one that is written down, the environment's, or none.

use super::{Direct, DirectError, Proxies, Proxy};
use crate::{
    credentials::Secret,
    needs::Needs,
    settings::{
        Node, Problem, Setting, options, read,
        render::{AsYaml, list, quoted},
    },
};

/// Where the proxy comes from (`proxy`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ProxyChoice {
    /// No proxy, whatever the environment says.
    #[default]
    None,
    /// The variables `https_proxy`, `http_proxy`, `all_proxy` and `no_proxy`, in lower or upper case.
    Environment,
    /// This one.
    Given(Proxy),
}

options! {
    /// The proxy of one source, and the hosts that are asked without it.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct Proxying {
        /// Where the proxy comes from.
        pub choice: ProxyChoice = PROXY => value(choice);
        /// Hosts that are asked directly, beside those of the environment's variable.
        pub except: Vec<Direct> = NO_PROXY => value(|node| read::list(node, host)) as hosts;
    }
}

/// How many settings there are.
pub const COUNT: usize = 2;

/// The settings, for the tables of the kinds that speak HTTP.
pub const SETTINGS: [Setting; COUNT] = [PROXY, NO_PROXY];

/// Where the proxy comes from.
pub const PROXY: Setting = Setting::nested(
    "proxy",
    "none",
    "`none`, `environment` (`https_proxy` and related variables), or `http://[user:password@]host:port`.",
);

/// What is asked without it.
pub const NO_PROXY: Setting = Setting::nested(
    "no_proxy",
    "[]",
    "Hosts that are contacted directly: names (including subdomains), `*.name` (only subdomains), addresses, \
     networks, `*`; with `:port` only that port.",
);

impl AsYaml for ProxyChoice {
    fn as_yaml(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Environment => Some("environment".to_owned()),
            Self::Given(given) => Some(proxy(given)),
        }
    }
}

impl Proxying {
    /// The proxies that it means here.
    pub fn resolve(&self, variables: &ProxyVariables) -> Result<Proxies, String> {
        let mut proxies = match &self.choice {
            ProxyChoice::None => return Ok(Proxies::none()),
            ProxyChoice::Given(given) => Proxies::always(given.clone()),
            ProxyChoice::Environment => variables.resolve()?,
        };
        proxies.except.extend(self.except.iter().cloned());
        Ok(proxies)
    }

    /// Adds the proxies that it means here.
    pub fn needs(&self, variables: &ProxyVariables, needs: &mut Needs) {
        // What is wrong with them shows when the source is opened.
        let Ok(proxies) = self.resolve(variables) else { return };
        for proxy in [proxies.http, proxies.https].iter().flatten() {
            needs.url(&proxy.url, "its proxy");
        }
    }

    /// In a few words; nothing if there is none.
    pub fn summary(&self) -> String {
        match &self.choice {
            ProxyChoice::None => String::new(),
            ProxyChoice::Environment => ", through the environment's proxy".to_owned(),
            ProxyChoice::Given(proxy) => format!(", through {}", proxy.url),
        }
    }
}

/// Reads `proxy`.
pub fn choice(node: &Node) -> Result<ProxyChoice, Problem> {
    match read::text_like(node, "^\\s*(none|environment|[Hh][Tt][Tt][Pp]://.+)\\s*$")?.trim() {
        "none" => Ok(ProxyChoice::None),
        "environment" => Ok(ProxyChoice::Environment),
        _ => read_proxy(node).map(ProxyChoice::Given),
    }
}

fn hosts(hosts: &[Direct]) -> Option<String> {
    (!hosts.is_empty()).then(|| list(hosts.iter().map(|host| quoted(&host.to_string()))))
}

fn host(node: &Node) -> Result<Direct, Problem> {
    read::text(node)?.parse().map_err(|error: DirectError| Problem::new(node.place.clone(), error.to_string()))
}

/// The environment's proxy variables, as data: only `cli` reads them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxyVariables {
    http: Option<(&'static str, Secret)>,
    https: Option<(&'static str, Secret)>,
    all: Option<(&'static str, Secret)>,
    no: Option<(&'static str, String)>,
}

impl ProxyVariables {
    /// Takes what `variable` says. As with curl, the lower case goes first, and `HTTP_PROXY` is not read at all: a
    /// request's `Proxy` header becomes it where somebody is run as CGI. An empty variable is none.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: &[&'static str]| {
            names.iter().find_map(|name| Some((*name, variable(name).filter(|text| !text.is_empty())?)))
        };
        let secret = |found: Option<(&'static str, String)>| found.map(|(name, text)| (name, Secret::new(text)));
        Self {
            http: secret(first(&["http_proxy"])),
            https: secret(first(&["https_proxy", "HTTPS_PROXY"])),
            all: secret(first(&["all_proxy", "ALL_PROXY"])),
            no: first(&["no_proxy", "NO_PROXY"]),
        }
    }

    /// What they amount to. The error names the variable, not its value, which may hold a password.
    pub fn resolve(&self) -> Result<Proxies, String> {
        let parse = |variable: &Option<(&'static str, Secret)>| match variable {
            None => Ok(None),
            Some((name, text)) => parse_loosely(text.expose()).map(Some).ok_or_else(|| {
                format!(
                    "the variable {name} is not a proxy such as http://proxy.example.com:3128 (others are not \
                     supported)"
                )
            }),
        };
        let all = parse(&self.all)?;
        Ok(Proxies {
            http: parse(&self.http)?.or_else(|| all.clone()),
            https: parse(&self.https)?.or(all),
            except: self.entries().filter_map(|entry| entry.parse().ok()).collect(),
        })
    }

    /// The entries of `no_proxy`, which curl splits at white space, too.
    fn entries(&self) -> impl Iterator<Item = &str> {
        let entries = self.no.iter().flat_map(|(_, text)| text.split(|c: char| c == ',' || c.is_whitespace()));
        entries.filter(|entry| !entry.is_empty())
    }

    /// What of `no_proxy` means nothing here, as a remark. Other programs may understand it, so it is no mistake.
    fn without_effect(&self) -> String {
        let wrong = self.entries().filter_map(|entry| Some((entry, entry.parse::<Direct>().err()?)));
        let remarks: Vec<String> = wrong.map(|(entry, error)| format!("; {entry} has no effect: {error}")).collect();
        remarks.concat()
    }

    /// The variables that are set, and what they say, without passwords.
    pub fn in_force(&self) -> Vec<(&'static str, String)> {
        let shown = |text: &Secret| parse_loosely(text.expose()).map_or_else(|| "***".to_owned(), |proxy| proxy.url);
        let proxies = [&self.https, &self.http, &self.all].into_iter().flatten();
        let no = self.no.iter().map(|(name, text)| (*name, format!("{text}{}", self.without_effect())));
        proxies.map(|(name, text)| (*name, shown(text))).chain(no).collect()
    }
}

/// In the environment a proxy may be written without `http://`.
fn parse_loosely(text: &str) -> Option<Proxy> {
    if text.contains("://") { parse_proxy(text) } else { parse_proxy(&format!("http://{text}")) }
}

/// `http://[user:password@]host:port`. The line is never shown: it may hold the password.
fn read_proxy(node: &Node) -> Result<Proxy, Problem> {
    parse_proxy(&read::text(node)?).ok_or_else(|| {
        let message =
            "a proxy such as http://proxy.example.com:3128 or http://user:password@host:port is expected here";
        Problem::new(node.place.clone(), message).without_line()
    })
}

fn parse_proxy(text: &str) -> Option<Proxy> {
    let rest = text.strip_prefix("http://")?.trim_end_matches('/');
    let (credentials, authority) = match rest.rsplit_once('@') {
        None => (None, rest),
        Some((pair, authority)) => {
            let (user, password) = pair.split_once(':')?;
            let decode = |part| percent_encoding::percent_decode_str(part).decode_utf8().ok();
            (Some((decode(user)?.into_owned(), Secret::new(&*decode(password)?))), authority)
        }
    };
    let url: http::Uri = format!("http://{authority}").parse().ok()?;
    url.host().filter(|host| !host.is_empty())?;
    url.port_u16()?;
    (url.path() == "/").then(|| Proxy { url: format!("http://{authority}"), credentials })
}

/// A proxy, its password as `***`.
fn proxy(proxy: &Proxy) -> String {
    let rest = proxy.url.strip_prefix("http://").unwrap_or(&proxy.url);
    match &proxy.credentials {
        Some((user, _)) => quoted(&format!("http://{user}:***@{rest}")),
        None => quoted(&proxy.url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(set: &'static [(&str, &str)]) -> ProxyVariables {
        ProxyVariables::read(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn variables_mean_what_they_mean_to_curl() {
        let proxies = variables(&[
            ("HTTP_PROXY", "http://evil:1"),
            ("https_proxy", "me:s3cr3t@lower:1"),
            ("HTTPS_PROXY", "http://upper:2"),
            ("ALL_PROXY", "http://all:3/"),
            ("no_proxy", ""),
            ("NO_PROXY", " .corp , 10.0.0.0/8, x:81 127.*,"),
        ]);
        let resolved = proxies.resolve().expect("legal");
        assert_eq!(resolved.https.as_ref().map(|proxy| &*proxy.url), Some("http://lower:1"));
        assert!(resolved.https.and_then(|proxy| proxy.credentials).is_some());
        assert_eq!(resolved.http.map(|proxy| proxy.url).as_deref(), Some("http://all:3"));
        let except: Vec<_> = resolved.except.iter().map(ToString::to_string).collect();
        assert_eq!(except, [".corp", "10.0.0.0/8", "x:81"]);
        let told = proxies.in_force().iter().map(|(_, text)| text.clone()).collect::<String>();
        assert!(told.contains("; 127.* has no effect: * stands for all hosts"), "{told}");
        let shown = format!("{:?} {proxies:?}", proxies.in_force());
        assert!(shown.contains("http://lower:1") && !shown.contains("s3cr3t"), "{shown}");
        assert_eq!(variables(&[]).resolve(), Ok(Proxies::default()));
    }

    #[test]
    fn a_variable_that_is_no_proxy_is_named_but_not_shown() {
        for text in ["socks5://me:s3cr3t@p:1", "https://me:s3cr3t@p:1", "me:s3cr3t@p"] {
            let set = [("HTTPS_PROXY", text)];
            let proxies =
                ProxyVariables::read(|name| set.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned()));
            let said = proxies.resolve().expect_err(text);
            assert!(said.contains("HTTPS_PROXY") && !said.contains("s3cr3t"), "{said}");
            assert!(!format!("{:?}", proxies.in_force()).contains("s3cr3t"), "{text}");
        }
    }

    #[test]
    fn a_proxy_may_have_a_user_and_password() {
        let proxy = parse_proxy("http://me:p%40ss@proxy.example.com:3128/").expect("legal");
        assert_eq!(proxy.url, "http://proxy.example.com:3128");
        assert_eq!(
            proxy.credentials.map(|(user, secret)| (user, secret.expose().to_owned())),
            Some(("me".into(), "p@ss".into()))
        );
        for text in [
            "proxy:3128",
            "https://proxy:1",
            "http://proxy",
            "http://:1",
            "http://user@proxy:1",
            "http://p:1/x",
            "http://p:x",
        ] {
            assert_eq!(parse_proxy(text), None, "{text}");
        }
    }
}
