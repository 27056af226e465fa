//! The ways to credentials: what a client is told, and whether its calls then work.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
};

use super::refresh;
use crate::rig::{
    client::Client,
    front::{Exchange, Front, Tokens},
    gate::Door,
    kinds::{Kind, tell},
    tools::Tools,
    world::{Captured, ID, Pair, REGION, TOKEN, World},
};
use crate::support::Daemon;

/// A column of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    ImdsV2,
    ImdsV1,
    Captured,
    SixUrl,
    SixMode,
    Rollovers,
    Region,
    Ecs,
    EcsAgent,
    EcsRollovers,
    PodIdentity,
    PodIdentitySix,
    PodIdentityRollovers,
    Exec,
    Command,
}

/// Why a cell is not a "yes".
#[derive(Clone, Debug)]
pub enum No {
    /// The client got no credentials, or did not ask for the region, and said so.
    Unable { why: String },
    /// Every call is a new process, which holds nothing that could end.
    Needless,
    /// This machine cannot do it, which says nothing about the client.
    Untried { why: String },
}

/// What a way came to. Whatever a client must not do at all fails the test on the spot.
pub type Cell = Result<(), No>;

/// Nobody listens there: for clients that must not find the way of another column.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// One client on its way.
pub struct Run<'a> {
    pub kind: &'a Kind,
    pub tools: &'a Tools,
    pub world: &'a World,
    pub home: &'a Path,
}

impl Way {
    /// The columns of each table.
    pub const TABLES: [&[Self]; 2] = [
        &[Self::ImdsV2, Self::ImdsV1, Self::Captured, Self::SixUrl, Self::SixMode, Self::Rollovers, Self::Region],
        &[
            Self::Ecs,
            Self::EcsAgent,
            Self::EcsRollovers,
            Self::PodIdentity,
            Self::PodIdentitySix,
            Self::PodIdentityRollovers,
            Self::Exec,
            Self::Command,
        ],
    ];

    pub fn title(self) -> &'static str {
        match self {
            Self::ImdsV2 => "IMDSv2",
            Self::ImdsV1 => "IMDSv1",
            Self::Captured => "169.254.169.254",
            Self::Region => "region",
            Self::Command => "`alppaca credentials`",
            Self::Rollovers => "three rollovers",
            Self::Ecs => "ECS, token",
            Self::EcsAgent => "169.254.170.2",
            Self::EcsRollovers => "three rollovers (ECS)",
            Self::PodIdentity => "EKS Pod Identity",
            Self::SixUrl => "`http://[::1]`",
            Self::SixMode => "`…_MODE=IPv6`",
            Self::PodIdentitySix => "`[fd00:ec2::23]`",
            Self::PodIdentityRollovers => "three rollovers, a restart (EKS)",
            Self::Exec => "`alppaca exec`",
        }
    }

    /// Whether nearly all of its time is waiting.
    pub fn takes_its_time(self) -> bool {
        matches!(self, Self::Rollovers | Self::EcsRollovers | Self::PodIdentityRollovers)
    }
}

impl Run<'_> {
    pub fn go(&self, way: Way) -> Cell {
        if self.kind.short_lived && way.takes_its_time() {
            return Err(No::Needless);
        }
        if self.kind.by_hand && way != Way::Command {
            return Err(No::Unable { why: "it has no chain of its own".to_owned() });
        }
        match way {
            Way::ImdsV2 => self.imds_v2(),
            Way::ImdsV1 => self.imds_v1(),
            Way::Captured => self.captured(),
            Way::Region => self.region(),
            Way::Command => self.command(),
            Way::Rollovers => refresh::rollovers(self),
            Way::Ecs => self.ecs(),
            Way::EcsAgent => self.ecs_agent(),
            Way::EcsRollovers => refresh::ecs_rollovers(self),
            Way::PodIdentity => self.pod_identity(),
            Way::SixUrl => self.six_url(),
            Way::SixMode => self.six_mode(),
            Way::PodIdentitySix => self.pod_identity_six(),
            Way::PodIdentityRollovers => refresh::pod_identity_rollovers(self),
            Way::Exec => self.exec(),
        }
    }

    /// The client's command, which knows its AWS and its region, but no way to credentials.
    pub fn client(&self, door: &Door) -> Command {
        self.kind.at(door, self.tools, self.home).expect("it was there before")
    }

    fn imds_v2(&self) -> Cell {
        let site = &self.world.told;
        let door = site.door(&site.lasting.ims);
        let mut command = self.client(&door);
        tell(&mut command, site.lasting.daemon.address());
        self.once(command, &door)
    }

    fn imds_v1(&self) -> Cell {
        let site = &self.world.told;
        let daemon = Daemon::with_credentials(&site.lasting.ims.config());
        let (front, door) = (Front::start(daemon.address(), Tokens::Refused), site.door(&site.lasting.ims));
        let mut command = self.client(&door);
        tell(&mut command, front.address);
        // object_store falls back only if it is told that it may.
        command.env("AWS_IMDSV1_FALLBACK", "true");
        let cell = self.once(command, &door);
        let gets: Vec<_> = front.take().into_iter().filter(|exchange| exchange.is("GET")).collect();
        assert!(!gets.iter().any(Exchange::has_token), "{}: a token, from nowhere: {gets:?}", self.kind.name);
        cell
    }

    fn captured(&self) -> Cell {
        self.inside(|_, _| {})
    }

    fn ecs(&self) -> Cell {
        let site = &self.world.told;
        let door = site.door(&site.lasting.ims);
        let mut command = self.client(&door);
        tell_ecs(&mut command, &site.lasting);
        self.once(command, &door)
    }

    fn ecs_agent(&self) -> Cell {
        self.inside(|command, _| {
            tell(command, NOBODY);
            command.env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", format!("/v2/credentials/{ID}"));
        })
    }

    fn pod_identity(&self) -> Cell {
        self.inside(|command, pair| {
            tell_pod_identity(command, &pair.eks().ip().to_string(), &pair.service_account());
        })
    }

    fn six_url(&self) -> Cell {
        self.inside_six(|command, pair| tell(command, pair.daemon.addresses[1]))
    }

    fn six_mode(&self) -> Cell {
        self.inside_six(|command, _| {
            command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv6");
        })
    }

    fn pod_identity_six(&self) -> Cell {
        self.inside_six(|command, pair| {
            tell_pod_identity(command, &format!("[{}]", pair.eks().ip()), &pair.service_account());
        })
    }

    /// One round in the namespace, of a client that was `told` what its environment would.
    fn inside(&self, told: impl FnOnce(&mut Command, &Pair) + Send) -> Cell {
        let captured = self.world.captured.as_ref().map_err(|why| untried(why))?;
        self.round_inside(captured, &captured.site.lasting, told)
    }

    /// The same with the daemon that is there for IPv6 only. Keys of the other do not open this one's AWS, so
    /// whoever has asked by IPv4 is refused.
    fn inside_six(&self, told: impl FnOnce(&mut Command, &Pair) + Send) -> Cell {
        let captured = self.world.captured.as_ref().map_err(|why| untried(why))?;
        self.round_inside(captured, captured.six.as_ref().map_err(|why| untried(why))?, told)
    }

    fn round_inside(&self, captured: &Captured, pair: &Pair, told: impl FnOnce(&mut Command, &Pair) + Send) -> Cell {
        captured.namespace.inside(|| {
            let door = captured.site.door(&pair.ims);
            let mut command = self.client(&door);
            told(&mut command, pair);
            self.once(command, &door)
        })
    }

    fn region(&self) -> Cell {
        let site = &self.world.told;
        let door = site.door(&site.lasting.ims);
        let mut command = self.client(&door);
        tell(&mut command, site.lasting.daemon.address());
        command.env_remove("AWS_REGION").env_remove("AWS_DEFAULT_REGION");
        self.once(command, &door)?;
        let regions: BTreeSet<_> = door.calls().into_iter().filter_map(|call| Some(call.claim?.region)).collect();
        if regions.iter().eq([REGION]) { Ok(()) } else { Err(No::Unable { why: format!("it signs for {regions:?}") }) }
    }

    fn command(&self) -> Cell {
        let site = &self.world.told;
        let door = site.door(&site.lasting.ims);
        let mut command = self.client(&door);
        self.tell_command(&mut command, &site.lasting);
        self.once(command, &door)
    }

    fn exec(&self) -> Cell {
        let site = &self.world.told;
        let door = site.door(&site.lasting.ims);
        let mut client = self.client(&door);
        tell(&mut client, NOBODY);
        let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
        command.arg("exec").arg("--socket").arg(site.lasting.daemon.socket()).arg("--");
        command.arg(client.get_program()).args(client.get_args()).env_clear();
        command.envs(client.get_envs().filter_map(|(name, value)| Some((name, value?))));
        self.once(command, &door)
    }

    /// By `credential_process`, or by a shell.
    pub fn tell_command(&self, command: &mut Command, pair: &Pair) {
        tell(command, NOBODY);
        command.env("AWS_CONFIG_FILE", pair.profile(self.home)).env("ALPPACA_SOCKET", pair.daemon.socket());
    }

    /// One round; if it worked, every service has seen a valid signature and refused nothing.
    fn once(&self, command: Command, door: &Door) -> Cell {
        let mut client = Client::start(command);
        client.round().result.map_err(|why| No::Unable { why })?;
        let name = self.kind.name;
        assert_eq!(door.refusals(), [""; 0], "{name}");
        assert!(self.kind.services.iter().all(|service| door.services().contains(*service)), "{name}");
        Ok(())
    }
}

/// Tells where the container face is, and the token.
pub fn tell_ecs(command: &mut Command, pair: &Pair) {
    tell(command, NOBODY);
    command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://{}/credentials?for=me", pair.ecs()));
    command.env("AWS_CONTAINER_AUTHORIZATION_TOKEN", TOKEN);
}

/// Tells where the agent of EKS Pod Identity is, and the token of the service account.
pub fn tell_pod_identity(command: &mut Command, host: &str, account: &Path) {
    tell(command, NOBODY);
    command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://{host}/v1/credentials"));
    command.env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", account);
}

fn untried(why: &str) -> No {
    No::Untried { why: why.to_owned() }
}
