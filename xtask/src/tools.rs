//! The Debian packages that tests and benchmark need, and how they get here.

use std::error::Error;
use std::fmt;
use std::process::Command;

use crate::outcome::{Counts, Row};
use crate::shell::{self, which};

/// Who needs a package.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum For {
    Test,
    Bench,
}

/// A package is there if its program is.
struct Package {
    name: &'static str,
    program: &'static str,
    why: &'static str,
    by: For,
}

const fn package(name: &'static str, program: &'static str, why: &'static str, by: For) -> Package {
    Package { name, program, why, by }
}

/// Everything that is ever installed with apt-get.
const PACKAGES: &[Package] = &[
    package("iproute2", "ip", "network namespaces", For::Test),
    package("iptables", "iptables", "the 2015 README's rule", For::Test),
    package("nftables", "nft", "the same rule in nftables", For::Test),
    package("logrotate", "logrotate", "log files under a real rotation", For::Test),
    package("curl", "curl", "the tour of the README", For::Test),
    package("g++", "g++", "the fuzzing engine", For::Test),
    package("openssl", "openssl", "certificates, and checking what is signed with them", For::Test),
    package("openssh-client", "ssh-keygen", "signatures with SSH keys", For::Test),
    package("softhsm2", "softhsm2-util", "keys in a PKCS#11 token", For::Test),
    package("opensc", "pkcs11-tool", "a certificate in a PKCS#11 token", For::Test),
    package("tinyproxy-bin", "tinyproxy", "an IMS behind a proxy", For::Test),
    // A version 1 from elsewhere may be earlier in PATH.
    package("awscli", "/usr/bin/aws", "the AWS CLI v2", For::Test),
    package("zsh", "zsh", "completion and prompt in real shells", For::Test),
    package("fish", "fish", "the same", For::Test),
    package("faketime", "faketime", "clients whose refresh takes hours", For::Test),
    package("python3", "python3", "moto, and clients in Python", For::Test),
    package("docker.io", "dockerd", "containers with roles of their own", For::Test),
    package("podman", "podman", "the same with Podman", For::Test),
    // What Podman makes its bridges with.
    package("containernetworking-plugins", "/usr/lib/cni/bridge", "containers with addresses", For::Test),
    package("busybox-static", "busybox", "what runs in them", For::Test),
    package("mmdebstrap", "mmdebstrap", "a machine with systemd and cgroup v2", For::Test),
    package("qemu-system-x86", "qemu-system-x86_64", "a machine with systemd and cgroup v2", For::Test),
    // The package has no program of its own; this one comes with it.
    package("python3-venv", PYTHON_VENV, "moto, and clients in Python", For::Test),
    package("nginx-light", "nginx", "a reverse proxy in front of alppaca-ims", For::Test),
    package("apache2-bin", "apache2", "people with Kerberos in front of alppaca-ims", For::Test),
    package("libapache2-mod-auth-gssapi", "/usr/lib/apache2/modules/mod_auth_gssapi.so", "the same", For::Test),
    package("krb5-kdc", "krb5kdc", "their tickets", For::Test),
    package("krb5-admin-server", "kadmin.local", "their tickets", For::Test),
    package("krb5-user", "kinit", "their tickets", For::Test),
    package("haproxy", "haproxy", "a load balancer in front of alppaca-ims", For::Test),
    // With promtool.
    package("prometheus", "prometheus", "the metrics, the alerts and the dashboards", For::Test),
    package("slapd", "slapd", "people in an LDAP directory", For::Test),
    package("ldap-utils", "ldapmodify", "changes of that directory", For::Test),
    package("chromium", "chromium", "the pages that people see", For::Test),
    package("chromium-driver", "chromedriver", "the same", For::Test),
    package("dunst", "dunst", "a desktop that shows notifications", For::Test),
    package("libnotify-bin", "notify-send", "the same", For::Test),
    package("dbus", "dbus-run-session", "the same", For::Test),
    package("xvfb", "Xvfb", "the same, without a screen", For::Test),
    package("rpm", "rpmbuild", "a package for RPM", For::Test),
    package("rpmlint", "rpmlint", "what RPM's people say of it", For::Test),
    package("cpio", "cpio", "the same", For::Test),
    package("lintian", "lintian", "what Debian's people say of theirs", For::Test),
    package("skopeo", "skopeo", "an image as registries see it", For::Test),
    package("minisign", "minisign", "signatures of the packages", For::Test),
    package("wrk", "wrk", "the load", For::Bench),
    package("nginx-light", "nginx", "what we measure against", For::Bench),
    package("util-linux", "taskset", "one core for the server, one for the load", For::Bench),
];

const PYTHON_VENV: &str = "python3 -m ensurepip";

/// Installs what is missing. One row for all that is there, one for each package that is not.
pub fn ensure(by: For) -> Vec<Row> {
    let missing = missing(by);
    let count = PACKAGES.iter().filter(|package| package.by == by).count();
    if missing.is_empty() {
        return vec![Row::new("Debian packages", Counts::NONE, format!("all {count} are there"))];
    }
    let names: Vec<_> = missing.iter().map(|package| package.name).collect();
    shell::heading(&format!("installing {}", names.join(" ")));
    let (why, installable) = match install(&names) {
        Ok(()) => ("installed, but its program is not found".to_owned(), true),
        Err(Refusal::Impossible(why)) => (why, false),
        Err(Refusal::Failed(why)) => (why, true),
    };
    let still = self::missing(by);
    let mut rows = vec![Row::new("Debian packages", Counts::NONE, format!("{} of {count}", count - still.len()))];
    rows.extend(
        still
            .iter()
            .map(|package| Row::skipped(format!("{} ({})", package.name, package.why), why.clone(), installable)),
    );
    rows
}

fn missing(by: For) -> Vec<&'static Package> {
    PACKAGES.iter().filter(|package| package.by == by && !present(package)).collect()
}

fn present(package: &Package) -> bool {
    if package.program == PYTHON_VENV {
        return crate::python::interpreter().is_some();
    }
    which(package.program).is_some()
}

/// Why nothing was installed.
#[derive(Debug)]
pub enum Refusal {
    /// This machine cannot install anything.
    Impossible(String),
    /// It can, but it did not work.
    Failed(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Impossible(why) | Self::Failed(why) => f.write_str(why),
        }
    }
}

impl Error for Refusal {}

impl Refusal {
    /// Whether an error has come of a machine that cannot install anything.
    pub fn is_impossible(error: &anyhow::Error) -> bool {
        matches!(error.downcast_ref(), Some(Self::Impossible(_)))
    }
}

fn install(names: &[&str]) -> Result<(), Refusal> {
    let what = format!("install {}", names.join(" "));
    let run = |arguments: &[&str]| apt_get(arguments, &what);
    run(&["update"]).and_then(|()| run(&[&["install", "--no-install-recommends"][..], names].concat()))
}

/// Reads the lists of Debian's packages anew.
pub fn update() -> Result<(), Refusal> {
    apt_get(&["update"], "update")
}

/// Runs apt-get as root. `what` a person would do instead.
fn apt_get(arguments: &[&str], what: &str) -> Result<(), Refusal> {
    if which("apt-get").is_none() {
        return Err(Refusal::Impossible("no apt-get here: install it by hand".to_owned()));
    }
    let sudo = if rustix::process::geteuid().is_root() {
        None
    } else if shell::output(Command::new("sudo").args(["-n", "true"])).is_ok() {
        Some("sudo")
    } else {
        return Err(Refusal::Impossible(format!("neither root nor sudo without password: apt-get {what}")));
    };
    let environment = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-y"];
    let words: Vec<&str> = sudo.into_iter().chain(environment).chain(arguments.iter().copied()).collect();
    shell::run(Command::new(words[0]).args(&words[1..])).map_err(|error| Refusal::Failed(format!("{error:#}")))
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, Error, anyhow};

    use super::*;

    #[test]
    fn what_a_machine_cannot_install_is_told_from_what_failed() {
        let told = |refusal| Err::<(), _>(Error::from(refusal)).context(anyhow!("no package")).expect_err("a refusal");
        assert!(Refusal::is_impossible(&told(Refusal::Impossible("not root".to_owned()))));
        assert!(!Refusal::is_impossible(&told(Refusal::Failed("no network".to_owned()))));
        assert!(!Refusal::is_impossible(&anyhow!("no package")));
    }
}
