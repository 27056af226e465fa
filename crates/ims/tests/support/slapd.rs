//! A real slapd, with TLS by the authority of the scene.

#![allow(unreachable_pub, reason = "one test includes this file")]

use std::{
    fmt::Write as _,
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use super::Scene;

/// The password of the account that reads.
pub const PASSWORD: &str = "correct horse battery staple";
/// How many people there are beside those of the tests.
pub const CROWD: usize = 10_000;

const CONFIG: &str = "\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
attributetype ( 1.3.6.1.4.1.24552.500.1.1.1.13 NAME 'sshPublicKey' EQUALITY octetStringMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 )
objectclass ( 1.3.6.1.4.1.24552.500.1.1.2.0 NAME 'ldapPublicKey' SUP top AUXILIARY MAY ( sshPublicKey $ uid ) )
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
TLSCACertificateFile DIR/ca.pem
TLSCertificateFile DIR/server.pem
TLSCertificateKeyFile DIR/server.key
pidfile DIR/slapd.pid
argsfile DIR/slapd.args
security tls=1
database mdb
maxsize 268435456
suffix dc=example,dc=com
rootdn cn=admin,dc=example,dc=com
rootpw admin
directory DIR/db
index objectClass,uid,member,sshPublicKey eq,pres
overlay memberof
# As a server has it by default; all can be read page by page.
limits dn.exact=cn=reader,dc=example,dc=com size.soft=500 size.hard=500 size.pr=500 size.prtotal=unlimited
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact=cn=reader,dc=example,dc=com read by anonymous auth by * none
";

const TREE: &str = "\
dn: dc=example,dc=com
objectClass: domain
dc: example

dn: cn=reader,dc=example,dc=com
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: PASSWORD

dn: ou=people,dc=example,dc=com
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=com
objectClass: organizationalUnit
ou: groups

dn: ou=toys,dc=example,dc=com
objectClass: organizationalUnit
ou: toys
";

/// A slapd, which ends with the test.
pub struct Slapd {
    directory: PathBuf,
    child: Option<Child>,
    pub ldap: u16,
    pub ldaps: u16,
}

impl Slapd {
    /// With a crowd of people, each of whom has a key.
    pub fn start(scene: &Scene) -> Self {
        let directory = scene.path().join("slapd");
        fs::create_dir_all(directory.join("db")).expect("a folder");
        for name in ["ca.pem", "server.pem", "server.key"] {
            fs::copy(scene.path().join(name), directory.join(name)).expect("a file");
        }
        fs::write(directory.join("slapd.conf"), CONFIG.replace("DIR", &directory.display().to_string()))
            .expect("a file");
        let mut slapd = Self { directory, child: None, ldap: 0, ldaps: 0 };
        slapd.load();
        // It cannot bind port 0, so another process may be quicker; then it exits and is tried anew.
        for _ in 0..10 {
            let free = || TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
            (slapd.ldap, slapd.ldaps) = (free(), free());
            if slapd.run() {
                return slapd;
            }
        }
        panic!("slapd does not come up");
    }

    fn load(&self) {
        let mut ldif = TREE.replace("PASSWORD", PASSWORD);
        for number in 0..CROWD {
            // Any 32 bytes are a key; the first letter ends their number.
            let key = format!("A{number:042}");
            write!(
                ldif,
                "\ndn: uid=u{number},ou=people,dc=example,dc=com\nobjectClass: inetOrgPerson\nobjectClass: ldapPublicKey\n\
                 uid: u{number}\ncn: u{number}\nsn: u{number}\nsshPublicKey: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{key}\n"
            )
            .expect("a text");
        }
        let file = self.directory.join("crowd.ldif");
        fs::write(&file, ldif).expect("a file");
        let mut command = Command::new("/usr/sbin/slapadd");
        command.arg("-q").arg("-f").arg(self.directory.join("slapd.conf")).arg("-l").arg(&file);
        let output = command.stdin(Stdio::null()).output().expect("slapadd");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts it at its ports. Whether it could have them.
    pub fn run(&mut self) -> bool {
        let urls = format!("ldap://127.0.0.1:{} ldaps://127.0.0.1:{}", self.ldap, self.ldaps);
        let log = fs::File::create(self.directory.join("slapd.log")).expect("a file");
        let mut command = Command::new("/usr/sbin/slapd");
        command.args(["-d", "0", "-h", &urls, "-f"]).arg(self.directory.join("slapd.conf"));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("slapd");
        loop {
            if child.try_wait().expect("a child").is_some() {
                return false;
            }
            let answers = |port| TcpStream::connect(("127.0.0.1", port)).is_ok();
            if answers(self.ldap) && answers(self.ldaps) {
                self.child = Some(child);
                return true;
            }
            #[allow(clippy::disallowed_methods, reason = "tests wait in real time")]
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().and_then(|()| child.wait()).expect("slapd ends");
        }
    }

    /// Changes entries, as the administrator.
    pub fn change(&self, ldif: &str) {
        let file = self.directory.join("change.ldif");
        fs::write(&file, ldif).expect("a file");
        let mut command = Command::new("ldapmodify");
        command.args(["-ZZ", "-x", "-D", "cn=admin,dc=example,dc=com", "-w", "admin", "-f"]).arg(&file);
        command.args(["-H", &format!("ldap://localhost:{}", self.ldap)]);
        // It takes localhost for another name of the machine, and is not what is tested.
        command.env("LDAPTLS_REQCERT", "never");
        let output = command.stdin(Stdio::null()).output().expect("ldapmodify");
        assert!(output.status.success(), "{ldif}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Adds a person with these keys.
    pub fn person(&self, name: &str, keys: &[&str]) {
        let keys = keys.iter().map(|key| format!("sshPublicKey: {key}\n")).collect::<Vec<_>>().concat();
        self.change(&format!(
            "dn: uid={name},ou=people,dc=example,dc=com\nchangetype: add\nobjectClass: inetOrgPerson\n\
             objectClass: ldapPublicKey\nuid: {name}\ncn: {name}\nsn: {name}\nemployeeType: default-of-{name}\n{keys}"
        ));
    }

    /// Adds a group, with a role, below a unit.
    pub fn group(&self, name: &str, unit: &str, role: &str, members: &[&str]) {
        let member = |name: &&str| format!("member: uid={name},ou=people,dc=example,dc=com\n");
        let members = members.iter().map(member).collect::<Vec<_>>().concat();
        self.change(&format!(
            "dn: cn={name},ou={unit},dc=example,dc=com\nchangetype: add\nobjectClass: groupOfNames\ncn: {name}\n\
             businessCategory: {role}\n{members}"
        ));
    }

    pub fn folder(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        self.stop();
    }
}
