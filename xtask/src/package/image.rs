//! An OCI image of the static program alone: no shell, no package manager, not root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Built, Format, Program, Release, build, formats, sha256, work};
use crate::shell;

/// The account, which no host has.
const ID: &str = "65532";
/// Certificates of Debian's package alone: a company's own, which may be on this machine, belong in its own image.
const CERTIFICATES: &str = "/usr/share/ca-certificates/mozilla";

impl Program {
    /// Folders that the account may write to.
    fn own_folders(self) -> &'static [&'static str] {
        match self {
            // The last for `demo`.
            Self::Alppaca => &["run/alppaca", "var/log/alppaca", "tmp"],
            Self::AlppacaIms => &["run/alppaca-ims", "var/lib/alppaca-ims", "var/log/alppaca-ims", "tmp"],
        }
    }
}

/// Makes an archive that is both an OCI layout, for Podman, skopeo and registries, and what `docker load` reads.
pub(super) fn make(built: &Built, release: &Release) -> Result<String> {
    ensure!(build::is_static(&fs::read(&built.binary)?), "the image has no C library: it wants a static program");
    let folder = work("image", release)?;
    let layout = folder.join("layout");
    fs::create_dir_all(layout.join("blobs/sha256"))?;
    let layer = layer(built, release, &folder)?;
    let diff = sha256(&layer)?;
    shell::run(Command::new("gzip").arg("-9n").arg(&layer))?;
    let layer = blob(&layout, &fs::read(layer.with_extension("tar.gz"))?, &folder)?;
    let config = blob(&layout, &serde_json::to_vec(&config(built, release, &diff)?)?, &folder)?;
    let describe = |kind: &str, blob: &Blob| {
        json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": format!("sha256:{}", blob.digest),
            "size": blob.size,
        })
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": describe("config.v1+json", &config),
        "layers": [describe("layer.v1.tar+gzip", &layer)],
    });
    let manifest = blob(&layout, &serde_json::to_vec(&manifest)?, &folder)?;
    let tag = format!("{}:{}", built.program.name(), release.version);
    let mut entry = describe("manifest.v1+json", &manifest);
    entry["platform"] = json!({ "architecture": built.arch.name(), "os": "linux" });
    // What Podman calls it, and containerd.
    entry["annotations"] = json!({
        "org.opencontainers.image.ref.name": tag,
        "io.containerd.image.name": format!("docker.io/library/{tag}"),
    });
    let write = |name: &str, value: &Value| fs::write(layout.join(name), value.to_string());
    write("oci-layout", &json!({ "imageLayoutVersion": "1.0.0" }))?;
    write("index.json", &json!({ "schemaVersion": 2, "manifests": [entry] }))?;
    let path = |blob: &Blob| format!("blobs/sha256/{}", blob.digest);
    write("manifest.json", &json!([{ "Config": path(&config), "RepoTags": [tag], "Layers": [path(&layer)] }]))?;

    let made = built.file(Format::Image, release);
    tar(&layout, release, "0", &release.out.join(&made), "-cf", &["."])?;
    fs::remove_dir_all(folder)?;
    Ok(made)
}

/// What is in the image, as a tar file.
fn layer(built: &Built, release: &Release, folder: &Path) -> Result<std::path::PathBuf> {
    let (program, root) = (built.program, folder.join("root"));
    let name = program.name();
    let put = |path: String, mode: u32, content: &[u8]| -> Result<()> {
        let file = root.join(path);
        fs::create_dir_all(file.parent().context("a folder")?)?;
        fs::write(&file, content)?;
        Ok(fs::set_permissions(file, fs::Permissions::from_mode(mode))?)
    };
    put(format!("usr/bin/{name}"), 0o755, &fs::read(&built.binary)?)?;
    put("etc/passwd".into(), 0o644, format!("root:x:0:0::/:\n{name}:x:{ID}:{ID}::/:\n").as_bytes())?;
    put("etc/group".into(), 0o644, format!("root:x:0:\n{name}:x:{ID}:\n").as_bytes())?;
    put("etc/ssl/certs/ca-certificates.crt".into(), 0o644, &certificates()?)?;
    put(format!("usr/share/licenses/{name}/LICENSE"), 0o644, &fs::read(shell::root().join("LICENSE"))?)?;
    fs::create_dir_all(root.join("etc").join(name))?;
    for own in program.own_folders() {
        fs::create_dir_all(root.join(own))?;
    }
    // Whatever the umask is. The account's folders get their modes and owners in a pass of their own.
    shell::run(Command::new("chmod").args(["-R", "u=rwX,go=rX"]).arg(&root))?;
    let layer = folder.join("layer.tar");
    let excluded: Vec<String> = program.own_folders().iter().map(|own| format!("--exclude=./{own}")).collect();
    let mut arguments: Vec<&str> = excluded.iter().map(String::as_str).collect();
    arguments.push(".");
    tar(&root, release, "0", &layer, "-cf", &arguments)?;
    let own: Vec<String> = program.own_folders().iter().map(|own| format!("./{own}")).collect();
    tar(&root, release, ID, &layer, "-rf", &own.iter().map(String::as_str).collect::<Vec<_>>())?;
    Ok(layer)
}

fn certificates() -> Result<Vec<u8>> {
    let entries = fs::read_dir(CERTIFICATES).with_context(|| {
        format!(
            "there is no {CERTIFICATES}: apt-get install ca-certificates, which the image gets its certificates from"
        )
    })?;
    let mut files: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    let mut all = Vec::new();
    for file in files {
        all.extend(fs::read(&file)?);
        if all.last() != Some(&b'\n') {
            all.push(b'\n');
        }
    }
    Ok(all)
}

fn config(built: &Built, release: &Release, diff: &str) -> Result<Value> {
    let (name, created) = (built.program.name(), formats::created(release)?);
    Ok(json!({
        "created": created,
        "architecture": built.arch.name(),
        "os": "linux",
        "config": {
            "User": format!("{ID}:{ID}"),
            "Entrypoint": [format!("/usr/bin/{name}")],
            "Cmd": ["run"],
            "WorkingDir": "/",
            "Env": ["PATH=/usr/bin"],
            "StopSignal": "SIGTERM",
            "Labels": {
                "org.opencontainers.image.title": name,
                "org.opencontainers.image.description": built.program.summary(),
                "org.opencontainers.image.version": release.version,
                "org.opencontainers.image.revision": release.revision.as_deref().unwrap_or("unknown"),
                "org.opencontainers.image.created": created,
                "org.opencontainers.image.licenses": "Apache-2.0",
                "org.opencontainers.image.url": formats::HOMEPAGE,
            },
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{diff}")] },
        "history": [{ "created": created, "created_by": "cargo xtask package", "comment": "the program alone" }],
    }))
}

struct Blob {
    digest: String,
    size: usize,
}

fn blob(layout: &Path, content: &[u8], folder: &Path) -> Result<Blob> {
    let file = folder.join("blob");
    fs::write(&file, content)?;
    let digest = sha256(&file)?;
    fs::rename(file, layout.join("blobs/sha256").join(&digest))?;
    Ok(Blob { digest, size: content.len() })
}

/// Packs what is in `folder`, as if `owner` had written it when the source was.
fn tar(folder: &Path, release: &Release, owner: &str, archive: &Path, mode: &str, arguments: &[&str]) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--format=gnu", "--sort=name", "--numeric-owner", "--mode=u=rwX,go=rX"]);
    tar.args([format!("--owner={owner}"), format!("--group={owner}"), format!("--mtime=@{}", release.epoch)]);
    shell::run(tar.arg("-C").arg(folder).arg(mode).arg(archive).args(arguments))
}
