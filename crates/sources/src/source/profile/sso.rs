//! The cache of an SSO session whose name the AWS SDK for Rust does not take: lent to it under the name that it takes.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY as SHA1;
use aws_types::os_shim_internal::Fs;
use zeroize::Zeroizing;

use super::{
    files::plain,
    shared::{Shared, file_name},
};

/// A file of the cache, as the SDK sees it.
pub(super) struct Lent {
    pub(super) fs: Fs,
    seen: PathBuf,
    true_path: PathBuf,
    file: Shared,
}

impl Lent {
    /// Lends the login of the session `name`.
    pub(super) fn new(home: &Path, name: &str, profile: &str) -> Result<Self, String> {
        let directory = home.join(".aws/sso/cache");
        let file = file_name(&SHA1, name);
        let true_path = directory.join(&file);
        let file = Shared::read(&directory, &file).map_err(|error| {
            let path = true_path.display();
            format!("the login of the sso-session {name:?} in {path} cannot be read: {error}; run `aws sso login --profile {profile:?}`")
        })?;
        let seen = directory.join(file_name(&SHA1, &plain(name)));
        let fs = Fs::from_raw_map(HashMap::from([(seen.clone().into(), file.bytes.to_vec())]));
        Ok(Self { fs, seen, true_path, file })
    }

    /// Takes back what the SDK has made of it: a login that it renewed has another refresh token.
    pub(super) async fn take_back(self) {
        let Ok(bytes) = self.fs.read_to_end(&self.seen).await.map(Zeroizing::new) else { return };
        if *bytes == *self.file.bytes {
            return;
        }
        if let Err(error) = self.file.replace(&bytes) {
            let path = self.true_path.display();
            tracing::warn!("the SSO login in {path} was renewed but cannot be written there: {error}");
        }
    }
}
