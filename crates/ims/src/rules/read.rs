//! The settings `accounts` and `rules`.

mod give;
mod matching;

use give::{OF_GIVE, give};
pub(super) use matching::{BY, matching};
use matching::{MATCH, REWRITE, pattern};

use std::borrow::Cow;

use super::{Account, Accounts, Deny, Effect, Match, Rule, Rules, approval, emergency};
use crate::{
    credentials::{RoleName, is_partition},
    settings::{
        Fields, Node, Problem, Section, Setting, Value,
        problem::Place,
        read::{account_id, entries, text, wrong},
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
        section("rules[].emergency", emergency::SETTINGS),
        section("rules[].approval", approval::SETTINGS),
        section("rules[].approval.by", BY),
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
    Setting::nested(
        "as",
        "",
        "The name by which hosts see the role, if it is not its own: for roles of one name in several accounts.",
    ),
    Setting::nested("path", "/", "The path of the role, such as `/team/`."),
    Setting::nested("duration", "", "The life of the session, from 15m to 12h."),
    Setting::nested(
        "max_duration",
        "",
        "The longest life of a session that a person may ask for (`alppaca use --duration`), up to 12h. By default that of \
         `duration`, or an hour.",
    ),
    Setting::nested("source_identity", "no", "`yes`: the identity is also the source identity of the session."),
    Setting::nested("tags", "", "A mapping of session tags. `{x}` stands for a capture."),
    Setting::nested("transitive_tags", "[]", "Keys of `tags` that are handed on along a chain of roles."),
    Setting::nested("policy", "", "A session policy, JSON."),
    Setting::nested("policy_arns", "[]", "ARNs of managed policies as session policies, up to 10."),
    Setting::nested("console", "no", "`yes`: a URL of the AWS console may be made."),
    Setting::nested(
        "emergency",
        "",
        "A mapping: people get the role only with a reason, for a short time, and an alert.",
    ),
    Setting::nested("approval", "", "A mapping: people get the role if another person approves, and for as long."),
    Setting::nested("max_auth_age", "", "How long ago the person may have signed in, as the proof says."),
    Setting::nested("max_proof_age", "", "How long ago the proof, such as a certificate, may have been issued."),
    Setting::nested(
        "deny",
        "",
        "A mapping: takes roles away, those whose `account` and `role` match; all if it is `{}`.",
    ),
];

const DENY: &[Setting] = &[
    Setting::nested("account", "", "A pattern of the alias or number of the account."),
    Setting::nested("role", "", "A pattern of the name of the role."),
];

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
    let entries = fields.note(entries(&node, "a mapping of aliases to accounts").map(Cow::into_owned))?;
    let mut accounts = Accounts::default();
    let before = fields.problems.len();
    for (alias, node) in entries {
        let name: Option<RoleName> = fields.note(alias.text.parse().map_err(|error| {
            Problem::new(alias.place.clone(), format!("an alias is one segment of a URL, as a role is: {error}"))
        }));
        let account = match (&node.value, account_id(&node)) {
            (Value::Map(_) | Value::Any(_), _) => fields.nested(node, ACCOUNT, |fields| {
                let id = required(fields, &alias.place, "id", account_id);
                let partition = fields.value("partition", partition);
                Some((id?, partition?))
            }),
            (_, id) => fields.note(id).map(|id| (id, "aws".to_owned())),
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
    fields.exclude("deny", &OF_GIVE);
    let name = required(fields, place, "name", text);
    fields.note_need("match");
    for key in ["account", "role"] {
        fields.note_one_of(&[key, "deny"]);
    }
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
    let matching = matching.or_else(|| fields.is_inquiry().then(Match::default))?;
    let effect = match deny {
        Some(deny) => Effect::Deny(deny),
        None if fields.raw("deny").is_some() => {
            let message = "`deny` is empty: write `deny: {}` to take all roles away";
            fields.problems.push(Problem::new(place.clone(), message));
            return None;
        }
        None => Effect::Give(Box::new(give(place, fields, &matching)?)),
    };
    Some(Rule { name: name?, matching, effect })
}

/// The value of a key that has to be there.
fn required<T>(fields: &mut Fields, place: &Place, key: &str, read: impl Fn(&Node) -> Result<T, Problem>) -> Option<T> {
    fields.note_need(key);
    let value = fields.optional(key, read)?;
    if value.is_none() {
        fields.problems.push(Problem::new(place.clone(), format!("`{key}` is missing")));
    }
    value
}

fn partition(node: &Node) -> Result<String, Problem> {
    let text = text(node)?;
    if is_partition(&text) { Ok(text) } else { wrong(node, "a partition such as aws or aws-cn") }
}
