//! Rules for emergencies (break-glass): the role is given at once, but for a reason, for a short time, and loudly.

use std::{ops::RangeInclusive, time::Duration};

use crate::{
    credentials::MAX_TAGS,
    settings::{
        Fields, Node, Problem, Setting,
        problem::Place,
        read::{choice, duration_within},
    },
};

/// The tag of a session that was given in an emergency, for CloudTrail and policies. Its value is the id of the alert.
pub(super) const TAG: &str = "emergency";

/// The settings of `emergency`.
pub(super) const SETTINGS: &[Setting] = &[
    Setting::nested(
        "reason",
        "required",
        "`required`, which is the only value: the request has to carry a reason in `X-Alppaca-Reason`.",
    ),
    Setting::nested("for", "15m", "The life of the session, from 15m to 1h."),
];

/// STS gives no shorter ones, and an emergency is no reason for longer ones.
const LIVES: RangeInclusive<Duration> = Duration::from_mins(15)..=Duration::from_hours(1);

/// That a rule is for emergencies only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Emergency {
    /// The life of the session.
    pub life: Duration,
}

/// Reads `emergency` of a rule at `place` that has so many `tags`. The outer `None` says that something is wrong, which is
/// noted.
#[allow(clippy::option_option, reason = "wrong and absent are not the same")]
pub(super) fn read(place: &Place, fields: &mut Fields, tags: &[&str]) -> Option<Option<Emergency>> {
    let emergency = fields.section("emergency", SETTINGS, |fields| {
        let reason = fields.value("reason", |node| choice(node, &[("required", ())]));
        let life = fields.value("for", life);
        reason?;
        Some(Emergency { life: life? })
    })?;
    let problem = match emergency {
        // Otherwise a slip of the pen would give the role to everybody whom the rule matches, at any time.
        None if fields.raw("emergency").is_some() => "`emergency` is empty: write `emergency: {reason: required}`",
        None => return Some(None),
        Some(_) if fields.raw("console").is_some() => {
            "`emergency` and `console`: a session of the console has a life of its own, which `for` does not bound"
        }
        Some(_) if tags.iter().any(|tag| tag.eq_ignore_ascii_case(TAG)) => {
            "the tag `emergency` is that of the alert; call yours something else"
        }
        Some(_) if tags.len() >= MAX_TAGS => "the tag `emergency` has no room among 50 `tags`",
        Some(emergency) => {
            fields.exclude("emergency", &["duration", "max_duration"]);
            return Some(Some(emergency));
        }
    };
    fields.problems.push(Problem::new(fields.place("emergency").unwrap_or_else(|| place.clone()), problem));
    None
}

fn life(node: &Node) -> Result<Duration, Problem> {
    duration_within(node, &LIVES, "a time from 15m to 1h")
}
