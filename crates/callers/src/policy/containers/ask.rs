//! Which role a container requests, in the syntax of metadataproxy: `IAM_ROLE` is a name, a path and a name, either with
//! `@account`, or an ARN.
//!
//! Any user who may start containers can write it, so it is a request only. [`Allow`] defines what is granted.

use std::fmt;

use crate::{
    caller::containers::ContainerFacts,
    credentials::{
        AccountId, NO_ACCOUNT, Pattern, RoleArn, RoleArnError, RoleName, SESSION_NAME_LENGTHS, is_external_id,
        is_name_character, is_session_name,
    },
};

/// How much of an invalid role is quoted in the message.
const SHOWN: usize = 100;

/// Where a container describes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a variable.
    Variable(String),
    /// In a label.
    Label(String),
}

/// What is made of what containers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Where the role stands; the first place that says one counts.
    pub role: Vec<Place>,
    /// Where the external id stands.
    pub external_id: Vec<Place>,
    /// Where the session name stands.
    pub session_key: Option<Place>,
    /// The role of containers that ask for none.
    pub default_role: Option<String>,
    /// The account of roles without one.
    pub default_account: Option<String>,
    /// Accounts by their names.
    pub accounts: Vec<(String, AccountId)>,
    /// The partition of roles that are not written as an ARN, such as `aws-cn`.
    pub partition: String,
    /// The session name of containers that have none of their own.
    pub session_name: Option<String>,
    /// What containers may ask for.
    pub allow: Allow,
}

/// Patterns of role ARNs: `*` stands for any text, `?` for any character.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allow(pub Vec<Pattern>);

/// A role, and how it is to be assumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Its name, without a path: what a listing shows.
    pub name: RoleName,
    /// Its ARN.
    pub role_arn: RoleArn,
    /// The external id.
    pub external_id: Option<String>,
    /// The session name.
    pub session_name: Option<String>,
}

/// A role as it was written, before it is known whose account it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WrittenRole {
    /// As an ARN, which says all.
    Arn(RoleArn),
    /// As a name or a path and a name.
    Path {
        /// What follows the last `@`: twelve digits or a name.
        account: Option<String>,
        /// With the role's name, without a slash at either end.
        path: String,
    },
}

/// Why a text is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrittenRoleError {
    /// It begins like an ARN.
    #[error(transparent)]
    Arn(#[from] RoleArnError),
    /// Its beginning.
    #[error("a role is expected here: name, path/name, name@account or an ARN, not {0:?}")]
    Path(String),
}

/// Why a container gets no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRole {
    /// It asks for none, and there is no default.
    #[error("it requests no role")]
    Unasked,
    /// What it asks for is no role.
    #[error("its request is not a role: {0}")]
    Unreadable(#[from] WrittenRoleError),
    /// The account is missing.
    #[error("it requests {0:?} without an account, and there is no containers.default_account")]
    NoAccount(String),
    /// The account is unknown.
    #[error("it requests a role in the account {0:?}, which is neither twelve digits nor in containers.accounts")]
    UnknownAccount(String),
    /// The external id is none.
    #[error("its external id is not valid: 2 to 1224 letters, digits and +=,.@:/-_")]
    ExternalId,
    /// Nothing allows it.
    #[error("it requests {0}, which no pattern in containers.allow permits")]
    NotAllowed(RoleArn),
}

impl Allow {
    /// Whether a pattern permits this ARN.
    pub fn permits(&self, arn: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(arn))
    }
}

impl Place {
    fn of<'a>(&self, container: &'a ContainerFacts) -> Option<&'a str> {
        let text = match self {
            Self::Variable(name) => container.environment.get(name),
            Self::Label(name) => container.labels.get(name),
        };
        text.map(|text| text.trim()).filter(|text| !text.is_empty())
    }
}

impl fmt::Display for Place {
    /// In the words of metadataproxy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "Env:{name}"),
            Self::Label(name) => write!(f, "Labels:{name}"),
        }
    }
}

impl std::str::FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split_once(':') {
            Some(("Env", name)) if !name.is_empty() => Ok(Self::Variable(name.to_owned())),
            Some(("Labels", name)) if !name.is_empty() => Ok(Self::Label(name.to_owned())),
            _ => Err(()),
        }
    }
}

impl Rules {
    /// The variables of containers that matter.
    pub fn variables(&self) -> Vec<String> {
        let places = self.role.iter().chain(&self.external_id).chain(&self.session_key);
        let names = places.filter_map(|place| match place {
            Place::Variable(name) => Some(name.clone()),
            Place::Label(_) => None,
        });
        names.collect()
    }

    /// The role of a container, and how to assume it.
    pub fn ask(&self, container: &ContainerFacts) -> Result<Ask, NoRole> {
        let first = |places: &[Place]| places.iter().find_map(|place| place.of(container)).map(str::to_owned);
        let own = first(&self.role);
        let text = own.as_ref().or(self.default_role.as_ref()).ok_or(NoRole::Unasked)?;
        let external_id = first(&self.external_id);
        let session_name = self.session_key.as_ref().and_then(|key| key.of(container)).and_then(clean_session_name);
        let ask = self.written(text, None, external_id, session_name)?;
        // The default was chosen by the administrator.
        if own.is_some() && !self.allow.permits(ask.role_arn.as_str()) {
            return Err(NoRole::NotAllowed(ask.role_arn));
        }
        Ok(ask)
    }

    /// The same for a role that the administrator wrote; `account` is its account if it does not say one itself.
    pub fn written(
        &self,
        text: &str,
        account: Option<&str>,
        external_id: Option<String>,
        session_name: Option<String>,
    ) -> Result<Ask, NoRole> {
        let role = WrittenRole::parse(text)?;
        if external_id.as_deref().is_some_and(|id| !is_external_id(id)) {
            return Err(NoRole::ExternalId);
        }
        let role_arn = match role {
            WrittenRole::Arn(arn) => arn,
            WrittenRole::Path { account: own, path } => {
                let account = own.as_deref().or(account).or(self.default_account.as_deref());
                let account = account.ok_or_else(|| NoRole::NoAccount(path.clone()))?;
                let known = self.accounts.iter().find(|(name, _)| name == account).map(|(_, number)| *number);
                let number = known.map_or_else(|| account.parse(), Ok);
                let number = number.map_err(|_| NoRole::UnknownAccount(account.to_owned()))?;
                RoleArn::new(&self.partition, number, &path).map_err(WrittenRoleError::Arn)?
            }
        };
        Ok(Ask {
            name: role_arn.name().clone(),
            role_arn,
            external_id,
            session_name: session_name.or_else(|| self.session_name.clone()),
        })
    }
}

impl WrittenRole {
    /// Reads a name, `path/name`, either with `@account`, or an ARN.
    pub fn parse(text: &str) -> Result<Self, WrittenRoleError> {
        if text.starts_with("arn:") {
            return Ok(Self::Arn(text.parse()?));
        }
        let wrong = || WrittenRoleError::Path(text.chars().take(SHOWN).collect());
        // A name may have an @, too; the account follows the last one, as in metadataproxy.
        let (path, account) = match text.rsplit_once('@') {
            Some((_, "")) => return Err(wrong()),
            Some((path, account)) => (path, Some(account.to_owned())),
            None => (text, None),
        };
        let path = path.strip_prefix('/').unwrap_or(path);
        // A path is legal if there can be an ARN with it.
        RoleArn::new("aws", NO_ACCOUNT, path).map_err(|_| wrong())?;
        Ok(Self::Path { account, path: path.to_owned() })
    }
}

/// What STS takes as a session name: other characters become `_`, and what is too long is cut. `None` if it is too short.
pub fn clean_session_name(text: &str) -> Option<String> {
    let legal = |c: char| if is_name_character(c) { c } else { '_' };
    let clean: String = text.chars().map(legal).take(*SESSION_NAME_LENGTHS.end()).collect();
    is_session_name(&clean).then_some(clean)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::caller::containers::tests::facts;

    pub(crate) fn rules() -> Rules {
        Rules {
            role: vec![Place::Variable("IAM_ROLE".into()), Place::Label("role".into())],
            external_id: vec![Place::Variable("IAM_EXTERNAL_ID".into())],
            session_key: Some(Place::Label("team".into())),
            default_role: None,
            default_account: Some("111111111111".into()),
            accounts: vec![("prod".into(), "222222222222".parse().expect("digits"))],
            partition: "aws".into(),
            session_name: None,
            allow: Allow(vec![Pattern::of_arns("*")]),
        }
    }

    fn asks(role: &str) -> ContainerFacts {
        ContainerFacts { environment: [("IAM_ROLE".to_owned(), role.to_owned())].into(), ..facts('a', "172.17.0.2") }
    }

    fn arn(role: &str) -> Result<String, NoRole> {
        rules().ask(&asks(role)).map(|ask| ask.role_arn.to_string())
    }

    #[test]
    fn a_role_is_written_in_each_of_metadataproxys_ways() {
        for (written, expected) in [
            ("web", "arn:aws:iam::111111111111:role/web"),
            ("/web", "arn:aws:iam::111111111111:role/web"),
            ("team/web", "arn:aws:iam::111111111111:role/team/web"),
            ("web@prod", "arn:aws:iam::222222222222:role/web"),
            ("web@333333333333", "arn:aws:iam::333333333333:role/web"),
            ("a@b@prod", "arn:aws:iam::222222222222:role/a@b"),
            ("team/web@prod", "arn:aws:iam::222222222222:role/team/web"),
            ("arn:aws:iam::444444444444:role/web", "arn:aws:iam::444444444444:role/web"),
            ("arn:aws-cn:iam::444444444444:role/p/q/web", "arn:aws-cn:iam::444444444444:role/p/q/web"),
            ("arn:aws-us-gov:iam::444444444444:role/web", "arn:aws-us-gov:iam::444444444444:role/web"),
        ] {
            assert_eq!(arn(written).as_deref(), Ok(expected), "{written}");
            assert_eq!(
                rules().ask(&asks(written)).expect("legal").name.as_str(),
                expected.rsplit('/').next().expect("a name")
            );
        }
    }

    #[test]
    fn what_is_no_role_is_refused() {
        for written in [
            "web@",
            "@prod",
            "web@nobody",
            "web@12345",
            "we b",
            "a//b",
            "team/",
            "../web",
            "a/../b/..",
            "web:x",
            "ä",
            "arn:aws:iam::444444444444:user/web",
            "arn:aws:iam::4:role/web",
            "arn:aws:sts::444444444444:role/web",
            "arn:evil:iam::444444444444:role/web",
            "arn:aws:iam:eu:444444444444:role/web",
            "arn:aws:iam::444444444444:role/",
            "arn:aws-CN:iam::444444444444:role/web",
            "arn:",
            "arn:aws:iam::444444444444:role/a:b",
            &"x".repeat(65),
        ] {
            assert!(arn(written).is_err(), "{written}: {:?}", arn(written));
        }
    }

    #[test]
    fn the_first_place_counts_then_the_default() {
        let mut container = asks("  ");
        assert_eq!(rules().ask(&container), Err(NoRole::Unasked));
        container.labels.insert("role".into(), "labelled".into());
        assert_eq!(rules().ask(&container).expect("a role").name.as_str(), "labelled");
        container.environment.insert("IAM_ROLE".into(), "variable".into());
        assert_eq!(rules().ask(&container).expect("a role").name.as_str(), "variable");
        let rules = Rules { default_role: Some("d@prod".into()), allow: Allow::default(), ..rules() };
        let plain = ContainerFacts { environment: [].into(), ..facts('b', "") };
        assert_eq!(rules.ask(&plain).expect("the default").role_arn.as_str(), "arn:aws:iam::222222222222:role/d");
    }

    #[test]
    fn what_a_container_asks_for_needs_permission() {
        let allow = |patterns: &[&str]| Rules {
            allow: Allow(patterns.iter().map(|pattern| Pattern::of_arns(pattern)).collect()),
            ..rules()
        };
        let arn = "arn:aws:iam::111111111111:role/web".parse().expect("an ARN");
        assert_eq!(allow(&[]).ask(&asks("web")), Err(NoRole::NotAllowed(arn)));
        assert!(allow(&["x", "arn:aws:iam::111111111111:role/w*"]).ask(&asks("web")).is_ok());
        // Asking for the default by name is asking, too.
        assert!(Rules { default_role: Some("web".into()), ..allow(&[]) }.ask(&asks("web")).is_err());
    }

    #[test]
    fn a_session_name_is_cleaned_and_cut() {
        assert_eq!(clean_session_name("my app/ä{x}"), Some("my_app___x_".into()));
        assert_eq!(clean_session_name(&"x".repeat(100)), Some("x".repeat(64)));
        assert_eq!(clean_session_name("x"), None);
        let mut container = asks("web");
        container.labels.insert("team".into(), "blue team".into());
        assert_eq!(rules().ask(&container).expect("a role").session_name.as_deref(), Some("blue_team"));
        container.labels.insert("team".into(), "x".into());
        let named = Rules { session_name: Some("devproxyauth".into()), ..rules() };
        assert_eq!(named.ask(&container).expect("a role").session_name.as_deref(), Some("devproxyauth"));
    }

    #[test]
    fn an_external_id_goes_along_or_the_role_is_refused() {
        let mut container = asks("web");
        container.environment.insert("IAM_EXTERNAL_ID".into(), "abc:1/2".into());
        assert_eq!(rules().ask(&container).expect("a role").external_id.as_deref(), Some("abc:1/2"));
        container.environment.insert("IAM_EXTERNAL_ID".into(), "a b".into());
        assert_eq!(rules().ask(&container), Err(NoRole::ExternalId));
    }

    #[test]
    fn only_the_variables_of_the_rules_matter() {
        let rules = Rules { session_key: "Env:SESSION".parse().ok(), ..rules() };
        assert_eq!(rules.variables(), ["IAM_ROLE", "IAM_EXTERNAL_ID", "SESSION"]);
        assert_eq!("Labels:a:b".parse(), Ok(Place::Label("a:b".into())));
        for wrong in ["", "Env:", "env:X", "X"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}
