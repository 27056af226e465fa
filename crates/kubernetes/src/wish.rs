//! Which role the annotations of a service account ask for. Whoever may edit the account writes them, so that is a wish
//! and no right.

use std::{collections::BTreeMap, fmt};

use crate::credentials::{RoleArn, RoleName};

/// The annotation with the name of a role.
pub const ROLE: &str = "alppaca.dev/role";
/// The annotation with the ARN of a role, as EKS has it for IAM roles for service accounts.
pub const ROLE_ARN: &str = "eks.amazonaws.com/role-arn";

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// The role of that name.
    Role(RoleName),
    /// The role with that ARN.
    Arn(RoleArn),
    /// Something that is no role, by the annotation of that name.
    Unreadable(&'static str),
}

impl Wish {
    /// What these annotations ask for. Ours counts before that of EKS.
    pub fn of(annotations: &BTreeMap<String, String>) -> Option<Self> {
        let role = annotations.get(ROLE).map(|text| text.parse().map_or(Self::Unreadable(ROLE), Self::Role));
        let arn = || annotations.get(ROLE_ARN).map(|text| text.parse().map_or(Self::Unreadable(ROLE_ARN), Self::Arn));
        role.or_else(arn)
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role(name) => write!(f, "the role {name}"),
            Self::Arn(arn) => write!(f, "the role {arn}"),
            Self::Unreadable(annotation) => write!(f, "something in {annotation} that is no role"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_annotation_counts_before_that_of_eks_and_what_is_no_role_is_no_other_role() {
        let of = |annotations: &[(&str, &str)]| {
            Wish::of(&annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
        };
        let (arn, name) = ("arn:aws:iam::123456789012:role/team/web", Wish::Role("web".parse().expect("a name")));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("x", "web")]), None);
        assert_eq!(of(&[(ROLE, "web")]), Some(name.clone()));
        assert_eq!(of(&[(ROLE, "web"), (ROLE_ARN, arn)]), Some(name));
        assert_eq!(of(&[(ROLE_ARN, arn)]), Some(Wish::Arn(arn.parse().expect("an ARN"))));
        for wrong in ["", "a/b", " web", "web\n", arn] {
            assert_eq!(of(&[(ROLE, wrong), (ROLE_ARN, arn)]), Some(Wish::Unreadable(ROLE)), "{wrong}");
        }
        assert_eq!(of(&[(ROLE_ARN, "web")]), Some(Wish::Unreadable(ROLE_ARN)));
    }
}
