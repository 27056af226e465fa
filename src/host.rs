//! What can be found out about this host, without asking anybody: its names, addresses and id.

use std::{fs, net::UdpSocket, path::Path};

use aws_lc_rs::hmac;
use jiff::Timestamp;

use crate::credentials::format_timestamp;

/// The name of the interface of the default route.
fn default_interface() -> Option<String> {
    let routes = fs::read_to_string("/proc/net/route").ok()?;
    // Interface, destination, …, and the mask in the eighth column.
    routes.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [interface, destination, ..] = &*columns else { return None };
        (*destination == "00000000" && columns.get(7) == Some(&"00000000")).then(|| (*interface).to_owned())
    })
}

/// The hardware address of the interface of the default route.
pub fn mac() -> Option<String> {
    let path = Path::new("/sys/class/net").join(default_interface()?).join("address");
    let address = fs::read_to_string(path).ok()?.trim().to_owned();
    Some(address).filter(|address| address.len() == 17 && address != "00:00:00:00:00:00")
}

/// The address that this host uses towards the default route. Nothing is sent to find it out.
pub fn local_ipv4() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // An address of the documentation (RFC 5737); connecting a datagram socket only looks up the route.
    socket.connect("198.51.100.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then(|| address.to_string())
}

/// The lowest port that every user may listen at, IPv6 included.
pub fn unprivileged_ports() -> u16 {
    // Not shown where `/proc` shows processes only: the kernel's default then.
    let start = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    start.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1024)
}

/// The name of the host.
pub fn hostname() -> Option<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Some(name).filter(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()))
}

/// An instance id that is always the same on this host: `i-` and 17 hexadecimal digits. It is a keyed hash of the
/// machine id, which itself must not be shown (machine-id(5)); without one, of the host's name.
pub fn instance_id() -> Option<String> {
    let id = ["/etc/machine-id", "/var/lib/dbus/machine-id"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok().filter(|id| id.trim().len() == 32))
        .or_else(hostname)?;
    Some(instance_id_of(id.trim()))
}

fn instance_id_of(machine_id: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, machine_id.as_bytes());
    let hash = hmac::sign(&key, b"alppaca: EC2 instance id");
    let halves = hash.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits: String = halves.take(17).filter_map(|half| char::from_digit(half.into(), 16)).collect();
    format!("i-{digits}")
}

/// When the host was started, as AWS writes times.
pub fn started() -> Option<String> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Timestamp::from_second(seconds).ok().map(format_timestamp)
}

/// The processor in EC2's words.
pub fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_id_is_stable_and_does_not_show_the_machine_id() {
        let id = instance_id_of("0123456789abcdef0123456789abcdef");
        assert_eq!(id, instance_id_of("0123456789abcdef0123456789abcdef"));
        assert_ne!(id, instance_id_of("0123456789abcdef0123456789abcdee"));
        let digits = id.strip_prefix("i-").expect("EC2's form");
        assert!(digits.len() == 17 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        assert!(!id.contains("0123456789"), "{id}");
    }

    #[test]
    fn what_is_found_has_the_form_of_ec2() {
        assert!(mac().is_none_or(|mac| mac.split(':').count() == 6));
        assert!(local_ipv4().is_none_or(|address| address.parse::<std::net::Ipv4Addr>().is_ok()));
        assert!(started().is_none_or(|time| time.ends_with('Z') && time.len() == 20));
        assert!(hostname().is_some());
    }
}
