//! AFP's own client, behind a real reverse proxy that authenticates people.

mod support;

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use support::{
    Scene, Server, Sts, eventually,
    needs::{needs, skip},
};

struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may have ended.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// nginx, which asks for a password, and passes the name on over the Unix socket.
fn nginx(directory: &Path, socket: &Path) -> (Nginx, SocketAddr) {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
    let hash = Command::new("openssl").args(["passwd", "-apr1", "PASSWORD"]).output().expect("openssl").stdout;
    fs::write(directory.join("htpasswd"), format!("alice:{}", String::from_utf8_lossy(&hash))).expect("ours");
    let (here, socket) = (directory.display(), socket.display());
    let text = format!(
        "\
daemon off;
master_process off;
user root;
pid {here}/nginx.pid;
error_log {here}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {here}/body;
  proxy_temp_path {here}/proxy;
  fastcgi_temp_path {here}/fastcgi;
  uwsgi_temp_path {here}/uwsgi;
  scgi_temp_path {here}/scgi;
  server {{
    listen {address};
    location /afp-api/latest/ {{
      auth_basic people;
      auth_basic_user_file {here}/htpasswd;
      proxy_set_header X-Remote-User $remote_user;
      proxy_set_header X-Groups aws-readonly;
      proxy_pass http://unix:{socket}:/afp-api/latest/;
    }}
  }}
}}
"
    );
    let path = directory.join("nginx.conf");
    fs::write(&path, text).expect("ours");
    let child =
        Command::new("nginx").arg("-c").arg(&path).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("nginx");
    eventually(
        "nginx listens",
        || TcpStream::connect(address).ok(),
        || fs::read_to_string(directory.join("error.log")).unwrap_or_default(),
    );
    (Nginx(child), address)
}

#[allow(clippy::disallowed_methods, reason = "the environment says which Python the tests have")]
fn afp_cli() -> Option<PathBuf> {
    let python = PathBuf::from(std::env::var_os("ALPPACA_TEST_PYTHON")?);
    Some(python.with_file_name("afpv2")).filter(|program| program.exists())
}

#[test]
fn afp_cli_lists_shows_exports_and_writes() {
    const WHAT: &str = "afp-cli";
    if !needs(WHAT, "nginx") || !needs(WHAT, "openssl") {
        return;
    }
    let Some(program) = afp_cli() else {
        skip(WHAT, "there is no ALPPACA_TEST_PYTHON with afp-cli");
        return;
    };
    let (scene, sts) = (Scene::new(), Sts::start());
    let socket = scene.path().join("proxy.sock");
    let config = scene
        .usual(&sts.url())
        .replace("listen: 127.0.0.1:0", &format!("listen: [127.0.0.1:0, 'unix:{}']", socket.display()))
        .replace("from_networks: 127.0.0.1", "from_users: [root]");
    let mounts = "mounts: [{path: /afp-api/latest, identities: people, routes: people}]\n";
    let server = Server::start(&scene, &format!("{config}{mounts}"));
    let (_nginx, address) = nginx(scene.path(), &socket);
    let home = scene.path().join("home");
    fs::create_dir(&home).expect("ours");
    let afp = |arguments: &[&str]| -> Output {
        let url = format!("http://{address}/afp-api/latest");
        let mut command = Command::new(&program);
        command.args(["-u", "alice", "-p", "testing", "-a", &url]).args(arguments).env("HOME", &home);
        command.output().expect("it runs")
    };
    let said = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();

    let list = afp(&["list"]);
    assert_eq!(said(&list).split_whitespace().collect::<Vec<_>>(), ["demo", "readonly"], "{list:?}\n{}", server.log());
    let json: serde_json::Value = serde_json::from_str(&said(&afp(&["list", "--output", "json"]))).expect("JSON");
    assert_eq!(json, serde_json::json!({"demo": ["readonly"]}));
    let shown = said(&afp(&["show", "demo", "readonly"]));
    let key_id =
        shown.lines().find_map(|line| line.strip_prefix("AWS_ACCESS_KEY_ID='")).expect("a key").trim_end_matches('\'');
    assert!(shown.contains("AWS_ASSUMED_ROLE='readonly'") && shown.contains("AWS_ACCOUNT_NAME='demo'"), "{shown}");
    let seconds = shown.lines().find_map(|line| line.strip_prefix("AWS_VALID_SECONDS='")).expect("seconds");
    assert!(seconds.trim_end_matches('\'').parse::<u32>().is_ok_and(|seconds| seconds > 3000), "{seconds}");
    let exported = said(&afp(&["export", "demo", "readonly"]));
    assert!(exported.contains(&format!("export AWS_ACCESS_KEY_ID='{key_id}'")), "one set for all: {exported}");
    assert!(afp(&["write", "demo", "readonly"]).status.success());
    let written = fs::read_to_string(home.join(".aws/credentials")).expect("written");
    assert!(written.contains(&format!("aws_access_key_id = {key_id}")));
    let denied = afp(&["show", "demo", "admin"]);
    assert!(!denied.status.success() && format!("{denied:?}").contains("Permission Denied"), "{denied:?}");
    assert_eq!(sts.assumed().len(), 1);
}
