//! The settings `accounts` and `rules`.

use std::{sync::Arc, time::Duration};

use regex_lite::Regex;

use super::{
    Account, Accounts, Condition, Deny, Effect, Give, Match, Rule, Rules, Strength, Template, condition::Rewrite,
};
use crate::{
    credentials::{Arn, MAX_TAGS, NO_ACCOUNT, RoleArn, RoleName, check_tag_key, is_partition},
    expression::Expression,
    settings::{
        Fields, Node, Problem, Section, Setting, Value,
        problem::Place,
        read::{account_id, boolean, duration, list, text, wrong},
    },
};

/// The settings of the decision: the accounts, and which identity may have which role in them.
pub const SETTINGS: &[Setting] = &[
    Setting::nested(
        "accounts",
        "",
        "A mapping of aliases to accounts: their twelve digits, or a mapping with `id` and `partition`.",
    ),
    Setting::nested(
        "rules",
        "[]",
        "A list. Every rule that matches gives its role; what a `deny` matches is taken away.",
    ),
];

/// What stands below these.
pub fn sections() -> Vec<Section> {
    let section = |path: &'static str, settings| Section { path: path.into(), settings };
    vec![
        section("accounts.ALIAS", ACCOUNT),
        section("rules[]", RULE),
        section("rules[].match", MATCH),
        section("rules[].match.rewrite[]", REWRITE),
        section("rules[].deny", DENY),
    ]
}

const ACCOUNT: &[Setting] = &[
    Setting::nested("id", "", "The twelve digits of the account."),
    Setting::nested("partition", "aws", "Its partition, such as `aws-cn`."),
];

const RULE: &[Setting] = &[
    Setting::nested(
        "name",
        "",
        "The name of the rule in the audit and in `explain`. Required, and different from others.",
    ),
    Setting::nested("match", "", "A mapping of conditions, all of which must hold. Required."),
    Setting::nested("account", "", "The account: an alias of `accounts` or twelve digits. `{x}` stands for a capture."),
    Setting::nested("partition", "", "The partition, if it is not that of the account."),
    Setting::nested(
        "role",
        "",
        "The name of the role. `{x}` stands for a capture, `{identity}` for the caller's name.",
    ),
    Setting::nested("path", "/", "The path of the role, such as `/team/`."),
    Setting::nested("duration", "", "The life of the session, from 15m to 12h."),
    Setting::nested("source_identity", "no", "`yes`: the identity is also the source identity of the session."),
    Setting::nested("tags", "", "A mapping of session tags. `{x}` stands for a capture."),
    Setting::nested("transitive_tags", "[]", "Keys of `tags` that are handed on along a chain of roles."),
    Setting::nested("policy", "", "A session policy, JSON."),
    Setting::nested("policy_arns", "[]", "ARNs of managed policies as session policies, up to 10."),
    Setting::nested("console", "no", "`yes`: a URL of the AWS console may be made."),
    Setting::nested("max_auth_age", "", "How long ago the person may have signed in, as the proof says."),
    Setting::nested("max_proof_age", "", "How long ago the proof, such as a certificate, may have been issued."),
    Setting::nested(
        "deny",
        "",
        "A mapping: takes roles away, those whose `account` and `role` match; all if it is `{}`.",
    ),
];

/// What only a rule that gives a role may have.
const OF_GIVE: [&str; 13] = [
    "account",
    "partition",
    "role",
    "path",
    "duration",
    "source_identity",
    "tags",
    "transitive_tags",
    "policy",
    "policy_arns",
    "console",
    "max_auth_age",
    "max_proof_age",
];

const MATCH: &[Setting] = &[
    Setting::nested("method", "", "Kinds of proof, or names of identity methods; one of a list."),
    Setting::nested(
        "name",
        "",
        "A pattern of the caller's name, or of another name in the proof. Patterns match the whole text.",
    ),
    Setting::nested("groups", "", "A pattern of a group. Each group that matches gives a role."),
    Setting::nested("claims", "", "A mapping of claims to patterns; all must match."),
    Setting::nested("from", "", "Networks from which the caller calls, in addition to another condition."),
    Setting::nested("rewrite", "[]", "A list of changes of captures: `capture`, `from` (a pattern of a part), `to`."),
];

const REWRITE: &[Setting] = &[
    Setting::nested("capture", "", "The capture."),
    Setting::nested("from", "", "What is replaced."),
    Setting::nested("to", "", "By what; `$1` stands for the first group in `from`."),
];

const DENY: &[Setting] = &[
    Setting::nested("account", "", "A pattern of the alias or number of the account."),
    Setting::nested("role", "", "A pattern of the name of the role."),
];

/// STS takes these lives of a session; the role itself may allow less.
const DURATIONS: std::ops::RangeInclusive<Duration> = Duration::from_mins(15)..=Duration::from_hours(12);
const MAX_POLICY: usize = 2048;
const MAX_POLICY_ARNS: usize = 10;

/// Reads both. `None` says that something is wrong, which is noted in `fields`.
pub fn read(fields: &mut Fields) -> Option<Rules> {
    let accounts = accounts(fields);
    let mut places: Vec<(String, Place)> = Vec::new();
    let rules = fields.items("rules", RULE, |place, fields| {
        let rule = rule(place, fields)?;
        places.push((rule.name.clone(), place.clone()));
        Some(rule)
    });
    for (index, (name, place)) in places.iter().enumerate() {
        if places[..index].iter().any(|(other, _)| other == name) {
            let message = format!("another rule is called {name:?}, too; the audit could not distinguish them");
            fields.problems.push(Problem::new(place.clone(), message));
        }
    }
    let (accounts, rules) = (accounts?, rules?);
    for (rule, (_, place)) in rules.iter().zip(&places) {
        let Effect::Give(give) = &rule.effect else { continue };
        let unknown =
            |name: &&str| accounts.get(name).is_none() && name.parse::<crate::credentials::AccountId>().is_err();
        if let Some(name) = give.account.literal().filter(unknown) {
            let message = format!(
                "rule {:?}: there is no account {name:?} in `accounts`, and it is not twelve digits",
                rule.name
            );
            fields.problems.push(Problem::new(place.clone(), message));
        }
    }
    fields.problems.is_empty().then_some(Rules { accounts, rules })
}

fn accounts(fields: &mut Fields) -> Option<Accounts> {
    let Some(node) = fields.given("accounts").cloned() else { return Some(Accounts::default()) };
    let Value::Map(entries) = node.value else {
        return fields.note(wrong(&node, "a mapping of aliases to accounts"));
    };
    let mut accounts = Accounts::default();
    let before = fields.problems.len();
    for (alias, node) in entries {
        let name: Option<RoleName> = fields.note(alias.text.parse().map_err(|error| {
            Problem::new(alias.place.clone(), format!("an alias is one segment of a URL, as a role is: {error}"))
        }));
        let account = match &node.value {
            Value::Map(_) => fields.nested(node, ACCOUNT, |fields| {
                let id = required(fields, &alias.place, "id", account_id);
                let partition = fields.value("partition", partition);
                Some((id?, partition?))
            }),
            _ => fields.note(account_id(&node)).map(|id| (id, "aws".to_owned())),
        };
        let (Some(_), Some((id, partition))) = (name, account) else { continue };
        if let Some(other) = accounts
            .0
            .iter()
            .find(|other| other.id == id || other.name == id.as_str() || other.id.as_str() == alias.text)
        {
            let message = format!("the account {:?} has this number or name, too", other.name);
            fields.problems.push(Problem::new(alias.place.clone(), message));
        }
        accounts.0.push(Account { name: alias.text, id, partition });
    }
    (fields.problems.len() == before).then_some(accounts)
}

fn rule(place: &Place, fields: &mut Fields) -> Option<Rule> {
    let name = required(fields, place, "name", text);
    let matching = match fields.section("match", MATCH, matching) {
        Some(None) => {
            fields
                .problems
                .push(Problem::new(place.clone(), "`match` is missing; a rule for everybody is not possible"));
            None
        }
        read => read.flatten(),
    };
    let deny = fields.section("deny", DENY, |fields| {
        let account = fields.optional("account", pattern);
        let role = fields.optional("role", pattern);
        Some(Deny { account: account?, role: role? })
    })?;
    let matching = matching?;
    let effect = match deny {
        Some(deny) => {
            fields.exclude("deny", &OF_GIVE);
            Effect::Deny(deny)
        }
        None if fields.raw("deny").is_some() => {
            let message = "`deny` is empty: write `deny: {}` to take all roles away";
            fields.problems.push(Problem::new(place.clone(), message));
            return None;
        }
        None => Effect::Give(Box::new(give(place, fields, &matching)?)),
    };
    Some(Rule { name: name?, matching, effect })
}

fn give(place: &Place, fields: &mut Fields, matching: &Match) -> Option<Give> {
    let known = matching.capture_names();
    let template = |node: &Node| template(node, &known);
    let account = required(fields, place, "account", template);
    let role = required(fields, place, "role", |node| {
        let template = template(node)?;
        match template.literal().map(str::parse::<RoleName>) {
            Some(Err(error)) => Err(Problem::new(node.place.clone(), error.to_string())),
            _ => Ok(template),
        }
    });
    let partition = fields.optional("partition", partition);
    let path = fields.value("path", path);
    let duration = fields.optional("duration", session_duration);
    let source_identity = fields.value("source_identity", boolean);
    let tags = fields.optional("tags", |node| tags(node, &known));
    let transitive_tags = fields.value("transitive_tags", |node| list(node, text));
    let policy = fields.optional("policy", policy);
    let policy_arns = fields.value("policy_arns", policy_arns);
    let console = fields.value("console", boolean);
    let max_auth_age = fields.optional("max_auth_age", self::duration);
    let max_proof_age = fields.optional("max_proof_age", self::duration);
    let (tags, transitive_tags) = (tags?.unwrap_or_default(), transitive_tags?);
    if let Some(key) = transitive_tags.iter().find(|key| !tags.iter().any(|(tag, _)| tag == *key)) {
        let place = fields.place("transitive_tags").unwrap_or_else(|| place.clone());
        fields.problems.push(Problem::new(place, format!("{key:?} is not in `tags`")));
    }
    Some(Give {
        account: account?,
        partition: partition?,
        role: role?,
        path: path?,
        duration: duration?,
        source_identity: source_identity?,
        tags,
        transitive_tags,
        policy: policy?,
        policy_arns: policy_arns?,
        console: console?,
        strength: Strength { max_auth_age: max_auth_age?, max_proof_age: max_proof_age? },
    })
}

fn matching(fields: &mut Fields) -> Option<Match> {
    let method = fields.optional("method", |node| list(node, text));
    let name = fields.optional("name", condition);
    let groups = fields.optional("groups", condition);
    let claims = fields.optional("claims", claims);
    let from = fields.optional("from", |node| list(node, network));
    let rewrite = fields.items("rewrite", REWRITE, |place, fields| {
        let capture = required(fields, place, "capture", text);
        let from = required(fields, place, "from", |node| {
            Regex::new(&text(node)?).map_err(|error| Problem::new(node.place.clone(), error.to_string()))
        });
        let to = fields.optional("to", text);
        Some(Rewrite { capture: capture?, from: from?, to: to?.unwrap_or_default() })
    });
    let claims = claims?.unwrap_or_default();
    let read = Match { method: method?, name: name?, groups: groups?, claims, from: from?, rewrite: rewrite? };
    let known = read.capture_names();
    if let Some(lost) = read.rewrite.iter().find(|rewrite| !known.contains(&rewrite.capture)) {
        let message = format!("`rewrite` changes {:?}, which no condition captures in every case", lost.capture);
        let place = fields.place("rewrite");
        fields.problems.push(place.map_or_else(|| Problem::nowhere(&message), |place| Problem::new(place, &message)));
    }
    if !read.is_about_identity() {
        let message = "`match` needs `method`, `name`, `groups` or `claims`: an address alone proves no identity";
        fields
            .problems
            .push(fields.place("from").map_or_else(|| Problem::nowhere(message), |place| Problem::new(place, message)));
    }
    Some(read)
}

/// The value of a key that has to be there.
fn required<T>(fields: &mut Fields, place: &Place, key: &str, read: impl Fn(&Node) -> Result<T, Problem>) -> Option<T> {
    let value = fields.optional(key, read)?;
    if value.is_none() {
        fields.problems.push(Problem::new(place.clone(), format!("`{key}` is missing")));
    }
    value
}

fn pattern(node: &Node) -> Result<Expression, Problem> {
    let pattern = Expression::new(&text(node)?).map_err(|error| Problem::new(node.place.clone(), error.to_string()))?;
    if pattern.capture_names().any(|name| name == super::template::IDENTITY) {
        return Err(Problem::new(
            node.place.clone(),
            "{identity} is the caller's name; call the capture something else",
        ));
    }
    Ok(pattern)
}

fn condition(node: &Node) -> Result<Condition, Problem> {
    let patterns = list(node, pattern)?;
    if patterns.is_empty() { wrong(node, "a pattern, or several in a list,") } else { Ok(Condition(patterns)) }
}

fn claims(node: &Node) -> Result<Vec<(String, Condition)>, Problem> {
    let Value::Map(entries) = &node.value else { return wrong(node, "a mapping of claims to patterns") };
    entries.iter().map(|(key, node)| Ok((key.text.clone(), condition(node)?))).collect()
}

fn network(node: &Node) -> Result<ipnet::IpNet, Problem> {
    let text = text(node)?;
    let single = || text.parse().ok().map(|address: std::net::IpAddr| address.into());
    match text.parse().ok().or_else(single) {
        Some(network) => Ok(network),
        None => wrong(node, "an address or a network such as 10.0.0.0/8"),
    }
}

fn template(node: &Node, known: &[String]) -> Result<Template, Problem> {
    Template::new(&text(node)?, known).map_err(|error| Problem::new(node.place.clone(), error))
}

fn partition(node: &Node) -> Result<String, Problem> {
    let text = text(node)?;
    if is_partition(&text) { Ok(text) } else { wrong(node, "a partition such as aws or aws-cn") }
}

/// `/` or `/a/b/`, to be put before the name of a role: without the slash at the beginning.
fn path(node: &Node) -> Result<String, Problem> {
    let text = text(node)?;
    let Some(path) = text.strip_prefix('/').filter(|path| path.is_empty() || path.ends_with('/')) else {
        return wrong(node, "a path such as / or /team/");
    };
    match RoleArn::new("aws", NO_ACCOUNT, &format!("{path}role")) {
        Ok(_) => Ok(path.to_owned()),
        Err(error) => Err(Problem::new(node.place.clone(), error.to_string())),
    }
}

fn session_duration(node: &Node) -> Result<Duration, Problem> {
    let duration = duration(node)?;
    if DURATIONS.contains(&duration) { Ok(duration) } else { wrong(node, "a time from 15m to 12h") }
}

fn tags(node: &Node, known: &[String]) -> Result<Vec<(String, Template)>, Problem> {
    let Value::Map(entries) = &node.value else { return wrong(node, "a mapping of tags to values") };
    if entries.len() > MAX_TAGS {
        return wrong(node, "a mapping of at most 50 tags");
    }
    let tag = |(key, node): &(crate::settings::yaml::Key, Node)| {
        check_tag_key(&key.text).map_err(|why| Problem::new(key.place.clone(), why.to_string()))?;
        Ok((key.text.clone(), template(node, known)?))
    };
    entries.iter().map(tag).collect()
}

fn policy(node: &Node) -> Result<Arc<str>, Problem> {
    let text = text(node)?;
    let is_policy = serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|value| value.is_object());
    if !is_policy {
        return Err(Problem::new(node.place.clone(), "a policy is a JSON object, written as a text (`policy: |`)"));
    }
    if text.chars().count() > MAX_POLICY {
        return Err(Problem::new(node.place.clone(), format!("a session policy has at most {MAX_POLICY} characters")));
    }
    Ok(text.into())
}

fn policy_arns(node: &Node) -> Result<Vec<String>, Problem> {
    let arns = list(node, |node| {
        let text = text(node)?;
        match Arn::parse(&text) {
            Ok(arn) if arn.service == "iam" && arn.resource.starts_with("policy/") => Ok(text),
            Ok(_) => wrong(node, "the ARN of a managed policy"),
            Err(error) => Err(Problem::new(node.place.clone(), error.to_string())),
        }
    })?;
    if arns.len() > MAX_POLICY_ARNS { wrong(node, "a list of at most 10 ARNs") } else { Ok(arns) }
}
