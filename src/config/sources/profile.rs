//! `kind: profile`: a profile of the SDK's own files.

use std::{path::PathBuf, time::Duration};

use super::{
    Aws, Kind, SourceKind, aws, concat,
    process::{LIFETIME, SERVE_LONG_TERM, lifetime, render_variables, variables},
    setting,
};
use alppaca_settings::{
    Setting,
    fields::Fields,
    read::{self, render_duration},
    render::quoted,
};

/// The profile, where it is, and how AWS is called for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its name (`profile`).
    pub profile: String,
    /// The directory in which `.aws` is (`home`); by default the daemon's `HOME`.
    pub home: Option<PathBuf>,
    /// In place of `~/.aws/config` (`config_file`).
    pub config_file: Option<PathBuf>,
    /// In place of `~/.aws/credentials` (`credentials_file`).
    pub credentials_file: Option<PathBuf>,
    /// Variables of a `credential_process` beside `PATH` and `HOME` (`environment`).
    pub environment: Vec<(String, String)>,
    /// How long a set without an end is taken to be good (`lifetime`).
    pub lifetime: Duration,
    /// Whether clients get sets without a session token (`serve_long_term`).
    pub serve_long_term: bool,
    /// How AWS is called. Endpoints are the profile's own.
    pub aws: Aws,
}

pub(in crate::config) const KIND: Kind = Kind {
    word: "profile",
    settings: &SETTINGS,
    read: |fields| read_profile(fields).map(|profile| SourceKind::Profile(Box::new(profile))),
};

const OWN: [Setting; 7] = [
    setting("profile", "default", "The name of the profile."),
    setting(
        "home",
        "",
        "The directory that contains `.aws`, with the two files and the SSO cache; by default the daemon's `HOME`.",
    ),
    setting("config_file", "", "Replaces `~/.aws/config`."),
    setting("credentials_file", "", "Replaces `~/.aws/credentials`."),
    setting(
        "environment",
        "",
        "A mapping of variables for a `credential_process` of the profile, which gets these, `PATH` and `HOME`, and \
         no other.",
    ),
    LIFETIME,
    SERVE_LONG_TERM,
];
const SETTINGS: [Setting; aws::COUNT + 7] = concat(OWN, aws::SETTINGS);

fn read_profile(fields: &mut Fields) -> Option<Profile> {
    let profile = fields.value("profile", read::text);
    let home = fields.optional("home", read::path);
    let config_file = fields.optional("config_file", read::path);
    let credentials_file = fields.optional("credentials_file", read::path);
    let environment = fields.optional("environment", variables);
    let lifetime = fields.value("lifetime", lifetime);
    let serve_long_term = fields.value("serve_long_term", read::boolean);
    let aws = Aws::read(fields);
    Some(Profile {
        profile: profile?,
        home: home?,
        config_file: config_file?,
        credentials_file: credentials_file?,
        environment: environment?.unwrap_or_default(),
        lifetime: lifetime?,
        serve_long_term: serve_long_term?,
        aws: aws?,
    })
}

pub(super) fn render(profile: &Profile) -> Vec<(&'static str, String)> {
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| quoted(&path.to_string_lossy()));
    let optional = [
        ("home", path(&profile.home)),
        ("config_file", path(&profile.config_file)),
        ("credentials_file", path(&profile.credentials_file)),
    ];
    let mut all = vec![("profile", quoted(&profile.profile))];
    all.extend(optional.into_iter().filter_map(|(key, value)| Some((key, value?))));
    all.extend(render_variables(&profile.environment));
    all.push(("lifetime", render_duration(profile.lifetime)));
    all.push(("serve_long_term", profile.serve_long_term.to_string()));
    all.extend(profile.aws.render());
    all
}

impl Profile {
    /// In a few words.
    pub(in crate::config) fn summary(&self) -> String {
        format!("{}, {}", self.profile, self.aws.summary())
    }
}
