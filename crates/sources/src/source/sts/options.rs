//! `kind: sts`: how `AssumeRole` is called, for roles that name it in `via`.

use std::sync::Arc;

use crate::{
    fetch::Proxying,
    needs::Needs,
    refresh::CallLimit,
    settings::NamedFiles,
    source::{
        aws::Aws,
        host_env::HostEnv,
        kind::{Kind, Opened, Opening, Provides, Written},
    },
};

impl Written for Aws {
    const WORD: &'static str = "sts";
}

impl Kind for Aws {
    fn provides(&self) -> Provides {
        Provides::Nothing
    }

    fn summary(&self) -> String {
        Self::summary(self)
    }

    fn call_limit(&self) -> CallLimit {
        Self::call_limit(self)
    }

    fn assumes(&self) -> Option<&Aws> {
        Some(self)
    }

    fn proxying(&self) -> Option<&Proxying> {
        Some(&self.proxying)
    }

    fn files(&self, _: &HostEnv, files: &mut NamedFiles) {
        files.authorities("ca_file", self.ca_file.as_ref());
    }

    fn needs(&self, host_env: &HostEnv, needs: &mut Needs) {
        let url = self.endpoint.as_ref().or(host_env.aws.endpoint_url_sts.as_ref());
        self.calls(host_env, url.map(String::as_str), "STS", needs);
    }

    fn open(&self, _: &Opening) -> Result<Arc<dyn Opened>, String> {
        Ok(Arc::new(NoCredentials))
    }
}

struct NoCredentials;

impl Opened for NoCredentials {}
