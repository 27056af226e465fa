//! `aws login`: the set that the AWS CLI keeps in its cache, and new sets for its refresh token.
//! <https://docs.aws.amazon.com/sdkref/latest/guide/access-login.html>

use std::path::Path;

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use jiff::Timestamp;
use tokio::sync::Mutex;

use super::shared::{Shared, file_name};
use crate::{
    clock::{SharedClock, until},
    credentials::Credentials,
    fetch::Options,
    sign_in::console::{self, Renewal, ServiceError, Token, WANTED_LIFE},
    source::pem,
};

/// What the configuration files state about a login.
pub(super) struct Session<'a> {
    /// `login_session` of the profile.
    pub(super) name: &'a str,
    /// The profile that has it.
    pub(super) profile: &'a str,
    /// The region, unless the login names one.
    pub(super) region: &'a str,
    pub(super) endpoint: Option<&'a str>,
    pub(super) fips: bool,
}

/// The logins of one profile, and what is known of the last one.
pub(super) struct Login {
    clock: SharedClock,
    known: Mutex<Option<Known>>,
}

struct Known {
    /// The hash of the file's content that this is about.
    content: Vec<u8>,
    /// The newest, also if the file could not be written.
    token: Token,
    /// Why it cannot be renewed any more. No attempt is made until the file is another.
    over: Option<String>,
    /// The key of the set that was given out last.
    given: Option<String>,
}

/// Why a login was not renewed.
enum Failure {
    /// It is over.
    Over(String),
    /// Any other failure.
    Other(String),
}

impl Login {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self { clock, known: Mutex::new(None) }
    }

    /// A set with the life that is wanted, or a reason for a person.
    pub(super) async fn get(&self, home: &Path, at: &Session<'_>, http: &Options) -> Result<Credentials, String> {
        let Session { name, profile, .. } = at;
        let (directory, file) = (home.join(".aws/login/cache"), file_name(&SHA256, name));
        let path = directory.join(&file);
        let path = path.display();
        let file = Shared::read(&directory, &file).map_err(|error| {
            format!("the login of {name} in {path} cannot be read: {error}; run `aws login --profile {profile}`")
        })?;
        let mut known = self.known.lock().await;
        let content = hash(&file.bytes);
        let known = match known.take() {
            Some(same) if same.content == content => known.insert(same),
            _ => {
                let token = Token::parse(&file.bytes).map_err(|problem| format!("{path}: {problem}"))?;
                known.insert(Known { content, token, over: None, given: None })
            }
        };
        if let Err(why) = self.renew_in_time(known, &file, &path.to_string(), at, http).await {
            // A set that was not handed out yet is better than none.
            let set = known.token.set()?;
            let is_new = known.given.as_ref() != Some(&set.access_key_id);
            if !is_new || until(set.expiration, self.clock.now().wall).is_zero() {
                return Err(why);
            }
        }
        let set = known.token.set()?;
        known.given = Some(set.access_key_id.clone());
        Ok(set)
    }

    /// Renews the login if its set does not live long enough, and writes it where the CLI looks for it.
    async fn renew_in_time(
        &self,
        known: &mut Known,
        file: &Shared,
        path: &str,
        at: &Session<'_>,
        http: &Options,
    ) -> Result<(), String> {
        let now = self.clock.now().wall;
        if until(known.token.end()?, now) >= WANTED_LIFE {
            return Ok(());
        }
        if let Some(why) = &known.over {
            return Err(why.clone());
        }
        match ask(&known.token, at, http, now).await {
            Ok(renewal) => known.token.renew(renewal, now)?,
            Err(Failure::Other(why)) => return Err(why),
            Err(Failure::Over(why)) => return Err(known.over.insert(why).clone()),
        }
        let bytes = known.token.bytes();
        match file.replace(&bytes) {
            Ok(()) => known.content = hash(&bytes),
            Err(error) => tracing::warn!(
                "the login in {path} was renewed but cannot be written there: {error}; it is kept in memory, and the AWS CLI \
                 may need a new `aws login`"
            ),
        }
        Ok(())
    }
}

/// Asks the sign-in service for a new set.
async fn ask(token: &Token, at: &Session<'_>, http: &Options, now: Timestamp) -> Result<Renewal, Failure> {
    let other = |problem: String| Failure::Other(problem);
    let base = console::base(token.region().unwrap_or(at.region), at.endpoint, at.fips);
    let key = token.key().map_err(other)?;
    let key = read(key).ok_or_else(|| other("the dpopKey of the login is not a private key on P-256".to_owned()))?;
    let question = token.question().map_err(other)?;
    let profile = at.profile;
    console::ask(&base, question, &key, http, now).await.map_err(|error| match error {
        ServiceError::Wrong(problem) | ServiceError::Other(problem) => other(problem),
        ServiceError::Refused { code: "USER_CREDENTIALS_CHANGED", .. } => Failure::Over(format!(
            "the password was changed after the login; run `aws login --profile {profile}` again"
        )),
        ServiceError::Refused { code: "INSUFFICIENT_PERMISSIONS", .. } => Failure::Over(
            "the user may not renew the login: the policy SignInLocalDevelopmentAccess (signin:CreateOAuth2Token) is missing"
                .to_owned(),
        ),
        ServiceError::Refused { .. } => {
            Failure::Over(format!("the login has ended; run `aws login --profile {profile}` again"))
        }
    })
}

/// The private key to which a login is bound.
fn read(key: &str) -> Option<EcdsaKeyPair> {
    let sections = pem::sections(key.as_bytes()).ok()?;
    let section = sections.iter().find(|section| section.label.ends_with("PRIVATE KEY"))?;
    EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, &section.der).ok()
}

fn hash(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_named_as_the_cli_names_it() {
        let name = "36db1d138ff460920374e4c3d8e01f53f9f73537e89c88d639f68393df0e2726.json";
        assert_eq!(file_name(&SHA256, "arn:aws:iam::0123456789012:user/Admin"), name);
    }

    #[test]
    fn only_a_private_key_is_taken() {
        const KEY: &str = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIFDZHUzOG1Pzq+6F0mjMlOSp1syN9LRPBuHMoCFXTcXhoAoGCCqGSM49\nAwEHoUQDQgAE9qhj+KtcdHj1kVgwxWWWw++tqoh7H7UHs7oXh8jBbgF47rrYGC+t\ndjiIaHK3dBvvdE7MGj5HsepzLm3Kj91bqA==\n-----END EC PRIVATE KEY-----\n";
        assert!(read(KEY).is_some());
        for key in ["", "no key", &KEY.replace("EC PRIVATE", "EC PUBLIC")] {
            assert!(read(key).is_none(), "{key}");
        }
    }
}
