//! The domain types: a set of credentials, its parts, and how it is read and written. No I/O.

mod arn;
mod document;
mod partition;
mod pattern;
mod role;
mod secret;
mod session;
mod session_name;
mod timestamp;

pub use arn::{AccountId, AccountIdError, Arn, ArnError, NO_ACCOUNT, RoleArn, RoleArnError, is_partition};
pub use document::{
    DocumentError, document_field, extend_document, is_key_text, parse_document, render_document, render_refusal,
};
pub use partition::{Partition, region_of_zone};
pub use pattern::Pattern;
pub use role::{RoleId, RoleName, RoleNameError};
pub use secret::{Secret, SecretBytes};
pub use session::{
    MAX_TAGS, SESSION_NAME_LENGTHS, TagError, check_tag_key, check_tag_value, is_external_id, is_name_character,
    is_session_name,
};
pub use session_name::{SessionFacts, SessionName, SessionNameError};
pub use timestamp::{format_timestamp, parse_timestamp};

use std::time::Duration;

use jiff::Timestamp;

use crate::clock::until;

/// One set of temporary credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The public half: it appears in CloudTrail and may be logged.
    pub access_key_id: String,
    /// The key that signs requests.
    pub secret_access_key: Secret,
    /// The session token that goes along with each signed request.
    pub session_token: Secret,
    /// From this moment on AWS refuses the set.
    pub expiration: Timestamp,
    /// How long the set still lived when it came, by the clock of its upstream, where that is known: the clock of this host
    /// may be wrong.
    pub life: Option<Duration>,
    /// When the upstream says it made the set, if it does.
    pub last_updated: Option<Timestamp>,
    /// The account, if the upstream says it.
    pub account_id: Option<AccountId>,
    /// The ARN of the role, where it is known.
    pub role_arn: Option<RoleArn>,
}

/// An upstream whose clock is wrong by more gets no credentials from AWS, which takes no signature of another time.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html>
const ERROR: Duration = Duration::from_mins(15);
/// So long a set lives that has ended by the clock of the upstream which gave it: that clock may be the one that is wrong, and
/// the upstream is asked again before.
const LAST_LIFE: Duration = Duration::from_mins(1);

impl Credentials {
    /// How long the set lives from now on, when it has just come. The clock of its upstream counts where the wall clock leaves
    /// it much more, so must be behind.
    pub fn life_from(&self, now: Timestamp) -> Duration {
        let left = until(self.expiration, now);
        let life = self.life.filter(|life| left > *life + ERROR);
        life.map_or(left, |life| if life.is_zero() { LAST_LIFE } else { life })
    }
}
