//! The daemons and the AWS that all clients share.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    time::Duration,
};

use alppaca::mock_ims::Behaviour;

use super::{gate::Door, moto::Moto, namespace::Namespace};
use crate::support::{Daemon, Ims};

/// Long enough for one round on a busy machine before the last third, after which there is a new set.
pub const FLEETING: Duration = Duration::from_secs(15);

/// The region that only the metadata service names.
pub const REGION: &str = "eu-central-1";

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
}

/// A site within a namespace, which goes last.
pub struct Captured {
    pub site: Site,
    pub namespace: Namespace,
}

impl World {
    pub fn start(python: &Path) -> Self {
        let told = Site::start(python, "");
        let captured = if rustix::process::geteuid().is_root() {
            let namespace = Namespace::new(&[]);
            let site = namespace.inside(|| Site::start(python, "bind_port: 25772\n"));
            Ok(Captured { site, namespace })
        } else {
            Err("a network namespace needs root".to_owned())
        };
        Self { told, captured }
    }
}

impl Site {
    pub fn start(python: &Path, listen: &str) -> Self {
        let pair = |lifetime, listen: &str| {
            let ims = Ims::start(Behaviour { lifetime, ..Behaviour::default() });
            // Whoever gets in was through IMDSv2.
            let config = format!("{}imds_v1: false\nmetadata: {{region: {REGION}}}\n{listen}", ims.config());
            Pair { daemon: Daemon::with_credentials(&config), ims }
        };
        Self { moto: Moto::start(python), lasting: pair(Duration::from_hours(1), listen), fleeting: pair(FLEETING, "") }
    }

    /// A way to this AWS, with keys of this IMS.
    pub fn door(&self, ims: &Ims) -> Door {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        Door::open(listener, ims.handle.clone(), self.moto.address)
    }
}

impl Pair {
    /// A configuration of the SDKs whose `credential_process` asks this daemon.
    pub fn profile(&self, folder: &Path) -> std::path::PathBuf {
        let file = folder.join("config");
        let (program, socket) = (env!("CARGO_BIN_EXE_alppaca"), self.daemon.socket());
        let text = format!("[default]\ncredential_process = {program} credentials --socket {}\n", socket.display());
        fs::write(&file, text).expect("a file");
        file
    }
}
