//! `alppaca check`: is the configuration valid, and what does it amount to?

use std::{net::SocketAddr, path::Path};

use super::{
    Failure, Outcome, USUAL_ACCOUNT,
    confine::Configured,
    environment,
    low_ports::{self, Binder},
    place::{self, ConfigPath},
    traces,
};
use crate::{
    capture::{IMDS, WEAK_REDIRECTION, foreign_redirections},
    clock::{Clock, SystemClock},
    config::{self, Loaded},
    confinement::{Confinement, Kernel},
    daemon, host, plan,
    sandbox::{self, Account, Identity},
    source::Unfit,
    trust::Trust,
};
use alppaca_settings::Listen;

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Secrets are shown as ***.

Exit codes: 0 valid, 2 not. A file that is missing, or that only the daemon's account may read, is
a warning: the configuration may be for another host. One that is there and wrong is an error.")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigPath,
    /// Print only errors and warnings
    #[arg(short, long)]
    quiet: bool,
}

/// Checks, and prints the effective configuration.
pub(super) fn run(args: &Args) -> Outcome {
    let path = args.config.path();
    let loaded = config::load(&path).map_err(Failure::usage)?;
    for warning in &loaded.warnings {
        alppaca_command::eprintln!("warning: {warning}");
    }
    // Not a fault of the configuration: it may be checked on another host than it is for.
    let identity = sandbox::resolve(&loaded.config.account, USUAL_ACCOUNT);
    if let Err(error @ (sandbox::SandboxError::NoUser(_) | sandbox::SandboxError::NoGroup(_))) = &identity {
        alppaca_command::eprintln!("warning: {error}; the daemon will not start");
    }
    for warning in daemon::unknown_readers(&loaded.config).into_iter().chain(daemon::unknown_callers(&loaded)) {
        alppaca_command::eprintln!("warning: {warning}");
    }
    if loaded.config.policy.is_some() {
        let listen = loaded.config.listen.iter().chain(&loaded.config.capture_listen);
        let ports: Vec<u16> = listen.map(SocketAddr::port).collect();
        for foreign in foreign_redirections(&environment::host(), IMDS).iter().filter(|one| one.is_weak(&ports)) {
            alppaca_command::eprintln!(
                "warning: there is a policy, and a firewall rule `{}`: {WEAK_REDIRECTION}",
                foreign.rule
            );
        }
    }
    for warning in low_ports(&loaded.config, &path) {
        alppaca_command::eprintln!("warning: {warning}");
    }
    let host_env = environment::host_env_as(identity.ok().flatten().as_ref());
    let faults = daemon::file_faults(&path, &loaded, &host_env, &trust(&loaded.config));
    let clear_text = plan::clear_text(&loaded.config, &host_env.aws);
    for warning in faults.warnings.iter().cloned().chain(clear_text).chain(traces::exposed(&loaded.config)) {
        alppaca_command::eprintln!("warning: {warning}");
    }
    if let Some(refusal) = faults.refusal() {
        return Err(Failure::usage(refusal));
    }
    let (certificates, unfit) = certificates(&loaded.config);
    let wrong: Vec<_> = unfit.into_iter().chain(daemon::wrong_contents(&loaded.config, &host_env)).collect();
    if !wrong.is_empty() {
        return Err(Failure::usage(wrong.join("\n")));
    }
    let mut for_me = loaded.config.clone();
    place::settle(&mut for_me);
    let sandbox = sandbox_of(&Configured { config: &for_me, path: &path, loaded: &loaded, host_env: &host_env });
    for warning in sandbox.warnings() {
        alppaca_command::eprintln!("warning: sandbox: {warning}");
    }
    if !args.quiet {
        let proxies = plan::proxies_in_force(&loaded.config, &host_env.proxies);
        let here = format!("on this kernel: {}", sandbox.on(Kernel::here()));
        let sandbox = sandbox.explain().into_iter().chain([here]);
        for line in proxies.into_iter().chain(plan::explain(&loaded.config, &host_env.aws)).chain(sandbox) {
            alppaca_command::println!("# {line}");
        }
        if for_me.run_dir != loaded.config.run_dir {
            alppaca_command::println!("# if you run it, its socket and pid file are in {}", for_me.run_dir.display());
        }
    }
    if let Some(warning) = loaded.config.audit_log.as_ref().and_then(|target| target.warning("the daemon")) {
        alppaca_command::eprintln!("warning: {warning}");
    }
    if let Err(error) = traces::follower(&loaded.config) {
        alppaca_command::eprintln!("warning: {error}; the daemon will not start");
    }
    // Nor is this: it looks at the environment, and for files that may be missing here.
    if let Err(error) = plan::fetching(&loaded.config, host_env) {
        alppaca_command::eprintln!("warning: {error}; the daemon will not start");
    }
    for line in certificates {
        alppaca_command::eprintln!("{line}");
    }
    if !args.quiet {
        alppaca_command::print!("{}", loaded.config.render());
    }
    Ok(())
}

/// Where it is unlikely that the daemon can listen. A configuration of the host is that of the service, if there is one.
fn low_ports(config: &config::Config, path: &Path) -> Vec<String> {
    let faces = config.faces.iter().flat_map(|section| &section.listen);
    let all = config.listen.iter().chain(&config.capture_listen).chain(faces).chain(&config.admin.metrics);
    let pages = config.status_page.iter().flat_map(|page| &page.listen).filter_map(Listen::address);
    let root = Path::new("/");
    let of_service = path.starts_with("/etc") && low_ports::is_installed(root);
    let binder = if of_service { Binder::Unit } else { Binder::Process { may: sandbox::may_bind_low_ports() } };
    low_ports::judge(&all.copied().chain(pages).collect::<Vec<_>>(), host::unprivileged_ports(), binder, root)
}

/// What the daemon would be confined to with a configuration that was read from `path`, line by line.
pub(super) fn sandbox(path: &Path, loaded: &Loaded) -> Vec<String> {
    let mut config = loaded.config.clone();
    place::settle(&mut config);
    let host_env = environment::host_env_as(identity(&config).as_ref());
    sandbox_of(&Configured { config: &config, path, loaded, host_env: &host_env }).explain()
}

/// What the daemon would be confined to.
fn sandbox_of(configured: &Configured) -> Confinement {
    let uid = identity(configured.config)
        .map_or_else(|| rustix::process::geteuid().as_raw(), |identity| identity.uid.as_raw());
    configured.confinement(uid, Vec::new())
}

/// The account that a daemon would become that is started as who checks.
fn identity(config: &config::Config) -> Option<Identity> {
    sandbox::resolve(&config.account, USUAL_ACCOUNT).ok().flatten()
}

/// Root, the account that the daemon becomes, and who checks: this may be a plain user's own daemon.
fn trust(config: &config::Config) -> Trust {
    let usual = || Account { user: Some(USUAL_ACCOUNT.to_owned()), group: None };
    let named = sandbox::identify(&config.account).ok().flatten();
    let identity = named.or_else(|| sandbox::identify(&usual()).ok().flatten());
    Trust::of(identity.as_ref()).and_present()
}

/// Looks at the certificates and keys: what `check` says of them, and what is certainly wrong.
fn certificates(config: &config::Config) -> (Vec<String>, Vec<String>) {
    let now = SystemClock.now().wall;
    let (mut said, mut wrong) = (Vec::new(), Vec::new());
    for source in &config.upstreams.sources {
        let name = &source.name;
        match source.kind.examine(now) {
            None => {}
            Some(Ok(found)) => said.push(format!("source {name}: {found}")),
            Some(Err(Unfit { problem, certain: true })) => wrong.push(format!("source {name}: {problem}")),
            Some(Err(Unfit { problem, .. })) => said.push(format!("warning: source {name}: {problem}")),
        }
    }
    (said, wrong)
}
