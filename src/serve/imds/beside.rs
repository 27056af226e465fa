//! What the face says beside credentials: the tree, and what a real IMDS says where there is one.

use std::sync::Arc;

use super::{
    Imds, documents, not_found,
    passthrough::{Asked, Passthrough, Reply, upstream_path},
    tree::{Directory, Node, merge_listing},
};
use crate::{
    clock::Moment,
    credentials::{AccountId, RoleArn},
    serve::{
        answer::{Answer, Body, Outcome, Status, Style},
        view::View,
    },
    store::State,
};

impl Imds {
    /// The directory of the version, whose entries EC2 lists without slashes.
    pub(super) fn top(&self) -> Body {
        let known = |name| self.passthrough.is_some() || self.tree.has(name);
        Body::Static(match (known("dynamic"), known("user-data")) {
            (true, true) => b"dynamic\nmeta-data\nuser-data",
            (true, false) => b"dynamic\nmeta-data",
            (false, true) => b"meta-data\nuser-data",
            (false, false) => b"meta-data",
        })
    }

    pub(super) fn has_info(&self) -> bool {
        !matches!(self.tree.info, Some(Node::Removed | Node::Directory(_)))
    }

    /// `iam/info`: the instance profile.
    pub(super) fn info(&self, view: &View<'_>, now: Moment) -> Outcome {
        match &self.tree.info {
            Some(Node::File(text)) => return self.text(Body::Shared(Arc::clone(text))),
            Some(_) => return not_found(),
            None => {}
        }
        let Some(role) = view.first() else { return not_found() };
        let state = role.state();
        let (last_updated, arn) = match &**state {
            State::Held { set, .. } => (set.last_updated, set.role_arn.as_ref()),
            State::Warming | State::Denied(_) => (now.wall, None),
        };
        let account = self.account(&state);
        let body = documents::info(role.name().as_str(), arn.map_or("aws", RoleArn::partition), account, last_updated);
        self.text(Body::Shared(body.into()))
    }

    /// The account: as configured, or as the credentials or the role's ARN tell it.
    pub(super) fn account(&self, state: &State) -> Option<AccountId> {
        let configured = self.settings.metadata.account_id;
        let State::Held { set, .. } = state else { return configured };
        configured.or(set.account_id).or_else(|| set.role_arn.as_ref().map(RoleArn::account))
    }

    /// All that has nothing to do with roles.
    pub(super) fn metadata(&self, segments: &[&str], rest: &[&str], view: &View<'_>, now: Moment) -> Outcome {
        let found = self.tree.find(rest);
        match (found, &self.passthrough) {
            (Some(Node::Removed), _) => not_found(),
            (Some(Node::File(text)), _) => {
                let answer = self.text(Body::Shared(Arc::clone(text)));
                if rest == ["user-data"] { binary(answer) } else { answer }
            }
            (Some(Node::Identity(identity)), _) => {
                let state = view.first().map(|role| role.state());
                let account = state.as_ref().map_or(self.settings.metadata.account_id, |s| self.account(s));
                self.text(Body::Shared(identity.render(account).into()))
            }
            (Some(Node::Directory(directory)), None) => self.text(Body::Shared(self.listing(rest, directory, view))),
            (None, None) => not_found(),
            (None, Some(passthrough)) => self.pass(passthrough, (segments, rest), None, view, now),
            (Some(Node::Directory(directory)), Some(passthrough)) => {
                self.pass(passthrough, (segments, rest), Some(directory), view, now)
            }
        }
    }

    /// The listing of a directory; that of `meta-data` has `iam/` in it if there is a role.
    fn listing(&self, rest: &[&str], directory: &Directory, view: &View<'_>) -> Arc<[u8]> {
        let with_iam = rest == ["meta-data"] && !view.is_empty();
        Arc::clone(if with_iam { &self.tree.with_iam } else { &directory.listing })
    }

    /// What the real IMDS says, with what is set here laid over its listings.
    fn pass(
        &self,
        passthrough: &Passthrough,
        (segments, rest): (&[&str], &[&str]),
        directory: Option<&Directory>,
        view: &View<'_>,
        now: Moment,
    ) -> Outcome {
        let Some(path) = upstream_path(segments) else { return not_found() };
        let reply = match passthrough.ask(&path, now.boot) {
            Asked::Underway => return Outcome::Elsewhere,
            Asked::Reply(reply) => reply,
        };
        let outcome = match (reply, directory) {
            (Reply::Found(body, modified), None) if rest != ["meta-data"] => {
                Outcome::Answer(Answer { modified, ..Answer::ok(Body::Shared(body)) })
            }
            (Reply::Found(body, modified), directory) => {
                let roles = rest == ["meta-data"] && !view.is_empty();
                let body = merge_listing(&body, directory, rest == ["meta-data"], roles);
                Outcome::Answer(Answer { modified, ..Answer::ok(Body::Shared(body)) })
            }
            (Reply::Absent, Some(directory)) => self.text(Body::Shared(self.listing(rest, directory, view))),
            (Reply::Absent, None) => not_found(),
            (Reply::Failed, _) => Outcome::Answer(Answer::error(Status::Unavailable)),
        };
        if rest == ["user-data"] { binary(outcome) } else { outcome }
    }

    pub(super) fn text(&self, body: Body) -> Outcome {
        Outcome::Answer(Answer { modified: Some(Arc::clone(&self.started)), ..Answer::ok(body) })
    }
}

fn binary(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Answer(answer) if answer.status == Status::Ok => {
            Outcome::Answer(Answer { style: Style::Binary, ..answer })
        }
        other => other,
    }
}
