//! Several sources of one role, and several hosts of one IMS.

use alppaca::mock_ims::Answer;
use jiff::Timestamp;

use crate::{
    Daemon, HOUR, LIST, ims, key,
    stand_in::{Reply, StandIn},
    start,
};

#[test]
fn the_second_source_stands_in_until_the_first_is_back() {
    let (first, second) = (ims(&["base"]), ims(&["base"]));
    let sts = StandIn::start(|_| Reply::Set(std::time::Duration::from_secs(9)));
    first.handle.update(|behaviour| behaviour.list = Answer::Status(503));
    let config = format!(
        "refresh_interval: 1s\nsources:\n  one: {{kind: ims, url: 'http://{}'}}\n  two: {{kind: ims, url: 'http://{}'}}\n\
         roles:\n  a: {{sources: [one, two], role_arn: 'arn:aws:iam::123456789012:role/a'}}\n",
        first.address, second.address
    );
    let daemon = start(&config, &sts);
    let told = daemon.wait_for_log("role a: now from AssumeRole with two, because");
    assert!(told.contains("WARNING"), "{told}");
    assert!(second.handle.issued_with(&sts.calls()[0].key).is_some());
    key(&daemon, "a");
    first.handle.update(|behaviour| behaviour.list = Answer::Good);
    daemon.wait_for_log("role a: now from AssumeRole with one again");
    let last = sts.calls().pop().expect("a call");
    assert!(first.handle.issued_with(&last.key).is_some());
    let log = daemon.log();
    assert_eq!(log.matches("role a: now from AssumeRole with two").count(), 1, "told once: {log}");
}

#[test]
fn another_host_of_the_ims_stands_in_until_the_first_is_back() {
    let (first, second) = (ims(&["base"]), ims(&["base"]));
    let config = format!(
        "refresh_interval: 1s\nsources:\n  afp: {{kind: ims, urls: ['http://{}', 'http://{}']}}\n",
        first.address, second.address
    );
    let sts = StandIn::start(|_| Reply::Set(HOUR));
    let daemon = start(&config, &sts);
    daemon.wait_for_log("role base: fetched ");
    assert!(first.handle.issued_with(&key(&daemon, "base")).is_some());
    assert_eq!(second.calls(), 0);
    first.handle.update(|behaviour| {
        behaviour.list = Answer::Status(503);
        behaviour.document = Answer::Status(503);
    });
    daemon.wait_for_log(&format!("the upstream is now http://{}{LIST}, because", second.address));
    assert!(!daemon.log().contains("cannot fetch credentials"), "nobody notices:\n{}", daemon.log());
    first.handle.update(|behaviour| {
        behaviour.list = Answer::Good;
        behaviour.document = Answer::Good;
    });
    daemon.wait_for_log(&format!("the upstream is http://{}{LIST} again", first.address));
}

#[test]
fn the_first_source_is_gone_back_to_though_the_set_of_the_second_lives_long() {
    let first = ims(&["a"]);
    first.handle.update(|behaviour| behaviour.document = Answer::Status(503));
    #[allow(clippy::disallowed_methods, reason = "the program that stands in has the same clock")]
    let expiration = Timestamp::now() + HOUR;
    let set = format!(
        r#"{{"Version": 1, "AccessKeyId": "ASIASECOND", "SecretAccessKey": "s", "SessionToken": "t", "Expiration": "{expiration}"}}"#
    );
    let config = format!(
        "refresh_interval: 1s\nsources:\n  one: {{kind: ims, url: 'http://{}'}}\n  \
         two: {{kind: process, command: [/bin/echo, '{set}']}}\nroles:\n  a: {{sources: [one, two]}}\n",
        first.address
    );
    let daemon = Daemon::start(&config);
    daemon.wait_for_log("role a: now from source two, because");
    assert_eq!(key(&daemon, "a"), "ASIASECOND");
    first.handle.update(|behaviour| behaviour.document = Answer::Good);
    daemon.wait_for_log("role a: now from source one again");
    assert!(first.handle.issued_with(&key(&daemon, "a")).is_some());
    assert_eq!(daemon.log().matches("fetched ASIASECOND").count(), 1, "{}", daemon.log());
}

#[test]
fn a_role_of_an_ims_goes_back_to_its_first_host() {
    let (first, second) = (ims(&["base"]), ims(&["base"]));
    let config = format!(
        "refresh_interval: 1s\nsources:\n  afp: {{kind: ims, urls: ['http://{}', 'http://{}']}}\n\
         roles:\n  web: {{source: afp, upstream_role: base}}\n",
        first.address, second.address
    );
    // The way back is tried when the next set is due.
    second.handle.update(|behaviour| behaviour.lifetime = std::time::Duration::from_secs(6));
    let answer = |answer: Answer| {
        first.handle.update(|behaviour| (behaviour.list, behaviour.document) = (answer.clone(), answer.clone()));
    };
    answer(Answer::Status(503));
    let daemon = Daemon::start(&config);
    daemon.wait_for_log(&format!("the upstream is now http://{}{LIST}, because", second.address));
    daemon.wait_for_log("role web: fetched ");
    answer(Answer::Good);
    daemon.wait_for_log(&format!("the upstream is http://{}{LIST} again", first.address));
    assert_eq!(daemon.log().matches("the upstream is now ").count(), 1, "{}", daemon.log());
}
