//! `kind: profile`: a profile of the SDK's own files.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{Profile, Settings, at_home};
use crate::{
    fetch::Proxying,
    needs::{Need, Needs},
    refresh::CallLimit,
    settings::{NamedFiles, Setting, options, read},
    source::{
        aws::{Aws, Environment},
        host_env::HostEnv,
        kind::{Kind, One, Opened, Opening, Provides, Written},
        long_term::{LIFETIME, SERVE_LONG_TERM, lifetime},
        process::{render_variables, variables},
    },
};

options! {
    /// The profile, where it is, and how AWS is called for it.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(in crate::source) struct Options {
        /// Its name.
        pub profile: String = Setting::nested("profile", "default", "The name of the profile.") => value(read::text);
        /// The directory in which `.aws` is; by default the daemon's `HOME`.
        pub home: Option<PathBuf> = Setting::nested(
            "home",
            "",
            "The directory that contains `.aws`, with the two files and the SSO cache; by default the daemon's `HOME`.",
        ) => optional(read::path);
        /// In place of `~/.aws/config`.
        pub config_file: Option<PathBuf> = Setting::nested("config_file", "", "Replaces `~/.aws/config`.")
            => optional(read::path);
        /// In place of `~/.aws/credentials`.
        pub credentials_file: Option<PathBuf> = Setting::nested("credentials_file", "", "Replaces `~/.aws/credentials`.")
            => optional(read::path);
        /// Variables of a `credential_process` beside `PATH` and `HOME`.
        pub environment: Vec<(String, String)> = Setting::nested(
            "environment",
            "",
            "A mapping of variables for a `credential_process` of the profile, which gets these, `PATH` and `HOME`, and \
             no other.",
        ) => or_empty(variables) as render_variables;
        /// How long a set without an end is taken to be good.
        pub lifetime: Duration = LIFETIME => value(lifetime);
        /// Whether clients get sets without a session token.
        pub serve_long_term: bool = SERVE_LONG_TERM => value(read::boolean);
        /// How AWS is called. Endpoints are the profile's own.
        pub aws: Aws;
    }
}

impl Written for Options {
    const WORD: &'static str = "profile";
}

impl Options {
    fn settings(&self, host_env: &HostEnv) -> Result<Settings, String> {
        let own_home = host_env.home.as_deref().unwrap_or(Path::new("~"));
        let home = self.home.as_deref().map(|home| at_home(home, own_home));
        let home = home.or_else(|| host_env.home.clone());
        let home = home.ok_or("has no `home`, and the daemon has no HOME")?;
        Ok(Settings {
            profile: self.profile.clone(),
            config_file: self.config_file.as_deref().map(|file| at_home(file, &home)),
            credentials_file: self.credentials_file.as_deref().map(|file| at_home(file, &home)),
            launcher: host_env.launcher.clone(),
            environment: host_env.variables(Some(&home), &self.environment),
            home,
            region: self.aws.region.clone(),
            endpoints: endpoints(&self.aws, &host_env.aws),
            http: self.aws.http(host_env)?,
            assumed_lifetime: self.lifetime,
        })
    }
}

/// What the source or the daemon's environment says of the endpoints of a profile's calls, as variables of the SDKs.
fn endpoints(aws: &Aws, environment: &Environment) -> Vec<(&'static str, String)> {
    let flag = |own: Option<bool>, other: Option<bool>| own.or(other).map(|flag| flag.to_string());
    let all = match &aws.endpoint {
        Some(url) => [Some(("AWS_ENDPOINT_URL", url.clone())), None, None],
        None => [
            environment.endpoint_url_sts.clone().map(|url| ("AWS_ENDPOINT_URL_STS", url)),
            flag(aws.fips, environment.use_fips_endpoint).map(|flag| ("AWS_USE_FIPS_ENDPOINT", flag)),
            flag(aws.dual_stack, environment.use_dualstack_endpoint).map(|flag| ("AWS_USE_DUALSTACK_ENDPOINT", flag)),
        ],
    };
    all.into_iter().flatten().collect()
}

impl Kind for Options {
    fn provides(&self) -> Provides {
        Provides::One
    }

    fn summary(&self) -> String {
        format!("{}, {}", self.profile, self.aws.summary())
    }

    fn call_limit(&self) -> CallLimit {
        self.aws.call_limit()
    }

    fn serves_long_term(&self) -> bool {
        self.serve_long_term
    }

    fn proxying(&self) -> Option<&Proxying> {
        Some(&self.aws.proxying)
    }

    /// The two files can name programs.
    fn files(&self, host_env: &HostEnv, files: &mut NamedFiles) {
        let home = self.home.as_ref().or(host_env.home.as_ref());
        for (key, path, usual) in [
            ("config_file", &self.config_file, ".aws/config"),
            ("credentials_file", &self.credentials_file, ".aws/credentials"),
        ] {
            files.obeyed(key, path.clone().or_else(|| Some(home?.join(usual))));
        }
        files.authorities("ca_file", self.aws.ca_file.as_ref());
    }

    /// What its files say is known only when they are read.
    fn needs(&self, host_env: &HostEnv, needs: &mut Needs) {
        needs.add(Need::Programs, "a credential_process of its files");
        needs.add(Need::ConnectAnywhere, "endpoints that its files name");
        if let Some(home) = self.home.as_ref().or(host_env.home.as_ref()) {
            needs.read(&home.join(".aws"), "the files of the profile");
            needs.add(Need::Write(home.join(".aws/login/cache")), "the cache of `aws login`, which is renewed");
        }
    }

    fn open(&self, opening: &Opening) -> Result<Arc<dyn Opened>, String> {
        let host_env = opening.host_env;
        let profile = Profile::new(self.settings(host_env)?, host_env.clock.clone());
        Ok(Arc::new(One(Arc::new(profile))))
    }
}
