//! `alppaca-ims demo --desktop`: a developer's desktop with everything that it needs: AWS, a provider to sign in at, the role
//! server, and the daemon.

use std::{fmt::Write, net::SocketAddr, path::Path};

use alppaca::{
    admin::{Access, AdminSocket},
    config,
    daemon::{AdminSockets, Daemon, Progress},
    faces::imds,
    http::Place,
    plan,
};
use alppaca_command::{Failure, Outcome, environment, temporary::Temporary};
use alppaca_mock_oidc::{CLIENT, Person};
use tokio::runtime::Runtime;

use super::{Aws, account, certificates, start_server, write_file};
use crate::clock::SystemClock;

/// The accounts, and the roles of each.
const ACCOUNTS: [(&str, &str, &[&str]); 2] =
    [("dev", super::ACCOUNT, &["developer"]), ("prod", "444455556666", &["readonly", "admin"])];

/// Who can sign in, and the groups of each.
const PEOPLE: [(&str, &[&str]); 2] = [("alice", &["developers", "admins"]), ("bob", &["developers"])];

/// Who may have which role: group, account, role.
const RULES: [(&str, &str, &str); 3] =
    [("developers", "dev", "developer"), ("developers", "prod", "readonly"), ("admins", "prod", "admin")];

/// Runs all of it until it is stopped. The daemon, which is what a person sees, is at that port.
pub(super) fn run(port: u16) -> Outcome {
    let directory = Temporary::new("alppaca-demo")?;
    let place = directory.path();
    certificates::write(place).map_err(Failure::runtime)?;
    let runtime = Runtime::new().map_err(Failure::runtime)?;
    let roles = ACCOUNTS.iter().flat_map(|(_, account, roles)| roles.iter().map(move |role| (*account, *role)));
    let aws = runtime.block_on(Aws::start(roles))?;
    let person = |(name, groups): (&str, &[&str])| Person {
        name: name.to_owned(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
    };
    let provider = alppaca_mock_oidc::serve(PEOPLE.map(person).into(), SystemClock::shared());
    let provider = runtime.block_on(provider);
    let provider = provider.map_err(|error| Failure::runtime(format!("cannot start the OpenID provider: {error}")))?;
    let settings = of_server(&aws, place, provider.issuer());
    let (server, address) = runtime.block_on(start_server(&settings, place))?;
    let ended = serve(port, place, &of_daemon(port, address, place, provider.issuer()), &aws);
    runtime.block_on(server.stop()).and(ended)
}

/// The daemon, until it is stopped.
fn serve(port: u16, directory: &Path, settings: &str, aws: &Aws) -> Outcome {
    let path = directory.join("alppaca.yaml");
    write_file(&path, settings).map_err(Failure::runtime)?;
    let config = config::load(&path).map_err(Failure::runtime)?.config;
    let admin =
        AdminSocket::bind(&directory.join("alppaca.sock"), Access::Everybody, None).map_err(Failure::runtime)?;
    let place = Place::bind(SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, port)))
        .map_err(|error| Failure::runtime(format!("{error}\n`alppaca demo --desktop --port 0` takes a free port.")))?;
    let places = vec![(Place::Held(place), imds::FACE)];
    let address = places.first().and_then(|(place, _)| place.address().ok());
    let address = address.ok_or_else(|| Failure::runtime("the listening socket has no address"))?;
    let host_env = environment::host_env();
    let sign_ins = host_env.sign_ins.clone();
    let fetching = plan::fetching(&config, host_env).map_err(Failure::runtime)?;
    let guide = guide(address, directory, admin.path(), aws);
    let daemon = Daemon::new(config, fetching, SystemClock::shared(), sign_ins)
        .with_admin(AdminSockets { socket: Some(admin), ..AdminSockets::default() });
    daemon.run(places, Guide(guide)).map_err(Failure::runtime)
}

/// Of the role server, which takes any port.
fn of_server(aws: &Aws, directory: &Path, issuer: &str) -> String {
    let accounts: Vec<_> = ACCOUNTS.iter().map(|(name, account, _)| format!("{name}: '{account}'")).collect();
    let mut settings = format!(
        "\
{}identities:
  people: {{kind: jwt, issuer: '{issuer}', audience: {CLIENT}, groups_claim: groups, jwks_url: '{issuer}/jwks'}}
accounts: {{{}}}
rules:
",
        aws.settings(0, directory),
        accounts.join(", "),
    );
    for (group, account, role) in RULES {
        // A string takes everything that is written.
        let _always = writeln!(
            settings,
            "  - {{name: {role}s, match: {{method: people, groups: {group}}}, account: {account}, role: {role}}}"
        );
    }
    settings
}

fn of_daemon(port: u16, server: SocketAddr, directory: &Path, issuer: &str) -> String {
    format!(
        "\
{}sources:
  demo:
    kind: site
    url: https://localhost:{}
    ca_file: {}
    sign_in: {{kind: oidc, issuer: '{issuer}', client_id: {CLIENT}}}
listen: 127.0.0.1:{port}
run_dir: {}
access_log: no
",
        account(),
        server.port(),
        directory.join("ca.pem").display(),
        directory.display(),
    )
}

fn guide(address: SocketAddr, directory: &Path, socket: &Path, aws: &Aws) -> String {
    let (here, socket) = (directory.display(), socket.display());
    let (sts, federation) = (aws.0.url(), aws.0.federation_url());
    let people = PEOPLE.map(|(name, _)| name).join(" or ");
    format!(
        "\
A desktop to try out: your daemon at http://{address}/, with a role server, a page to sign in at and a mock
of AWS, all in this process. The credentials are worth nothing. The configurations are in {here}

Type in another terminal:

  # Where alppaca's commands and the SDKs find all that
  export ALPPACA_SOCKET={socket}
  export AWS_EC2_METADATA_SERVICE_ENDPOINT=http://{address}/
  export AWS_DEFAULT_REGION=us-east-1

  # Your browser opens: be {people}. Without a display: alppaca login --no-browser
  alppaca login
  alppaca whoami

  # Work as one of your roles, with any SDK
  alppaca roles
  alppaca use developer
  aws sts get-caller-identity --endpoint-url {sts}
  python3 -c 'import boto3; print(boto3.Session().get_credentials().access_key)'
  alppaca exec readonly -- aws sts get-caller-identity --endpoint-url {sts}

  # A page in the place of the AWS console
  alppaca console --url --endpoint {federation}

  alppaca logout

Stop with Ctrl-C.
"
    )
}

/// Tells the person at the terminal what to do.
struct Guide(String);

impl Progress for Guide {
    fn ready(&mut self, _fetched: bool) {
        alppaca_command::println!("{}", self.0);
    }

    fn status(&mut self, _line: &str) {}
}
