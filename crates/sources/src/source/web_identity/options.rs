//! `kind: web_identity`: a token of an OpenID Connect issuer for credentials.

use std::{path::PathBuf, sync::Arc};

use super::{Settings, WebIdentity};
use crate::{
    fetch::Proxying,
    needs::Needs,
    refresh::{CallLimit, Fetch},
    settings::{NamedFiles, Setting, options, read},
    source::{
        aws::Aws,
        host_env::HostEnv,
        kind::{Kind, Opened, Opening, Provides, Written},
        purpose::{Purpose, Serves},
    },
};

options! {
    /// The token and where it is shown.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(in crate::source) struct Options {
        /// The file of the token.
        pub token_file: PathBuf = Setting::nested(
            "token_file",
            "",
            "The file of the token, which is read again for each call. Required.",
        ) => required("a web identity needs a `token_file`, such as /var/run/secrets/tokens/aws", read::path);
        /// How STS is called.
        pub aws: Aws;
    }
}

impl Written for Options {
    const WORD: &'static str = "web_identity";
}

impl Kind for Options {
    fn provides(&self) -> Provides {
        Provides::PerArn
    }

    fn summary(&self) -> String {
        format!("{}, {}", self.token_file.display(), self.aws.summary())
    }

    fn call_limit(&self) -> CallLimit {
        self.aws.call_limit()
    }

    fn is_role_session(&self) -> bool {
        true
    }

    fn accepts(&self) -> &'static [&'static str] {
        &["session_name", "duration", "policy", "policy_arns"]
    }

    fn region(&self) -> Option<&str> {
        Some(&self.aws.region)
    }

    fn proxying(&self) -> Option<&Proxying> {
        Some(&self.aws.proxying)
    }

    fn files(&self, _: &HostEnv, files: &mut NamedFiles) {
        files.secret("token_file", Some(&self.token_file));
        files.authorities("ca_file", self.aws.ca_file.as_ref());
    }

    fn needs(&self, host_env: &HostEnv, needs: &mut Needs) {
        self.aws.needs(host_env, needs);
    }

    fn open(&self, opening: &Opening) -> Result<Arc<dyn Opened>, String> {
        let host_env = opening.host_env;
        let settings = Settings { token_file: self.token_file.clone(), sts: self.aws.sts(host_env)? };
        Ok(Arc::new(Ready(Arc::new(WebIdentity::new(settings, host_env.clock.clone())))))
    }
}

/// It is shared by its roles.
struct Ready(Arc<WebIdentity>);

impl Opened for Ready {
    fn call(&self, purpose: &Purpose, _: Serves) -> Result<Arc<dyn Fetch>, String> {
        let request = purpose.request().ok_or("needs a role_arn")?;
        Ok(Arc::new(self.0.role(request)))
    }
}
