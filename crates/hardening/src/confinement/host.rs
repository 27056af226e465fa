//! What every confined process needs of its host: for names, users and time.

use std::path::Path;

use crate::needs::{Need, Needs};

/// What is read on every host, and why. Not `/etc/passwd` alone: such files are replaced, and a rule is for a directory or
/// for the one file that is there now.
const READ: &[(&str, &str)] = &[
    ("/etc", "users, groups, name servers, authorities, the configuration: files that are replaced by others"),
    ("/usr", "modules of the name service, time zones, authorities"),
    ("/lib", "modules of the name service"),
    ("/lib64", "modules of the name service"),
    ("/nix/store", "modules of the name service, time zones, authorities"),
    ("/run", "name servers and users that services know; their directories come and go with them"),
    ("/var/cache/nscd", "the cache of the name service"),
    ("/var/lib/sss", "the cache of the name service"),
    ("/var/lib/extrausers", "users and groups"),
    ("/var/lib/ca-certificates", "authorities"),
    ("/opt", "modules of the name service"),
    ("/var/opt", "users and groups"),
    ("/var/lib/misc", "users and groups"),
    ("/var/db", "users and groups"),
    ("/gnu/store", "modules of the name service, time zones, authorities"),
    ("/var/lib/dbus", "the id of this host"),
    ("/proc", "control groups of callers; routes"),
    ("/sys", "control groups; the address of the network card"),
    ("/dev/urandom", "random numbers"),
];

/// Adds it.
pub fn needs(needs: &mut Needs) {
    for (place, reason) in READ.iter().filter(|(place, _)| Path::new(place).exists()) {
        needs.read(Path::new(place), reason);
    }
    needs.add(Need::Connect(53), "name servers, for long answers");
}
