//! Which rule applies: by example, and against a slow and obvious judge.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::credentials::Pattern;

/// A caller of whom some things are known.
#[derive(Debug, Clone)]
struct Caller {
    address: Option<IpAddr>,
    user: Known<&'static str>,
    groups: Known<Vec<&'static str>>,
    cgroup: Known<Arc<Cgroup>>,
    container: Known<Arc<Container>>,
}

impl Facts for Caller {
    fn address(&self) -> Known<IpAddr> {
        self.address.map_or(Known::No, Known::Yes)
    }
    fn is_user(&self, user: &str) -> Truth {
        Truth::of(self.user.clone(), |own| own == user)
    }
    fn is_in_group(&self, group: &str) -> Truth {
        Truth::of(self.groups.clone(), |groups| groups.contains(&group))
    }
    fn cgroup(&self) -> Known<Arc<Cgroup>> {
        self.cgroup.clone()
    }
    fn container(&self) -> Known<Arc<Container>> {
        self.container.clone()
    }
}

fn deploy() -> Caller {
    Caller {
        address: "127.0.0.1".parse().ok(),
        user: Known::Yes("deploy"),
        groups: Known::Yes(vec!["deploy", "ops"]),
        cgroup: Known::Yes(Arc::new(Cgroup::parse("/system.slice/ci.service"))),
        container: Known::No,
    }
}

fn rule(when: Vec<Condition>, unless: Vec<Condition>, effect: Effect) -> Rule {
    Rule { name: None, when, unless, effect }
}

fn role(name: &str) -> Effect {
    Effect::Roles(vec![name.parse().expect("a role name")])
}

fn user(name: &str) -> Condition {
    Condition::User(vec![name.to_owned()])
}

fn group(name: &str) -> Condition {
    Condition::Group(vec![name.to_owned()])
}

fn unit(name: &str) -> Condition {
    Condition::Unit(vec![Pattern::new(name)])
}

#[test]
fn the_first_rule_that_applies_decides() {
    let rules = Rules {
        rules: vec![
            rule(vec![user("root")], vec![], role("root")),
            rule(vec![group("ops"), unit("*.scope")], vec![], role("shell")),
            rule(vec![group("ops")], vec![user("deploy")], role("ops")),
            rule(vec![Condition::Slice(vec![Pattern::new("system.slice")])], vec![], role("system")),
            rule(vec![], vec![], Effect::Everything),
        ],
        default: Effect::Deny,
    };
    assert_eq!(rules.judge(&deploy()), Verdict { rule: Some(3), outcome: Outcome::Effect(&role("system")) });
    let other = Caller { user: Known::Yes("other"), ..deploy() };
    assert_eq!(rules.judge(&other).rule, Some(2));
    let stranger = Caller { user: Known::No, groups: Known::No, cgroup: Known::No, ..deploy() };
    assert_eq!(rules.judge(&stranger).rule, Some(4));
    assert_eq!(Rules { rules: vec![], default: Effect::Deny }.judge(&deploy()).rule, None);
}

#[test]
fn what_is_not_known_ends_the_search() {
    let rules = Rules {
        rules: vec![
            rule(vec![user("mallory")], vec![], Effect::Deny),
            rule(vec![Condition::Address(vec!["127.0.0.0/8".parse().expect("a range")])], vec![], Effect::Everything),
        ],
        default: Effect::Deny,
    };
    assert_eq!(rules.judge(&deploy()).outcome, Outcome::Effect(&Effect::Everything));
    let hidden = Caller { user: Known::Unknown, ..deploy() };
    assert_eq!(rules.judge(&hidden), Verdict { rule: Some(0), outcome: Outcome::Unknown(&user("mallory")) });
    let soon = Caller { user: Known::Pending, ..deploy() };
    assert_eq!(rules.judge(&soon).outcome, Outcome::Pending(&user("mallory")));
}

#[test]
fn what_cannot_be_told_never_outranks_what_will_be_known_in_a_moment() {
    let soon = Caller { user: Known::Pending, groups: Known::Unknown, ..deploy() };
    let pending = user("deploy");
    let expected = Look { truth: Truth::Pending, because: Some(&pending) };
    for conditions in [vec![user("deploy"), group("ops")], vec![group("ops"), user("deploy")]] {
        let wanted = rule(conditions.clone(), vec![], Effect::Everything);
        assert_eq!(wanted.look(&soon), expected, "{conditions:?}");
        let exception = rule(vec![], conditions.clone(), Effect::Everything);
        assert_eq!(exception.look(&soon), expected, "unless {conditions:?}");
    }
    for truths in [[Truth::Pending, Truth::Unknown, Truth::No], [Truth::No, Truth::Unknown, Truth::Pending]] {
        assert_eq!(super::any(truths.into_iter()), Truth::Pending, "{truths:?}");
    }
}

#[test]
fn the_root_control_group_tells_nothing() {
    let rules = Rules { rules: vec![rule(vec![unit("a.service")], vec![], Effect::Deny)], default: Effect::Everything };
    let caller = Caller { cgroup: Known::Yes(Arc::new(Cgroup::parse("/"))), ..deploy() };
    assert!(matches!(rules.judge(&caller).outcome, Outcome::Unknown(_)));
}

#[test]
fn a_container_is_matched_by_its_name_image_and_labels() {
    let container = Arc::new(Container::described(crate::caller::containers::tests::facts('a', "172.17.0.2")));
    let caller = Caller { container: Known::Yes(container), ..deploy() };
    for (condition, truth) in [
        (Condition::Container(vec![Pattern::new("name-*")]), Truth::Yes),
        (Condition::Container(vec![Pattern::new("b"), Pattern::new("c")]), Truth::No),
        (Condition::Image(vec![Pattern::new("image:1")]), Truth::Yes),
        (Condition::Label("team".into(), Pattern::new("x")), Truth::Yes),
        (Condition::Label("team".into(), Pattern::new("y")), Truth::No),
        (Condition::Label("other".into(), Pattern::new("*")), Truth::No),
    ] {
        assert_eq!(condition.holds(&caller), truth, "{condition}");
        assert_eq!(condition.holds(&deploy()), Truth::No, "{condition}");
    }
}

const NAMES: [&str; 3] = ["a", "b", "c"];

fn known<T: std::fmt::Debug + Clone + 'static>(value: impl Strategy<Value = T> + 'static) -> BoxedStrategy<Known<T>> {
    prop_oneof![4 => value.prop_map(Known::Yes), 1 => Just(Known::No), 1 => Just(Known::Pending), 1 => Just(Known::Unknown)]
        .boxed()
}

fn callers() -> impl Strategy<Value = Caller> {
    let name = || (0..3_usize).prop_map(|index| NAMES[index]);
    let path = name().prop_map(|name| Arc::new(Cgroup::parse(&format!("/{name}.slice/{name}.service"))));
    (known(name()), known(vec(name(), 0..3)), known(path), 0..4_u8).prop_map(|(user, groups, cgroup, last)| Caller {
        address: Some([10, 0, 0, last].into()),
        user,
        groups,
        cgroup,
        container: Known::No,
    })
}

fn conditions() -> impl Strategy<Value = Vec<Condition>> {
    let names = || vec((0..3_usize).prop_map(|index| NAMES[index].to_owned()), 1..3);
    let patterns = |kind: &'static str| {
        names()
            .prop_map(move |names| names.iter().map(|name| Pattern::new(&format!("{name}.{kind}"))).collect::<Vec<_>>())
    };
    let condition = prop_oneof![
        names().prop_map(Condition::User),
        names().prop_map(Condition::Group),
        patterns("service").prop_map(Condition::Unit),
        patterns("slice").prop_map(Condition::Slice),
        (0..4_u8).prop_map(|last| Condition::Address(vec![format!("10.0.0.{last}").parse().expect("an address")])),
    ];
    vec(condition, 0..3)
}

fn policies() -> impl Strategy<Value = Rules> {
    let rule = (conditions(), conditions()).prop_map(|(when, unless)| rule(when, unless, Effect::Everything));
    vec(rule, 0..5).prop_map(|rules| Rules { rules, default: Effect::Deny })
}

/// All that the unknown things about a caller could be.
fn possible(caller: &Caller) -> Vec<Caller> {
    let users = match &caller.user {
        Known::Pending | Known::Unknown => {
            NAMES.iter().map(|name| Known::Yes(*name)).chain([Known::Yes("else"), Known::No]).collect()
        }
        known => vec![known.clone()],
    };
    let groups = match &caller.groups {
        Known::Pending | Known::Unknown => (0..8)
            .map(|set| Known::Yes((0..3).filter(|bit| set >> bit & 1 == 1).map(|bit| NAMES[bit]).collect()))
            .collect(),
        known => vec![known.clone()],
    };
    let cgroups = match &caller.cgroup {
        Known::Pending | Known::Unknown => {
            let path = |slice: &str, unit: &str| {
                Known::Yes(Arc::new(Cgroup::parse(&format!("/{slice}.slice/{unit}.service"))))
            };
            let mut all = vec![Known::No, path("else", "else")];
            all.extend(NAMES.iter().flat_map(|slice| NAMES.iter().map(move |unit| path(slice, unit))));
            all
        }
        known => vec![known.clone()],
    };
    let mut all = Vec::new();
    for user in &users {
        for groups in &groups {
            for cgroup in &cgroups {
                all.push(Caller {
                    user: user.clone(),
                    groups: groups.clone(),
                    cgroup: cgroup.clone(),
                    ..caller.clone()
                });
            }
        }
    }
    all
}

/// The number of the rule that applies to a caller of whom everything is known, found the obvious way.
fn obvious(rules: &Rules, caller: &Caller) -> Option<usize> {
    let all = |conditions: &[Condition]| conditions.iter().all(|condition| condition.holds(caller) == Truth::Yes);
    rules.rules.iter().position(|rule| all(&rule.when) && (rule.unless.is_empty() || !all(&rule.unless)))
}

proptest! {
    #[test]
    fn a_verdict_is_what_comes_out_whatever_the_unknown_may_be(rules in policies(), caller in callers()) {
        let verdict = rules.judge(&caller);
        let all = possible(&caller);
        if let Outcome::Effect(_) = verdict.outcome {
            for caller in &all {
                prop_assert_eq!(obvious(&rules, caller), verdict.rule);
            }
        } else {
            // It stops no later than any of the possible callers would.
            prop_assert!(all.iter().all(|caller| obvious(&rules, caller).is_none_or(|rule| Some(rule) >= verdict.rule)));
        }
    }

    #[test]
    fn with_everything_known_there_is_always_a_verdict(rules in policies(), caller in callers()) {
        let known = possible(&caller).remove(0);
        prop_assert_eq!(rules.judge(&known).rule, obvious(&rules, &known));
        prop_assert!(matches!(rules.judge(&known).outcome, Outcome::Effect(_)));
    }
}
