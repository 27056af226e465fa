//! Rules whose role another person has to approve, for a limited time.

use std::{ops::RangeInclusive, time::Duration};

use jiff::Timestamp;

use super::{
    Effect, Match, Rules, Strength, Terms,
    condition::Found,
    read::{BY, matching},
};
use crate::{
    identity::{Identity, Peer},
    settings::{Fields, Node, Problem, Setting, problem::Place, read::duration_within},
};

/// The settings of `approval`.
pub(super) const SETTINGS: &[Setting] = &[
    Setting::nested(
        "by",
        "",
        "A mapping of conditions, as in `match`: who may approve. Nobody approves a request of their own. Required.",
    ),
    Setting::nested("for", "1h", "How long an approval lasts, from 30m to 12h. No session outlives it."),
];

/// STS makes no shorter sessions.
pub const SHORTEST_SESSION: Duration = Duration::from_mins(15);
/// An approval leaves as much time again to fetch the shortest session.
const LIVES: RangeInclusive<Duration> = Duration::from_mins(30)..=Duration::from_hours(12);

/// That another person has to approve.
#[derive(Debug, Clone)]
pub struct Approval {
    /// Who may.
    pub by: Match,
    /// For how long.
    pub life: Duration,
}

impl Approval {
    /// Whether the rule lets `identity`, calling from `peer`, approve.
    pub fn is_by(&self, identity: &Identity, peer: &Peer) -> bool {
        matches!(self.by.find(identity, peer), Found::Captures(_))
    }
}

/// What a rule that needs an approval asks of the person who approves.
#[derive(Debug, Clone, Copy)]
pub struct NeedsApproval<'a> {
    /// Who may, and for how long.
    pub approval: &'a Approval,
    /// How strong the proof has to be: of both persons.
    pub strength: Strength,
}

/// The approval by which a role is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approved {
    /// Its id.
    pub id: String,
    /// When it ends. No session outlives it.
    pub until: Timestamp,
}

impl Rules {
    /// What the rule of this name asks of approvals, if it needs them.
    pub fn needs_approval(&self, rule: &str) -> Option<NeedsApproval<'_>> {
        let rule = self.rules.iter().find(|other| other.name == rule)?;
        let Effect::Give(give) = &rule.effect else { return None };
        let Terms::Approval(approval) = &give.terms else { return None };
        Some(NeedsApproval { approval, strength: give.strength })
    }
}

/// Reads `approval` of a rule at `place`. The outer `None` says that something is wrong, which is noted.
#[allow(clippy::option_option, reason = "wrong and absent are not the same")]
pub(super) fn read(place: &Place, fields: &mut Fields) -> Option<Option<Approval>> {
    let approval = fields.section("approval", SETTINGS, |fields| {
        fields.note_need("by");
        let by = fields.section("by", BY, matching);
        let life = fields.value("for", life);
        match by? {
            Some(by) => Some(Approval { by, life: life? }),
            None => {
                fields.complain_here("`approval` needs `by`: who may approve");
                None
            }
        }
    })?;
    // Otherwise a slip of the pen would give the role without any approval.
    if approval.is_none() && fields.raw("approval").is_some() {
        fields
            .problems
            .push(Problem::new(place.clone(), "`approval` is empty: write `approval: {by: {groups: leads}}`"));
        return None;
    }
    fields.exclude("approval", &["emergency"]);
    Some(approval)
}

fn life(node: &Node) -> Result<Duration, Problem> {
    duration_within(node, &LIVES, "a time from 30m to 12h")
}
