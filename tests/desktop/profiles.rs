//! `profiles write`: with files as people have them, and the programs that read them.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Output,
};

use crate::{
    ALPPACA, Command, Daemon, stderr, stdout,
    support::{needs_root, skip},
    with_credentials, with_roles,
};

const OWN: &str = "# mine, with an é and a tab:\t.\r\n[default]\nregion = eu-west-3\n\n[profile mine]\nsso_session = x";

struct Home(tempfile::TempDir);

impl Home {
    fn with(config: &str) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        fs::create_dir(home.path().join(".aws")).expect("ours");
        fs::write(home.path().join(".aws/config"), config).expect("ours");
        Self(home)
    }

    fn config(&self) -> PathBuf {
        self.0.path().join(".aws/config")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.config()).expect("there")
    }

    fn run(&self, daemon: &Daemon, arguments: &[&str]) -> Output {
        let mut command = Command::new(ALPPACA);
        command.args(["profiles", "write"]).args(arguments).env_remove("AWS_CONFIG_FILE");
        command.env("HOME", self.0.path()).env("ALPPACA_SOCKET", daemon.socket()).output().expect("it runs")
    }
}

#[test]
fn each_role_gets_a_profile_and_nothing_else_is_touched() {
    let ims = with_roles(&["web", "db"]);
    let daemon = with_credentials(&ims.config(), 2);
    let home = Home::with(OWN);
    fs::set_permissions(home.config(), fs::Permissions::from_mode(0o644)).expect("ours");
    let dry = home.run(&daemon, &["--dry-run"]);
    assert_eq!(home.text(), OWN, "nothing was written");
    assert!(stdout(&dry).contains("[profile db]\ncredential_process = "), "{dry:?}");
    let output = home.run(&daemon, &[]);
    assert!(output.status.success(), "{output:?}");
    let written = home.text();
    assert!(written.starts_with(&format!("{OWN}\n# >>> alppaca")), "{written}");
    let process = format!("credential_process = {ALPPACA} credentials");
    assert!(written.contains(&format!("\n[profile db]\n{process} db\n[profile web]\n{process} web\n")), "{written}");
    assert_eq!(fs::metadata(home.config()).expect("there").mode() & 0o777, 0o644);
    let inode = fs::metadata(home.config()).expect("there").ino();
    // The order of the roles does not count, and what is as it should be is not written.
    assert!(crate::alppaca(&daemon.socket(), &["use", "web"]).status.success());
    assert!(stdout(&home.run(&daemon, &[])).contains("nothing to change"));
    assert_eq!(fs::metadata(home.config()).expect("there").ino(), inode);
    let more = "[profile later]\nregion = us-east-1\n";
    fs::write(home.config(), format!("{written}{more}")).expect("ours");
    assert!(home.run(&daemon, &["--prefix", "corp-", "--region", "eu-central-1"]).status.success());
    let text = home.text();
    assert!(text.contains("[profile corp-web]\n") && text.contains("region = eu-central-1\n"), "{text}");
    assert!(!text.contains("[profile web]") && text.ends_with(&format!("write <<<\n{more}")), "{text}");
    assert!(home.run(&daemon, &["--remove"]).status.success());
    assert_eq!(home.text(), format!("{OWN}\n{more}"));
    fs::write(home.config(), &written).expect("ours");
    assert!(home.run(&daemon, &["--remove"]).status.success());
    assert_eq!(home.text(), OWN, "with the missing end of line");
}

#[test]
fn a_profile_of_a_person_is_never_replaced() {
    let ims = with_roles(&["web", "db"]);
    let daemon = with_credentials(&ims.config(), 2);
    for own in ["[profile web]\nregion = x\n", "[profile 'web']\n", "# >>> alppaca profiles write >>>\n[profile x]\n"] {
        let home = Home::with(own);
        let output = home.run(&daemon, &[]);
        assert_eq!(output.status.code(), Some(1), "{own}: {output:?}");
        assert_eq!(home.text(), own, "{own}");
    }
    let home = Home::with("");
    fs::write(home.0.path().join(".aws/credentials"), "[db]\naws_access_key_id = x\n").expect("ours");
    let output = home.run(&daemon, &[]);
    assert!(output.status.code() == Some(1) && stderr(&output).contains("names already: db\n"), "{output:?}");
    assert_eq!(home.text(), "");
    assert!(home.run(&daemon, &["--prefix", "a-"]).status.success());
}

#[test]
fn without_roles_the_profiles_stay() {
    let ims = with_roles(&["web"]);
    let daemon = with_credentials(&format!("{}policy: {{default: deny}}\n", ims.config()), 1);
    let block = "# >>> alppaca profiles write >>>\n[profile web]\n# <<< alppaca profiles write <<<\n";
    let home = Home::with(block);
    let output = home.run(&daemon, &[]);
    // Root and the daemon's own account see everything, but have what the policy gives them.
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert_eq!(home.text(), block);
}

#[test]
fn a_link_stays_a_link_and_a_file_its_owners() {
    if !needs_root("desktop: the owner of a file") {
        return;
    }
    let ims = with_roles(&["web"]);
    let daemon = with_credentials(&ims.config(), 1);
    let home = Home::with("");
    let real = home.0.path().join("dotfiles-config");
    fs::rename(home.config(), &real).expect("ours");
    std::os::unix::fs::symlink("../dotfiles-config", home.config()).expect("ours");
    std::os::unix::fs::chown(&real, Some(52_120), Some(52_121)).expect("root");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).expect("ours");
    assert!(home.run(&daemon, &[]).status.success());
    assert!(fs::symlink_metadata(home.config()).expect("there").is_symlink());
    let metadata = fs::metadata(&real).expect("there");
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (52_120, 52_121, 0o640));
    assert!(home.text().contains("[profile web]"));
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the environment says where the clients are")]
fn boto3_and_the_aws_cli_get_the_credentials_of_a_profile() {
    let what = "desktop: profiles with boto3 and the AWS CLI";
    let Ok(python) = std::env::var("ALPPACA_TEST_PYTHON") else {
        skip(what, "no ALPPACA_TEST_PYTHON; `cargo xtask test` makes one");
        return;
    };
    let ims = with_roles(&["web", "db"]);
    let daemon = with_credentials(&ims.config(), 2);
    let home = Home::with(OWN);
    assert!(home.run(&daemon, &["--region", "eu-central-1"]).status.success());
    let client = |program: &Path, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().env("HOME", home.0.path()).env("PATH", "/usr/bin:/bin");
        let output = command.env("ALPPACA_SOCKET", daemon.socket()).output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        stdout(&output).trim().to_owned()
    };
    let script = "import boto3\ns = boto3.Session(profile_name='db')\nc = s.get_credentials().get_frozen_credentials()\n\
                  print(c.access_key, s.region_name)";
    let python = PathBuf::from(python);
    let key = |role: &str| daemon.get(&format!("{}{role}", crate::LIST)).json()["AccessKeyId"].clone();
    assert_eq!(client(&python, &["-c", script]), format!("{} eu-central-1", key("db").as_str().expect("a text")));
    let aws = Path::new("/usr/bin/aws");
    if crate::support::needs(what, "aws") {
        // All of it that this command shows.
        let end = key("web").as_str().expect("a text").chars().rev().take(4).collect::<Vec<_>>();
        let end = format!("{} ", end.into_iter().rev().collect::<String>());
        let said = client(aws, &["configure", "list", "--profile", "web"]);
        assert!(said.contains(&end) && said.contains("custom-process"), "{said}");
    }
}
