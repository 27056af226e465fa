//! A certificate authority with an intermediate one, and certificates from it, all made by `openssl`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::support::needs;

/// Runs `openssl` in `directory`; what it printed. It must succeed.
pub fn openssl(directory: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(arguments).current_dir(directory).stdin(Stdio::null()).output();
    let output = output.expect("openssl runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {}: {complaint}", arguments.join(" "));
    output.stdout
}

/// Whether `openssl` accepts something.
pub fn openssl_accepts(directory: &Path, arguments: &[&str]) -> bool {
    let status = Command::new("openssl")
        .args(arguments)
        .current_dir(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.expect("openssl runs").success()
}

/// The certificate authority and everything that it made, in a directory of its own.
pub struct Pki {
    pub directory: TempDir,
}

/// How a certificate is made; the rest is always the same.
pub struct Leaf<'a> {
    pub name: &'a str,
    /// Arguments of `openssl genpkey`.
    pub key: &'a [&'a str],
    pub days: &'a str,
    pub extensions: &'a str,
}

pub const RSA: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
pub const P256: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
pub const P384: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"];

impl Leaf<'_> {
    /// A good one for a week.
    pub fn new<'a>(name: &'a str, key: &'a [&'a str]) -> Leaf<'a> {
        Leaf { name, key, days: "7", extensions: "leaf" }
    }
}

const EXTENSIONS: &str = "\
[ca]
basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign,cRLSign
[leaf]
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
[encipher]
basicConstraints=critical,CA:FALSE
keyUsage=critical,keyEncipherment
";

impl Pki {
    /// A root (`root.pem`, the trust anchor) and an intermediate authority (`intermediate.pem`).
    /// `None` where there is no openssl.
    pub fn new() -> Option<Self> {
        if !needs("roles_anywhere", "openssl") {
            return None;
        }
        let directory = TempDir::new().expect("a directory");
        let pki = Self { directory };
        fs::write(pki.path("ext"), EXTENSIONS).expect("a file");
        for (name, issuer) in [("root", None), ("intermediate", Some("root"))] {
            pki.key(name, P256);
            pki.request(name);
            let mut arguments = vec!["x509", "-req", "-extfile", "ext", "-extensions", "ca", "-days", "30"];
            let (csr, pem) = (format!("{name}.csr"), format!("{name}.pem"));
            let key = format!("{}.key", issuer.unwrap_or(name));
            arguments.extend(["-in", &csr, "-out", &pem]);
            match issuer {
                None => arguments.extend(["-key", &key]),
                Some(_) => arguments.extend(["-CA", "root.pem", "-CAkey", &key, "-set_serial", "2"]),
            }
            openssl(pki.directory.path(), &arguments);
        }
        Some(pki)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn run(&self, arguments: &[&str]) -> Vec<u8> {
        openssl(self.directory.path(), arguments)
    }

    fn key(&self, name: &str, kind: &[&str]) {
        let key = format!("{name}.key");
        self.run(&[&["genpkey", "-out", &key], kind].concat());
    }

    fn request(&self, name: &str) {
        let (key, csr, subject) = (format!("{name}.key"), format!("{name}.csr"), format!("/O=Test/CN={name}"));
        self.run(&["req", "-new", "-key", &key, "-out", &csr, "-subj", &subject]);
    }

    /// Makes `NAME.key` (PKCS#8) and `NAME.pem`, signed by the intermediate authority.
    pub fn issue(&self, leaf: &Leaf<'_>) {
        self.key(leaf.name, leaf.key);
        self.certify(leaf);
    }

    /// Makes `NAME.pem` for a key that is there.
    pub fn certify(&self, leaf: &Leaf<'_>) {
        self.request(leaf.name);
        let (csr, pem) = (format!("{}.csr", leaf.name), format!("{}.pem", leaf.name));
        // Sixteen bytes, the first of which would be negative without a zero before it.
        let serial = format!("0x{:032x}", u128::MAX - u128::from(fastrand::u64(..)));
        self.run(&[
            "x509",
            "-req",
            "-in",
            &csr,
            "-out",
            &pem,
            "-CA",
            "intermediate.pem",
            "-CAkey",
            "intermediate.key",
            "-set_serial",
            &serial,
            "-extfile",
            "ext",
            "-extensions",
            leaf.extensions,
            "-days",
            leaf.days,
        ]);
    }
}
