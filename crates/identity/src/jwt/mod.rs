//! Tokens that others have issued: of Kubernetes and CI systems, JWT-SVIDs of SPIFFE, ID tokens of people.

mod claims;
mod options;

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use alppaca_jwt::{Demands, KeyRing, TokenError, Verified, unverified_claims};
use claims::flatten;
use http::header::AUTHORIZATION;
pub use options::METHOD;

use crate::{
    Evidence, Identity, Prove, Refusal,
    clock::{Moment, SharedClock},
    names::{self, shown},
};

/// The longest name, and the longest group.
const MAX_NAME: usize = 256;

/// The types of tokens (`typ`) that say who somebody is. Others, such as `logout+jwt`, have the same issuer and audience.
/// RFC 7519, section 5.1; RFC 9068, section 4.
const TYPES: [&str; 3] = ["jwt", "jose", "at+jwt"];

/// How tokens are judged.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name of the method in the configuration.
    pub name: String,
    /// What a token must say. Those of other issuers are none of this method's business.
    pub demands: Demands,
    /// Accepts JWT-SVIDs of this trust domain only.
    pub trust_domain: Option<String>,
    /// The claim that is the name. Claims inside of others are named with dots.
    pub name_claim: String,
    /// The claim that has the groups.
    pub groups_claim: Option<String>,
}

/// Proof by a token.
pub struct Jwt {
    settings: Settings,
    keys: KeyRing,
    clock: SharedClock,
}

impl Jwt {
    /// Judges with the keys on a ring, which another side fetches. The clock only says how often that is.
    pub fn new(settings: Settings, keys: KeyRing, clock: SharedClock) -> Self {
        Self { settings, keys, clock }
    }

    /// Whether this method has to judge a token. Its issuer says so, or else its trust domain, since JWT-SVIDs need no
    /// issuer.
    fn is_ours(&self, token: &str) -> Result<bool, Refusal> {
        let Some(claims) = unverified_claims(token) else { return Err(refused(TokenError::Malformed)) };
        let text = |claim: &str| claims.get(claim).and_then(|value| value.as_str());
        if let Some(issuer) = &self.settings.demands.issuer {
            return Ok(text("iss") == Some(issuer));
        }
        let domain = text("sub").and_then(names::trust_domain);
        Ok(domain.is_some() && domain == self.settings.trust_domain.as_deref())
    }

    fn verify(&self, token: &str, now: SystemTime) -> Result<Verified, Refusal> {
        let clock = self.clock.now();
        let wall = now.try_into().map_err(|_| Refusal::Unavailable("the clock of the server is wrong".to_owned()))?;
        let now = Moment { wall, ..clock };
        match self.keys.verify(token, &self.settings.demands, now) {
            Ok(verified) => Ok(verified),
            Err(TokenError::UnknownKey) if self.keys.request_refresh(clock) || self.keys.is_empty() => {
                let name = &self.settings.name;
                Err(Refusal::Unavailable(format!("the key of the token is not known yet to {name}: try again")))
            }
            Err(error) => Err(refused(error)),
        }
    }

    fn identity(&self, verified: &Verified, now: SystemTime) -> Result<Identity, String> {
        let settings = &self.settings;
        if let Some(kind) = verified.kind.as_deref().filter(|kind| !is_identifying(kind)) {
            return Err(format!("a token of the type {} does not identify anybody", shown(kind)));
        }
        let claims = flatten(&verified.claims)?;
        let name = name(&claims, &settings.name_claim)?;
        if let Some(domain) = &settings.trust_domain {
            check_svid(&claims, domain)?;
        }
        let groups = settings.groups_claim.as_ref().and_then(|claim| claims.get(claim)).cloned().unwrap_or_default();
        if groups.iter().any(|group| group.is_empty() || group.len() > MAX_NAME) {
            return Err("the token has a group that is empty or too long".to_owned());
        }
        let time = |claim: &str| past(verified, claim, now, settings.demands.leeway);
        let issued_at = time("iat")?;
        Ok(Identity {
            names: vec![name.clone()],
            name,
            method: METHOD.word,
            proven_by: settings.name.clone(),
            groups,
            proof: proof(verified),
            authenticated_at: time("auth_time")?,
            age: issued_at.map(|at| now.duration_since(at).unwrap_or_default()),
            hold: None,
            claims,
        })
    }
}

impl Prove for Jwt {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn challenge(&self) -> Option<String> {
        Some("Bearer".to_owned())
    }

    fn prove(&self, evidence: &Evidence<'_>) -> Result<Option<Identity>, Refusal> {
        let Some(token) = crate::authorization(evidence, "bearer")? else { return Ok(None) };
        if !self.is_ours(token)? {
            return Ok(None);
        }
        let verified = self.verify(token, evidence.now)?;
        self.identity(&verified, evidence.now).map(Some).map_err(Refusal::Refused)
    }
}

fn refused(error: TokenError) -> Refusal {
    Refusal::Refused(format!("the token in {AUTHORIZATION} is not accepted: {error}"))
}

fn is_identifying(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    TYPES.contains(&kind.strip_prefix("application/").unwrap_or(&kind))
}

/// The name, from a claim that has one value.
fn name(claims: &BTreeMap<String, Vec<String>>, claim: &str) -> Result<String, String> {
    let found = claims.get(claim).map(Vec::as_slice).unwrap_or_default();
    let [name] = found else {
        return Err(format!("the token has {} values of the claim {claim} (name_claim), not one", found.len()));
    };
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(format!("the claim {claim} of the token is not a name: {}", shown(name)));
    }
    // Anybody can give an address at some providers. OpenID Connect Core 1.0, section 5.7.
    if claim == "email" && claims.get("email_verified").is_some_and(|verified| verified != &["true"]) {
        return Err(format!("{} is an address that its issuer has not verified", shown(name)));
    }
    Ok(name.clone())
}

/// <https://github.com/spiffe/spiffe/blob/main/standards/JWT-SVID.md#31-subject>
fn check_svid(claims: &BTreeMap<String, Vec<String>>, domain: &str) -> Result<(), String> {
    let subject = name(claims, "sub")?;
    if names::trust_domain(&subject) == Some(domain) {
        return Ok(());
    }
    Err(format!("{} is not the SPIFFE ID of a workload in the trust domain {domain}", shown(&subject)))
}

/// A time in the past, in seconds since 1970. One in the future would make a proof look younger than it is.
fn past(verified: &Verified, claim: &str, now: SystemTime, leeway: Duration) -> Result<Option<SystemTime>, String> {
    let Some(value) = verified.claims.get(claim).filter(|value| !value.is_null()) else { return Ok(None) };
    let time = value.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match time.and_then(|time| SystemTime::UNIX_EPOCH.checked_add(time)) {
        Some(time) if time <= now + leeway => Ok(Some(time)),
        Some(_) => Err(format!("the claim {claim} of the token is in the future: compare the clocks")),
        None => Err(format!("the claim {claim} of the token is not a time")),
    }
}

fn proof(verified: &Verified) -> String {
    let id = verified.claims.get("jti").and_then(|id| id.as_str()).map(|id| format!("jti {}", shown(id)));
    let key = verified.key_id.as_ref().map(|key| format!("kid {}", shown(key)));
    let parts: Vec<_> = id.into_iter().chain(key).collect();
    if parts.is_empty() { "a token without an id".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests;
