//! A FIDO authenticator in software, which OpenSSH's own tests use: a library in one of Debian's packages. It is unpacked,
//! not installed, since the package wants an SSH server.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::outcome::{Counts, Row};
use crate::shell;
use crate::tools::{self, Refusal};

/// The package.
const PACKAGE: &str = "openssh-tests";
/// The library, in it.
const LIBRARY: &str = "usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so";

/// Unpacks it unless it is there.
pub fn ensure() -> Row {
    let step = "a FIDO authenticator in software";
    if shell::which("apt-get").is_none() {
        return Row::skipped(step, "no apt-get here", false);
    }
    match unpack() {
        Ok(()) => Row::new(step, Counts::NONE, "it is there"),
        Err(error) => Row::skipped(step, format!("{error:#}"), !Refusal::is_impossible(&error)),
    }
}

fn unpack() -> Result<()> {
    let folder = shell::target().join("test-env").join(PACKAGE);
    if folder.join(LIBRARY).is_file() {
        return Ok(());
    }
    shell::heading(&format!("unpacking {PACKAGE}"));
    fs::create_dir_all(&folder)?;
    let packages = || shell::stems(&folder, ".deb").into_iter().map(|stem| folder.join(format!("{stem}.deb")));
    // One that was cut off, or is of another release.
    for left in packages() {
        fs::remove_file(left)?;
    }
    let download = || shell::run(Command::new("apt-get").args(["-qq", "download", PACKAGE]).current_dir(&folder));
    // Where nothing else had to be installed, there may be no lists of packages, or old ones.
    let update = || tools::update().map_err(anyhow::Error::from);
    download().or_else(|error| update().and_then(|()| download()).context(error))?;
    let package = packages().next().context("apt-get has downloaded nothing")?;
    shell::run(Command::new("dpkg-deb").arg("-x").arg(package).arg(&folder))?;
    folder.join(LIBRARY).is_file().then_some(()).with_context(|| format!("there is no {LIBRARY} in {PACKAGE}"))
}
