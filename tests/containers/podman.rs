//! A Podman of the test's own. Its command starts containers without the service, as it does everywhere; the service
//! only tells of them.
#![allow(unreachable_pub, reason = "a part of one test program")]

use std::{
    fs,
    process::{Child, Command, Output},
};

use crate::place::{Place, Runtime, end, possible, unmount};

/// Few addresses, so that they are used again soon: five for containers.
const NETWORK: &str = "172.30.1.0/29";

/// A running Podman.
pub struct Podman {
    service: Option<Child>,
    place: Place,
}

impl Podman {
    /// `podman` on its host.
    fn podman(&self) -> Command {
        let path = |name: &str| self.place.path(name).display().to_string();
        let mut command = self.place.command("podman");
        command.env("CONTAINERS_CONF", path("containers.conf"));
        command.args(["--storage-driver", "vfs", "--root", &path("data"), "--runroot", &path("exec")]);
        command
    }
}

impl Runtime for Podman {
    const NAME: &'static str = "Podman";
    const REMOVE: &'static [&'static str] = &["rm", "--force", "--time", "0"];

    fn possible(what: &str) -> bool {
        // The plugins make its bridges.
        let bridges = std::path::Path::new("/usr/lib/cni/bridge").exists();
        possible(what, &["podman", "conmon", "runc", "iptables"])
            && (bridges || crate::support::skip(what, "there is no /usr/lib/cni/bridge"))
    }

    fn start_in(place: Place) -> Self {
        let path = |name: &str| place.path(name).display().to_string();
        let text = format!(
            "[containers]\ndefault_ulimits = ['nofile=1024:1024', 'nproc=1024:1024']\n\
             [engine]\ncgroup_manager = 'cgroupfs'\nevents_logger = 'file'\nlock_type = 'file'\nruntime = 'runc'\n\
             tmp_dir = '{}'\ninfra_image = 'box:1'\n\
             [network]\nnetwork_backend = 'cni'\nnetwork_config_dir = '{}'\ncni_plugin_dirs = ['/usr/lib/cni']\n",
            path("run"),
            path("networks")
        );
        fs::write(place.path("containers.conf"), text).expect("a file");
        let mut podman = Self { service: None, place };
        podman.start_service();
        podman.run(&["network", "create", "--subnet", NETWORK, &podman.place.namespace]);
        podman
    }

    fn place(&self) -> &Place {
        &self.place
    }

    fn call(&self, arguments: &[&str]) -> Output {
        self.podman().args(arguments).output().expect("it runs")
    }

    fn start_service(&mut self) {
        let url = format!("unix://{}", self.socket().display());
        let mut command = self.podman();
        command.args(["system", "service", "--time=0", &url]);
        let answers = || {
            let mut remote = Command::new("podman");
            remote.args(["--url", &url, "version"]).output().expect("it runs").status.success()
        };
        self.service = Some(self.place.start(command, answers));
    }

    fn stop_service(&mut self) {
        end(&mut self.service);
    }

    fn bridged(&self) -> Vec<String> {
        vec!["--network".to_owned(), self.place.namespace.clone()]
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        self.call(&["pod", "rm", "--force", "--time", "0", "--all"]);
        self.clear();
        self.stop_service();
        unmount(&self.place.path("data"));
        // The plugins keep this outside of all directories that one can name.
        for kept in fs::read_dir("/var/lib/cni/networks").into_iter().flatten().flatten() {
            if kept.file_name().to_string_lossy().starts_with(&self.place.namespace) {
                let _gone = fs::remove_dir_all(kept.path());
            }
        }
    }
}
