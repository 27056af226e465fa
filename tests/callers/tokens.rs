//! IMDS tokens, and whose they are.

use crate::{FIRST_UID, LIST, curl, names, possible, support::Daemon, with_roles};

#[test]
fn a_token_of_one_user_is_of_no_use_to_another() {
    if !possible("callers: tokens") {
        return;
    }
    let ims = with_roles(&names(&["a"]));
    let daemon = Daemon::with_credentials(&format!("{}imds_v1: false\n{FOR_EVERYONE}", ims.config()));
    let mine = token(&daemon, FIRST_UID);
    let statuses = [FIRST_UID, FIRST_UID + 1, 0].map(|uid| status_with(&daemon, uid, &mine));
    assert_eq!(statuses, ["200", "401", "401"]);
}

#[test]
fn without_a_policy_a_token_is_good_for_every_user_as_on_ec2() {
    if !possible("callers: tokens without a policy") {
        return;
    }
    let ims = with_roles(&names(&["a"]));
    let daemon = Daemon::with_credentials(&format!("{}imds_v1: false\n", ims.config()));
    let token = token(&daemon, FIRST_UID);
    assert_eq!([FIRST_UID, FIRST_UID + 1, 0].map(|uid| status_with(&daemon, uid, &token)), ["200"; 3]);
}

/// A policy that denies nothing to anybody.
const FOR_EVERYONE: &str = "policy: {rules: [{match: {user: [0, 52000, 52001]}, everything: true}]}\n";

/// An IMDS token of a user.
fn token(daemon: &Daemon, uid: u32) -> String {
    let mut command = curl(uid, &[format!("http://{}/latest/api/token", daemon.address())]);
    command.args(["-X", "PUT", "-H", "X-aws-ec2-metadata-token-ttl-seconds: 60"]);
    let output = command.output().expect("curl runs");
    String::from_utf8_lossy(&output.stdout).lines().next().expect("a token").to_owned()
}

/// The status of the listing for a user who shows a token.
fn status_with(daemon: &Daemon, uid: u32, token: &str) -> String {
    let mut command = curl(uid, &[format!("http://{}{LIST}", daemon.address())]);
    let output = command.args(["-H", &format!("X-aws-ec2-metadata-token: {token}")]).output().expect("curl runs");
    String::from_utf8_lossy(&output.stdout).trim_end().lines().last().expect("a status").to_owned()
}
