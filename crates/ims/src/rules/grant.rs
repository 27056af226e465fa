//! What a rule gives: templates, filled in and checked.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    Approval, Approved, Emergency, SHORTEST_SESSION, Strength, condition::Captures, emergency::TAG,
    session::session_name, template::Template,
};
use crate::{
    credentials::{AccountId, RoleArn, RoleName, check_tag_value},
    identity::Identity,
    text::printable,
};

/// The life of a session if STS is asked for none.
pub const USUAL_SESSION: Duration = Duration::from_hours(1);

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its alias, or its number where it has none.
    pub name: String,
    /// Its number.
    pub id: AccountId,
    /// Its partition, such as `aws`.
    pub partition: String,
}

/// The accounts of the configuration.
#[derive(Debug, Clone, Default)]
pub struct Accounts(pub Vec<Account>);

impl Accounts {
    /// The account of this alias or number.
    pub fn get(&self, text: &str) -> Option<&Account> {
        self.0.iter().find(|account| account.name == text || account.id.as_str() == text)
    }
}

/// What a rule gives.
#[derive(Debug, Clone)]
pub struct Give {
    /// The account: an alias, or its number.
    pub account: Template,
    /// The partition, if it is not that of the account.
    pub partition: Option<String>,
    /// The role, without its path.
    pub role: Template,
    /// The name that hosts see, if it is not that of the role.
    pub listed: Option<Template>,
    /// The path of the role, such as `team/`: empty, or with a slash at its end and none at its beginning.
    pub path: String,
    /// The life of the session; what STS gives without it.
    pub duration: Option<Duration>,
    /// The longest one that a person may ask for, if it is not that.
    pub max_duration: Option<Duration>,
    /// Whether the identity is the source identity of the session.
    pub source_identity: bool,
    /// Session tags.
    pub tags: Vec<(String, Template)>,
    /// The keys of those that are handed on along a chain.
    pub transitive_tags: Vec<String>,
    /// A session policy, JSON.
    pub policy: Option<Arc<str>>,
    /// ARNs of managed policies as session policies.
    pub policy_arns: Vec<String>,
    /// Whether a URL of the console may be made.
    pub console: bool,
    /// On which terms.
    pub terms: Terms,
    /// How strong the proof has to be.
    pub strength: Strength,
}

/// On which terms a rule gives its role.
#[derive(Debug, Clone)]
pub enum Terms {
    /// On none.
    Always,
    /// In an emergency, with a reason.
    Emergency(Emergency),
    /// If another person approves.
    Approval(Approval),
}

/// The end of a sentence about what the rule gives.
impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => Ok(()),
            Self::Emergency(_) => f.write_str(" in an emergency, with a reason"),
            Self::Approval(Approval { by, life }) => {
                let minutes = life.as_secs() / 60;
                write!(f, " for {minutes}m with the approval of another person ({by})")
            }
        }
    }
}

/// A role that an identity may have, with all that is asked of STS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The rule that gives it.
    pub rule: String,
    /// The account.
    pub account: Account,
    /// The role.
    pub role: RoleName,
    /// The name that hosts see: that of the role, or another.
    pub listed: RoleName,
    /// The role with its path.
    pub arn: RoleArn,
    /// The life of the session; what STS gives without it.
    pub duration: Option<Duration>,
    /// The longest one that a person may ask for.
    pub longest: Duration,
    /// The name of the session.
    pub session_name: String,
    /// The source identity.
    pub source_identity: Option<String>,
    /// Session tags.
    pub tags: Vec<(String, String)>,
    /// The keys of those that are handed on along a chain.
    pub transitive_tags: Vec<String>,
    /// A session policy, JSON.
    pub policy: Option<Arc<str>>,
    /// ARNs of managed policies as session policies.
    pub policy_arns: Vec<String>,
    /// Whether a URL of the console may be made.
    pub console: bool,
    /// The id of the alert, if it is given in an emergency.
    pub emergency: Option<String>,
    /// The approval of another person, if it is given by one.
    pub approval: Option<Approved>,
}

impl Grant {
    /// The same in an emergency whose alert has this id: a tag tells it from any other session.
    #[must_use]
    pub fn in_emergency(&self, id: &str) -> Self {
        let tags = self.tags.iter().cloned().chain([(TAG.to_owned(), id.to_owned())]).collect();
        Self { tags, emergency: Some(id.to_owned()), ..self.clone() }
    }

    /// The same with a session of the life that a person asks for, or why that cannot be. Whole minutes, so that there are not
    /// any number of sets of one role.
    pub fn lasting(&self, asked: Duration) -> Result<Self, String> {
        if asked < SHORTEST_SESSION || asked.subsec_nanos() > 0 || !asked.as_secs().is_multiple_of(60) {
            return Err("`duration` is a time in whole minutes from 15m on, such as 4h".to_owned());
        }
        if asked > self.longest {
            let most = self.longest.as_secs() / 60;
            return Err(format!("sessions of this role last {most}m at most"));
        }
        Ok(Self { duration: Some(asked), ..self.clone() })
    }

    /// The account and the role, for a message.
    pub fn label(&self) -> String {
        format!("{}/{}", self.account.name, self.role)
    }

    /// Whether it is reached by the same URL.
    pub(super) fn is_same_role(&self, other: &Self) -> bool {
        self.account.name == other.account.name && self.role == other.role
    }
}

impl Give {
    /// The grant that follows from what was captured, or why there is none.
    pub(super) fn grant(
        &self,
        rule: &str,
        captures: &Captures,
        identity: &Identity,
        accounts: &Accounts,
    ) -> Result<Grant, String> {
        let fill = |template: &Template| template.fill(captures, &identity.name);
        let account = self.account(&fill(&self.account), accounts)?;
        let role: RoleName = fill(&self.role).parse().map_err(|error| format!("no legal role: {error}"))?;
        let listed = self.listed.as_ref().map_or_else(|| Ok(role.clone()), |template| fill(template).parse());
        let listed = listed.map_err(|error| format!("no legal name to list the role by (as): {error}"))?;
        let partition = &account.partition;
        let arn =
            RoleArn::new(partition, account.id, &format!("{}{role}", self.path)).map_err(|error| error.to_string())?;
        let tag = |(key, template): &(String, Template)| {
            let value = fill(template);
            check_tag_value(&value).map_err(|why| format!("tag {key}: {why}"))?;
            Ok((key.clone(), value))
        };
        let tags = self.tags.iter().map(tag).collect::<Result<_, String>>()?;
        let session_name = session_name(&identity.name);
        Ok(Grant {
            rule: rule.to_owned(),
            account,
            role,
            listed,
            arn,
            duration: self.duration,
            longest: self.max_duration.or(self.duration).unwrap_or(USUAL_SESSION),
            source_identity: self.source_identity.then(|| session_name.clone()),
            session_name,
            tags,
            transitive_tags: self.transitive_tags.clone(),
            policy: self.policy.clone(),
            policy_arns: self.policy_arns.clone(),
            console: self.console,
            emergency: None,
            approval: None,
        })
    }

    /// A number that was captured counts only if the account is listed: otherwise an identity could name any account.
    fn account(&self, name: &str, accounts: &Accounts) -> Result<Account, String> {
        let mut account = match (accounts.get(name), self.account.literal().map(str::parse::<AccountId>)) {
            (Some(known), _) => known.clone(),
            (None, Some(Ok(id))) => Account { name: name.to_owned(), id, partition: "aws".to_owned() },
            (None, _) => return Err(format!("there is no account {:?} in `accounts`", printable(name, 80))),
        };
        if let Some(partition) = &self.partition {
            account.partition.clone_from(partition);
        }
        Ok(account)
    }
}

#[cfg(test)]
impl Grant {
    /// What a plain rule gives: the role of this ARN, in an account that is called `a`.
    pub(crate) fn of(arn: &str) -> Self {
        let arn: RoleArn = arn.parse().expect("an ARN");
        Self {
            rule: "r".to_owned(),
            account: Account { name: "a".to_owned(), id: arn.account(), partition: arn.partition().to_owned() },
            role: arn.name().clone(),
            listed: arn.name().clone(),
            arn,
            duration: None,
            longest: USUAL_SESSION,
            session_name: "alice".to_owned(),
            source_identity: None,
            tags: Vec::new(),
            transitive_tags: Vec::new(),
            policy: None,
            policy_arns: Vec::new(),
            console: false,
            emergency: None,
            approval: None,
        }
    }
}
