//! What was decided, and which rule decided it and why.

use std::fmt;

use super::{Approved, Grant};
use crate::credentials::RoleName;

/// What an identity may have, and how that came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The roles, in the order of the rules.
    pub grants: Vec<Grant>,
    /// Those that are given in an emergency only, for a reason: in no list, and not to hosts.
    pub emergencies: Vec<Grant>,
    /// Those that another person has to approve, and of which it is not known that one has.
    pub unapproved: Vec<Grant>,
    /// What each rule had to say.
    pub verdicts: Vec<Verdict>,
}

/// What one rule had to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The name of the rule.
    pub rule: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a rule. Texts are one line each, and without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is not about this caller, for this reason.
    NoMatch(String),
    /// It is, but the proof is too old, or says too little.
    TooWeak(String),
    /// It is, but what was captured makes no legal role.
    Invalid(Vec<String>),
    /// It gives roles.
    Gives {
        /// These, as `account/role`.
        roles: Vec<String>,
        /// And not those, for these reasons.
        wrong: Vec<String>,
        /// On these terms: the end of a sentence, or nothing.
        terms: String,
    },
    /// It takes roles away: those that others gave.
    Denies(Vec<String>),
}

impl Decision {
    /// The grant of this role in this account, which may be named by its alias or number.
    pub fn grant(&self, account: &str, role: &str) -> Option<&Grant> {
        named(&self.grants, account, role)
    }

    /// The same for a role that is given in an emergency only.
    pub fn emergency(&self, account: &str, role: &str) -> Option<&Grant> {
        named(&self.emergencies, account, role)
    }

    /// The same for a role that another person has to approve.
    pub fn unapproved(&self, account: &str, role: &str) -> Option<&Grant> {
        named(&self.unapproved, account, role)
    }

    /// Gives the roles that `find` knows an approval of. Those that are given without one stay as they are.
    pub fn settle(&mut self, find: impl Fn(&Grant) -> Option<Approved>) {
        let Self { grants, unapproved, .. } = self;
        unapproved.retain(|grant| {
            let Some(approved) = find(grant) else { return true };
            if !grants.iter().any(|other| other.is_same_role(grant)) {
                grants.push(Grant { approval: Some(approved), ..grant.clone() });
            }
            false
        });
    }

    /// The grant that hosts, which cannot name the account, get by this name: the first in the order of the rules.
    pub fn grant_of_role(&self, name: &str) -> Option<&Grant> {
        self.grants.iter().find(|grant| grant.listed.as_str() == name)
    }

    /// The names of the roles for hosts, each once, in the order of the rules.
    pub fn role_names(&self) -> Vec<&RoleName> {
        let mut names: Vec<&RoleName> = Vec::new();
        for grant in &self.grants {
            if !names.contains(&&grant.listed) {
                names.push(&grant.listed);
            }
        }
        names
    }

    /// The roles that hosts cannot have, since another one has the same name for them, with a text for each.
    pub fn conflicts(&self) -> Vec<String> {
        let hidden = |grant: &Grant| {
            let first = self.grant_of_role(grant.listed.as_str()).filter(|first| *first != grant)?;
            Some(format!(
                "hosts cannot have {} of rule {:?}: by the name {} they get {} of rule {:?}, which comes first; list one of \
                 them by another name (`as`)",
                grant.label(),
                grant.rule,
                grant.listed,
                first.label(),
                first.rule
            ))
        };
        self.grants.iter().filter_map(hidden).collect()
    }
}

fn named<'a>(grants: &'a [Grant], account: &str, role: &str) -> Option<&'a Grant> {
    let is = |grant: &&Grant| grant.account.name == account || grant.account.id.as_str() == account;
    grants.iter().filter(is).find(|grant| grant.role.as_str() == role)
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMatch(why) => write!(f, "does not match: {why}"),
            Self::TooWeak(why) => write!(f, "matches, but gives nothing: {why}"),
            Self::Invalid(wrong) => write!(f, "matches, but gives nothing: {}", wrong.join("; ")),
            Self::Gives { roles, wrong, terms } => {
                let but = if wrong.is_empty() { "" } else { "; but " };
                write!(f, "gives {}{terms}{but}{}", roles.join(", "), wrong.join("; "))
            }
            Self::Denies(taken) if taken.is_empty() => f.write_str("denies, though no rule gives what it is about"),
            Self::Denies(taken) => write!(f, "denies {}", taken.join(", ")),
        }
    }
}

/// As `explain` prints it: the roles, then each rule with its reason.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.grants.is_empty() {
            writeln!(f, "no roles")?;
        }
        for grant in &self.grants {
            let listed =
                if grant.listed == grant.role { String::new() } else { format!(", for hosts {}", grant.listed) };
            writeln!(
                f,
                "{}{listed}: {} as {}, by rule {:?}",
                grant.label(),
                grant.arn,
                grant.session_name,
                grant.rule
            )?;
        }
        for conflict in self.conflicts() {
            writeln!(f, "conflict: {conflict}")?;
        }
        for Verdict { rule, outcome } in &self.verdicts {
            writeln!(f, "rule {rule:?} {outcome}")?;
        }
        Ok(())
    }
}
