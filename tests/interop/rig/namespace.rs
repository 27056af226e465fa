//! A network namespace of the test's own, with the address of the metadata service redirected to the
//! daemon's port by the rule of the README.

use std::{fs::File, os::fd::AsFd, process::Command, thread};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The rule of the 2015 tool's README, to the letter.
const RULE: &str = "iptables -t nat -A OUTPUT -d 169.254.169.254/32 -p tcp -m addrtype --src-type LOCAL \
                    -j DNAT --to-destination 127.0.0.1:25772";

/// Gone when dropped; drop what runs inside first.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A host with a default route and the rule, and with `addresses` of its own.
    pub fn new(addresses: &[&str]) -> Self {
        let name = format!("alp{}m", std::process::id());
        let namespace = Self { name };
        let name = &namespace.name;
        shell(&format!(
            "ip netns add {name} && ip -n {name} link set lo up && \
             ip -n {name} link add veth0 type veth peer name veth1 && \
             ip -n {name} address add 192.0.2.1/24 dev veth0 && ip -n {name} link set veth0 up && \
             ip -n {name} link set veth1 up && ip -n {name} route add default via 192.0.2.2"
        ));
        for address in addresses {
            let (bits, at_once) = if address.contains(':') { (128, " nodad") } else { (32, "") };
            shell(&format!("ip -n {name} address add {address}/{bits} dev lo{at_once}"));
        }
        shell(&format!("ip netns exec {name} {RULE}"));
        namespace
    }

    /// Runs `work` inside, with every thread and program that it starts.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.name)).expect("it is there");
        let enter = || move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("we are root");
        let run = || {
            enter();
            work()
        };
        // A thread of its own, because there is no way back.
        thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _gone = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

fn shell(script: &str) {
    let output = Command::new("sh").args(["-c", script]).output().expect("a shell");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}
