//! What the face serves in addition to credentials: the metadata tree, and the answers of a real IMDS where there is one.

use std::sync::Arc;

use super::{
    Imds, answer, documents, not_found,
    passthrough::{Asked, Passthrough, Reply, upstream_path},
    tree::{Directory, Node, merge_listing},
};
use crate::{
    clock::Moment,
    credentials::{AccountId, RoleArn},
    faces::visible_roles::VisibleRoles,
    http::{Answer, Body, Outcome, Status},
    store::Slot,
};

/// Whether a fact is known.
enum Told {
    Now(AccountId),
    /// Not yet.
    Later,
    /// It is not to be known.
    Never,
}

impl Imds {
    /// The directory of the version, whose entries EC2 lists without slashes.
    pub(super) fn top(&self, version: &str, now: Moment) -> Outcome {
        let elsewhere = match &self.passthrough {
            None => None,
            Some(passthrough) => match upstream_path(&[version]).map(|path| passthrough.ask(&path, now.boot)) {
                Some(Asked::Underway) => return Outcome::Elsewhere,
                Some(Asked::Reply(Reply::Failed)) => return Outcome::Answer(answer::error(Status::Unavailable)),
                Some(Asked::Reply(Reply::Found(body, _))) => Some(body),
                Some(Asked::Reply(Reply::Absent)) | None => None,
            },
        };
        let elsewhere = elsewhere.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let known = |name: &str| {
            self.tree.has(name).unwrap_or_else(|| elsewhere.lines().any(|line| line.trim_end_matches('/') == name))
        };
        self.text(Body::Static(match (known("dynamic"), known("user-data")) {
            (true, true) => b"dynamic\nmeta-data\nuser-data",
            (true, false) => b"dynamic\nmeta-data",
            (false, true) => b"meta-data\nuser-data",
            (false, false) => b"meta-data",
        }))
    }

    /// Whether `iam/info` is there, or may turn out to be.
    pub(super) fn has_info(&self, visible: &VisibleRoles<'_>) -> bool {
        match &self.tree.info {
            Some(Node::File(_)) => true,
            Some(_) => false,
            None => !matches!(self.account(visible), Told::Never),
        }
    }

    /// `iam/info`: the instance profile. It is not there where the account is not known.
    pub(super) fn info(&self, visible: &VisibleRoles<'_>, now: Moment) -> Outcome {
        match &self.tree.info {
            Some(Node::File(text)) => return self.text(Body::Shared(Arc::clone(text))),
            Some(_) => return not_found(),
            None => {}
        }
        let Some(role) = visible.first() else { return not_found() };
        role.ask(now.boot);
        let (last_updated, arn) = match &**role.slot() {
            Slot::Held { set, .. } => (set.last_updated, set.role_arn.clone()),
            Slot::Idle | Slot::Warming => return Outcome::Warming,
            Slot::Denied(_) => (now.wall, None),
        };
        let Told::Now(account) = self.account(visible) else { return not_found() };
        let partition = arn.as_deref().map_or(self.shared.partition().name, RoleArn::partition);
        self.text(Body::Shared(documents::info(role.name(), partition, account, last_updated).into()))
    }

    /// The account: as configured, or from the first set of credentials.
    fn account(&self, visible: &VisibleRoles<'_>) -> Told {
        if let Some(account) = self.shared.account_id {
            return Told::Now(account);
        }
        if !visible.settled() {
            return Told::Later;
        }
        match visible.first().map(|role| role.slot()).as_deref().map(|state| &**state) {
            Some(Slot::Idle | Slot::Warming) => Told::Later,
            Some(Slot::Held { set, .. }) => set.account_id.map_or(Told::Never, Told::Now),
            Some(Slot::Denied(_)) | None => Told::Never,
        }
    }

    /// All that has nothing to do with roles.
    pub(super) fn metadata(
        &self,
        segments: &[&str],
        rest: &[&str],
        visible: &VisibleRoles<'_>,
        now: Moment,
    ) -> Outcome {
        if rest == ["meta-data"] && !visible.settled() {
            // Whether `iam/` is there is not known yet.
            return Outcome::Warming;
        }
        let found = self.tree.find(rest);
        match (found, &self.passthrough) {
            (Some(Node::Removed), _) => not_found(),
            (Some(Node::File(text)), _) => {
                let answer = self.text(Body::Shared(Arc::clone(text)));
                if rest == ["user-data"] { binary(answer) } else { answer }
            }
            (Some(Node::Identity(identity)), _) => {
                let account = match self.account(visible) {
                    Told::Now(account) => Some(account),
                    Told::Never => None,
                    // A program may ask only once, and the document must not change later.
                    Told::Later => return Outcome::Warming,
                };
                self.text(Body::Shared(identity.render(account).into()))
            }
            (Some(Node::Directory(directory)), None) => self.text(Body::Shared(self.listing(rest, directory, visible))),
            (None, None) => not_found(),
            (None, Some(passthrough)) => self.pass(passthrough, (segments, rest), None, visible, now),
            (Some(Node::Directory(directory)), Some(passthrough)) => {
                self.pass(passthrough, (segments, rest), Some(directory), visible, now)
            }
        }
    }

    /// The listing of a directory; that of `meta-data` has `iam/` in it if there is a role.
    fn listing(&self, rest: &[&str], directory: &Directory, visible: &VisibleRoles<'_>) -> Arc<[u8]> {
        let with_iam = rest == ["meta-data"] && !visible.is_empty();
        Arc::clone(if with_iam { &self.tree.with_iam } else { &directory.listing })
    }

    /// What the real IMDS says, with what is set here laid over its listings.
    fn pass(
        &self,
        passthrough: &Passthrough,
        (segments, rest): (&[&str], &[&str]),
        directory: Option<&Directory>,
        visible: &VisibleRoles<'_>,
        now: Moment,
    ) -> Outcome {
        let Some(path) = upstream_path(segments) else { return not_found() };
        let reply = match passthrough.ask(&path, now.boot) {
            Asked::Underway => return Outcome::Elsewhere,
            Asked::Reply(reply) => reply,
        };
        let outcome = match (reply, directory) {
            (Reply::Found(body, modified), None) if rest != ["meta-data"] => {
                Outcome::Answer(Answer { modified, ..answer::ok(Body::Shared(body)) })
            }
            (Reply::Found(body, modified), directory) => {
                let roles = rest == ["meta-data"] && !visible.is_empty();
                let body = merge_listing(&body, directory, rest == ["meta-data"], roles);
                Outcome::Answer(Answer { modified, ..answer::ok(Body::Shared(body)) })
            }
            (Reply::Absent, Some(directory)) => self.text(Body::Shared(self.listing(rest, directory, visible))),
            (Reply::Absent, None) => not_found(),
            (Reply::Failed, _) => Outcome::Answer(answer::error(Status::Unavailable)),
        };
        if rest == ["user-data"] { binary(outcome) } else { outcome }
    }

    pub(super) fn text(&self, body: Body) -> Outcome {
        Outcome::Answer(Answer { modified: Some(Arc::clone(&self.started)), ..answer::ok(body) })
    }
}

fn binary(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Answer(answer) if answer.status == Status::Ok => {
            Outcome::Answer(Answer { style: answer::BINARY, ..answer })
        }
        other => other,
    }
}
