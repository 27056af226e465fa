//! The faces as the configuration wants them, and what works for them in the background.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::sync::Notify;

use super::{
    DaemonError,
    token_key::{self, Kept},
};
use crate::{
    clock::SharedClock,
    config::Config,
    credentials::RoleId,
    faces::{
        self, Opened, Opening, Shared, Work,
        ecs::{self, Ecs, EcsTokens},
        imds::{self, HostFacts, TokenKey},
        pod_identity::{PodSession, SessionFetcher, Sessions},
    },
    host,
    http::{Face, Faces, Respond},
    kubernetes::Watched,
    refresh::{RoleRequests, Tagged},
    relay::Relays,
    store::Store,
};

/// Beyond its time-out, for the answer to get from the relay to the request.
const MARGIN: Duration = Duration::from_millis(50);

/// What the faces need to be done in the background.
pub(super) type Background = Vec<Work>;

/// The faces of a configuration, before they are shown.
pub(super) struct Built {
    /// They.
    pub(super) faces: Faces,
    /// What they need to be done.
    pub(super) background: Background,
    /// What opens roles at the container face of this configuration.
    pub(super) tokens: EcsTokens,
}

/// What outlives the faces, whatever the configuration becomes.
#[derive(Clone)]
pub(super) struct Lasting {
    /// They open roles at the container face that is shown.
    pub(super) tokens: EcsTokens,
    /// Those of IMDSv2 are made with it.
    key: Arc<TokenKey>,
    /// The service accounts of the cluster that is followed.
    pub(super) watched: Arc<Watched>,
    /// The sessions that pods have for themselves.
    pub(super) pod_sessions: Arc<Sessions>,
}

impl Lasting {
    /// For a daemon that starts with this configuration, with the faces that show `store`, and where the key is kept.
    pub(super) fn new(
        config: &Config,
        requests: RoleRequests,
        (store, clock): (&Arc<Store>, &SharedClock),
    ) -> Result<(Self, Built, Option<Arc<Kept>>), DaemonError> {
        let tokens = EcsTokens::new().map_err(|_unspecified| DaemonError::Randomness)?;
        let (key, kept) = token_key(config)?;
        let pod_sessions = Sessions::new(PodSessions(requests));
        let lasting = Self { tokens, key, watched: Arc::default(), pod_sessions };
        let built = build(config, store, clock, &lasting)?;
        Ok((Self { tokens: built.tokens.clone(), ..lasting }, built, kept))
    }
}

/// Has the sessions of pods fetched.
struct PodSessions(RoleRequests);

impl SessionFetcher for PodSessions {
    fn ensure(&self, session: &PodSession) -> RoleId {
        let PodSession { role, name, tags, transitive } = session.clone();
        self.0.ensure(Tagged { role, session_name: name, tags, transitive })
    }

    fn release(&self, id: &RoleId) {
        self.0.release(id);
    }
}

/// The key of IMDSv2's tokens, which outlives the faces, and if possible the process.
fn token_key(config: &Config) -> Result<(Arc<TokenKey>, Option<Arc<Kept>>), DaemonError> {
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

/// Builds the faces that show `store`. Those that are shown already, and what opens roles there, are left alone.
pub(super) fn build(
    config: &Config,
    store: &Arc<Store>,
    clock: &SharedClock,
    lasting: &Lasting,
) -> Result<Built, DaemonError> {
    let arrived = Arc::new(Notify::new());
    let shared = Shared {
        common: config.common.clone(),
        account_id: config.imds.metadata.account_id,
        region: region(config),
        store: Arc::clone(store),
        arrived: Arc::clone(&arrived),
    };
    let Lasting { tokens, key, watched, pod_sessions } = lasting;
    let exec_tokens = tokens.issued_only();
    let has_section = config.faces.iter().any(|section| section.entry.face == ecs::FACE);
    let tokens = if has_section { tokens.with_own_files() } else { exec_tokens.clone() };
    let opening = Opening {
        shared,
        clock: Arc::clone(clock),
        tokens: tokens.clone(),
        remote: &Relays,
        watched: Arc::clone(watched),
        role_arns: config.upstreams.role_arns(),
        pod_sessions: Arc::clone(pod_sessions),
    };
    // It reads no files.
    let exec = Ecs::new(ecs::Options::default(), opening.shared.clone(), exec_tokens, Arc::clone(clock)).0;
    let exec: Arc<dyn Respond> = Arc::new(exec);
    let mut opened = vec![(imds::FACE, config.imds.open(&opening, key, &facts())?)];
    for section in &config.faces {
        opened.push((section.entry.face, section.open(&opening)?));
    }
    // Also those of a face that a reload has taken away come to their end.
    let mut background: Background = vec![Box::pin(Arc::clone(pod_sessions).tend(Arc::clone(clock)))];
    let mut served: Vec<(&'static dyn Face, Arc<dyn Respond>)> = vec![(ecs::EXEC, Arc::clone(&exec))];
    for (face, Opened { respond, work }) in opened {
        served.push((face, respond));
        background.extend(work);
    }
    if !served.iter().any(|(face, _)| *face == ecs::FACE) {
        // A reload may have taken the section away, but `exec` may have sent programs to its listener.
        served.push((ecs::FACE, exec));
    }
    let (store, patience) = (Arc::clone(store), config.imds.metadata.passthrough_timeout + MARGIN);
    let faces = Faces { known: faces::protocols(), served, store, arrived, patience };
    Ok(Built { faces, background, tokens })
}

/// Where to listen, and which face is to be seen there.
pub fn addresses(config: &Config) -> Vec<(SocketAddr, &'static dyn Face)> {
    let imds = config.listen.iter().chain(&config.capture_listen).map(|address| (*address, imds::FACE));
    let others = config.faces.iter();
    imds.chain(others.flat_map(|face| face.listen.iter().map(|address| (*address, face.entry.face)))).collect()
}

/// What is known of this host.
fn facts() -> HostFacts {
    HostFacts {
        instance_id: host::instance_id(),
        hostname: host::hostname(),
        local_ipv4: host::local_ipv4(),
        mac: host::mac(),
        architecture: host::architecture(),
        started: host::started(),
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
    config.imds.metadata.stated_region().or_else(asked).map(str::to_owned)
}

/// Whether there will be roles without anybody asking for one.
pub(super) fn awaits_roles(config: &Config) -> bool {
    let upstreams = &config.upstreams;
    let listed = upstreams.first_ims().map(|source| source.kind.on_request());
    match &upstreams.roles()[..] {
        [] => listed.is_some_and(|on_request| on_request.is_none_or(|some| !some.ready.is_empty())),
        roles => roles.iter().any(|role| role.shared),
    }
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
        let loaded = crate::config::parse(vec![("a.yaml".into(), text.to_owned())]).expect(text);
        assert_eq!(region(&loaded.config).as_deref(), expected, "{text}");
    }
}
