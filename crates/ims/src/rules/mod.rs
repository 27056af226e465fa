//! Which roles an identity may have. Pure: identity, address and time in, decision out.
//!
//! Each rule is judged by itself. What a `deny` rule matches is taken away whatever other rules give, and what no rule
//! gives is not given.

mod approval;
mod condition;
mod decision;
mod emergency;
mod grant;
mod read;
mod session;
mod template;

pub use approval::{Approval, Approved, NeedsApproval, SHORTEST_SESSION};
pub use condition::{Condition, Match};
pub use decision::{Decision, Outcome, Verdict};
pub use emergency::Emergency;
pub use grant::{Account, Accounts, Give, Grant, Terms, USUAL_SESSION};
pub use read::{SETTINGS, read, sections};
pub use session::session_name;
pub use template::Template;

use std::time::{Duration, SystemTime};

use condition::{Found, describe};

use crate::{
    expression::Expression,
    identity::{Identity, Peer},
};

/// All rules, in the order of the configuration.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The accounts that rules may name by an alias, or by what they captured.
    pub accounts: Accounts,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// How decisions and the audit refer to it.
    pub name: String,
    /// Whom it is about.
    pub matching: Match,
    /// What follows.
    pub effect: Effect,
}

impl Rule {
    /// On which terms it gives a role, if it gives one.
    pub fn terms(&self) -> Option<&Terms> {
        match &self.effect {
            Effect::Give(give) => Some(&give.terms),
            Effect::Deny(_) => None,
        }
    }
}

/// What follows from a match.
#[derive(Debug, Clone)]
pub enum Effect {
    /// A role.
    Give(Box<Give>),
    /// Roles are taken away.
    Deny(Deny),
}

/// Which roles a rule takes away.
#[derive(Debug, Clone, Default)]
pub struct Deny {
    /// Those in accounts with such a name or number; in all accounts without it.
    pub account: Option<Expression>,
    /// Those with such a name; all without it.
    pub role: Option<Expression>,
}

impl Deny {
    fn covers(&self, grant: &Grant) -> bool {
        let account =
            |pattern: &Expression| pattern.matches(&grant.account.name) || pattern.matches(grant.account.id.as_str());
        self.account.as_ref().is_none_or(account)
            && self.role.as_ref().is_none_or(|pattern| pattern.matches(grant.role.as_str()))
    }
}

/// How strong and how fresh a proof has to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Strength {
    /// How long ago the person may have signed in.
    pub max_auth_age: Option<Duration>,
    /// How long ago the proof, such as a certificate, may have been issued.
    pub max_proof_age: Option<Duration>,
}

impl Strength {
    /// What is not strong enough, if anything is not.
    pub fn lacks(&self, identity: &Identity, now: SystemTime) -> Option<String> {
        if let Some(limit) = self.max_auth_age {
            let Some(then) = identity.authenticated_at else {
                return Some("the proof does not say when the person signed in (max_auth_age)".to_owned());
            };
            // A time in the future is a wrong clock or a lie: no proof that it was recently.
            let Ok(age) = now.duration_since(then) else {
                return Some("the proof says that the person signed in in the future (max_auth_age)".to_owned());
            };
            if age > limit {
                return Some(too_old("the person signed in", age, limit, "max_auth_age"));
            }
        }
        let limit = self.max_proof_age?;
        match identity.age {
            None => Some("the proof does not say when it was issued (max_proof_age)".to_owned()),
            Some(age) if age > limit => Some(too_old("the proof was issued", age, limit, "max_proof_age")),
            Some(_) => None,
        }
    }
}

fn too_old(what: &str, age: Duration, limit: Duration, key: &str) -> String {
    format!("{what} {} s ago, and at most {} s are allowed ({key})", age.as_secs(), limit.as_secs())
}

impl Rules {
    /// What `identity`, calling from `peer`, may have at the time `now`.
    pub fn decide(&self, identity: &Identity, peer: &Peer, now: SystemTime) -> Decision {
        let [mut grants, mut emergencies, mut unapproved] = [const { Vec::new() }; 3];
        let mut verdicts = Vec::new();
        let mut denials = Vec::new();
        for rule in &self.rules {
            let found = rule.matching.find(identity, peer);
            let outcome = match (&rule.effect, found) {
                (_, Found::Nothing(why)) => Outcome::NoMatch(why),
                (Effect::Deny(deny), _) => {
                    denials.push((verdicts.len(), rule, deny));
                    Outcome::Denies(Vec::new())
                }
                // A part of it would depend on the order of the groups.
                (Effect::Give(_), Found::TooMany) => Outcome::Invalid(vec![Found::too_many()]),
                (Effect::Give(give), Found::Captures(found)) => match give.strength.lacks(identity, now) {
                    Some(lack) => Outcome::TooWeak(lack),
                    None => {
                        let grants = match &give.terms {
                            Terms::Always => &mut grants,
                            Terms::Emergency(_) => &mut emergencies,
                            Terms::Approval(_) => &mut unapproved,
                        };
                        self.gives(rule, give, &found, identity, grants)
                    }
                },
            };
            verdicts.push(Verdict { rule: rule.name.clone(), outcome });
        }
        for (verdict, rule, deny) in denials {
            let taken = [&mut grants, &mut emergencies, &mut unapproved].into_iter().flat_map(|grants| {
                let covered = grants.extract_if(.., |grant| deny.covers(grant));
                covered.map(|grant| grant.label()).collect::<Vec<String>>()
            });
            let taken = taken.collect();
            verdicts[verdict] = Verdict { rule: rule.name.clone(), outcome: Outcome::Denies(taken) };
        }
        Decision { grants, emergencies, unapproved, verdicts }
    }

    fn gives(
        &self,
        rule: &Rule,
        give: &Give,
        found: &[condition::Captures],
        identity: &Identity,
        grants: &mut Vec<Grant>,
    ) -> Outcome {
        let (mut given, mut wrong) = (Vec::new(), Vec::new());
        for captures in found {
            match give.grant(&rule.name, captures, identity, &self.accounts) {
                Ok(grant) if grants.iter().any(|other| other.is_same_role(&grant)) => {
                    wrong.push(format!("{} is already given by an earlier rule or group", grant.label()));
                }
                Ok(grant) => {
                    given.push(grant.label());
                    grants.push(grant);
                }
                Err(why) => wrong.push(format!("{why}{}", describe(captures))),
            }
        }
        if given.is_empty() {
            return Outcome::Invalid(wrong);
        }
        Outcome::Gives { roles: given, wrong, terms: give.terms.to_string() }
    }
}

#[cfg(test)]
mod tests;
