//! What a configuration makes of the server, and its replacement while requests are answered.

use std::sync::Arc;

use crate::{
    identity::{Named, Opened, Opening, Prove, mtls::Authority},
    protocol::Mount,
    rules::Rules,
    site::Site,
};

/// An identity method cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("identity method {name}: {problem}")]
pub struct OpenError {
    /// Its name.
    pub name: String,
    /// What is wrong.
    pub problem: String,
}

/// The part of the configuration that requests are answered with.
pub struct Current {
    /// The mounts.
    pub mounts: Vec<Mount>,
    /// For each of them the methods that are tried.
    proofs: Vec<Vec<Arc<dyn Prove>>>,
    /// Which identity may have which role.
    pub rules: Rules,
    /// Whether each request is logged.
    pub access_log: bool,
    methods: Vec<(Named, Arc<Opened>)>,
}

impl Current {
    /// Opens what `site` names. Methods that `before` has with the same settings stay open: they may remember what was
    /// used once.
    pub fn open(site: &Site, opening: &Opening, before: Option<&Self>) -> Result<Self, OpenError> {
        let mut methods: Vec<(Named, Arc<Opened>)> = Vec::new();
        for named in &site.identities {
            let wrong = |problem: String| OpenError { name: named.name.clone(), problem };
            let same = |(other, _): &&(Named, Arc<Opened>)| other == named;
            let opened = match before.and_then(|before| before.methods.iter().find(same)) {
                Some((_, opened)) => {
                    reload(opened).map_err(wrong)?;
                    Arc::clone(opened)
                }
                None => Arc::new(named.open(opening).map_err(wrong)?),
            };
            methods.push((named.clone(), opened));
        }
        let of_name = |name: &String| {
            let found = methods.iter().find(|(named, _)| named.name == *name);
            found.map(|(_, opened)| Arc::clone(&opened.prove))
        };
        let proofs = site.mounts.iter().map(|mount| mount.identities.iter().filter_map(of_name).collect()).collect();
        Ok(Self {
            mounts: site.mounts.iter().map(|settings| settings.mount.clone()).collect(),
            proofs,
            rules: site.rules.clone(),
            access_log: site.logging.access_log,
            methods,
        })
    }

    /// The methods of a mount.
    pub(super) fn proofs(&self, mount: &Mount) -> &[Arc<dyn Prove>] {
        let index = self.mounts.iter().position(|other| other == mount);
        index.and_then(|index| self.proofs.get(index)).map_or(&[], Vec::as_slice)
    }

    /// The certificate authorities of all methods, for the listeners.
    pub fn authorities(&self) -> Vec<Arc<Authority>> {
        self.methods.iter().filter_map(|(_, opened)| opened.authority.clone()).collect()
    }

    /// Reads the files of the methods again. What is wrong with one leaves that method as it was.
    pub fn reload_files(&self) -> Vec<OpenError> {
        let reloaded = self.methods.iter().map(|(named, opened)| (named, reload(opened)));
        reloaded
            .filter_map(|(named, result)| Some(OpenError { name: named.name.clone(), problem: result.err()? }))
            .collect()
    }
}

fn reload(opened: &Opened) -> Result<(), String> {
    opened.reload.as_ref().map_or(Ok(()), |reload| reload())
}
