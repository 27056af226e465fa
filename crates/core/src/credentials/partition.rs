//! The partitions of AWS: which one a region is in, and under which domain its services are.
//!
//! Facts: botocore's `partitions.json`, with which `tests/partitions.rs` compares this table.

use super::{AccountId, RoleName};

/// A part of AWS with accounts, regions and a domain of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// As ARNs have it, such as `aws` or `aws-cn`.
    pub name: &'static str,
    /// The domain of its services, such as `amazonaws.com`.
    pub domain: &'static str,
    /// What the names of its regions begin with.
    regions: &'static str,
}

const fn partition(name: &'static str, domain: &'static str, regions: &'static str) -> Partition {
    Partition { name, domain, regions }
}

/// The partition of all regions that no other has.
const STANDARD: Partition = partition("aws", "amazonaws.com", "");

const OTHERS: [Partition; 7] = [
    partition("aws-cn", "amazonaws.com.cn", "cn-"),
    partition("aws-eusc", "amazonaws.eu", "eusc-"),
    partition("aws-iso", "c2s.ic.gov", "us-iso-"),
    partition("aws-iso-b", "sc2s.sgov.gov", "us-isob-"),
    partition("aws-iso-e", "cloud.adc-e.uk", "eu-isoe-"),
    partition("aws-iso-f", "csp.hci.ic.gov", "us-isof-"),
    partition("aws-us-gov", "amazonaws.com", "us-gov-"),
];

impl Default for Partition {
    fn default() -> Self {
        STANDARD
    }
}

impl Partition {
    /// The partition of a region.
    pub fn of_region(region: &str) -> Self {
        OTHERS.into_iter().find(|other| region.starts_with(other.regions)).unwrap_or(STANDARD)
    }

    /// The partition where the region may be unknown: then it is `aws`, as SDKs also assume.
    pub fn of(region: Option<&str>) -> Self {
        region.map_or(STANDARD, Self::of_region)
    }

    /// The ARN of something in IAM, such as `role` or `instance-profile`.
    pub fn iam_arn(&self, account: AccountId, kind: &str, name: &RoleName) -> String {
        format!("arn:{}:iam::{account}:{kind}/{name}", self.name)
    }
}

/// The region of an availability zone, a Local Zone or a Wavelength Zone; `None` if the name contains none.
/// <https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-availability-zones.html>
pub fn region_of_zone(zone: &str) -> Option<&str> {
    // `us-west-2` of `us-west-2-lax-1a`: words of letters, at least two, and then a number.
    let mut end = 0;
    for (words, segment) in zone.split('-').enumerate() {
        let digits = segment.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 {
            return (words >= 2).then(|| zone.get(..end + digits)).flatten();
        }
        if segment.is_empty() || !segment.bytes().all(|byte| byte.is_ascii_lowercase()) {
            return None;
        }
        end += segment.len() + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_has_one_partition_and_its_domain() {
        for (region, name, domain) in [
            ("eu-central-1", "aws", "amazonaws.com"),
            ("mx-central-1", "aws", "amazonaws.com"),
            ("cn-north-1", "aws-cn", "amazonaws.com.cn"),
            ("us-gov-west-1", "aws-us-gov", "amazonaws.com"),
            ("us-iso-east-1", "aws-iso", "c2s.ic.gov"),
            ("us-isob-east-1", "aws-iso-b", "sc2s.sgov.gov"),
            ("eu-isoe-west-1", "aws-iso-e", "cloud.adc-e.uk"),
            ("us-isof-south-1", "aws-iso-f", "csp.hci.ic.gov"),
            ("eusc-de-east-1", "aws-eusc", "amazonaws.eu"),
        ] {
            let found = Partition::of_region(region);
            assert_eq!((found.name, found.domain), (name, domain), "{region}");
        }
        assert_eq!(Partition::of(None).name, "aws");
        let (account, role) = ("123456789012".parse().expect("digits"), "web".parse().expect("a role name"));
        let arn = Partition::of(Some("cn-north-1")).iam_arn(account, "role", &role);
        assert_eq!(arn, "arn:aws-cn:iam::123456789012:role/web");
    }

    #[test]
    fn the_region_of_a_zone_is_what_comes_before_its_letter_or_its_place() {
        for (zone, region) in [
            ("eu-central-1a", Some("eu-central-1")),
            ("us-west-2-lax-1a", Some("us-west-2")),
            ("us-east-1-atl-1a", Some("us-east-1")),
            ("us-east-1-wl1-bos-wlz-1", Some("us-east-1")),
            ("us-gov-west-1b", Some("us-gov-west-1")),
            ("cn-north-1b", Some("cn-north-1")),
            ("eusc-de-east-1a", Some("eusc-de-east-1")),
            ("ap-southeast-12c", Some("ap-southeast-12")),
            ("us-isob-east-1a", Some("us-isob-east-1")),
            ("use1-az1", None),
            ("rack-7", None),
            ("", None),
            ("eu-central", None),
            ("EU-Central-1a", None),
            ("--1", None),
            ("eu-zentral-ä1", None),
        ] {
            assert_eq!(region_of_zone(zone), region, "{zone}");
        }
    }
}
