//! Release builds in which nothing of the machine shows: for any glibc since 2.17 or with glibc in them, no paths, the crates'
//! names in the binary.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::{Arch, Libc, Program, Release};
use crate::{pins, shell};

/// That of RHEL 7 and Amazon Linux 2.
const OLDEST_GLIBC: (u32, u32) = (2, 17);

/// What `cargo auditable` sets, but for where that program is: the path of a wrapper goes into the names of all symbols, and
/// so into the order of what is in the program. Without a path it is searched for in `PATH`. The other has the options of
/// cargo that matter to it.
/// <https://doc.rust-lang.org/cargo/reference/config.html#buildrustc-workspace-wrapper>
const AUDITABLE: [(&str, &str); 2] = [
    ("RUSTC_WORKSPACE_WRAPPER", "cargo-auditable"),
    ("CARGO_AUDITABLE_ORIG_ARGS", r#"{"offline":false,"locked":true,"frozen":false,"config":[]}"#),
];

impl Arch {
    pub(super) fn target(self) -> String {
        format!("{}-unknown-linux-gnu", self.machine())
    }
}

impl Libc {
    /// What cargo is told beside the target.
    pub(super) fn features(self) -> &'static [&'static str] {
        match self {
            Self::Gnu => &[],
            // A static program cannot load the modules of tokens.
            Self::Static => &["--no-default-features"],
        }
    }
}

/// Builds it, and makes sure that it runs where it shall.
pub(super) fn release(program: Program, arch: Arch, libc: Libc, release: &Release) -> Result<PathBuf> {
    let triple = arch.target();
    standard_library(&triple)?;
    let auditable = pins::auditable()?;
    let mut path: Vec<PathBuf> = auditable.parent().map(Path::to_owned).into_iter().collect();
    // Each has a folder of its own: cargo would build the other anew.
    let folder = shell::target().join(match libc {
        Libc::Gnu => "release-any-glibc",
        Libc::Static => "release-static",
    });
    let [mut rustflags, cflags] = without_paths(&shell::root(), &folder)?;
    let mut build = shell::cargo();
    build.envs(AUDITABLE);
    match libc {
        Libc::Gnu => {
            path.push(pins::zigbuild()?);
            let (major, minor) = OLDEST_GLIBC;
            build.args(["zigbuild", "--target", &format!("{triple}.{major}.{minor}")]);
        }
        Libc::Static => {
            rustflags.1.push_str(" -Ctarget-feature=+crt-static");
            build.args(["build", "--target", &triple]).envs(compiler(arch)?);
        }
    }
    shell::heading(&format!("building {} for {triple} ({libc:?})", program.name()));
    build.args(["--release", "--locked", "--package", program.name(), "--bin", program.name()]).args(libc.features());
    path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    build.env("PATH", env::join_paths(path)?).env("CARGO_TARGET_DIR", &folder);
    build.env("SOURCE_DATE_EPOCH", &release.epoch).envs([rustflags, cflags]);
    // For `--version`. An archive without a repository has none.
    if let Some(revision) = &release.revision {
        build.env("ALPPACA_REVISION", revision);
    }
    shell::run(&mut build)?;
    let binary = folder.join(triple).join("release").join(program.name());
    runs_anywhere(&binary, libc)?;
    Ok(binary)
}

/// The C compiler for another processor, whose glibc goes into the program: zig cannot link it so.
fn compiler(arch: Arch) -> Result<Vec<(String, String)>> {
    if arch == Arch::HERE {
        return Ok(Vec::new());
    }
    let gcc = format!("{}-linux-gnu-gcc", arch.machine());
    let package = arch.machine().replace('_', "-");
    ensure!(
        shell::which(&gcc).is_some(),
        "there is no {gcc}: apt-get install gcc-{package}-linux-gnu libc6-dev-{}-cross",
        arch.name()
    );
    let triple = arch.target().replace('-', "_");
    Ok(vec![(format!("CC_{triple}"), gcc.clone()), (format!("CARGO_TARGET_{}_LINKER", triple.to_uppercase()), gcc)])
}

/// What makes compilers write other paths than those of this machine, of a project that is built into `target`.
fn without_paths(project: &Path, target: &Path) -> Result<[(&'static str, String); 2]> {
    let cargo = cargo_home()?;
    // The last one that fits is used.
    let shown = [(project, "/alppaca"), (target, "/target"), (&cargo, "/cargo")];
    let flags = |option: &str| {
        let flag = |(path, name): &(&Path, &str)| {
            let path = path.to_str().filter(|path| !path.contains(char::is_whitespace));
            let path = path.context("compilers are not told of paths with blanks: build elsewhere")?;
            Ok(format!("{option}={path}={name}"))
        };
        Ok::<_, anyhow::Error>(shown.iter().map(flag).collect::<Result<Vec<_>>>()?.join(" "))
    };
    Ok([("RUSTFLAGS", flags("--remap-path-prefix")?), ("CFLAGS", flags("-ffile-prefix-map")?)])
}

/// Where the sources of other crates are.
pub(super) fn cargo_home() -> Result<PathBuf> {
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    env::var_os("CARGO_HOME").map(PathBuf::from).or(home).context("neither CARGO_HOME nor HOME is set")
}

/// Rust's standard library for the target, which rustup has.
fn standard_library(target: &str) -> Result<()> {
    let sysroot = shell::output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(shell::root()))?;
    if Path::new(sysroot.trim()).join("lib/rustlib").join(target).join("lib").is_dir() {
        return Ok(());
    }
    ensure!(shell::which("rustup").is_some(), "Rust has no standard library for {target} here, and there is no rustup");
    shell::run(Command::new("rustup").args(["target", "add", target]).current_dir(shell::root()))
}

fn runs_anywhere(binary: &Path, libc: Libc) -> Result<()> {
    let bytes = std::fs::read(binary).with_context(|| binary.display().to_string())?;
    is_linked(&bytes, libc).with_context(|| binary.display().to_string())
}

/// Whether a program runs on all hosts that it is for.
pub(super) fn is_linked(binary: &[u8], libc: Libc) -> Result<()> {
    match (libc, newest_glibc(binary)) {
        (Libc::Gnu, Some(version)) if version <= OLDEST_GLIBC => Ok(()),
        (Libc::Static, _) if is_static(binary) => Ok(()),
        (_, found) => bail!("it is not linked as it shall: it asks for glibc {found:?}"),
    }
}

/// The newest version of symbols that it asks for.
pub(super) fn newest_glibc(binary: &[u8]) -> Option<(u32, u32)> {
    const PREFIX: &[u8] = b"GLIBC_2.";
    let minor = |at: usize| {
        let digits: Vec<u8> = binary[at + PREFIX.len()..].iter().copied().take_while(u8::is_ascii_digit).collect();
        String::from_utf8(digits).ok()?.parse().ok()
    };
    let places = binary.windows(PREFIX.len()).enumerate().filter(|(_, window)| *window == PREFIX);
    places.filter_map(|(at, _)| minor(at)).max().map(|minor| (2, minor))
}

/// Whether the kernel starts the program without a dynamic linker.
pub(super) fn is_static(binary: &[u8]) -> bool {
    const INTERPRETER: usize = 3;
    let number = |at: usize, bytes: usize| {
        let field = binary.get(at..at + bytes)?;
        field.iter().rev().try_fold(0_usize, |sum, byte| Some(sum << 8 | usize::from(*byte)))
    };
    // The table of segments of a 64-bit ELF file: where it is, the size of a row, how many.
    let (Some(table), Some(size), Some(count)) = (number(0x20, 8), number(0x36, 2), number(0x38, 2)) else {
        return false;
    };
    binary.starts_with(b"\x7fELF")
        && (0..count).all(|row| number(table + row * size, 4).is_some_and(|kind| kind != INTERPRETER))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    /// A workspace whose program has paths of a library, of itself, and of what its build script made.
    const FILES: &[(&str, &str)] = &[
        (
            "Cargo.toml",
            "[workspace]\nmembers = ['library']\n[package]\nname = 'program'\nedition = '2024'\n\
          [dependencies]\nlibrary = {path = 'library'}\n[profile.release]\nlto = 'fat'\ncodegen-units = 1\nstrip = true\n",
        ),
        (
            "build.rs",
            "fn main() { let out = std::env::var(\"OUT_DIR\").unwrap(); \
          std::fs::write(out + \"/made.rs\", \"pub fn place() -> &'static str { file!() }\").unwrap(); }",
        ),
        (
            "src/main.rs",
            "include!(concat!(env!(\"OUT_DIR\"), \"/made.rs\")); \
          fn main() { println!(\"{} {} {}\", file!(), place(), library::place::<u8>()); }",
        ),
        ("library/Cargo.toml", "[package]\nname = 'library'\nedition = '2024'\n"),
        ("library/src/lib.rs", "pub fn place<T>() -> &'static str { file!() }"),
    ];

    fn built_in(folder: &Path) -> (Vec<u8>, String) {
        for (name, text) in FILES {
            let file = folder.join(name);
            fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
            fs::write(file, text).expect("a file");
        }
        // As the wrapper, which is below the folder, too.
        let (target, tools) = (folder.join("made/here"), folder.join("tools"));
        let wrapper = tools.join("cargo-auditable");
        fs::create_dir_all(&tools).expect("a folder");
        fs::write(&wrapper, "#!/bin/sh\nexec \"$@\"\n").expect("a file");
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).expect("ours");
        let path = format!("{}:{}", tools.display(), env::var("PATH").expect("a path"));
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--quiet", "--release", "--offline"]).current_dir(folder);
        cargo.envs(AUDITABLE).env("PATH", path);
        cargo.envs(without_paths(folder, &target).expect("flags")).env("CARGO_TARGET_DIR", &target);
        shell::run(&mut cargo).expect("it builds");
        let program = target.join("release/program");
        (fs::read(&program).expect("a program"), shell::output(&mut Command::new(program)).expect("it runs"))
    }

    #[test]
    fn a_build_is_the_same_in_two_folders_and_names_neither() {
        let (one, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let (first, said) = built_in(one.path());
        let (second, _) = built_in(&other.path().join("of/another/length"));
        assert!(first == second, "{said}");
        assert!(!said.contains("/tmp/") && said.contains("/target/release/build/program-"), "{said}");
    }

    #[test]
    fn a_program_tells_what_it_is_linked_to() {
        assert_eq!(newest_glibc(b"..GLIBC_2.4\0GLIBC_2.17\0GLIBC_2.2.5\0"), Some((2, 17)));
        assert_eq!(newest_glibc(b"GLIBC_2."), None);
        let this = fs::read("/proc/self/exe").expect("us");
        assert!(!is_static(&this) && !is_static(b"#!/bin/sh"));
    }
}
