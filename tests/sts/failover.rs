//! Several sources of one role, and several hosts of one IMS.

use alppaca::mock_ims::Answer;

use crate::{
    HOUR, LIST, ims, key,
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
    daemon.wait_for_log(&format!("the upstream is now asked at http://{}{LIST}, because", second.address));
    assert!(!daemon.log().contains("cannot fetch credentials"), "nobody notices:\n{}", daemon.log());
    first.handle.update(|behaviour| {
        behaviour.list = Answer::Good;
        behaviour.document = Answer::Good;
    });
    daemon.wait_for_log(&format!("the upstream is asked at http://{}{LIST} again", first.address));
}
