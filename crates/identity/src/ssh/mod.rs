//! Keys and certificates of OpenSSH: host keys, which every host has, and keys of people, also in an agent or in hardware.
//!
//! The server gives a challenge in `WWW-Authenticate: Alppaca-SSH challenge="…", namespace="…"`. The client signs
//! `METHOD PATH HOST CHALLENGE`, with the host as in its header `Host`, in that namespace (PROTOCOL.sshsig) and sends
//! `Authorization: Alppaca-SSH challenge="…", signature="…"` with the SSHSIG in base64, and `user="…"` if the key may
//! belong to several people. A challenge is taken once.

mod allowed;
mod certificate;
mod challenge;
mod key;
mod keys;
mod options;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::SystemTime};

use allowed::Allowed;
use arc_swap::ArcSwap;
use base64::{Engine, engine::general_purpose::STANDARD};
use certificate::{Certificate, Role, is_certificate};
use challenge::Challenges;
use http::header::HOST;
use key::PublicKey;
pub use keys::Keys;
pub use options::METHOD;

use crate::{
    Directory, Evidence, Identity, Prove, Refusal,
    clock::{SharedClock, system_time},
    lines::LinesError,
    names::{self, host, shown},
    ssh_agent::{fingerprint, sshsig::SshSig, wire::WireError},
};

/// The scheme in `Authorization`.
const SCHEME: &str = "Alppaca-SSH";
/// The longest proof.
const MAX_PROOF: usize = 16 * 1024;

/// Whose keys they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subjects {
    /// Hosts.
    Hosts,
    /// People.
    People,
}

impl Subjects {
    fn others(self) -> Self {
        match self {
            Self::Hosts => Self::People,
            Self::People => Self::Hosts,
        }
    }

    /// What their signatures are for, so that a signature for anything else proves nothing here.
    pub fn namespace(self) -> &'static str {
        match self {
            Self::Hosts => "alppaca-host",
            Self::People => "alppaca-user",
        }
    }
}

/// Which signatures prove what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The name of the method in the configuration.
    pub name: String,
    /// Whose keys they are.
    pub subjects: Subjects,
    /// The file of keys and authorities.
    pub file: Option<PathBuf>,
    /// The names under which clients know this server, in lower case. A server of another name cannot use what was
    /// signed for it.
    pub hosts: Vec<String>,
}

/// Proof by a signature.
pub struct Ssh {
    settings: Settings,
    allowed: ArcSwap<Allowed>,
    directory: Option<Arc<dyn Directory>>,
    challenges: Challenges,
    clock: SharedClock,
}

/// Whom a key belongs to.
struct Owner {
    names: Vec<String>,
    /// Whether an administrator lists the names, so that they count as groups, too.
    listed: bool,
    proof: String,
    /// The id of a certificate.
    id: Option<String>,
    begins: Option<SystemTime>,
}

impl Ssh {
    /// Reads the file, if there is one. More keys are those of a directory. Challenges are given by the clock.
    pub fn load(settings: Settings, directory: Option<Arc<dyn Directory>>, clock: SharedClock) -> Result<Self, String> {
        let allowed = ArcSwap::from_pointee(read(&settings).map_err(|error| error.to_string())?);
        if let Some(directory) = &directory {
            directory.want_keys();
        }
        Ok(Self { settings, allowed, directory, challenges: Challenges::new()?, clock })
    }

    /// Reads the file again. If it is wrong, everything stays as it was.
    pub fn reload(&self) -> Result<(), LinesError> {
        self.allowed.store(Arc::new(read(&self.settings)?));
        Ok(())
    }

    /// What the client has to have signed.
    fn message(&self, evidence: &Evidence<'_>, challenge: &str) -> Result<String, String> {
        let mut values = evidence.headers.get_all(HOST).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err("there has to be one header Host, which is signed".to_owned());
        };
        let authority = value.to_str().map_err(|_| "the header Host is not a text".to_owned())?.to_ascii_lowercase();
        let name = authority.rsplit_once(':').map_or(&*authority, |(name, _port)| name);
        if !self.settings.hosts.iter().any(|known| known == name) {
            return Err(format!("{} is not a name of this server (hosts)", shown(name)));
        }
        Ok(format!("{} {} {authority} {challenge}", evidence.method, evidence.path))
    }

    fn verify(&self, signature: &SshSig<'_>, shown: &Shown<'_>, evidence: &Evidence<'_>) -> Result<Owner, Refusal> {
        let namespace = self.settings.subjects.namespace();
        if signature.namespace != namespace.as_bytes() {
            let found = names::shown(&String::from_utf8_lossy(signature.namespace));
            return Err(refused(format!("the SSH signature is for the namespace {found}, not {namespace:?}")));
        }
        let message = self.message(evidence, shown.challenge).map_err(refused)?;
        let signed = signature.signed(message.as_bytes()).map_err(wrong)?;
        let allowed = self.allowed.load();
        let owner = if is_certificate(signature.key) {
            let certificate = Certificate::parse(signature.key).map_err(wrong)?;
            let (owner, verified) = self.of_certificate(&allowed, &certificate, evidence).map_err(refused)?;
            certificate.key.verify(signature.signature, &signed, verified).map_err(wrong)?;
            owner
        } else {
            let (names, listed) = self.owners(&allowed, signature.key, shown.user)?;
            let key = PublicKey::parse(signature.key).map_err(wrong)?;
            key.verify(signature.signature, &signed, false).map_err(wrong)?;
            Owner { names, listed, proof: fingerprint(signature.key), id: None, begins: None }
        };
        match shown.user.filter(|user| owner.names.first().is_none_or(|name| name != user)) {
            Some(user) => Err(refused(format!("the SSH key or certificate is not one of {}", names::shown(user)))),
            None => Ok(owner),
        }
    }

    /// Whose key this is, and whether a file of ours lists it, not a directory.
    fn owners(&self, allowed: &Allowed, key: &[u8], user: Option<&str>) -> Result<(Vec<String>, bool), Refusal> {
        let print = fingerprint(key);
        let unknown = || refused(format!("the SSH key {print} is not listed"));
        if allowed.revoked.contains(key) {
            return Err(unknown());
        }
        if let Some(names) = allowed.keys.get(key) {
            return Ok((names.clone(), true));
        }
        let directory = self.directory.as_ref().ok_or_else(unknown)?;
        let owners = directory.key_owners(key).map_err(Refusal::Unavailable)?;
        // Whoever may write to an entry can add the key of another person, who must not be shut out by that.
        let chosen = owners.iter().find(|owner| user.is_some_and(|user| user == *owner));
        match (owners.as_slice(), chosen) {
            ([], _) => Err(unknown()),
            (_, Some(owner)) | ([owner], None) => Ok((vec![owner.clone()], false)),
            _ => Err(refused(format!(
                "several people have the SSH key {print} in the directory: say who you are (user), or have it removed from \
                 the others"
            ))),
        }
    }

    fn of_certificate(
        &self,
        allowed: &Allowed,
        certificate: &Certificate<'_>,
        evidence: &Evidence<'_>,
    ) -> Result<(Owner, bool), String> {
        let authority = fingerprint(certificate.authority);
        let patterns = allowed.authorities.get(certificate.authority);
        let patterns = patterns.filter(|_| !allowed.revoked.contains(certificate.authority));
        let patterns =
            patterns.ok_or_else(|| format!("the authority {authority} of the SSH certificate is not listed"))?;
        let print = fingerprint(&certificate.key_blob);
        if allowed.revoked.contains(&certificate.key_blob) {
            return Err(format!("the SSH key {print} of the certificate is revoked"));
        }
        let role = match self.settings.subjects {
            Subjects::Hosts => Role::Host,
            Subjects::People => Role::User,
        };
        let verified = certificate
            .check(role, evidence.peer, evidence.now)
            .map_err(|cause| format!("the SSH certificate is not accepted: {cause}"))?;
        let spelled = |principal: &&str| match self.settings.subjects {
            Subjects::Hosts => host(principal),
            Subjects::People => Some((*principal).to_owned()).filter(|name| is_name(name)),
        };
        let names = certificate.principals.iter().map(|principal| {
            spelled(principal)
                .ok_or_else(|| format!("the principal {} of the SSH certificate names nobody", shown(principal)))
        });
        let mut names = names.collect::<Result<Vec<_>, _>>()?;
        names.retain(|name| patterns.iter().any(|pattern| pattern.matches(name)));
        if names.is_empty() {
            return Err(format!("the SSH certificate has no principal that its authority {authority} may certify"));
        }
        let id = certificate.id.to_owned();
        let proof = format!("{print}, certificate {} {} of {authority}", certificate.serial, shown(&id));
        Ok((Owner { names, listed: true, proof, id: Some(id), begins: certificate.begins() }, verified))
    }

    fn identity(&self, owner: Owner, now: SystemTime) -> Option<Identity> {
        let groups = match self.settings.subjects {
            Subjects::Hosts => Vec::new(),
            Subjects::People if owner.listed => owner.names.clone(),
            // In a directory people may choose their own names.
            Subjects::People => Vec::new(),
        };
        let names = match self.settings.subjects {
            Subjects::Hosts => owner.names,
            // The others are groups.
            Subjects::People => owner.names.into_iter().take(1).collect(),
        };
        Some(Identity {
            name: names.first()?.clone(),
            names,
            method: METHOD.word,
            proven_by: self.settings.name.clone(),
            groups,
            claims: owner.id.map(|id| BTreeMap::from([("key_id".to_owned(), vec![id])])).unwrap_or_default(),
            proof: owner.proof,
            authenticated_at: None,
            age: owner.begins.map(|begins| now.duration_since(begins).unwrap_or_default()),
            hold: None,
        })
    }
}

impl Prove for Ssh {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn challenge(&self) -> Option<String> {
        let challenge = self.challenges.give(system_time(self.clock.now().wall))?;
        Some(format!(r#"{SCHEME} challenge="{challenge}", namespace="{}""#, self.settings.subjects.namespace()))
    }

    fn prove(&self, evidence: &Evidence<'_>) -> Result<Option<Identity>, Refusal> {
        let Some(proof) = crate::authorization(evidence, SCHEME)? else { return Ok(None) };
        let Some(shown) = Shown::parse(proof) else {
            return Err(refused("after Alppaca-SSH, challenge=\"…\" and signature=\"…\" are expected, each once"));
        };
        let blob = STANDARD.decode(shown.signature).map_err(|_| refused("the SSH signature is not in base64"))?;
        let signature = SshSig::parse(&blob).map_err(wrong)?;
        if signature.namespace == self.settings.subjects.others().namespace().as_bytes() {
            // For the method of the others, if the mount has one.
            return Ok(None);
        }
        // This first, since it costs least.
        let given = self.challenges.check(shown.challenge, evidence.now).map_err(refused)?;
        let owner = self.verify(&signature, &shown, evidence)?;
        self.challenges.spend(given, evidence.now)?;
        Ok(self.identity(owner, evidence.now))
    }
}

/// What the file says; without one, nothing.
fn read(settings: &Settings) -> Result<Allowed, LinesError> {
    let read = settings.file.as_ref().map(|file| Allowed::read(file, settings.subjects));
    Ok(read.transpose()?.unwrap_or_default())
}

fn refused(cause: impl Into<String>) -> Refusal {
    Refusal::Refused(cause.into())
}

fn wrong(error: WireError) -> Refusal {
    refused(format!("the SSH signature is not accepted: {error}"))
}

/// The parameters of a proof.
struct Shown<'a> {
    challenge: &'a str,
    signature: &'a str,
    /// Who it is, for a key of several people.
    user: Option<&'a str>,
}

impl<'a> Shown<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        if text.len() > MAX_PROOF {
            return None;
        }
        let (mut challenge, mut signature, mut user) = (None, None, None);
        for parameter in text.split(',') {
            let (key, value) = parameter.trim().split_once('=')?;
            let value = value.strip_prefix('"')?.strip_suffix('"')?;
            let place = match key {
                "challenge" => &mut challenge,
                "signature" => &mut signature,
                "user" => &mut user,
                _ => return None,
            };
            if place.replace(value).is_some() {
                return None;
            }
        }
        Some(Self { challenge: challenge?, signature: signature?, user })
    }
}

fn is_name(name: &str) -> bool {
    (1..=256).contains(&name.len()) && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
