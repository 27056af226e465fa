//! `alppaca credentials`: one set of credentials from the daemon, for `credential_process`, a shell or a script.

use std::{io::Write, time::Duration};

use zeroize::Zeroizing;

use super::{
    Failure, Outcome, complete,
    socket::{ANSWER_LIMIT, Socket, failure, without_role},
};
use crate::{
    admin::{CredentialsDocument, MAX_WAIT},
    credentials::RoleName,
};

/// Arguments of `credentials`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The daemon has the credentials already, so this takes milliseconds, but for the first of an idle
role. Programs that use 169.254.169.254 need none of this; `alppaca exec` suits the others best,
because programs that it starts get fresh credentials.

Examples:
  # ~/.aws/config: a profile whose credentials come from the daemon
  [profile web]
  credential_process = /usr/bin/alppaca credentials web

  # this shell, until they expire
  eval \"$(alppaca credentials web --format env)\"

  # curl signs by itself; the secret stays out of the process list
  eval \"$(alppaca credentials --format env)\"
  curl --aws-sigv4 aws:amz:eu-central-1:s3 -H \"x-amz-security-token: $AWS_SESSION_TOKEN\" \\
       -K - https://BUCKET.s3.eu-central-1.amazonaws.com/KEY <<< \\
       \"user = \\\"$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY\\\"\"

Exit codes: 0 printed, 1 failed, 2 the command line is wrong, 3 no daemon answers,
4 there is no such role for you, 5 there are no valid credentials at the moment, or a
sign-in is needed.")]
pub(super) struct Args {
    /// The role [default: the one that a program on this host gets]
    #[arg(add = complete::roles())]
    role: Option<RoleName>,
    /// The output format
    #[arg(short, long, value_enum, default_value_t = Format::Process)]
    format: Format,
    /// How many seconds to wait for a role whose first fetch is under way, or which has expired
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=MAX_WAIT))]
    wait: u64,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// The JSON that `credential_process` of the AWS SDKs expects
    Process,
    /// `export AWS_…=…`, for a shell
    Env,
    /// Everything that the daemon returns, as JSON
    Json,
}

/// Asks, and prints.
pub(super) fn run(args: &Args) -> Outcome {
    let role = args.role.as_ref().map(|role| format!("/{role}")).unwrap_or_default();
    let path = format!("/v1/credentials{role}?wait={}", args.wait);
    let client = args.socket.client();
    let answer = client.call("GET", &path, b"", Duration::from_secs(args.wait) + ANSWER_LIMIT);
    let answer = answer.map_err(|error| failure(&error))?;
    let document: CredentialsDocument = client.document(&answer).map_err(|error| without_role(&client, &error))?;
    let text = match args.format {
        Format::Process => process(&document).map_err(Failure::runtime)?,
        Format::Env => env(&document),
        Format::Json => answer.body,
    };
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(&text).and_then(|()| stdout.flush());
    written.map_err(|error| Failure::runtime(format!("cannot write: {error}")))
}

/// The words of `credential_process` alone.
///
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html>
fn process(document: &CredentialsDocument) -> serde_json::Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::with_capacity(16 * 1024));
    serde_json::to_writer(&mut *text, &CredentialsDocument { region: None, role: None, ..document.clone() })?;
    text.push(b'\n');
    Ok(text)
}

/// The variables of the AWS SDKs, and the one that says when they expire, as `aws configure export-credentials` has it.
fn env(document: &CredentialsDocument) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(16 * 1024));
    let mut export = |variable: &str, value: &str| {
        for part in ["export ", variable, "='", &*Zeroizing::new(value.replace('\'', "'\\''")), "'\n"] {
            text.extend_from_slice(part.as_bytes());
        }
    };
    export("AWS_ACCESS_KEY_ID", &document.access_key_id);
    export("AWS_SECRET_ACCESS_KEY", document.secret_access_key.expose());
    export("AWS_SESSION_TOKEN", document.session_token.expose());
    export("AWS_CREDENTIAL_EXPIRATION", &document.expiration);
    if let Some(region) = &document.region {
        export("AWS_REGION", region);
        export("AWS_DEFAULT_REGION", region);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Secret;

    fn document() -> CredentialsDocument {
        CredentialsDocument {
            version: 1,
            role: Some("web".into()),
            access_key_id: "ASIAEXAMPLE".into(),
            secret_access_key: Secret::new("wJalr/+="),
            session_token: Secret::new("IQoJ//="),
            expiration: "2026-11-23T10:00:00Z".into(),
            account_id: Some("123456789012".into()),
            region: Some("eu-central-1".into()),
        }
    }

    #[test]
    fn credential_process_gets_its_words_and_no_others() {
        let text = process(&document()).expect("JSON");
        assert_eq!(
            String::from_utf8_lossy(&text),
            "{\"Version\":1,\"AccessKeyId\":\"ASIAEXAMPLE\",\"SecretAccessKey\":\"wJalr/+=\",\
             \"SessionToken\":\"IQoJ//=\",\"Expiration\":\"2026-11-23T10:00:00Z\",\"AccountId\":\"123456789012\"}\n"
        );
    }

    #[test]
    fn a_shell_gets_exports_that_cannot_be_broken_out_of() {
        let odd = CredentialsDocument { access_key_id: "A'; rm -rf '".into(), ..document() };
        let text = String::from_utf8_lossy(&env(&odd)).into_owned();
        assert!(text.starts_with("export AWS_ACCESS_KEY_ID='A'\\''; rm -rf '\\'''\n"), "{text}");
        assert!(text.ends_with("export AWS_REGION='eu-central-1'\nexport AWS_DEFAULT_REGION='eu-central-1'\n"));
    }
}
