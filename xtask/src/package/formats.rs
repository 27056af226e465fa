//! What a distribution's package manager installs, and the archive for all others. What is in them stands in `packaging/stage`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Built, Format, Release, build, work};
use crate::{pins, shell};

/// As in `packaging/deb/control` and `packaging/rpm`.
const MAINTAINER: &str = "The alppaca maintainers <maintainers@alppaca.invalid>";
pub(super) const HOMEPAGE: &str = "https://alppaca.invalid";

pub(super) fn deb(built: &Built, release: &Release) -> Result<String> {
    let mut command = Command::new(shell::root().join("packaging/deb/build"));
    command.arg(built.program.name()).arg(&built.binary).arg(&release.out);
    command.env("ALPPACA_GENERATOR", &built.generator).env("ALPPACA_ARCHITECTURE", built.arch.name());
    command.env("ALPPACA_VERSION", &release.version);
    let said = shell::output(command.env("SOURCE_DATE_EPOCH", &release.epoch))?;
    name(Path::new(said.trim()))
}

/// An archive to be unpacked at `/`. It names no folders, whose owners and modes are the host's.
pub(super) fn tar(built: &Built, release: &Release) -> Result<String> {
    let folder = work("tar", release)?;
    let file = built.file(Format::Tar, release);
    let root = file.trim_end_matches(".tar.gz");
    stage(built, &folder.join(root), "tar")?;
    archive(&folder, root, &[], &release.out.join(&file), release)?;
    Ok(file)
}

/// Packs the files of `root`, which is in the work folder `folder`, and removes that.
pub(super) fn archive(folder: &Path, root: &str, options: &[&str], made: &Path, release: &Release) -> Result<()> {
    let files = folder.join("files");
    let list: Vec<String> =
        entries(&folder.join(root))?.iter().map(|file| format!("{root}/{}\n", file.display())).collect();
    fs::write(&files, list.concat())?;
    let archive = folder.join("archive.tar");
    let mut tar = Command::new("tar");
    tar.args(options);
    tar.args(["--format=gnu", "--owner=0", "--group=0", "--numeric-owner", "--no-recursion"]);
    tar.arg(format!("--mtime=@{}", release.epoch)).arg("-C").arg(folder).arg("-cf").arg(&archive);
    shell::run(tar.arg("-T").arg(&files))?;
    shell::run(Command::new("gzip").arg("-9n").arg(&archive))?;
    fs::rename(archive.with_extension("tar.gz"), made)?;
    Ok(fs::remove_dir_all(folder)?)
}

/// Made by RPM's own tool, of `packaging/rpm`.
pub(super) fn rpm(built: &Built, release: &Release) -> Result<String> {
    ensure!(shell::which("rpmbuild").is_some(), "there is no rpmbuild: apt-get install rpm");
    let folder = work("rpm", release)?;
    let root = folder.join("root");
    stage(built, &root, "rpm")?;
    let list = folder.join("files");
    fs::write(&list, rpm_files(built, &root)?)?;
    let file = built.file(Format::Rpm, release);
    let mut command = Command::new("rpmbuild");
    command.args(["-bb", "--quiet", "--target", &format!("{}-linux", built.arch.machine())]);
    let define = |command: &mut Command, name: &str, value: &dyn std::fmt::Display| {
        command.arg("--define").arg(format!("{name} {value}"));
    };
    define(&mut command, "alppaca_version", &release.version);
    define(&mut command, "alppaca_root", &root.display());
    define(&mut command, "alppaca_files", &list.display());
    define(&mut command, "_topdir", &folder.join("top").display());
    define(&mut command, "_rpmdir", &release.out.display());
    define(&mut command, "_build_name_fmt", &file);
    // Nothing of this machine, and no changes of what is built already.
    define(&mut command, "_buildhost", &"localhost");
    define(&mut command, "use_source_date_epoch_as_buildtime", &1);
    define(&mut command, "clamp_mtime_to_source_date_epoch", &1);
    define(&mut command, "__os_install_post", &"%{nil}");
    define(&mut command, "_build_id_links", &"none");
    // Known to the RPM of RHEL 7.
    define(&mut command, "_binary_payload", &"w6.xzdio");
    command.arg(shell::root().join("packaging/rpm").join(format!("{}.spec", built.program.name())));
    shell::output(command.env("SOURCE_DATE_EPOCH", &release.epoch))?;
    fs::remove_dir_all(folder)?;
    Ok(file)
}

/// The list of files and of the package's own folders, as a spec has it.
fn rpm_files(built: &Built, root: &Path) -> Result<String> {
    let own = built.program.name();
    let (mut list, mut folders) = (Vec::new(), BTreeSet::new());
    for file in entries(root)? {
        let above = file.ancestors().skip(1).filter(|folder| folder.iter().any(|part| part == own));
        folders.extend(above.map(|folder| format!("%dir /{}\n", folder.display())));
        let about = fs::symlink_metadata(root.join(&file))?;
        let kind = if file.starts_with("etc") {
            "%config(noreplace) "
        } else if file.starts_with("usr/share/doc") || file.starts_with("usr/share/man") {
            "%doc "
        } else if file.starts_with("usr/share/licenses") {
            "%license "
        } else {
            ""
        };
        let mode = about.permissions().mode() & 0o7777;
        let attributes = if about.is_symlink() {
            "%attr(-, root, root)".to_owned()
        } else {
            format!("%attr({mode:o}, root, {})", group(mode, built))
        };
        list.push(format!("{kind}{attributes} /{}\n", file.display()));
    }
    list.extend(folders);
    Ok(list.concat())
}

/// What others may not read, the program's account must.
fn group(mode: u32, built: &Built) -> &'static str {
    if mode & 0o4 == 0 { built.program.name() } else { "root" }
}

/// For Alpine.
pub(super) fn apk(built: &Built, release: &Release) -> Result<String> {
    ensure!(build::is_static(&fs::read(&built.binary)?), "Alpine has no glibc: it wants a static program");
    let nfpm = pins::nfpm()?;
    let folder = work("apk", release)?;
    let root = folder.join("root");
    stage(built, &root, "apk")?;
    let scripts = shell::root().join("packaging/apk").join(built.program.name());
    let config = json!({
        "name": built.program.name(),
        "version": release.version,
        "version_schema": "none",
        "release": "0",
        "arch": built.arch.name(),
        "platform": "linux",
        "maintainer": MAINTAINER,
        "homepage": HOMEPAGE,
        "license": "Apache-2.0",
        "description": built.program.summary(),
        "mtime": created(release)?,
        "scripts": { "preinstall": scripts.join("pre-install"), "preremove": scripts.join("pre-deinstall") },
        "apk": { "scripts": { "postupgrade": scripts.join("post-upgrade") } },
        "contents": apk_files(built, &root)?,
    });
    let file = folder.join("nfpm.json");
    fs::write(&file, serde_json::to_vec_pretty(&config)?)?;
    let made = built.file(Format::Apk, release);
    let mut command = Command::new(nfpm);
    command.args(["package", "--packager", "apk", "--config"]).arg(&file);
    command.arg("--target").arg(release.out.join(&made));
    shell::output(command.env("SOURCE_DATE_EPOCH", &release.epoch))?;
    fs::remove_dir_all(folder)?;
    Ok(made)
}

/// Each file of the tree. What is below /etc is kept by apk if it was changed.
fn apk_files(built: &Built, root: &Path) -> Result<Value> {
    let entry = |file: &PathBuf| {
        let (source, target) = (root.join(file), Path::new("/").join(file));
        let about = fs::symlink_metadata(&source)?;
        if about.is_symlink() {
            return Ok(json!({ "type": "symlink", "src": fs::read_link(&source)?, "dst": target }));
        }
        let mode = about.permissions().mode() & 0o7777;
        let about = json!({ "mode": mode, "owner": "root", "group": group(mode, built) });
        Ok(json!({ "src": source, "dst": target, "file_info": about }))
    };
    Ok(entries(root)?.iter().map(entry).collect::<Result<Vec<_>>>()?.into())
}

/// Lays out what is installed.
fn stage(built: &Built, root: &Path, flavour: &str) -> Result<()> {
    let mut command = Command::new(shell::root().join("packaging/stage"));
    command.arg(built.program.name()).arg(&built.binary).arg(root).arg(flavour);
    shell::run(command.env("ALPPACA_GENERATOR", &built.generator))
}

/// All files and links below a folder, by their paths in it, in order.
pub(super) fn entries(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(root)?.to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// When the source is from.
pub(super) fn created(release: &Release) -> Result<String> {
    let format = "+%Y-%m-%dT%H:%M:%SZ";
    let said = shell::output(Command::new("date").args(["--utc", format]).arg(format!("--date=@{}", release.epoch)))?;
    Ok(said.trim().to_owned())
}

pub(super) fn name(file: &Path) -> Result<String> {
    Ok(file.file_name().context("a file has a name")?.to_string_lossy().into_owned())
}
