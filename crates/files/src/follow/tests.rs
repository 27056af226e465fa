use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, sync::atomic::AtomicU64};

use tempfile::TempDir;

use super::*;
use crate::{
    Access, FileReports, Files, Format, Profile, Setup, Standing,
    clock::{Clock, fake::FakeClock},
    credentials::{Credentials, RoleName, Secret},
    recorded,
    store::Phase,
};

/// A store with roles, and files of them in a run directory.
struct Rig {
    directory: TempDir,
    store: Arc<Store>,
    clock: Arc<FakeClock>,
    reports: FileReports,
    runs: Arc<AtomicU64>,
    /// What was recorded, and whether it can be.
    records: Arc<Mutex<Vec<String>>>,
    recordable: Arc<AtomicBool>,
}

fn name(text: &str) -> RoleName {
    text.parse().expect("a role name")
}

impl Rig {
    fn new() -> Self {
        let store = Store::shared();
        store.publish_roles(&[name("web"), name("db")]);
        let directory = TempDir::new().expect("a directory");
        Self {
            directory,
            store,
            clock: FakeClock::new(),
            reports: FileReports::default(),
            runs: Arc::default(),
            records: Arc::default(),
            recordable: Arc::new(AtomicBool::new(true)),
        }
    }

    /// What was recorded since the last call.
    fn records(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.records))
    }

    fn witness(&self) -> crate::Witness {
        let (records, recordable) = (Arc::clone(&self.records), Arc::clone(&self.recordable));
        Arc::new(move |deed| {
            let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
            let text = match deed {
                Deed::Removed { path, why } => format!("{} removed: {why}", name(path)),
                Deed::Written { .. } if !recordable.load(Ordering::Relaxed) => return false,
                Deed::Written { file, sets, .. } => {
                    let sets: Vec<_> = sets.iter().map(|set| format!("{}={}", set.role, set.access_key_id)).collect();
                    format!("{}: {}", name(&file.path), sets.join(" "))
                }
            };
            lock(&records).push(text);
            true
        })
    }

    fn setup(&self) -> Setup {
        Setup {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock) as SharedClock,
            trust: Trust::of(None),
            run_dir: self.directory.path().to_owned(),
            settle: Duration::from_secs(30),
            reports: self.reports.clone(),
            witness: self.witness(),
            runtime: tokio::runtime::Handle::current(),
        }
    }

    fn sink(&self, file: &str, profiles: &[(&str, &str)]) -> Sink {
        let profiles = profiles.iter().map(|(profile, role)| Profile { name: (*profile).into(), role: name(role) });
        let (format, access) = (Format::Credentials, Access::default());
        let file = File { path: file.into(), format, profiles: profiles.collect(), access };
        Sink { file: file.in_run_dir(self.directory.path()), on_change: None }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join("files").join(file)
    }

    fn publish(&self, role: &str, key: &str, life: Duration) {
        let now = self.clock.now();
        let credentials = Credentials {
            access_key_id: key.into(),
            secret_access_key: Secret::new(format!("secret-of-{key}")),
            session_token: Secret::new("token"),
            expiration: now.wall + life,
            life: None,
            last_updated: None,
            account_id: None,
            role_arn: None,
        };
        let set = Arc::new(Published::new(&credentials, now));
        self.store.publish(&name(role), Slot::Held { set, phase: Phase::Fresh });
    }

    /// Lets time pass, and all that happens in it.
    async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    fn text(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.path(file)).ok()
    }

    fn keys(&self, file: &str) -> Vec<String> {
        let text = self.text(file).unwrap_or_default();
        let keys = text.lines().filter_map(|line| line.strip_prefix("aws_access_key_id = "));
        keys.map(str::to_owned).collect()
    }

    fn standing(&self) -> Vec<Standing> {
        self.reports.all().iter().map(|report| report.standing).collect()
    }
}

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test(start_paused = true)]
async fn a_file_follows_its_role_to_its_end() {
    let rig = Rig::new();
    let files = Files::begin(rig.setup(), vec![rig.sink("f", &[("default", "web")])]).await;
    rig.pass(1).await;
    assert_eq!((rig.text("f"), rig.standing()), (None, vec![Standing::Absent]));
    rig.publish("web", "K1", HOUR);
    rig.pass(1).await;
    assert_eq!((rig.keys("f"), rig.standing()), (vec!["K1".to_owned()], vec![Standing::Written]));
    rig.publish("web", "K2", Duration::from_secs(100));
    rig.pass(1).await;
    assert_eq!(rig.keys("f"), ["K2"]);
    // Somebody removes it.
    fs::remove_file(rig.path("f")).expect("ours");
    rig.pass(20).await;
    assert_eq!(rig.keys("f"), ["K2"]);
    rig.pass(100).await;
    assert_eq!((rig.text("f"), rig.standing()), (None, vec![Standing::Absent]), "it has expired");
    rig.publish("web", "K3", HOUR);
    rig.pass(1).await;
    rig.store.publish(&name("web"), Slot::Denied(b"no".as_slice().into()));
    rig.pass(1).await;
    assert_eq!(rig.text("f"), None, "the upstream refuses it");
    rig.publish("web", "K4", HOUR);
    rig.pass(1).await;
    rig.store.publish_roles(&[name("db")]);
    rig.pass(1).await;
    assert_eq!(rig.text("f"), None, "it was withdrawn");
    rig.store.publish_roles(&[name("web")]);
    rig.publish("web", "K5", HOUR);
    rig.pass(1).await;
    assert_eq!(recorded(rig.directory.path()), [rig.path("f")]);
    files.end(None).await;
    assert_eq!((rig.text("f"), recorded(rig.directory.path()).len()), (None, 0), "the daemon was stopped");
    rig.publish("web", "K6", HOUR);
    rig.pass(60).await;
    assert_eq!(rig.text("f"), None);
}

#[tokio::test(start_paused = true)]
async fn each_role_of_a_file_comes_and_goes_by_itself() {
    let rig = Rig::new();
    let sink = rig.sink("f", &[("default", "web"), ("other", "db")]);
    let _files = Files::begin(rig.setup(), vec![sink]).await;
    rig.publish("db", "K1", HOUR);
    rig.pass(1).await;
    assert_eq!(rig.keys("f"), ["K1"]);
    rig.publish("web", "K2", Duration::from_mins(1));
    rig.pass(1).await;
    assert_eq!(rig.keys("f"), ["K2", "K1"]);
    rig.pass(61).await;
    assert_eq!(rig.keys("f"), ["K1"]);
    // Newer credentials cannot be written, and what must go goes all the same.
    rig.publish("web", "K3", HOUR);
    rig.pass(1).await;
    fs::create_dir(rig.directory.path().join("files/.f.alppaca")).expect("it is in the way");
    rig.publish("web", "K4", HOUR);
    rig.pass(1).await;
    assert_eq!((rig.keys("f"), rig.standing()), (vec!["K3".to_owned(), "K1".to_owned()], vec![Standing::Failing]));
    rig.store.publish(&name("db"), Slot::Warming);
    rig.pass(10).await;
    assert_eq!(rig.text("f"), None);
    let report = &rig.reports.all()[0];
    assert!(report.failures > 1 && report.failures < 9, "it tries again, with pauses: {report:?}");
    fs::remove_dir(rig.directory.path().join("files/.f.alppaca")).expect("ours");
    rig.pass(61).await;
    assert_eq!((rig.keys("f"), rig.standing()), (vec!["K4".to_owned()], vec![Standing::Written]));
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_daemon_has_left_stays_until_its_role_is_known_but_not_for_ever() {
    let rig = Rig::new();
    let sinks = || vec![rig.sink("f", &[("default", "web")]), rig.sink("g", &[("default", "db")])];
    let killed = Files::begin(rig.setup(), sinks()).await;
    rig.publish("web", "K1", HOUR);
    rig.publish("db", "K2", HOUR);
    rig.pass(1).await;
    // All of it is left below `/`, as by one that was killed.
    killed.end(Some(std::path::Path::new("/"))).await;
    for role in ["web", "db"] {
        rig.store.publish(&name(role), Slot::Warming);
    }
    let files = Files::begin(rig.setup(), sinks()).await;
    rig.pass(10).await;
    assert_eq!((rig.keys("f"), rig.keys("g")), (vec!["K1".to_owned()], vec!["K2".to_owned()]));
    rig.publish("web", "K3", HOUR);
    rig.pass(1).await;
    assert_eq!((rig.keys("f"), rig.keys("g")), (vec!["K3".to_owned()], vec!["K2".to_owned()]));
    rig.pass(30).await;
    assert_eq!((rig.keys("f"), rig.text("g")), (vec!["K3".to_owned()], None));
    files.end(Some(rig.directory.path())).await;
    let _files = Files::begin(rig.setup(), vec![rig.sink("g", &[("default", "db")])]).await;
    rig.pass(1).await;
    assert_eq!(rig.text("f"), None, "it was dropped from the configuration meanwhile");
}

#[tokio::test(start_paused = true)]
async fn another_configuration_changes_what_it_says_and_nothing_else() {
    let rig = Rig::new();
    let (f, g) = (rig.sink("f", &[("default", "web")]), rig.sink("g", &[("default", "web")]));
    let mut files = Files::begin(rig.setup(), vec![f.clone(), g]).await;
    rig.publish("web", "K1", HOUR);
    rig.pass(1).await;
    let changed = rig.sink("g", &[("other", "web")]);
    files.replace(vec![f.clone(), changed.clone(), rig.sink("h", &[("default", "db")])]).await;
    rig.pass(1).await;
    assert!(rig.text("g").expect("there").contains("[other]"));
    assert_eq!(rig.reports.all().len(), 3);
    assert_eq!(rig.reports.all()[0].changes, 1, "it is the same");
    files.replace(vec![changed]).await;
    assert_eq!(rig.text("f"), None);
    assert_eq!(recorded(rig.directory.path()), [rig.path("g")]);
    files.replace(Vec::new()).await;
    assert_eq!((rig.text("g"), rig.reports.all().len()), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn a_command_follows_each_change_one_at_a_time() {
    let rig = Rig::new();
    let runs = Arc::clone(&rig.runs);
    let run: crate::Run = Arc::new(move || {
        let runs = Arc::clone(&runs);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(10)).await;
            match runs.fetch_add(1, Ordering::Relaxed) {
                0 => Err("it ended with exit status: 1".to_owned()),
                _ => Ok(()),
            }
        })
    });
    let on_change = Some(Command { name: "reload".into(), id: 1, run });
    let _files = Files::begin(rig.setup(), vec![Sink { on_change, ..rig.sink("f", &[("default", "web")]) }]).await;
    for key in ["K1", "K2", "K3", "K4"] {
        rig.publish("web", key, HOUR);
        rig.pass(1).await;
        assert_eq!(rig.keys("f"), [key], "the command delays nothing");
    }
    rig.pass(7).await;
    assert_eq!(rig.reports.all()[0].command_error.as_deref(), Some("reload: it ended with exit status: 1"));
    rig.pass(60).await;
    let report = &rig.reports.all()[0];
    assert_eq!((report.changes, report.commands, &report.command_error), (4, [1, 1], &None));
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_others_can_write_gets_nothing() {
    let rig = Rig::new();
    let sink = rig.sink("f", &[("default", "web")]);
    let _files = Files::begin(rig.setup(), vec![sink]).await;
    fs::create_dir(rig.directory.path().join("files")).expect("ours");
    fs::set_permissions(rig.directory.path().join("files"), fs::Permissions::from_mode(0o777)).expect("ours");
    rig.publish("web", "K1", HOUR);
    rig.pass(1).await;
    let report = &rig.reports.all()[0];
    assert!(report.error.as_deref().is_some_and(|error| error.contains("can be changed by every user")), "{report:?}");
    assert_eq!(rig.text("f"), None);
}

#[tokio::test(start_paused = true)]
async fn each_change_is_recorded_and_what_cannot_be_is_not_written() {
    let rig = Rig::new();
    let sink = rig.sink("f", &[("default", "web"), ("other", "db")]);
    let files = Files::begin(rig.setup(), vec![sink]).await;
    rig.publish("web", "K1", HOUR);
    rig.pass(1).await;
    assert_eq!(rig.records(), ["f: web=K1"]);
    rig.publish("db", "K2", Duration::from_mins(2));
    rig.pass(1).await;
    assert_eq!(rig.records(), ["f: web=K1 db=K2"]);
    rig.pass(30).await;
    assert!(rig.records().is_empty(), "what is right already is not written again");
    rig.recordable.store(false, Ordering::Relaxed);
    rig.publish("web", "K3", HOUR);
    rig.pass(5).await;
    assert_eq!((rig.keys("f"), rig.standing()), (vec!["K1".to_owned(), "K2".to_owned()], vec![Standing::Failing]));
    let error = rig.reports.all()[0].error.clone();
    assert_eq!(error.as_deref(), Some("the audit cannot be written, and `audit_required` is set"));
    assert!(!rig.directory.path().join("files/.f.alppaca").exists(), "nothing of it is left");
    // What must not stay is removed, recorded or not.
    rig.pass(120).await;
    assert_eq!((rig.text("f"), rig.records()), (None, vec![format!("f removed: {OUTDATED}")]));
    rig.recordable.store(true, Ordering::Relaxed);
    rig.pass(61).await;
    assert_eq!(rig.records(), ["f: web=K3"]);
    files.end(None).await;
    assert_eq!(rig.records(), ["f removed: the daemon stops"]);
}
