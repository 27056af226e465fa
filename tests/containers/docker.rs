//! A Docker of the test's own.
#![allow(unreachable_pub, reason = "a part of one test program")]

use std::{
    fs,
    process::{Child, Command, Output},
};

use crate::place::{Place, Runtime, end, possible, unmount};

/// Few addresses, so that they are used again soon: five for containers.
const NETWORK: &str = "172.30.0.1/29";

/// A running Docker.
pub struct Docker {
    dockerd: Option<Child>,
    place: Place,
}

impl Runtime for Docker {
    const NAME: &'static str = "Docker";
    const REMOVE: &'static [&'static str] = &["rm", "--force"];

    fn possible(what: &str) -> bool {
        possible(what, &["dockerd", "docker"])
    }

    fn start_in(place: Place) -> Self {
        fs::write(place.path("daemon.json"), "{}").expect("a file");
        let mut docker = Self { dockerd: None, place };
        docker.start_service();
        docker
    }

    fn place(&self) -> &Place {
        &self.place
    }

    fn call(&self, arguments: &[&str]) -> Output {
        let host = format!("unix://{}", self.socket().display());
        Command::new("docker").args(["-H", &host]).args(arguments).output().expect("it runs")
    }

    fn start_service(&mut self) {
        let path = |name: &str| self.place.path(name).display().to_string();
        let mut command = self.place.command("dockerd");
        command
            .args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")])
            .args(["--config-file", &path("daemon.json"), "-H", &format!("unix://{}", path("sock"))])
            .args(["--bip", NETWORK, "--storage-driver", "vfs", "--exec-opt", "native.cgroupdriver=cgroupfs"])
            .args(["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"])
            .args(["--userland-proxy=false", "--live-restore"]);
        self.dockerd = Some(self.place.start(command, || self.call(&["version"]).status.success()));
    }

    fn stop_service(&mut self) {
        end(&mut self.dockerd);
    }

    fn bridged(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if self.dockerd.is_some() {
            self.clear();
        }
        self.stop_service();
        for mounted in ["exec/netns/default", "data"] {
            unmount(&self.place.path(mounted));
        }
    }
}
