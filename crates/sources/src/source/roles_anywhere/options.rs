//! `kind: roles_anywhere`: IAM Roles Anywhere, with an X.509 certificate.

use std::{path::PathBuf, sync::Arc};

use jiff::Timestamp;

use super::{Arns, Identity, IdentityError, IdentitySettings, Location, RolesAnywhere, Settings};
use crate::{
    credentials::{SessionName, format_timestamp},
    fetch::{Proxying, proxying},
    needs::{Need, Needs},
    refresh::{CallLimit, Fetch},
    settings::{
        Fields, Keys, NamedFiles, Node, Problem, Rendered, Setting,
        read::{self, render_duration},
        render::quoted,
    },
    source::{
        aws::{self, Aws},
        host_env::HostEnv,
        kind::{CertificateEnd, Kind, Opened, Opening, Provides, Unfit, Written},
        purpose::{Purpose, Serves},
    },
};

/// The source: the identity of this host, and the endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct Options {
    /// Certificate and key.
    pub identity: IdentitySettings,
    /// The trust anchor (`trust_anchor_arn`), which also says the region.
    pub trust_anchor_arn: String,
    /// The profile (`profile_arn`).
    pub profile_arn: String,
    /// How it is called.
    pub aws: Aws,
}

/// What an editor can know of an ARN.
const ARN: &str = "^arn:";

const SETTINGS: [Setting; 17] = [
    Setting::nested(
        "certificate",
        "",
        "PEM or DER file of the host's certificate, in PEM with its chain; or a `pkcs11:` URI.",
    ),
    Setting::nested("chain", "", "PEM or DER file of the certificates between the host's and the trust anchor."),
    Setting::nested(
        "key",
        "",
        "PEM or DER file of the private key (PKCS#8, PKCS#1, SEC1); or a `pkcs11:` URI such as \
         `pkcs11:token=hosts;object=web`. All of these files are read again for each call.",
    ),
    Setting::nested("passphrase_file", "", "File whose first line is the passphrase of an encrypted key (PKCS#8)."),
    Setting::nested("pkcs11_module", "", "The PKCS#11 module, unless the URI names it (`module-path`)."),
    Setting::nested(
        "pin_file",
        "",
        "File whose first line is the PIN of the token, unless the URI names it (`pin-source`).",
    ),
    Setting::nested(
        "trust_anchor_arn",
        "",
        "ARN of the trust anchor with the certificate authority. Its region is used.",
    ),
    Setting::nested("profile_arn", "", "ARN of the profile that lists the role."),
    Setting::nested("endpoint", "", "Another endpoint: `https://host[:port]`."),
    aws::FIPS,
    proxying::PROXY,
    proxying::NO_PROXY,
    aws::CA_FILE,
    aws::CONNECT_TIMEOUT,
    aws::TIMEOUT,
    Setting::nested(
        "rate",
        "5/s",
        "How many calls may begin: `5/s`, `300/m`. AWS accepts 10/s from all hosts of an account and region.",
    ),
    Setting::nested("concurrency", "4", "How many calls may run at once."),
];

impl Written for Options {
    const WORD: &'static str = "roles_anywhere";
}

impl Keys for Options {
    const SETTINGS: &'static [Setting] = &SETTINGS;

    fn read(fields: &mut Fields) -> Option<Self> {
        let certificate = needed(fields, "certificate", location);
        let chain = fields.optional("chain", read::path);
        let key = needed(fields, "key", location);
        let passphrase_file = fields.optional("passphrase_file", read::path);
        let pkcs11_module = fields.optional("pkcs11_module", read::path);
        let pin_file = fields.optional("pin_file", read::path);
        let trust_anchor_arn = needed(fields, "trust_anchor_arn", |node| read::text_like(node, ARN));
        let profile_arn = needed(fields, "profile_arn", |node| read::text_like(node, ARN));
        let endpoint = fields.optional("endpoint", aws::endpoint);
        let fips = fields.optional("fips", read::boolean);
        let proxying = Proxying::read(fields);
        let ca_file = fields.optional("ca_file", read::path);
        let connect_timeout = fields.value("connect_timeout", read::limit);
        let timeout = fields.value("timeout", read::limit);
        let rate = fields.value("rate", aws::rate);
        let concurrency = fields.value("concurrency", read::count);

        let arns = arns(fields, trust_anchor_arn.as_deref(), profile_arn.as_deref());
        let identity = IdentitySettings {
            certificate: certificate?,
            chain: chain?,
            key: key?,
            passphrase_file: passphrase_file?,
            pkcs11_module: pkcs11_module?,
            pin_file: pin_file?,
        };
        if let (Err(error), Some(place)) = (identity.check(), fields.place("key")) {
            fields.problems.push(Problem::new(place, error.to_string()).without_line());
        }
        Some(Self {
            identity,
            trust_anchor_arn: trust_anchor_arn?,
            profile_arn: profile_arn?,
            aws: Aws {
                region: arns?.region,
                endpoint: endpoint?,
                fips: fips?,
                dual_stack: None,
                proxying: proxying?,
                ca_file: ca_file?,
                connect_timeout: connect_timeout?,
                timeout: timeout?,
                rate: rate?,
                concurrency: concurrency?,
            },
        })
    }
}

fn needed<T>(fields: &mut Fields, key: &str, read: impl Fn(&Node) -> Result<T, Problem>) -> Option<T> {
    fields.required(key, &format!("a source of kind roles_anywhere needs a `{key}`"), read)
}

/// A path, or a URI. What is wrong with a URI is told without showing it: there may be a PIN in it.
fn location(node: &Node) -> Result<Location, Problem> {
    let text = read::text(node)?;
    Location::parse(&text).map_err(|error| Problem::new(node.place.clone(), error.to_string()).without_line())
}

fn arns(fields: &mut Fields, trust_anchor: Option<&str>, profile: Option<&str>) -> Option<Arns> {
    let place = fields.place("profile_arn")?;
    fields.note(Arns::new(trust_anchor?, profile?).map_err(|error| Problem::new(place, error.to_string())))
}

fn written(location: &Location) -> String {
    quoted(&match location {
        Location::File(path) => path.to_string_lossy().into_owned(),
        Location::Token(uri) => uri.to_string(),
    })
}

impl Rendered for Options {
    fn render(&self) -> Vec<(&'static str, String)> {
        let path = |path: &PathBuf| quoted(&path.to_string_lossy());
        let Self { identity, aws, .. } = self;
        let parts = [
            ("certificate", Some(written(&identity.certificate))),
            ("chain", identity.chain.as_ref().map(path)),
            ("key", Some(written(&identity.key))),
            ("passphrase_file", identity.passphrase_file.as_ref().map(path)),
            ("pkcs11_module", identity.pkcs11_module.as_ref().map(path)),
            ("pin_file", identity.pin_file.as_ref().map(path)),
            ("trust_anchor_arn", Some(quoted(&self.trust_anchor_arn))),
            ("profile_arn", Some(quoted(&self.profile_arn))),
            ("endpoint", aws.endpoint.as_deref().map(quoted)),
            ("fips", aws.fips.map(|fips| fips.to_string())),
            ("ca_file", aws.ca_file.as_ref().map(path)),
            ("connect_timeout", Some(render_duration(aws.connect_timeout))),
            ("timeout", Some(render_duration(aws.timeout))),
            ("rate", Some(aws::render_rate(aws.rate))),
            ("concurrency", Some(aws.concurrency.to_string())),
        ];
        let parts = parts.into_iter().filter_map(|(key, value)| Some((key, value?)));
        parts.chain(aws.proxying.render()).collect()
    }
}

impl Kind for Options {
    fn provides(&self) -> Provides {
        Provides::PerArn
    }

    fn summary(&self) -> String {
        format!("{}, with the certificate {}", self.aws.summary(), self.identity.certificate)
    }

    fn call_limit(&self) -> CallLimit {
        self.aws.call_limit()
    }

    fn is_role_session(&self) -> bool {
        true
    }

    fn accepts(&self) -> &'static [&'static str] {
        &["duration", "session_name"]
    }

    /// Its sets always have a session token.
    fn serves_long_term(&self) -> bool {
        true
    }

    fn region(&self) -> Option<&str> {
        Some(&self.aws.region)
    }

    fn proxying(&self) -> Option<&Proxying> {
        Some(&self.aws.proxying)
    }

    fn files(&self, _: &HostEnv, files: &mut NamedFiles) {
        let identity = &self.identity;
        for (key, location, secret) in [("certificate", &identity.certificate, false), ("key", &identity.key, true)] {
            match location {
                Location::File(path) if secret => files.secret(key, Some(path)),
                Location::File(path) => files.obeyed(key, Some(path)),
                Location::Token(uri) => {
                    files.obeyed("the PKCS#11 module", uri.module_path.as_ref());
                    files.secret("the file of the PIN", uri.pin_source.as_ref());
                }
            }
        }
        files.obeyed("chain", identity.chain.as_ref());
        files.secret("passphrase_file", identity.passphrase_file.as_ref());
        files.obeyed("pkcs11_module", identity.pkcs11_module.as_ref());
        files.secret("pin_file", identity.pin_file.as_ref());
        files.authorities("ca_file", self.aws.ca_file.as_ref());
    }

    fn examine(&self, now: Timestamp) -> Option<Result<String, Unfit>> {
        let found = Identity::new(self.identity.clone()).examine(now).map(|found| {
            let end = format_timestamp(found.not_after);
            format!("{} ({}, {} more in the chain), valid until {end}", found.subject, found.key, found.chain)
        });
        Some(found.map_err(|error| Unfit {
            problem: error.to_string(),
            certain: !matches!(error, IdentityError::Time { .. }) && self.identity.is_here(),
        }))
    }

    fn needs(&self, host_env: &HostEnv, needs: &mut Needs) {
        self.aws.calls(host_env, self.aws.endpoint.as_deref(), "IAM Roles Anywhere", needs);
        let locations = [&self.identity.certificate, &self.identity.key];
        if locations.into_iter().any(|location| matches!(location, Location::Token(_))) {
            needs.add(Need::ForeignCode, "a PKCS#11 module");
        }
    }

    fn open(&self, opening: &Opening) -> Result<Arc<dyn Opened>, String> {
        let identity = Identity::new(self.identity.clone());
        Ok(Arc::new(Ready { options: self.clone(), identity, host_env: opening.host_env.clone() }))
    }
}

/// Certificate and key are shared by the roles.
struct Ready {
    options: Options,
    identity: Arc<Identity>,
    host_env: HostEnv,
}

impl Opened for Ready {
    fn call(&self, purpose: &Purpose, _: Serves) -> Result<Arc<dyn Fetch>, String> {
        let Options { aws, trust_anchor_arn, profile_arn, .. } = &self.options;
        let arns = Arns::new(trust_anchor_arn, profile_arn).map_err(|error| error.to_string())?;
        let fips = aws.fips.or(self.host_env.aws.use_fips_endpoint).unwrap_or_default();
        let session = purpose.session;
        let settings = Settings {
            endpoint: aws.endpoint.clone().unwrap_or_else(|| arns.endpoint(fips)),
            region: aws.region.clone(),
            trust_anchor_arn: trust_anchor_arn.clone(),
            profile_arn: profile_arn.clone(),
            role_arn: purpose.role_arn.ok_or("a role's ARN is needed")?.clone(),
            duration: session.duration,
            // Profiles refuse a name unless they are told to accept it, so only one that was written is sent.
            session_name: (session.name != SessionName::default()).then(|| purpose.session_name()),
        };
        let http = aws.http(&self.host_env)?;
        let role = RolesAnywhere::new(settings, Arc::clone(&self.identity), &http, Arc::clone(&self.host_env.clock));
        Ok(Arc::new(role.map_err(|error| error.to_string())?))
    }

    fn certificate_end(&self) -> Option<CertificateEnd> {
        let identity = Arc::clone(&self.identity);
        Some(Box::new(move || identity.end()))
    }
}
