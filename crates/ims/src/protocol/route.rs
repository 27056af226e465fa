//! Paths, and what they are about.

use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::{
    approvals::{Action, Id},
    settings::read::parse_duration,
};

/// Where a part of the server is, and what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What its paths begin with: empty, or such as `/afp-api/latest`, without a slash at the end.
    pub prefix: String,
    /// Which routes it has besides `/status`.
    pub families: Families,
}

/// The two families of routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Families {
    /// `/meta-data/iam/security-credentials/`, with and without `/latest` before it.
    pub hosts: bool,
    /// `/account` and `/requests`.
    pub people: bool,
}

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `/status`: whether the server works.
    Status,
    /// `/account`: all accounts and roles.
    Accounts {
        /// Whether the numbers of the accounts are shown, too.
        with_ids: bool,
    },
    /// `/account/A/R` and below.
    Role {
        /// The account, by alias or number.
        account: String,
        /// The role.
        role: String,
        /// What of it.
        form: Form,
        /// How long the session shall last, if the caller asks for that.
        duration: Asked,
    },
    /// `/account/A/R/request`: asks another person to approve a role.
    Ask {
        /// The account, by alias or number.
        account: String,
        /// The role.
        role: String,
    },
    /// `/requests`: what was asked for, and is for the caller to see.
    Requests,
    /// `/requests/ID/approve` and the like.
    Judge {
        /// The request.
        id: Id,
        /// What becomes of it.
        action: Action,
    },
    /// The list of a host's roles.
    RoleList,
    /// The document of a host's role.
    HostRole {
        /// The role.
        role: String,
    },
}

impl Route {
    /// Whether it changes something, so that it is a POST.
    pub fn changes(&self) -> bool {
        matches!(self, Self::Ask { .. } | Self::Judge { .. })
    }
}

/// A time that a caller asks for, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// For none.
    Nothing,
    /// For this one.
    Time(Duration),
    /// For something that is no time.
    Nonsense,
}

/// What is made of credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// The document.
    Document,
    /// The document, with a URL of the console in it.
    Both {
        /// Where the console sends the browser at the end of the session.
        callback: Option<String>,
    },
    /// The URL of the console.
    Console {
        /// Where the console sends the browser at the end of the session.
        callback: Option<String>,
    },
}

/// Where a request belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routed<'a> {
    /// To this mount, which says how callers prove who they are.
    To(&'a Mount, Route),
    /// To no mount, or to no route of it; the path as it is shown.
    Nowhere(String),
}

const SECURITY_CREDENTIALS: &str = "/meta-data/iam/security-credentials/";

/// Where a request for `target`, a path with its query as sent, belongs. The mount with the longest prefix has it, and no
/// other does, whatever routes that one has: its callers prove themselves in another way.
pub fn route<'a>(mounts: &'a [Mount], target: &str) -> Routed<'a> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    // As web servers do before AFP: a slash is one, however it is written.
    let Ok(path) = percent_decode_str(path).decode_utf8() else { return Routed::Nowhere(path.to_owned()) };
    let below = |mount: &'a Mount| {
        let rest = path.strip_prefix(mount.prefix.as_str())?;
        rest.starts_with('/').then_some((mount, rest))
    };
    let found = mounts.iter().filter_map(below).max_by_key(|(mount, _)| mount.prefix.len());
    let routed = found.and_then(|(mount, rest)| Some((mount, within(mount.families, rest, query)?)));
    match routed {
        Some((mount, route)) => Routed::To(mount, route),
        None => Routed::Nowhere(path.into_owned()),
    }
}

fn within(families: Families, path: &str, query: &str) -> Option<Route> {
    if path == "/status" {
        return Some(Route::Status);
    }
    let host = path.strip_prefix("/latest").unwrap_or(path).strip_prefix(SECURITY_CREDENTIALS);
    if let Some(role) = host.filter(|role| families.hosts && !role.contains('/')) {
        return Some(if role.is_empty() { Route::RoleList } else { Route::HostRole { role: role.to_owned() } });
    }
    if let Some(rest) = path.strip_prefix("/requests").filter(|_| families.people) {
        return requests(rest);
    }
    let people = path.strip_prefix("/account").filter(|_| families.people)?;
    if people.is_empty() {
        return Some(Route::Accounts { with_ids: parameter(query, "withid").is_some() });
    }
    let callback = || parameter(query, "callbackurl");
    let segments: Vec<&str> = people.strip_prefix('/')?.split('/').collect();
    let named = |account: &str, role: &str| !account.is_empty() && !role.is_empty();
    let (account, role, form) = match *segments.as_slice() {
        [account, role, "request"] if named(account, role) => {
            return Some(Route::Ask { account: account.to_owned(), role: role.to_owned() });
        }
        [account, role] => (account, role, Form::Both { callback: callback() }),
        [account, role, "credentials"] => (account, role, Form::Document),
        [account, role, "consoleurl"] => (account, role, Form::Console { callback: callback() }),
        _ => return None,
    };
    let duration = match parameter(query, "duration").map(|text| parse_duration(&text)) {
        None => Asked::Nothing,
        Some(time) => time.map_or(Asked::Nonsense, Asked::Time),
    };
    named(account, role).then(|| Route::Role { account: account.to_owned(), role: role.to_owned(), form, duration })
}

/// Below `/requests`.
fn requests(path: &str) -> Option<Route> {
    if path.is_empty() {
        return Some(Route::Requests);
    }
    let (id, action) = path.strip_prefix('/')?.split_once('/')?;
    let actions = [("approve", Action::Approve), ("refuse", Action::Refuse), ("revoke", Action::Revoke)];
    let (_, action) = actions.into_iter().find(|(word, _)| *word == action)?;
    Some(Route::Judge { id: Id::try_from(id.to_owned()).ok()?, action })
}

/// The last value of a parameter, as forms encode it; empty without an equals sign.
fn parameter(query: &str, name: &str) -> Option<String> {
    let decode =
        |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8().map(std::borrow::Cow::into_owned);
    let pairs = query.split('&').rev().map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut values = pairs.filter(|(key, _)| decode(key).is_ok_and(|key| key == name));
    values.next().and_then(|(_, value)| decode(value).ok())
}
