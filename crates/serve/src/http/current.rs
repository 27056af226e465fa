//! What a server serves, replaceable while it runs: each request sees either the old or the new state, never a mix.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::{ArcSwap, Guard};

use super::face::Faces;

/// What is shown now. Clones are of the same server.
#[derive(Debug, Clone)]
pub struct CurrentFaces(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    faces: ArcSwap<Faces>,
    access_log: AtomicBool,
}

impl CurrentFaces {
    pub(super) fn new(faces: Faces, access_log: bool) -> Self {
        Self(Arc::new(Inner { faces: ArcSwap::from_pointee(faces), access_log: AtomicBool::new(access_log) }))
    }

    /// From now on these faces are shown, and each request is logged or not.
    pub fn show(&self, faces: Faces, access_log: bool) {
        self.0.faces.store(Arc::new(faces));
        self.0.access_log.store(access_log, Ordering::Relaxed);
    }

    pub(super) fn faces(&self) -> Guard<Arc<Faces>> {
        self.0.faces.load()
    }

    pub(super) fn access_log(&self) -> bool {
        self.0.access_log.load(Ordering::Relaxed)
    }
}
