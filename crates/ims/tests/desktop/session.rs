//! The terminal session in `docs/desktop.md`: its commands are run, one after the other, and print what the page says.
//!
//! The page has public names where the test has servers of its own (see `Stage::public`), and what is different each time
//! is not compared (`VARIABLE`).

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use regex_lite::Regex;

use super::{
    Desktop,
    aws_sign_in::SignIn,
    moto::Moto,
    program, python,
    support::{Browser, eventually},
};

/// What is different each time, and what is compared instead.
const VARIABLE: [(&str, &str); 4] = [
    (r"http://127\.0\.0\.1:\d+/[\w-]{22}", "[page of login]"),
    (r"SigninToken=[\w%.-]+", "SigninToken=[token]"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\dZ?", "[time]"),
    (r"\b\d+[hms]( \d+[ms])?\b", "[duration]"),
];

/// Where a daemon listens without `listen`.
const LISTEN: &str = "127.0.0.1:25772";

struct Stage {
    desktop: Desktop,
    aws: Moto,
    sign_in: SignIn,
    bin: PathBuf,
    page: PathBuf,
}

impl Stage {
    fn new(desktop: Desktop, python: &Path) -> Self {
        let bin = desktop.scene.path().join("bin");
        let page = desktop.scene.path().join("page");
        let (aws, sign_in) = (Moto::start(python), SignIn::start(true));
        aws.make_bucket("reports");
        let stage = Self { desktop, aws, sign_in, bin, page };
        let endpoint = &stage.sign_in.url;
        let program = program().display();
        stage.desktop.script(
            "alppaca",
            &format!("[ \"$1\" = console ] && set -- \"$@\" --endpoint '{endpoint}'\nexec '{program}' \"$@\""),
        );
        // It hands the page to a browser that runs: the test.
        let page = stage.page.display();
        stage.desktop.script("browser", &format!("echo \"$1\" >'{page}.new' && mv '{page}.new' '{page}'"));
        std::os::unix::fs::symlink(python.with_file_name("aws"), stage.bin.join("aws")).expect("ours");
        stage
    }

    /// Runs commands in a shell. Everything that they print, as the page would have it.
    fn run(&self, script: &str) -> String {
        let listen: SocketAddr = self.desktop.listen;
        let mut command = Command::new("sh");
        command.args(["-ec", &format!("exec 2>&1\n{}", script.replace(LISTEN, &listen.to_string()))]);
        let scene = self.desktop.scene.path();
        command.env_clear().env("HOME", scene).env("PATH", format!("{}:/usr/bin:/bin", self.bin.display()));
        command.env("ALPPACA_SOCKET", scene.join("run/alppaca/alppaca.sock")).env("BROWSER", self.bin.join("browser"));
        command.env("AWS_DEFAULT_REGION", "us-east-1").env("AWS_ENDPOINT_URL_STS", self.desktop.sts.url());
        command.env("AWS_ENDPOINT_URL_S3", format!("http://{}", self.aws.address));
        // The tests beside this one need the machine, too.
        command.env("AWS_METADATA_SERVICE_TIMEOUT", "5").env("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "10");
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("a shell");
        if script.ends_with("alppaca login") {
            self.be_the_person();
        }
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8(output.stdout).expect("text");
        assert!(output.status.success(), "{script}: {said}\n{}", self.desktop.log());
        self.public(&said)
    }

    /// What the person does in the browser.
    fn be_the_person(&self) {
        let url = eventually("the browser is opened", || fs::read_to_string(&self.page).ok(), || self.desktop.log());
        let browser = Browser(self.desktop.scene.path().join("person.cookies"));
        let page = browser.open(url.trim(), &[]);
        let page = browser.submit(&page, &[("login", "alice"), ("password", "any")]);
        assert!(browser.submit(&page, &[]).contains("Signed in as alice"));
        // The next command comes when the site has said which roles there are.
        self.desktop.awaits_state("web", Some("idle"));
    }

    /// With the names of the page for the servers of the test.
    fn public(&self, said: &str) -> String {
        let provider = self.desktop.provider.as_ref().expect("a provider");
        said.replace(&provider.issuer, "https://login.example.com")
            .replace(&self.sign_in.url, "https://signin.aws.amazon.com/federation")
    }
}

fn comparable(text: &str) -> String {
    VARIABLE.iter().fold(text.to_owned(), |text, (pattern, name)| {
        Regex::new(pattern).expect("an expression").replace_all(&text, *name).into_owned()
    })
}

/// The commands of the session and what each prints.
fn recorded() -> Vec<(String, String)> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/desktop.md");
    let text = fs::read_to_string(path).expect("the page");
    let block = text.split("```text\n").find(|block| block.starts_with("$ alppaca login\n")).expect("the session");
    let session = block.split("```").next().expect("its end");
    let steps = session.split("$ ").skip(1).map(|step| step.split_once('\n').expect("a command"));
    // There is an empty line before the next command.
    steps.map(|(command, said)| (command.to_owned(), said.trim_end().to_owned())).collect()
}

#[test]
fn the_session_of_the_documentation_is_what_happens() {
    let Some(desktop) = Desktop::new(&[], "") else { return };
    let Some(python) = python() else { return };
    let stage = Stage::new(desktop, &python);
    let _daemon = stage.desktop.start();
    let mut exported = String::new();
    let mut programs = Vec::new();
    for (command, expected) in recorded() {
        if command.starts_with("export ") {
            exported = format!("{exported}{command}\n");
        }
        let said = stage.run(&format!("{exported}{command}"));
        assert_eq!(comparable(said.trim_end()), comparable(&expected), "$ {command}\n{said}");
        programs.extend(command.split(' ').nth(1).map(str::to_owned));
    }
    // The page says all of it.
    let words = ["login", "whoami", "roles", "use", "sts", "s3", "console", "logout"];
    programs.retain(|word| words.contains(&word.as_str()));
    assert_eq!(programs, words);
    // Only the role that was chosen has been assumed.
    let roles: Vec<String> = stage.desktop.sts.assumed().iter().map(|call| call.get("RoleArn").to_owned()).collect();
    assert_eq!(roles, [format!("arn:aws:iam::{}:role/web", super::support::ACCOUNT)]);
}
