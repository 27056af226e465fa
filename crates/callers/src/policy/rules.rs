//! The rules of a policy as they are written: which callers match, and which roles they get. Pure data.

use std::{fmt, net::IpAddr, str::FromStr};

use aws_lc_rs::digest::{SHA256, digest};
use ipnet::IpNet;

use crate::credentials::{Pattern, RoleName};

/// An ordered list of rules. The first that applies decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The rules.
    pub rules: Vec<Rule>,
    /// What those get to whom no rule applies.
    pub default: Effect,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name, in addition to its number.
    pub name: Option<String>,
    /// It applies if all of these hold. Without any it applies to everybody.
    pub when: Vec<Condition>,
    /// But not if all of these hold. Empty: no exception.
    pub unless: Vec<Condition>,
    /// What those get to whom it applies.
    pub effect: Effect,
}

/// Something that holds for a caller or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It is one of these users of this host, by name or number.
    User(Vec<String>),
    /// It is in one of these groups, by name or number, supplementary ones included.
    Group(Vec<String>),
    /// Its unit of the system's service manager is one of these.
    Unit(Vec<Pattern>),
    /// One of the slices around it is one of these.
    Slice(Vec<Pattern>),
    /// It is in a container with one of these names.
    Container(Vec<Pattern>),
    /// It is in a container of one of these images.
    Image(Vec<Pattern>),
    /// It is in a container with this label.
    Label(String, Pattern),
    /// Its address is in one of these ranges.
    Address(Vec<Cidr>),
}

/// What a caller gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// All listed roles.
    Everything,
    /// These, the first of which is listed. Never empty.
    Roles(Vec<RoleName>),
    /// What its container asks for itself.
    Own,
    /// Nothing.
    Deny,
}

/// A range of addresses, such as `10.0.0.0/8`; a single address is a range of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr(IpNet);

/// What is wrong with a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// It is none.
    #[error("an address or a range such as 10.0.0.0/8 or fd00::/8 is expected")]
    Form,
    /// Its address has bits that the range does not have, so that it may be another one than meant.
    #[error("the range begins at {0}")]
    Bits(IpAddr),
}

impl Cidr {
    /// Whether the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let range = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let range = range.map_err(|_| CidrError::Form)?;
        if range == range.trunc() { Ok(Self(range)) } else { Err(CidrError::Bits(range.network())) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Rules {
    /// The users and the groups that the rules name.
    pub fn names(&self) -> (Vec<&str>, Vec<&str>) {
        let (mut users, mut groups) = (Vec::new(), Vec::new());
        for condition in self.rules.iter().flat_map(|rule| rule.when.iter().chain(&rule.unless)) {
            match condition {
                Condition::User(names) => users.extend(names.iter().map(String::as_str)),
                Condition::Group(names) => groups.extend(names.iter().map(String::as_str)),
                _ => {}
            }
        }
        (users, groups)
    }

    /// The roles that the rules name.
    pub fn roles(&self) -> impl Iterator<Item = &RoleName> {
        let effects = self.rules.iter().map(|rule| &rule.effect).chain([&self.default]);
        effects.flat_map(|effect| if let Effect::Roles(roles) = effect { roles.as_slice() } else { &[] })
    }

    /// A digest that identifies these rules. Only digests of the same version of the program are comparable.
    pub fn digest(&self) -> String {
        let digest = digest(&SHA256, format!("{self:?}").as_bytes());
        digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
    }

    /// What a rule is called: `rule 3 (name)`.
    pub fn title(&self, rule: Option<usize>) -> String {
        let Some(index) = rule else { return "the policy's default".to_owned() };
        match self.rules.get(index).and_then(|rule| rule.name.as_deref()) {
            Some(name) => format!("rule {} ({name})", index + 1),
            None => format!("rule {}", index + 1),
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("all roles"),
            Self::Roles(roles) => {
                for (index, role) in roles.iter().enumerate() {
                    write!(f, "{}{role}", if index == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::Own => f.write_str("the role that the container requests"),
            Self::Deny => f.write_str("nothing"),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patterns =
            |patterns: &[Pattern]| patterns.iter().map(|p| p.as_str().to_owned()).collect::<Vec<_>>().join(" or ");
        match self {
            Self::User(names) => write!(f, "user {}", names.join(" or ")),
            Self::Group(names) => write!(f, "group {}", names.join(" or ")),
            Self::Unit(units) => write!(f, "unit {}", patterns(units)),
            Self::Slice(slices) => write!(f, "slice {}", patterns(slices)),
            Self::Container(names) => write!(f, "container {}", patterns(names)),
            Self::Image(images) => write!(f, "image {}", patterns(images)),
            Self::Label(key, value) => write!(f, "label {key}: {}", value.as_str()),
            Self::Address(ranges) => {
                write!(f, "address {}", ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_its_addresses_and_no_others() {
        for (range, inside, outside) in [
            ("10.0.0.0/8", "10.255.1.2", "11.0.0.0"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("fd00::/8", "fdff::1", "fe00::"),
            ("::/0", "fe80::1", "127.0.0.1"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::a00:1"),
        ] {
            let range: Cidr = range.parse().expect("legal");
            assert!(range.contains(inside.parse().expect("an address")), "{range} {inside}");
            assert!(!range.contains(outside.parse().expect("an address")), "{range} {outside}");
        }
        for wrong in ["", "x", "10.0.0.0/33", "10.0.0.0/-1", "::/129", "10.0.0.0/8/8", "10.0.0/8"] {
            assert_eq!(wrong.parse::<Cidr>(), Err(CidrError::Form), "{wrong}");
        }
        assert_eq!("10.1.0.0/8".parse::<Cidr>(), Err(CidrError::Bits([10, 0, 0, 0].into())));
    }
}
