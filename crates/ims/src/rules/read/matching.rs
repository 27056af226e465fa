//! The conditions of a rule.

use regex_lite::Regex;

use super::required;
use crate::{
    expression::Expression,
    rules::{Condition, Match, condition::Rewrite, template::IDENTITY},
    settings::{
        Fields, Node, Problem, Setting,
        read::{entries, filled_list, text, text_like, wrong},
    },
};

/// What an empty list would mean: surely not what was meant, in a rule that denies above all.
const NOBODY: &str = "no caller would match";

pub(super) const MATCH: &[Setting] = &[
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

/// The same where nothing is made of captures.
pub(in crate::rules) const BY: &[Setting] = MATCH.split_at(MATCH.len() - 1).0;

pub(super) const REWRITE: &[Setting] = &[
    Setting::nested("capture", "", "The capture."),
    Setting::nested("from", "", "What is replaced."),
    Setting::nested("to", "", "By what; `$1` stands for the first group in `from`."),
];

pub(in crate::rules) fn matching(fields: &mut Fields) -> Option<Match> {
    fields.note_one_of(&["method", "name", "groups", "claims"]);
    let method = fields.optional("method", |node| filled_list(node, NOBODY, text));
    let name = fields.optional("name", condition);
    let groups = fields.optional("groups", condition);
    let claims = fields.optional("claims", claims);
    let from = fields.optional("from", |node| filled_list(node, NOBODY, network));
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

pub(super) fn pattern(node: &Node) -> Result<Expression, Problem> {
    let pattern = Expression::new(&text(node)?).map_err(|error| Problem::new(node.place.clone(), error.to_string()))?;
    if pattern.capture_names().any(|name| name == IDENTITY) {
        return Err(Problem::new(
            node.place.clone(),
            "{identity} is the caller's name; call the capture something else",
        ));
    }
    Ok(pattern)
}

fn condition(node: &Node) -> Result<Condition, Problem> {
    filled_list(node, NOBODY, pattern).map(Condition)
}

fn claims(node: &Node) -> Result<Vec<(String, Condition)>, Problem> {
    let entries = entries(node, "a mapping of claims to patterns")?;
    entries.iter().map(|(key, node)| Ok((key.text.clone(), condition(node)?))).collect()
}

fn network(node: &Node) -> Result<ipnet::IpNet, Problem> {
    let text = text_like(node, "^[0-9A-Fa-f:.]+(/[0-9]+)?$")?;
    let single = || text.parse().ok().map(|address: std::net::IpAddr| address.into());
    match text.parse().ok().or_else(single) {
        Some(network) => Ok(network),
        None => wrong(node, "an address or a network such as 10.0.0.0/8"),
    }
}
