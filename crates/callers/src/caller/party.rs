//! Parties, which share a budget: all owners that one user or one network may appear as are one party.

use std::{
    fs,
    net::{IpAddr, Ipv6Addr},
    ops::Range,
};

use super::Owner;

/// The first user that `useradd` gives away as subordinate (`SUB_UID_MIN` in login.defs(5)), where `/etc/subuid` names none.
const FIRST_SUBORDINATE: u32 = 100_000;

/// Whose the subordinate users are (subuid(5)), of which each user may have tens of thousands: a range of them is one
/// owner.
#[derive(Debug, Default)]
pub struct Subordinates(Vec<Range<u32>>);

impl Subordinates {
    /// As `/etc/subuid` has them. Without that file there are none.
    pub fn read() -> Self {
        Self::parse(&fs::read_to_string("/etc/subuid").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let range = |line: &str| {
            let mut numbers = line.split(':').skip(1).map(|number| number.trim().parse::<u32>().ok());
            let (first, count) = (numbers.next()??, numbers.next()??);
            Some(first..first.saturating_add(count))
        };
        Self(text.lines().filter_map(range).collect())
    }

    /// What stands for the owner of a user: the first user of its range, or itself.
    pub fn owner(&self, uid: u32) -> u32 {
        self.0.iter().find(|range| range.contains(&uid)).map_or(uid, |range| range.start)
    }

    /// Whether the account was made by an administrator: it is below all subordinate users.
    pub fn is_below(&self, uid: u32) -> bool {
        uid < self.0.iter().map(|range| range.start).filter(|start| *start > 0).min().unwrap_or(FIRST_SUBORDINATE)
    }

    /// The party that an owner belongs to. A host with one IPv6 address can use the 2^64 of its network.
    pub fn party(&self, owner: Owner) -> Owner {
        match owner {
            Owner::User(uid) => Owner::User(self.owner(uid)),
            Owner::Address(IpAddr::V6(address)) => {
                let network = u128::from(address) & !u128::from(u64::MAX);
                Owner::Address(Ipv6Addr::from(network).into())
            }
            owner => owner,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "ann:100000:65536\n\n1001:165536:65536\nbad:x:1\nshort:7\nhuge:4294967000:99999\n";

    #[test]
    fn subordinate_users_are_one_owner() {
        let users = Subordinates::parse(USERS);
        for (uid, owner) in [
            (1000, 1000),
            (99_999, 99_999),
            (100_000, 100_000),
            (165_535, 100_000),
            (165_536, 165_536),
            (231_072, 231_072),
            (4_294_967_100, 4_294_967_000),
        ] {
            assert_eq!(users.owner(uid), owner, "{uid}");
            assert_eq!(users.party(Owner::User(uid)), Owner::User(owner), "{uid}");
        }
    }

    #[test]
    fn an_ordinary_account_is_below_all_that_are_given_away() {
        assert!(Subordinates::parse(USERS).is_below(99_999) && !Subordinates::parse(USERS).is_below(100_000));
        assert!(Subordinates::default().is_below(99_999) && !Subordinates::default().is_below(100_000));
        assert!(!Subordinates::parse("ann:20000:9\n").is_below(20_000));
    }

    #[test]
    fn an_ipv6_network_is_one_party_and_an_ipv4_address_another() {
        let party = |address: &str| Subordinates::default().party(Owner::Address(address.parse().expect("an address")));
        assert_eq!(party("2001:db8::1"), party("2001:db8::ffff:0:0:1"));
        assert_ne!(party("2001:db8::1"), party("2001:db8:0:1::1"));
        assert_ne!(party("10.0.0.1"), party("10.0.0.2"));
    }
}
