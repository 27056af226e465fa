//! `alppaca console`: the AWS console in the browser, with credentials from the daemon.

mod destination;
mod handover;

use std::{io::Write, time::Duration};

use super::{
    Failure, Outcome, complete, environment,
    human::{self, foreign},
    pick::pick,
    socket::{ANSWER_LIMIT, NO_ROLE, Socket, without_role},
    use_role::listed,
    web_browser,
};
use crate::{
    admin::{CredentialsDocument, MAX_WAIT, RoleStatus},
    credentials::{Partition, RoleArn, Secret},
    federation::{DURATIONS, Hosts, Session, SignIn},
    fetch::{self, Client, parse_url},
};

/// For each call of AWS's sign-in.
const CALL: Duration = Duration::from_secs(10);
/// For its connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Arguments of `console`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The URL is made by AWS's sign-in from credentials of the daemon; ROLE is found as `alppaca use` does
it. Anyone who opens that URL within 15 minutes is signed in, so it is kept off command lines, which
other users can read: the browser is sent to a page on 127.0.0.1 that this command serves once, to
your user only, and that redirects there. $BROWSER is used if it is set, xdg-open otherwise.

The session ends with the credentials. --duration asks for another time, which AWS grants only for
credentials that were not made with those of another role; otherwise it says so and goes on without.

Services have the names of the console's URLs (ec2, s3, lambda …); ddb, r53, logs, cfn, cw, sm, ssm,
sfn and sso are short for others.

Examples:
  alppaca console
  alppaca console prod-admin --service ec2 --region eu-central-1
  firefox --private-window \"$(alppaca console --url)\"    shows the URL to other users of this host

Exit codes: 0 done, 1 failed, 2 the command line is wrong, 3 no daemon answers, 4 there is no such
role for you, 5 there are no valid credentials at the moment, or a sign-in is needed, 6 several
roles match.")]
pub(super) struct Args {
    /// The role [default: the one that a program on this host gets]
    #[arg(add = complete::roles())]
    role: Option<String>,
    /// The service whose page is opened [default: the console's first page]
    #[arg(short, long, value_parser = destination::service)]
    service: Option<String>,
    /// The region of that page and of the sign-in [default: the daemon's, and the partition's sign-in]
    #[arg(short, long, value_parser = destination::region)]
    region: Option<String>,
    /// Print the URL instead of opening it; it is a secret
    #[arg(long)]
    url: bool,
    /// How long the session shall last, from 15m to 12h, if the credentials allow it
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// How many seconds to wait for a role that has no valid credentials yet
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=MAX_WAIT))]
    wait: u64,
    /// Another federation endpoint, for tests
    #[arg(long, value_name = "URL", hide = true)]
    endpoint: Option<String>,
    #[command(flatten)]
    socket: Socket,
}

/// Makes the URL, and opens or prints it.
pub(super) fn run(args: &Args) -> Outcome {
    let client = args.socket.client();
    let roles = listed(&client)?.roles;
    let role = match &args.role {
        Some(role) => pick(&roles, role)?,
        None => roles.first().ok_or_else(|| Failure { code: NO_ROLE, message: "there is no role for you".into() })?,
    };
    let path = format!("/v1/credentials/{}?wait={}", role.name, args.wait);
    let credentials: CredentialsDocument = client
        .get(&path, Duration::from_secs(args.wait) + ANSWER_LIMIT)
        .map_err(|error| without_role(&client, &error))?;
    // A role that was idle has its account and its partition only now.
    let fetched = listed(&client)?.roles;
    let role = fetched.iter().find(|fetched| fetched.name == role.name).unwrap_or(role);
    let region = args.region.as_deref().or(credentials.region.as_deref());
    let hosts = hosts(role, region)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::runtime)?;
    let endpoint = args.endpoint.clone().unwrap_or_else(|| hosts.federation(args.region.as_deref()));
    let sign_in = runtime.block_on(sign_in(&endpoint, &credentials, args.duration))?;
    if args.duration.is_some() && !sign_in.has_duration {
        alppaca_command::eprintln!(
            "alppaca console: AWS gives these credentials no --duration: the session ends with them"
        );
    }
    let url = sign_in.url(&endpoint, "", &destination::page(hosts.console, args.service.as_deref(), region));
    if args.url {
        return print(&url);
    }
    runtime.block_on(handover::open(&url))?;
    let left = role.seconds_left.and_then(|left| u64::try_from(left).ok()).filter(|_| !sign_in.has_duration);
    let end = left.map(|left| format!(", for {}", human::time(left))).unwrap_or_default();
    alppaca_command::println!("the console is open as {}{end}", foreign(&role.name));
    Ok(())
}

/// Where the role's partition signs in.
fn hosts(role: &RoleStatus, region: Option<&str>) -> Result<Hosts, Failure> {
    let arn = role.role_arn.as_deref().and_then(|arn| arn.parse::<RoleArn>().ok());
    let partition = arn.as_ref().map_or_else(|| Partition::of(region).name, RoleArn::partition);
    Hosts::of(partition).ok_or_else(|| Failure::runtime(format!("no console is known for the partition {partition}")))
}

async fn sign_in(
    endpoint: &str,
    credentials: &CredentialsDocument,
    duration: Option<Duration>,
) -> Result<SignIn, Failure> {
    let host_env = environment::host_env();
    let options = fetch::Options {
        connect_timeout: CONNECT,
        ca_file: host_env.aws.ca_bundle.clone(),
        // This is a command of a person, whose shell says how the world is reached.
        proxies: host_env.proxies.resolve().map_err(Failure::runtime)?,
        ..fetch::Options::direct(CALL, None)
    };
    let client = parse_url("sign-in of AWS", endpoint).and_then(|url| Client::new(&url, &options));
    let session = Session {
        access_key_id: &credentials.access_key_id,
        secret_access_key: &credentials.secret_access_key,
        session_token: &credentials.session_token,
    };
    SignIn::get(&client.map_err(Failure::runtime)?, endpoint, session, duration).await.map_err(Failure::runtime)
}

fn print(url: &Secret) -> Outcome {
    let mut stdout = std::io::stdout().lock();
    let mut write = || {
        stdout.write_all(url.expose().as_bytes())?;
        stdout.write_all(b"\n")?;
        stdout.flush()
    };
    write().map_err(|error| Failure::runtime(format!("cannot write: {error}")))
}

/// Such as `1h` or `90m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "a time from 15m to 12h is expected, such as 1h".to_owned();
    let (number, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "h" => number.checked_mul(3600),
        "m" => number.checked_mul(60),
        "s" => Some(number),
        _ => None,
    };
    let duration = Duration::from_secs(seconds.ok_or_else(wrong)?);
    if DURATIONS.contains(&duration) { Ok(duration) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_what_the_sign_in_takes() {
        for (text, minutes) in [("15m", 15), ("900s", 15), ("1h", 60), ("12h", 720)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(minutes * 60)), "{text}");
        }
        for text in ["", "h", "14m", "13h", "1d", "3600", "1ü", "99999999999999999999h", "9999999999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
