//! What a configuration makes of the server, and its replacement while requests are answered.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;

use super::{alarm::Alarm, run::Background};
use crate::{
    clock::SharedClock,
    directory::{self, Directory},
    identity::{self, KeyFeed, Named, Opened, Opening, Prove, UsedOnce, mtls::Authority},
    key_sets::PublicKeys,
    protocol::Mount,
    record_files::{self, FilesError, RecordFiles},
    rules::Rules,
    site::Site,
    source::HostEnv,
};

/// A part of the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An identity method.
    #[error("identity method {name}: {problem}")]
    Method {
        /// Its name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// The records of approvals.
    #[error(transparent)]
    Records(#[from] FilesError),
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
    /// Where approvals are kept.
    pub approvals: Option<Arc<RecordFiles>>,
    /// What is run for each emergency.
    pub alarm: Option<Alarm>,
    methods: Vec<NamedMethod>,
    people: Vec<NamedPeople>,
    used: Arc<UsedOnce>,
}

/// An identity method, and what fetches its keys.
struct Method {
    opened: Opened,
    work: Arc<Work>,
}

/// A method with the settings it was opened with.
type NamedMethod = (Named, Arc<Method>);

/// A directory of people, and what asks it.
struct People {
    directory: Arc<Directory>,
    work: Work,
}

/// What runs for something while it is there.
struct Work(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: Option<Background>,
    running: JoinSet<()>,
}

impl Work {
    fn new(waiting: Option<Background>) -> Self {
        Self(Mutex::new(State { waiting, ..State::default() }))
    }

    /// Runs it from now on.
    fn start(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(work) = state.waiting.take() {
            state.running.spawn(work);
        }
    }
}

impl Method {
    /// `before`: the methods whose keys it may have been given (`Opening::feeds`).
    fn new(opened: Opened, before: &[NamedMethod]) -> Result<Self, String> {
        let work = match &opened.keys {
            Some(feed) => fetching(feed, before)?,
            None => Arc::new(Work::new(None)),
        };
        Ok(Self { opened, work })
    }

    fn reload(&self) -> Result<(), String> {
        self.opened.reload.as_ref().map_or(Ok(()), |reload| reload())
    }
}

/// What fetches these keys: what does so for one of `before`, or else something new.
fn fetching(feed: &KeyFeed, before: &[NamedMethod]) -> Result<Arc<Work>, String> {
    let same = |keys: &KeyFeed| keys.options == feed.options;
    let found = before.iter().find(|(_, method)| method.opened.keys.as_ref().is_some_and(same));
    if let Some((_, method)) = found {
        return Ok(Arc::clone(&method.work));
    }
    let keys = PublicKeys::new(&feed.options, feed.ring.clone()).map_err(|error| error.to_string())?;
    Ok(Arc::new(Work::new(Some(Box::pin(keys.run())))))
}

impl People {
    /// `before`: those of whom one may have been told already what this one would be.
    fn new((name, options): &(String, directory::Options), clock: SharedClock, before: &[NamedPeople]) -> Self {
        let told = before.iter().find(|((_, other), _)| options.asks_the_same(other));
        let told = told.map(|(_, people)| &*people.directory);
        let (directory, worker) = Directory::new(name, options, clock, told);
        Self { directory, work: Work::new(Some(Box::pin(worker.run()))) }
    }
}

/// A directory with the settings it was opened with.
type NamedPeople = ((String, directory::Options), Arc<People>);

impl Current {
    /// Opens what `site` names. Methods and directories that `before` has with the same settings stay open: they may
    /// remember what was said. So do the records of approvals, which remember what was revoked. What was used once is
    /// remembered whatever changes; keys that come from the same place are kept, and so is what a directory has said if
    /// it is asked the same.
    pub fn open(site: &Site, opening: &Opening, host_env: &HostEnv, before: Option<&Self>) -> Result<Self, OpenError> {
        let (mut kept, mut people) = (Vec::new(), Vec::new());
        let told: &[NamedPeople] = before.map_or(&[], |before| before.people.as_slice());
        for named in &site.directories {
            let same = |(other, _): &&NamedPeople| other == named;
            let opened = match told.iter().find(same) {
                Some((_, opened)) => {
                    kept.push(named.0.as_str());
                    Arc::clone(opened)
                }
                None => Arc::new(People::new(named, Arc::clone(&opening.clock), told)),
            };
            people.push((named.clone(), opened));
        }
        let directories = people.iter().map(|((name, _), people)| {
            let directory: Arc<dyn identity::Directory> = Arc::clone(&people.directory) as _;
            (name.clone(), directory)
        });
        let held: &[NamedMethod] = before.map_or(&[], |before| before.methods.as_slice());
        let opening = Opening {
            resolver: Arc::clone(&opening.resolver),
            clock: Arc::clone(&opening.clock),
            directories: directories.collect(),
            used: Arc::clone(before.map_or(&opening.used, |before| &before.used)),
            feeds: held.iter().filter_map(|(_, method)| method.opened.keys.clone()).collect(),
        };
        let mut methods: Vec<NamedMethod> = Vec::new();
        for named in &site.identities {
            let wrong = |problem: String| OpenError::Method { name: named.name.clone(), problem };
            let stays = named.directories().all(|name| kept.contains(&name));
            let same = |(other, _): &&NamedMethod| stays && other == named;
            let method = match held.iter().find(same) {
                Some((_, method)) => {
                    method.reload().map_err(wrong)?;
                    Arc::clone(method)
                }
                None => {
                    let opened = named.open(&opening).and_then(|opened| Method::new(opened, held));
                    Arc::new(opened.map_err(wrong)?)
                }
            };
            methods.push((named.clone(), method));
        }
        let of_name = |name: &String| {
            let found = methods.iter().find(|(named, _)| named.name == *name);
            found.map(|(_, method)| Arc::clone(&method.opened.prove))
        };
        let proofs = site.mounts.iter().map(|mount| mount.identities.iter().filter_map(of_name).collect()).collect();
        let open = |options: &record_files::Options| {
            let same = before.and_then(|before| before.approvals.clone()).filter(|files| files.options() == options);
            match same {
                Some(files) => files.reload().map(|()| files),
                None => RecordFiles::open(options).map(Arc::new),
            }
        };
        let approvals = site.approvals.as_ref().map(open).transpose()?;
        Ok(Self {
            mounts: site.mounts.iter().map(|settings| settings.mount.clone()).collect(),
            proofs,
            rules: site.rules.clone(),
            access_log: site.logging.access_log,
            approvals,
            alarm: site.alarm.as_ref().map(|settings| Alarm::new(settings, host_env)),
            methods,
            people,
            used: opening.used,
        })
    }

    /// Starts what runs for the methods and directories, if it does not run yet. It ends with the last configuration
    /// that has them.
    pub(super) fn start(&self) {
        let works = self.methods.iter().map(|(_, method)| &*method.work);
        works.chain(self.people.iter().map(|(_, people)| &people.work)).for_each(Work::start);
    }

    /// The methods of a mount.
    pub(super) fn proofs(&self, mount: &Mount) -> &[Arc<dyn Prove>] {
        let index = self.mounts.iter().position(|other| other == mount);
        index.and_then(|index| self.proofs.get(index)).map_or(&[], Vec::as_slice)
    }

    /// The certificate authorities of all methods, for the listeners.
    pub fn authorities(&self) -> Vec<Arc<Authority>> {
        self.methods.iter().filter_map(|(_, method)| method.opened.authority.clone()).collect()
    }

    /// Reads the files of the methods again. What is wrong with one leaves that method as it was.
    pub fn reload_files(&self) -> Vec<OpenError> {
        let reloaded = self.methods.iter().map(|(named, method)| (named, method.reload()));
        reloaded
            .filter_map(|(named, result)| Some(OpenError::Method { name: named.name.clone(), problem: result.err()? }))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, time::Duration};

    use http::{HeaderMap, Method as Verb};

    use super::*;
    use crate::{
        identity::{self, Evidence, Peer, Refusal},
        settings::{Fields, Value, problem::Source, yaml},
        site,
        sts::tests::host_env,
    };

    /// Of RFC 7515, appendix A.3.
    const KEYS: &str = r#"{"keys": [{"kty": "EC", "kid": "k", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    /// `{"alg": "ES256", "kid": "other"}`, `{"iss": "i"}`.
    const TOKEN: &str = "Bearer eyJhbGciOiJFUzI1NiIsImtpZCI6Im90aGVyIn0.eyJpc3MiOiJpIn0.c2ln";

    fn named(text: String) -> Vec<Named> {
        let source = Arc::new(Source { name: "ims.yaml".into(), text });
        let Value::Map(entries) = yaml::read(&source).expect("YAML").expect("a node").value else {
            panic!("no mapping")
        };
        identity::read(&mut Fields::new(entries, identity::SETTINGS)).expect("legal")
    }

    fn opened(text: &str, before: Option<&Current>) -> Current {
        let sts = "sts: {credentials: {kind: static, access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: hush}}";
        let text = format!("{sts}\nlisten: 127.0.0.1:8080\n{text}\n");
        let loaded = site::parse(vec![("ims.yaml".into(), text)]).unwrap_or_else(|errors| panic!("{errors}"));
        Current::open(&loaded.site, &Opening::system(), &host_env(), before).expect("opened")
    }

    #[tokio::test]
    async fn keys_stay_when_something_else_of_their_method_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, other) = (folder.path().join("jwks"), folder.path().join("other"));
        fs::write(&file, KEYS).expect("a file");
        let text = |audience: &str, file: &Path| {
            let file = file.display();
            format!("identities: {{x: {{kind: jwt, issuer: i, audience: {audience}, jwks_file: '{file}'}}}}")
        };
        let ring = |current: &Current| current.methods[0].1.opened.keys.as_ref().expect("keys").ring.clone();
        let first = opened(&text("a", &file), None);
        first.start();
        let known = async {
            while ring(&first).is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), known).await.expect("the keys arrive");
        let second = opened(&text("b", &file), Some(&first));
        assert!(!Arc::ptr_eq(&first.methods[0].1, &second.methods[0].1), "it is another method");
        assert!(Arc::ptr_eq(&ring(&first).in_force(), &ring(&second).in_force()));
        assert!(Arc::ptr_eq(&first.methods[0].1.work, &second.methods[0].1.work), "one side fetches them");
        drop(first);
        second.start();
        assert_eq!(second.methods[0].1.work.0.lock().expect("not poisoned").running.len(), 1);
        let third = opened(&text("b", &other), Some(&second));
        assert!(ring(&third).is_empty(), "they are others");
    }

    #[tokio::test]
    async fn keys_are_fetched_once_the_server_has_the_method() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("jwks");
        fs::write(&file, KEYS).expect("a file");
        let text = format!("identities: {{x: {{kind: jwt, issuer: i, audience: a, jwks_file: '{}'}}}}", file.display());
        let opened = named(text)[0].open(&Opening::system()).expect("opened");
        let method = Method::new(opened, &[]).expect("keys");
        let headers: HeaderMap = [(http::header::AUTHORIZATION, TOKEN.parse().expect("a value"))].into_iter().collect();
        let peer = Peer::Unix { uid: 0 };
        let now = std::time::SystemTime::UNIX_EPOCH;
        let evidence =
            Evidence { peer: &peer, certificates: &[], method: &Verb::GET, path: "/", headers: &headers, now };
        let judged = || method.opened.prove.prove(&evidence).expect_err("no key of the token");
        assert!(matches!(judged(), Refusal::Unavailable(_)), "there are no keys yet");
        method.work.start();
        let known = async {
            while matches!(judged(), Refusal::Unavailable(_)) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), known).await.expect("the keys arrive");
        method.work.start();
        assert_eq!(method.work.0.lock().expect("not poisoned").running.len(), 1);
    }
}
