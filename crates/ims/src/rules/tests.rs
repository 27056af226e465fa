//! The rules as they are written in a configuration.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use proptest::prelude::*;

use super::{Approved, Decision, Rules, SETTINGS, read};
use crate::{
    identity::{Identity, Peer},
    settings::{Fields, Value, problem::Source, yaml},
};

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn rules(text: &str) -> Result<Rules, String> {
    let source = Arc::new(Source { name: PathBuf::from("test.yaml"), text: text.to_owned() });
    let node = yaml::read(&source).expect("YAML").expect("a document");
    let Value::Map(entries) = node.value else { panic!("no mapping") };
    let mut fields = Fields::new(entries, SETTINGS);
    fields.refuse_unknown();
    let read = read(&mut fields);
    let problems: Vec<String> = fields.problems.iter().map(ToString::to_string).collect();
    read.filter(|_| problems.is_empty()).ok_or(problems.join("\n"))
}

fn host(name: &str) -> Identity {
    Identity { proof: "serial 1".to_owned(), ..Identity::new(name, "mtls", "hosts") }
}

fn person(name: &str, groups: &[&str]) -> Identity {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    Identity { method: "proxy", proven_by: "sso".to_owned(), groups, ..host(name) }
}

fn peer() -> Peer {
    Peer::Tcp(IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)))
}

fn decide(text: &str, identity: &Identity) -> Decision {
    rules(text).expect("rules").decide(identity, &peer(), NOW)
}

/// The roles of a decision as `account/role`.
fn roles(decision: &Decision) -> Vec<String> {
    decision.grants.iter().map(super::Grant::label).collect()
}

const PEOPLE: &str = r"
accounts: {shop: 111111111111, bank: {id: 222222222222, partition: aws-cn}}
rules:
- name: people
  match: {method: proxy, groups: 'aws-(?P<account>[a-z]+)-(?P<role>.+)'}
  account: '{account}'
  role: '{role}'
";

#[test]
fn each_group_that_matches_gives_its_role() {
    let decision = decide(PEOPLE, &person("alice", &["aws-shop-admin", "staff", "aws-bank-read-only"]));
    assert_eq!(roles(&decision), ["shop/admin", "bank/read-only"]);
    let arns: Vec<_> = decision.grants.iter().map(|grant| grant.arn.as_str()).collect();
    assert_eq!(arns, ["arn:aws:iam::111111111111:role/admin", "arn:aws-cn:iam::222222222222:role/read-only"]);
    assert!(decision.grants.iter().all(|grant| grant.rule == "people" && grant.session_name == "alice"));
    assert!(decision.grant("111111111111", "admin").is_some() && decision.grant("shop", "admin").is_some());
    assert!(decision.grant("bank", "admin").is_none());
}

#[test]
fn without_a_rule_there_is_nothing() {
    let decision = decide(PEOPLE, &person("bob", &["staff"]));
    assert_eq!(roles(&decision), [""; 0]);
    assert!(decision.to_string().contains("no group matches"), "{decision}");
    assert_eq!(roles(&decide("rules: []", &host("web1"))), [""; 0]);
    let other_method = Identity { groups: vec!["aws-shop-admin".to_owned()], ..host("alice") };
    assert_eq!(roles(&decide(PEOPLE, &other_method)), [""; 0]);
}

#[test]
fn a_captured_text_that_is_no_role_or_no_listed_account_gives_nothing() {
    for group in ["aws-shop-a/b", "aws-shop-..", "aws-shop-a b", "aws-shop-{role}", "aws-other-admin", "aws-shop-ü"] {
        let decision = decide(PEOPLE, &person("mallory", &[group]));
        assert_eq!(roles(&decision), [""; 0], "{group}");
        assert!(decision.to_string().contains("gives nothing"), "{decision}");
    }
    // An account that is named by its number has to be listed if the number was captured.
    let numbers = PEOPLE.replace("[a-z]+", "[0-9]+");
    assert_eq!(roles(&decide(&numbers, &person("m", &["aws-333333333333-admin"]))), [""; 0]);
    assert_eq!(roles(&decide(&numbers, &person("m", &["aws-111111111111-admin"]))), ["shop/admin"]);
}

#[test]
fn patterns_match_the_whole_text() {
    let text = "rules:\n- {name: r, match: {name: 'web1|db1'}, account: '111111111111', role: r}";
    assert_eq!(roles(&decide(text, &host("web1"))), ["111111111111/r"]);
    for other in ["web1.evil", "xweb1", "xdb1", "web1\n", "db1\nx", "WEB1"] {
        assert_eq!(roles(&decide(text, &host(other))), [""; 0], "{other:?}");
    }
    assert!(rules(&text.replace("web1|db1", "a)|(b")).is_err());
}

#[test]
fn deny_wins_wherever_it_stands() {
    let deny = "- {name: no bank, match: {groups: interns}, deny: {account: 'bank|2+'}}\n";
    for text in [format!("{PEOPLE}{deny}"), PEOPLE.replace("rules:\n", &format!("rules:\n{deny}"))] {
        let decision = decide(&text, &person("eve", &["aws-shop-admin", "aws-bank-admin", "interns"]));
        assert_eq!(roles(&decision), ["shop/admin"]);
        assert!(decision.to_string().contains("\"no bank\" denies bank/admin"), "{decision}");
    }
    let all = format!("{PEOPLE}- {{name: out, match: {{name: eve}}, deny: {{}}}}\n");
    assert_eq!(roles(&decide(&all, &person("eve", &["aws-shop-admin"]))), [""; 0]);
    assert_eq!(roles(&decide(&all, &person("adam", &["aws-shop-admin"]))), ["shop/admin"]);
}

#[test]
fn the_same_capture_in_two_conditions_has_one_value() {
    let text = r"
accounts: {shop: 111111111111, bank: 222222222222}
rules:
- name: own team
  match: {name: '(?P<team>\w+)-\d+', claims: {team: '(?P<team>\w+)'}, groups: '(?P<role>r\d)'}
  account: '{team}'
  role: '{role}'
";
    let mut identity = person("shop-1", &["r1", "r2"]);
    identity.claims.insert("team".to_owned(), vec!["bank".to_owned(), "shop".to_owned()]);
    assert_eq!(roles(&decide(text, &identity)), ["shop/r1", "shop/r2"]);
    identity.claims.insert("team".to_owned(), vec!["bank".to_owned()]);
    assert_eq!(roles(&decide(text, &identity)), [""; 0]);
}

#[test]
fn names_of_hosts_are_rewritten_as_afp_did() {
    let text = r"
accounts: {central: 111111111111}
rules:
- name: hosts by name
  match:
    name: '(?P<where>...)(?P<kind>...)..\.example\.invalid'
    rewrite: [{capture: where, from: '^(ber|ham)', to: pro}]
  account: central
  role: 'p_{where}{kind}'
";
    assert_eq!(roles(&decide(text, &host("berfoo42.example.invalid"))), ["central/p_profoo"]);
    assert_eq!(roles(&decide(text, &host("tuvbar01.example.invalid"))), ["central/p_tuvbar"]);
    assert_eq!(roles(&decide(text, &host("berfoo421.example.invalid"))), [""; 0]);
}

#[test]
fn an_address_is_one_more_condition() {
    let text =
        "rules:\n- {name: r, match: {method: hosts, from: [10.0.0.0/8, 'fd00::/8']}, account: '111111111111', role: r}";
    let rules = rules(text).expect("rules");
    let from = |address: &str| Peer::Tcp(address.parse().expect("an address"));
    let given = |peer| rules.decide(&host("web1"), &peer, NOW).grants.len();
    assert_eq!(given(from("10.9.9.9")), 1);
    assert_eq!(given(from("::ffff:10.9.9.9")), 1);
    assert_eq!(given(from("11.0.0.1")), 0);
    assert_eq!(given(Peer::Unix { uid: 0 }), 0);
}

#[test]
fn a_proof_has_to_be_fresh_enough() {
    let text = "rules:\n- {name: r, match: {name: a}, account: '111111111111', role: r, max_auth_age: 1h}";
    let rules_of_people = rules(text).expect("rules");
    let now = NOW + Duration::from_hours(10);
    let after = |hours: u64| Identity { authenticated_at: Some(NOW + Duration::from_hours(hours)), ..host("a") };
    let given = |identity: &Identity| rules_of_people.decide(identity, &peer(), now);
    assert_eq!(given(&after(9)).grants.len(), 1);
    for weak in [after(8), after(11), host("a")] {
        let decision = given(&weak);
        assert!(decision.grants.is_empty() && decision.to_string().contains("max_auth_age"), "{decision}");
    }
    let text = text.replace("max_auth_age", "max_proof_age");
    let aged = |age| Identity { age, ..host("a") };
    assert_eq!(decide(&text, &aged(Some(Duration::from_hours(1)))).grants.len(), 1);
    assert_eq!(decide(&text, &aged(Some(Duration::from_mins(61)))).grants.len(), 0);
    assert_eq!(decide(&text, &aged(None)).grants.len(), 0);
}

#[test]
fn what_is_asked_of_sts_is_complete() {
    let text = r#"
rules:
- name: all
  match: {name: '(?P<team>\w+)\\.*'}
  account: 111111111111
  partition: aws-us-gov
  role: deploy
  path: /a/b/
  duration: 2h
  source_identity: yes
  tags: {team: '{team}', who: '{identity}'}
  transitive_tags: [team]
  policy: '{"Version": "2012-10-17", "Statement": []}'
  policy_arns: ['arn:aws-us-gov:iam::aws:policy/ReadOnlyAccess']
  console: yes
"#;
    let text = text.replace(r"(?P<team>\w+)\\.*", "(?P<team>[a-z]+):.*");
    let decision = decide(&text, &host("shop:1"));
    let [grant] = decision.grants.as_slice() else { panic!("{decision}") };
    assert_eq!(grant.arn.as_str(), "arn:aws-us-gov:iam::111111111111:role/a/b/deploy");
    assert_eq!((grant.duration, grant.console), (Some(Duration::from_hours(2)), true));
    assert!(grant.session_name.starts_with("shop-1-"), "{}", grant.session_name);
    assert_eq!(grant.source_identity.as_ref(), Some(&grant.session_name));
    let tags: Vec<_> = grant.tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(tags, [("team", "shop"), ("who", "shop:1")]);
    assert_eq!((grant.transitive_tags.len(), grant.policy_arns.len(), grant.policy.is_some()), (1, 1, true));
    // A value that is no tag takes the role with it: a policy may rely on the tag.
    assert_eq!(roles(&decide(&text, &host("shop:<1>"))), [""; 0]);
}

#[test]
fn the_first_rule_that_gives_a_role_counts() {
    let text = "rules:
- {name: first, match: {name: a}, account: '111111111111', role: r, duration: 15m}
- {name: second, match: {name: a}, account: '111111111111', role: r, duration: 12h}
- {name: third, match: {name: a}, account: '222222222222', role: r}";
    let decision = decide(text, &host("a"));
    assert_eq!(decision.grants.iter().map(|grant| grant.rule.as_str()).collect::<Vec<_>>(), ["first", "third"]);
    assert_eq!(decision.role_names().len(), 1);
    assert_eq!(decision.grant_of_role("r").map(|grant| grant.rule.as_str()), Some("first"));
    assert!(decision.to_string().contains("already given"), "{decision}");
    let [conflict] = &*decision.conflicts() else { panic!("{decision}") };
    let expected =
        "hosts cannot have 222222222222/r of rule \"third\": by the name r they get 111111111111/r of rule \"first\"";
    assert!(conflict.starts_with(expected) && decision.to_string().contains(expected), "{decision}");
}

#[test]
fn roles_of_one_name_are_told_apart_by_another() {
    let text = "accounts: {shop: '111111111111', lab: '222222222222'}
rules:
- {name: all, match: {name: '(?P<account>[a-z]+)-.*'}, account: '{account}', role: r}
- {name: lab, match: {name: shop-1}, account: lab, role: r, as: 'lab-r'}
- {name: odd, match: {name: shop-1}, account: lab, role: s, as: '{identity} '}";
    let decision = decide(text, &host("shop-1"));
    let names: Vec<&str> = decision.role_names().into_iter().map(crate::credentials::RoleName::as_str).collect();
    assert_eq!((names, decision.conflicts()), (vec!["r", "lab-r"], Vec::new()));
    let account = |name| decision.grant_of_role(name).map(|grant| grant.account.name.as_str());
    assert_eq!([account("r"), account("lab-r")], [Some("shop"), Some("lab")]);
    // People name the account.
    assert!(decision.grant("lab", "r").is_some() && decision.grant("lab", "lab-r").is_none());
    assert!(decision.to_string().contains("lab/r, for hosts lab-r: "), "{decision}");
    assert!(decision.to_string().contains("no legal name to list the role by (as)"), "{decision}");
}

#[test]
fn too_many_combinations_give_nothing_but_are_still_denied() {
    let text = "
accounts: {a: 111111111111}
rules:
- {name: many, match: {groups: '(?P<role>.*)'}, account: a, role: '{role}'}
- {name: few, match: {name: x}, account: a, role: few}
";
    let groups: Vec<String> = (0..1_001).map(|number| format!("g{number}")).collect();
    let identity = Identity { groups, ..host("x") };
    let decision = decide(text, &identity);
    assert_eq!(roles(&decision), ["a/few"]);
    assert!(decision.to_string().contains("combinations"), "{decision}");
    let deny = format!("{text}- {{name: no, match: {{groups: '(?P<any>.*)'}}, deny: {{}}}}\n");
    assert_eq!(roles(&decide(&deny, &identity)), [""; 0]);
}

#[test]
fn mistakes_are_shown_where_they_are() {
    let rule = |part: &str| format!("accounts: {{shop: 111111111111}}\nrules:\n- {part}");
    let cases = [
        (rule("{name: r, match: {nme: a}, account: shop, role: r}"), "did you mean `name`?"),
        (rule("{name: r, match: {name: 'a('}, account: shop, role: r}"), "test.yaml:3:27"),
        (rule("{name: r, match: {name: a}, account: shop}"), "`role` is missing"),
        (rule("{match: {name: a}, account: shop, role: r}"), "`name` is missing"),
        (rule("{name: r, account: shop, role: r}"), "`match` is missing"),
        (rule("{name: r, match: {from: 10.0.0.0/8}, account: shop, role: r}"), "an address alone proves no identity"),
        (rule("{name: r, match: {name: a}, account: shop, role: '{b}'}"), "{b} is not captured"),
        (rule("{name: r, match: {name: ['(?P<b>a)', c]}, account: shop, role: '{b}'}"), "in every case"),
        (rule("{name: r, match: {name: a}, account: shop, role: a/b}"), "illegal character"),
        (rule("{name: r, match: {name: a}, account: shp, role: r}"), "no account \"shp\""),
        (rule("{name: r, match: {name: a}, account: shop, role: r, duration: 13h}"), "15m to 12h"),
        (rule("{name: r, match: {name: a}, account: shop, role: r, max_duration: 30m}"), "`max_duration` is less than"),
        (rule("{name: r, match: {name: a}, account: shop, role: r, path: team}"), "a path such as"),
        (rule("{name: r, match: {name: a}, account: shop, role: r, path: /../}"), "path"),
        (rule("{name: r, match: {name: a}, account: shop, role: r, policy: nothing}"), "JSON object"),
        (rule("{name: r, match: {name: a}, account: shop, role: r, tags: {'aws:x': y}}"), "aws:"),
        (rule("{name: r, match: {name: a}, account: shop, role: r, transitive_tags: [x]}"), "not in `tags`"),
        (rule("{name: r, match: {name: a}, role: r, deny: {}}"), "`deny` replaces `role`"),
        (rule("{name: r, match: {name: a}, deny: }"), "write `deny: {}`"),
        (rule("{name: r, match: {name: '(?P<identity>a)'}, account: shop, role: r}"), "something else"),
        (
            rule("{name: r, match: {name: a}, deny: {}}\n- {name: r, match: {name: b}, deny: {}}"),
            "another rule is called",
        ),
        ("accounts: {a: 111111111111, b: 111111111111}\nrules: []".to_owned(), "too"),
        ("accounts: {a/b: 111111111111}\nrules: []".to_owned(), "one segment"),
        ("accounts: {a: 1111}\nrules: []".to_owned(), "twelve digits"),
    ];
    for (text, expected) in cases {
        let problems = rules(&text).expect_err(&text);
        assert!(problems.contains(expected), "{text}\n{problems}");
    }
}

proptest! {
    /// Whatever an identity is called, each grant is legal, and in a listed account.
    #[test]
    fn no_identity_gets_more_than_legal_roles(name in any::<String>(), groups in proptest::collection::vec("aws-[a-z]{0,5}-.{0,70}|.*", 0..5)) {
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        let decision = decide(PEOPLE, &person(&name, &groups));
        for grant in decision.grants {
            prop_assert!(["shop", "bank"].contains(&grant.account.name.as_str()));
            prop_assert!(!grant.role.as_str().contains('/'));
            prop_assert_eq!(grant.arn.name(), &grant.role);
        }
    }
}

const BREAK_GLASS: &str = r"
accounts: {shop: 111111111111}
rules:
- name: break glass
  match: {groups: oncall}
  account: shop
  role: admin
  tags: {team: shop}
  emergency: {reason: required, for: 30m}
";

#[test]
fn a_role_for_emergencies_is_in_no_list_and_shorter_lived_and_tagged() {
    let decision = decide(BREAK_GLASS, &person("alice", &["oncall"]));
    assert_eq!(roles(&decision), [""; 0]);
    assert!(decision.role_names().is_empty() && decision.grant("shop", "admin").is_none());
    assert!(decision.grant_of_role("admin").is_none());
    assert!(decision.emergency("shop", "db").is_none());
    let grant = decision.emergency("shop", "admin").expect("in an emergency");
    assert_eq!((grant.duration, &grant.emergency), (Some(Duration::from_mins(30)), &None));
    let given = grant.in_emergency("4711");
    assert_eq!(given.emergency.as_deref(), Some("4711"));
    let tag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(given.tags, [tag("team", "shop"), tag("emergency", "4711")]);
    let text = decision.to_string();
    assert!(text.contains("rule \"break glass\" gives shop/admin in an emergency, with a reason\n"), "{text}");
    assert!(decide(BREAK_GLASS, &person("bob", &["staff"])).emergencies.is_empty());
}

#[test]
fn deny_takes_a_role_for_emergencies_away_and_strength_is_asked_for() {
    let alice = person("alice", &["oncall"]);
    let denied =
        decide(&format!("{BREAK_GLASS}- {{name: d, match: {{name: alice}}, deny: {{role: admin}}}}\n"), &alice);
    assert!(denied.emergencies.is_empty());
    assert!(denied.to_string().contains("denies shop/admin"), "{denied}");
    let weak = decide(&format!("{BREAK_GLASS}  max_auth_age: 5m\n"), &alice);
    assert!(weak.emergencies.is_empty());
}

#[test]
fn what_would_make_a_rule_for_emergencies_none_is_refused() {
    let with = |from: &str, to: &str| rules(&BREAK_GLASS.replace(from, to)).expect_err(to);
    for (from, to, expected) in [
        ("{reason: required, for: 30m}", "", "`emergency` is empty"),
        ("for: 30m", "for: 2h", "a time from 15m to 1h"),
        ("for: 30m", "for: 5m", "a time from 15m to 1h"),
        ("reason: required", "reason: no", "required"),
        ("  tags:", "  console: yes\n  tags:", "a session of the console has a life of its own"),
        ("  tags:", "  duration: 4h\n  tags:", "`emergency` replaces `duration`"),
        ("team: shop", "Emergency: shop", "is that of the alert"),
    ] {
        let problem = with(from, to);
        assert!(problem.contains(expected), "{to}: {problem}");
    }
    let usual = rules(&BREAK_GLASS.replace("{reason: required, for: 30m}", "{}")).expect("legal");
    let decision = usual.decide(&person("alice", &["oncall"]), &peer(), NOW);
    assert_eq!(decision.emergencies[0].duration, Some(Duration::from_mins(15)));
}

const APPROVED: &str = r"
accounts: {shop: 111111111111}
rules:
- name: production
  match: {groups: devs}
  account: shop
  role: admin
  approval: {by: {method: [sso, ssh], groups: [leads, boss]}, for: 2h}
- {name: own, match: {groups: own}, account: shop, role: admin, duration: 2h}
";

#[test]
fn a_role_that_needs_an_approval_is_given_with_one_only() {
    let mut decision = decide(APPROVED, &person("alice", &["devs"]));
    assert_eq!(roles(&decision), [""; 0]);
    assert!(decision.grant("shop", "admin").is_none() && decision.grant_of_role("admin").is_none());
    let text = decision.to_string();
    let terms = "for 120m with the approval of another person (method sso or ssh, group `leads` or `boss`)";
    assert!(text.contains(&format!("rule \"production\" gives shop/admin {terms}\n")), "{text}");
    decision.settle(|_| None);
    assert!(decision.unapproved("shop", "admin").is_some() && decision.grants.is_empty());
    let approved = Approved { id: "4711".to_owned(), until: "2026-11-23T10:00:00Z".parse().expect("a time") };
    decision.settle(|_| Some(approved.clone()));
    assert_eq!(roles(&decision), ["shop/admin"]);
    assert_eq!(decision.grants[0].approval, Some(approved.clone()));
    // What another rule gives without one stays so.
    let mut both = decide(APPROVED, &person("alice", &["devs", "own"]));
    both.settle(|_| Some(approved.clone()));
    assert_eq!((roles(&both), &both.grants[0].approval), (vec!["shop/admin".to_owned()], &None));
    let deny = format!("{APPROVED}- {{name: no, match: {{name: '.*'}}, deny: {{}}}}\n");
    let mut denied = decide(&deny, &person("alice", &["devs"]));
    denied.settle(|_| Some(approved.clone()));
    assert!(denied.grants.is_empty() && denied.unapproved.is_empty());
}

#[test]
fn what_would_make_an_approval_none_is_refused() {
    let whole = "approval: {by: {method: [sso, ssh], groups: [leads, boss]}, for: 2h}";
    for (approval, problem) in [
        ("approval:", "`approval` is empty"),
        ("approval: {}", "`approval` needs `by`"),
        ("approval: {for: 1h}", "`approval` needs `by`"),
        ("approval: {by: {}}", "`match` needs"),
        ("approval: {by: {from: 10.0.0.0/8}}", "an address alone proves no identity"),
        ("approval: {by: {groups: '('}}", "open group"),
        ("approval: {by: {groups: x, rewrite: []}}", "rewrite"),
        ("approval: {by: {groups: x}, for: 29m}", "a time from 30m to 12h"),
        ("approval: {by: {groups: x}, for: 13h}", "a time from 30m to 12h"),
        ("approval: {by: {groups: x}}\n  emergency: {for: 15m}", "`approval` replaces `emergency`"),
        ("approval: {by: {groups: x}}\n  deny: {}", "`deny` replaces"),
    ] {
        let error = rules(&APPROVED.replace(whole, approval)).expect_err(approval);
        assert!(error.contains(problem), "{approval}: {error}");
    }
    let usual = rules(&APPROVED.replace(", for: 2h", "")).expect("rules");
    let life = usual.needs_approval("production").map(|rule| rule.approval.life);
    assert_eq!((life, usual.needs_approval("own").is_none()), (Some(Duration::from_hours(1)), true));
}
