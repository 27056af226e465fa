//! Whose accounts are followed at this time: for those who show that, and for the next configuration.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::{ApiOptions, Index, WatchState};

/// The cluster whose accounts are followed, if there is one.
#[derive(Debug, Default)]
pub struct Watched(ArcSwapOption<Cluster>);

#[derive(Debug)]
struct Cluster {
    server: String,
    index: Arc<Index>,
}

/// As long as this lives, the cluster counts as followed.
#[derive(Debug)]
pub struct Following {
    watched: Arc<Watched>,
    cluster: Arc<Cluster>,
}

impl Watched {
    /// The index for that cluster: the one there is, so that another configuration knows what is known.
    pub fn index(&self, options: &ApiOptions) -> Arc<Index> {
        let known = self.0.load();
        let same = known.as_ref().filter(|cluster| cluster.server == options.server);
        same.map_or_else(Arc::default, |cluster| Arc::clone(&cluster.index))
    }

    /// From now on it is followed, with this index.
    pub fn follow(self: &Arc<Self>, options: &ApiOptions, index: Arc<Index>) -> Following {
        let cluster = Arc::new(Cluster { server: options.server.clone(), index });
        self.0.store(Some(Arc::clone(&cluster)));
        Following { watched: Arc::clone(self), cluster }
    }

    /// How it stands, if a cluster is followed.
    pub fn state(&self) -> Option<WatchState> {
        self.0.load().as_ref().map(|cluster| cluster.index.state())
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // The next one may have begun already.
        let current = self.watched.0.load_full();
        if current.is_some_and(|current| Arc::ptr_eq(&current, &self.cluster)) {
            self.watched.0.store(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_configuration_begins_with_what_is_known_of_the_same_cluster() {
        let options =
            |server: &str| ApiOptions { server: server.into(), ca_file: "/c".into(), token_file: "/t".into() };
        let (one, other) = (options("https://one"), options("https://other"));
        let watched = Arc::new(Watched::default());
        assert_eq!(watched.state(), None);
        let index = watched.index(&one);
        let before = watched.follow(&one, Arc::clone(&index));
        assert!(Arc::ptr_eq(&watched.index(&one), &index) && !Arc::ptr_eq(&watched.index(&other), &index));
        let after = watched.follow(&one, watched.index(&one));
        drop(before);
        assert_eq!(watched.state(), Some(WatchState::default()));
        drop(after);
        assert_eq!(watched.state(), None);
    }
}
