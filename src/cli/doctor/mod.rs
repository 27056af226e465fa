//! `alppaca doctor`: from the side of the user, what keeps programs from their credentials.

mod endpoint;
mod files;
mod finding;
mod ports;
mod reach;
mod rules;
mod sandbox;

use std::time::Duration;

use finding::{Finding, Level};
use rules::Endpoint;

use super::{
    Failure, Outcome, environment,
    human::{self, Colour, Coloured},
    login::login_command,
    sdk::ProfileFiles,
    socket::Socket,
    status::{followed, unverified},
};
use crate::{
    admin::Status,
    capture::{IMDS, WEAK_REDIRECTION, foreign_redirections},
};

/// The daemon answers this at once.
const LIMIT: Duration = Duration::from_secs(2);

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Run it as the user, and in the environment, whose programs find no credentials. It looks at the
variables and files that the AWS SDKs read, in their order, and asks the endpoint that they would
ask: which protocol, which role, how fresh, how fast. Nothing is changed, and no secret is shown.

Each line is one finding with what to do about it.

Exit codes: 0 no problem found, 1 a problem found, 2 the command line is wrong.")]
pub(super) struct Args {
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

/// Examines, and prints.
pub(super) fn run(args: &Args) -> Outcome {
    let findings = examine(&args.socket);
    if args.json {
        alppaca_command::println!("{}", json(&findings)?);
    } else {
        for finding in &findings {
            alppaca_command::println!("{}", line(finding));
        }
    }
    if findings.iter().any(Finding::is_problem) {
        return Err(Failure { code: 1, message: String::new() });
    }
    Ok(())
}

fn json(findings: &[Finding]) -> Result<String, Failure> {
    serde_json::to_string_pretty(findings).map_err(Failure::runtime)
}

/// What is found, as JSON.
pub(super) fn findings(socket: &Socket) -> Result<String, Failure> {
    json(&examine(socket))
}

fn examine(socket: &Socket) -> Vec<Finding> {
    let variables = environment::variables();
    let profiles = ProfileFiles::read(&variables);
    let daemon: Option<Status> = socket.client().get("/v1/status", LIMIT).ok();
    let (mut findings, endpoint) = rules::judge(&variables, &profiles);
    if let Some(Status { unverified_containers: count @ 1.., .. }) = &daemon {
        let remedy = "the daemon's log has the cause and the remedy: `journalctl -u alppaca -p err`";
        findings.push(Finding::problem("containers", unverified(*count), remedy));
    }
    if let Some(accounts) = daemon.as_ref().and_then(|status| status.service_accounts.as_ref())
        && (!accounts.following || accounts.left_out > 0)
    {
        let remedy = "see `pod_identity.service_accounts`: the API server, its token, and the rights list and watch";
        findings.push(Finding::problem("service_accounts", followed(accounts), remedy));
    }
    for needed in daemon.iter().flat_map(|status| &status.sign_in_needed) {
        let message = format!("source {}: a person has to sign in", needed.source);
        let several = daemon.as_ref().map_or(0, |status| status.sign_in_needed.len());
        let remedy = format!("run `{}`", login_command(&needed.source, several));
        findings.push(Finding::problem("sign_in", message, remedy));
    }
    if let Some(status) = daemon.as_ref().filter(|status| status.policy.is_some()) {
        let ports: Vec<u16> = ports::listening(status).map(|address| address.port()).collect();
        for foreign in foreign_redirections(&environment::host(), IMDS).iter().filter(|one| one.is_weak(&ports)) {
            let message = format!("there is a policy, and a firewall rule `{}`", foreign.rule);
            findings.push(Finding::problem("capture", message, WEAK_REDIRECTION));
        }
    }
    match &endpoint {
        Some(Endpoint::Imds(base)) => endpoint::imds(base, daemon.as_ref(), &mut findings),
        Some(Endpoint::Container(url)) => endpoint::container(url, &variables, daemon.as_ref(), &mut findings),
        None => {}
    }
    findings.extend(files::judge(daemon.as_ref(), &variables));
    ports::judge(daemon.as_ref(), endpoint.as_ref(), &mut findings);
    ports::judge_page(daemon.as_ref(), &mut findings);
    findings.extend(daemon.as_ref().and_then(|status| status.clock_ahead_seconds).map(endpoint::upstreams_clock));
    // Last: it is seldom why a program has no credentials.
    findings.push(sandbox::judge(daemon.as_ref()));
    findings
}

fn line(finding: &Finding) -> String {
    let (colour, word) = match finding.level {
        Level::Good => (Colour::Green, "ok"),
        Level::Note => (Colour::Yellow, "note"),
        Level::Problem => (Colour::Red, "problem"),
    };
    let remedy =
        if finding.remedy.is_empty() { String::new() } else { format!(" -> {}", human::foreign(&finding.remedy)) };
    format!("{}  {}{remedy}", Coloured(colour, format!("{word:7}")), human::foreign(&finding.message))
}
