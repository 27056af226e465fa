//! The faces as the configuration wants them, and what works for them in the background.

use std::{future::Future, net::SocketAddr, path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use tokio::sync::Notify;

use super::{
    DaemonError,
    token_key::{self, Kept},
    wiring::imds_settings,
};
use crate::{
    clock::SharedClock,
    config::{self, Config},
    credentials::{Partition, RoleId},
    faces::{
        self,
        ecs::{self, Ecs, EcsSettings, EcsTokens, Key, KeyFile},
        imds::{self, Defaults, Entry, HostFacts, Imds, Metadata, TokenKey, passthrough},
        pod_identity::{self, PodIdentity, PodIdentitySettings},
    },
    host,
    http::{Face, Faces, Respond},
    relay::{PublicKeys, Relay},
    store::Store,
};

/// Beyond its time-out, for the answer to get from the relay to the request.
const MARGIN: Duration = Duration::from_millis(50);

/// Work that never ends, to be done apart from the requests.
pub(super) type Background = Vec<Pin<Box<dyn Future<Output = ()> + Send>>>;

/// The key of IMDSv2's tokens, which outlives the faces, and if possible the process.
pub(super) fn token_key(config: &Config) -> Result<(Arc<TokenKey>, Option<Arc<Kept>>), DaemonError> {
    let (key, kept) = match token_key::kept_in(&config.run_dir) {
        Ok((key, kept)) => (key, Some(Arc::new(kept))),
        Err(why) => {
            let place = config.run_dir.display();
            tracing::info!("IMDS tokens end with this process, because their key cannot be kept in {place}: {why}");
            (TokenKey::random().map_err(|_unspecified| DaemonError::Randomness)?, None)
        }
    };
    Ok((Arc::new(key), kept))
}

/// Builds the faces that show `store`. `tokens` open roles at the container face, `key` those
/// of IMDSv2 are made with; both outlive the faces.
pub(super) fn build(
    config: &Config,
    store: &Arc<Store>,
    clock: &SharedClock,
    tokens: &EcsTokens,
    key: &Arc<TokenKey>,
) -> Result<(Faces, Background), DaemonError> {
    let arrived = Arc::new(Notify::new());
    let mut background: Background = Vec::new();
    let timeout = config.metadata.passthrough_timeout;
    let relayed = match &config.metadata.passthrough {
        Some(base) => {
            let (face, wanted) = passthrough(timeout, Arc::clone(&arrived), Arc::clone(clock));
            background.push(Box::pin(Relay::new(base, timeout, wanted)?.run()));
            Some(face)
        }
        None => None,
    };
    let settings = imds_settings(&config.imds, &config.metadata, metadata(config));
    let imds = Imds::new(settings, Arc::clone(store), Arc::clone(key), relayed, clock.now().wall);
    // It reads no files.
    let leased = (ecs_settings(config, None), tokens.issued_only());
    let (exec, _) = Ecs::new(leased.0, Arc::clone(store), leased.1, Arc::clone(clock), Arc::clone(&arrived));
    let exec: Arc<dyn Respond> = Arc::new(exec);
    let ecs = match &config.container {
        Some(section) => {
            let settings = ecs_settings(config, Some(section));
            let (face, files) =
                Ecs::new(settings, Arc::clone(store), tokens.clone(), Arc::clone(clock), Arc::clone(&arrived));
            background.push(Box::pin(files.run()));
            Arc::new(face)
        }
        // A reload may have taken the section away, but `exec` may have sent programs to its listener.
        None => Arc::clone(&exec),
    };
    let mut served: Vec<(&'static dyn Face, Arc<dyn Respond>)> =
        vec![(imds::FACE, Arc::new(imds)), (ecs::FACE, ecs), (ecs::EXEC, exec)];
    if let Some(section) = &config.pod_identity {
        let settings = pod_identity_settings(config, section);
        let (face, ring) = PodIdentity::new(settings, Arc::clone(store), Arc::clone(&arrived));
        background.push(Box::pin(PublicKeys::new(section.keys.clone(), section.refresh, ring)?.run()));
        served.push((pod_identity::FACE, Arc::new(face)));
    }
    let (store, patience) = (Arc::clone(store), timeout + MARGIN);
    Ok((Faces { known: faces::ALL, served, store, arrived, patience }, background))
}

/// Where to listen, and which face is to be seen there.
pub fn addresses(config: &Config) -> Vec<(SocketAddr, &'static dyn Face)> {
    let container = config.container.iter().flat_map(|section| &section.listen);
    let pod_identity = config.pod_identity.iter().flat_map(|section| &section.listen);
    let imds = config.listen.iter().chain(&config.capture_listen).map(|address| (*address, imds::FACE));
    imds.chain(container.map(|address| (*address, ecs::FACE)))
        .chain(pod_identity.map(|address| (*address, pod_identity::FACE)))
        .collect()
}

fn ecs_settings(config: &Config, section: Option<&config::Container>) -> EcsSettings {
    let file = |role: &config::ContainerRole, kind, path: &Option<PathBuf>| {
        path.as_ref().map(|path| KeyFile { role: RoleId::named(&role.name), kind, path: path.clone() })
    };
    let roles = section.map(|section| &*section.roles).unwrap_or_default();
    let files = roles.iter().flat_map(|role| {
        [file(role, Key::Token, &role.token_file), file(role, Key::Id, &role.id_file)].into_iter().flatten()
    });
    EcsSettings {
        open: roles.iter().filter(|role| role.open).map(|role| role.name.clone()).collect(),
        serve_expired: config.imds.serve_expired,
        allowed_hosts: config.imds.allowed_hosts.clone(),
        account_id: config.metadata.account_id,
        partition: Partition::of(region(config).as_deref()),
        files: files.collect(),
        overlap: section.map(|section| section.token_overlap).unwrap_or_default(),
    }
}

fn pod_identity_settings(config: &Config, section: &config::PodIdentity) -> PodIdentitySettings {
    PodIdentitySettings {
        issuer: section.issuer.clone(),
        audience: section.audience.clone(),
        leeway: section.leeway,
        associations: section.associations.clone(),
        hosts: section.listen.iter().map(SocketAddr::ip).collect(),
        allowed_hosts: config.imds.allowed_hosts.clone(),
        serve_expired: config.imds.serve_expired,
        account_id: config.metadata.account_id,
    }
}

fn metadata(config: &Config) -> Metadata {
    Metadata {
        region: region(config),
        account_id: config.metadata.account_id,
        overlay: entries(&config.metadata.tree),
        host: HostFacts {
            instance_id: host::instance_id(),
            hostname: host::hostname(),
            local_ipv4: host::local_ipv4(),
            mac: host::mac(),
            architecture: host::architecture(),
            started: host::started(),
        },
        defaults: match (&config.metadata.passthrough, config.metadata.defaults) {
            (Some(_), _) => Defaults::Nothing,
            (None, config::Defaults::Minimal) => Defaults::Minimal,
            (None, config::Defaults::Ec2) => Defaults::Ec2,
        },
    }
}

/// The region: as configured, or where AWS is asked for the first role; for that of containers if there is no other.
pub(super) fn region(config: &Config) -> Option<String> {
    let upstreams = &config.upstreams;
    let asked = || match (upstreams.roles().first(), &config.containers) {
        (Some(role), _) => upstreams.region(role.sources.first()?, role.role_arn.is_some(), role.via.as_deref()),
        (None, Some(containers)) if !awaits_roles(config) => {
            let source = containers.source.as_deref().or_else(|| upstreams.usable().map(|source| &*source.name))?;
            upstreams.region(source, true, containers.via.as_deref())
        }
        _ => None,
    };
    config.metadata.stated_region().or_else(asked).map(str::to_owned)
}

/// Whether there will be roles without anybody asking for one.
pub(super) fn awaits_roles(config: &Config) -> bool {
    !config.upstreams.roles().is_empty() || config.upstreams.first_ims().is_some()
}

fn entries(tree: &[(String, config::Tree)]) -> Vec<(String, Entry)> {
    let entry = |tree: &config::Tree| match tree {
        config::Tree::Removed => Entry::Removed,
        config::Tree::File(text) => Entry::File(text.clone()),
        config::Tree::Binary(bytes) => Entry::Binary(bytes.clone()),
        config::Tree::Directory(below) => Entry::Directory(entries(below)),
    };
    tree.iter().map(|(name, tree)| (name.clone(), entry(tree))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_what_is_said_or_where_the_first_role_is_assumed() {
        let assumed = "assume_role: arn:aws:iam::123456789012:role/r\naws_region: us-west-1\n";
        let via = "sources: {far: {kind: sts, region: ap-south-1}}\nroles:\n  base: {source: ims}\n";
        let chained = "  top: {source: base, role_arn: 'arn:aws:iam::123456789012:role/r', via: far}\n";
        for (text, expected) in [
            (String::new(), None),
            (assumed.to_owned(), Some("us-west-1")),
            (format!("{assumed}metadata: {{region: eu-west-3}}\n"), Some("eu-west-3")),
            (
                format!("{assumed}metadata: {{meta-data: {{placement: {{availability-zone: us-west-2-lax-1a}}}}}}\n"),
                Some("us-west-2"),
            ),
            (format!("{via}{chained}"), None),
            (
                via.replace("  base: {source: ims}\n", &format!("{chained}  base: {{source: ims}}\n")),
                Some("ap-south-1"),
            ),
        ] {
            assert_region(&format!("ims_host: x\n{text}"), expected);
        }
        let token = "sources: {t: {kind: web_identity, token_file: /t, region: us-east-2}, far: {kind: sts, region: ap-south-1}}\n";
        let arn = "role_arn: 'arn:aws:iam::123456789012:role/r'";
        for (rest, expected) in [
            (format!("roles: {{a: {{source: t, {arn}}}}}\n"), "us-east-2"),
            (format!("roles: {{a: {{source: b}}, b: {{source: t, {arn}}}}}\n"), "us-east-2"),
            (format!("roles: {{a: {{source: b, {arn}}}, b: {{source: t, {arn}}}}}\n"), "eu-central-1"),
            ("containers: {default_role: 'r@123456789012'}\n".to_owned(), "us-east-2"),
        ] {
            assert_region(&format!("{token}{rest}"), Some(expected));
        }
        let keys = token.replace("kind: web_identity, token_file: /t, region: us-east-2", "kind: profile");
        assert_region(&format!("{keys}containers: {{default_role: 'r@123456789012', via: far}}\n"), Some("ap-south-1"));
    }

    fn assert_region(text: &str, expected: Option<&str>) {
        let loaded = config::parse(vec![("a.yaml".into(), text.to_owned())]).expect(text);
        assert_eq!(region(&loaded.config).as_deref(), expected, "{text}");
    }
}
