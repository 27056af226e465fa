//! The bill of materials (`CycloneDX`): every crate that is compiled into a program or runs while it is built, as cargo resolves
//! them for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Arch, Libc, Program, Release, formats};
use crate::shell;

/// Name and version.
type Crate = (String, String);

struct About {
    license: String,
    /// Of the crates that are ours there is no checksum.
    ours: bool,
    needs: BTreeSet<Crate>,
}

pub(super) fn write(program: Program, arch: Arch, libc: Libc, release: &Release) -> Result<String> {
    let mut tree = shell::cargo();
    tree.args(["tree", "--locked", "--edges=normal,build", "--prefix=depth", "--format=\t{p}\t{l}", "--package"]);
    tree.arg(program.name()).args(libc.features()).arg("--target").arg(arch.target());
    let crates = read(&shell::output(&mut tree)?)?;
    let lock = fs::read_to_string(shell::root().join("Cargo.lock"))?;
    let bom = bom(program, release, &formats::created(release)?, &crates, &checksums(&lock));
    let libc = match libc {
        Libc::Gnu => "",
        Libc::Static => "-static",
    };
    let name = format!("{}-{}-linux-{}{libc}.cdx.json", program.name(), release.version, arch.name());
    fs::write(release.out.join(&name), format!("{bom:#}\n"))?;
    Ok(name)
}

/// Reads what `cargo tree` says: a depth, a package, its licence.
fn read(tree: &str) -> Result<BTreeMap<Crate, About>> {
    let mut crates = BTreeMap::<Crate, About>::new();
    let mut path: Vec<Crate> = Vec::new();
    for line in tree.lines() {
        let mut fields = line.split('\t');
        let (depth, package, license) =
            (fields.next(), fields.next().context("a package")?, fields.next().unwrap_or_default());
        let depth: usize = depth.unwrap_or_default().parse().context("a depth")?;
        let mut words = package.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let this = (name.to_owned(), version.trim_start_matches('v').to_owned());
        path.truncate(depth);
        if let Some(parent) = path.last().and_then(|parent| crates.get_mut(parent)) {
            parent.needs.insert(this.clone());
        }
        let license = license.trim_end_matches(" (*)").to_owned();
        let ours = package.contains(" (/");
        crates.entry(this.clone()).or_insert(About { license, ours, needs: BTreeSet::new() });
        path.push(this);
    }
    Ok(crates)
}

/// The SHA-256 of each crate of the registry, as Cargo.lock has them.
fn checksums(lock: &str) -> BTreeMap<Crate, String> {
    let entry = |text: &str| {
        let field = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \"")?.strip_suffix('"'))
        };
        Some(((field("name")?.to_owned(), field("version")?.to_owned()), field("checksum")?.to_owned()))
    };
    lock.split("[[package]]").filter_map(entry).collect()
}

fn purl((name, version): &Crate) -> String {
    format!("pkg:cargo/{name}@{version}")
}

fn bom(
    program: Program,
    release: &Release,
    created: &str,
    crates: &BTreeMap<Crate, About>,
    checksums: &BTreeMap<Crate, String>,
) -> Value {
    let itself = (program.name().to_owned(), release.version.clone());
    let component = |this: &Crate, about: &About| {
        let mut component = json!({
            "type": if *this == itself { "application" } else { "library" },
            "bom-ref": purl(this),
            "name": this.0,
            "version": this.1,
            "licenses": [{ "expression": about.license }],
        });
        // What is ours is in no registry.
        if !about.ours {
            component["purl"] = purl(this).into();
        }
        if let Some(sum) = checksums.get(this) {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
        }
        component
    };
    let (own, others): (Vec<_>, Vec<_>) = crates.iter().partition(|(this, _)| **this == itself);
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": created,
            "tools": { "components": [{ "type": "application", "name": "cargo xtask package" }] },
            "component": own.into_iter().map(|(this, about)| component(this, about)).next(),
        },
        "components": others.into_iter().map(|(this, about)| component(this, about)).collect::<Vec<_>>(),
        "dependencies": crates.iter().map(|(this, about)| json!({
            "ref": purl(this),
            "dependsOn": about.needs.iter().map(purl).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_read_with_what_each_crate_needs() {
        let tree = "0\ta v1.0.0 (/here)\tX\n1\tb v2.0.0\tMIT\n2\tc v3.0.0 (proc-macro)\tMIT\n1\tc v3.0.0 (proc-macro)\tMIT (*)\n";
        let crates = read(tree).expect("a tree");
        let this = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        let (a, b, c) = (this("a", "1.0.0"), this("b", "2.0.0"), this("c", "3.0.0"));
        assert_eq!(crates[&a].needs, BTreeSet::from([b.clone(), c.clone()]));
        assert_eq!(crates[&b].needs, BTreeSet::from([c.clone()]));
        assert!(crates[&a].ours && !crates[&c].ours);
        assert_eq!(crates[&c].license, "MIT");
    }
}
