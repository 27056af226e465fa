//! `alppaca-ims check`: is the configuration valid?

use alppaca_command::{Failure, Outcome, environment};

use super::{Config, USUAL_ACCOUNT, confine::confinement, files};
use crate::{
    confinement::Kernel,
    https::Certificate,
    identity::Opening,
    rules::Effect,
    sandbox::{self, Account},
    server::Current,
    site::{self, Site},
    trust::Trust,
};

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 valid, 2 not.")]
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
        anstream::eprintln!("warning: {warning}");
    }
    // Not a fault of the configuration: it may be checked on another host than it is for.
    let identity = sandbox::resolve(&site.account, USUAL_ACCOUNT);
    if let Err(error) = sandbox::identify(&site.account) {
        anstream::eprintln!("warning: {error}; the server will not start");
    }
    let host_env = environment::host_env_as(identity.ok().flatten().as_ref());
    let faults = files::faults(path, &loaded, &host_env, &trust(site));
    for warning in &faults.warnings {
        anstream::eprintln!("warning: {warning}");
    }
    if let Some(refusal) = faults.refusal() {
        return Err(Failure::usage(refusal));
    }
    // Nor is this: certificates, keys and lists may be elsewhere.
    let opened = Current::open(site, &Opening::system(), &host_env, None);
    let opened = opened.map(drop).map_err(|error| error.to_string());
    let certificate = site.tls.clone().map(Certificate::load).transpose().map(drop).map_err(|error| error.to_string());
    for error in [opened, certificate].into_iter().filter_map(Result::err) {
        anstream::eprintln!("warning: {error}; the server will not start");
    }
    if let Some(warning) = site.audit_log.as_ref().and_then(|target| target.warning("the server")) {
        anstream::eprintln!("warning: {warning}");
    }
    let confinement = confinement(path, &loaded, &host_env);
    for warning in confinement.warnings() {
        anstream::eprintln!("warning: sandbox: {warning}");
    }
    if !args.quiet {
        describe(site);
        for line in confinement.explain() {
            anstream::println!("{line}");
        }
        anstream::println!("on this kernel: {}", confinement.on(Kernel::here()));
    }
    Ok(())
}

/// Root, the account that the server becomes, and who checks.
fn trust(site: &Site) -> Trust {
    let usual = || Account { user: Some(USUAL_ACCOUNT.to_owned()), group: None };
    let named = sandbox::identify(&site.account).ok().flatten();
    let identity = named.or_else(|| sandbox::identify(&usual()).ok().flatten());
    Trust::of(identity.as_ref()).and_present()
}

fn describe(site: &Site) {
    for listen in &site.listen {
        let how = if site.tls.is_some() && !listen.to_string().starts_with("unix:") { "HTTPS" } else { "HTTP" };
        anstream::println!("listens at {listen} ({how})");
    }
    for named in &site.identities {
        anstream::println!("identity method {}: {}", named.name, named.render());
    }
    for (name, options) in &site.directories {
        anstream::println!("directory {name}: {}", options.render());
    }
    for settings in &site.mounts {
        let families = settings.mount.families;
        let routes = [("hosts", families.hosts), ("people", families.people)];
        let routes: Vec<&str> = routes.iter().filter(|(_, is)| *is).map(|(word, _)| *word).collect();
        let prefix = if settings.mount.prefix.is_empty() { "/" } else { &settings.mount.prefix };
        anstream::println!("mount {prefix}: {} by {}", routes.join(" and "), settings.identities.join(", "));
    }
    for rule in &site.rules.rules {
        let what = match &rule.effect {
            Effect::Give(give) => format!("gives {}/{}{}", give.account, give.role, give.terms),
            Effect::Deny(_) => "denies".to_owned(),
        };
        anstream::println!("rule {}: {what}", rule.name);
    }
}
