//! `kind: roles_anywhere`.

use std::sync::Arc;

use super::{Surroundings, kinds::aws_options};
use crate::{
    config::{self, Session},
    credentials::{RoleArn, SessionFacts, SessionName},
    source::roles_anywhere::{Arns, Identity, RolesAnywhere, Settings},
};

/// The call for one role: its ARN, and what its session shall be like. Nothing is read or sent yet.
pub(super) fn role(
    config: &config::RolesAnywhere,
    identity: &Arc<Identity>,
    (role_arn, session): (&RoleArn, &Session),
    facts: SessionFacts,
    surroundings: &Surroundings,
) -> Result<RolesAnywhere, String> {
    let (aws, environment) = (&config.aws, &surroundings.aws);
    let arns = Arns::new(&config.trust_anchor_arn, &config.profile_arn).map_err(|error| error.to_string())?;
    let fips = aws.fips.or(environment.use_fips_endpoint).unwrap_or_default();
    let settings = Settings {
        endpoint: aws.endpoint.clone().unwrap_or_else(|| arns.endpoint(fips)),
        region: aws.region.clone(),
        trust_anchor_arn: config.trust_anchor_arn.clone(),
        profile_arn: config.profile_arn.clone(),
        role_arn: role_arn.clone(),
        duration: session.duration,
        // Profiles refuse a name unless they are told to accept it, so only one that was written is sent.
        session_name: (session.name != SessionName::default()).then(|| session.name.fill(facts)),
    };
    let options = aws_options(aws, surroundings)?;
    let role = RolesAnywhere::new(settings, Arc::clone(identity), &options, Arc::clone(&surroundings.clock));
    role.map_err(|error| error.to_string())
}
