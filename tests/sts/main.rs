//! The real binary, an IMS, and an STS that does what the test says: chains, fail-over, errors, proxies, and how many
//! calls there are.
#![allow(clippy::disallowed_methods, reason = "the stand-in has a clock of its own")]

mod failover;
#[path = "../interop/rig/cluster.rs"]
#[allow(unreachable_pub, dead_code, reason = "others share it, too")]
mod issuer;
mod lengths;
mod on_demand;
mod pods;
mod stand_in;
#[path = "../support/mod.rs"]
mod support;
mod through_proxy;
#[path = "../support/tinyproxy.rs"]
mod tinyproxy;

use std::time::Duration;

use alppaca::mock_ims::Behaviour;
use stand_in::{Reply, StandIn};
use support::{Daemon, Ims};

const LIST: &str = "/latest/meta-data/iam/security-credentials/";
const HOUR: Duration = Duration::from_hours(1);

fn ims(roles: &[&str]) -> Ims {
    Ims::start(Behaviour { roles: roles.iter().map(|role| (*role).to_owned()).collect(), ..Behaviour::default() })
}

/// The key that is served for a role.
fn key(daemon: &Daemon, role: &str) -> String {
    let answer = daemon.get(&format!("{LIST}{role}"));
    assert_eq!(answer.status, 200, "{answer:?}\n{}", daemon.log());
    answer.json()["AccessKeyId"].as_str().expect("a key").to_owned()
}

fn start(config: &str, sts: &StandIn) -> Daemon {
    Daemon::start_with(config, |command| {
        command.env("AWS_ENDPOINT_URL_STS", sts.url());
    })
}

#[test]
fn assume_role_is_as_in_2015() {
    let ims = ims(&["first", "second"]);
    let sts = StandIn::start(|_| Reply::Set(HOUR));
    let config =
        format!("{}assume_role: arn:aws:iam::123456789012:role/some/path/deploy\nlist_roles: all\n", ims.config());
    let daemon = start(&config, &sts);
    daemon.wait_for_log("role deploy: fetched ");
    assert_eq!(daemon.get(LIST).body, "deploy", "only the assumed role is served");
    assert_eq!(daemon.get(&format!("{LIST}first")).status, 404);
    assert!(key(&daemon, "deploy").starts_with("ASIASTS"));
    let call = sts.calls().remove(0);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name = call.get("RoleSessionName");
    assert!(name.starts_with("alppaca-on-") && name.contains(&host[..host.len().min(20)]), "{name}");
    assert_eq!(call.get("RoleArn"), "arn:aws:iam::123456789012:role/some/path/deploy");
    assert_eq!(call.region, "eu-central-1");
    assert!(!call.form.contains_key("DurationSeconds") && !call.form.contains_key("ExternalId"), "{call:?}");
    assert_eq!(ims.handle.issued_with(&call.key).expect("a key of the IMS").role, "first");
    assert_eq!(sts.calls().len(), 1);
}

#[test]
fn the_old_set_stays_when_the_assumption_fails() {
    let ims = ims(&["first"]);
    let sts = StandIn::start(|_| Reply::Set(Duration::from_secs(15)));
    let config = format!("{}assume_role: arn:aws:iam::123456789012:role/deploy\n", ims.config());
    let daemon = start(&config, &sts);
    daemon.wait_for_log("role deploy: fetched ");
    let before = key(&daemon, "deploy");
    sts.set(|_| Reply::Error(403, "AccessDenied", "User is not authorized to perform: sts:AssumeRole"));
    let told = daemon.wait_for_log("role deploy: cannot fetch credentials");
    for part in ["ERROR", "AccessDenied", "the role's trust policy must accept the signer"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(key(&daemon, "deploy"), before);
    sts.set(|_| Reply::Set(HOUR));
    daemon.wait_for_log("role deploy: could be fetched again");
    assert_ne!(key(&daemon, "deploy"), before);
}

#[test]
fn a_chain_of_three_signs_each_call_with_the_role_before() {
    let ims = ims(&["base"]);
    let sts = StandIn::start(|_| Reply::Set(HOUR));
    let config = format!(
        "{}sources:\n  sts1: {{kind: sts, region: us-west-2, endpoint: '{}'}}\nroles:\n  \
         c: {{source: b, role_arn: 'arn:aws:iam::123456789012:role/c'}}\n  \
         b: {{source: a, role_arn: 'arn:aws:iam::123456789012:role/b'}}\n  \
         a:\n    source: ims\n    upstream_role: base\n    role_arn: arn:aws:iam::123456789012:role/a\n    \
         external_id: ext-1\n    session_name: '{{role}}@{{host}}'\n    duration: 30m\n    policy: '{{\"Version\":\"2012-10-17\"}}'\n    \
         policy_arns: [arn:aws:iam::aws:policy/ReadOnlyAccess]\n    tags: {{team: blue, cost: '42'}}\n    \
         transitive_tags: [team]\n    source_identity: me\n    via: sts1\n",
        ims.config(),
        sts.url()
    );
    let daemon = start(&config, &sts);
    daemon.wait_for_log("role c: fetched ");
    let [a, b, c] = ["a", "b", "c"].map(|role| {
        let mut calls = sts.calls_for(role);
        assert_eq!(calls.len(), 1, "{role}");
        calls.remove(0)
    });
    assert_eq!(ims.handle.issued_with(&a.key).expect("a key of the IMS").role, "base");
    assert_eq!((b.key, c.key), (key(&daemon, "a"), key(&daemon, "b")));
    assert_eq!((&*a.region, &*b.region), ("us-west-2", "eu-central-1"));
    for (parameter, value) in [
        ("Action", "AssumeRole"),
        ("Version", "2011-06-15"),
        ("ExternalId", "ext-1"),
        ("DurationSeconds", "1800"),
        ("Policy", "{\"Version\":\"2012-10-17\"}"),
        ("PolicyArns.member.1.arn", "arn:aws:iam::aws:policy/ReadOnlyAccess"),
        ("Tags.member.1.Key", "team"),
        ("Tags.member.1.Value", "blue"),
        ("Tags.member.2.Key", "cost"),
        ("TransitiveTagKeys.member.1", "team"),
        ("SourceIdentity", "me"),
    ] {
        assert_eq!(a.get(parameter), value, "{parameter}");
    }
    assert!(a.get("RoleSessionName").starts_with("a@"), "{a:?}");
    // In the order of the file.
    assert_eq!(daemon.get(LIST).body, "c");
}

#[test]
fn many_roles_of_one_source_need_one_call_each_and_one_for_all() {
    let ims = ims(&["base"]);
    let sts = StandIn::start(|_| Reply::Set(HOUR));
    let roles: Vec<String> = (0..20)
        .map(|n| format!("  r{n}: {{source: ims, role_arn: 'arn:aws:iam::123456789012:role/r{n}', via: fast}}\n"))
        .collect();
    let source = format!("sources:\n  fast: {{kind: sts, endpoint: '{}', rate: 1000/s}}\n", sts.url());
    let daemon = start(&format!("{}{source}roles:\n{}", ims.config(), roles.concat()), &sts);
    for n in 0..20 {
        daemon.wait_for_log(&format!("role r{n}: fetched "));
    }
    assert_eq!(sts.calls().len(), 20);
    assert_eq!(ims.handle.calls(&format!("{LIST}base")), 1);
    assert_eq!(ims.handle.calls(LIST), 1);
}

#[test]
fn an_expired_token_has_the_parent_fetched_again() {
    let ims = ims(&["base"]);
    ims.handle.update(|behaviour| behaviour.lifetime = Duration::from_secs(6));
    let sts =
        StandIn::start(|_| Reply::Error(403, "ExpiredToken", "The security token included in the request is expired"));
    let config =
        format!("{}roles:\n  a: {{source: ims, role_arn: 'arn:aws:iam::123456789012:role/a'}}\n", ims.config());
    let daemon = start(&config, &sts);
    daemon.wait_for_log("ExpiredToken");
    let refused = sts.calls().remove(0).key;
    // AWS takes any other.
    sts.set(move |call| if call.key == refused { Reply::Error(403, "ExpiredToken", "x") } else { Reply::Set(HOUR) });
    daemon.wait_for_log("role a: could be fetched again");
    assert!(key(&daemon, "a").starts_with("ASIASTS"));
}

#[test]
fn throttling_passes_by_itself_although_its_status_is_400() {
    let ims = ims(&["base"]);
    let mut count = 0;
    let sts = StandIn::start(move |_| {
        count += 1;
        if count < 3 { Reply::Error(400, "Throttling", "Rate exceeded") } else { Reply::Set(HOUR) }
    });
    let config = format!("{}assume_role: arn:aws:iam::123456789012:role/a\n", ims.config());
    let daemon = start(&config, &sts);
    daemon.wait_for_log("Rate exceeded");
    daemon.wait_for_log("role a: could be fetched again");
    assert_eq!(sts.calls().len(), 3);
}

#[test]
fn a_session_is_never_written_to_the_log() {
    let ims = ims(&["base"]);
    let sts = StandIn::start(|_| Reply::Set(HOUR));
    let config = format!("{}assume_role: arn:aws:iam::123456789012:role/a\n", ims.config());
    let mut daemon = start(&config, &sts);
    daemon.wait_for_log("role a: fetched ");
    key(&daemon, "a");
    daemon.stop();
    let log = daemon.log();
    assert!(!log.contains("wJalrSTS") && !log.contains("IQoJSTS"), "{log}");
}
