//! `alppaca demo`: a mock IMS and the daemon in one process, and what to type next. With `--desktop` it is `alppaca-ims demo`.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::Command,
    sync::mpsc,
    thread,
};

use alppaca_command::temporary::Temporary;

use super::{Failure, Outcome, environment};
use crate::{
    admin::{Access, AdminSocket},
    clock::SystemClock,
    config::Config,
    credentials::format_timestamp,
    daemon::{AdminSockets, Daemon, Progress},
    faces::imds,
    http::{Place, ServerError},
    mock_ims::{Behaviour, MockIms},
    plan,
    store::{Slot, Store},
};

/// How long the demo's credentials live. boto3 takes less than 25 minutes for trouble; new ones come every minute.
const LIFETIME: std::time::Duration = std::time::Duration::from_hours(1);
const ROLE: &str = "test_role";

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A developer's desktop: also a role server and a page to sign in at (in the package alppaca-ims)
    #[arg(long)]
    desktop: bool,
    /// The port of 127.0.0.1 to serve on; 0 takes a free one
    #[arg(short, long, default_value_t = 25772)]
    port: u16,
}

/// Runs the demo until it is stopped.
pub(super) fn run(args: &Args) -> Outcome {
    if args.desktop {
        return Err(become_desktop(args.port));
    }
    let ims = start_mock_ims()?;
    let mut config = Config::with_ims(&format!("http://{ims}")).map_err(Failure::runtime)?;
    config.listen = vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), args.port)];
    config.logging.access_log = false;
    let directory = Temporary::new("alppaca-demo")?;
    directory.path().clone_into(&mut config.run_dir);
    let admin =
        AdminSocket::bind(&directory.path().join("alppaca.sock"), Access::Everybody, None).map_err(Failure::runtime)?;
    let socket = admin.path().to_owned();
    let bound = config.listen.iter().map(|address| Ok((Place::Held(Place::bind(*address)?), imds::FACE)));
    let places = bound
        .collect::<Result<Vec<_>, ServerError>>()
        .map_err(|error| Failure::runtime(format!("{error}\n`alppaca demo --port 0` takes a free port.")))?;
    let address = places.first().and_then(|(place, _)| place.address().ok());
    let address = address.ok_or_else(|| Failure::runtime("the listening socket has no address"))?;
    let host_env = environment::host_env();
    let sign_ins = host_env.sign_ins.clone();
    let fetching = plan::fetching(&config, host_env).map_err(Failure::runtime)?;
    let daemon = Daemon::new(config, fetching, SystemClock::shared(), sign_ins)
        .with_admin(AdminSockets { socket: Some(admin), ..AdminSockets::default() });
    daemon.run(places, Guide { ims, address, socket, last: String::new() }).map_err(Failure::runtime)
}

/// Becomes alppaca-ims, which has this daemon in it, and all that a desktop talks to. Answers why that cannot be.
fn become_desktop(port: u16) -> Failure {
    const PROGRAM: &str = "alppaca-ims";
    let beside = environment::own_program().map(|own| own.with_file_name(PROGRAM)).ok().filter(|path| path.is_file());
    let program = beside.unwrap_or_else(|| PROGRAM.into());
    let error = Command::new(&program).args(["demo", "--desktop", "--port", &port.to_string()]).exec();
    Failure::runtime(format!(
        "{}: {error}\nThe demonstration of a desktop needs the role server: install the package {PROGRAM}.",
        program.display()
    ))
}

/// Starts the mock IMS on a thread of its own; it ends with the process.
fn start_mock_ims() -> Result<SocketAddr, Failure> {
    let cannot = |error: std::io::Error| Failure::runtime(format!("cannot start the mock IMS: {error}"));
    let (tell, told) = mpsc::channel();
    let serve = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let behaviour = Behaviour { lifetime: LIFETIME, ..Behaviour::default() };
            let mock = MockIms::bind((Ipv4Addr::LOCALHOST, 0).into(), behaviour)?;
            // The other side waits for exactly this.
            let _received = tell.send(mock.local_addr()?);
            mock.run().await
        })
    };
    let thread = thread::Builder::new().name("mock-ims".into()).spawn(serve).map_err(cannot)?;
    match told.recv() {
        Ok(address) => Ok(address),
        Err(_closed) => match thread.join() {
            Ok(Err(error)) => Err(cannot(error)),
            Ok(Ok(())) => Err(Failure::runtime("the mock IMS ended")),
            Err(panic) => std::panic::resume_unwind(panic),
        },
    }
}

/// Tells the person at the terminal what happens.
struct Guide {
    ims: SocketAddr,
    address: SocketAddr,
    socket: PathBuf,
    last: String,
}

impl Progress for Guide {
    fn ready(&mut self, fetched: bool) {
        let Self { ims, address, socket, .. } = self;
        let socket = socket.display();
        if !fetched {
            alppaca_command::println!(
                "The mock IMS at http://{ims}/ has returned no credentials; something is wrong here."
            );
            return;
        }
        let tree = format!("http://{address}/latest");
        alppaca_command::println!(
            "\
alppaca serves the role {ROLE} at http://{address}/
(a mock IMS at http://{ims}/ plays the upstream; it hands out new credentials every minute)

Try, in another terminal:

  # IMDSv1, as in 2015
  curl {tree}/meta-data/iam/security-credentials/
  curl {tree}/meta-data/iam/security-credentials/{ROLE}

  # IMDSv2, as every SDK does it today
  TOKEN=$(curl -sX PUT {tree}/api/token -H 'X-aws-ec2-metadata-token-ttl-seconds: 60')
  curl -H \"X-aws-ec2-metadata-token: $TOKEN\" {tree}/meta-data/iam/security-credentials/{ROLE}

  # boto3, or any other SDK
  export AWS_EC2_METADATA_SERVICE_ENDPOINT=http://{address}/
  python3 -c 'import boto3; print(boto3.Session().get_credentials().access_key)'

  # alppaca's own commands
  export ALPPACA_SOCKET={socket}
  alppaca status
  alppaca credentials --format env

Stop with Ctrl-C.
"
        );
    }

    fn status(&mut self, _line: &str) {}

    fn changed(&mut self, store: &Store) {
        let snapshot = store.snapshot();
        let Some(role) = snapshot.role(ROLE) else { return };
        if let Slot::Held { set, .. } = &**role.slot()
            && *set.access_key_id != *self.last
        {
            let verb = if self.last.is_empty() { "fetched" } else { "refreshed" };
            let now = format_timestamp(crate::clock::Clock::now(&SystemClock).wall);
            let until = format_timestamp(set.expiration);
            alppaca_command::println!("{now}  credentials {verb}: {} (valid until {until})", set.access_key_id);
            self.last = set.access_key_id.to_string();
        }
    }
}
