//! The guides for those who come from another tool: each command that they name exists with its options, and those that need
//! nothing but a daemon are run.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use crate::{ALPPACA, stderr, stdout, with_credentials, with_roles};

const TOOLS: &str = include_str!("../../docs/coming-from-desktop-tools.md");
const GUIDES: [&str; 4] = [
    TOOLS,
    include_str!("../../docs/coming-from-aws-vault.md"),
    include_str!("../../docs/coming-from-hologram.md"),
    include_str!("../../docs/desktop.md"),
];

/// The commands of this program that are named in a text between two backquotes.
fn commands(text: &str) -> Vec<&str> {
    // Blocks of code are not between two of them.
    let lines = text.lines().filter(|line| !line.starts_with("```"));
    lines.flat_map(|line| line.split('`').skip(1).step_by(2)).filter(|code| code.starts_with("alppaca ")).collect()
}

/// Whether the command line is right, without doing it.
fn is_right(command: &str) -> bool {
    let end = [" -- ", " | "].iter().filter_map(|end| command.find(end)).min();
    let before = &command[..end.unwrap_or(command.len())];
    let words = before.split(' ').skip(1).filter(|word| !word.is_empty());
    let mut command = Command::new(ALPPACA);
    command.args(words).arg("--help").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().expect("it runs").success()
}

#[test]
fn each_command_that_a_guide_names_exists_with_its_options() {
    assert!(!is_right("alppaca roles --menu") && !is_right("alppaca assume prod"), "nothing would be found");
    for guide in GUIDES {
        let named = commands(guide);
        assert!(named.len() > 5, "{named:?}");
        for command in named {
            assert!(is_right(command), "{command}");
        }
    }
}

#[test]
fn the_commands_of_the_tables_do_what_they_are_named_for() {
    let ims = with_roles(&["prod", "prod-admin", "work"]);
    let daemon = with_credentials(&ims.config(), 3);
    let home = tempfile::tempdir().expect("a directory");
    for program in ["aws", "terraform"] {
        let file = home.path().join(program);
        fs::write(&file, "#!/bin/sh\necho \"$AWS_CONTAINER_CREDENTIALS_FULL_URI $*\"\n").expect("ours");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("ours");
    }
    let folder = Path::new(ALPPACA).parent().expect("a folder");
    let path = format!("{}:{}:/usr/bin:/bin", folder.display(), home.path().display());
    let run = |command: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-ec", command]).env_clear().env("PATH", &path).env("HOME", home.path());
        shell.env("ALPPACA_SOCKET", daemon.socket()).env("SHELL", home.path().join("aws"));
        let output = shell.stdin(Stdio::null()).output().expect("a shell");
        assert!(output.status.success(), "{command}: {output:?}\n{}", daemon.log());
        stdout(&output) + &stderr(&output)
    };
    let mut seen = Vec::new();
    for command in commands(TOOLS) {
        let word = command.split(' ').nth(1).expect("a word");
        // What a person does is in the tests of signing in, and the console has its own.
        if ["login", "logout", "whoami", "console", "doctor"].contains(&word) || command == "alppaca use" {
            continue;
        }
        let said = run(&command.replace("ROLE", "prod").replace("arn:…", "prod"));
        let expected = match word {
            "exec" => "/role/",
            "credentials" if command.ends_with("env") => "export AWS_SESSION_TOKEN='",
            "credentials" => "\"SessionToken\":",
            "roles" => "* ",
            "status" => "fresh",
            "use" | "me" => "valid for ",
            "profiles" => "/.aws/config",
            "prompt" => "m\n",
            other => panic!("nothing is known of {other}"),
        };
        assert!(said.contains(expected), "{command}: {said}");
        seen.push(word);
    }
    for word in ["exec", "credentials", "roles", "status", "use", "me", "profiles"] {
        assert!(seen.contains(&word), "{word}: {seen:?}");
    }
    let config = fs::read_to_string(home.path().join(".aws/config")).expect("`profiles write` was one of them");
    assert!(config.contains("[profile prod-admin]") && config.contains("credential_process"), "{config}");
}
