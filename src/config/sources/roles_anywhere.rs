//! `kind: roles_anywhere`: IAM Roles Anywhere, with an X.509 certificate.

use std::path::PathBuf;

use super::{
    super::proxies::{self, Proxying},
    Aws, Kind, SourceKind, aws, setting,
};
use crate::source::roles_anywhere::{Arns, IdentitySettings, Location};
use alppaca_settings::{
    Setting,
    fields::Fields,
    problem::Problem,
    read::{self, render_duration},
    render::quoted,
    yaml::Node,
};

/// The source: who we are, and whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolesAnywhere {
    /// Certificate and key.
    pub identity: IdentitySettings,
    /// The trust anchor (`trust_anchor_arn`), which also says the region.
    pub trust_anchor_arn: String,
    /// The profile (`profile_arn`).
    pub profile_arn: String,
    /// How it is called.
    pub aws: Aws,
}

pub(in crate::config) const KIND: Kind = Kind {
    word: "roles_anywhere",
    settings: &SETTINGS,
    read: |fields| read(fields).map(|source| SourceKind::RolesAnywhere(Box::new(source))),
};

const SETTINGS: [Setting; 17] = [
    setting("certificate", "", "PEM or DER file of the host's certificate, in PEM with its chain; or a `pkcs11:` URI."),
    setting("chain", "", "PEM or DER file of the certificates between the host's and the trust anchor."),
    setting(
        "key",
        "",
        "PEM or DER file of the private key (PKCS#8, PKCS#1, SEC1); or a `pkcs11:` URI such as \
         `pkcs11:token=hosts;object=web`. All of these files are read again for each call.",
    ),
    setting("passphrase_file", "", "File whose first line is the passphrase of an encrypted key (PKCS#8)."),
    setting("pkcs11_module", "", "The PKCS#11 module, unless the URI names it (`module-path`)."),
    setting("pin_file", "", "File whose first line is the PIN of the token, unless the URI names it (`pin-source`)."),
    setting("trust_anchor_arn", "", "ARN of the trust anchor with the certificate authority. Its region is used."),
    setting("profile_arn", "", "ARN of the profile that lists the role."),
    setting("endpoint", "", "Another endpoint: `https://host[:port]`."),
    aws::SETTINGS[2],
    proxies::SETTINGS[0],
    proxies::SETTINGS[1],
    aws::SETTINGS[6],
    aws::SETTINGS[7],
    aws::SETTINGS[8],
    setting(
        "rate",
        "5/s",
        "How many calls may begin: `5/s`, `300/m`. AWS accepts 10/s from all hosts of an account and region.",
    ),
    setting("concurrency", "4", "How many calls may run at once."),
];

fn read(fields: &mut Fields) -> Option<RolesAnywhere> {
    let certificate = required(fields, "certificate", location);
    let chain = fields.optional("chain", read::path);
    let key = required(fields, "key", location);
    let passphrase_file = fields.optional("passphrase_file", read::path);
    let pkcs11_module = fields.optional("pkcs11_module", read::path);
    let pin_file = fields.optional("pin_file", read::path);
    let trust_anchor_arn = required(fields, "trust_anchor_arn", read::text);
    let profile_arn = required(fields, "profile_arn", read::text);
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
    Some(RolesAnywhere {
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

fn required<T>(fields: &mut Fields, key: &str, read: impl Fn(&Node) -> Result<T, Problem>) -> Option<T> {
    if fields.given(key).is_none() {
        fields.problems.push(Problem::nowhere(format!("a source of kind roles_anywhere needs a `{key}`")));
        return None;
    }
    fields.optional(key, read).flatten()
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

pub(super) fn render(source: &RolesAnywhere) -> Vec<(&'static str, String)> {
    let path = |path: &PathBuf| quoted(&path.to_string_lossy());
    let RolesAnywhere { identity, aws, .. } = source;
    let parts = [
        ("certificate", Some(written(&identity.certificate))),
        ("chain", identity.chain.as_ref().map(path)),
        ("key", Some(written(&identity.key))),
        ("passphrase_file", identity.passphrase_file.as_ref().map(path)),
        ("pkcs11_module", identity.pkcs11_module.as_ref().map(path)),
        ("pin_file", identity.pin_file.as_ref().map(path)),
        ("trust_anchor_arn", Some(quoted(&source.trust_anchor_arn))),
        ("profile_arn", Some(quoted(&source.profile_arn))),
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

fn written(location: &Location) -> String {
    quoted(&match location {
        Location::File(path) => path.to_string_lossy().into_owned(),
        Location::Token(uri) => uri.to_string(),
    })
}

impl RolesAnywhere {
    /// In a few words.
    pub(in crate::config) fn summary(&self) -> String {
        format!("{}, with the certificate {}", self.aws.summary(), self.identity.certificate)
    }
}
