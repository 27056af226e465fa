//! `alppaca mock-ims` (`alppaca-server-mock`): an upstream to try things out with.

use std::{io::Write, net::SocketAddr, time::Duration};

use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, Outcome};
use crate::mock_ims::{Behaviour, Misbehaviour, MockIms};

/// Arguments of the mock.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  alppaca mock-ims                                  one role, test_role, for an hour at a time
  alppaca mock-ims --lifetime 10s                   credentials that live as short as in 2015
  alppaca mock-ims --roles 1000 --latency 200ms     a big and slow one
  alppaca mock-ims --documents expired              see how the daemon takes it
  alppaca mock-ims --list 502 --documents 403

KIND is a status from 400 to 599, or one of: empty, html, garbage, error-document, bad-date,
fractional-date, offset-date, expired, missing-field, huge, drip, reset, hang, redirect, gzip.")]
pub(super) struct Args {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    bind: SocketAddr,
    /// A role to hand out; may be repeated [default: `test_role`]
    #[arg(long = "role", value_name = "NAME")]
    role: Vec<String>,
    /// Hand out this many roles: `test_role` and others
    #[arg(long, value_name = "COUNT", conflicts_with = "role")]
    roles: Option<usize>,
    /// How long credentials live
    #[arg(long, default_value = "1h", value_parser = duration)]
    lifetime: Duration,
    /// The pause before each answer
    #[arg(long, default_value = "0s", value_parser = duration)]
    latency: Duration,
    /// How many percent of the calls fail with 500
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    fail_percent: u8,
    /// What to send in place of the role list
    #[arg(long, value_name = "KIND", value_parser = misbehaviour)]
    list: Option<Misbehaviour>,
    /// What to send in place of the documents
    #[arg(long, value_name = "KIND", value_parser = misbehaviour)]
    documents: Option<Misbehaviour>,
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    crate::config::parse_duration(text).ok_or("a time such as 500ms, 10s, 5m or 1h is expected")
}

fn misbehaviour(text: &str) -> Result<Misbehaviour, &'static str> {
    Misbehaviour::parse(text).ok_or("there is no such kind; see --help")
}

/// Runs the mock until it is stopped.
pub(super) fn run(args: &Args) -> Outcome {
    let behaviour = Behaviour {
        roles: roles(args),
        lifetime: args.lifetime,
        latency: args.latency,
        list: args.list,
        document: args.documents,
        fail_percent: args.fail_percent,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::runtime)?;
    runtime.block_on(async {
        let mock = MockIms::bind(args.bind, behaviour)
            .map_err(|error| Failure::runtime(format!("cannot listen on {}: {error}", args.bind)))?;
        let list = format!("http://{}/latest/meta-data/iam/security-credentials/", mock.local_addr());
        anstream::println!("mock IMS at {list}\nTry: curl {list}");
        // Whoever reads it through a pipe waits for it; if nobody does, that is fine too.
        let _unread = anstream::stdout().flush();
        let mut terminate = signal(SignalKind::terminate()).map_err(Failure::runtime)?;
        tokio::select! {
            ended = mock.run() => ended.map_err(Failure::runtime),
            _ = terminate.recv() => Ok(()),
            interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Failure::runtime),
        }
    })
}

fn roles(args: &Args) -> Vec<String> {
    let first = || "test_role".to_owned();
    match args.roles {
        Some(count) => (0..count).map(|n| if n == 0 { first() } else { format!("{}_{n}", first()) }).collect(),
        None if args.role.is_empty() => vec![first()],
        None => args.role.clone(),
    }
}
