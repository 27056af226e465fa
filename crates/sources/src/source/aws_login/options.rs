//! `kind: aws_login`: what a person may do who signs in at the AWS console.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::Login;
use crate::{
    fetch::Proxying,
    needs::{Need, Needs},
    refresh::{CallLimit, Fetch},
    settings::{Fields, NamedFiles, Setting, options, read},
    sign_in::{ConsoleSettings, KEEP_SIGN_IN, Known, Session, Settings as SignIn},
    source::{
        aws,
        host_env::HostEnv,
        kind::{Kind, Opened, Opening, Provides, Written},
        purpose::{Purpose, Serves},
    },
};

options! {
    /// The sign-in service, and how it is called.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(in crate::source) struct Options {
        /// Where one signs in.
        pub region: String = Setting::nested("region", "eu-central-1", "The region of the sign-in service.")
            => value(read::region);
        /// Whether the sign-in outlives the daemon.
        pub keep_sign_in: bool = KEEP_SIGN_IN => value(read::boolean);
        /// In place of AWS's own.
        pub endpoint: Option<String> = Setting::nested(
            "endpoint",
            "",
            "Another endpoint: `https://host[:port]`.",
        ) => optional(aws::endpoint);
        /// Whether the FIPS endpoint is called.
        pub fips: Option<bool> = aws::FIPS => optional(read::boolean);
        /// Further certificate authorities.
        pub ca_file: Option<PathBuf> = aws::CA_FILE => optional(read::path);
        /// For one connection.
        pub connect_timeout: Duration = aws::CONNECT_TIMEOUT => value(read::limit);
        /// For one whole call.
        pub timeout: Duration = aws::TIMEOUT => value(read::limit);
        /// The proxy in front of AWS.
        pub proxying: Proxying;
    }
    before Options::exclusions;
    after Options::warn;
}

impl Written for Options {
    const WORD: &'static str = "aws_login";
}

impl Options {
    fn exclusions(fields: &mut Fields) {
        fields.exclude("endpoint", &["fips"]);
    }

    #[expect(clippy::unnecessary_wraps, reason = "a check may refuse what was read")]
    fn warn(self, fields: &mut Fields) -> Option<Self> {
        aws::warn_of_clear_text(self.endpoint.as_deref(), fields);
        Some(self)
    }
}

impl Kind for Options {
    fn provides(&self) -> Provides {
        Provides::One
    }

    fn summary(&self) -> String {
        let at = self.endpoint.as_ref().unwrap_or(&self.region);
        format!("sign-in at the AWS console, {at}{}", self.proxying.summary())
    }

    /// One set for all roles.
    fn call_limit(&self) -> CallLimit {
        CallLimit { concurrency: 1, rate: None }
    }

    /// Its sets always have a session token.
    fn serves_long_term(&self) -> bool {
        true
    }

    fn is_personal(&self) -> bool {
        true
    }

    fn region(&self) -> Option<&str> {
        Some(&self.region)
    }

    fn proxying(&self) -> Option<&Proxying> {
        Some(&self.proxying)
    }

    fn files(&self, _: &HostEnv, files: &mut NamedFiles) {
        files.authorities("ca_file", self.ca_file.as_ref());
    }

    fn needs(&self, _: &HostEnv, needs: &mut Needs) {
        needs.add(Need::ConnectAnywhere, "servers of the sign-in");
    }

    fn open(&self, opening: &Opening) -> Result<Arc<dyn Opened>, String> {
        let host_env = opening.host_env;
        let limits = (self.connect_timeout, self.timeout);
        let http = host_env.to_aws(limits, self.ca_file.as_ref(), &self.proxying)?;
        let fips = self.fips.or(host_env.aws.use_fips_endpoint).unwrap_or_default();
        let at = (&*self.region, self.endpoint.as_deref(), fips);
        let settings = ConsoleSettings::new(opening.name, at, self.keep_sign_in, http);
        Ok(Arc::new(Ready(host_env.sign_ins.session(&SignIn::Console(settings)))))
    }
}

struct Ready(Arc<Session>);

impl Opened for Ready {
    fn call(&self, _: &Purpose, _: Serves) -> Result<Arc<dyn Fetch>, String> {
        Ok(Arc::new(Login(Arc::clone(&self.0))))
    }

    fn sign_in(&self) -> Option<Known> {
        Some(Known::Provider(Arc::clone(&self.0)))
    }
}
