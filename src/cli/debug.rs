//! `alppaca debug bundle`: what somebody needs to know who is to find out what is wrong, without anything secret.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    Failure, Outcome, check, doctor,
    human::foreign,
    place::ConfigPath,
    socket::{ANSWER_LIMIT, Socket},
    version,
};
use crate::{
    admin::{Client, Status},
    clock::{Clock, SystemClock},
    config::{self, Config},
    needs::{Need, Needs},
};
use alppaca_settings::load;

/// So much of the end of a log is enough to see what goes wrong again and again.
const LOG_BYTES: u64 = 256 * 1024;
const LOG_LINES: &str = "1000";

/// What `journalctl` prints instead of entries.
const NO_ENTRIES: &str = "-- No entries --";

/// What is taken of the host: files, none of which has a secret.
const FACTS: &[&str] = &[
    "/etc/os-release",
    "/proc/version",
    "/proc/uptime",
    "/proc/meminfo",
    "/proc/net/route",
    "/proc/self/cgroup",
    "/proc/sys/kernel/yama/ptrace_scope",
    "/proc/sys/net/ipv4/conf/all/route_localnet",
    "/proc/sys/net/ipv4/ip_local_port_range",
    "/sys/kernel/security/lsm",
    "/sys/fs/cgroup/cgroup.controllers",
];

/// The lines of `/proc/PID/status` about what a process may do.
const PROCESS: &[&str] =
    &["Name", "State", "Uid", "Gid", "Groups", "VmRSS", "VmLck", "Threads", "Cap", "NoNewPrivs", "Seccomp", "FDSize"];

const README: &str = "\
What `alppaca debug bundle` has collected. READ IT BEFORE YOU SEND IT: there are no credentials, tokens, passwords or keys in
it, but the names of your roles, accounts, users, hosts and files, which may be your secrets. Take away what others should
not see.

configuration.yaml  the effective configuration, secrets as ***
status.json         the state of the daemon and its roles
metrics.txt         its metrics
log.txt             the end of its log
doctor.json         what `alppaca doctor` finds, for the user who has run it
confinement.txt     what the daemon may do by its configuration, and what its process may do
host.txt            versions, the kernel and the network of this host

A part that could not be had says why.
";

/// Arguments of `debug`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: DebugCommand,
}

#[derive(Debug, clap::Subcommand)]
enum DebugCommand {
    /// Collect what is needed to find a fault, without secrets, in a new directory
    Bundle(BundleArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The directory has the effective configuration (as `alppaca check` prints it), the status, the
metrics, the end of the log, the findings of `alppaca doctor`, the confinement, and facts about the
kernel. Only you can read it. It has no credentials, tokens, passwords or keys, but names of roles,
accounts, users and hosts: read it before you send it to somebody. Nothing is sent, and nothing is
overwritten.

As root it has all of it; as another user what that user may see.

Examples:
  sudo alppaca debug bundle
  sudo alppaca debug bundle --out for-support && sudo tar -czf for-support.tar.gz for-support

Exit codes: 0 written, 1 failed or the directory exists, 2 the command line is wrong.")]
struct BundleArgs {
    /// The directory to make [default: alppaca-debug-TIME in the current one]
    #[arg(short, long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigPath,
    #[command(flatten)]
    socket: Socket,
}

/// Does it.
pub(super) fn run(args: &Args) -> Outcome {
    let DebugCommand::Bundle(args) = &args.command;
    let now = SystemClock.now().wall.strftime("%Y%m%dT%H%M%SZ");
    let out = args.out.clone().unwrap_or_else(|| format!("alppaca-debug-{now}").into());
    let failed = |error: io::Error| Failure::runtime(format!("cannot write {}: {error}", out.display()));
    DirBuilder::new().mode(0o700).create(&out).map_err(failed)?;
    let path = args.config.path();
    let config = config::load(&path);
    let client = args.socket.client();
    let status = client.get::<Status>("/v1/status", ANSWER_LIMIT);
    let pid = status.as_ref().ok().map(|status| status.pid);
    let (rendered, allowed, log) = match &config {
        Ok(loaded) => (loaded.config.render(), check::sandbox(&path, loaded).join("\n"), log(&loaded.config)),
        Err(_) => (unconfigured(&path), unconfigured(&path), journal()),
    };
    let parts = [
        ("README.txt", None, README.to_owned()),
        ("configuration.yaml", Some("the configuration"), rendered),
        ("status.json", Some("the status"), document(&client, "/v1/status")),
        ("metrics.txt", Some("metrics"), document(&client, "/metrics")),
        ("log.txt", Some("the end of the log"), log),
        ("doctor.json", Some("findings"), doctor::findings(&args.socket)?),
        ("confinement.txt", None, format!("{allowed}\n\n{}", pid.map_or_else(String::new, process))),
        ("host.txt", Some("facts about this host"), host()),
    ];
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for (name, what, text) in parts {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(out.join(name));
        file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed)?;
        match (what, text.strip_prefix(ABSENT)) {
            (Some(what), None) => there.push(what),
            (Some(what), Some(why)) => missing.push(format!("{what} ({})", foreign(why.trim_end()))),
            (None, _) => {}
        }
    }
    alppaca_command::println!("{} has, without secrets: {}.", out.display(), there.join(", "));
    if !missing.is_empty() {
        alppaca_command::println!("Not available: {}.", missing.join(", "));
    }
    alppaca_command::println!("Read it before you send it: it has names of roles, accounts, users and hosts.");
    Ok(())
}

/// How a part begins that could not be had.
const ABSENT: &str = "# not available: ";

fn absent(what: impl std::fmt::Display) -> String {
    format!("{ABSENT}{what}\n")
}

/// Why there is no configuration. What is wrong in it is not shown: the line may have a secret.
fn unconfigured(path: &Path) -> String {
    match load::texts(path, "") {
        Err(_) if matches!(path.try_exists(), Ok(false)) => {
            absent(format!("there is no {}; name it with -c", path.display()))
        }
        // The files themselves: no word of them was read.
        Err(errors) => absent(errors),
        Ok(_) => absent(format!("{} is not valid: see `alppaca check`", path.display())),
    }
}

/// What the daemon says at `path`.
fn document(client: &Client, path: &str) -> String {
    match client.call("GET", path, b"", ANSWER_LIMIT) {
        Ok(answer) => String::from_utf8_lossy(&answer.body).into_owned(),
        Err(error) => absent(error),
    }
}

/// The end of the log: of its file, if it has one.
fn log(config: &Config) -> String {
    let mut needs = Needs::default();
    config.logging.needs(&mut needs);
    let file = needs.iter().find_map(|needed| match &needed.need {
        Need::Append(path) | Need::Follow(path) | Need::Rotate(path) => Some(path),
        _ => None,
    });
    file.map_or_else(journal, |path| {
        end_of(path).unwrap_or_else(|error| absent(format!("{}: {error}", path.display())))
    })
}

fn end_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let skipped = file.metadata()?.len().saturating_sub(LOG_BYTES);
    file.seek(SeekFrom::Start(skipped))?;
    let mut text = Vec::new();
    file.take(LOG_BYTES).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn journal() -> String {
    // Of the host's service and of a user's own.
    let text = command("journalctl", &["--no-pager", "--lines", LOG_LINES, "_COMM=alppaca"]);
    let has_none = ["", NO_ENTRIES, ABSENT.trim_end()].contains(&text.trim());
    if has_none { absent("the journal that you may read has no entry of alppaca") } else { text }
}

fn command(program: &str, arguments: &[&str]) -> String {
    match Command::new(program).args(arguments).output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(output) => absent(String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => absent(format!("{program}: {error}")),
    }
}

/// What the process of the daemon may do.
fn process(pid: u32) -> String {
    match fs::read_to_string(format!("/proc/{pid}/status")) {
        Ok(status) => {
            let wanted = |line: &&str| PROCESS.iter().any(|start| line.starts_with(start));
            status.lines().filter(wanted).flat_map(|line| [line, "\n"]).collect()
        }
        Err(error) => absent(format!("the process {pid}: {error}")),
    }
}

fn host() -> String {
    let mut text = format!("alppaca {}\n", version::version());
    for path in FACTS {
        let fact = fs::read_to_string(path).unwrap_or_else(absent_fact);
        text.extend(["\n# ", path, "\n", fact.trim_end(), "\n"]);
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_else(absent_fact);
    let of_kernel = |line: &&str| ["proc ", "cgroup"].iter().any(|start| line.starts_with(start));
    text.push_str("\n# mounts of the kernel\n");
    text.extend(mounts.lines().filter(of_kernel).flat_map(|line| [line, "\n"]));
    text.extend(["\n# the route to 169.254.169.254\n", &command("ip", &["route", "get", "169.254.169.254"])]);
    text
}

fn absent_fact(error: io::Error) -> String {
    absent(error)
}
