//! `process`: real programs, good and bad.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::Duration,
};

use alppaca::{
    clock::SystemClock,
    credentials::Credentials,
    refresh::{Fetch, SourceError},
    source::process::{self, Process, Settings},
};
use tempfile::TempDir;

use crate::{is_transient, write};

const GOOD: &str = r#"{"Version":1,"AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"wJalr","SessionToken":"IQoJ","Expiration":"2099-01-01T00:00:00Z"}"#;

struct Program {
    directory: TempDir,
    settings: Settings,
}

impl Program {
    /// A shell script with this text.
    fn new(script: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("program");
        write(&path, &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("own");
        let program = process::Program {
            command: vec![path.display().to_string()],
            launcher: [env!("CARGO_BIN_EXE_alppaca"), "launch", "--"].map(str::to_owned).to_vec(),
            timeout: Duration::from_secs(20),
            environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
            facts: Vec::new(),
        };
        let settings = Settings { program, assumed_lifetime: Duration::from_hours(1) };
        Self { directory, settings }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn fetch(&self) -> Result<Credentials, SourceError> {
        // A script that another thread's fork still has open for writing cannot be run yet (ETXTBSY).
        loop {
            let process = Process::new(self.settings.clone(), SystemClock::shared()).expect("good settings");
            match process.fetch(None).await {
                Err(error) if error.message.contains("Text file busy") => tokio::task::yield_now().await,
                result => return result,
            }
        }
    }

    async fn error(&self) -> String {
        let error = self.fetch().await.expect_err("no credentials");
        assert!(is_transient(&error), "{error:?}");
        error.message
    }
}

#[tokio::test]
async fn what_a_program_prints_is_the_set() {
    let set = Program::new(&format!("echo '{GOOD}'; echo 'a warning' >&2")).fetch().await.expect("credentials");
    assert_eq!((set.access_key_id.as_str(), set.session_token.expose()), ("ASIAEXAMPLE", "IQoJ"));
    assert_eq!(set.expiration.to_string(), "2099-01-01T00:00:00Z");
}

#[tokio::test]
async fn arguments_are_not_read_by_a_shell() {
    let mut program = Program::new(&format!("[ \"$1\" = '$(id) ; *' ] && echo '{GOOD}'"));
    program.settings.program.command.push("$(id) ; *".into());
    program.fetch().await.expect("credentials");
}

#[tokio::test]
async fn a_program_without_a_slash_is_found_through_its_path() {
    let mut program = Program::new(&format!("echo '{GOOD}'"));
    let path = format!("{}:/usr/bin:/bin", program.directory.path().display());
    program.settings.program.environment = vec![("PATH".into(), path)];
    program.settings.program.command = vec!["program".into()];
    program.fetch().await.expect("credentials");
}

#[tokio::test]
async fn its_environment_is_what_the_settings_say_and_nothing_else() {
    let mut program = Program::new("");
    let seen = program.file("seen");
    write(&program.file("program"), &format!("#!/bin/sh\nenv > {}\necho '{GOOD}'\n", seen.display()));
    program.settings.program.environment.push(("HOME".into(), "/nonexistent".into()));
    program.fetch().await.expect("credentials");
    let seen = fs::read_to_string(seen).expect("written");
    let mut names: Vec<&str> = seen.lines().filter_map(|line| line.split('=').next()).collect();
    names.sort_unstable();
    // The last three are the shell's own.
    names.retain(|name| !["PWD", "SHLVL", "_", "OLDPWD"].contains(name));
    assert_eq!(names, ["HOME", "PATH"]);
}

#[tokio::test]
async fn it_inherits_no_file_of_ours() {
    let program = Program::new("");
    let seen = program.file("seen");
    let script = format!("#!/bin/sh\nls -l /proc/self/fd > {}\necho '{GOOD}'\n", seen.display());
    write(&program.file("program"), &script);
    let _open = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket that must not be seen");
    program.fetch().await.expect("credentials");
    let seen = fs::read_to_string(seen).expect("written");
    assert!(!seen.contains("socket:"), "{seen}");
}

#[tokio::test]
async fn a_set_without_an_end_gets_the_assumed_one() {
    let mut program = Program::new(&format!("echo '{}'", GOOD.replace("2099-01-01T00:00:00Z", "")));
    program.settings.assumed_lifetime = Duration::from_mins(30);
    let before = jiff_now();
    let set = program.fetch().await.expect("credentials");
    assert!(
        set.expiration >= before + Duration::from_mins(30) && set.expiration <= jiff_now() + Duration::from_mins(30)
    );
}

fn jiff_now() -> jiff::Timestamp {
    use alppaca::clock::Clock;
    SystemClock.now().wall
}

#[tokio::test]
async fn a_failure_is_told_with_what_it_complains_of_but_never_a_secret() {
    let said = Program::new("printf 'no \\033[31mticket\\n  for you' >&2; exit 3").error().await;
    assert!(said.ends_with("it ended with exit status: 3: no [31mticket for you"), "{said}");
    let said = Program::new("echo 'no ticket'; echo 'SecretAccessKey=wJalr token expired' >&2; exit 1").error().await;
    assert!(said.ends_with("exit status: 1: SecretAccessKey=*** token expired"), "{said}");
    let said = Program::new("exit 1").error().await;
    assert!(said.ends_with("exit status: 1, without output on stderr"), "{said}");
    let said = Program::new("kill -9 $$").error().await;
    assert!(said.contains("signal: 9"), "{said}");
    let long = Program::new("yes nonsense | head -c 1000000 >&2; exit 1").error().await;
    assert!(long.len() < 600, "{}", long.len());
    let said = Program::new("echo wJalr").error().await;
    assert!(said.contains("is not the JSON of a credential_process") && !said.contains("wJalr"), "{said}");
    let mut missing = Program::new("");
    missing.settings.program.command = vec!["/nonexistent/program".into()];
    let said = missing.error().await;
    let wanted =
        "the program /nonexistent/program: cannot be started: No such file or directory (os error 2); neither ";
    assert!(said.starts_with(wanted), "{said}");
    missing.settings.program.command = vec!["no-such-program".into()];
    let said = missing.error().await;
    assert!(said.ends_with(": name it with its path"), "{said}");
    missing.settings.program.command = vec!["/dev/null".into()];
    let said = missing.error().await;
    assert!(said.contains("cannot be started: Permission denied") && said.contains("executable for uid "), "{said}");
}

#[tokio::test]
async fn what_it_writes_to_stderr_is_told_whatever_went_wrong() {
    let lines = "seq 2000 >&2; echo 'log in again: the token is over' >&2";
    let mut slow = Program::new(&format!("{lines}; sleep 600"));
    slow.settings.program.timeout = Duration::from_secs(5);
    for (program, what) in [
        (Program::new(lines), "it printed nothing"),
        (Program::new(&format!("{lines}; echo no")), "is not the JSON of a credential_process"),
        (Program::new(&format!("{lines}; echo '{{}}'")), "it printed no \"Version\": 1"),
        (Program::new(&format!("{lines}; yes")), "it printed more than 64 KiB"),
        (Program::new(&format!("{lines}; exit 4")), "it ended with exit status: 4"),
        (slow, "not done within 5s, and killed"),
    ] {
        let said = program.error().await;
        assert!(said.contains(what) && said.ends_with(" 2000 log in again: the token is over"), "{what}: {said}");
        assert!(said.contains(": … ") && said.len() < 700, "{said}");
    }
}

#[tokio::test]
async fn what_stays_in_the_background_is_not_waited_for_and_ended() {
    // The process in the background holds stdout, stderr and a named pipe open.
    let program = Program::new("");
    let pipe = program.file("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let script = format!("#!/bin/sh\nexec 3>{}\necho started >&3\nsleep 600 &\necho '{GOOD}'\n", pipe.display());
    write(&program.file("program"), &script);
    let reader = std::thread::spawn(move || fs::read_to_string(pipe).expect("until all writers are gone"));
    program.fetch().await.expect("credentials, though stdout never ends");
    assert_eq!(reader.join().expect("no panic"), "started\n");
}

#[tokio::test]
async fn it_has_a_session_of_its_own_without_a_terminal() {
    // One that reads the terminal gets an error at once; in the session of ours it would be stopped.
    let program = Program::new("");
    let seen = program.file("seen");
    let script = format!(
        "#!/bin/sh\nread answer && exit 9\n(: < /dev/tty) 2>/dev/null && exit 8\ncut -d' ' -f1,5-7 /proc/$$/stat > {}\necho '{GOOD}'\n",
        seen.display()
    );
    write(&program.file("program"), &script);
    program.fetch().await.expect("credentials");
    let seen = fs::read_to_string(seen).expect("written");
    // Its number is that of its process group and of its session, and it has no terminal.
    let numbers: Vec<&str> = seen.split_whitespace().collect();
    let [process, group, session, terminal] = numbers[..] else { panic!("{seen}") };
    assert_eq!((group, session, terminal), (process, process, "0"));
}

#[tokio::test]
async fn too_much_output_ends_it() {
    let said = Program::new("yes").error().await;
    assert!(said.ends_with("it printed more than 64 KiB, and was killed, without output on stderr"), "{said}");
}

#[tokio::test]
async fn on_a_time_out_it_is_ended_with_all_it_started() {
    let mut program = Program::new("");
    // Two processes that hold a named pipe open: its other end tells when both are gone.
    let pipe = program.file("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let script = format!("#!/bin/sh\nexec 3>{}\necho started >&3\nsleep 600 &\nsleep 600\n", pipe.display());
    write(&program.file("program"), &script);
    // Long enough for a busy machine to start it: nobody else would end the wait for the pipe.
    program.settings.program.timeout = Duration::from_secs(5);
    let reader = std::thread::spawn(move || fs::read_to_string(pipe).expect("until all writers are gone"));
    let said = program.error().await;
    assert!(said.ends_with("not done within 5s, and killed, without output on stderr"), "{said}");
    // It returns only when the last writer is gone.
    assert_eq!(reader.join().expect("no panic"), "started\n");
}

#[test]
fn a_command_that_cannot_be_is_refused() {
    for command in [vec![], vec![String::new()], vec!["a\0b".to_owned()]] {
        let mut settings = Program::new("").settings;
        settings.program.command = command;
        assert!(Process::new(settings, SystemClock::shared()).is_err());
    }
}

#[test]
fn an_interrupted_trial_leaves_nothing_running() {
    let program = Program::new("");
    let pipe = program.file("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let script = format!("#!/bin/sh\nexec 3>{}\necho started >&3\nsleep 600 &\nsleep 600\n", pipe.display());
    write(&program.file("program"), &script);
    let config = program.file("a.yaml");
    let text = "sources:\n  p: {kind: process, command: PROGRAM, timeout: 10m}\nroles:\n  r: {source: p}\n";
    write(&config, &text.replace("PROGRAM", &program.settings.program.command[0]));
    let trial = std::process::Command::new(env!("CARGO_BIN_EXE_alppaca"))
        .args(["source", "test", "p", "-c"])
        .arg(&config)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("started");
    let mut reader = BufReader::new(fs::File::open(pipe).expect("its other end"));
    let mut line = String::new();
    reader.read_line(&mut line).expect("a line");
    assert_eq!(line, "started\n");
    let id = i32::try_from(trial.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a process");
    rustix::process::kill_process(id, rustix::process::Signal::INT).expect("ours");
    // The end of the file comes when the last writer is gone.
    assert_eq!(reader.read_line(&mut line).expect("readable"), 0);
    let output = trial.wait_with_output().expect("ended");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("interrupted"), "{said}");
}
