//! `kind: sso`: the roles of a person in IAM Identity Center.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{Portal, Settings, endpoints::Endpoints};
use crate::{
    fetch::{Proxying, is_clear_text},
    needs::{Need, Needs},
    refresh::{CallLimit, OnRequest, Source},
    settings::{
        Fields, NamedFiles, Node, Problem, Setting, options, read,
        url::{WEB_URL, is_base_url},
    },
    sign_in::{IdentityCenterSettings, KEEP_SIGN_IN, Known, Session, Settings as SignIn},
    source::{
        aws::{self, Rate},
        host_env::HostEnv,
        kind::{Kind, Opened, Opening, Provides, Written},
        places::Lists,
        profile::{SsoSession, at_home},
    },
};

/// What a client has to ask for to get accounts and roles.
const ACCESS: &str = "sso:account:access";

options! {
    /// The instance, what is taken from it, and how it is called.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(in crate::source) struct Options {
        /// Where the next three stand already.
        pub sso_session: Option<String> = Setting::nested(
            "sso_session",
            "",
            "The name of an `[sso-session NAME]` in `~/.aws/config`, which has the `start_url`, the `sso_region` and the \
             `scopes`. It is read at the start and at each reload.",
        ) => optional(read::text);
        /// In place of `~/.aws/config`.
        pub config_file: Option<PathBuf> = Setting::nested(
            "config_file",
            "",
            "Replaces `~/.aws/config`, where an `sso_session` is looked for.",
        ) => optional(read::path);
        /// The access portal.
        pub start_url: Option<String> = Setting::nested(
            "start_url",
            "",
            "The URL of the access portal: `https://d-1234567890.awsapps.com/start`. Required without an `sso_session`.",
        ) => optional(start_url);
        /// Where the instance is.
        pub sso_region: Option<String> = Setting::nested(
            "sso_region",
            "",
            "The region of IAM Identity Center. Required without an `sso_session`.",
        ) => optional(read::region);
        /// What the client asks for.
        pub scopes: Option<Vec<String>> = Setting::nested(
            "scopes",
            "",
            "What is requested at the sign-in, by default `sso:account:access`.",
        ) => optional(scopes);
        /// The accounts that count.
        pub accounts: Vec<String> = Setting::nested(
            "accounts",
            "[]",
            "Only these accounts, by number or name. Without it all in which you have a role.",
        ) => value(|node| read::list(node, read::text));
        /// The roles that count.
        pub roles: Vec<String> = Setting::nested(
            "roles",
            "[]",
            "Only these roles (permission sets), by name. Without it all that you have.",
        ) => value(|node| read::list(node, read::text));
        /// Whether the sign-in outlives the daemon.
        pub keep_sign_in: bool = KEEP_SIGN_IN => value(read::boolean);
        /// Which roles are fetched, and for how long.
        pub lists: Lists;
        /// In place of AWS's own.
        pub endpoint: Option<String> = Setting::nested(
            "endpoint",
            "",
            "Another endpoint, for tokens and for the access portal: `https://host[:port]`.",
        ) => optional(aws::endpoint);
        /// Whether the FIPS endpoints are called.
        pub fips: Option<bool> = aws::FIPS => optional(read::boolean);
        /// Whether the endpoints with IPv6 are called.
        pub dual_stack: Option<bool> = aws::DUAL_STACK => optional(read::boolean);
        /// Further certificate authorities.
        pub ca_file: Option<PathBuf> = aws::CA_FILE => optional(read::path);
        /// For one connection.
        pub connect_timeout: Duration = aws::CONNECT_TIMEOUT => value(read::limit);
        /// For one whole call.
        pub timeout: Duration = aws::TIMEOUT => value(read::limit);
        /// How many calls for credentials may begin.
        pub rate: Rate = Setting::nested("rate", "10/s", "How many calls may begin, those for the list included: `10/s`, `300/m`.")
            => value(aws::rate);
        /// How many calls may run at once.
        pub concurrency: usize = Setting::nested("concurrency", "4", "How many calls may run at once.")
            => value(read::count);
        /// The proxy in front of AWS.
        pub proxying: Proxying;
    }
    before Options::exclusions;
    after Options::whole;
}

impl Written for Options {
    const WORD: &'static str = "sso";
}

/// What says where the instance is.
struct Instance {
    start_url: String,
    region: String,
    scopes: Vec<String>,
}

impl Options {
    fn exclusions(fields: &mut Fields) {
        fields.exclude("sso_session", &["start_url", "sso_region"]);
        fields.exclude("endpoint", &["fips", "dual_stack"]);
    }

    fn whole(self, fields: &mut Fields) -> Option<Self> {
        let given = |key: &str, is: bool, fields: &mut Fields| {
            if !is && self.sso_session.is_none() {
                let message =
                    format!("an sso source needs a `{key}`, or the `sso_session` of `~/.aws/config` that has it");
                fields.complain_here(&message);
            }
            is || self.sso_session.is_some()
        };
        let start_url = given("start_url", self.start_url.is_some(), fields);
        let region = given("sso_region", self.sso_region.is_some(), fields);
        aws::warn_of_clear_text(self.endpoint.as_deref(), fields);
        (start_url && region).then_some(self)
    }

    fn config_file(&self, host_env: &HostEnv) -> Option<PathBuf> {
        let home = host_env.home.as_deref();
        match &self.config_file {
            Some(file) => Some(home.map_or_else(|| file.clone(), |home| at_home(file, home))),
            None => Some(home?.join(".aws/config")),
        }
    }

    fn instance(&self, host_env: &HostEnv) -> Result<Instance, String> {
        let found = match &self.sso_session {
            Some(name) => {
                let file = self.config_file(host_env);
                let file = file.ok_or("has no `config_file`, and the daemon has no HOME")?;
                let found = SsoSession::read(&file, name)?;
                if !is_portal(&found.start_url) || !read::is_region(&found.region) {
                    let place = file.display();
                    return Err(format!(
                        "the sso_start_url or the sso_region of [sso-session {name}] in {place} is not usable"
                    ));
                }
                Some(found)
            }
            None => None,
        };
        let written = found.as_ref().and_then(|found| found.scopes.as_deref()).map(words);
        let written = written.filter(|scopes| !scopes.is_empty());
        let scopes = self.scopes.clone().or(written).unwrap_or_else(|| vec![ACCESS.to_owned()]);
        if !gives_access(&scopes) {
            return Err(format!("the sso_registration_scopes of that section lack {ACCESS}; `scopes` replaces them"));
        }
        let (start_url, region) = match found {
            Some(SsoSession { start_url, region, .. }) => (start_url, region),
            None => (self.start_url.clone().unwrap_or_default(), self.sso_region.clone().unwrap_or_default()),
        };
        Ok(Instance { start_url, region, scopes })
    }
}

/// The portal, as it stands in `~/.aws/config`. What is behind a `#` is for browsers.
fn start_url(node: &Node) -> Result<String, Problem> {
    let text = read::text_like(node, WEB_URL)?;
    if is_portal(&text) {
        Ok(text)
    } else {
        read::wrong(node, "the URL of an access portal, such as https://d-1234567890.awsapps.com/start,")
    }
}

fn is_portal(text: &str) -> bool {
    let base = text.split('#').next().unwrap_or_default();
    is_base_url(base) && !is_clear_text(base)
}

fn scopes(node: &Node) -> Result<Vec<String>, Problem> {
    let texts = read::filled_list(node, "`sso:account:access` has to be in it", read::text)?;
    let found: Vec<String> = texts.iter().flat_map(|text| words(text)).collect();
    if gives_access(&found) { Ok(found) } else { read::wrong(node, "a list of scopes with `sso:account:access` in it") }
}

fn gives_access(scopes: &[String]) -> bool {
    scopes.iter().any(|scope| scope == ACCESS)
}

/// As the AWS CLI writes them, or as OAuth does.
fn words(text: &str) -> Vec<String> {
    text.split([',', ' ']).map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

impl Kind for Options {
    fn provides(&self) -> Provides {
        Provides::Listed
    }

    fn summary(&self) -> String {
        let at = match (&self.sso_session, &self.start_url) {
            (Some(name), _) => format!("[sso-session {name}]"),
            (None, url) => url.clone().unwrap_or_default(),
        };
        format!("sign-in at {at}{}, at most {}", self.proxying.summary(), aws::render_rate(self.rate))
    }

    fn call_limit(&self) -> CallLimit {
        CallLimit { concurrency: self.concurrency, rate: Some(self.rate.per_second()) }
    }

    fn is_personal(&self) -> bool {
        true
    }

    fn on_request(&self) -> Option<OnRequest> {
        Some(self.lists.on_request())
    }

    fn region(&self) -> Option<&str> {
        self.sso_region.as_deref()
    }

    fn proxying(&self) -> Option<&Proxying> {
        Some(&self.proxying)
    }

    fn files(&self, host_env: &HostEnv, files: &mut NamedFiles) {
        files.authorities("ca_file", self.ca_file.as_ref());
        if self.sso_session.is_some() {
            files.obeyed("config_file", self.config_file(host_env));
        }
    }

    fn needs(&self, _: &HostEnv, needs: &mut Needs) {
        needs.add(Need::ConnectAnywhere, "servers of the sign-in, and those that the files of the SDKs name");
    }

    fn open(&self, opening: &Opening) -> Result<Arc<dyn Opened>, String> {
        let host_env = opening.host_env;
        let Instance { start_url, region, scopes } = self.instance(host_env)?;
        let environment = &host_env.aws;
        let endpoints = match &self.endpoint {
            Some(url) => Endpoints::at(url),
            None => Endpoints::of(
                &region,
                self.fips.or(environment.use_fips_endpoint).unwrap_or_default(),
                self.dual_stack.or(environment.use_dualstack_endpoint).unwrap_or_default(),
            )?,
        };
        let limits = (self.connect_timeout, self.timeout);
        let http = host_env.to_aws(limits, self.ca_file.as_ref(), &self.proxying)?;
        let session = host_env.sign_ins.session(&SignIn::IdentityCenter(IdentityCenterSettings {
            start_url,
            oidc: endpoints.oidc,
            portal: endpoints.portal.clone(),
            scopes,
            keep_sign_in: self.keep_sign_in,
            http: http.clone(),
        }));
        let settings = Settings {
            portal: endpoints.portal,
            region,
            accounts: self.accounts.clone(),
            roles: self.roles.clone(),
            concurrency: self.concurrency,
            rate: self.rate.per_second(),
            http,
        };
        let portal = Portal::new(settings, Arc::clone(&session), Arc::clone(&host_env.clock));
        Ok(Arc::new(Ready { portal: Arc::new(portal), session }))
    }
}

struct Ready {
    portal: Arc<Portal>,
    session: Arc<Session>,
}

impl Opened for Ready {
    fn lister(&self) -> Option<Arc<dyn Source>> {
        Some(Arc::<Portal>::clone(&self.portal))
    }

    fn sign_in(&self) -> Option<Known> {
        Some(Known::Provider(Arc::clone(&self.session)))
    }
}
