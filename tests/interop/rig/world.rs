//! The daemons and the AWS that all clients share.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use alppaca::mock_ims::Behaviour;
use tempfile::TempDir;

use super::{
    cluster::{Cluster, ISSUER},
    gate::Door,
    moto::{BUCKET, Moto},
    namespace::Namespace,
};
use crate::support::{Daemon, Ims};

/// Long enough for one round on a busy machine before the last third, after which there is a new set.
pub const FLEETING: Duration = Duration::from_secs(15);

/// The region that only the metadata service names.
pub const REGION: &str = "eu-central-1";

/// What opens the role at the container face.
pub const TOKEN: &str = "s3cr3t-token+/=";
/// The same in a path.
pub const ID: &str = "0a1b2c3d-4e5f";
/// Where ECS's agent and that of EKS Pod Identity are.
const AGENTS: [&str; 2] = ["169.254.170.2", "169.254.170.23"];
/// EC2's address of IMDS and that of the agent of EKS, by IPv6.
const SIX: [&str; 2] = ["fd00:ec2::254", "fd00:ec2::23"];

/// Both hosts.
pub struct World {
    /// This one: the clients are told where the daemon is.
    pub told: Site,
    /// One in a network namespace, where the usual addresses lead to the daemon, and nobody is told anything.
    /// Or why there is none.
    pub captured: Result<Captured, String>,
}

/// A host, with an AWS of its own.
pub struct Site {
    moto: Moto,
    /// Sets for an hour.
    pub lasting: Pair,
    /// Sets for [`FLEETING`].
    pub fleeting: Pair,
}

/// An IMS and the daemon that asks it.
pub struct Pair {
    pub ims: Ims,
    pub daemon: Daemon,
    pub files: TempDir,
}

/// Where the daemon of the lasting sets listens.
#[derive(Clone, Copy)]
pub enum Place {
    /// On loopback, at free ports.
    Anywhere,
    /// Where the rule leads, and where the agents of ECS and EKS are.
    Usual,
    /// Where IMDS and the agent of EKS are by IPv6, and at `[::1]`.
    Six,
}

/// A site within a namespace, which goes last.
pub struct Captured {
    pub site: Site,
    /// For those who come by IPv6; or why there is none.
    pub six: Result<Pair, String>,
    pub namespace: Namespace,
}

impl World {
    pub fn start(python: &Path) -> Self {
        let told = Site::start(python, Place::Anywhere);
        let captured = if rustix::process::geteuid().is_root() {
            let (six, why) = (Path::new("/proc/sys/net/ipv6").exists(), "this kernel has no IPv6");
            let addresses = AGENTS.into_iter().chain(SIX.into_iter().filter(|_| six));
            let namespace = Namespace::new(&addresses.collect::<Vec<_>>());
            let site = namespace.inside(|| Site::start(python, Place::Usual));
            let pair = || namespace.inside(|| Pair::start(Duration::from_hours(1), Place::Six));
            let six = six.then(pair).ok_or_else(|| why.to_owned());
            Ok(Captured { site, six, namespace })
        } else {
            Err("a network namespace needs root".to_owned())
        };
        Self { told, captured }
    }
}

impl Site {
    pub fn start(python: &Path, place: Place) -> Self {
        let (lasting, fleeting) = (Pair::start(Duration::from_hours(1), place), Pair::start(FLEETING, Place::Anywhere));
        let moto = Moto::start(python);
        moto.make_bucket(BUCKET);
        Self { moto, lasting, fleeting }
    }

    /// A way to this AWS, with keys of this IMS.
    pub fn door(&self, ims: &Ims) -> Door {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        Door::open(listener, ims.handle.clone(), self.moto.address)
    }
}

impl Pair {
    pub fn start(lifetime: Duration, place: Place) -> Self {
        let ims = Ims::start(Behaviour { lifetime, ..Behaviour::default() });
        let (files, cluster) = (TempDir::new().expect("a directory"), Cluster::new());
        let folder = files.path();
        for (name, text) in [("token", TOKEN), ("id", ID), ("jwt", &cluster.token()), ("jwks", &cluster.keys())] {
            fs::write(folder.join(name), text).expect("a file");
        }
        let free = "127.0.0.1:0".to_owned();
        let [imds, ecs, eks] = match place {
            Place::Anywhere => [free.clone(), free.clone(), free],
            Place::Usual => ["127.0.0.1:25772".to_owned(), format!("{}:80", AGENTS[0]), format!("{}:80", AGENTS[1])],
            Place::Six => [format!("[{}]:80', '[::1]:0", SIX[0]), free, format!("[{}]:80", SIX[1])],
        };
        let daemon = start(&ims, folder, &[imds, ecs, eks]);
        Self { ims, daemon, files }
    }

    /// Where ECS's agent is.
    pub fn ecs(&self) -> SocketAddr {
        self.daemon.face("container")
    }

    /// Where the agent of EKS Pod Identity is.
    pub fn eks(&self) -> SocketAddr {
        self.daemon.face("pod-identity")
    }

    /// The file with the token of the service account.
    pub fn service_account(&self) -> PathBuf {
        self.files.path().join("jwt")
    }

    /// A configuration of the SDKs whose `credential_process` asks this daemon.
    pub fn profile(&self, folder: &Path) -> PathBuf {
        let file = folder.join("config");
        let (program, socket) = (env!("CARGO_BIN_EXE_alppaca"), self.daemon.socket());
        let text = format!("[default]\ncredential_process = {program} credentials --socket {}\n", socket.display());
        fs::write(&file, text).expect("a file");
        file
    }
}

/// Another daemon in place of the first, with the same addresses and `files`.
pub fn restart(daemon: &mut Daemon, ims: &Ims, files: &Path) {
    let addresses = [daemon.address(), daemon.face("container"), daemon.face("pod-identity")];
    daemon.stop();
    *daemon = start(ims, files, &addresses.map(|address| address.to_string()));
}

/// Starts a daemon with the faces of IMDS, ECS and EKS at these addresses.
fn start(ims: &Ims, files: &Path, [imds, ecs, eks]: &[String; 3]) -> Daemon {
    let (ims_is, folder) = (ims.config(), files.display());
    // Whoever gets in at the first was through IMDSv2.
    let daemon = Daemon::with_credentials(&format!(
        "{ims_is}listen: ['{imds}']
imds_v1: false
metadata: {{region: {REGION}}}
container:
  listen: ['{ecs}']
  roles: {{test_role: {{authorization_token_file: {folder}/token, credentials_id_file: {folder}/id}}}}
pod_identity:
  listen: ['{eks}']
  issuer: {ISSUER}
  jwks_file: {folder}/jwks
  associations: [{{namespace: prod, service_account: web, role: test_role}}]
"
    ));
    daemon.wait_for_log(" public keys from ");
    daemon
}
