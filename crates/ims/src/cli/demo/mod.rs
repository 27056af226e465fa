//! `alppaca-ims demo`: the server, an authority and a mock STS in one process, and what to type next.

mod certificates;
mod desktop;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use alppaca_command::{Failure, Outcome, environment, temporary::Temporary};

use alppaca_mock_sts::{Handle, Role, Script, User};
use tokio::net::TcpListener;

use super::run::{Ready, Signals, Started};
use crate::{
    clock::SystemClock,
    server::{Aside, Bound, bind},
    site,
};
use certificates::{HOST, write_file};

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A developer's desktop: also a page to sign in at and the daemon, to work with
    #[arg(long)]
    desktop: bool,
    /// The port of 127.0.0.1 to serve on; 0 takes a free one [default: 8443; of the daemon 25772]
    #[arg(short, long)]
    port: Option<u16>,
}

const ACCOUNT: &str = "111122223333";
/// AWS's own example.
const KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";

/// Runs the demo until it is stopped.
pub(super) fn run(args: &Args) -> Outcome {
    if args.desktop {
        return desktop::run(args.port.unwrap_or(25772));
    }
    let directory = Temporary::new("alppaca-ims-demo")?;
    certificates::write(directory.path()).map_err(Failure::runtime)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::runtime)?;
    runtime.block_on(serve(args.port.unwrap_or(8443), directory.path()))
}

async fn serve(port: u16, directory: &Path) -> Outcome {
    let aws = Aws::start([(ACCOUNT, "web"), (ACCOUNT, "readonly")]).await?;
    let (started, address) = start_server(&configuration(port, directory, &aws), directory).await?;
    write_file(&directory.join("alppaca.yaml"), &of_daemon(address, directory)).map_err(Failure::runtime)?;
    alppaca_command::println!("{}", guide(address, directory));
    let mut signals = Signals::new().map_err(Failure::runtime)?;
    while signals.is_hangup().await {}
    started.stop().await
}

/// Starts the role server; where it is.
async fn start_server(settings: &str, directory: &Path) -> Result<(Started, SocketAddr), Failure> {
    let path = directory.join("ims.yaml");
    write_file(&path, settings).map_err(Failure::runtime)?;
    let loaded = site::load(&path).map_err(Failure::runtime)?;
    let listen = loaded.site.listen.iter().map(|listen| bind(listen, None)).collect::<Result<Vec<_>, _>>();
    let bound =
        listen.map_err(|error| Failure::runtime(format!("{error}\n`alppaca-ims demo --port 0` takes a free port.")))?;
    let address = bound.iter().find_map(Bound::tcp_address);
    let address = address.ok_or_else(|| Failure::runtime("the listening socket has no address"))?;
    let ready = Ready::open(&loaded.site, &environment::host_env(), &bound)?;
    Ok((ready.start(&loaded.site, bound, Aside::default()), address))
}

/// What plays AWS: a user for the role server, and roles that it may assume.
struct Aws(Handle);

impl Aws {
    /// With these roles, by account and name.
    async fn start(roles: impl IntoIterator<Item = (&str, &str)>) -> Result<Self, Failure> {
        let cannot = |error: std::io::Error| Failure::runtime(format!("cannot start the mock STS: {error}"));
        let user = format!("arn:aws:iam::{ACCOUNT}:user/alppaca-ims");
        let role = |(account, name)| Role::new(format!("arn:aws:iam::{account}:role/{name}"), user.clone());
        let roles = roles.into_iter().map(role).collect();
        let keys = User { arn: user.clone(), access_key_id: KEY_ID.to_owned(), secret_access_key: "demo".to_owned() };
        let script = Script { users: vec![keys], roles, ..Script::default() };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(cannot)?;
        alppaca_mock_sts::serve(listener, script, SystemClock::shared()).map(Self).map_err(cannot)
    }

    /// What every role server of a demo says.
    fn settings(&self, port: u16, directory: &Path) -> String {
        let file = |name: &str| directory.join(name).display().to_string();
        format!(
            "\
{}listen: 127.0.0.1:{port}
tls_certificate: {}
tls_key: {}
sts:
  credentials: {{kind: static, access_key_id: {KEY_ID}, secret_access_key: demo}}
  regions: [us-east-1]
  endpoint: {}
",
            account(),
            file("server.pem"),
            file("server.key"),
            self.0.url(),
        )
    }
}

fn configuration(port: u16, directory: &Path, aws: &Aws) -> String {
    format!(
        "\
{}identities:
  hosts: {{kind: mtls, ca_files: {}}}
  people: {{kind: proxy, name_header: X-Remote-User, groups_header: X-Groups, from_networks: 127.0.0.1}}
accounts: {{demo: '{ACCOUNT}'}}
rules:
  - {{name: web servers, match: {{method: hosts, name: 'web[0-9]+\\.example\\.com'}}, account: demo, role: web}}
  - {{name: groups, match: {{method: people, groups: 'aws-(?P<role>[a-z]+)'}}, account: demo, role: '{{role}}'}}
",
        aws.settings(port, directory),
        directory.join("ca.pem").display(),
    )
}

/// Who reads these files. As root, a daemon or a server that reads its configuration here would otherwise become the account of
/// the host's service, which cannot.
fn account() -> &'static str {
    if rustix::process::geteuid().is_root() { "user: root\n" } else { "" }
}

fn of_daemon(address: SocketAddr, directory: &Path) -> String {
    let file = |name: &str| directory.join(name).display().to_string();
    format!(
        "\
{}ims_host: localhost
ims_port: {}
ims_ca_file: {}
ims_client_certificate: {}
ims_client_key: {}
listen: 127.0.0.1:25772
run_dir: {}
logging_handler: {{module: logging, class: StreamHandler}}
",
        account(),
        address.port(),
        file("ca.pem"),
        file("host.pem"),
        file("host.key"),
        file("run"),
    )
}

fn guide(address: SocketAddr, directory: &Path) -> String {
    let here = directory.display();
    let base = format!("https://localhost:{}", address.port());
    format!(
        "\
alppaca-ims serves at {base}
(a mock STS plays AWS; its credentials are worth nothing. Everything is in {here})

Try, in another terminal:

  # The host {HOST}, by its certificate
  cd {here}
  curl --cacert ca.pem --cert host.pem --key host.key {base}/latest/meta-data/iam/security-credentials/
  curl --cacert ca.pem --cert host.pem --key host.key {base}/latest/meta-data/iam/security-credentials/web

  # A person behind a reverse proxy, which names her and her groups
  curl --cacert ca.pem -H 'X-Remote-User: alice' -H 'X-Groups: aws-readonly' {base}/account
  curl --cacert ca.pem -H 'X-Remote-User: alice' -H 'X-Groups: aws-readonly' {base}/account/demo/readonly/credentials

  # Why
  alppaca-ims explain -c ims.yaml --host {HOST} --proven-by hosts

  # The daemon on that host, and any SDK
  alppaca run -c alppaca.yaml
  AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:25772/ python3 -c 'import boto3; print(boto3.Session().get_credentials().access_key)'

Stop with Ctrl-C."
    )
}
