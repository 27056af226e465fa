//! `alppaca webhook`: what the API server of a Kubernetes cluster asks before it makes a pod.

use std::{any::Any, io, net::TcpListener, path::PathBuf, sync::Arc};

use alppaca_settings::NamedFiles;

use alppaca_command::{
    confined::Confined,
    environment,
    service_manager::{end_at_panics, notify},
};
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::{Failure, Outcome, USUAL_ACCOUNT, place::ConfigPath};
use crate::{
    admission::Injection,
    api_server::AccountWatch,
    clock::SystemClock,
    config::{self, Loaded},
    confinement::{self, Confinement, Refusal},
    credentials::Pattern,
    faces::pod_identity::{self, Annotated, Found},
    https::Certificate,
    kubernetes::{Account, Index},
    logging::{self, LogGuard},
    needs::{Need, Needs},
    open_metrics::Page,
    sandbox,
    trust::{File, FileFaults, Purpose, Trust},
    webhook::{Known, Options, Roles, Rules, Running, Webhook},
};

/// Arguments of `webhook`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Reads the configuration of the daemon: `pod_identity` says which service accounts have roles,
`webhook` how the webhook listens and what it adds. Stops on SIGTERM and SIGINT, after the requests
at hand are answered. Reads the configuration and the certificate again on SIGHUP, and the
certificate once a minute as well.

Example:
  alppaca webhook -c ./alppaca.yaml")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigPath,
}

/// Runs the webhook until it is told to stop.
pub(super) fn run(args: &Args) -> Outcome {
    let path = std::path::absolute(args.config.path()).map_err(Failure::usage)?;
    let read = Read::new(path).map_err(Failure::usage)?;
    let (config, options) = (&read.loaded.config, &read.options);
    // What needs root comes first; what may fail comes before anything is changed.
    let identity = sandbox::resolve(&config.account, USUAL_ACCOUNT).map_err(Failure::usage)?;
    let trust = Trust::of(identity.as_ref());
    let faults = read.faults(&trust);
    if let Some(refusal) = faults.refusal() {
        return Err(Failure::usage(refusal));
    }
    let bind = |key: &str, address| {
        TcpListener::bind(address).map_err(|error| Failure::runtime(format!("webhook.{key}: {address}: {error}")))
    };
    let listener = bind("listen", options.listen.0)?;
    let metrics = options.metrics_listen.map(|address| bind("metrics_listen", address.0)).transpose()?;
    if let Some(identity) = &identity {
        sandbox::become_identity(identity).map_err(Failure::runtime)?;
    }
    sandbox::harden().map_err(Failure::runtime)?;
    config.logging.make_file();
    let confined = Confined::new(read.confinement(), Vec::new)?;
    // As the account that will reopen the file after a rotation.
    let log =
        logging::init(&config.logging, SystemClock::shared(), &environment::for_logging()).map_err(Failure::runtime)?;
    end_at_panics(log.flusher());
    for warning in read.loaded.warnings.iter().map(ToString::to_string).chain(faults.warnings) {
        tracing::warn!("{warning}");
    }
    let (confinement, _) = confined.begin(&log)?;
    let certificate = Certificate::load(options.tls()).map_err(|error| Failure::usage(format!("webhook: {error}")))?;
    let webhook = Webhook::new(read.rules(), Arc::new(certificate), SystemClock::shared());
    announce(&listener, metrics.as_ref());
    let running = Running { webhook: Arc::clone(&webhook), listener, metrics, stop_delay: options.stop_delay };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::runtime)?;
    let ended = runtime.block_on(serve(running, &webhook, &Reloading { read, trust, confinement }, &log));
    notice!("stopped");
    log.flush();
    ended
}

/// A configuration with a webhook.
struct Read {
    path: PathBuf,
    loaded: Loaded,
    options: Options,
    pods: pod_identity::Options,
    /// What the annotations of service accounts ask for, if they count.
    index: Option<Arc<Index>>,
}

impl Read {
    fn new(path: PathBuf) -> Result<Self, String> {
        let loaded = config::load(&path).map_err(|errors| errors.to_string())?;
        let missing = || {
            format!(
                "there is no `webhook` in {}: add the section, with `tls_certificate` and `tls_key`",
                path.display()
            )
        };
        let options = loaded.config.webhook.clone().ok_or_else(missing)?;
        let pods = loaded.config.faces.iter().find_map(|section| {
            let options: &dyn Any = &*section.options;
            options.downcast_ref::<pod_identity::Options>().cloned()
        });
        // The configuration is valid, and so it has both.
        let pods = pods.ok_or("there is no `pod_identity` in it")?;
        let index = pods.service_accounts.as_ref().map(|_| Arc::default());
        Ok(Self { path, loaded, options, pods, index })
    }

    fn files(&self) -> Vec<File> {
        let files =
            self.loaded.files.iter().map(|file| (file.clone(), "the configuration".to_owned(), Purpose::Obeyed));
        let (mut own, mut of_pods) = (NamedFiles::default(), NamedFiles::default());
        self.options.files(&mut own);
        if let Some(annotations) = &self.pods.service_accounts {
            annotations.api.files(&mut of_pods);
        }
        let named = [("webhook", own), ("pod_identity", of_pods)].into_iter().flat_map(|(section, named)| {
            named.0.into_iter().map(move |file| {
                let purpose = if file.secret { Purpose::Secret } else { Purpose::Obeyed };
                (file.path, format!("{section}: {}", file.what), purpose)
            })
        });
        files.chain(named).collect()
    }

    fn faults(&self, trust: &Trust) -> FileFaults {
        FileFaults::find(self.files(), trust)
    }

    fn confinement(&self) -> Confinement {
        let mut needs = Needs::default();
        confinement::host::needs(&mut needs);
        if environment::has_abstract_manager() {
            needs.add(Need::AbstractSockets, "the service manager");
        }
        for file in environment::authorities() {
            needs.read(&file, "the system's authorities");
        }
        let config = &self.loaded.config;
        config.logging.needs(&mut needs.of("logging_handler"));
        config.sandbox.allow.needs(&mut needs);
        self.changeable(&mut needs);
        Confinement::new(config.sandbox.mode, &needs)
    }

    /// What a reload may change.
    fn changeable(&self, needs: &mut Needs) {
        needs.read(&self.path, "the configuration");
        for (file, what, _) in self.files() {
            needs.read(&file, &what);
        }
        if let Some(annotations) = &self.pods.service_accounts {
            annotations.api.needs(&mut needs.of("pod_identity"));
        }
    }

    /// Follows the service accounts of the cluster, for ever.
    async fn follow(&self) {
        match self.pods.service_accounts.as_ref().zip(self.index.clone()) {
            Some((annotations, index)) => AccountWatch::new(&annotations.api, index, SystemClock::shared()).run().await,
            None => std::future::pending().await,
        }
    }

    /// The keys that only a restart changes and that differ from those of `started`.
    fn kept(&self, started: &Self) -> Vec<&'static str> {
        let api = |read: &Self| read.pods.service_accounts.as_ref().map(|annotations| annotations.api.clone());
        let mut kept = self.options.kept(&started.options);
        kept.extend((api(self) != api(started)).then_some("pod_identity.service_accounts"));
        kept
    }

    fn rules(&self) -> Rules {
        let associations = self.pods.associations.iter();
        let listed = associations.map(|it| (it.namespace.clone(), it.service_account.clone())).collect();
        let options = &self.options;
        let injection = Injection {
            credentials_url: options.credentials_url.clone(),
            audience: self.pods.audience.clone(),
            // At most a day.
            token_expiration: u32::try_from(options.token_expiration.as_secs()).unwrap_or(u32::MAX),
            region: options.region.clone(),
            regional_sts: options.regional_sts,
        };
        let watched = self.pods.service_accounts.as_ref().zip(self.index.clone()).map(|(annotations, index)| {
            let arns = self.loaded.config.upstreams.role_arns();
            (Arc::clone(&index), Annotated::new(index, annotations.allow.clone(), arns))
        });
        Rules { roles: Box::new(Associated { listed, watched }), injection }
    }
}

/// The service accounts that have roles.
struct Associated {
    /// Namespaces and names of `associations`.
    listed: Vec<(Pattern, Pattern)>,
    /// Those with annotations, if they count.
    watched: Option<(Arc<Index>, Annotated)>,
}

impl Roles for Associated {
    fn of(&self, namespace: &str, account: &str) -> Known {
        let has =
            self.listed.iter().any(|(namespaces, accounts)| namespaces.matches(namespace) && accounts.matches(account));
        match &self.watched {
            _ if has => Known::Has,
            None => Known::HasNot,
            Some((_, annotated)) => match (self.unready(), Account::new(namespace, account)) {
                (Some(why), _) => Known::NotYet(why),
                (None, None) => Known::HasNot,
                (None, Some(account)) => match annotated.find(&account) {
                    Found::Role(..) => Known::Has,
                    Found::NoRole(_) | Found::NotAllowed(_) => Known::MayNot,
                    Found::Nothing | Found::Unknown | Found::Another => Known::HasNot,
                },
            },
        }
    }

    fn unready(&self) -> Option<String> {
        let (index, _) = self.watched.as_ref().filter(|(index, _)| !index.is_known())?;
        let why = index.state().problem.unwrap_or_else(|| "that has not been answered yet".to_owned());
        Some(format!("it is not known which service accounts ask for roles: {why}"))
    }

    fn metrics(&self, page: &mut Page) {
        if let Some((index, _)) = &self.watched {
            index.state().put(page);
        }
    }
}

/// What a reload needs.
struct Reloading {
    read: Read,
    trust: Trust,
    confinement: Confinement,
}

impl Reloading {
    /// Reads the configuration again. What only a restart changes stays as it is.
    fn reload(&self, webhook: &Webhook, log: &LogGuard) -> Result<(), Refusal> {
        let new = Read::new(self.read.path.clone())?;
        let faults = new.faults(&self.trust);
        if let Some(refusal) = faults.refusal() {
            return Err(refusal.into());
        }
        let new = Read { index: new.index.and(self.read.index.clone()), ..new };
        let kept = new.kept(&self.read);
        let mut needs = Needs::default();
        new.changeable(&mut needs);
        let lacking = self.confinement.lacks(&needs);
        if kept.is_empty() && !lacking.is_empty() {
            return Err(Refusal::Confined(lacking));
        }
        // What may fail comes first.
        webhook.certificate().reload().map_err(|error| format!("webhook: {error}"))?;
        webhook.replace(new.rules());
        log.level().set(new.loaded.config.logging.level);
        if !kept.is_empty() {
            tracing::warn!("restart required for: {}; everything else is in force now", kept.join(", "));
        }
        for warning in new.loaded.warnings.iter().map(ToString::to_string).chain(faults.warnings) {
            tracing::warn!("{warning}");
        }
        Ok(())
    }
}

async fn serve(running: Running, webhook: &Webhook, reloading: &Reloading, log: &LogGuard) -> Outcome {
    let opened = |kind| signal(kind).map_err(Failure::runtime);
    let (mut hangup, mut terminate, mut interrupt) =
        (opened(SignalKind::hangup())?, opened(SignalKind::terminate())?, opened(SignalKind::interrupt())?);
    let (stop, stopped) = watch::channel(false);
    let mut ended = tokio::spawn(running.run(stopped));
    let mut follow = std::pin::pin!(reloading.read.follow());
    notify(&[NotifyState::Ready]);
    loop {
        tokio::select! {
            ended = &mut ended => return outcome(ended),
            () = &mut follow => {}
            _hangup = hangup.recv() => match reloading.reload(webhook, log) {
                Ok(()) => notice!("the configuration was read again"),
                Err(refusal) => tracing::error!("{refusal}"),
            },
            _terminate = terminate.recv() => break,
            _interrupt = interrupt.recv() => break,
        }
    }
    notify(&[NotifyState::Stopping]);
    // Nothing listens any more if this fails.
    let _all_gone = stop.send(true);
    outcome(ended.await)
}

fn outcome(ended: Result<io::Result<()>, tokio::task::JoinError>) -> Outcome {
    match ended {
        Ok(ended) => ended.map_err(Failure::runtime),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

fn announce(listener: &TcpListener, metrics: Option<&TcpListener>) {
    let version = env!("CARGO_PKG_VERSION");
    if let Ok(address) = listener.local_addr() {
        notice!("alppaca {version} answers the API server at {address}");
    }
    if let Some(address) = metrics.and_then(|listener| listener.local_addr().ok()) {
        notice!("metrics at {address}");
    }
}
