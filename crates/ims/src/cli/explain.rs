//! `alppaca-ims explain`: which rule gives which role to an identity, and why.

use std::{collections::BTreeMap, net::IpAddr};

use alppaca_command::{Failure, Outcome};
use clap::ArgGroup;

use super::Config;
use crate::{
    clock::{Clock, SystemClock, system_time},
    identity::{Identity, Peer},
    site,
};

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
#[command(
    group = ArgGroup::new("who").required(true).args(["host", "person"]),
    after_help = "\
The identity is taken as given; nothing is asked of the network. `--proven-by` names the identity
method that accepts it, if there are several: rules with `method` match only with it.

Examples:
  alppaca-ims explain --host web1.example.com
  alppaca-ims explain --as alice --group aws-admins --proven-by sso --signed-in 5m"
)]
pub(super) struct Args {
    #[command(flatten)]
    config: Config,
    /// The name of a host
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// The name of a person
    #[arg(long = "as", value_name = "NAME", id = "person")]
    person: Option<String>,
    /// A further name that the proof holds; may be repeated
    #[arg(long = "also", value_name = "NAME")]
    names: Vec<String>,
    /// A group; may be repeated
    #[arg(long = "group", value_name = "NAME")]
    groups: Vec<String>,
    /// A claim of the proof; may be repeated
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = claim)]
    claims: Vec<(String, String)>,
    /// The name of an identity method in the configuration [default: the only one]
    #[arg(long, value_name = "NAME")]
    proven_by: Option<String>,
    /// The address of the caller
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    from: IpAddr,
    /// How long ago the person signed in, such as 5m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    signed_in: Option<std::time::Duration>,
    /// How old the proof is, such as a certificate
    #[arg(long, value_name = "TIME", value_parser = duration)]
    proof_age: Option<std::time::Duration>,
}

fn claim(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=VALUE is expected")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    crate::settings::read::parse_duration(text).ok_or_else(|| "expected a time such as 10s, 5m or 1h".to_owned())
}

/// Explains.
pub(super) fn run(args: &Args) -> Outcome {
    let loaded = site::load(&args.config.path).map_err(Failure::usage)?;
    let identities = &loaded.site.identities;
    let named = match &args.proven_by {
        Some(name) => {
            let found = identities.iter().find(|named| named.name == *name);
            let known = || identities.iter().map(|named| named.name.clone()).collect::<Vec<_>>().join(", ");
            Some(found.ok_or_else(|| {
                Failure::usage(format!("there is no identity method {name:?}; there are {}", known()))
            })?)
        }
        // The only one is meant.
        None => identities.first().filter(|_| identities.len() == 1),
    };
    let Some(name) = args.host.as_ref().or(args.person.as_ref()) else {
        return Err(Failure::usage("--host or --as is required"));
    };
    let now = system_time(SystemClock.now().wall);
    let mut claims: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (claim, value) in &args.claims {
        claims.entry(claim.clone()).or_default().push(value.clone());
    }
    let identity = Identity {
        names: std::iter::once(name).chain(&args.names).cloned().collect(),
        groups: args.groups.clone(),
        claims,
        authenticated_at: args.signed_in.and_then(|ago| now.checked_sub(ago)),
        age: args.proof_age,
        ..named
            .map_or_else(|| Identity::new(name, "", ""), |named| Identity::new(name, named.method.word(), &named.name))
    };
    let decision = loaded.site.rules.decide(&identity, &Peer::Tcp(args.from), now);
    alppaca_command::print!("{decision}");
    Ok(())
}
