//! The table of partitions, compared with botocore's.

mod support;

use std::process::Command;

use alppaca::credentials::Partition;

/// Prints what botocore knows: for each region its partition and the domain.
const FACTS: &str = "
import json, os, botocore
with open(os.path.join(os.path.dirname(botocore.__file__), 'data', 'partitions.json')) as file:
    for partition in json.load(file)['partitions']:
        for region in partition['regions']:
            if not region.endswith('-global'):
                print(region, partition['id'], partition['outputs']['dnsSuffix'])
";

#[allow(clippy::disallowed_methods, reason = "the environment says which Python has botocore")]
#[test]
fn every_region_of_botocore_has_the_same_partition_and_domain_here() {
    let Ok(python) = std::env::var("ALPPACA_TEST_PYTHON") else {
        support::skip("partitions as botocore's", "no ALPPACA_TEST_PYTHON; `cargo xtask test` makes one");
        return;
    };
    let output = Command::new(python).args(["-c", FACTS]).output().expect("Python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let facts = String::from_utf8(output.stdout).expect("ASCII");
    let mut partitions = std::collections::BTreeSet::new();
    for line in facts.lines() {
        let [region, name, domain] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let found = Partition::of_region(region);
        assert_eq!((found.name, found.domain), (name, domain), "{region}");
        partitions.insert(name);
    }
    assert!(partitions.len() >= 5 && facts.lines().count() > 30, "{facts}");
}
