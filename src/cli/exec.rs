//! `alppaca exec`: run a program with credentials that it refreshes by itself.

use std::{collections::BTreeMap, ffi::OsString, os::unix::process::CommandExt, process::Command, time::Duration};

use super::{
    Failure, Outcome, complete, environment,
    sdk::{CREDENTIAL_VARIABLES, PROXY_VARIABLES, ProfileFiles, Variables},
    socket::{ANSWER_LIMIT, Socket, failure, without_role},
};
use crate::{
    admin::{ExecDocument, ExecRequest, MAX_WAIT},
    credentials::RoleName,
};

/// As `env` and shells have it.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// Arguments of `exec`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The program finds an endpoint of the daemon and a private token in its environment
(AWS_CONTAINER_CREDENTIALS_FULL_URI, AWS_CONTAINER_AUTHORIZATION_TOKEN), which every AWS SDK knows,
and so gets new credentials whenever it needs them. The daemon needs no setting for that.

The token is valid as long as the program runs, also when the daemon is restarted; its children may
use it until then. Variables with other credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE, …) are removed,
AWS_REGION is set if the daemon knows a region and you have set none. exec replaces
itself by the program: signals and the exit code are the program's.

Examples:
  alppaca exec -- aws s3 ls
  alppaca exec deploy -- terraform apply

Exit codes: those of the program; or, if it could not be started: 1 failed, 2 the command line is
wrong, 3 no daemon answers, 4 there is no such role for you, 5 there are no valid credentials at the
moment, or a sign-in is needed, 126 the program cannot be run, 127 there is no such program.")]
pub(super) struct Args {
    /// The role [default: the one that a program on this host gets]
    #[arg(add = complete::roles())]
    role: Option<RoleName>,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    /// How many seconds to wait for a role whose first fetch is under way, or which has expired
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=MAX_WAIT))]
    wait: u64,
    #[command(flatten)]
    socket: Socket,
}

/// Gets a token and becomes the program; returns only if that fails.
pub(super) fn run(args: &Args) -> Outcome {
    let client = args.socket.client();
    let request = ExecRequest { role: args.role.as_ref().map(ToString::to_string) };
    let body = serde_json::to_vec(&request).map_err(Failure::runtime)?;
    let path = format!("/v1/exec-token?wait={}", args.wait);
    let answer = client.call("POST", &path, &body, Duration::from_secs(args.wait) + ANSWER_LIMIT);
    let answer = answer.map_err(|error| failure(&error))?;
    let document: ExecDocument = client.document(&answer).map_err(|error| without_role(&client, &error))?;
    let variables = environment::variables();
    let files = ProfileFiles::read(&variables);
    let changes = changes(&document, &variables, &files);
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(Failure::usage("which program shall be run? Write it after --"));
    };
    let mut command = Command::new(program);
    command.args(arguments);
    for (name, value) in changes.variables {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    for note in changes.notes {
        alppaca_command::eprintln!("alppaca exec: {note}");
    }
    let error = command.exec();
    let code = if error.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
    Err(Failure { code, message: format!("cannot run {}: {error}", program.to_string_lossy()) })
}

/// What the program finds other than we do.
struct Changes {
    /// New values; `None` removes a variable.
    variables: BTreeMap<String, Option<String>>,
    /// What the person should know.
    notes: Vec<String>,
}

fn changes(document: &ExecDocument, variables: &Variables, files: &ProfileFiles) -> Changes {
    let mut set: BTreeMap<String, Option<String>> =
        CREDENTIAL_VARIABLES.iter().map(|name| ((*name).to_owned(), None)).collect();
    let mut notes = Vec::new();
    let mut put = |name: &str, value: &str| drop(set.insert(name.to_owned(), Some(value.to_owned())));
    put("AWS_CONTAINER_CREDENTIALS_FULL_URI", &document.url);
    put("AWS_CONTAINER_AUTHORIZATION_TOKEN", document.token.expose());
    // The SDKs believe a profile before they ask an endpoint.
    let mut region = document.region.as_deref();
    if let Some(shadow) = files.shadow("default") {
        let of_profile = files.setting("default", "region");
        notes.push(format!(
            "the default profile has credentials of its own ({} in {}), so the program does not get to see that file",
            shadow.setting,
            shadow.file.display()
        ));
        put("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        if shadow.file == files.config.path {
            put("AWS_CONFIG_FILE", "/dev/null");
            region = of_profile.or(region);
        }
    } else if files.setting("default", "region").is_some() {
        // The person's own choice.
        region = None;
    }
    if let Some(region) = region
        && variables.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]).is_none()
    {
        put("AWS_REGION", region);
        put("AWS_DEFAULT_REGION", region);
    }
    let host = document.url.parse::<http::Uri>().ok().and_then(|url| url.host().map(str::to_owned));
    if let Some(host) = host.filter(|host| !variables.avoids_proxy(host))
        && variables.first(&PROXY_VARIABLES).is_some()
    {
        for name in ["no_proxy", "NO_PROXY"] {
            match variables.get(name) {
                Some(list) => put(name, &format!("{list},{host}")),
                None => put(name, &host),
            }
        }
    }
    Changes { variables: set, notes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Secret;

    fn document() -> ExecDocument {
        ExecDocument {
            role: "web".into(),
            url: "http://127.0.0.1:25773/role/web".into(),
            token: Secret::new("t0ken"),
            region: Some("eu-central-1".into()),
        }
    }

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        Variables(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[allow(clippy::option_option, reason = "removed and untouched are not the same")]
    fn value<'a>(changes: &'a Changes, name: &str) -> Option<Option<&'a str>> {
        changes.variables.get(name).map(Option::as_deref)
    }

    #[test]
    fn other_credentials_are_removed_and_ours_set() {
        let changes = changes(&document(), &variables(&[]), &ProfileFiles::default());
        for name in ["AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] {
            assert_eq!(value(&changes, name), Some(None), "{name}");
        }
        assert_eq!(
            value(&changes, "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
            Some(Some("http://127.0.0.1:25773/role/web"))
        );
        assert_eq!(value(&changes, "AWS_CONTAINER_AUTHORIZATION_TOKEN"), Some(Some("t0ken")));
        assert_eq!(value(&changes, "AWS_REGION"), Some(Some("eu-central-1")));
        assert_eq!((value(&changes, "NO_PROXY"), value(&changes, "AWS_CONFIG_FILE")), (None, None));
        assert!(changes.notes.is_empty());
    }

    #[test]
    fn a_region_of_ones_own_stays_and_proxies_are_gone_round() {
        let own = variables(&[("AWS_DEFAULT_REGION", "us-east-1"), ("http_proxy", "http://p"), ("NO_PROXY", "x")]);
        let changed = changes(&document(), &own, &ProfileFiles::default());
        assert_eq!(value(&changed, "AWS_REGION"), None);
        assert_eq!(value(&changed, "no_proxy"), Some(Some("127.0.0.1")));
        assert_eq!(value(&changed, "NO_PROXY"), Some(Some("x,127.0.0.1")));
        let fine = variables(&[("http_proxy", "http://p"), ("no_proxy", "127.0.0.1")]);
        assert_eq!(value(&changes(&document(), &fine, &ProfileFiles::default()), "no_proxy"), None);
    }

    #[test]
    fn a_default_profile_with_credentials_is_kept_from_the_program() {
        let home = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(home.path().join(".aws")).expect("ours");
        let write = |name: &str, text: &str| std::fs::write(home.path().join(".aws").join(name), text).expect("ours");
        let variables = variables(&[("HOME", home.path().to_str().expect("UTF-8"))]);
        write("config", "[default]\nregion = eu-west-3\n");
        let changed = changes(&document(), &variables, &ProfileFiles::read(&variables));
        assert_eq!((value(&changed, "AWS_REGION"), value(&changed, "AWS_CONFIG_FILE")), (None, None));
        write("credentials", "[default]\naws_access_key_id = K\naws_secret_access_key = S\n");
        let changed = changes(&document(), &variables, &ProfileFiles::read(&variables));
        assert_eq!(value(&changed, "AWS_SHARED_CREDENTIALS_FILE"), Some(Some("/dev/null")));
        assert_eq!(value(&changed, "AWS_CONFIG_FILE"), None);
        write("credentials", "");
        write("config", "[default]\nregion = eu-west-3\ncredential_process = x\n");
        let changed = changes(&document(), &variables, &ProfileFiles::read(&variables));
        assert_eq!(value(&changed, "AWS_CONFIG_FILE"), Some(Some("/dev/null")));
        assert_eq!(value(&changed, "AWS_REGION"), Some(Some("eu-west-3")));
        assert!(changed.notes.first().is_some_and(|note| note.contains("credential_process in ")));
    }
}
