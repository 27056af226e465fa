//! The settings of a `RolesAnywhere`, and the errors in them.

use std::{fs::File, path::PathBuf, time::Duration};

use super::token_uri::{TokenUri, TokenUriError};
use crate::{
    credentials::{AccountId, Arn, Partition, RoleArn, is_session_name},
    fetch::SetupError as HttpError,
};

/// Limits of `durationSeconds`.
/// <https://docs.aws.amazon.com/rolesanywhere/latest/userguide/authentication-create-session.html>
pub const DURATION: std::ops::RangeInclusive<Duration> = Duration::from_mins(15)..=Duration::from_hours(12);

/// Where the certificate and its key are. All of it is read for each call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentitySettings {
    /// The certificate; in a PEM file its chain may follow.
    pub certificate: Location,
    /// Further certificates between ours and the trust anchor, PEM or DER.
    pub chain: Option<PathBuf>,
    /// The private key.
    pub key: Location,
    /// The passphrase of an encrypted key file; its first line counts.
    pub passphrase_file: Option<PathBuf>,
    /// The PKCS#11 module, unless the URI names it.
    pub pkcs11_module: Option<PathBuf>,
    /// The PIN of the token, unless the URI names a file; its first line counts.
    pub pin_file: Option<PathBuf>,
}

/// A file, or an object in a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A file.
    File(PathBuf),
    /// A PKCS#11 URI.
    Token(Box<TokenUri>),
}

impl Location {
    /// A path, or a URI that begins with `pkcs11:`.
    pub fn parse(text: &str) -> Result<Self, TokenUriError> {
        if TokenUri::is_meant(text) {
            TokenUri::parse(text).map(|uri| Self::Token(Box::new(uri)))
        } else {
            Ok(Self::File(text.into()))
        }
    }
}

/// One role that is got with the certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Base URL of the service, without a path; [`Arns::endpoint`] gives the usual one.
    pub endpoint: String,
    /// The region that is signed for.
    pub region: String,
    /// The trust anchor, which holds our certificate authority.
    pub trust_anchor_arn: String,
    /// The profile, which lists the role.
    pub profile_arn: String,
    /// The role.
    pub role_arn: RoleArn,
    /// For how long; the service decides if it is absent.
    pub duration: Option<Duration>,
    /// A name for the session. Only profiles with `acceptRoleSessionName` take it.
    pub session_name: Option<String>,
}

/// What is wrong with the settings of a role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// An ARN that is not one of the kind that is needed.
    #[error("{text:?} is not the ARN of a {kind}: it must look like {example}")]
    Arn {
        /// What was written.
        text: String,
        /// Of what it should be the ARN.
        kind: &'static str,
        /// How such a one looks.
        example: &'static str,
    },
    /// Trust anchor and profile must be of one region, and so must the call.
    #[error("the trust anchor is in {trust_anchor}, but the {what} in {other}; they must be in the same region")]
    Region {
        /// Region of the trust anchor.
        trust_anchor: String,
        /// `profile` or `call`.
        what: &'static str,
        /// Its region.
        other: String,
    },
    /// The session's name.
    #[error("{0:?} is not a session name: 2 to 64 characters of A-Z a-z 0-9 _ + = , . @ - are allowed")]
    SessionName(String),
    /// The session's duration.
    #[error("a session may last from 15 minutes to 12 hours")]
    Duration,
    /// Objects in tokens need a module.
    #[error("the URI {0} names no module-path, and no PKCS#11 module is configured")]
    NoModule(String),
    /// The endpoint, its proxy or its certificate authorities.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The body of the request.
    #[error("the request cannot be written: {0}")]
    Body(String),
    /// A binary that was built without PKCS#11.
    #[error("this alppaca was built without PKCS#11 (cargo feature pkcs11), so that {0} cannot be used")]
    NoPkcs11(String),
}

/// What the ARNs of trust anchor and profile say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arns {
    /// The region of both.
    pub region: String,
}

impl Arns {
    /// Checks that the two belong together.
    pub fn new(trust_anchor: &str, profile: &str) -> Result<Self, SetupError> {
        let example = "arn:aws:rolesanywhere:REGION:ACCOUNT:trust-anchor/ID";
        let region = region_of(trust_anchor, "rolesanywhere", "trust-anchor/")
            .filter(|region| !region.is_empty())
            .ok_or_else(|| SetupError::Arn { text: trust_anchor.to_owned(), kind: "trust anchor", example })?;
        let example = "arn:aws:rolesanywhere:REGION:ACCOUNT:profile/ID";
        let other = region_of(profile, "rolesanywhere", "profile/").ok_or_else(|| SetupError::Arn {
            text: profile.to_owned(),
            kind: "profile",
            example,
        })?;
        let arns = Self { region };
        arns.same_region("profile", &other)?;
        Ok(arns)
    }

    /// Complains of another region.
    pub fn same_region(&self, what: &'static str, other: &str) -> Result<(), SetupError> {
        if self.region == other {
            return Ok(());
        }
        Err(SetupError::Region { trust_anchor: self.region.clone(), what, other: other.to_owned() })
    }

    /// Where AWS serves IAM Roles Anywhere in this region.
    /// <https://docs.aws.amazon.com/general/latest/gr/rolesanywhere.html>
    pub fn endpoint(&self, fips: bool) -> String {
        let domain = Partition::of_region(&self.region).domain;
        let fips = if fips { "-fips" } else { "" };
        format!("https://rolesanywhere{fips}.{}.{domain}", self.region)
    }
}

/// Checks a session's name (`roleSessionName`).
pub fn check_session_name(text: &str) -> Result<(), SetupError> {
    if is_session_name(text) { Ok(()) } else { Err(SetupError::SessionName(text.to_owned())) }
}

/// The region of an ARN of `service` whose resource begins with `resource`.
fn region_of(arn: &str, service: &str, resource: &str) -> Option<String> {
    let arn = Arn::parse(arn).ok()?;
    let fine = arn.service == service
        && arn.account.parse::<AccountId>().is_ok()
        && arn.resource.strip_prefix(resource).is_some_and(|id| !id.is_empty());
    fine.then(|| arn.region.to_owned())
}

impl IdentitySettings {
    /// Checks what can be checked without looking at the files.
    pub fn check(&self) -> Result<(), SetupError> {
        for location in [&self.certificate, &self.key] {
            let Location::Token(uri) = location else { continue };
            if cfg!(not(feature = "pkcs11")) {
                return Err(SetupError::NoPkcs11(uri.text.clone()));
            }
            if uri.module_path.is_none() && self.pkcs11_module.is_none() {
                return Err(SetupError::NoModule(uri.text.clone()));
            }
        }
        Ok(())
    }

    /// Whether all that is needed is in files that can be read here.
    pub fn is_here(&self) -> bool {
        let files = [&self.certificate, &self.key].map(|location| match location {
            Location::File(path) => Some(path),
            Location::Token(_) => None,
        });
        let others = [&self.chain, &self.passphrase_file].into_iter().flatten();
        files.into_iter().chain(others.map(Some)).all(|path| path.is_some_and(|path| File::open(path).is_ok()))
    }
}

impl Settings {
    /// Checks all that the service would refuse anyway.
    pub fn check(&self) -> Result<(), SetupError> {
        let arns = Arns::new(&self.trust_anchor_arn, &self.profile_arn)?;
        arns.same_region("call", &self.region)?;
        self.session_name.as_deref().map_or(Ok(()), check_session_name)?;
        if self.duration.is_some_and(|duration| !DURATION.contains(&duration)) {
            return Err(SetupError::Duration);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANCHOR: &str = "arn:aws:rolesanywhere:eu-central-1:123456789012:trust-anchor/0b9a-1";
    const PROFILE: &str = "arn:aws:rolesanywhere:eu-central-1:123456789012:profile/77ee";

    #[test]
    fn the_arns_say_where_to_call() {
        let arns = Arns::new(ANCHOR, PROFILE).expect("a pair");
        assert_eq!(arns.endpoint(false), "https://rolesanywhere.eu-central-1.amazonaws.com");
        assert_eq!(arns.endpoint(true), "https://rolesanywhere-fips.eu-central-1.amazonaws.com");
        let china = |arn: &str| arn.replace("arn:aws:", "arn:aws-cn:").replace("eu-central-1", "cn-north-1");
        let arns = Arns::new(&china(ANCHOR), &china(PROFILE)).expect("a pair");
        assert_eq!(arns.endpoint(false), "https://rolesanywhere.cn-north-1.amazonaws.com.cn");
        let sovereign = |arn: &str| arn.replace("arn:aws:", "arn:aws-eusc:").replace("eu-central-1", "eusc-de-east-1");
        let arns = Arns::new(&sovereign(ANCHOR), &sovereign(PROFILE)).expect("legal");
        assert_eq!(arns.endpoint(false), "https://rolesanywhere.eusc-de-east-1.amazonaws.eu");
    }

    #[test]
    fn arns_that_cannot_be_are_refused() {
        for (anchor, profile, why) in [
            (PROFILE, PROFILE, "not the ARN of a trust anchor"),
            (ANCHOR, ANCHOR, "not the ARN of a profile"),
            ("arn:aws:rolesanywhere:eu-central-1:123:trust-anchor/x", PROFILE, "not the ARN of a trust anchor"),
            ("arn:aws:rolesanywhere:eu-central-1:123456789012:trust-anchor/", PROFILE, "not the ARN"),
            ("arn:aws:rolesanywhere::123456789012:trust-anchor/x", PROFILE, "not the ARN"),
            (
                ANCHOR,
                "arn:aws:rolesanywhere:eu-west-1:123456789012:profile/x",
                "the trust anchor is in eu-central-1, but",
            ),
        ] {
            let error = Arns::new(anchor, profile).expect_err(anchor).to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn session_names_and_durations_have_limits() {
        assert!(check_session_name("alppaca-on-host.example").is_ok());
        for wrong in ["", "x", "a b", "a/b", "ä!", &"x".repeat(65)] {
            assert!(check_session_name(wrong).is_err(), "{wrong}");
        }
        let mut settings = Settings {
            endpoint: "https://x".into(),
            region: "eu-central-1".into(),
            trust_anchor_arn: ANCHOR.into(),
            profile_arn: PROFILE.into(),
            role_arn: "arn:aws:iam::123456789012:role/x".parse().expect("an ARN"),
            duration: Some(Duration::from_mins(14)),
            session_name: None,
        };
        assert_eq!(settings.check(), Err(SetupError::Duration));
        settings.duration = Some(Duration::from_hours(12));
        assert_eq!(settings.check(), Ok(()));
        settings.region = "eu-west-1".into();
        assert!(matches!(settings.check(), Err(SetupError::Region { .. })));
    }

    #[test]
    fn a_token_needs_a_module() {
        let location = Location::parse("pkcs11:token=x").expect("legal");
        let mut settings = IdentitySettings {
            certificate: Location::File("/c".into()),
            chain: None,
            key: location,
            passphrase_file: None,
            pkcs11_module: None,
            pin_file: None,
        };
        assert!(settings.check().is_err());
        settings.pkcs11_module = Some("/m.so".into());
        assert_eq!(settings.check().is_ok(), cfg!(feature = "pkcs11"));
    }
}
