//! The packages, of a stand-in for the programs that is small and static: what is in them, that the same input gives the same
//! bytes, and what the tools of distributions say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

#[path = "../../tests/support/needs.rs"]
mod needs;

use needs::{needs, needs_root};

/// Says what it was asked to do, in the form of a manual page.
const STAND_IN: &str = r#"fn main() {
    let words: Vec<_> = std::env::args().skip(1).collect();
    print!(".TH page 1\n.SH NAME\n");
    println!("{} \\- {words:?}", words.last().filter(|word| *word != "man").map_or("alppaca", |word| word));
}"#;

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn said(command: &mut Command) -> String {
    let output = run(command);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

fn stand_in(folder: &Path, name: &str, options: &[&str]) -> PathBuf {
    let (source, program) = (folder.join("main.rs"), folder.join(name));
    fs::write(&source, STAND_IN).expect("a file");
    said(
        Command::new("rustc").args(["--edition=2024", "-Cstrip=symbols", "-o"]).arg(&program).args(options).arg(source),
    );
    program
}

/// Makes packages of both programs.
fn package(program: &Path, formats: &[&str], out: &Path, options: &[&str]) -> Output {
    let mut output = None;
    for name in ["alppaca", "alppaca-ims"] {
        let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
        xtask.args(["package", "--only", name, "--program"]).arg(program).arg("--out").arg(out).args(options);
        xtask.args(formats.iter().map(|format| format!("--format={format}")));
        // Nothing may be skipped.
        xtask.env("SOURCE_DATE_EPOCH", "1700000000").env("CI", "true");
        let made = run(&mut xtask);
        assert!(made.status.success(), "{made:?}");
        output = Some(made);
    }
    output.expect("two programs")
}

fn file(folder: &Path, start: &str, end: &str) -> PathBuf {
    let mut files = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    let fits = |file: &PathBuf| {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        name.starts_with(start) && name.ends_with(end)
    };
    files.find(fits).unwrap_or_else(|| panic!("no {start}…{end} in {}", folder.display()))
}

/// Those for glibc, of a program that is linked to it.
fn for_glibc(what: &str, formats: &[&str]) -> Option<TempDir> {
    let tools = [("deb", "dpkg-deb"), ("rpm", "rpmbuild"), ("tar", "tar")];
    if !tools.iter().all(|(format, tool)| !formats.contains(format) || needs(what, tool)) {
        return None;
    }
    let folder = tempfile::tempdir().expect("a directory");
    let program = stand_in(folder.path(), "program", &[]);
    package(&program, formats, &folder.path().join("out"), &[]);
    Some(folder)
}

#[test]
fn lintian_and_rpmlint_find_nothing() {
    let what = "linters of packages";
    let tools = ["lintian", "rpmlint", "cpio"];
    if !tools.iter().all(|tool| needs(what, tool)) {
        return;
    }
    let Some(folder) = for_glibc(what, &["deb", "rpm"]) else { return };
    let out = folder.path().join("out");
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for name in ["alppaca_", "alppaca-ims_"] {
        // The stand-in has the same page for all.
        let mut lintian = Command::new("lintian");
        lintian.args(["--allow-root", "--fail-on=error,warning", "--suppress-tags=wrong-manual-section"]);
        assert_eq!(said(lintian.arg(file(&out, name, ".deb"))), "", "{name}");
    }
    for name in ["alppaca-0", "alppaca-ims-0"] {
        let mut rpmlint = Command::new("rpmlint");
        rpmlint.arg("-c").arg(project.join("packaging/rpm/rpmlint.toml"));
        let said = said(rpmlint.arg(file(&out, name, ".rpm")));
        assert!(said.contains("0 errors, 0 warnings"), "{said}");
    }
}

/// On a copy of this host that is thrown away, with a database of packages of its own.
#[test]
fn the_rpm_is_installed_checked_upgraded_and_removed() {
    let what = "the RPM";
    if !needs_root(what) || !needs(what, "rpm") || !needs(what, "unshare") {
        return;
    }
    let Some(folder) = for_glibc(what, &["rpm"]) else { return };
    let path = folder.path().to_str().expect("UTF-8");
    let old = folder.path().join("old");
    package(&folder.path().join("program"), &["rpm"], &old, &["--version=0.0.9"]);
    let [older, newer] = [old, folder.path().join("out")].map(|out| {
        let rpms = ["alppaca-0", "alppaca-ims-0"];
        rpms.map(|name| file(&out, name, ".rpm"))
    });
    let rpms = older.into_iter().chain(newer);
    let installed = run(Command::new("unshare").args(["--mount", "sh", "-c", INSTALL, path]).args(rpms));
    let said = format!("{}{}", String::from_utf8_lossy(&installed.stdout), String::from_utf8_lossy(&installed.stderr));
    if installed.status.code() == Some(77) {
        needs::cannot(what, &said);
        return;
    }
    assert!(installed.status.success(), "{said}");
    for line in [
        "run \\- [\"run\"]\n",
        "account: /nonexistent:/sbin/nologin\n",
        "log: 750 alppaca alppaca\n",
        "ims.yaml: 640 root alppaca-ims\n",
        "changed: \n",
        "systemd, installed: daemon-reload daemon-reload\n",
        "versions: 0.1.0 0.1.0\n",
        "kept: ims_host: x\n",
        "log kept: 750 alppaca alppaca\n",
        "changed since: S.5....T.  c /etc/alppaca/alppaca.yaml\n",
        "systemd, upgraded: daemon-reload try-restart alppaca.service daemon-reload try-restart alppaca-ims.service\n",
        "left: ./etc/alppaca ./etc/alppaca/alppaca.yaml.rpmsave ./var/log/alppaca\n",
    ] {
        assert!(said.contains(line), "{line}{said}");
    }
    let removed = said.lines().find_map(|line| line.strip_prefix("systemd, removed: ")).expect("it says so");
    for command in
        ["disable --now alppaca.socket alppaca.service alppaca-capture.service ", "disable --now alppaca-ims.service "]
    {
        assert!(removed.contains(command) && !removed.contains("restart"), "{removed}");
    }
}

/// $0 is a folder of ours, $1 and $2 older packages, $3 and $4 the packages. 77: overlays cannot be had here.
const INSTALL: &str = r#"
set -e
folder=$0
mkdir "$folder/copy"
mount -t tmpfs none "$folder/copy" && cd "$folder/copy" && mkdir upper work root
mount -t overlay none -o lowerdir=/,upperdir=upper,workdir=work root || exit 77
mount --bind /dev root/dev && mount -t tmpfs none root/run && mount -t tmpfs none root/tmp
mount --bind /proc root/proc
cp "$1" root/tmp/alppaca-old.rpm && cp "$2" root/tmp/ims-old.rpm
cp "$3" root/tmp/alppaca.rpm && cp "$4" root/tmp/ims.rpm
# A systemd runs, as far as the scripts see.
mkdir -p root/run/systemd/system && rm -f root/usr/bin/systemctl
printf '#!/bin/sh\necho "$*" >>/run/asked\n' >root/usr/bin/systemctl && chmod 755 root/usr/bin/systemctl
asked() { echo "systemd, $1:" $(cat root/run/asked) && rm root/run/asked; }
inside() { chroot root env PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C "$@"; }
# Debian has what the packages ask for, but not as packages of RPM.
rpm() { inside rpm --dbpath /tmp/db "$@"; }

rpm -i --nodeps /tmp/alppaca-old.rpm /tmp/ims-old.rpm
echo "runs: $(inside alppaca run)"
echo "account: $(inside getent passwd alppaca | cut -d : -f 6,7)"
echo "log: $(inside stat -c '%a %U %G' /var/log/alppaca)"
echo "ims.yaml: $(inside stat -c '%a %U %G' /etc/alppaca-ims/ims.yaml)"
echo "changed: $(rpm -V --nodeps alppaca alppaca-ims)"
asked installed

echo 'ims_host: x' > root/etc/alppaca/alppaca.yaml
touch root/var/log/alppaca/old
rpm -U --nodeps /tmp/alppaca.rpm
rpm -U --nodeps /tmp/ims.rpm
echo "versions:" $(rpm -q --qf '%{VERSION} ' alppaca alppaca-ims)
echo "kept: $(cat root/etc/alppaca/alppaca.yaml)"
echo "log kept: $(inside stat -c '%a %U %G' /var/log/alppaca)"
echo "changed since: $(rpm -V --nodeps alppaca alppaca-ims)"
asked upgraded

rpm -e alppaca alppaca-ims 2>&1
asked removed
# Only what the overlay has got.
cd upper && echo "left:" $(find . -name '*alppaca*' ! -type c | LC_ALL=C sort)
"#;

#[test]
fn alpines_package_has_its_parts() {
    let what = "Alpine's package";
    if !needs(what, "tar") {
        return;
    }
    let folder = tempfile::tempdir().expect("a directory");
    let program = stand_in(folder.path(), "program", &["-Ctarget-feature=+crt-static"]);
    let out = folder.path().join("out");
    package(&program, &["apk"], &out, &[]);
    let apk = file(&out, "alppaca_", ".apk");
    // Parts that are compressed each for itself: what tar reads in one go with this.
    let tar =
        |words: &[&str]| said(Command::new("tar").args(["--ignore-zeros", "--gzip", "--file"]).arg(&apk).args(words));
    let list = tar(&["--list", "--verbose"]);
    for (name, mode) in [
        (".PKGINFO", "-rw"),
        (".pre-install", "-rwxr-xr-x"),
        (".post-upgrade", "-rwxr-xr-x"),
        (".pre-deinstall", "-rwxr-xr-x"),
        ("usr/bin/alppaca", "-rwxr-xr-x"),
        ("etc/init.d/alppaca", "-rwxr-xr-x"),
        ("etc/alppaca/alppaca.yaml", "-rw-r--r--"),
    ] {
        let line = list.lines().find(|line| line.ends_with(&format!(" {name}")));
        assert!(line.is_some_and(|line| line.starts_with(mode)), "{name}: {line:?}\n{list}");
    }
    assert!(!list.contains("systemd"), "{list}");
    let info = tar(&["--extract", "--to-stdout", ".PKGINFO"]);
    for line in ["pkgname = alppaca\n", "arch = x86_64\n", "license = Apache-2.0\n", "datahash = "] {
        assert!(info.contains(line) || cfg!(not(target_arch = "x86_64")), "{line}{info}");
    }
    for script in ["alppaca", "alppaca-ims"].iter().flat_map(|name| {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/apk").join(name);
        fs::read_dir(scripts).expect("scripts").flatten().map(|entry| entry.path())
    }) {
        said(Command::new("sh").arg("-n").arg(script));
    }
    // A program of glibc would not run there.
    let linked = stand_in(folder.path(), "linked", &[]);
    let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
    xtask.args(["package", "--only", "alppaca", "--format", "apk", "--program"]).arg(linked).arg("--out").arg(&out);
    let refused = run(&mut xtask);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("static"), "{refused:?}");
}

#[test]
fn the_same_input_gives_the_same_bytes_signed() {
    let what = "reproducible packages";
    if !["dpkg-deb", "rpmbuild", "minisign"].iter().all(|tool| needs(what, tool)) {
        return;
    }
    let folder = tempfile::tempdir().expect("a directory");
    let (public, secret) = (folder.path().join("public"), folder.path().join("secret"));
    said(Command::new("minisign").args(["-G", "-W", "-p"]).arg(&public).arg("-s").arg(&secret));
    let sums: Vec<String> = ["first", "second/with/a/longer/name"]
        .into_iter()
        .map(|name| {
            let folder = folder.path().join(name);
            fs::create_dir_all(&folder).expect("a folder");
            let out = folder.join("out");
            for (options, formats) in
                [(&[][..], &["deb", "rpm", "tar"][..]), (&["-Ctarget-feature=+crt-static"][..], &["apk", "image"][..])]
            {
                let program = stand_in(&folder, "program", options);
                package(&program, formats, &out, &["--sign", secret.to_str().expect("UTF-8")]);
            }
            said(Command::new("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).current_dir(&out));
            said(Command::new("minisign").args(["-V", "-q", "-m", "SHA256SUMS", "-p"]).arg(&public).current_dir(&out));
            fs::read_to_string(out.join("SHA256SUMS")).expect("text")
        })
        .collect();
    assert_eq!(sums[0], sums[1]);
    // Five formats, and a bill of materials for each of the two C libraries.
    assert_eq!(sums[0].lines().count(), 2 * (5 + 2), "{}", sums[0]);
}

/// A stand-in is linked to the glibc of this host, and serves nothing.
#[test]
fn packages_that_are_not_to_be_published_are_found_out() {
    let what = "the check of packages";
    let tools = ["dpkg-deb", "rpmbuild", "rpm2cpio", "cpio", "skopeo", "lintian", "rpmlint"];
    if !cfg!(target_arch = "x86_64") || !tools.iter().all(|tool| needs(what, tool)) {
        return;
    }
    let Some(folder) = for_glibc(what, &["deb", "rpm", "tar"]) else { return };
    let out = folder.path().join("out");
    let program = stand_in(folder.path(), "static", &["-Ctarget-feature=+crt-static"]);
    package(&program, &["apk", "image"], &out, &[]);
    let check = || {
        let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
        xtask.args(["check-packages", "--arch", "amd64"]).arg(&out).env("CARGO_TARGET_DIR", folder.path());
        let checked = run(&mut xtask);
        assert_eq!(checked.status.code(), Some(1), "{checked:?}");
        String::from_utf8_lossy(&checked.stdout).into_owned()
    };
    let said = check();
    // Step, passed, failed, skipped, why.
    let has = |said: &str, row: &str| {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.lines().any(|line| words(line).starts_with(row)), "{row}\n{said}");
    };
    has(&said, "checksums 1 0 0 14 files");
    has(&said, "alppaca amd64 rpm, rpmlint 1 0 0");
    has(&said, "alppaca amd64 (Gnu), the same in all 0 1 0 it is not linked as it shall");
    has(&said, "alppaca-ims amd64 (Static), the same in all 1 0 0");
    has(&said, "alppaca-ims amd64 (Static) runs 0 1 0 --version says");
    assert!(!said.contains("unpacked"), "{said}");

    let archive = file(&out, "alppaca-0", ".tar.gz");
    fs::write(&archive, "something else").expect("ours");
    let said = check();
    has(&said, "checksums 0 1 0 SHA256SUMS says of another file than there is");
    has(&said, "alppaca amd64 tar, unpacked 0 1 0");
    fs::remove_file(&archive).expect("ours");
    has(&check(), "alppaca amd64 tar, unpacked 0 1 0 there is no");
}

/// Of a program for this processor: nothing looks into it.
#[test]
fn packages_for_arm64_say_so() {
    let what = "packages for arm64";
    if !["dpkg-deb", "rpmbuild", "skopeo"].iter().all(|tool| needs(what, tool)) {
        return;
    }
    let folder = tempfile::tempdir().expect("a directory");
    let out = folder.path().join("out");
    let generator = stand_in(folder.path(), "generator", &[]);
    for (options, formats) in
        [(&[][..], &["deb", "rpm", "tar"][..]), (&["-Ctarget-feature=+crt-static"][..], &["apk", "image"][..])]
    {
        let program = stand_in(folder.path(), "program", options);
        package(&program, formats, &out, &["--arch=arm64", "--generator", generator.to_str().expect("UTF-8")]);
    }
    for name in ["alppaca", "alppaca-ims"] {
        let deb = said(
            Command::new("dpkg-deb").arg("-f").arg(file(&out, &format!("{name}_"), "_arm64.deb")).arg("Architecture"),
        );
        assert_eq!(deb, "arm64\n");
        let rpm = file(&out, &format!("{name}-0"), "-1.aarch64.rpm");
        assert_eq!(said(Command::new("rpm").args(["-qp", "--qf", "%{ARCH} %{OS}"]).arg(rpm)), "aarch64 linux");
        let apk = file(&out, &format!("{name}_"), "_aarch64.apk");
        let mut tar = Command::new("tar");
        tar.args(["--ignore-zeros", "--gzip", "--extract", "--to-stdout", "--file"]).arg(apk).arg(".PKGINFO");
        assert!(said(&mut tar).contains("\narch = aarch64\n"));
        let image = file(&out, &format!("{name}-0"), "-linux-arm64.oci.tar");
        let mut inspect = Command::new("skopeo");
        inspect.args(["--override-arch=arm64", "inspect", "--format={{.Architecture}} {{.Os}}"]);
        assert_eq!(said(inspect.arg(format!("oci-archive:{}", image.display()))), "arm64 linux\n");
        file(&out, &format!("{name}-0"), "-linux-arm64.tar.gz");
    }
}

#[test]
fn the_archive_has_no_folders_that_would_change_those_of_the_host() {
    let Some(folder) = for_glibc("the archive", &["tar"]) else { return };
    let archive = file(&folder.path().join("out"), "alppaca-0", ".tar.gz");
    let list = said(Command::new("tar").args(["--list", "--verbose", "--file"]).arg(archive));
    assert!(list.lines().all(|line| !line.starts_with('d') && line.contains(" 0/0 ")), "{list}");
    for name in ["usr/bin/alppaca", "usr/lib/systemd/system/alppaca.service", "usr/share/licenses/alppaca/LICENSE"] {
        assert!(list.contains(&format!("/{name}\n")), "{name}\n{list}");
    }
}

#[test]
fn the_bill_of_materials_names_each_crate_with_licence_and_checksum() {
    let Some(folder) = for_glibc("the bill of materials", &["tar"]) else { return };
    let text = fs::read_to_string(file(&folder.path().join("out"), "alppaca-ims-0", ".cdx.json")).expect("text");
    let bom: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&bom["bomFormat"], &bom["specVersion"]), (&"CycloneDX".into(), &"1.6".into()));
    assert_eq!(bom["metadata"]["component"]["name"], "alppaca-ims");
    let components = bom["components"].as_array().expect("components");
    let find = |name: &str| components.iter().find(|component| component["name"] == name);
    let tls = find("rustls").expect("it is used");
    assert_eq!(tls["purl"], tls["bom-ref"]);
    assert_eq!(tls["hashes"][0]["content"].as_str().map(str::len), Some(64));
    assert!(components.iter().all(|component| component["licenses"][0]["expression"] != ""), "{text}");
    // Ours are in no registry; tests' are in no program.
    assert!(find("alppaca-core").is_some_and(|ours| ours.get("purl").is_none()), "{text}");
    assert!(find("proptest").is_none(), "{text}");
    let mut references: Vec<_> = components.iter().map(|component| component["bom-ref"].to_string()).collect();
    references.sort();
    references.dedup();
    assert_eq!(references.len(), components.len());
}
