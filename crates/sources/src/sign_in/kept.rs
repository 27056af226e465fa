//! The file in which a sign-in outlives the daemon, in a directory that is memory: only with `keep_sign_in`.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{held::Tokens, person::Person, provider::Settings};
use crate::credentials::{Secret, format_timestamp, parse_timestamp};

/// Tokens and a name.
const MAX_BYTES: u64 = 128 * 1024;

#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(with = "secret")]
    bearer: Secret,
    /// Empty if there is none, as the next one.
    #[serde(with = "secret")]
    refresh: Secret,
    #[serde(with = "secret")]
    client: Secret,
    name: String,
    subject: String,
    groups: Vec<String>,
    until: String,
    since: String,
}

/// The file of the sign-in with these settings: another provider, client or source has another.
pub(super) fn path(directory: &Path, settings: &Settings) -> PathBuf {
    let key = format!("{:?}", (settings.issuer(), settings.client()));
    let digest = digest(&SHA256, key.as_bytes());
    let name = digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    directory.join(format!("sign-in-{name}.json"))
}

/// What is in it; `None` if there is none. Nothing of it is in the error.
pub(super) fn read(path: &Path) -> Result<Option<(Tokens, Person, Timestamp)>, String> {
    let wrong = |problem: String| format!("the kept sign-in {} is not used: {problem}", path.display());
    let file = match fs::OpenOptions::new().read(true).custom_flags(no_follow()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error.to_string())),
    };
    let metadata = file.metadata().map_err(|error| wrong(error.to_string()))?;
    if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o077 != 0 || !metadata.is_file() {
        return Err(wrong("others could have written it".to_owned()));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len().min(MAX_BYTES)).unwrap_or(0) + 1));
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(|error| wrong(error.to_string()))?;
    let kept: Kept = serde_json::from_slice(&bytes).map_err(|_| wrong("it is not one of ours".to_owned()))?;
    let (until, since) = (parse_timestamp(&kept.until), parse_timestamp(&kept.since));
    let (Some(until), Some(since)) = (until, since) else { return Err(wrong("it is not one of ours".to_owned())) };
    let given = |secret: Secret| Some(secret).filter(|secret| !secret.expose().is_empty());
    let tokens = Tokens { bearer: kept.bearer, refresh: given(kept.refresh), client: given(kept.client) };
    Ok(Some((tokens, Person { name: kept.name, subject: kept.subject, groups: kept.groups, until }, since)))
}

/// Replaces it as a whole.
pub(super) fn write(path: &Path, tokens: &Tokens, person: &Person, since: Timestamp) -> Result<(), String> {
    let or_empty = |secret: &Option<Secret>| secret.clone().unwrap_or_else(|| Secret::new(""));
    let kept = Kept {
        bearer: tokens.bearer.clone(),
        refresh: or_empty(&tokens.refresh),
        client: or_empty(&tokens.client),
        name: person.name.clone(),
        subject: person.subject.clone(),
        groups: person.groups.clone(),
        until: format_timestamp(person.until),
        since: format_timestamp(since),
    };
    let mut text = Zeroizing::new(Vec::with_capacity(64 * 1024));
    serde_json::to_writer(&mut *text, &kept).map_err(|error| error.to_string())?;
    let new = path.with_extension("new");
    let written = || -> std::io::Result<()> {
        // One that a crash has left.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(&text)?;
        fs::rename(&new, path)
    };
    written().map_err(|error| format!("{}: {error}", path.display()))
}

/// The secret of a client: one word in a file.
pub(super) fn read_secret(path: &Path) -> Result<Secret, String> {
    let text = fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| format!("client_secret_file {}: {error}", path.display()))?;
    Ok(Secret::new(text.trim()))
}

/// The only place where a token is written out or read in.
mod secret {
    use serde::{Deserialize, Deserializer, Serializer};
    use zeroize::Zeroizing;

    use super::Secret;

    pub(super) fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(secret.expose())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        String::deserialize(deserializer).map(|text| Secret::new(&**Zeroizing::new(text)))
    }
}

fn no_follow() -> i32 {
    rustix::fs::OFlags::NOFOLLOW.bits().cast_signed()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::sign_in::ConsoleSettings;

    #[test]
    fn each_source_has_a_file_of_its_own() {
        let of = |source: &str| {
            let http = crate::fetch::Options::direct(std::time::Duration::from_secs(1), None);
            let at = ("eu-west-1", None, false);
            path(Path::new("/x"), &Settings::Console(ConsoleSettings::new(source, at, true, http)))
        };
        assert_eq!(of("me"), of("me"));
        assert_ne!(of("me"), of("other"));
    }

    #[test]
    fn a_sign_in_is_kept_for_its_owner_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("sign-in-x.json");
        assert!(read(&path).expect("none").is_none());
        let at: Timestamp = "2026-11-23T10:00:00Z".parse().expect("a timestamp");
        let person = Person { name: "alice".into(), subject: "1".into(), groups: vec!["a".into()], until: at };
        let tokens = Tokens { bearer: Secret::new("id"), refresh: Some(Secret::new("refresh")), client: None };
        for _ in 0..2 {
            write(&path, &tokens, &person, at).expect("written");
        }
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let (found, who, since) = read(&path).expect("readable").expect("there");
        assert_eq!((found.bearer.expose(), found.refresh.expect("there").expose()), ("id", "refresh"));
        assert_eq!((who, since), (person, at));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("ours");
        assert!(read(&path).expect_err("open").contains("others"));
        fs::write(&path, "{}").expect("ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("ours");
        assert!(read(&path).expect_err("empty").contains("not one of ours"));
    }
}
