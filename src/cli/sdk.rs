//! What the AWS SDKs take from a user's environment and files, and in which order: shared by `exec` and `doctor`.
//!
//! Order of the default chains: botocore `credentials.py` (`create_credential_resolver`), aws-config
//! `default_provider/credentials.rs`, `credentialproviders` of the SDKs for Go and Java; all ask variables first, then web
//! identity and profiles (either may come first), then the container endpoint, and IMDS last.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
};

use crate::source::profile::at_home;

/// Variables that hold credentials, or say where others than ours come from.
pub(super) const CREDENTIAL_VARIABLES: [&str; 17] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_ACCESS_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_CREDENTIAL_FILE",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
];

/// Variables that name a proxy for `http:` URLs.
pub(super) const PROXY_VARIABLES: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];

/// Settings of a profile that give it credentials, in the words of both files.
const CREDENTIAL_SETTINGS: [&str; 7] = [
    "aws_access_key_id",
    "role_arn",
    "credential_process",
    "web_identity_token_file",
    "sso_session",
    "sso_start_url",
    "credential_source",
];

/// Variables by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Variables(pub(super) BTreeMap<String, String>);

impl Variables {
    /// A variable that is set and not empty: the SDKs take an empty one for none.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The first of some that is set, and its value.
    pub(super) fn first<'a>(&'a self, names: &[&'a str]) -> Option<(&'a str, &'a str)> {
        names.iter().find_map(|name| self.get(name).map(|value| (*name, value)))
    }

    /// Whether a flag is set, as the SDKs read flags.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// Whether requests to `host` go round the proxies.
    pub(super) fn avoids_proxy(&self, host: &str) -> bool {
        let Some((_, list)) = self.first(&["no_proxy", "NO_PROXY"]) else { return false };
        list.split(',').map(str::trim).any(|entry| {
            let entry = entry.rsplit_once(':').filter(|(name, _)| !name.contains(':')).map_or(entry, |(name, _)| name);
            entry == "*" || entry == host || in_network(entry, host)
        })
    }
}

/// Whether `host` is an address of the network `entry` (`169.254.0.0/16`), which some clients understand.
fn in_network(entry: &str, host: &str) -> bool {
    let network = entry.parse::<ipnet::IpNet>();
    network.is_ok_and(|network| host.parse::<IpAddr>().is_ok_and(|host| network.contains(&host)))
}

/// The profiles of one file.
#[derive(Debug, Clone, Default)]
pub(super) struct ProfileFile {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Name to settings.
    profiles: BTreeMap<String, BTreeMap<String, String>>,
}

/// The two files of the AWS SDKs.
#[derive(Debug, Clone, Default)]
pub(super) struct ProfileFiles {
    /// `~/.aws/config`.
    pub(super) config: ProfileFile,
    /// `~/.aws/credentials`.
    pub(super) credentials: ProfileFile,
}

/// A setting that gives a profile credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shadow<'a> {
    /// Where it stands.
    pub(super) file: &'a Path,
    /// What it is.
    pub(super) setting: &'static str,
    /// What it says.
    pub(super) value: &'a str,
}

impl ProfileFiles {
    /// Reads what `variables` point to. A file that is not there has no profiles.
    pub(super) fn read(variables: &Variables) -> Self {
        let home = variables.get("HOME").map(PathBuf::from);
        let file = |variable: &str, name: &str, prefixed: bool| {
            let own = home.as_deref().unwrap_or(Path::new("~"));
            let given = variables.get(variable).map(|file| at_home(Path::new(file), own));
            let Some(path) = given.or_else(|| home.as_ref().map(|home| home.join(name))) else {
                return ProfileFile::default();
            };
            let text = std::fs::read(&path).unwrap_or_default();
            ProfileFile { profiles: parse(&String::from_utf8_lossy(&text), prefixed), path }
        };
        Self {
            config: file("AWS_CONFIG_FILE", ".aws/config", true),
            credentials: file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials", false),
        }
    }

    /// The same with another file, of which this is the text, in the place of `~/.aws/config`.
    pub(super) fn with_config(self, path: PathBuf, text: &[u8]) -> Self {
        let profiles = parse(&String::from_utf8_lossy(text), true);
        Self { config: ProfileFile { path, profiles }, ..self }
    }

    /// What gives `profile` credentials of its own, if anything does.
    pub(super) fn shadow(&self, profile: &str) -> Option<Shadow<'_>> {
        [&self.credentials, &self.config].into_iter().find_map(|file| {
            let settings = file.profiles.get(profile)?;
            CREDENTIAL_SETTINGS
                .into_iter()
                .find_map(|setting| Some(Shadow { file: &file.path, setting, value: settings.get(setting)? }))
        })
    }

    /// Whether there is such a profile.
    pub(super) fn has(&self, profile: &str) -> bool {
        [&self.config, &self.credentials].iter().any(|file| file.profiles.contains_key(profile))
    }

    /// The value of a setting that only the configuration has.
    pub(super) fn setting(&self, profile: &str, setting: &str) -> Option<&str> {
        self.config.profiles.get(profile)?.get(setting).map(String::as_str)
    }
}

/// Reads the INI dialect of the SDKs, as far as credentials go: what is indented belongs to the setting above.
/// `prefixed`: as in the configuration, profiles but `default` are written `[profile NAME]`.
///
/// <https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html>
fn parse(text: &str, prefixed: bool) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut profiles: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut current: Option<String> = None;
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let words: Vec<&str> = name.split_whitespace().map(|word| word.trim_matches(['"', '\''])).collect();
            current = match (words.as_slice(), prefixed) {
                (["profile", name], true) | ([name], false) => Some((*name).to_owned()),
                (["default"], true) => Some("default".to_owned()),
                _ => None,
            };
            if let Some(name) = &current {
                profiles.entry(name.clone()).or_default();
            }
        } else if let (Some(name), false, Some((key, value))) =
            (&current, line.starts_with(char::is_whitespace), line.split_once('='))
        {
            let settings = profiles.entry(name.clone()).or_default();
            settings.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    profiles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_read_as_the_sdks_read_them() {
        let config = parse(
            "[default]\nregion = eu-west-1\ns3 =\n  aws_access_key_id = no\n# [x]\n[profile \"a\"]\nROLE_ARN=arn\n[b]\nx=1\n\
             [sso-session s]\nsso_start_url = u\n",
            true,
        );
        assert_eq!(config.keys().collect::<Vec<_>>(), ["a", "default"]);
        assert_eq!(config["a"]["role_arn"], "arn");
        assert!(!config["default"].contains_key("aws_access_key_id"));
        let credentials = parse("[default]\naws_access_key_id = K\n[b]\n", false);
        assert_eq!(credentials["default"]["aws_access_key_id"], "K");
        assert!(credentials.contains_key("b"));
    }

    #[test]
    fn no_proxy_is_understood_in_all_its_forms() {
        let avoids =
            |list: &str| Variables([("no_proxy".to_owned(), list.to_owned())].into()).avoids_proxy("169.254.169.254");
        for list in
            ["169.254.169.254", "a, 169.254.169.254 ", "*", "169.254.169.254:80", "169.254.0.0/16", "x,0.0.0.0/0"]
        {
            assert!(avoids(list), "{list}");
        }
        for list in ["", "169.254.169.25", "localhost", "10.0.0.0/8", "169.254.0.0/40", "::1"] {
            assert!(!avoids(list), "{list}");
        }
    }
}
