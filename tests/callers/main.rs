//! Who asks? Real users, real sockets: each gets what the policy gives it and nothing else.

mod namespaces;
mod records;
#[path = "../support/schema.rs"]
mod schema;
#[path = "../support/mod.rs"]
mod support;
mod tokens;
mod users;

use std::{
    collections::HashMap,
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
};

use alppaca::mock_ims::Behaviour;
use support::{Daemon, Ims, needs, needs_root};

const LIST: &str = "/latest/meta-data/iam/security-credentials/";
/// Numbers that belong to nobody on this host.
const FIRST_UID: u32 = 52_000;

fn with_roles(roles: &[String]) -> Ims {
    Ims::start(Behaviour { roles: roles.to_vec(), ..Behaviour::default() })
}

fn names(roles: &[&str]) -> Vec<String> {
    roles.iter().map(|role| (*role).to_owned()).collect()
}

/// Waits until every role has credentials; who has which access key id.
fn keys(ims: &Ims, daemon: &Daemon, roles: usize) -> HashMap<String, String> {
    while ims.handle.issued().len() < roles {
        daemon.wait_for_log(" fetched ");
        std::thread::yield_now();
    }
    ims.handle.issued().into_iter().map(|set| (set.access_key_id, set.role)).collect()
}

/// What user `uid` gets with curl, one answer after the other, each on a connection of its own.
fn curl(uid: u32, urls: &[String]) -> Command {
    let mut command = Command::new("curl");
    command.args(["-sS", "-m", "20", "-H", "Connection: close", "-w", "\n%{http_code}\n"]).args(urls);
    command.uid(uid).gid(uid).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).current_dir("/");
    command
}

fn ask(uid: u32, url: &str) -> (String, String) {
    let output = curl(uid, &[url.to_owned()]).output().expect("curl runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text
        .trim_end()
        .rsplit_once('\n')
        .unwrap_or_else(|| panic!("{url}: {text} {}", String::from_utf8_lossy(&output.stderr)));
    (status.to_owned(), body.to_owned())
}

fn possible(what: &str) -> bool {
    needs_root(what) && needs(what, "curl")
}

/// The records of an audit.
fn records(file: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(file).expect("an audit");
    schema::check_records(include_str!("../../docs/schemas/audit.schema.json"), &text);
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}
