//! What proves that the packages are ours and whole: checksums, and a signature of them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::sha256;
use crate::shell;

const SUMS: &str = "SHA256SUMS";

/// Writes those of all that is in the folder, with names alone, so that they can be checked wherever it is.
pub(super) fn checksums(folder: &Path) -> Result<String> {
    fs::write(folder.join(SUMS), sums(folder)?)?;
    // One of other checksums would be worse than none.
    match fs::remove_file(folder.join(format!("{SUMS}.minisig"))) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("an old signature")?,
        _ => Ok(SUMS.to_owned()),
    }
}

fn sums(folder: &Path) -> Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_file() && !name.starts_with(SUMS) {
            names.push(name);
        }
    }
    names.sort();
    let line = |name: &String| Ok(format!("{}  {name}\n", sha256(&folder.join(name))?));
    Ok(names.iter().map(line).collect::<Result<Vec<_>>>()?.concat())
}

/// That all files have the checksums that are written there, and none is without.
pub(super) fn check_sums(folder: &Path) -> Result<String> {
    let (written, found) = (fs::read_to_string(folder.join(SUMS)).context(SUMS)?, sums(folder)?);
    let differs = |line: &&str| !found.lines().any(|other| other == *line);
    if let Some(line) = written.lines().find(differs) {
        bail!("{SUMS} says of another file than there is: {line}");
    }
    let (written, found) = (written.lines().count(), found.lines().count());
    ensure!(written == found, "{SUMS} has {written} of {found} files");
    Ok(format!("{found} files"))
}

/// That the checksums are signed with this public key.
pub(super) fn check_signature(folder: &Path, key: &Path) -> Result<String> {
    let key = fs::canonicalize(key).with_context(|| key.display().to_string())?;
    let mut minisign = Command::new("minisign");
    shell::output(minisign.args(["-V", "-q", "-m", SUMS, "-p"]).arg(key).current_dir(folder))?;
    Ok(format!("{SUMS}.minisig"))
}

/// Signs the checksums. minisign asks for the key's password, if it has one.
pub(super) fn sign(folder: &Path, key: &Path) -> Result<String> {
    ensure!(shell::which("minisign").is_some(), "there is no minisign: apt-get install minisign");
    let mut minisign = Command::new("minisign");
    minisign.arg("-S").arg("-s").arg(fs::canonicalize(key).with_context(|| key.display().to_string())?);
    // Without a comment of its own it would write the time.
    minisign.args(["-t", "checksums of alppaca's packages", "-m", SUMS]).current_dir(folder);
    let status = minisign.stdin(Stdio::inherit()).status().context("cannot start minisign")?;
    ensure!(status.success(), "minisign: {status}");
    Ok(format!("{SUMS}.minisig"))
}
