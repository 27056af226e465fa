//! Takes over what the daemon before this one has left, and leaves the same to the one after it.

use std::{path::PathBuf, sync::Arc};

use super::{Daemon, carryover};
use crate::{
    config::{self, Upstreams},
    handover,
    refresh::{Carryover, Handover},
};

impl Daemon {
    /// Serves what another daemon has handed over until there is something newer, as far as this configuration still names
    /// it.
    #[must_use]
    pub fn after(mut self, handover: Handover) -> Self {
        let text = handover.configuration.to_string();
        let old = match config::parse(vec![(PathBuf::from("the configuration before"), text)]) {
            Ok(loaded) => loaded.config.upstreams,
            Err(errors) => {
                tracing::warn!("nothing is taken over from before the restart: {errors}");
                return self;
            }
        };
        let new = &self.config.upstreams;
        let roles = carryover::of_roles(&old, new);
        let roles = |id: &str| roles.get(id).copied().unwrap_or(Carryover::Discard);
        let sets = handover.sets.len();
        self.refresher.take_over_from(handover, roles, carryover::of_listed(&old, new), on_demand(&old, new));
        notice!("{sets} set(s) of credentials were held before the restart and are served on");
        self
    }

    /// Has `keep` keep what the next daemon takes over, each time that it has changed.
    #[must_use]
    pub fn leaving_to(mut self, mut keep: impl FnMut(&[u8]) + Send + 'static) -> Self {
        let clock = Arc::clone(&self.clock);
        let configuration = self.config.render().into();
        let hand_over = Box::new(move |handover: Handover| keep(&handover::write(&handover, clock.now())));
        self.refresher = self.refresher.with_hand_over(configuration, hand_over);
        self
    }
}

/// Which of the sources a role on demand was made with is not known here: if one of them has become something else, none of
/// them is believed.
fn on_demand(old: &Upstreams, new: &Upstreams) -> Carryover {
    let replaced = new
        .sources
        .iter()
        .any(|source| old.source(&source.name).is_some_and(|before| before.kind.word() != source.kind.word()));
    match old == new {
        true => Carryover::Unchanged,
        false if replaced => Carryover::Discard,
        false => Carryover::Refetch,
    }
}
