//! The section `policy`: who gets which role.

use crate::{
    credentials::{Pattern, RoleName},
    policy::{Cidr, CidrError, Condition, Effect, Rule, Rules},
};
use alppaca_settings::{
    Setting,
    fields::Fields,
    problem::{Place, Problem},
    read,
    render::{mapping, quoted},
    yaml::Node,
};

/// The settings of the section.
pub const POLICY: &[Setting] = &[
    Setting::nested("rules", "[]", "A list. The first rule that applies to a caller decides."),
    Setting::nested(
        "default",
        "deny",
        "What callers get if no rule applies: `deny`, `everything`, or `own` (the role that their container requests).",
    ),
];

/// The settings of a rule.
pub const RULE: &[Setting] = &[
    Setting::nested("name", "", "The name of the rule in the log and in `policy explain`, in addition to its number."),
    Setting::nested(
        "match",
        "",
        "A mapping: the rule applies if all conditions hold. Without it, the rule applies to every caller.",
    ),
    Setting::nested("unless", "", "A mapping: the rule does not apply if all of its conditions hold."),
    Setting::nested("role", "", "The one role that the caller gets."),
    Setting::nested("roles", "", "The roles that the caller gets. The first is the one in the listing."),
    Setting::nested("own", "", "`true`: the caller gets the role that its container requests."),
    Setting::nested("everything", "", "`true`: the caller gets all roles."),
    Setting::nested("deny", "", "`true`: the caller gets no role."),
];

/// What can be matched. Each may be a list, of which one has to hold.
pub const MATCH: &[Setting] = &[
    Setting::nested("user", "", "Users of this host, by name or number."),
    Setting::nested("group", "", "Groups, by name or number. Supplementary groups count."),
    Setting::nested("unit", "", "systemd units of the host; `*` matches any text, here and below."),
    Setting::nested("slice", "", "systemd slices, at any level."),
    Setting::nested("container", "", "Names of containers."),
    Setting::nested("image", "", "Images of containers, as named when they were started."),
    Setting::nested("label", "", "A mapping of labels of containers to their values. All must match."),
    Setting::nested("address", "", "Addresses or ranges such as `172.17.0.0/16`."),
];

/// The keys of a rule that say what the caller gets.
const EFFECTS: [&str; 5] = ["role", "roles", "own", "everything", "deny"];
const DEFAULTS: [(&str, Effect); 3] =
    [("deny", Effect::Deny), ("everything", Effect::Everything), ("own", Effect::Own)];

/// Reads it. The outer `None` says that something is wrong.
#[allow(clippy::option_option, reason = "wrong and absent are not the same")]
pub(super) fn policy(fields: &mut Fields) -> Option<Option<Rules>> {
    fields.section("policy", POLICY, |fields| {
        let rules = fields.items("rules", RULE, rule);
        let words = DEFAULTS.map(|(word, _)| (word, word));
        let default = fields.value("default", |node| read::choice(node, &words))?;
        let (_, default) = DEFAULTS.into_iter().find(|(word, _)| *word == default)?;
        Some(Rules { rules: rules?, default })
    })
}

fn rule(place: &Place, fields: &mut Fields) -> Option<Rule> {
    let name = fields.optional("name", read::text);
    let when = fields.section("match", MATCH, conditions);
    let unless = fields.section("unless", MATCH, conditions);
    let effect = effect(place, fields);
    Some(Rule { name: name?, when: when?.unwrap_or_default(), unless: unless?.unwrap_or_default(), effect: effect? })
}

fn effect(place: &Place, fields: &mut Fields) -> Option<Effect> {
    fields.note_one_of(&EFFECTS);
    let given: Vec<&str> = EFFECTS.into_iter().filter(|key| fields.given(key).is_some()).collect();
    let [key] = given.as_slice() else {
        let message = format!(
            "a rule needs one of {}, and this one has {}",
            EFFECTS.join(", "),
            match given.len() {
                0 => "none".to_owned(),
                _ => given.join(" and "),
            }
        );
        fields.problems.push(Problem::new(place.clone(), message));
        return None;
    };
    match *key {
        "role" | "roles" => {
            let without = "to grant no role, write `deny: true`";
            fields.value(key, |node| read::filled_list(node, without, read::role_name)).map(Effect::Roles)
        }
        _ => {
            let truth = fields.value(key, read::boolean)?;
            let (_, effect) = [("own", Effect::Own), ("everything", Effect::Everything), ("deny", Effect::Deny)]
                .into_iter()
                .find(|(word, _)| word == key)?;
            if !truth {
                let message = format!("`{key}: false` has no effect: write what the caller gets");
                fields.problems.push(Problem::new(place.clone(), message));
            }
            truth.then_some(effect)
        }
    }
}

fn conditions(fields: &mut Fields) -> Option<Vec<Condition>> {
    let mut conditions = Vec::new();
    for (key, make) in [("user", Condition::User as fn(_) -> _), ("group", Condition::Group)] {
        conditions.extend(fields.optional(key, |node| filled(node, read::text))?.map(make));
    }
    for (key, make) in [
        ("unit", Condition::Unit as fn(_) -> _),
        ("slice", Condition::Slice),
        ("container", Condition::Container),
        ("image", Condition::Image),
    ] {
        conditions.extend(fields.optional(key, |node| filled(node, read::pattern))?.map(make));
    }
    for (key, value) in fields.optional("label", labels)?.unwrap_or_default() {
        conditions.push(Condition::Label(key, value));
    }
    conditions.extend(fields.optional("address", |node| filled(node, range))?.map(Condition::Address));
    Some(conditions)
}

/// A list that is not empty: an empty one would match nobody, and was surely not meant so.
fn filled<T>(node: &Node, item: impl Fn(&Node) -> Result<T, Problem>) -> Result<Vec<T>, Problem> {
    read::filled_list(node, "it would match no caller", item)
}

fn range(node: &Node) -> Result<Cidr, Problem> {
    let text = read::text_like(node, "^[0-9A-Fa-f:.]+(/[0-9]+)?$")?;
    text.parse().map_err(|error: CidrError| Problem::new(node.place.clone(), error.to_string()))
}

fn labels(node: &Node) -> Result<Vec<(String, Pattern)>, Problem> {
    let entries = read::entries(node, "a mapping of labels to values")?;
    entries.iter().map(|(key, node)| Ok((key.text.clone(), read::pattern(node)?))).collect()
}

/// The section as YAML.
pub(super) fn render(rules: &Rules) -> String {
    let items: Vec<String> = rules.rules.iter().map(render_rule).collect();
    let default = DEFAULTS.iter().find(|(_, effect)| *effect == rules.default).map_or("deny", |(word, _)| word);
    mapping(vec![("rules".into(), format!("[{}]", items.join(", "))), ("default".into(), default.into())])
}

fn render_rule(rule: &Rule) -> String {
    let mut entries = Vec::new();
    if let Some(name) = &rule.name {
        entries.push(("name".into(), quoted(name)));
    }
    for (key, conditions) in [("match", &rule.when), ("unless", &rule.unless)] {
        if !conditions.is_empty() {
            entries.push((key.into(), render_conditions(conditions)));
        }
    }
    entries.push(match &rule.effect {
        Effect::Everything => ("everything".into(), "true".into()),
        Effect::Own => ("own".into(), "true".into()),
        Effect::Deny => ("deny".into(), "true".into()),
        Effect::Roles(roles) => ("roles".into(), list(roles.iter().map(RoleName::as_str))),
    });
    mapping(entries)
}

fn render_conditions(conditions: &[Condition]) -> String {
    let mut entries = Vec::new();
    let mut labels = Vec::new();
    for condition in conditions {
        let texts = |patterns: &[Pattern]| list(patterns.iter().map(Pattern::as_str));
        let (key, value) = match condition {
            Condition::User(names) => ("user", list(names.iter().map(String::as_str))),
            Condition::Group(names) => ("group", list(names.iter().map(String::as_str))),
            Condition::Unit(units) => ("unit", texts(units)),
            Condition::Slice(slices) => ("slice", texts(slices)),
            Condition::Container(names) => ("container", texts(names)),
            Condition::Image(images) => ("image", texts(images)),
            Condition::Label(key, value) => {
                labels.push((quoted(key), quoted(value.as_str())));
                continue;
            }
            Condition::Address(ranges) => {
                let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
                ("address", list(ranges.iter().map(String::as_str)))
            }
        };
        entries.push((key.to_owned(), value));
    }
    if !labels.is_empty() {
        entries.push(("label".to_owned(), mapping(labels)));
    }
    mapping(entries)
}

fn list<'a>(items: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", items.map(quoted).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::{Config, parse};
    use crate::policy::Rules;

    fn config(policy: &str) -> Result<Config, String> {
        let text = format!("ims_host: x\npolicy:\n{policy}");
        parse(vec![("test.yaml".into(), text)]).map(|loaded| loaded.config).map_err(|errors| errors.to_string())
    }

    fn policy(text: &str) -> Rules {
        config(text).expect("legal").policy.expect("given")
    }

    #[test]
    fn rules_are_read_in_their_order_and_render_as_the_same() {
        let text = "
  rules:
  - {name: ci, match: {user: [deploy, 1000], slice: system.slice}, unless: {group: staff, unit: 'x*'}, role: deploy}
  - {match: {label: {team: web, tier: 'front*'}, image: 'nginx:*', container: [a, b]}, own: true}
  - {match: {address: [10.0.0.0/8, '::1']}, roles: [a, b]}
  - {match: {user: root}, everything: true}
  - deny: true
  default: own
";
        let config = config(text).expect("legal");
        let rules = config.policy.clone().expect("given");
        let shown: Vec<String> = rules
            .rules
            .iter()
            .map(|rule| {
                let conditions: Vec<_> = rule.when.iter().map(ToString::to_string).collect();
                format!("{} -> {}", conditions.join(" and "), rule.effect)
            })
            .collect();
        assert_eq!(
            shown,
            [
                "user deploy or 1000 and slice system.slice -> deploy",
                "container a or b and image nginx:* and label team: web and label tier: front* -> the role that the container requests",
                "address 10.0.0.0/8 or ::1/128 -> a, b",
                "user root -> all roles",
                " -> nothing",
            ]
        );
        assert_eq!(rules.title(Some(0)), "rule 1 (ci)");
        assert_eq!(rules.rules[0].unless.len(), 2);
        let rendered = parse(vec![("again.yaml".into(), config.render())]).expect("legal").config;
        assert_eq!(rendered, config);
    }

    #[test]
    fn an_empty_policy_denies_everything_and_none_is_none() {
        assert_eq!(policy("  rules: []\n").default, crate::policy::Effect::Deny);
        assert_eq!(parse(vec![("x".into(), "ims_host: x\n".into())]).expect("legal").config.policy, None);
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (rule, message) in [
            ("{match: {user: a}}", "a rule needs one of role, roles, own, everything, deny, and this one has none"),
            ("{role: a, deny: true}", "and this one has role and deny"),
            ("{deny: false}", "`deny: false` has no effect"),
            ("{roles: []}", "an empty list: to grant no role"),
            ("{match: {user: []}, deny: true}", "an empty list: it would match no caller"),
            ("{match: {usr: a}, deny: true}", "there is no setting \"usr\"; did you mean `user`?"),
            ("{role: a/b}", "illegal character '/'"),
            ("{match: {address: 10.1.0.0/8}, deny: true}", "the range begins at 10.0.0.0"),
            ("{match: {label: team}, deny: true}", "a mapping of labels to values is expected here"),
            ("{match: x, deny: true}", "a mapping is expected here"),
        ] {
            let said = config(&format!("  rules:\n  - {rule}\n")).expect_err(rule);
            assert!(said.contains(message) && said.starts_with("test.yaml:4:"), "{rule}: {said}");
        }
        assert!(config("  default: maybe\n").expect_err("wrong").contains("one of deny, everything, own is expected"));
    }
}
