//! The files that the daemon writes credentials into, and what programs make of such files.

use super::Finding;
use crate::{
    admin::{FileStatus, Status},
    cli::sdk::Variables,
};

const RULE: &str = "files";

/// What reads a shared credentials file once, and what again; `docs/files.md` says how that was found out.
const READ_ONCE: &str = "several SDKs read a credentials file only when a program starts, and it fails when those \
                         credentials expire; docs/files.md names them, and what to use instead";

/// Judges what the daemon says of its files, and whether programs in this environment read one of them.
pub(super) fn judge(daemon: Option<&Status>, variables: &Variables) -> Vec<Finding> {
    let files = daemon.map(|status| status.files.as_slice()).unwrap_or_default();
    let read = variables.get("AWS_SHARED_CREDENTIALS_FILE");
    files.iter().flat_map(|file| of_file(file, read)).collect()
}

fn of_file(file: &FileStatus, read: Option<&str>) -> Vec<Finding> {
    let FileStatus { path, roles, state, error, command_error, shared, everybody, on_disk, .. } = file;
    let mut findings = Vec::new();
    match (&**state, error) {
        (_, Some(error)) => {
            let remedy = "the daemon tries again by itself, once a minute at most";
            findings.push(Finding::problem(RULE, format!("file {path}: {error}"), remedy));
        }
        ("absent", _) => {
            let message = format!("file {path} is not there: there are no valid credentials of {roles}");
            findings.push(Finding::problem(RULE, message, "`alppaca status` shows why"));
        }
        _ => findings.push(Finding::good(RULE, format!("file {path} has valid credentials of {roles}"))),
    }
    if let Some(error) = command_error {
        let message = format!("file {path}: the command after the last change failed: {error}");
        findings.push(Finding::problem(RULE, message, "run it yourself, as the account of the daemon"));
    }
    if *everybody {
        let message = format!("file {path} can be read by every account of this host");
        findings.push(Finding::note(RULE, message, "`users` and `groups` in place of `mode`"));
    }
    if *on_disk {
        let message = format!("file {path} is on a disk, where secrets can be found after it was removed");
        findings.push(Finding::note(RULE, message, "a directory in memory (tmpfs), such as one in /run"));
    }
    if *shared {
        let here = if read == Some(path) { ", which AWS_SHARED_CREDENTIALS_FILE names here" } else { "" };
        findings.push(Finding::note(RULE, format!("file {path}{here}: {READ_ONCE}"), ""));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> FileStatus {
        FileStatus {
            path: "/run/f".into(),
            roles: "web".into(),
            state: "written".into(),
            success: None,
            error: None,
            command_error: None,
            shared: false,
            everybody: false,
            on_disk: false,
        }
    }

    fn found(file: &FileStatus) -> String {
        let found = of_file(file, Some("/run/f"));
        let text = |finding: &Finding| format!("{:?} {} -> {}\n", finding.level, finding.message, finding.remedy);
        found.iter().map(text).collect()
    }

    #[test]
    fn each_file_is_judged() {
        assert_eq!(found(&file()), "Good file /run/f has valid credentials of web -> \n");
        for (file, part) in [
            (FileStatus { state: "absent".into(), ..file() }, "Problem file /run/f is not there"),
            (FileStatus { error: Some("a disk is full".into()), ..file() }, "Problem file /run/f: a disk is full ->"),
            (FileStatus { command_error: Some("it ended".into()), ..file() }, "Problem file /run/f: the command after"),
            (FileStatus { everybody: true, ..file() }, "Note file /run/f can be read by every account"),
            (FileStatus { on_disk: true, ..file() }, "Note file /run/f is on a disk"),
            (FileStatus { shared: true, ..file() }, "which AWS_SHARED_CREDENTIALS_FILE names here: several SDKs"),
        ] {
            let found = found(&file);
            assert!(found.contains(part), "{part:?} in {found}");
        }
    }
}
