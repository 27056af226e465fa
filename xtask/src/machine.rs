//! The Debian that a test boots in a virtual machine, in `target/test-env/machine`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::outcome::{Counts, Row};
use crate::shell;

/// What is in it beside the essential.
const PACKAGES: &str = "linux-image-cloud-amd64,systemd-sysv,udev,dbus-user-session,libpam-systemd,passwd,procps,\
                        iproute2,iptables,nftables,network-manager,curl,podman,crun,busybox-static";

/// Makes it unless it is there with the same packages; returns it for the tests, and a row for the summary.
pub fn ensure() -> (Option<PathBuf>, Row) {
    let step = "Debian for a virtual machine";
    if !cfg!(target_arch = "x86_64") {
        return (None, Row::skipped(step, "it is made for x86_64 only", false));
    }
    if !rustix::process::geteuid().is_root() {
        return (None, Row::skipped(step, "it needs root", false));
    }
    // The program that is built here finds its own C library only in the same release.
    let Some(release) = debian() else {
        return (None, Row::skipped(step, "it is made on Debian only", false));
    };
    match make(&release) {
        Ok(root) => (Some(root), Row::new(step, Counts::NONE, "it is there")),
        Err(error) => (None, Row::skipped(step, format!("{error:#}"), true)),
    }
}

/// The name of this Debian's release.
fn debian() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim_matches('"'));
    (field("ID=")? == "debian").then(|| field("VERSION_CODENAME=").map(str::to_owned))?
}

fn make(release: &str) -> Result<PathBuf> {
    let folder = shell::target().join("test-env/machine");
    let (root, stamp) = (folder.join("root"), folder.join("made-from"));
    let wanted = format!("{release} {PACKAGES}");
    // Written last, so that an interrupted installation is done again.
    if fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == wanted) {
        return Ok(root);
    }
    shell::heading("making a Debian for a virtual machine");
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("an old one")?,
        _ => fs::create_dir_all(&folder)?,
    }
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=minbase", "--dpkgopt=force-unsafe-io"]);
    command.arg(format!("--include={PACKAGES}")).arg(release).arg(&root);
    shell::run(&mut command)?;
    fs::write(&stamp, wanted)?;
    Ok(root)
}
