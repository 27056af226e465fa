//! Records, and what follows from them, also from those that were lost, altered, moved or put back.

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{Arc, LazyLock},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::{
    Action, Answer, Answering, Entry, Id, Key, Ledger, OPEN, Record, Refusal, Request, Revoked, State, Word, request,
};
use crate::{
    identity::{Identity, Peer},
    rules::{self, Grant, Rules},
    settings::{Fields, Value, problem::Source, yaml},
};

const PEER: Peer = Peer::Tcp(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST));
const HOUR: Duration = Duration::from_hours(1);
const NOW: i64 = 1_800_000_000;

static KEY: LazyLock<Key> = LazyLock::new(|| Key::new(&"0f".repeat(32)).expect("a key"));

const ONE: &str = "
accounts: {shop: 111111111111}
rules:
- {name: r, match: {groups: devs}, account: shop, role: admin, approval: {by: {groups: leads}}}
";

fn rules(text: &str) -> Rules {
    let source = Arc::new(Source { name: PathBuf::from("test.yaml"), text: text.to_owned() });
    let Value::Map(entries) = yaml::read(&source).expect("YAML").expect("a document").value else {
        panic!("no mapping")
    };
    rules::read(&mut Fields::new(entries, rules::SETTINGS)).expect("rules")
}

fn person(name: &str, proven_by: &str, group: &str) -> Identity {
    Identity { groups: vec![group.to_owned()], ..Identity::new(name, "proxy", proven_by) }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW + seconds).expect("a time")
}

fn id(number: u8) -> Id {
    Id::of([0, 0, 0, 0, 0, 0, 0, number])
}

/// alice of the developers, and what she may have.
fn alice() -> (Identity, Grant) {
    let alice = person("alice", "sso", "devs");
    let grant = rules(ONE).decide(&alice, &PEER, std::time::SystemTime::UNIX_EPOCH).unapproved.remove(0);
    (alice, grant)
}

/// What `identity` makes of alice's request by the rules of `text`.
fn answered(text: &str, identity: &Identity, entry: &Entry, action: Action, now: Timestamp) -> Result<Answer, Refusal> {
    let rules = rules(text);
    let rule = rules.needs_approval(&entry.request.rule);
    Answering { identity, peer: &PEER, now }.answer(entry, rule, action, None)
}

fn asked(number: u8) -> Entry {
    let (alice, grant) = alice();
    Entry { request: request(id(number), &alice, &grant, "the reason", at(0)), answer: None }
}

fn file(record: &impl Record) -> (String, Vec<u8>) {
    (record.file_name(), record.seal(&KEY).expect("a record").into_bytes())
}

fn read(files: &[(String, Vec<u8>)], now: Timestamp) -> Ledger {
    read_with(files, now, &mut Revoked::default())
}

fn read_with(files: &[(String, Vec<u8>)], now: Timestamp, revoked: &mut Revoked) -> Ledger {
    let files = files.iter().map(|(name, content)| (name.as_str(), content.as_slice()));
    Ledger::read(files, &KEY, now, revoked)
}

/// alice's request, and the approval of bob a minute later.
fn approved(number: u8) -> [(String, Vec<u8>); 2] {
    let entry = asked(number);
    let bob = person("bob", "sso", "leads");
    let answer = answered(ONE, &bob, &entry, Action::Approve, at(60)).expect("bob may");
    [file(&entry.request), file(&answer)]
}

#[test]
fn an_approval_gives_the_role_to_its_requester_for_its_time() {
    let (alice, grant) = alice();
    let files = approved(1);
    let until = |identity: &Identity, grant: &Grant, life, seconds| {
        let ledger = read(&files, at(seconds));
        assert_eq!(ledger.faults, []);
        ledger.approval(identity, grant, life, at(seconds)).map(|approved| approved.until)
    };
    let end = 60 + 3600;
    for (seconds, given) in [(60, true), (end - 900, true), (end - 899, false), (end, false), (end + 86_400, false)] {
        assert_eq!(until(&alice, &grant, HOUR, seconds), given.then(|| at(end)), "{seconds}");
    }
    // A rule that was made stricter counts at once; one that was made more generous for new approvals.
    assert_eq!(until(&alice, &grant, Duration::from_mins(30), 60), Some(at(60 + 1800)));
    assert_eq!(until(&alice, &grant, HOUR * 2, 60), Some(at(end)));
    // Another person, the same name by another method, another role of that name, another rule.
    let (other, method) = (person("carol", "sso", "devs"), person("alice", "ssh", "devs"));
    let arn = Grant { arn: "arn:aws:iam::111111111111:role/team/admin".parse().expect("an ARN"), ..grant.clone() };
    let rule = Grant { rule: "s".to_owned(), ..grant.clone() };
    for (identity, grant) in [(&other, &grant), (&method, &grant), (&alice, &arn), (&alice, &rule)] {
        assert_eq!(until(identity, grant, HOUR, 60), None);
    }
    assert_eq!(read(&files[..1], at(60)).entries[&id(1)].state(at(60)), State::Open);
    assert_eq!(read(&files[..1], at(60)).entries[&id(1)].state(at(4 * 3600)), State::Lapsed);
    assert_eq!(read(&files, at(end)).entries[&id(1)].state(at(end)), State::Ended);
}

#[test]
fn nobody_approves_a_request_of_their_own() {
    let entry = asked(1);
    let also = |name: &str, names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Identity { names, ..person(name, "ssh", "leads") }
    };
    let two = ONE.replace("groups: leads", "groups: leads, method: [sso, ssh]");
    for (text, identity) in [
        (ONE, person("alice", "sso", "leads")),
        (ONE, person("Alice", "sso", "leads")),
        (&*two, person("alice", "ssh", "leads")),
        (&*two, also("al", &["al", "ALICE"])),
    ] {
        let refusal = answered(text, &identity, &entry, Action::Approve, at(60)).expect_err("it may be alice");
        assert!(matches!(&refusal, Refusal::NotYours(why) if why.contains("another person")), "{refusal}");
    }
    // Whom one method calls bob and another alice may be one person, unless the rule says that it knows.
    let bob = person("bob", "ssh", "leads");
    let refusal = answered(ONE, &bob, &entry, Action::Approve, at(60)).expect_err("another method");
    assert!(refusal.to_string().contains("the identity method sso"), "{refusal}");
    assert!(answered(&two, &bob, &entry, Action::Approve, at(60)).is_ok());
    // A principal that both have is no person.
    assert!(answered(&two, &also("bob", &["bob", "ops"]), &entry, Action::Approve, at(60)).is_ok());
}

#[test]
fn only_who_the_rule_names_answers_and_only_once() {
    let entry = asked(1);
    let [alice, bob, eve] = [("alice", "devs"), ("bob", "leads"), ("eve", "devs")].map(|(n, g)| person(n, "sso", g));
    for action in [Action::Approve, Action::Refuse, Action::Revoke] {
        assert_eq!(answered(ONE, &eve, &entry, action, at(60)), Err(Refusal::Unknown), "{action:?}");
    }
    let gone = ONE.replace(", approval: {by: {groups: leads}}", "");
    assert_eq!(answered(&gone, &bob, &entry, Action::Approve, at(60)), Err(Refusal::Unknown));
    let strict = ONE.replace("approval:", "max_auth_age: 5m, approval:");
    assert!(matches!(answered(&strict, &bob, &entry, Action::Approve, at(60)), Err(Refusal::NotYours(_))));
    let sees = |text: &str, identity: &Identity| {
        let rules = rules(text);
        Answering { identity, peer: &PEER, now: at(60) }.sees(&entry, rules.needs_approval("r"))
    };
    assert!(sees(ONE, &alice) && sees(ONE, &bob) && !sees(ONE, &eve) && !sees(&gone, &bob) && sees(&gone, &alice));
    assert!(sees(&strict, &bob), "an attempt then says that a newer sign-in is needed");
    let late = i64::try_from(OPEN.as_secs()).expect("hours");
    assert_eq!(answered(ONE, &bob, &entry, Action::Approve, at(late)), Err(Refusal::Settled(State::Lapsed)));
    for action in [Action::Approve, Action::Refuse, Action::Revoke] {
        let answer = answered(ONE, &bob, &entry, action, at(60)).expect("bob may");
        let entry = Entry { answer: Some(answer), ..entry.clone() };
        assert!(answered(ONE, &bob, &entry, Action::Approve, at(61)).is_err(), "{action:?}");
        // The requester and those who approve take an approval back, and nothing else.
        for (identity, may) in [(&alice, true), (&bob, true), (&eve, false)] {
            let revoked = answered(ONE, identity, &entry, Action::Revoke, at(61));
            assert_eq!(revoked.is_ok(), may && action == Action::Approve, "{action:?} {}", identity.name);
        }
    }
}

#[test]
fn records_that_are_not_what_a_server_wrote_do_not_count() {
    let (alice, grant) = alice();
    let [request, answer] = approved(1);
    let other = Key::new(&"f0".repeat(32)).expect("a key");
    let Entry { request: inner, .. } = asked(1);
    let forged = (answer.0.clone(), {
        let text = str::from_utf8(&answer.1).expect("text").lines().next().expect("a line");
        other.sign(&answer.0, text).into_bytes()
    });
    let altered = (answer.0.clone(), String::from_utf8(answer.1.clone()).expect("text").replace("09:01", "11:01"));
    let altered = (altered.0, altered.1.into_bytes());
    let moved = (Answer::file_name(&Answer { id: id(2), ..open(&answer) }), answer.1.clone());
    let unsigned = (answer.0.clone(), answer.1.split(|byte| *byte == b'\n').next().expect("a line").to_vec());
    let with_other = {
        let inner = Request { id: id(2), ..inner };
        file(&inner)
    };
    for (what, files, problem) in [
        ("another key", vec![request.clone(), forged], "not signed"),
        ("altered", vec![request.clone(), altered], "not signed"),
        ("another name", vec![request.clone(), with_other, moved], "not signed"),
        ("no signature", vec![request.clone(), unsigned], "not signed"),
        ("empty", vec![request.clone(), (answer.0.clone(), Vec::new())], "not signed"),
        ("no request", vec![answer.clone()], "a request that is not there"),
        ("no record", vec![request.clone(), ("x.txt".to_owned(), Vec::new())], "no record"),
    ] {
        let ledger = read(&files, at(60));
        assert!(ledger.faults.len() == 1 && ledger.faults[0].problem.contains(problem), "{what}: {ledger:?}");
        assert_eq!(ledger.approval(&alice, &grant, HOUR, at(60)), None, "{what}");
    }
    assert_ne!(forged_is_really_signed(&other), None);
    // Before it was written: a clock is wrong, this one or the one of the replica that wrote it.
    let ledger = read(&[request.clone(), answer.clone()], at(-1));
    assert!(ledger.faults.iter().any(|fault| fault.problem.contains("from the future")), "{ledger:?}");
    assert_eq!(ledger.approval(&alice, &grant, HOUR, at(-1)), None);
    assert_eq!(read(&[request, answer], at(0)).faults, [], "clocks may differ a little");
}

/// The forgery fails by its key and not by its form.
fn forged_is_really_signed(key: &Key) -> Option<String> {
    let file = key.sign("x", "{}");
    key.verify("x", file.as_bytes()).map(str::to_owned)
}

fn open(file: &(String, Vec<u8>)) -> Answer {
    Answer::open(&file.0, &file.1, &KEY).expect("an answer")
}

#[test]
fn what_was_revoked_stays_revoked_also_if_its_approval_is_put_back() {
    let (alice, grant) = alice();
    let [request, answer] = approved(1);
    let mut seen = Revoked::default();
    let both = [request.clone(), answer.clone()];
    let entry = read_with(&both, at(60), &mut seen).entries.remove(&id(1)).expect("there");
    let revocation = answered(ONE, &alice, &entry, Action::Revoke, at(120)).expect("her own");
    let revoked = [request.clone(), file(&revocation)];
    let ledger = read_with(&revoked, at(120), &mut seen);
    assert_eq!((ledger.entries[&id(1)].state(at(120)), ledger.faults.len()), (State::Revoked, 0));
    let back = read_with(&both, at(180), &mut seen);
    assert_eq!(back.approval(&alice, &grant, HOUR, at(180)), None);
    assert!(back.faults[0].problem.contains("put back"), "{back:?}");
    assert_eq!(back.entries[&id(1)].state(at(180)), State::Revoked);
    // Without any answer it is a request again, which gives nothing.
    assert_eq!(read_with(&[request], at(180), &mut seen).approval(&alice, &grant, HOUR, at(180)), None);
}

#[test]
fn requests_are_bounded_and_go_when_they_are_old() {
    let (alice, _) = alice();
    let of = |count: u8, name: &str| {
        let request = |number| {
            let mut entry = asked(number);
            entry.request.by.name = name.to_owned();
            file(&entry.request)
        };
        read(&(0..count).map(request).collect::<Vec<_>>(), at(0))
    };
    assert_eq!(of(4, "alice").full(&alice, at(0)), None);
    assert!(of(5, "alice").full(&alice, at(0)).is_some());
    assert_eq!(of(5, "alice").full(&alice, at(5 * 3600)), None, "they have lapsed");
    assert!(of(50, "alice").full(&alice, at(5 * 3600)).is_some(), "but they are kept");
    assert_eq!(of(199, "bob").full(&alice, at(0)), None);
    assert!(of(200, "bob").full(&alice, at(0)).is_some());
    let ledger = of(3, "bob");
    assert_eq!((ledger.old(at(28 * 3600)).len(), ledger.old(at(28 * 3600 + 1)).len()), (0, 3));
}

/// Requests with what became of them: the files, of which those of each request are together.
fn scenario() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let word =
        prop_oneof![Just(None), Just(Some(Word::Approved)), Just(Some(Word::Refused)), Just(Some(Word::Revoked))];
    prop::collection::vec(word, 1..6).prop_map(|words| {
        let mut files = Vec::new();
        for (number, word) in (0..).zip(words) {
            let [request, answer] = approved(number);
            files.push(request);
            files.extend(word.map(|word| file(&Answer { word, ..open(&answer) })));
        }
        files
    })
}

/// The ids of the requests that give the role.
fn giving(files: &[(String, Vec<u8>)], now: Timestamp) -> BTreeSet<String> {
    let (alice, grant) = alice();
    let ids = (0..10).filter_map(|number| {
        let own: Vec<_> = files.iter().filter(|(name, _)| name.starts_with(id(number).as_str())).cloned().collect();
        read(&own, now).approval(&alice, &grant, HOUR, now)
    });
    ids.map(|approved| approved.id).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lost_and_altered_records_give_nothing(
        files in scenario(),
        lost in any::<u16>(),
        which in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let now = at(120);
        let before = giving(&files, now);
        let kept = |(number, file)| (lost >> number & 1 == 0).then_some(file);
        let mut after: Vec<_> = files.iter().cloned().enumerate().filter_map(kept).collect();
        prop_assert!(giving(&after, now).is_subset(&before));
        if !after.is_empty() {
            let content = &mut which.get_mut(&mut after).1;
            let place = place.index(content.len());
            content[place] ^= 1 << bit;
            prop_assert!(giving(&after, now).is_subset(&before));
        }
    }

    #[test]
    fn one_record_in_the_place_of_another_gives_nothing(
        files in scenario(),
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
    ) {
        let before = giving(&files, at(120));
        let mut after = files.clone();
        let content = from.get(&files).1.clone();
        to.get_mut(&mut after).1 = content;
        prop_assert!(giving(&after, at(120)).is_subset(&before));
    }

    #[test]
    fn an_approval_is_never_longer_than_its_rule_and_leaves_time_for_a_session(
        seconds in -200_i64..20_000,
        life in 1800_u64..43_200,
    ) {
        let (alice, grant) = alice();
        let (now, life) = (at(seconds), Duration::from_secs(life));
        if let Some(approved) = read(&approved(1), now).approval(&alice, &grant, life, now) {
            prop_assert!(approved.until <= at(60) + SignedDuration::try_from(life.min(HOUR)).expect("hours"));
            prop_assert!(now + SignedDuration::from_mins(15) <= approved.until);
            prop_assert!(now >= at(0));
        }
    }
}
