//! The settings of lyft/metadataproxy, all of which are environment variables.
//! <https://github.com/lyft/metadataproxy#configuration>

use std::collections::BTreeMap;

use super::text::Text;
use crate::credentials::AccountId;

type Variables = BTreeMap<String, String>;

/// Its settings, and those of boto3 that matter to it.
const KNOWN: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_ACCOUNT_MAP",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "DEBUG",
    "DEFAULT_ACCOUNT_ID",
    "DEFAULT_ROLE",
    "DOCKER_URL",
    "HOST",
    "HOSTNAME_MATCH_REGEX",
    "MESOS_STATE_LOOKUP",
    "MESOS_STATE_TIMEOUT",
    "MESOS_STATE_URL",
    "METADATA_URL",
    "MOCKED_INSTANCE_ID",
    "MOCK_API",
    "PATCH_ECS_ALLOWED_HOSTS",
    "PORT",
    "ROLE_EXPIRATION_THRESHOLD",
    "ROLE_MAPPING_FILE",
    "ROLE_REVERSE_LOOKUP",
    "ROLE_SESSION_KEY",
];

/// Prefixes of names that may have been meant for metadataproxy, too.
const PREFIXES: &[&str] = &["AWS_", "DEFAULT_", "DOCKER_", "HOSTNAME_", "MESOS_", "METADATA_", "MOCK", "ROLE_"];

/// Its own session name where containers have none.
const SESSION_NAME: &str = "devproxyauth";

/// What is converted of its mock tree; the rest is in our defaults, or not requested by clients.
const MOCKED: &[(&str, &str)] = &[
    ("ami-id", "ami-mockedami"),
    ("ami-launch-index", "0"),
    ("ami-manifest-path", "(unknown)"),
    ("hostname", "mocked.internal"),
    ("instance-action", "none"),
    ("instance-type", "t2.medium"),
    ("profile", "default-hvm"),
    ("public-hostname", "mocked.internal"),
    ("public-ipv4", "127.255.0.1"),
    ("reservation-id", "r-1234"),
    ("security-groups", "default"),
];

/// The configuration, as it is being written.
struct Writer<'a> {
    variables: &'a Variables,
    text: Text,
}

/// Our configuration from metadataproxy's, with a comment at all that changes or cannot be kept. It shows no value of a
/// variable that may be secret.
pub fn translate(variables: &Variables) -> String {
    let mut writer = Writer { variables, text: Text::new("metadataproxy", "metadataproxy") };
    writer.listeners();
    writer.upstream();
    writer.containers();
    writer.metadata();
    writer.rest();
    writer.text.into_string()
}

impl Writer<'_> {
    fn line(&mut self, line: &str) {
        self.text.line(line);
    }

    /// Comments of one line each.
    fn note(&mut self, note: &str) {
        for line in note.lines() {
            self.text.note(line);
        }
    }

    /// A value that is there and not empty.
    fn get(&self, name: &str) -> Option<String> {
        self.variables.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// As metadataproxy reads booleans.
    fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| matches!(&*value.to_lowercase(), "y" | "yes" | "t" | "true" | "on" | "1"))
    }

    fn listeners(&mut self) {
        self.line("");
        if self.get("HOST").is_some() || self.get("PORT").is_some() {
            self.note("HOST and PORT: containers reach the daemon by `alppaca capture`, which takes the place of the");
            self.note("iptables rule; remove that rule.");
        }
        self.note(
            "The daemon listens at the address of docker0, not everywhere. If yours is another one, change it here,",
        );
        self.note(
            "and capture with: alppaca capture apply --mode dnat --only-bridges --bridge docker0 --to 172.17.0.1:25772",
        );
        self.note(
            "(Away from EC2 `alppaca capture apply --bridge docker0` is better, with listen: ['169.254.169.254:80'].)",
        );
        self.line("listen: ['127.0.0.1:25772', '172.17.0.1:25772']");
        if self.flag("DEBUG") {
            self.line("log_level: debug");
        }
        self.note("The user of the daemon needs access to Docker's socket: usually the group `docker`, which is as good as root.");
    }

    /// Where boto3 found the credentials that assume the roles.
    fn upstream(&mut self) {
        self.line("");
        self.line("sources:");
        if self.get("AWS_ACCESS_KEY_ID").is_some() {
            self.note(
                "AWS_ACCESS_KEY_ID: put the keys into a profile of ~/.aws/credentials; they are not written here.",
            );
            self.line("  base: {kind: profile, profile: default}");
        } else if let Some(profile) = self.get("AWS_PROFILE") {
            self.line(&format!("  base: {{kind: profile, profile: {}}}", quoted(&profile)));
        } else {
            self.note("The instance's own role assumes those of containers, as boto3 had it.");
            self.line("  base: {kind: imds}");
        }
        match self.get("AWS_REGION") {
            Some(region) => {
                self.line(&format!("aws_region: {}", quoted(&region)));
            }
            None => {
                self.note(
                    "AWS_REGION is not set: STS is called in the region of `aws_region`, eu-central-1 by default.",
                );
            }
        }
    }

    fn containers(&mut self) {
        self.line("");
        self.line("containers:");
        self.line("  source: base");
        self.socket();
        self.note(
            "Anyone who starts a container can write its IAM_ROLE, so `allow` lists what is granted. This one \
             keeps what",
        );
        self.note("metadataproxy did: everything. Narrow it, for example to:");
        for account in self.accounts_in_use() {
            self.note(&format!("  - arn:aws:iam::{account}:role/app-*"));
        }
        self.line("  allow: ['arn:*']");
        if let Some(role) = self.get("DEFAULT_ROLE") {
            let account = self.get("DEFAULT_ACCOUNT_ID").is_some() || role.contains('@') || role.starts_with("arn:");
            if account {
                self.entry("default_role", &role);
            } else {
                self.note(&format!(
                    "DEFAULT_ROLE={role}: there is no account (alppaca does not look it up in IAM); write name@account:"
                ));
                self.line("  # default_role: …@…");
            }
        }
        match self.get("DEFAULT_ACCOUNT_ID") {
            Some(account) => self.entry("default_account", &account),
            None => {
                self.note(
                    "DEFAULT_ACCOUNT_ID is not set: metadataproxy asked IAM (GetRole) for the ARN of a role without an",
                );
                self.note("account. alppaca does not; such roles are refused until you set: default_account: '…'");
            }
        }
        self.accounts();
        self.session_names();
        self.other_identities();
        self.note(
            "A listing shows the name of a role without its path, as EC2 does; metadataproxy showed the path, too.",
        );
        if self.get("ROLE_EXPIRATION_THRESHOLD").is_some() {
            self.note(
                "ROLE_EXPIRATION_THRESHOLD is not needed: roles are fetched when a container starts, and long before",
            );
            self.note("they expire.");
        }
    }

    fn entry(&mut self, key: &str, value: &str) {
        self.line(&format!("  {key}: {}", quoted(value)));
    }

    fn socket(&mut self) {
        match self.get("DOCKER_URL") {
            None => self.line("  sockets: /run/docker.sock"),
            Some(url) => match url.strip_prefix("unix://").map(|path| format!("/{}", path.trim_start_matches('/'))) {
                Some(path) => self.entry("sockets", &path),
                None => {
                    self.note(&format!("DOCKER_URL={url}: only Unix sockets are supported."));
                    self.line("  sockets: /run/docker.sock");
                }
            },
        }
    }

    fn account_map(&self) -> Option<Result<BTreeMap<String, String>, ()>> {
        let text = self.get("AWS_ACCOUNT_MAP")?;
        Some(serde_json::from_str(&text).map_err(|_not_a_map| ()))
    }

    fn accounts_in_use(&self) -> Vec<String> {
        let map = self.account_map().and_then(Result::ok).unwrap_or_default();
        let mut all: Vec<String> = self.get("DEFAULT_ACCOUNT_ID").into_iter().chain(map.into_values()).collect();
        all.retain(|account| account.parse::<AccountId>().is_ok());
        all.sort();
        all.dedup();
        if all.is_empty() { vec!["123456789012".to_owned()] } else { all }
    }

    fn accounts(&mut self) {
        match self.account_map() {
            None => {}
            Some(Err(())) => {
                self.note("AWS_ACCOUNT_MAP is not a JSON object of names and numbers; nothing was taken over.");
            }
            Some(Ok(map)) => {
                let (good, bad): (Vec<_>, Vec<_>) =
                    map.into_iter().partition(|(_, number)| number.parse::<AccountId>().is_ok());
                let entries: Vec<String> =
                    good.iter().map(|(name, number)| format!("{}: {}", quoted(name), quoted(number))).collect();
                self.line(&format!("  accounts: {{{}}}", entries.join(", ")));
                for (name, number) in bad {
                    self.note(&format!(
                        "AWS_ACCOUNT_MAP: {name} is {number}, which is not an account (twelve digits)."
                    ));
                }
            }
        }
    }

    fn session_names(&mut self) {
        self.entry("session_name", SESSION_NAME);
        match self.get("ROLE_SESSION_KEY") {
            None => {}
            Some(key) if key.starts_with("Env:") || key.starts_with("Labels:") => self.entry("session_name_from", &key),
            Some(key) => self.note(&format!("ROLE_SESSION_KEY={key} is neither Env:NAME nor Labels:NAME.")),
        }
    }

    /// Other ways than the runtime's addresses.
    fn other_identities(&mut self) {
        if let Some(file) = self.get("ROLE_MAPPING_FILE") {
            self.note("The file is read again when it changes. As with metadataproxy, it replaces the runtime.");
            self.entry("mapping_file", &file);
        }
        if self.flag("ROLE_REVERSE_LOOKUP") {
            let pattern = self.get("HOSTNAME_MATCH_REGEX").unwrap_or_else(|| "^.*$".to_owned());
            match crate::caller::containers::HostNames::new(&pattern) {
                Ok(_) => {
                    self.note("Reverse look-ups trust anyone who can write PTR records.");
                    self.entry("host_name_pattern", &pattern);
                }
                Err(error) => {
                    self.note(&format!("HOSTNAME_MATCH_REGEX={pattern} never matched in metadataproxy: {error}"));
                }
            }
        }
        if self.flag("MESOS_STATE_LOOKUP") {
            self.note(
                "MESOS_STATE_LOOKUP: Mesos is not supported. ROLE_MAPPING_FILE's equivalent, mapping_file, may do.",
            );
        }
        self.note("Labels may name a role, too: role_from: [Env:IAM_ROLE, Labels:NAME]");
    }

    fn metadata(&mut self) {
        self.line("");
        if self.flag("MOCK_API") {
            self.line("metadata:");
            if let Some(region) = self.get("AWS_REGION") {
                self.entry("region", &region);
            }
            self.line("  meta-data:");
            let id = format!("i-{}", self.get("MOCKED_INSTANCE_ID").unwrap_or_else(|| "mockedid".to_owned()));
            self.line(&format!("    instance-id: {}", quoted(&id)));
            for (key, value) in MOCKED {
                self.line(&format!("    {key}: {}", quoted(value)));
            }
            self.note(
                "The mocked network interfaces, block devices and public keys are not translated; write them here if",
            );
            self.note("something reads them.");
            return;
        }
        let url = self.get("METADATA_URL").unwrap_or_else(|| "http://169.254.169.254".to_owned());
        match url.parse::<http::Uri>().map(|url| url.scheme_str().is_some_and(|scheme| scheme.starts_with("http"))) {
            Ok(true) => {
                self.note(
                    "What is not about credentials comes from the real IMDS, with IMDSv2, which metadataproxy \
                     did not support.",
                );
                self.line(&format!("metadata: {{passthrough: {}}}", quoted(url.trim_end_matches('/'))));
            }
            _ => self.note(&format!("METADATA_URL={url} is not a URL.")),
        }
    }

    fn rest(&mut self) {
        if self.get("PATCH_ECS_ALLOWED_HOSTS").is_some() {
            self.line("");
            self.note(
                "PATCH_ECS_ALLOWED_HOSTS patched boto for ECS; here that is a face of its own: `container` in alppaca.yaml(5).",
            );
        }
        let unknown: Vec<&str> = self
            .variables
            .keys()
            .map(String::as_str)
            .filter(|name| !KNOWN.contains(name) && PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
            .collect();
        if !unknown.is_empty() {
            let names = unknown.join(", ");
            self.line("");
            self.note(&format!("Unknown settings of metadataproxy, not translated: {names}"));
        }
    }
}

/// A JSON string is a YAML string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(pairs: &[(&str, &str)]) -> String {
        translate(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn each_setting_has_its_place() {
        let text = translated(&[
            ("DEFAULT_ROLE", "web"),
            ("DEFAULT_ACCOUNT_ID", "111111111111"),
            ("AWS_ACCOUNT_MAP", r#"{"prod": "222222222222", "old": "7"}"#),
            ("ROLE_SESSION_KEY", "Labels:com.example.user"),
            ("DOCKER_URL", "unix:///var/run/docker.sock"),
            ("AWS_REGION", "us-east-1"),
            ("ROLE_REVERSE_LOOKUP", "true"),
            ("HOSTNAME_MATCH_REGEX", r"^([a-z]+)\..*$"),
            ("MOCK_API", "True"),
            ("MOCKED_INSTANCE_ID", "abc"),
            ("DEBUG", "1"),
        ]);
        for line in [
            "\n  default_role: \"web\"\n",
            "\n  default_account: \"111111111111\"\n",
            "\n  accounts: {\"prod\": \"222222222222\"}\n# ! AWS_ACCOUNT_MAP: old is 7,",
            "\n  session_name_from: \"Labels:com.example.user\"\n",
            "\n  session_name: \"devproxyauth\"\n",
            "\n  sockets: \"/var/run/docker.sock\"\n",
            "\naws_region: \"us-east-1\"\n",
            "\n  host_name_pattern: \"^([a-z]+)\\\\..*$\"\n",
            "\n    instance-id: \"i-abc\"\n",
            "\nlog_level: debug\n",
            "# !   - arn:aws:iam::222222222222:role/app-*\n",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn what_cannot_be_kept_is_said() {
        let text = translated(&[
            ("DOCKER_URL", "tcp://1.2.3.4:2375"),
            ("MESOS_STATE_LOOKUP", "true"),
            ("ROLE_REVERSE_LOOKUP", "true"),
            ("ROLE_SESSION_KEY", "user"),
            ("DEFAULT_ROLE", "web"),
            ("AWS_ACCOUNT_MAP", "["),
            ("ROLE_TYPO", "x\n: y"),
            ("PATH", "/bin"),
        ]);
        for part in [
            "# ! DOCKER_URL=tcp://1.2.3.4:2375: only Unix sockets",
            "# ! MESOS_STATE_LOOKUP: Mesos is not supported",
            "# ! HOSTNAME_MATCH_REGEX=^.*$ never matched",
            "# ! ROLE_SESSION_KEY=user is neither",
            "# ! DEFAULT_ROLE=web: there is no account",
            "# ! DEFAULT_ACCOUNT_ID is not set",
            "# ! AWS_ACCOUNT_MAP is not a JSON object",
            "not translated: ROLE_TYPO\n",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("PATH"), "{text}");
    }

    #[test]
    fn no_secret_is_written() {
        let text = translated(&[
            ("AWS_ACCESS_KEY_ID", "AKIAHUSH"),
            ("AWS_SECRET_ACCESS_KEY", "hush"),
            ("AWS_SESSION_TOKEN", "hush"),
            ("AWS_SOMETHING", "hush"),
        ]);
        assert!(text.contains("kind: profile") && !text.to_lowercase().contains("hush"), "{text}");
    }
}
