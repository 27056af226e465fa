//! What the kernel says of a caller: packets of netlink, memberships of control groups and the table of mounts are read
//! without a panic. A socket is only what was asked for, and no path below a user's own unit is a container.
#![no_main]

use alppaca::caller::cgroup::{parse_membership, parse_mount_point};
use alppaca::caller::netlink::{Reply, ask_socket, find_reply, read_route, read_socket};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // A reply to the question with this number, and to another.
    for sequence in [1, 2] {
        match find_reply(sequence, bytes) {
            Reply::Body(body) => {
                assert!(body.len() + 16 <= bytes.len());
                if let Some(found) = read_socket(body) {
                    // What is told can be asked for, if it is one connection.
                    if found.own.is_ipv4() == found.other.is_ipv4() {
                        assert_eq!(ask_socket(sequence, found.own, found.other, 0, true).len(), 72);
                    }
                }
                let _anything = read_route(body);
            }
            Reply::None | Reply::Error(_) => {}
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(group) = parse_membership(text) {
        assert!(text.contains(&*group.path));
        let below_user = group.unit.as_deref().is_some_and(|unit| unit.starts_with("user@"));
        assert!(!below_user || group.containers.is_empty());
        assert_eq!(group.is_root(), &*group.path == "/");
    }
    if let Some(point) = parse_mount_point(text) {
        assert!(text.contains(point.to_str().expect("it was text")));
    }
});
