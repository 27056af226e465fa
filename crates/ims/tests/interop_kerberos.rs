//! People with tickets of a real KDC (MIT Kerberos), whom Apache with `mod_auth_gssapi` names over a Unix socket.

mod support;

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use support::{Scene, Server, Sts, eventually, needs::needs};

const REALM: &str = "EXAMPLE.TEST";
const PASSWORD: &str = "correct horse";
const GSSAPI: &str = "/usr/lib/apache2/modules/mod_auth_gssapi.so";
/// Whom Apache becomes where it is started by root, which it refuses to stay.
const APACHE: &str = "www-data";

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Apache ends its own children only if it is told to stop.
        let _told = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ended = self.0.wait();
    }
}

/// The realm: its folder, with what programs need to find it.
struct Realm<'a>(&'a Path);

impl Realm<'_> {
    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("KRB5_CONFIG", self.file("krb5.conf")).env("KRB5_KDC_PROFILE", self.file("kdc.conf"));
        command.env("KRB5CCNAME", self.file("tickets")).stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn run(&self, program: &str, arguments: &[&str]) {
        let output = self.command(program).args(arguments).output().expect(program);
        assert!(output.status.success(), "{program} {arguments:?}: {}", said(&output));
    }

    /// Makes it, with the person `alice` and the service `HTTP/localhost`.
    fn start(&self) -> Running {
        let (address, here) = (free_address(), self.0.display());
        let client = format!(
            "\
[libdefaults]
  default_realm = {REALM}
  dns_lookup_kdc = false
  dns_canonicalize_hostname = false
  rdns = false
  udp_preference_limit = 1
[realms]
  {REALM} = {{
    kdc = {address}
  }}
[domain_realm]
  localhost = {REALM}
"
        );
        let kdc = format!(
            "\
[kdcdefaults]
  kdc_listen = {address}
  kdc_tcp_listen = {address}
[realms]
  {REALM} = {{
    database_name = {here}/principal
    key_stash_file = {here}/stash
    acl_file = {here}/acl
  }}
"
        );
        fs::write(self.file("krb5.conf"), client).expect("ours");
        fs::write(self.file("kdc.conf"), kdc).expect("ours");
        self.run("kdb5_util", &["create", "-s", "-P", PASSWORD, "-r", REALM]);
        for query in [
            format!("addprinc -pw \"{PASSWORD}\" alice"),
            "addprinc -randkey HTTP/localhost".to_owned(),
            format!("ktadd -k {here}/http.keytab HTTP/localhost"),
        ] {
            self.run("kadmin.local", &["-q", &query]);
        }
        let log = fs::File::create(self.file("kdc.log")).expect("ours");
        let running = self.command("krb5kdc").arg("-n").arg("-P").arg(self.file("kdc.pid")).stderr(log).spawn();
        let running = Running(running.expect("krb5kdc"));
        listens(address, &self.file("kdc.log"));
        running
    }

    /// Apache in front of `socket`.
    fn apache(&self, socket: &Path, root: bool) -> (Running, SocketAddr) {
        let (address, here) = (free_address(), self.0.display());
        let account = if root { format!("User {APACHE}\nGroup {APACHE}\n") } else { String::new() };
        let modules =
            ["mpm_event", "authn_core", "authz_core", "authz_user", "auth_gssapi", "headers", "proxy", "proxy_http"];
        let modules = modules.map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"));
        let text = format!(
            "\
{}{account}ServerRoot {here}
DefaultRuntimeDir {here}
PidFile {here}/apache.pid
ErrorLog {here}/apache.log
ServerName localhost
Listen {address}
<Location />
  AuthType GSSAPI
  AuthName people
  GssapiCredStore keytab:{here}/http.keytab
  GssapiLocalName On
  Require valid-user
  RequestHeader set X-Remote-User expr=%{{REMOTE_USER}}
  ProxyPass unix:{}|http://localhost/
</Location>
",
            modules.concat(),
            socket.display()
        );
        fs::write(self.file("apache.conf"), text).expect("ours");
        if root {
            let group = nix::unistd::Group::from_name(APACHE).expect("groups").expect("it is always there").gid;
            std::os::unix::fs::chown(self.file("http.keytab"), None, Some(group.as_raw())).expect("root may");
            fs::set_permissions(self.file("http.keytab"), fs::Permissions::from_mode(0o640)).expect("ours");
        }
        let mut command = self.command("apache2");
        let running = command.arg("-f").arg(self.file("apache.conf")).arg("-DFOREGROUND").stderr(Stdio::null()).spawn();
        let running = Running(running.expect("apache2"));
        listens(address, &self.file("apache.log"));
        (running, address)
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port")
}

fn listens(address: SocketAddr, log: &Path) {
    let log = || fs::read_to_string(log).unwrap_or_default();
    eventually("it listens", || TcpStream::connect(address).ok(), log);
}

#[test]
fn a_ticket_names_a_person_and_a_forged_header_does_not() {
    let programs = ["apache2", "krb5kdc", "kadmin.local", "kinit", "curl"];
    if !programs.iter().all(|program| needs("Kerberos", program)) || !needs("Kerberos", GSSAPI) {
        return;
    }
    let (scene, sts) = (Scene::new(), Sts::start());
    let root = rustix::process::geteuid().is_root();
    if root {
        fs::set_permissions(scene.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    }
    let realm = Realm(scene.path());
    let _kdc = realm.start();
    let socket = scene.path().join("ims.sock");
    let (account, group) = if root {
        (APACHE.to_owned(), format!("socket_group: {APACHE}\n"))
    } else {
        (rustix::process::geteuid().as_raw().to_string(), String::new())
    };
    let config = scene.config(
        &sts.url(),
        &format!(
            "\
{group}identities:
  people: {{kind: proxy, name_header: X-Remote-User, from_users: ['{account}']}}
rules:
  - {{name: alice, match: {{method: people, name: alice}}, account: demo, role: readonly}}
  - {{name: root, match: {{method: people, name: root}}, account: demo, role: admin}}
"
        ),
    );
    let listen = format!("listen: [127.0.0.1:0, 'unix:{}']", socket.display());
    let server = Server::start(&scene, &config.replace("listen: 127.0.0.1:0", &listen));
    let (_apache, address) = realm.apache(&socket, root);
    let curl = |arguments: &[&str], path: &str| {
        let url = format!("http://localhost:{}{path}", address.port());
        let mut command = realm.command("curl");
        command.args([
            "--silent",
            "--noproxy",
            "*",
            "--max-time",
            "30",
            "--dump-header",
            "-",
            "--negotiate",
            "-u",
            ":",
        ]);
        said(&command.args(arguments).arg(url).output().expect("curl"))
    };

    let without = curl(&[], "/account");
    assert!(without.starts_with("HTTP/1.1 401 ") && without.contains("WWW-Authenticate: Negotiate"), "{without}");

    let mut kinit = realm.command("kinit");
    let mut kinit = kinit.arg("alice").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("kinit");
    std::io::Write::write_all(&mut kinit.stdin.take().expect("piped"), PASSWORD.as_bytes()).expect("it reads");
    assert!(kinit.wait().expect("it ends").success());
    for forged in [&[][..], &["-H", "X-Remote-User: root"]] {
        let list = curl(forged, "/account");
        let log = fs::read_to_string(realm.file("apache.log")).unwrap_or_default();
        assert!(list.ends_with(r#"{"demo": ["readonly"]}"#), "{list}\n{log}\n{}", server.log());
        assert!(list.contains("X-Username: alice\r\n") || list.contains("x-username: alice\r\n"), "{list}");
    }
    let document = curl(&[], "/account/demo/readonly/credentials");
    assert!(document.contains("\"AccessKeyId\": \"ASIA"), "{document}");
    assert_eq!(sts.assumed().remove(0).get("RoleSessionName"), "alice");
    // Apache's socket is the only way in for the header.
    let direct = scene.client(server.address, None).get("/account", &[("X-Remote-User", "root")]);
    assert_eq!(direct.status, 401, "{direct:?}");
}
