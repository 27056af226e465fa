//! `alppaca login`: what a person does to sign in; the daemon talks to the provider and holds the tokens.

mod browser;
mod callback;

use std::{
    io::{BufRead, Read},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{
    Failure, Outcome, environment, human,
    socket::{ANSWER_LIMIT, Socket, failure},
};
use crate::admin::{
    BeginRequest, Begun, Client, MAX_WAIT, MethodWord, ProgressDocument, SignInStatus, SignInsDocument,
};

/// For the provider to answer.
const PATIENCE: Duration = Duration::from_secs(MAX_WAIT + 5);

/// A code and a state in base64.
const LONGEST_PASTE: usize = 4096;

/// Arguments of `login`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The browser opens at your provider and comes back to 127.0.0.1, where this command waits. Without
a display, or with --device, a code is shown to be entered in any browser. The daemon keeps the
tokens in memory and renews them for as long as the provider allows; nothing of them is printed.
At the AWS console (kind: aws_login) it is the page that shows a text to be entered here. Where the
sign-in is by ssh-agent, the daemon gets the socket of yours (SSH_AUTH_SOCK).

Exit codes: 0 signed in, 1 not, 2 the command line is wrong, 3 no daemon answers.

Examples:
  alppaca login             with the browser of this desktop
  alppaca login --device    in an SSH session
  alppaca whoami            who has signed in, and until when")]
pub(super) struct Args {
    /// The source to sign in for [default: the only one that needs it]
    source: Option<String>,
    /// Show a code to be entered in any browser [default: where there is no display]
    #[arg(long)]
    device: bool,
    /// Only print the URL; open it in a browser of this host yourself
    #[arg(long, conflicts_with = "device")]
    no_browser: bool,
    #[command(flatten)]
    socket: Socket,
}

/// Signs in.
pub(super) fn run(args: &Args) -> Outcome {
    let client = args.socket.client();
    let of_source = |status: &SignInStatus| args.source.as_ref().is_none_or(|source| *source == status.source);
    let SignInsDocument { sign_ins } = client.get("/v1/sign-in", ANSWER_LIMIT).map_err(|error| failure(&error))?;
    // What is wrong with the name, or that there is none, the daemon says.
    let status = sign_ins.into_iter().find(of_source);
    let name = if status.as_ref().is_some_and(|status| status.kind == "ssh") {
        let request = request(args, MethodWord::Agent);
        let agent = environment::ssh_agent();
        end(&client, &begin(&client, &BeginRequest { agent, ..request })?)?
    } else if args.device || !(environment::has_browser() || args.no_browser) {
        with_code(args, &client)?
    } else {
        let redirect_url = status.and_then(|status| status.redirect_url).unwrap_or_default();
        let page = browser::Page { redirect_url, request: request(args, MethodWord::Browser) };
        page.sign_in(&client, !args.no_browser)?
    };
    alppaca_command::println!("{}", signed_in(&name));
    Ok(())
}

/// How to sign in for a source, one of so many that need it: `login` by itself finds the only one.
pub(super) fn login_command(source: &str, needed: usize) -> String {
    if needed > 1 { format!("alppaca login {source}") } else { "alppaca login".to_owned() }
}

/// That it worked, for the person.
fn signed_in(name: &str) -> String {
    // Not every provider says who it is.
    if name.is_empty() { "Signed in.".to_owned() } else { format!("Signed in as {}.", human::foreign(name)) }
}

fn request(args: &Args, method: MethodWord) -> BeginRequest {
    BeginRequest { source: args.source.clone(), method, port: None, agent: None }
}

/// Begins, and answers the path of the attempt.
fn begin(client: &Client, request: &BeginRequest) -> Result<String, Failure> {
    let body = serde_json::to_vec(request).map_err(Failure::runtime)?;
    let answer = client.call("POST", "/v1/sign-in", &body, ANSWER_LIMIT).map_err(|error| failure(&error))?;
    let Begun { attempt } = client.document(&answer).map_err(|error| failure(&error))?;
    Ok(format!("/v1/sign-in/{attempt}"))
}

/// How far the attempt is, once the provider has answered.
fn progress(client: &Client, attempt: &str) -> Result<ProgressDocument, Failure> {
    client.get(&format!("{attempt}?wait={MAX_WAIT}"), PATIENCE).map_err(|error| failure(&error))
}

/// Waits until the attempt is over; answers who has signed in.
fn end(client: &Client, attempt: &str) -> Result<String, Failure> {
    loop {
        let progress = client.get(&format!("{attempt}/end?wait={MAX_WAIT}"), PATIENCE);
        if let Some(outcome) = outcome(progress.map_err(|error| failure(&error))?) {
            return outcome;
        }
    }
}

fn outcome(progress: ProgressDocument) -> Option<Result<String, Failure>> {
    match progress {
        ProgressDocument::Done { name } => Some(Ok(name)),
        ProgressDocument::Failed { message } => Some(Err(not_signed_in(&message))),
        _ => None,
    }
}

/// How the message begins.
const NOT_SIGNED_IN: &str = "not signed in: ";

fn not_signed_in(message: &str) -> Failure {
    Failure::runtime(format!("{NOT_SIGNED_IN}{}", human::foreign(message)))
}

fn with_code(args: &Args, client: &Client) -> Result<String, Failure> {
    let attempt = begin(client, &request(args, MethodWord::Device))?;
    match progress(client, &attempt)? {
        ProgressDocument::Device { code, url, complete_url, seconds } => {
            alppaca_command::println!("Open {} in any browser and enter the code", human::foreign(&url));
            alppaca_command::println!("\n    {}\n", human::foreign(&code));
            if let Some(complete) = complete_url {
                alppaca_command::println!("or open {}", human::foreign(&complete));
            }
            alppaca_command::println!("The code is valid for {}.", human::time(seconds));
            end(client, &attempt)
        }
        ProgressDocument::Paste { url } => {
            alppaca_command::println!("Open this in any browser to sign in:\n\n    {}\n", human::foreign(url.expose()));
            alppaca_command::println!("Then enter the text that the last page shows:");
            client.call("POST", &attempt, &pasted()?, ANSWER_LIMIT).map_err(|error| failure(&error))?;
            end(client, &attempt)
        }
        other => outcome(other).unwrap_or_else(|| Err(not_signed_in("the daemon does not know how to go on"))),
    }
}

/// What the last page showed, as a browser of this host would have brought it back.
fn pasted() -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut line = Zeroizing::new(String::with_capacity(LONGEST_PASTE));
    std::io::stdin().lock().take(LONGEST_PASTE as u64).read_line(&mut line).map_err(Failure::runtime)?;
    let query = STANDARD.decode(line.trim()).ok().map(Zeroizing::new);
    let query = query.as_ref().and_then(|query| str::from_utf8(query).ok()).filter(|query| query.contains("code="));
    let query = query.ok_or_else(|| not_signed_in("this is not the text that the last page shows"))?;
    serde_json::to_vec(&callback::parameters(query)).map(Zeroizing::new).map_err(Failure::runtime)
}
