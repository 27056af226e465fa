//! `alppaca-ims check`: is the configuration valid?

use std::{fs::File, io, net::SocketAddr};

use alppaca_command::{Failure, Outcome, environment};

use super::{Config, USUAL_ACCOUNT, confine::confinement, files};
use crate::{
    confinement::Kernel,
    https::Certificate,
    identity::Opening,
    rules::Effect,
    sandbox::{self, Account, Identity},
    server::{Current, OpenError},
    settings::{Listen, NamedFiles},
    site::{self, Site},
    source::HostEnv,
    trust::Trust,
};

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 valid, 2 not. A file that is missing, or that only the server's account may read, is
a warning: the configuration may be for another host. One that is there and wrong is an error.")]
pub(super) struct Args {
    #[command(flatten)]
    config: Config,
    /// Print only errors and warnings
    #[arg(short, long)]
    quiet: bool,
}

/// Checks, and prints what the configuration means.
pub(super) fn run(args: &Args) -> Outcome {
    let path = &args.config.path;
    let loaded = site::load(path).map_err(Failure::usage)?;
    let site = &loaded.site;
    for warning in &loaded.warnings {
        alppaca_command::eprintln!("warning: {warning}");
    }
    // Not a fault of the configuration: it may be checked on another host than it is for.
    if let Err(error) = sandbox::identify(&site.account) {
        alppaca_command::eprintln!("warning: {error}; the server will not start");
    }
    let identity = identity(site);
    let becomes = sandbox::resolve(&site.account, USUAL_ACCOUNT).ok().flatten();
    let host_env = environment::host_env_as(becomes.as_ref());
    let faults = files::faults(path, &loaded, &host_env, &Trust::of(identity.as_ref()).and_present());
    for warning in &faults.warnings {
        alppaca_command::eprintln!("warning: {warning}");
    }
    if let Some(refusal) = faults.refusal() {
        return Err(Failure::usage(refusal));
    }
    // Nor is this, where files may be elsewhere. The server is root if there is no such account.
    let account = identity.map_or(0, |identity| identity.uid.as_raw());
    let is_server = rustix::process::geteuid().as_raw() == account;
    let (elsewhere, certain): (Vec<_>, Vec<_>) =
        obstacles(site, &host_env).into_iter().partition(|obstacle| obstacle.may_start_elsewhere(is_server));
    for Obstacle { error, .. } in elsewhere {
        alppaca_command::eprintln!("warning: {error}; the server will not start on this host");
    }
    let mut errors = files::wrong_contents(site, &host_env);
    for Obstacle { error, .. } in certain {
        if !errors.contains(&error) {
            errors.push(error);
        }
    }
    if !errors.is_empty() {
        return Err(Failure::usage(errors.join("\n")));
    }
    if let Some(warning) = site.audit_log.as_ref().and_then(|target| target.warning("the server")) {
        alppaca_command::eprintln!("warning: {warning}");
    }
    let confinement = confinement(path, &loaded, &host_env);
    for warning in confinement.warnings() {
        alppaca_command::eprintln!("warning: sandbox: {warning}");
    }
    if !args.quiet {
        describe(site);
        for line in confinement.explain() {
            alppaca_command::println!("{line}");
        }
        alppaca_command::println!("on this kernel: {}", confinement.on(Kernel::here()));
    }
    Ok(())
}

/// The account that the server becomes, if it is here.
fn identity(site: &Site) -> Option<Identity> {
    let usual = || Account { user: Some(USUAL_ACCOUNT.to_owned()), group: None };
    let named = sandbox::identify(&site.account).ok().flatten();
    named.or_else(|| sandbox::identify(&usual()).ok().flatten())
}

/// Why the server would not start here.
struct Obstacle {
    error: String,
    /// The files that decide it; nothing if more than files does.
    files: Option<NamedFiles>,
}

/// All of them, but for what is known only when it listens.
fn obstacles(site: &Site, host_env: &HostEnv) -> Vec<Obstacle> {
    let current = Current::open(site, &Opening::system(), host_env, None).map_err(|error| {
        let mut files = NamedFiles::default();
        match &error {
            OpenError::Method { name, .. } => {
                site.identities
                    .iter()
                    .filter(|named| named.name == *name)
                    .for_each(|named| named.method.files(&mut files));
            }
            OpenError::Records(_) => site.approvals.iter().for_each(|approvals| approvals.files(&mut files)),
        }
        Obstacle { error: error.to_string(), files: Some(files) }
    });
    let certificate = site.tls.clone().map(Certificate::load).transpose().map_err(|error| {
        let mut files = NamedFiles::default();
        site.tls.iter().for_each(|tls| files.obeyed("tls", [&tls.certificate, &tls.key]));
        Obstacle { error: error.to_string(), files: Some(files) }
    });
    // The server's environment, with a proxy and the like, is another one.
    let listeners: Vec<SocketAddr> = site.listen.iter().filter_map(Listen::address).collect();
    let of_environment = |error| Obstacle { error, files: None };
    let sts = site.sts.open(host_env, &listeners).map_err(of_environment);
    let console = site.console.open(host_env).map_err(of_environment);
    [current.map(drop).err(), certificate.map(drop).err(), sts.map(drop).err(), console.map(drop).err()]
        .into_iter()
        .flatten()
        .collect()
}

impl Obstacle {
    /// Whether the server may start elsewhere with the same configuration. `is_server`: it would be the account that checks.
    fn may_start_elsewhere(&self, is_server: bool) -> bool {
        let Some(files) = &self.files else { return true };
        files.0.iter().any(|file| match File::open(&file.path).map_err(|error| error.kind()) {
            Err(io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => true,
            Err(io::ErrorKind::PermissionDenied) => !is_server,
            _ => false,
        })
    }
}

fn describe(site: &Site) {
    for listen in &site.listen {
        let how = if site.tls.is_some() && !listen.to_string().starts_with("unix:") { "HTTPS" } else { "HTTP" };
        alppaca_command::println!("listens at {listen} ({how})");
    }
    for named in &site.identities {
        alppaca_command::println!("identity method {}: {}", named.name, named.render());
    }
    for (name, options) in &site.directories {
        alppaca_command::println!("directory {name}: {}", options.render());
    }
    for settings in &site.mounts {
        let families = settings.mount.families;
        let routes = [("hosts", families.hosts), ("people", families.people)];
        let routes: Vec<&str> = routes.iter().filter(|(_, is)| *is).map(|(word, _)| *word).collect();
        let prefix = if settings.mount.prefix.is_empty() { "/" } else { &settings.mount.prefix };
        alppaca_command::println!("mount {prefix}: {} by {}", routes.join(" and "), settings.identities.join(", "));
    }
    for rule in &site.rules.rules {
        let what = match &rule.effect {
            Effect::Give(give) => format!("gives {}/{}{}", give.account, give.role, give.terms),
            Effect::Deny(_) => "denies".to_owned(),
        };
        alppaca_command::println!("rule {}: {what}", rule.name);
    }
}
