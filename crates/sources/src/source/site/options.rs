//! `kind: site`: the roles of a person at an `alppaca-ims` or AFP.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{Lasting, Settings, Site};
use crate::{
    fetch::{self, Proxying, is_clear_text},
    needs::Needs,
    refresh::{CallLimit, Fetch, OnRequest, Source},
    settings::{
        Fields, NamedFiles, Node, Problem, Setting, options, read,
        url::{WEB_URL, is_base_url},
    },
    sign_in::{self, Known, OpenIdSettings, SignIn},
    source::{
        host_env::HostEnv,
        kind::{CertificateEnd, Kind, Opened, Opening, Provides, Written},
        listed::ListedRole,
        places::Lists,
        purpose::{Purpose, Serves},
    },
};

options! {
    /// The site, and how to talk to it.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(in crate::source) struct Options {
        /// Where the routes for people are.
        pub url: String = Setting::nested(
            "url",
            "",
            "Where the routes for people are, without `/account`: `https://ims.example.com`, or of AFP \
             `https://afp.example.com/afp-api/latest`. Required.",
        ) => needed("a site needs a `url`, such as https://ims.example.com", url);
        /// How the person proves who that is.
        pub sign_in: MaybeSignIn;
        /// Which roles are fetched, and for how long.
        pub lists: Lists;
        /// For one connection.
        pub connect_timeout: Duration = Setting::nested("connect_timeout", "3s", "As `ims_connect_timeout`.")
            => value(read::limit);
        /// For one whole call.
        pub timeout: Duration = Setting::nested("timeout", "15s", "As `ims_timeout`.") => value(read::limit);
        /// The longest document.
        pub max_response_bytes: usize = Setting::nested("max_response_bytes", "65536", "As `ims_max_response_bytes`.")
            => value(read::count);
        /// How many calls may run at once.
        pub concurrency: usize = Setting::nested("concurrency", "4", "As `ims_concurrency`.") => value(read::count);
        /// Further certificate authorities.
        pub ca_file: Option<PathBuf> = Setting::nested("ca_file", "", "As `ims_ca_file`.") => optional(read::path);
        /// The person's certificate.
        pub client_certificate: Option<PathBuf> = Setting::nested(
            "client_certificate",
            "",
            "PEM file of the person's certificate and its chain, for sites that want one.",
        ) => optional(read::path);
        /// Its key; there are both or none.
        pub client_key: Option<PathBuf> = Setting::nested("client_key", "", "PEM file of its private key.")
            => optional(read::path);
        /// The proxy in front of the site and of the provider.
        pub proxying: Proxying;
    }
    before Options::pairs;
    after Options::warn;
}

/// How the person signs in, if that is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct MaybeSignIn(Option<SignIn>);

impl crate::settings::Keys for MaybeSignIn {
    const SETTINGS: &'static [Setting] = &[Setting::nested(
        "sign_in",
        "",
        "A mapping: how the person proves their identity, with a `kind` and its settings, as below. Without it there is no \
         proof but the client certificate.",
    )];

    fn read(fields: &mut Fields) -> Option<Self> {
        SignIn::read(fields).map(Self)
    }
}

impl crate::settings::Rendered for MaybeSignIn {
    fn render(&self) -> Vec<(&'static str, String)> {
        use crate::settings::render::AsYaml;

        self.0.as_yaml().map(|value| ("sign_in", value)).into_iter().collect()
    }
}

impl Written for Options {
    const WORD: &'static str = "site";
    const BELOW: &'static [(&'static str, &'static [Setting])] = sign_in::SECTIONS;
}

impl Options {
    fn pairs(fields: &mut Fields) {
        fields.pair("client_certificate", "client_key");
    }

    #[expect(clippy::unnecessary_wraps, reason = "a check may refuse what was read")]
    fn warn(self, fields: &mut Fields) -> Option<Self> {
        if let (true, Some(place)) = (is_clear_text(&self.url), fields.place("url")) {
            let message = "credentials will travel in clear text: the site uses http over the network";
            fields.warnings.push(Problem::new(place, message));
        }
        Some(self)
    }

    fn certificate(&self) -> Option<(PathBuf, PathBuf)> {
        self.client_certificate.clone().zip(self.client_key.clone())
    }
}

/// The base of the routes.
fn url(node: &Node) -> Result<String, Problem> {
    let text = read::text_like(node, WEB_URL)?;
    let base = text.trim_end_matches('/');
    let base = base.strip_suffix("/account").unwrap_or(base);
    if is_base_url(base) {
        Ok(base.to_owned())
    } else {
        read::wrong(node, "a URL with http or https, a host and a path")
    }
}

impl Kind for Options {
    fn provides(&self) -> Provides {
        Provides::Listed
    }

    fn summary(&self) -> String {
        let sign_in = self.sign_in.0.as_ref().map(|sign_in| format!(", {}", sign_in.summary())).unwrap_or_default();
        format!("{}{sign_in}{}", self.url, self.proxying.summary())
    }

    fn call_limit(&self) -> CallLimit {
        CallLimit { concurrency: self.concurrency, rate: None }
    }

    fn accepts(&self) -> &'static [&'static str] {
        &["upstream_role", "duration"]
    }

    fn is_personal(&self) -> bool {
        true
    }

    fn on_request(&self) -> Option<OnRequest> {
        Some(self.lists.on_request())
    }

    fn proxying(&self) -> Option<&Proxying> {
        Some(&self.proxying)
    }

    fn files(&self, _: &HostEnv, files: &mut NamedFiles) {
        files.authorities("ca_file", self.ca_file.as_ref());
        files.client_certificate(self.certificate().as_ref());
        if let Some(sign_in) = &self.sign_in.0 {
            sign_in.files(files);
        }
    }

    fn needs(&self, host_env: &HostEnv, needs: &mut Needs) {
        needs.url(&self.url, "the site");
        self.proxying.needs(&host_env.proxies, needs);
        if let Some(sign_in) = &self.sign_in.0 {
            sign_in.needs(needs);
        }
    }

    fn open(&self, opening: &Opening) -> Result<Arc<dyn Opened>, String> {
        let proxies = self.proxying.resolve(&opening.host_env.proxies)?;
        let sign_ins = &opening.host_env.sign_ins;
        let session = self.sign_in.0.as_ref().map(|sign_in| match sign_in {
            SignIn::Oidc(oidc) => {
                let settings = OpenIdSettings { oidc: oidc.clone(), proxies: proxies.clone() };
                Known::Provider(sign_ins.session(&sign_in::Settings::OpenId(settings)))
            }
            SignIn::Ssh(ssh) => sign_ins.ssh(ssh, opening.host_env.ssh_auth_sock.clone()),
        });
        let options = fetch::Options {
            connect_timeout: self.connect_timeout,
            timeout: self.timeout,
            limit_name: Some("max_response_bytes"),
            ca_file: self.ca_file.clone(),
            client_certificate: self.certificate(),
            proxies,
        };
        let settings = Settings {
            url: self.url.clone(),
            session: session.clone(),
            clock: Arc::clone(&opening.host_env.clock),
            max_response_bytes: self.max_response_bytes,
            concurrency: self.concurrency,
        };
        let site = Site::new(settings, options).map_err(|error| error.to_string())?;
        Ok(Arc::new(Ready { site: Arc::new(site), session, has_certificate: self.client_certificate.is_some() }))
    }
}

struct Ready {
    site: Arc<Site>,
    session: Option<Known>,
    has_certificate: bool,
}

impl Opened for Ready {
    fn call(&self, purpose: &Purpose, serves: Serves) -> Result<Arc<dyn Fetch>, String> {
        let site = Arc::clone(&self.site);
        let source: Arc<dyn Source> = match purpose.session.duration {
            // If others are assumed with it, the duration is that of the sessions of these.
            Some(duration) if serves == Serves::Clients => Arc::new(Lasting { site, duration }),
            _ => site,
        };
        Ok(Arc::new(ListedRole::of(source, purpose, serves)?))
    }

    fn lister(&self) -> Option<Arc<dyn Source>> {
        Some(Arc::<Site>::clone(&self.site))
    }

    fn sign_in(&self) -> Option<Known> {
        self.session.clone()
    }

    fn certificate_end(&self) -> Option<CertificateEnd> {
        let site = self.has_certificate.then(|| Arc::clone(&self.site))?;
        Some(Box::new(move || site.certificate_end()))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::TcpListener,
        thread,
    };

    use super::*;
    use crate::{clock::fake::FakeClock, source::session::Session};

    /// An AFP, or an `alppaca-ims` that cannot be asked for a duration; answers this many calls.
    fn old_site(calls: usize) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        thread::spawn(move || {
            for client in listener.incoming().take(calls) {
                let mut client = client.expect("a connection");
                let head: Vec<_> =
                    BufReader::new(&client).lines().map_while(Result::ok).take_while(|l| !l.is_empty()).collect();
                let body = if head[0].contains("/credentials") {
                    r#"{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"s","Token":"t",
                        "Expiration":"2036-11-23T11:00:00Z","LastUpdated":"2026-11-23T10:00:00Z"}"#
                } else {
                    r#"{"shop": ["app"]}"#
                };
                let length = body.len();
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
                write!(client, "{head}Content-Length: {length}\r\n\r\n{body}").expect("it reads");
            }
        });
        url
    }

    #[tokio::test]
    async fn a_duration_is_asked_of_the_site_only_if_its_credentials_are_served() {
        let options = fetch::Options {
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
            limit_name: None,
            ca_file: None,
            client_certificate: None,
            proxies: fetch::Proxies::default(),
        };
        let settings = Settings {
            url: old_site(4),
            session: None,
            clock: FakeClock::new(),
            max_response_bytes: 65536,
            concurrency: 1,
        };
        let site = Arc::new(Site::new(settings, options).expect("a site"));
        let ready = Ready { site, session: None, has_certificate: false };
        let session = Session { duration: Some(Duration::from_hours(1)), ..Session::default() };
        let name = "app".parse().expect("a name");
        let purpose = Purpose {
            host: "h",
            name: &name,
            upstream_role: Some("app"),
            role_arn: None,
            session: &session,
            via: None,
        };
        let call = |serves| ready.call(&purpose, serves).expect("a call");
        let signer = call(Serves::ToSign).fetch(None).await.expect("the duration is that of the role that is assumed");
        assert_eq!(signer.access_key_id, "ASIAEXAMPLE");
        let refused = call(Serves::Clients).fetch(None).await.expect_err("the site does not say that it lasts so long");
        assert!(refused.to_string().contains("too old"), "{refused}");
    }
}
