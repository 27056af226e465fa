//! The role that a person means: by its name, its account, its ARN, or a part of its name (pure).

use super::{
    Failure,
    human::foreign,
    socket::{AMBIGUOUS, NO_ROLE},
};
use crate::{admin::RoleStatus, credentials::RoleArn};

/// Names that are shown to choose from.
const MAX_SHOWN: usize = 20;
/// Names that are shown as near to one that is not there.
const MAX_NEAR: usize = 3;
/// How near that is, from 0 (nothing in common) to 1 (the same).
const NEAR: f64 = 0.75;

/// Finds the role that `wanted` means: the first of these that is true of any role, and it must be true of one only.
///
/// - its name,
/// - its ARN,
/// - `ACCOUNT/NAME`, with the number of the account, or a word of the role's name (as `prod` in `prod-admin`),
/// - a part of its name, in upper or lower case.
pub(super) fn pick<'a>(roles: &'a [RoleStatus], wanted: &str) -> Result<&'a RoleStatus, Failure> {
    if let Some(exact) = roles.iter().find(|role| role.name == wanted) {
        return Ok(exact);
    }
    let found: Vec<&RoleStatus> = if wanted.starts_with("arn:") {
        by_arn(roles, wanted)
    } else if let Some((account, name)) = wanted.split_once('/') {
        in_account(roles, account, name)
    } else {
        by_part(roles.iter().collect(), wanted)
    };
    match found.as_slice() {
        [role] => Ok(role),
        [] => Err(Failure { code: NO_ROLE, message: none(roles, wanted) }),
        several => Err(Failure { code: AMBIGUOUS, message: ambiguous(several, wanted) }),
    }
}

/// Whether a part of a role's name or account is this.
pub(super) fn has_part(role: &RoleStatus, part: &str) -> bool {
    contains(&role.name, part) || role.account_id.as_deref().is_some_and(|account| account.starts_with(part))
}

fn by_arn<'a>(roles: &'a [RoleStatus], wanted: &str) -> Vec<&'a RoleStatus> {
    let exact: Vec<_> = roles.iter().filter(|role| role.role_arn.as_deref() == Some(wanted)).collect();
    let Ok(arn) = wanted.parse::<RoleArn>() else { return exact };
    if !exact.is_empty() {
        return exact;
    }
    // Many upstreams do not say the ARN.
    let is_it = |role: &&RoleStatus| {
        role.role_arn.is_none()
            && role.name == arn.name().as_str()
            && role.account_id.as_deref() == Some(arn.account().as_str())
    };
    roles.iter().filter(is_it).collect()
}

fn in_account<'a>(roles: &'a [RoleStatus], account: &str, name: &str) -> Vec<&'a RoleStatus> {
    let by_number: Vec<_> = roles.iter().filter(|role| role.account_id.as_deref() == Some(account)).collect();
    let own_name = |role: &&RoleStatus| {
        let arn = role.role_arn.as_deref().and_then(|arn| arn.parse::<RoleArn>().ok());
        arn.is_some_and(|arn| arn.name().as_str() == name)
    };
    let exact: Vec<_> = by_number.iter().copied().filter(own_name).collect();
    if !exact.is_empty() {
        return exact;
    }
    if !by_number.is_empty() {
        return by_part(by_number, name);
    }
    let by_word: Vec<_> = roles.iter().filter(|role| has_word(&role.name, account)).collect();
    let whole: Vec<_> = by_word.iter().copied().filter(|role| role.name == format!("{name}@{account}")).collect();
    if whole.is_empty() { by_part(by_word, name) } else { whole }
}

/// Whether `word` stands in `name` and is no part of a longer word.
fn has_word(name: &str, word: &str) -> bool {
    let inner = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    !word.is_empty()
        && name.match_indices(word).any(|(at, found)| {
            let (before, after) =
                (name.get(..at).unwrap_or_default(), name.get(at + found.len()..).unwrap_or_default());
            !inner(before.chars().next_back()) && !inner(after.chars().next())
        })
}

fn by_part<'a>(roles: Vec<&'a RoleStatus>, part: &str) -> Vec<&'a RoleStatus> {
    let same: Vec<_> = roles.iter().copied().filter(|role| role.name.eq_ignore_ascii_case(part)).collect();
    if same.is_empty() { roles.into_iter().filter(|role| contains(&role.name, part)).collect() } else { same }
}

fn contains(name: &str, part: &str) -> bool {
    name.to_ascii_lowercase().contains(&part.to_ascii_lowercase())
}

fn ambiguous(several: &[&RoleStatus], wanted: &str) -> String {
    let more = several.len().saturating_sub(MAX_SHOWN);
    let mut lines = vec![format!("{} roles match {}:", several.len(), foreign(wanted))];
    lines.extend(several.iter().take(MAX_SHOWN).map(|role| match &role.account_id {
        Some(account) => format!("  {} (account {})", foreign(&role.name), foreign(account)),
        None => format!("  {}", foreign(&role.name)),
    }));
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
    lines.join("\n")
}

fn none(roles: &[RoleStatus], wanted: &str) -> String {
    let likeness = |role: &RoleStatus| strsim::jaro_winkler(&role.name, wanted);
    let mut near: Vec<(f64, &str)> = roles.iter().map(|role| (likeness(role), role.name.as_str())).collect();
    near.retain(|(likeness, _)| *likeness >= NEAR);
    near.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    near.truncate(MAX_NEAR);
    let names: Vec<String> = near.into_iter().map(|(_, name)| foreign(name)).collect();
    let hint = if names.is_empty() {
        "`alppaca roles` shows those that you may have.".to_owned()
    } else {
        format!("Near it: {}. `alppaca roles` shows all that you may have.", names.join(", "))
    };
    format!("there is no role {} for you\n{hint}", foreign(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str, account: Option<&str>, arn: Option<&str>) -> RoleStatus {
        RoleStatus {
            name: name.into(),
            on_demand: false,
            chosen_by: None,
            session_name: None,
            state: "fresh".into(),
            since: None,
            access_key_id: None,
            expiration: None,
            seconds_left: None,
            source: None,
            last_error: None,
            refused_since: None,
            account_id: account.map(Into::into),
            role_arn: arn.map(Into::into),
        }
    }

    const ONE: &str = "111111111111";
    const TWO: &str = "222222222222";

    fn roles() -> Vec<RoleStatus> {
        vec![
            role("prod-admin", Some(ONE), Some("arn:aws:iam::111111111111:role/path/Admin")),
            role("prod-admin-ro", Some(ONE), Some("arn:aws:iam::111111111111:role/ReadOnly")),
            role("test-admin", Some(TWO), None),
            role("Billing", Some(TWO), None),
            role("billing-old", None, None),
            role("dev@my-sandbox", None, None),
            role("dev-ops@my-sandbox", None, None),
        ]
    }

    fn found(wanted: &str) -> Result<String, (u8, String)> {
        pick(&roles(), wanted).map(|role| role.name.clone()).map_err(|failure| (failure.code, failure.message))
    }

    #[test]
    fn a_role_is_found_by_name_arn_account_or_a_unique_part() {
        for (wanted, name) in [
            ("prod-admin", "prod-admin"),
            ("arn:aws:iam::111111111111:role/path/Admin", "prod-admin"),
            ("arn:aws:iam::222222222222:role/test-admin", "test-admin"),
            ("111111111111/Admin", "prod-admin"),
            ("111111111111/ReadOnly", "prod-admin-ro"),
            ("111111111111/-ro", "prod-admin-ro"),
            ("222222222222/admin", "test-admin"),
            ("test/admin", "test-admin"),
            ("TEST", "test-admin"),
            ("billing", "Billing"),
            ("old", "billing-old"),
            ("my-sandbox/dev", "dev@my-sandbox"),
            ("sandbox/ops", "dev-ops@my-sandbox"),
        ] {
            assert_eq!(found(wanted), Ok(name.to_owned()), "{wanted}");
        }
    }

    #[test]
    fn several_that_match_are_listed_and_none_is_taken() {
        let (code, message) = found("admin").expect_err("three");
        assert_eq!(code, AMBIGUOUS);
        assert_eq!(
            message,
            "3 roles match admin:\n  prod-admin (account 111111111111)\n  prod-admin-ro (account 111111111111)\n  \
             test-admin (account 222222222222)"
        );
        let (code, message) = found("prod/admin").expect_err("two");
        assert!(code == AMBIGUOUS && message.contains("prod-admin-ro") && !message.contains("test-admin"));
    }

    #[test]
    fn where_there_is_none_the_nearest_are_named() {
        let (code, message) = found("prod-amdin").expect_err("none");
        assert_eq!(code, NO_ROLE);
        assert!(message.contains("Near it: prod-admin, "), "{message}");
        for wanted in ["xyz", "arn:aws:iam::333333333333:role/test-admin", "333333333333/x", "x\u{1b}[2J"] {
            let (code, message) = found(wanted).expect_err("none");
            assert!(code == NO_ROLE && !message.contains('\u{1b}'), "{message}");
        }
    }
}
