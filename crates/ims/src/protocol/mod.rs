//! What AFP answers, and how: routes, bodies and headers. Pure: request, decision and credentials in, answer out.
//!
//! It differs from AFP where AFP's answers mislead. The server's own trouble is always 503. 403, 404 and an empty list are
//! decisions, and marked as such with `Alppaca-IMS: 1`; those that are none, such as that of an unknown path, have no mark.

mod answer;
mod approvals;
mod document;
mod reason;
mod route;

pub use answer::{Answer, Body, RETRY_AFTER};
pub use approvals::{needs_reason, note, why_not};
pub use document::Issued;
pub use reason::{how_to_get, reason};
pub use route::{Asked, Families, Form, Mount, Route, Routed, route};

use std::borrow::Cow;

use http::{HeaderMap, Method, StatusCode};

use crate::rules::{Decision, Grant};

/// How a request for a known route goes on.
#[derive(Debug)]
pub enum Next<'a> {
    /// With this answer; no credentials are needed.
    Answer(Answer),
    /// With credentials of this role, for [`deliver`].
    Fetch {
        /// The role.
        grant: Cow<'a, Grant>,
        /// What is made of the credentials.
        form: &'a Form,
    },
    /// As [`Next::Fetch`], but in an emergency only: if the request carries a [`reason`], and after the alert.
    Emergency {
        /// The role.
        grant: Cow<'a, Grant>,
        /// What is made of the credentials.
        form: &'a Form,
    },
    /// With what is known of approvals: it is about requests for them, or their answers.
    Approvals,
    /// Without the role, which another person would have to approve.
    Unapproved {
        /// The role.
        grant: &'a Grant,
    },
}

/// The answer to a method that the route does not have; `None` is any route that there is not. HEAD is like GET.
pub fn check_method(method: &Method, route: Option<&Route>) -> Option<Answer> {
    let changes = route.is_some_and(Route::changes);
    let fine = if changes { method == Method::POST } else { method == Method::GET || method == Method::HEAD };
    (!fine).then(|| Answer::method_not_allowed(if changes { "POST" } else { "GET" }))
}

/// The answer to a browser that another site sent here: it would have credentials made, or a request approved, and a person
/// would not notice.
pub fn check_site(route: &Route, headers: &HeaderMap) -> Option<Answer> {
    let own = match headers.get("sec-fetch-site") {
        Some(site) => site == "same-origin" || (site == "none" && !route.changes()),
        // Older browsers send the origin only where another site asks.
        None => !headers.contains_key("origin"),
    };
    (!own && !matches!(route, Route::Status)).then(Answer::other_site)
}

/// Whether it has to be known, for the answer to `route`, which of the roles that need an approval have one.
pub fn needs_approvals(route: &Route, decision: &Decision) -> bool {
    match route {
        Route::Accounts { .. } | Route::RoleList => !decision.unapproved.is_empty(),
        Route::HostRole { role } => {
            let named = |grant: &Grant| grant.listed.as_str() == role;
            decision.grant_of_role(role).is_none() && decision.unapproved.iter().any(named)
        }
        Route::Role { account, role, .. } => {
            decision.grant(account, role).is_none() && decision.unapproved(account, role).is_some()
        }
        Route::Status | Route::Ask { .. } | Route::Requests | Route::Judge { .. } => false,
    }
}

/// How the request of `user` for `route` goes on after this decision. A HEAD makes no credentials, so the answer to it has
/// no length where that would be the length of a document.
pub fn decide<'a>(route: &'a Route, decision: &'a Decision, user: &str, head: bool) -> Next<'a> {
    let answer = match route {
        // Who calls does not matter to it.
        Route::Status => Answer::status_ok(),
        Route::Ask { .. } | Route::Requests | Route::Judge { .. } => return Next::Approvals,
        Route::Accounts { with_ids } => Answer::accounts(decision, *with_ids, user),
        Route::RoleList => Answer::role_list(decision),
        Route::HostRole { role } => match decision.grant_of_role(role) {
            Some(_) if head => Answer::head_of(&Form::Document, user),
            Some(grant) => return Next::Fetch { grant: Cow::Borrowed(grant), form: &Form::Document },
            None => Answer::error(StatusCode::FORBIDDEN, "Permission Denied", Some(user)),
        },
        Route::Role { account, role, form, duration } => {
            let allowed = |grant: &&Grant| grant.console || !matches!(form, Form::Console { .. });
            if let Some(grant) = decision.grant(account, role).filter(allowed) {
                return match lasting(grant, *duration) {
                    Err(why) => Next::Answer(Answer::error(StatusCode::BAD_REQUEST, &why, Some(user))),
                    Ok(_) if head => Next::Answer(Answer::head_of(form, user)),
                    Ok(grant) => Next::Fetch { grant, form },
                };
            }
            // An approval is for a role that no other rule gives.
            let given = decision.grant(account, role).is_some();
            let unapproved = decision.unapproved(account, role).filter(allowed).filter(|_| !given);
            match (decision.emergency(account, role).filter(allowed), unapproved) {
                (Some(grant), _) if !head => match lasting(grant, *duration) {
                    Ok(grant) => return Next::Emergency { grant, form },
                    Err(why) => Answer::error(StatusCode::BAD_REQUEST, &why, Some(user)),
                },
                // It raises no alert.
                (Some(grant), _) => Answer::error(StatusCode::FORBIDDEN, &how_to_get(grant), Some(user)),
                (None, Some(grant)) => return Next::Unapproved { grant },
                (None, None) => Answer::error(StatusCode::FORBIDDEN, "Permission Denied", Some(user)),
            }
        }
    };
    Next::Answer(answer)
}

/// The grant with a session that lasts as long as the caller asks for.
fn lasting(grant: &Grant, duration: Asked) -> Result<Cow<'_, Grant>, String> {
    match duration {
        Asked::Nothing => Ok(Cow::Borrowed(grant)),
        Asked::Time(time) => grant.lasting(time).map(Cow::Owned),
        Asked::Nonsense => Err("`duration` is a time such as 4h or 90m".to_owned()),
    }
}

/// The answer with the credentials of a session of this `grant`. `console_url` is there where the form needs it and the rule allows it.
pub fn deliver(form: &Form, issued: &Issued, grant: &Grant, console_url: Option<&str>, user: &str) -> Answer {
    let answer = match (form, console_url) {
        (Form::Document, _) => Answer::document(issued, None, user),
        (Form::Both { .. }, url) => Answer::document(issued, url, user),
        (Form::Console { .. }, Some(url)) => Answer::console(url),
        (Form::Console { .. }, None) => Answer::unavailable("No console URL", Some(user), RETRY_AFTER),
    };
    answer.lasting(grant.duration)
}

#[cfg(test)]
mod tests;
