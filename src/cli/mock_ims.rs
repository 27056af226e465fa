//! `alppaca mock-ims`: an IMS to try things with, which can misbehave.

use std::{io, net::SocketAddr, time::Duration};

use alppaca_command::println;
use clap::ValueEnum;
use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, Outcome};
use crate::mock_ims::{Answer, Behaviour, LIST_PATH, MockIms};

const EXAMPLES: &str = "\
Examples:
  alppaca mock-ims
      One role, test_role, at http://localhost:8080
  alppaca mock-ims --role web --role batch --lifetime 10s
      Two roles whose credentials must be fetched again every few seconds
  alppaca mock-ims --roles 1000 --latency 200ms --fail-rate 5
      Many roles behind a slow and unreliable IMS
  alppaca mock-ims --misbehave status-503
      An IMS that lists its role but returns no credentials

The credentials are random: programs accept them, AWS does not.";

/// Run a mock IMS that issues random credentials
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Where to listen: ADDRESS:PORT, or localhost:PORT for both loopback addresses; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "localhost:8080")]
    bind: Bind,

    /// A role to serve; may be given several times
    #[arg(long = "role", value_name = "NAME", default_value = "test_role")]
    roles: Vec<String>,

    /// Serve this many roles: `test_role`, `role-1`, `role-2`, …
    #[arg(long = "roles", value_name = "COUNT", conflicts_with = "roles")]
    role_count: Option<u32>,

    /// How long credentials are valid: 500ms, 10s, 5m, 1h
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    lifetime: Duration,

    /// Delay each answer by this time
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    latency: Duration,

    /// Answer this percentage of the requests with 503
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = clap::value_parser!(u8).range(0..=100))]
    fail_rate: u8,

    /// Serve under this path, as an IMS behind a path does
    #[arg(long, value_name = "PATH", default_value = LIST_PATH, value_parser = parse_path)]
    path: String,

    /// What to do to requests for credentials
    #[arg(long, value_name = "KIND")]
    misbehave: Option<Kind>,

    /// What to do to requests for the role list
    #[arg(long, value_name = "KIND")]
    misbehave_list: Option<Kind>,

    /// An additional header of each answer, such as 'Alppaca-IMS: 1'; may be given several times
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    headers: Vec<(String, String)>,

    /// Do not print the requests
    #[arg(long, short)]
    quiet: bool,
}

/// A way to misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "kebab-case")]
enum Kind {
    /// 403 Forbidden
    #[value(name = "status-403")]
    Status403,
    /// 404 Not Found
    #[value(name = "status-404")]
    Status404,
    /// 429 Too Many Requests
    #[value(name = "status-429")]
    Status429,
    /// 500 Internal Server Error
    #[value(name = "status-500")]
    Status500,
    /// 503 Service Unavailable
    #[value(name = "status-503")]
    Status503,
    /// AFP's 403: the role is not for this caller, or AWS refuses AFP's own key
    AfpDenied,
    /// AFP's 404: its configuration is broken, or it finds no single role for this caller
    AfpConfiguration,
    /// AFP's 500: anything else
    AfpError,
    /// AFP's 502: AWS did not answer
    AfpAws,
    /// 200 without a body, as AFP's list when AWS refuses AFP's own key
    Empty,
    /// A login page with 200
    Html,
    /// Random bytes with 200
    Garbage,
    /// 200 with EC2's document for a refused role
    Refusal,
    /// An Expiration that is not a date
    BadDate,
    /// An Expiration with a fraction of a second
    FractionDate,
    /// An Expiration in the zone +02:00
    OffsetDate,
    /// Credentials that expired an hour ago
    Expired,
    /// A document without a Token
    MissingField,
    /// 100 MB
    Huge,
    /// One byte a second
    Drip,
    /// A TCP reset in the middle of the answer
    Reset,
    /// A refusal in the middle of the answer
    HalfRefusal,
    /// No answer at all
    Hang,
    /// A redirect to another host
    Redirect,
    /// A compressed answer that was not requested
    Gzip,
}

impl From<Kind> for Answer {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Status403 => Self::Status(403),
            Kind::Status404 => Self::Status(404),
            Kind::Status429 => Self::Status(429),
            Kind::Status500 => Self::Status(500),
            Kind::Status503 => Self::Status(503),
            Kind::AfpDenied => Self::Afp(403, "Permission Denied"),
            Kind::AfpConfiguration => Self::Afp(404, "ConfigurationError"),
            Kind::AfpError => Self::Afp(500, "Internal Server Error"),
            Kind::AfpAws => Self::Afp(502, "Call to AWS failed"),
            Kind::Empty => Self::Empty,
            Kind::Html => Self::Html,
            Kind::Garbage => Self::Garbage,
            Kind::Refusal => Self::Refusal,
            Kind::BadDate => Self::BadDate,
            Kind::FractionDate => Self::FractionDate,
            Kind::OffsetDate => Self::OffsetDate,
            Kind::Expired => Self::Expired,
            Kind::MissingField => Self::MissingField,
            Kind::Huge => Self::Huge,
            Kind::Drip => Self::Drip(Duration::from_secs(1)),
            Kind::Reset => Self::Reset,
            Kind::HalfRefusal => Self::HalfThen(br#"{"Code": "AssumeRoleUnauthorizedAccess"}"#.to_vec()),
            Kind::Hang => Self::Hang,
            Kind::Redirect => Self::Redirect,
            Kind::Gzip => Self::Gzip,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bind {
    Localhost(u16),
    Address(SocketAddr),
}

impl std::str::FromStr for Bind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let localhost = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()).map(Self::Localhost);
        localhost
            .or_else(|| text.parse().ok().map(Self::Address))
            .ok_or_else(|| "expected an address and a port, such as 127.0.0.1:8080, [::1]:8080 or localhost:0".into())
    }
}

/// Runs until SIGINT or SIGTERM.
pub(super) fn run(args: &Args) -> Outcome {
    let mock = match args.bind {
        Bind::Localhost(port) => MockIms::bind_localhost(port, behaviour(args)),
        Bind::Address(address) => MockIms::bind(address, behaviour(args)),
    };
    let mock = mock.map_err(|error| {
        Failure::runtime(format!(
            "cannot listen ({error}); choose another address with --bind, such as --bind localhost:0"
        ))
    })?;
    let address = mock.local_addr().map_err(Failure::runtime)?;
    let url = format!("http://{address}{}", args.path);
    println!("mock IMS at {url}");
    println!("try: curl {url}{}", behaviour(args).roles.first().map_or("", String::as_str));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::runtime)?;
    runtime.block_on(serve(mock, args.quiet)).map_err(Failure::runtime)
}

fn behaviour(args: &Args) -> Behaviour {
    Behaviour {
        roles: match args.role_count {
            Some(count) => (0..count).map(role_name).collect(),
            None => args.roles.clone(),
        },
        lifetime: args.lifetime,
        latency: args.latency,
        fail_percent: args.fail_rate,
        list_path: args.path.clone(),
        list: args.misbehave_list.map_or(Answer::Good, Answer::from),
        document: args.misbehave.map_or(Answer::Good, Answer::from),
        documents: Vec::new(),
        headers: args.headers.clone(),
    }
}

async fn serve(mock: MockIms, quiet: bool) -> io::Result<()> {
    use tokio::sync::broadcast::error::RecvError;

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut requests = mock.handle().watch();
    let running = mock.run();
    tokio::pin!(running);
    loop {
        tokio::select! {
            ended = &mut running => return ended,
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            request = requests.recv() => match request {
                Ok(request) if !quiet => println!("{} {}", request.method, request.target),
                Err(RecvError::Lagged(missed)) if !quiet => println!("({missed} more requests)"),
                // The mock itself ends only together with this loop.
                _ => {}
            },
        }
    }
}

fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    alppaca_settings::read::parse_duration(text).ok_or("expected a time such as 500ms, 10s, 5m or 1h")
}

fn parse_header(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once(':').ok_or("expected a name, a colon and a value")?;
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(is_token) || value.contains(['\r', '\n']) {
        return Err("expected a header in one line, such as 'Cache-Control: max-age=600'");
    }
    Ok((name.to_owned(), value.trim().to_owned()))
}

/// The first one is that of 2015, so that what works with one role works with many.
fn role_name(number: u32) -> String {
    if number == 0 { "test_role".to_owned() } else { format!("role-{number}") }
}

fn parse_path(text: &str) -> Result<String, String> {
    if text.starts_with('/') && text.ends_with('/') {
        Ok(text.to_owned())
    } else {
        Err("must begin and end with a slash".into())
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Wrapper {
        #[command(flatten)]
        args: Args,
    }

    fn parse(arguments: &[&str]) -> Result<Behaviour, clap::Error> {
        Wrapper::try_parse_from([&["mock-ims"], arguments].concat()).map(|wrapper| behaviour(&wrapper.args))
    }

    #[test]
    fn without_arguments_it_is_the_mock_of_2015() {
        Wrapper::command().debug_assert();
        assert_eq!(parse(&[]).expect("no arguments"), Behaviour::default());
        let wrapper = Wrapper::try_parse_from(["mock-ims"]).expect("no arguments");
        assert_eq!(wrapper.args.bind, Bind::Localhost(8080));
    }

    #[test]
    fn arguments_make_the_behaviour() {
        let behaviour = parse(&[
            "--roles=3",
            "--lifetime=10s",
            "--latency=500ms",
            "--fail-rate=5",
            "--path=/afp/",
            "--misbehave=drip",
            "--misbehave-list=afp-configuration",
            "--header=Alppaca-IMS: 1",
        ]);
        let expected = Behaviour {
            roles: ["test_role", "role-1", "role-2"].map(String::from).to_vec(),
            lifetime: Duration::from_secs(10),
            latency: Duration::from_millis(500),
            fail_percent: 5,
            list_path: "/afp/".into(),
            list: Answer::Afp(404, "ConfigurationError"),
            document: Answer::Drip(Duration::from_secs(1)),
            documents: Vec::new(),
            headers: vec![("Alppaca-IMS".into(), "1".into())],
        };
        assert_eq!(behaviour.expect("good arguments"), expected);
    }

    #[test]
    fn a_mistake_is_told_with_what_is_expected() {
        for (argument, expected) in [
            ("--lifetime=s", "10s"),
            ("--lifetime=99999999999999999999h", "10s"),
            ("--bind=8080", "127.0.0.1:8080"),
            ("--path=afp", "slash"),
            ("--fail-rate=101", "100"),
            ("--misbehave=often", "possible values"),
            ("--header=x", "a colon"),
            ("--header=x y: z", "in one line"),
        ] {
            let message = parse(&[argument]).expect_err(argument).to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
