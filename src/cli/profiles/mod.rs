//! `alppaca profiles write`: a profile for each role in the configuration of the AWS SDKs.

mod block;
mod replace;

use std::path::{Path, PathBuf};

use super::{
    Failure, Outcome, environment,
    human::foreign,
    sdk::{ProfileFiles, Variables},
    socket::{NO_ROLE, Socket},
    use_role::listed,
};
use block::{Profile, Split};

use crate::source::profile::at_home;

/// Arguments of `profiles`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write a profile for each role that you may have
    Write(WriteArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each role gets a profile whose credentials come from the daemon (credential_process), in a block of
their own between two marked lines. The block is written anew each time; nothing else in the file is
changed, nor its mode, its owner or a symbolic link. A profile that exists outside of the block, or
in the file of credentials, is never replaced: then nothing is written.

Examples:
  alppaca profiles write
  alppaca profiles write --prefix corp- --region eu-central-1
  alppaca profiles write --remove
  aws --profile prod-admin s3 ls

Exit codes: 0 done, 1 failed or a profile of that name exists, 2 the command line is wrong, 3 no
daemon answers, 4 there is no role for you, 5 a sign-in is needed (then nothing is changed).")]
struct WriteArgs {
    /// The file [default: the variable `AWS_CONFIG_FILE`, else ~/.aws/config]
    #[arg(short, long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// What the name of each profile begins with, before the name of the role
    #[arg(short, long, default_value = "", hide_default_value = true, value_parser = word)]
    prefix: String,
    /// The region of each profile
    #[arg(short, long, value_parser = word)]
    region: Option<String>,
    /// Print the block and change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Take the block away
    #[arg(long, conflicts_with_all = ["prefix", "region", "dry_run"])]
    remove: bool,
    #[command(flatten)]
    socket: Socket,
}

/// Does it.
pub(super) fn run(args: &Args) -> Outcome {
    let Command::Write(args) = &args.command;
    let variables = environment::variables();
    let file = file(args.file.as_deref(), &variables)?;
    let text = replace::read(&file).map_err(|error| failed(&file, &error))?;
    let split = Split::of(&text)
        .map_err(|problem| Failure::runtime(format!("{}:{}: {}", file.display(), problem.line, problem.what)))?;
    if args.remove {
        return put(&file, &text, &split.without(), "the profiles of alppaca have been removed");
    }
    let profiles = profiles(args)?;
    let others = ProfileFiles::read(&variables).with_config(file.clone(), &split.without());
    let taken: Vec<&str> = profiles.iter().map(|profile| &*profile.name).filter(|name| others.has(name)).collect();
    if !taken.is_empty() {
        let names: Vec<String> = taken.into_iter().map(foreign).collect();
        return Err(Failure::runtime(format!(
            "{}, or the file of credentials, has profiles of these names already: {}\nNothing was written. Choose other \
             names with --prefix, or rename those.",
            file.display(),
            names.join(", ")
        )));
    }
    let block = block::render(&profiles);
    if args.dry_run {
        alppaca_command::print!("{block}");
        return Ok(());
    }
    let done = match &*profiles {
        [only] => format!("1 profile, {}", only.name),
        all => format!("{} profiles, such as {}", all.len(), all.first().map_or("", |profile| &*profile.name)),
    };
    put(&file, &text, &split.with(&block), &done)
}

/// A profile for each role.
fn profiles(args: &WriteArgs) -> Result<Vec<Profile>, Failure> {
    let program = environment::own_program().map_err(Failure::runtime)?;
    let socket = args.socket.named();
    let mut roles: Vec<String> = listed(&args.socket.client())?.roles.into_iter().map(|role| role.name).collect();
    if roles.is_empty() {
        return Err(Failure { code: NO_ROLE, message: "there is no role for you; nothing was changed".into() });
    }
    // The order of the daemon depends on the choice.
    roles.sort();
    let profile = |role: &String| Profile {
        name: format!("{}{role}", args.prefix),
        process: block::command_line(&program, role, socket),
        region: args.region.clone(),
    };
    let profiles: Vec<Profile> = roles.iter().map(profile).collect();
    if profiles.iter().any(|profile| profile.name == "default") {
        return Err(Failure::runtime(
            "a role is named default, which is the profile of all programs that name none: use --prefix",
        ));
    }
    Ok(profiles)
}

fn file(given: Option<&Path>, variables: &Variables) -> Result<PathBuf, Failure> {
    let home = Path::new(variables.get("HOME").unwrap_or("~"));
    let set = || variables.get("AWS_CONFIG_FILE").map(|file| at_home(Path::new(file), home));
    let named = given.map(Path::to_owned).or_else(set);
    let usual = || variables.get("HOME").map(|home| Path::new(home).join(".aws/config"));
    named.or_else(usual).ok_or_else(|| Failure::usage("there is no HOME: name the file with --file"))
}

fn put(file: &Path, before: &[u8], after: &[u8], done: &str) -> Outcome {
    if before == after {
        alppaca_command::println!("{}: nothing to change", file.display());
        return Ok(());
    }
    // Roles may have taken seconds to come.
    if replace::read(file).map_err(|error| failed(file, &error))? != before {
        return Err(Failure::runtime(format!(
            "{} was changed meanwhile; nothing was written. Run it again.",
            file.display()
        )));
    }
    replace::write(file, after).map_err(|error| failed(file, &error))?;
    alppaca_command::println!("{}: {done}", file.display());
    Ok(())
}

fn failed(file: &Path, error: &std::io::Error) -> Failure {
    Failure::runtime(format!("{}: {error}", file.display()))
}

/// What cannot be anything else in an INI file.
fn word(text: &str) -> Result<String, String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "_.@+-".contains(c);
    if text.chars().all(fine) { Ok(text.to_owned()) } else { Err("letters, digits and _.@+- are allowed".to_owned()) }
}
