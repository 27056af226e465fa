//! The ways to credentials: what a client is told, and whether its calls then work.

use std::{collections::BTreeSet, path::Path, process::Command};

use super::refresh;
use crate::rig::{
    client::Client,
    front::{Exchange, Front, Tokens},
    gate::Door,
    kinds::{Kind, tell},
    tools::Tools,
    world::{Pair, REGION, Site, World},
};
use crate::support::Daemon;

/// A column of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    ImdsV2,
    ImdsV1,
    Captured,
    Region,
    Command,
    Rollovers,
}

/// Why a cell is not a "yes".
#[derive(Clone, Debug)]
pub enum No {
    /// The client got no credentials, or did not ask for the region, and said so.
    Unable { why: String },
    /// This machine cannot do it, which says nothing about the client.
    Untried { why: String },
}

/// What a way came to. Whatever a client must not do at all fails the test on the spot.
pub type Cell = Result<(), No>;

/// One client on its way.
pub struct Run<'a> {
    pub kind: &'a Kind,
    pub tools: &'a Tools,
    pub world: &'a World,
    pub home: &'a Path,
}

impl Way {
    pub const ALL: [Self; 6] =
        [Self::ImdsV2, Self::ImdsV1, Self::Captured, Self::Region, Self::Command, Self::Rollovers];

    pub fn title(self) -> &'static str {
        match self {
            Self::ImdsV2 => "IMDSv2",
            Self::ImdsV1 => "IMDSv1",
            Self::Captured => "169.254.169.254",
            Self::Region => "region",
            Self::Command => "`alppaca credentials`",
            Self::Rollovers => "three rollovers",
        }
    }
}

impl Run<'_> {
    pub fn go(&self, way: Way) -> Cell {
        if self.kind.by_hand && ![Way::Command, Way::Rollovers].contains(&way) {
            return Err(No::Unable { why: "it has no chain of its own".to_owned() });
        }
        match way {
            Way::ImdsV2 => self.imds_v2(),
            Way::ImdsV1 => self.imds_v1(),
            Way::Captured => self.captured(),
            Way::Region => self.region(),
            Way::Command => self.command(),
            Way::Rollovers => refresh::rollovers(self),
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
        let captured = self.world.captured.as_ref().map_err(|why| No::Untried { why: why.clone() })?;
        let site: &Site = &captured.site;
        captured.namespace.inside(|| {
            let door = site.door(&site.lasting.ims);
            self.once(self.client(&door), &door)
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

    /// By `credential_process`, or by a shell.
    pub fn tell_command(&self, command: &mut Command, pair: &Pair) {
        // Nobody listens there, and those who know no other way must not look further.
        tell(command, ([127, 0, 0, 1], 1).into());
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
