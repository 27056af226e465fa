//! `alppaca generate`: shell completions and the manual pages, made from the command line and the settings themselves.

use std::io::Write;

use clap_complete::Shell;

use super::{Failure, Outcome, manual};

/// Arguments of `generate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  alppaca generate man > alppaca.1
  alppaca generate man --of alppacad > alppacad.8
  alppaca generate man --of alppaca.yaml > alppaca.yaml.5
  alppaca generate bash > /etc/bash_completion.d/alppaca")]
pub(super) struct Args {
    /// What to print
    #[arg(value_enum)]
    what: What,
    /// The program, or the configuration (which has a manual page only)
    #[arg(long = "of", value_enum, value_name = "NAME", default_value_t = Program::Alppaca)]
    pub(super) program: Program,
}

/// What it is generated for: a name of the binary that a person types, or the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Program {
    Alppaca,
    Alppacad,
    #[value(name = "alppaca.yaml")]
    Configuration,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum What {
    Man,
    Bash,
    Zsh,
    Fish,
    Elvish,
}

/// Prints it.
pub(super) fn run(args: &Args, mut command: clap::Command) -> Outcome {
    let mut text = Vec::new();
    let shell = match args.what {
        What::Man => None,
        What::Bash => Some(Shell::Bash),
        What::Zsh => Some(Shell::Zsh),
        What::Fish => Some(Shell::Fish),
        What::Elvish => Some(Shell::Elvish),
    };
    match shell {
        Some(shell) => {
            let name = command.get_name().to_owned();
            clap_complete::generate(shell, &mut command, name, &mut text);
        }
        None => program_manual(command, if args.program == Program::Alppaca { "1" } else { "8" }, &mut text)
            .map_err(Failure::runtime)?,
    }
    print(&text)
}

/// Prints the manual page of the configuration.
pub(super) fn configuration(args: &Args) -> Outcome {
    match args.what {
        What::Man => print(manual::configuration().as_bytes()),
        _ => Err(Failure::usage("alppaca.yaml has a manual page only: alppaca generate man --of alppaca.yaml")),
    }
}

fn print(text: &[u8]) -> Outcome {
    anstream::stdout().write_all(text).map_err(|error| Failure::runtime(format!("cannot write: {error}")))
}

/// What the command line does not say of itself.
const FILES: &str = r"
.SH FILES
.TP
\fI/etc/alppaca/*.yaml\fR
The configuration, merged in alphabetical order. Every setting is in
\fBalppaca.yaml\fR(5).
.TP
\fI/run/alppaca/alppaca.sock\fR
The admin socket. The daemon of a plain user has it in \fI$XDG_RUNTIME_DIR/alppaca\fR or
\fI~/.local/state/alppaca\fR.
";

/// The page of the program, with all of its commands.
fn program_manual(mut command: clap::Command, section: &str, text: &mut Vec<u8>) -> std::io::Result<()> {
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).section(section).render(&mut page)?;
    let mut page = String::from_utf8_lossy(&page).replace(EXTRA, NOTES);
    for subcommand in command.get_subcommands() {
        // It has no page of its own.
        let name = subcommand.get_name().replace('-', "\\-");
        page = page.replace(&format!("alppaca\\-{name}(1)\n"), &format!("alppaca {name}\n"));
    }
    text.extend(page.into_bytes());
    commands(&command, "", text)?;
    text.write_all(FILES.trim_start().as_bytes())
}

/// What clap calls examples and exit codes, and what a manual page does.
const EXTRA: &str = ".SH EXTRA\n";
const NOTES: &str = ".SH NOTES\n";

/// The commands below one: what they are for, how they are called, their options, examples and exit codes.
fn commands(parent: &clap::Command, path: &str, text: &mut Vec<u8>) -> std::io::Result<()> {
    for command in parent.get_subcommands().filter(|command| command.get_name() != "help") {
        let page = clap_mangen::Man::new(command.clone());
        let name = format!("{path}{}", command.get_name());
        writeln!(text, ".SH \"COMMAND {}\"", name.to_uppercase())?;
        let mut parts = Vec::new();
        page.render_description_section(&mut parts)?;
        page.render_synopsis_section(&mut parts)?;
        if command.get_positionals().next().is_some() || command.get_opts().next().is_some() {
            page.render_options_section(&mut parts)?;
        }
        if command.get_after_help().is_some() {
            page.render_extra_section(&mut parts)?;
        }
        // Sections of a section.
        let parts = String::from_utf8_lossy(&parts).replace(EXTRA, NOTES).replace(".SH ", ".SS ");
        text.extend(parts.into_bytes());
        commands(command, &format!("{name} "), text)?;
    }
    Ok(())
}
