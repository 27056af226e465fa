//! Manual pages and completions, made from a command line itself.

use std::io::{self, Write};

use clap_complete::Shell;
use serde_json::Value as Json;

/// What can be made of a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum What {
    Man,
    Bash,
    Zsh,
    Fish,
    Elvish,
    /// A JSON Schema of the configuration, for editors
    Schema,
}

/// Makes it for a program whose manual page is in this section, has these sections at its end (roff), and whose
/// configuration has this schema: otherwise the keys that nothing reads, which a test excludes.
pub fn generate(
    what: What,
    mut command: clap::Command,
    (section, end): (&str, &str),
    schema: impl FnOnce() -> Result<Json, Vec<String>>,
) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let shell = match what {
        What::Man => {
            program_manual(command, section, &mut text)?;
            text.write_all(end.as_bytes())?;
            return Ok(text);
        }
        What::Schema => {
            let schema = schema().map_err(|keys| io::Error::other(format!("nothing reads {}", keys.join(", "))))?;
            return Ok(format!("{schema:#}\n").into_bytes());
        }
        What::Bash => Shell::Bash,
        What::Zsh => Shell::Zsh,
        What::Fish => Shell::Fish,
        What::Elvish => Shell::Elvish,
    };
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut text);
    Ok(text)
}

/// The page of the program, with all of its commands.
fn program_manual(mut command: clap::Command, section: &str, text: &mut Vec<u8>) -> io::Result<()> {
    command.build();
    let own = command.get_name().replace('-', "\\-");
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).section(section).render(&mut page)?;
    let mut page = String::from_utf8_lossy(&page).replace(EXTRA, NOTES);
    for subcommand in command.get_subcommands() {
        // It has no page of its own.
        let name = subcommand.get_name().replace('-', "\\-");
        page = page.replace(&format!("{own}\\-{name}({section})\n"), &format!("{own} {name}\n"));
    }
    text.extend(page.into_bytes());
    commands(&command, "", text)
}

/// What clap calls examples and exit codes, and what a manual page does.
const EXTRA: &str = ".SH EXTRA\n";
const NOTES: &str = ".SH NOTES\n";

/// The commands below one: what they are for, how they are called, their options, examples and exit codes.
fn commands(parent: &clap::Command, path: &str, text: &mut Vec<u8>) -> io::Result<()> {
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
