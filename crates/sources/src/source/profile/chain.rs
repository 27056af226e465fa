//! From a profile along its `source_profile`s to where the credentials come from, as the AWS SDK for Rust goes. What would
//! have no effect is refused with its file and line.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::files::{Read, Section, Setting, at_home, plain, unquoted};

/// The way from a profile to its credentials.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// The profile at its end.
    pub(super) profile: String,
    pub(super) base: Base,
    /// Whether roles are assumed with what the base gives.
    pub(super) roles: bool,
}

/// Where the credentials come from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// Keys, SSO, and what is wrong: the SDK's part.
    Sdk,
    /// A token in this file.
    WebIdentity(PathBuf),
    /// An SSO session with a name that the SDK does not take.
    Sso(String),
    /// `aws login`: the name of the session.
    Login(String),
    /// A program's output.
    Process {
        /// Where it stands.
        place: String,
        command: String,
        /// The profile's account, used if the program returns none.
        account: Option<String>,
    },
}

/// All sections about one profile.
struct Profile<'a>(Vec<(&'a Read, &'a Section)>);

impl<'a> Profile<'a> {
    /// In the order in which settings count: those of the later file, and the last in a file.
    fn find(files: &'a [Read], name: &'a str) -> Self {
        let sections =
            files.iter().rev().flat_map(|file| file.sections_of(name).rev().map(move |section| (file, section)));
        Self(sections.collect())
    }

    fn setting(&self, key: &str) -> Option<(&'a Read, &'a Setting)> {
        let found = self.0.iter().find_map(|(file, section)| Some((*file, section.get(key)?)));
        found.filter(|(_, setting)| !setting.value.is_empty())
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.setting(key).map(|(_, setting)| setting.value.as_str())
    }

    fn place(&self, key: &str) -> String {
        let place = |(file, setting): (&Read, &Setting)| format!("{}:{}", file.path.display(), setting.line);
        self.setting(key).map(place).unwrap_or_default()
    }

    fn refuse(&self, key: &str, why: &str) -> Result<(), String> {
        match self.get(key) {
            Some(_) => Err(format!("{}: {why}", self.place(key))),
            None => Ok(()),
        }
    }

    /// What would be left out without a word.
    fn check(&self) -> Result<(), String> {
        if self.get("role_arn").is_none() {
            return Ok(());
        }
        self.refuse(
            "mfa_serial",
            "mfa_serial needs a code from a person, which a daemon does not have; remove it, or let a \
             program log in (`kind: process`)",
        )?;
        if self.get("duration_seconds").is_some_and(|seconds| seconds != "3600") {
            self.refuse(
                "duration_seconds",
                "duration_seconds is not supported; configure the role in `roles` with `role_arn` and \
                 `duration`, and give it the source_profile as its source",
            )?;
        }
        Ok(())
    }

    /// Where the profile's own credentials come from, in the order of the SDK.
    fn base(&self, is_first: bool, home: &Path) -> Base {
        let has = |key: &str| self.get(key).is_some();
        let keys = has("aws_access_key_id") && has("aws_secret_access_key");
        let sso = ["sso_session", "sso_start_url", "sso_region", "sso_account_id", "sso_role_name"];
        if has("credential_source") || (keys && !is_first) {
            return Base::Sdk;
        }
        if let Some(file) = self.get("web_identity_token_file") {
            return Base::WebIdentity(at_home(Path::new(file), home));
        }
        if sso.into_iter().any(has) {
            let session = self.get("sso_session").map(unquoted).filter(|name| plain(name) != *name);
            return session.map_or(Base::Sdk, |name| Base::Sso(name.to_owned()));
        }
        if let Some(session) = self.get("login_session") {
            return Base::Login(session.to_owned());
        }
        self.get("credential_process").map_or(Base::Sdk, |command| Base::Process {
            place: self.place("credential_process"),
            command: command.to_owned(),
            account: self.get("aws_account_id").map(str::to_owned),
        })
    }
}

/// How a profile says that a service is called.
pub(super) struct Calls<'a> {
    pub(super) region: Option<&'a str>,
    pub(super) endpoint: Option<&'a str>,
    pub(super) fips: bool,
}

/// How the profile `name` says that `service` is called.
pub(super) fn calls<'a>(files: &'a [Read], name: &'a str, service: &str) -> Calls<'a> {
    let profile = Profile::find(files, name);
    let section = profile.get("services").map(unquoted);
    let section = section.and_then(|name| files.iter().rev().find_map(|file| file.section("services", name)));
    let nested = section.and_then(|section| {
        let lines = section.get(service)?.value.lines();
        lines.filter_map(|line| line.split_once('=')).find(|(key, _)| key.trim() == "endpoint_url")
    });
    Calls {
        region: profile.get("region"),
        endpoint: nested.map(|(_, url)| url.trim()).or_else(|| profile.get("endpoint_url")),
        fips: profile.get("use_fips_endpoint").is_some_and(|flag| flag.eq_ignore_ascii_case("true")),
    }
}

/// Follows the profile `name`. What keeps it from working, or would be left out without a word, is an error for a person.
pub(super) fn follow(files: &[Read], name: &str, home: &Path) -> Result<Chain, String> {
    let mut seen: Vec<&str> = Vec::new();
    let mut next = name;
    loop {
        let profile = Profile::find(files, next);
        if profile.0.is_empty() {
            return Err(unknown(files, next, seen.last().copied()));
        }
        profile.check()?;
        let is_role = profile.get("role_arn").is_some() && profile.get("web_identity_token_file").is_none();
        let source = profile.get("source_profile").map(unquoted).filter(|_| is_role);
        let base = match source {
            // A circle: the SDK reports it.
            Some(source) if source != next && seen.contains(&source) => Base::Sdk,
            Some(source) if source != next => {
                seen.push(next);
                next = source;
                continue;
            }
            _ => profile.base(seen.is_empty(), home),
        };
        return Ok(Chain { profile: next.to_owned(), base, roles: is_role || !seen.is_empty() });
    }
}

fn unknown(files: &[Read], name: &str, from: Option<&str>) -> String {
    let mut known: BTreeSet<&str> = BTreeSet::new();
    for file in files {
        known.extend(file.profiles());
    }
    let paths: Vec<String> = files.iter().map(|file| file.path.display().to_string()).collect();
    let names: Vec<&str> = known.into_iter().take(20).collect();
    let names = if names.is_empty() { "none at all".to_owned() } else { names.join(", ") };
    let from = from.map(|from| format!(", which is the source_profile of {from:?}")).unwrap_or_default();
    format!("there is no profile {name:?}{from} in {}; there is {names}", paths.join(" and "))
}

#[cfg(test)]
mod tests {
    use super::{
        super::files::{Kind, tests::read},
        *,
    };

    #[test]
    fn what_would_be_left_out_without_a_word_is_refused_with_its_line() {
        let base = "[profile b]\naws_access_key_id = K\n";
        let role = "[profile x]\nrole_arn = r\nsource_profile = b\n";
        for (text, problem) in [
            (format!("{role}mfa_serial = m\n{base}"), "f:4: mfa_serial needs a code"),
            (format!("{role}duration_seconds = 900\n{base}"), "f:4: duration_seconds is not supported"),
            (role.to_owned(), "no profile \"b\", which is the source_profile of \"x\" in f; there is x"),
            (base.to_owned(), "there is no profile \"x\" in f; there is b"),
            (String::new(), "there is no profile \"x\" in f; there is none at all"),
        ] {
            let said = follow(&[read(Kind::Config, &text).expect("legal")], "x", Path::new("/h")).expect_err(&text);
            assert!(said.contains(problem), "{said}");
        }
        for text in [
            format!("{role}duration_seconds = 3600\n{base}"),
            format!("{base}mfa_serial = m\n{role}"),
            "[profile x]\nrole_arn = r\nsource_profile = x\n".to_owned(),
        ] {
            follow(&[read(Kind::Config, &text).expect("legal")], "x", Path::new("/h")).expect(&text);
        }
    }

    #[test]
    fn the_end_of_the_chain_is_where_the_sdk_finds_it() {
        let program = || Base::Process { place: "f:2".to_owned(), command: "p".to_owned(), account: None };
        let process = "[profile b]\ncredential_process = p\n";
        let keys = "aws_access_key_id = K\naws_secret_access_key = S\n";
        let role = "[profile x]\nrole_arn = r\nsource_profile = ";
        for (text, end, base, roles) in [
            (process.to_owned(), "b", program(), false),
            (format!("{process}{role}b\n"), "b", program(), true),
            (format!("{process}{keys}"), "b", program(), false),
            (format!("{process}{keys}{role}b\n"), "b", Base::Sdk, true),
            (format!("{process}sso_session = s\n"), "b", Base::Sdk, false),
            (format!("{process}sso_session = \"s t\"\n"), "b", Base::Sso("s t".to_owned()), false),
            (format!("{process}login_session = l\n"), "b", Base::Login("l".to_owned()), false),
            (format!("{process}login_session = l\n{role}b\n"), "b", Base::Login("l".to_owned()), true),
            (format!("{process}role_arn = r\nsource_profile = b\n"), "b", program(), true),
            (
                format!("{process}role_arn = r\nweb_identity_token_file = ~/t\n"),
                "b",
                Base::WebIdentity("/h/t".into()),
                false,
            ),
            (format!("{process}role_arn = r\ncredential_source = Environment\n"), "b", Base::Sdk, true),
        ] {
            let files = [read(Kind::Config, &text).expect("legal")];
            let first = if text.contains("[profile x]") { "x" } else { "b" };
            let chain = follow(&files, first, Path::new("/h")).expect(&text);
            assert_eq!(chain, Chain { profile: end.to_owned(), base, roles }, "{text}");
        }
    }

    #[test]
    fn what_is_said_of_one_service_goes_before_what_is_said_of_all() {
        let text = "[profile x]\nservices = a b\nendpoint_url = http://all\nuse_fips_endpoint = True\n\
                    [services \"a b\"]\nsignin =\n  endpoint_url = http://one\n";
        let files = [read(Kind::Config, text).expect("legal")];
        let of = |service| calls(&files, "x", service);
        assert_eq!((of("signin").endpoint, of("sts").endpoint), (Some("http://one"), Some("http://all")));
        assert!(of("signin").fips && of("signin").region.is_none());
    }
}
