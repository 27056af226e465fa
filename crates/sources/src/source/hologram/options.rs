//! `kind: hologram`: an existing hologram-server.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{Asked, Hologram, Server, tls::Pin};
use crate::{
    credentials::RoleArn,
    needs::Needs,
    refresh::{CallLimit, Fetch},
    settings::{Fields, NamedFiles, Node, Problem, Setting, options, read},
    source::{
        host_env::HostEnv,
        kind::{Kind, Opened, Opening, Provides, Written},
        purpose::{Purpose, Serves},
    },
    ssh_agent::{Agent, Choice},
};

/// Where a hologram-server listens.
const PORT: u16 = 3100;

options! {
    /// The server, and the key that proves the user to it.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(in crate::source) struct Options {
        /// Its name or address, and port.
        pub server: String = Setting::nested(
            "server",
            "",
            "The hologram-server: `host` or `host:port`, by default port 3100. Required.",
        ) => required("a hologram source needs a `server`", server);
        /// What a role asks for that does not say it.
        pub role: Option<String> = Setting::nested(
            "role",
            "",
            "What is asked for: a name, `alias/name` or an ARN, as with `hologram use`. By default the user's default role, \
             as with `hologram me`. A role's own `upstream_role` or `role_arn` is asked for instead.",
        ) => optional(read::text);
        /// The agent.
        pub agent_socket: Option<PathBuf> = Setting::nested(
            "agent_socket",
            "",
            "The socket of the ssh-agent. By default `$SSH_AUTH_SOCK`.",
        ) => optional(read::path);
        /// One of its keys.
        pub key: Option<String> = Setting::nested(
            "key",
            "",
            "The key to use: its `.pub` file, its fingerprint (`SHA256:…`, as `ssh-add -l` shows it) or its comment. By default \
             all keys of the agent in turn, up to 16.",
        ) => optional(read::text);
        /// The server's key.
        pub pin: Option<Pin> = Setting::nested(
            "pin",
            "",
            "The SHA-256 of the server's public key, `sha256//…` in base64, as in curl's `--pinnedpubkey`. Any other is \
             refused.",
        ) => optional(pin);
        /// The authorities of the server's certificate.
        pub ca_file: Option<PathBuf> = Setting::nested(
            "ca_file",
            "",
            "PEM file of the authorities that may have signed the server's certificate, instead of `pin`. Its name has to \
             be that of `server`.",
        ) => optional(read::path);
        /// For one connection.
        pub connect_timeout: Duration = Setting::nested(
            "connect_timeout",
            "3s",
            "Longest time for the TCP and TLS handshakes of a connection.",
        ) => value(read::limit);
        /// For one whole call.
        pub timeout: Duration = Setting::nested(
            "timeout",
            "30s",
            "Longest time for one whole call, in which you may have to confirm the use of the key (`ssh-add -c`).",
        ) => value(read::limit);
        /// How many calls may run at once.
        pub concurrency: usize = Setting::nested("concurrency", "2", "How many calls may run at once.")
            => value(read::count);
    }
    before Options::one_of;
    after Options::warn;
}

impl Written for Options {
    const WORD: &'static str = "hologram";
}

impl Options {
    fn one_of(fields: &mut Fields) {
        fields.exclude("pin", &["ca_file"]);
    }

    #[expect(clippy::unnecessary_wraps, reason = "a check may refuse what was read")]
    fn warn(self, fields: &mut Fields) -> Option<Self> {
        let message = match self.pin {
            Some(pin) if pin.is_public() => {
                "this is the key that is compiled into every hologram-server: its private half is public, so it proves \
                 nothing"
            }
            None if self.ca_file.is_none() => {
                "the hologram-server is not verified: anybody on the path to it can take its place, pass your signatures \
                 on and read your credentials. Set `pin` or `ca_file`"
            }
            _ => return Some(self),
        };
        let place = fields.place("pin").or_else(|| fields.place("server"));
        if let Some(place) = place {
            fields.warnings.push(Problem::new(place, message));
        }
        Some(self)
    }

    fn choice(&self, host_env: &HostEnv) -> Option<Choice> {
        let key = self.key.as_deref()?;
        let below_home = || Some(host_env.home.as_ref()?.join(key.strip_prefix("~/")?));
        Some(Choice::parse(&below_home().map_or(key.into(), |path| path.to_string_lossy().into_owned())))
    }
}

/// `host:port`, with a port.
fn server(node: &Node) -> Result<String, Problem> {
    let text = read::text(node)?;
    let wrong =
        || Problem::new(node.place.clone(), "host or host:port is expected here, such as hologram.example.com:3100");
    let (host, port) = match text.rsplit_once(':') {
        // An address of IPv6 without a port ends with its bracket.
        Some((host, port)) if !port.ends_with(']') => (host, port.parse::<u16>().map_err(|_| wrong())?),
        _ => (text.as_str(), PORT),
    };
    let name = host.strip_prefix('[').map_or(Some(host), |rest| rest.strip_suffix(']')).ok_or_else(wrong)?;
    if rustls_pki_types::ServerName::try_from(name).is_err() || port == 0 {
        return Err(wrong());
    }
    Ok(format!("{host}:{port}"))
}

fn pin(node: &Node) -> Result<Pin, Problem> {
    let message = "sha256// and the base64 of a SHA-256 is expected here, as in curl's --pinnedpubkey";
    read::text_like(node, "^sha256//")?.parse().map_err(|()| Problem::new(node.place.clone(), message))
}

impl Kind for Options {
    fn provides(&self) -> Provides {
        Provides::PerName
    }

    fn summary(&self) -> String {
        let verified = match (self.pin, &self.ca_file) {
            (Some(pin), _) if pin.is_public() => ", NOT VERIFIED (the pinned key is public)".to_owned(),
            (Some(pin), _) => format!(", pinned to {pin}"),
            (None, Some(_)) => String::new(),
            (None, None) => ", NOT VERIFIED".to_owned(),
        };
        let key = self.key.as_ref().map_or_else(|| "any key".to_owned(), |key| format!("the key {key}"));
        format!("{}, with {key} of the ssh-agent{verified}", self.server)
    }

    fn call_limit(&self) -> CallLimit {
        CallLimit { concurrency: self.concurrency, rate: None }
    }

    fn is_role_session(&self) -> bool {
        true
    }

    fn files(&self, host_env: &HostEnv, files: &mut NamedFiles) {
        files.authorities("ca_file", self.ca_file.as_ref());
        if let Some(Choice::File(file)) = self.choice(host_env) {
            files.obeyed("key", Some(file));
        }
    }

    fn needs(&self, _: &HostEnv, needs: &mut Needs) {
        needs.url(&format!("tcp://{}", self.server), "the hologram-server");
    }

    fn open(&self, opening: &Opening) -> Result<Arc<dyn Opened>, String> {
        let socket = self.agent_socket.clone().or_else(|| opening.host_env.ssh_auth_sock.clone());
        let socket = socket.ok_or("there is no ssh-agent: SSH_AUTH_SOCK is not set here; set `agent_socket`")?;
        let server = Server::new(&self.server, self.connect_timeout, self.pin, self.ca_file.as_deref());
        let server = server.map_err(|error| error.to_string())?;
        let agent = Agent::new(socket, self.timeout);
        let hologram = Arc::new(Hologram::new(server, agent, self.choice(opening.host_env), self.timeout));
        Ok(Arc::new(Ready { hologram, role: self.role.clone() }))
    }
}

/// It is shared by its roles.
struct Ready {
    hologram: Arc<Hologram>,
    role: Option<String>,
}

impl Opened for Ready {
    fn call(&self, purpose: &Purpose, _: Serves) -> Result<Arc<dyn Fetch>, String> {
        let arn = purpose.role_arn.map(RoleArn::as_str);
        let role = arn.or(purpose.upstream_role).map(str::to_owned).or_else(|| self.role.clone());
        let hologram = Arc::clone(&self.hologram);
        Ok(Arc::new(Asked { hologram, role, role_arn: purpose.role_arn.cloned() }))
    }
}
