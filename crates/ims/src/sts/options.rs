//! The section `sts`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{
    Background, Sts,
    desk::Bounds,
    regions::{Region, Regions},
    signer::{Signer, Source},
};
use crate::{
    credentials::{Partition, RoleArn, RoleName},
    needs::Needs,
    refresh::failback,
    rules::{Effect, Rules},
    settings::{
        Fields, NamedFiles, Node, Problem, Rendered, Setting,
        read::{self, render_duration},
        render::{list, mapping, quoted},
    },
    source::{
        self, HostEnv, Kind, Opening, Purpose, Serves, Session,
        aws::{self, Aws, Rate},
        process::Program,
        read_kind,
        sts::Request,
    },
};

/// How roles are assumed.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the server's own credentials come from (`credentials`).
    credentials: Arc<dyn Kind>,
    /// What a source that gives a set for each role is asked for (`role_arn`).
    role_arn: Option<RoleArn>,
    /// The same, for one that knows roles by name (`upstream_role`).
    upstream_role: Option<String>,
    /// A role that is assumed before all others (`assume`), and what its owner wants to hear (`external_id`).
    assume: Option<RoleArn>,
    external_id: Option<String>,
    /// Where STS is called, in the order of preference (`regions`).
    regions: Vec<String>,
    /// How it is called there.
    way: Aws,
    /// `calls_per_second`, `max_wait`, `max_sets`.
    bounds: Bounds,
}

/// The settings.
pub const SETTINGS: &[Setting] = &[
    Setting::nested(
        "credentials",
        "",
        "The server's own credentials: one source, with its `kind` and settings as in alppaca's `sources`. Required.",
    )
    .on_restart(),
    Setting::nested("role_arn", "", "The role that the source is asked for, where it gives a set for each role.").on_restart(),
    Setting::nested("upstream_role", "", "The same, where the source knows roles by name.").on_restart(),
    Setting::nested(
        "assume",
        "",
        "A role that is assumed before all others. All sessions then last an hour at most (role chaining), as they do with \
         any credentials of a role.",
    )
    .on_restart(),
    Setting::nested("external_id", "", "What the owner of the role of `assume` requires.").on_restart(),
    Setting::nested(
        "regions",
        "eu-central-1",
        "Regions whose STS is called. The next is used while one fails or has had its share of calls.",
    )
    .on_restart(),
    Setting::nested(
        "calls_per_second",
        "100",
        "How many calls may begin in each region. AWS allows an account 600 by default, and this server has replicas.",
    )
    .on_restart(),
    Setting::nested("max_wait", "5s", "How long a client waits for a call before it is told to come back.").on_restart(),
    Setting::nested("max_sets", "100000", "How many sets are kept.").on_restart(),
    aws::SETTINGS[1].on_restart(),
    aws::SETTINGS[2].on_restart(),
    aws::SETTINGS[3].on_restart(),
    aws::SETTINGS[4].on_restart(),
    aws::SETTINGS[5].on_restart(),
    aws::SETTINGS[6].on_restart(),
    Setting::nested("connect_timeout", "2s", "Longest time for the TCP, proxy and TLS handshakes of a connection.").on_restart(),
    Setting::nested("timeout", "10s", "Longest time for one whole call.").on_restart(),
];

/// The longest session with credentials of a role.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining>
const CHAINED: Duration = Duration::from_hours(1);

/// Reads the section `sts`. `None` says that something is wrong, which is noted in `fields`.
pub fn read(fields: &mut Fields) -> Option<Options> {
    let read = fields.section("sts", SETTINGS, Options::read)?;
    if read.is_none() {
        let message = "`sts` is missing: it says with whose credentials roles are assumed, and where";
        fields.problems.push(Problem::nowhere(message));
    }
    read
}

impl Options {
    fn read(fields: &mut Fields) -> Option<Self> {
        let credentials = match (fields.given("credentials").cloned(), fields.place("credentials")) {
            (Some(node), Some(place)) => read_kind(fields, "`credentials`", &place, node),
            _ => {
                fields.problems.push(Problem::nowhere("`sts` needs `credentials`: a source, such as {kind: imds}"));
                None
            }
        };
        let role_arn = fields.optional("role_arn", arn);
        let upstream_role = fields.optional("upstream_role", read::text);
        let assume = fields.optional("assume", arn);
        let external_id = fields.optional("external_id", read::text);
        let regions = fields
            .value("regions", |node| read::filled_list(node, "there would be no region to call STS in", read::region));
        let rate = fields.value("calls_per_second", read::count);
        let patience = fields.value("max_wait", read::limit);
        let capacity = fields.value("max_sets", read::count);
        let calls = rate.map(|calls| u32::try_from(calls).unwrap_or(u32::MAX));
        let per_second = calls.map(|calls| Rate { calls, per: Duration::from_secs(1) });
        let first = regions.as_ref().and_then(|regions| regions.first().cloned());
        let way = Aws::read_way(fields, first, per_second, Some(usize::MAX));
        let options = Self {
            credentials: credentials?,
            role_arn: role_arn?,
            upstream_role: upstream_role?,
            assume: assume?,
            external_id: external_id?,
            regions: regions?,
            way: way?,
            bounds: Bounds { capacity: capacity?, patience: patience?, rate: f64::from(calls?) },
        };
        if let Err((key, message)) = options.consistent() {
            let place = fields.place(key);
            fields.problems.push(place.map_or_else(|| Problem::nowhere(&message), |at| Problem::new(at, &message)));
            return None;
        }
        Some(options)
    }

    /// Whether the settings fit together; otherwise the key and what is wrong with it.
    fn consistent(&self) -> Result<(), (&'static str, String)> {
        let of = |region: &String| Partition::of_region(region).name;
        if self.regions.iter().any(|region| of(region) != self.partition()) {
            let message = "these regions are in different partitions, and no credentials are good in two";
            return Err(("regions", message.to_owned()));
        }
        let word = self.credentials.word();
        match self.credentials.provides() {
            source::Provides::Nothing => Err(("credentials", format!("kind {word} has no credentials of its own"))),
            source::Provides::PerArn if self.role_arn.is_none() => {
                Err(("credentials", format!("kind {word} is asked for a role: `role_arn` is missing")))
            }
            source::Provides::PerName if self.upstream_role.is_none() => {
                Err(("credentials", format!("kind {word} is asked for a role: `upstream_role` is missing")))
            }
            _ if self.external_id.is_some() && self.assume.is_none() => {
                Err(("external_id", "`external_id` has no effect without `assume`".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// The partition of the regions, and so of all roles.
    fn partition(&self) -> &'static str {
        Partition::of(self.regions.first().map(String::as_str)).name
    }

    /// Whether the server's credentials are known to be those of a role.
    pub fn is_chain(&self) -> bool {
        self.assume.is_some() || self.credentials.is_role_session()
    }

    /// What in the rules STS will refuse with these credentials, one sentence each.
    pub fn check(&self, rules: &Rules) -> Vec<String> {
        let mut wrong = Vec::new();
        let own = self.partition();
        for account in rules.accounts.0.iter().filter(|account| account.partition != own) {
            let (name, partition) = (&account.name, &account.partition);
            wrong.push(format!("account {name} is in the partition {partition}, but `sts` has credentials of {own}"));
        }
        for rule in &rules.rules {
            let Effect::Give(give) = &rule.effect else { continue };
            if let Some(partition) = give.partition.as_ref().filter(|partition| *partition != own) {
                let name = &rule.name;
                wrong.push(format!(
                    "rule {name:?} is about the partition {partition}, but `sts` has credentials of {own}"
                ));
            }
            let longest = give.duration.max(give.max_duration);
            if self.is_chain() && longest.is_some_and(|duration| duration > CHAINED) {
                wrong.push(format!(
                    "rule {:?}: the server's credentials are those of a role, so that AWS gives an hour at most (role \
                     chaining); `duration` and `max_duration` of 1h, or none, or a user's keys in `sts`",
                    rule.name
                ));
            }
        }
        wrong
    }

    /// Adds the files that it names.
    pub fn files(&self, host_env: &HostEnv, files: &mut NamedFiles) {
        self.credentials.files(host_env, files);
        files.authorities("ca_file", &self.way.ca_file);
    }

    /// Adds what it needs of the system beside these files.
    pub fn needs(&self, host_env: &HostEnv, needs: &mut Needs) {
        self.credentials.needs(host_env, &mut needs.of("sts: credentials"));
        Kind::needs(&self.way, host_env, &mut needs.of("sts"));
    }

    /// The programs that a helper has to run.
    pub fn programs(&self, host_env: &HostEnv) -> Vec<Program> {
        self.credentials.programs(host_env)
    }

    /// The section as one line of YAML, secrets as `***`.
    pub fn render(&self) -> String {
        let credentials = self.credentials.render().into_iter().map(|(key, value)| (key.to_owned(), value));
        let kind = ("kind".to_owned(), self.credentials.word().to_owned());
        let mut all = vec![("credentials", mapping([kind].into_iter().chain(credentials).collect()))];
        let arn = |arn: &Option<RoleArn>| arn.as_ref().map(|arn| quoted(arn.as_str()));
        let optional = [
            ("role_arn", arn(&self.role_arn)),
            ("upstream_role", self.upstream_role.as_deref().map(quoted)),
            ("assume", arn(&self.assume)),
            ("external_id", self.external_id.as_deref().map(quoted)),
        ];
        all.extend(optional.into_iter().filter_map(|(key, value)| Some((key, value?))));
        all.extend([
            ("regions", list(self.regions.iter().map(|region| quoted(region)))),
            ("calls_per_second", self.way.rate.calls.to_string()),
            ("max_wait", render_duration(self.bounds.patience)),
            ("max_sets", self.bounds.capacity.to_string()),
        ]);
        let own = ["region", "rate", "concurrency"];
        all.extend(self.way.render().into_iter().filter(|(key, _)| !own.contains(key)));
        mapping(all.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// Makes it ready, with the work that has to run beside the requests. Files are read; nothing is sent yet.
    /// `listeners`: where this server itself listens, which cannot be the source of its credentials.
    pub fn open(&self, host_env: &HostEnv, listeners: &[SocketAddr]) -> Result<(Arc<Sts>, Background), String> {
        let opening = Opening { name: "credentials", host_env, listeners, return_wait: failback::USUAL };
        let wrong = |error: String| format!("sts: credentials: {error}");
        let name: RoleName = "alppaca-ims".parse().map_err(|_| wrong("no legal name".to_owned()))?;
        let session = Session::default();
        let purpose = Purpose {
            host: &host_env.host,
            name: &name,
            upstream_role: self.upstream_role.as_deref(),
            role_arn: self.role_arn.as_ref(),
            session: &session,
            via: None,
        };
        let opened = self.credentials.open(&opening).map_err(wrong)?;
        let fetch = opened.call(&purpose, Serves::ToSign).map_err(wrong)?;
        let assume = self.assume.clone().map(|role_arn| Request {
            external_id: self.external_id.clone(),
            ..Request::new(role_arn, purpose.session_name())
        });
        let clock = Arc::clone(&host_env.clock);
        let region = |region: &String| {
            let way = Aws { region: region.clone(), ..self.way.clone() };
            let settings = way.sts(host_env).map_err(|error| format!("sts: {error}"))?;
            Ok(Region::new(region.clone(), Arc::new(source::sts::Sts::new(settings, Arc::clone(&clock)))))
        };
        let regions = Arc::new(Regions(self.regions.iter().map(region).collect::<Result<_, String>>()?));
        let signer = Signer::new(Source { fetch, assume }, Arc::clone(&regions), Arc::clone(&clock));
        Ok(Sts::start(signer, regions, self.partition(), self.bounds, clock))
    }
}

/// Whether a restart is needed for it to be in force.
impl PartialEq for Options {
    fn eq(&self, other: &Self) -> bool {
        *self.credentials == *other.credentials && self.render() == other.render()
    }
}

fn arn(node: &Node) -> Result<RoleArn, Problem> {
    let text = read::text(node)?;
    text.parse().map_err(|error: crate::credentials::RoleArnError| Problem::new(node.place.clone(), error.to_string()))
}
