//! `profile`: the files of the SDKs, in a home of their own.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use alppaca::{
    clock::SystemClock,
    credentials::Credentials,
    fetch::{Proxies, Proxy},
    refresh::{Fetch, SourceError},
    source::{
        long_term::is_long_term,
        profile::{Profile, Settings},
    },
};
use tempfile::TempDir;

use crate::{is_transient, options, server::Server, write};

const ASSUMED: &str = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><AssumedRoleUser><AssumedRoleId>AROA:x</AssumedRoleId><Arn>arn:aws:sts::123456789012:assumed-role/deploy/x</Arn></AssumedRoleUser><Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>wJalr</SecretAccessKey><SessionToken>IQoJ</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>";

/// What a program prints, in quotes that a shell takes off; `MARK` is a variable of its environment.
const PRINTED: &str = r#""{\"Version\":1,\"AccessKeyId\":\"ASIAPROGRAM\",\"SecretAccessKey\":\"wJalr\",\"SessionToken\":\"$MARK\",\"Expiration\":\"2098-01-01T00:00:00Z\"}""#;

struct Home(TempDir);

impl Home {
    fn new(config: &str, credentials: &str) -> Self {
        let home = Self(tempfile::tempdir().expect("a directory"));
        fs::create_dir(home.file(".aws")).expect("writable");
        write(&home.file(".aws/config"), config);
        write(&home.file(".aws/credentials"), credentials);
        home
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn settings(&self, profile: &str) -> Settings {
        Settings {
            profile: profile.to_owned(),
            home: self.0.path().to_owned(),
            config_file: None,
            credentials_file: None,
            region: "eu-central-1".to_owned(),
            endpoints: Vec::new(),
            launcher: [env!("CARGO_BIN_EXE_alppaca"), "launch", "--"].map(str::to_owned).to_vec(),
            environment: vec![("PATH".into(), "/usr/bin:/bin".into()), ("MARK".into(), "IQoJ".into())],
            http: options(),
            assumed_lifetime: Duration::from_hours(1),
        }
    }

    async fn fetch(&self, profile: &str) -> Result<Credentials, SourceError> {
        Profile::new(self.settings(profile), SystemClock::shared()).fetch(None).await
    }
}

#[tokio::test]
async fn keys_are_read_anew_each_time() {
    let home = Home::new("", "[default]\naws_access_key_id = AKIAFIRST\naws_secret_access_key = s\n");
    let source = Profile::new(home.settings("default"), SystemClock::shared());
    let first = source.fetch(None).await.expect("keys");
    assert!(first.access_key_id == "AKIAFIRST" && is_long_term(&first));
    let text = "[default]\naws_access_key_id = ASIASECOND\naws_secret_access_key = s\naws_session_token = IQoJ\n";
    write(&home.file(".aws/credentials"), text);
    let second = source.fetch(None).await.expect("keys");
    assert_eq!((second.access_key_id.as_str(), second.session_token.expose()), ("ASIASECOND", "IQoJ"));
}

#[tokio::test]
async fn the_files_may_be_elsewhere() {
    let home = Home::new("", "");
    write(&home.file("keys"), "[a]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = s\n");
    write(&home.file("config"), "[profile b]\nsource_profile = a\n");
    let settings = Settings {
        config_file: Some(home.file("config")),
        credentials_file: Some(home.file("keys")),
        ..home.settings("a")
    };
    let set = Profile::new(settings, SystemClock::shared()).fetch(None).await.expect("keys");
    assert_eq!(set.access_key_id, "AKIAOTHER");
}

#[tokio::test]
async fn a_profile_may_assume_a_role_with_another_one() {
    let sts = Server::start(|_| (200, ASSUMED.to_owned()));
    let config = format!(
        "[profile deploy]\nrole_arn = arn:aws:iam::123456789012:role/deploy\nsource_profile = base\nendpoint_url = {0}\n\
         [profile base]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = s\n",
        sts.url()
    );
    let set = Home::new(&config, "").fetch("deploy").await.expect("credentials");
    assert_eq!((set.access_key_id.as_str(), set.session_token.expose()), ("ASIAEXAMPLE", "IQoJ"));
    let asked = sts.asked().pop().expect("a call");
    assert!(asked.body.contains("Action=AssumeRole&") && asked.body.contains("role%2Fdeploy"), "{asked:?}");
    let authorization = asked.header("authorization").expect("signed");
    assert!(authorization.contains("AKIAEXAMPLE/") && authorization.contains("/eu-central-1/sts/"), "{asked:?}");
}

#[tokio::test]
async fn the_cache_of_an_sso_login_is_used() {
    let portal = Server::start(|asked| {
        let right = asked.line() == "GET /federation/credentials?role_name=Admin&account_id=123456789012"
            && asked.header("x-amz-sso_bearer_token") == Some("s5o-t0ken");
        let set = r#"{"roleCredentials":{"accessKeyId":"ASIASSO","secretAccessKey":"wJalr","sessionToken":"IQoJ","expiration":4070908800000}}"#;
        if right { (200, set.to_owned()) } else { (401, "{}".to_owned()) }
    });
    let config = format!(
        "[profile sso]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = Admin\nendpoint_url = {}\n\
         [sso-session corp]\nsso_region = eu-central-1\nsso_start_url = https://corp.awsapps.com/start\n",
        portal.url()
    );
    let home = Home::new(&config, "");
    let error = home.fetch("sso").await.expect_err("no login");
    assert!(is_transient(&error) && error.message.starts_with("the profile sso: "), "{error}");
    fs::create_dir_all(home.file(".aws/sso/cache")).expect("writable");
    let cached = r#"{"accessToken":"s5o-t0ken","expiresAt":"2099-01-01T00:00:00Z","region":"eu-central-1","startUrl":"https://corp.awsapps.com/start"}"#;
    // The SHA-1 of "corp", as the CLI names the file.
    write(&home.file(".aws/sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json"), cached);
    let set = home.fetch("sso").await.expect("credentials");
    assert_eq!(set.access_key_id, "ASIASSO");
    assert_eq!(set.expiration.to_string(), "2099-01-01T00:00:00Z");
}

#[tokio::test]
async fn what_is_missing_is_told() {
    let home = Home::new(
        "[profile imds]\nrole_arn = arn:aws:iam::123456789012:role/x\ncredential_source = Ec2InstanceMetadata\n[profile loop]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = loop2\n[profile loop2]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = loop\n",
        "",
    );
    let missing = home.fetch("nobody").await.expect_err("no such profile").message;
    assert!(missing.starts_with("the profile nobody: there is no profile \"nobody\" in "), "{missing}");
    // We are the metadata service, so no profile may ask it.
    let imds = home.fetch("imds").await.expect_err("no metadata service").message;
    assert!(!imds.contains("169.254"), "{imds}");
    let circle = home.fetch("loop").await.expect_err("a circle").message;
    assert!(circle.contains("the files are wrong") && circle.contains("infinite loop"), "{circle}");
}

/// What botocore 1.44.8 makes of these files: the key and the session token, or nothing.
#[tokio::test]
async fn the_files_are_read_as_botocore_reads_them() {
    const KEYS: &str = "aws_access_key_id = AKIA1\naws_secret_access_key = s\n";
    let good = Some(("AKIA1", ""));
    for (text, profile, botocore) in [
        (format!("[profile x] text\n{KEYS}"), "x", good),
        (format!("[profile x]# text\n{KEYS}"), "x", good),
        ("[profile x]\n\taws_access_key_id = AKIA1\n\taws_secret_access_key = s\n".to_owned(), "x", good),
        ("[profile\tx]\naws_access_key_id\t=\tAKIA1\naws_secret_access_key\t=\ts\n".to_owned(), "x", good),
        ("[profile x]\naws_access_key_id: AKIA1\naws_secret_access_key: s\n".to_owned(), "x", good),
        ("[profile x]\nAWS_ACCESS_KEY_ID = AKIA1\nAWS_SECRET_ACCESS_KEY = s\n".to_owned(), "x", good),
        ("[profile x]\r\naws_access_key_id = AKIA1\r\naws_secret_access_key = s\r\n".to_owned(), "x", good),
        (format!("[profile \"my prof\"]\n{KEYS}"), "my prof", good),
        (format!("[profile prüf]\n{KEYS}"), "prüf", good),
        (format!("[profile x]\n{KEYS}aws_security_token = T\n"), "x", Some(("AKIA1", "T"))),
        ("[profile x]\naws_access_key_id AKIA1\n".to_owned(), "x", None),
        (format!("[profile x\n{KEYS}"), "x", None),
        (format!("a = b\n[profile x]\n{KEYS}"), "x", None),
        (format!("[profile y]\n{KEYS}"), "x", None),
    ] {
        let read = Home::new(&text, "").fetch(profile).await;
        let ours = read.as_ref().map(|set| (set.access_key_id.as_str(), set.session_token.expose())).ok();
        assert_eq!(ours, botocore, "{text:?}: {read:?}");
    }
    // Here we take more than botocore: a byte order mark, and a name with a space that is not quoted.
    for (text, profile) in
        [(format!("\u{feff}[profile x]\n{KEYS}"), "x"), (format!("[profile my prof]\n{KEYS}"), "my prof")]
    {
        Home::new(&text, "").fetch(profile).await.expect(&text);
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_told_with_its_reason() {
    let home = Home::new("[profile x]\naws_access_key_id AKIA1\n", "");
    let said = async |settings: Settings| {
        Profile::new(settings, SystemClock::shared()).fetch(None).await.expect_err("no credentials").message
    };
    let wrong = said(home.settings("x")).await;
    assert!(wrong.ends_with("/.aws/config:2: a setting needs a = between its name and value"), "{wrong}");
    let missing = said(Settings { config_file: Some(home.file("none")), ..home.settings("x") }).await;
    assert!(missing.contains("/none cannot be read: No such file"), "{missing}");
    fs::write(home.file(".aws/config"), b"[profile x]\nregion = \xff\n").expect("ours");
    let foreign = said(home.settings("x")).await;
    assert!(foreign.ends_with("/.aws/config:2: this is not UTF-8"), "{foreign}");
    fs::remove_file(home.file(".aws/config")).and_then(|()| fs::create_dir(home.file(".aws/config"))).expect("ours");
    let directory = said(home.settings("x")).await;
    assert!(directory.contains("/.aws/config cannot be read: Is a directory"), "{directory}");
}

#[tokio::test]
async fn the_endpoint_of_the_source_goes_before_that_of_the_profile() {
    let sts = Server::start(|_| (200, ASSUMED.to_owned()));
    let home = Home::new(
        "[profile deploy]\nrole_arn = arn:aws:iam::123456789012:role/deploy\nsource_profile = base\n\
         endpoint_url = http://127.0.0.1:1\n[profile base]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = s\n",
        "",
    );
    let settings = Settings { endpoints: vec![("AWS_ENDPOINT_URL", sts.url())], ..home.settings("deploy") };
    let set = Profile::new(settings, SystemClock::shared()).fetch(None).await.expect("credentials");
    assert_eq!((set.access_key_id.as_str(), sts.asked().len()), ("ASIAEXAMPLE", 1));
}

#[tokio::test]
async fn a_web_identity_token_is_sent_without_its_newline_and_read_anew_each_time() {
    let sts = Server::start(|_| (200, ASSUMED.replace("AssumeRole", "AssumeRoleWithWebIdentity")));
    let config = format!(
        "[profile token]\nrole_arn = arn:aws:iam::123456789012:role/deploy\nweb_identity_token_file = ~/token\n\
         endpoint_url = {}\n[profile chained]\nrole_arn = arn:aws:iam::123456789012:role/next\nsource_profile = token\n",
        sts.url()
    );
    let home = Home::new(&config, "");
    let sent = async |profile: &str, content: &str| {
        write(&home.file("token"), content);
        home.fetch(profile).await.map(|set| assert_eq!(set.access_key_id, "ASIAEXAMPLE"))?;
        let bodies = sts.asked().into_iter().map(|asked| asked.body);
        let body = bodies.rev().find(|body| body.contains("Action=AssumeRoleWithWebIdentity&")).expect("a call");
        let token = body.split('&').find_map(|pair| pair.strip_prefix("WebIdentityToken=")).map(str::to_owned);
        Ok::<_, SourceError>(token.expect("a token"))
    };
    assert_eq!(sent("token", "fir.st.tok\n").await.as_deref(), Ok("fir.st.tok"));
    assert_eq!(sent("token", " ne.xt.tok\r\n").await.as_deref(), Ok("ne.xt.tok"));
    let calls = sts.asked().len();
    let wrong = sent("token", "two lines\nof text\n").await.expect_err("no token").message;
    assert!(wrong.starts_with("the profile token: the file of the web identity token (") && calls == sts.asked().len());
    fs::remove_file(home.file("token")).expect("ours");
    let missing = home.fetch("token").await.expect_err("no token").message;
    assert!(missing.contains("/token) cannot be opened: No such file"), "{missing}");
}

#[tokio::test]
async fn the_settings_of_a_profile_say_which_host_is_asked() {
    // The proxy sees the names of hosts, and no call goes further.
    let proxy = Server::start(|_| (502, String::new()));
    let sts = Server::start(|_| (200, ASSUMED.to_owned()));
    let keys = "aws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = s\n";
    for (settings, sections, host) in [
        ("", "", "sts.eu-central-1.amazonaws.com:443"),
        ("region = eu-west-1\n", "", "sts.eu-west-1.amazonaws.com:443"),
        ("use_fips_endpoint = true\n", "", "sts-fips.eu-central-1.amazonaws.com:443"),
        ("use_dualstack_endpoint = true\n", "", "sts.eu-central-1.api.aws:443"),
        ("endpoint_url = https://sts.example:1\n", "", "sts.example:1"),
        ("services = a b\n", "[services a b]\nsts =\n  endpoint_url = https://other.example:2\n", "other.example:2"),
        (
            "services = prüf\nendpoint_url = https://sts.example:1\n",
            "[services \"prüf\"]\nsts =\n  endpoint_url = https://other.example:3\n",
            "other.example:3",
        ),
    ] {
        let config = format!(
            "[profile deploy]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = deploy\n{keys}{settings}{sections}"
        );
        let home = Home::new(&config, "");
        let through = Proxies::always(Proxy { url: proxy.url(), credentials: None });
        let settings = home.settings("deploy");
        let settings = Settings { http: alppaca::fetch::Options { proxies: through, ..settings.http }, ..settings };
        Profile::new(settings, SystemClock::shared()).fetch(None).await.expect_err("the proxy gives nothing");
        let asked = proxy.asked().pop().expect("a call");
        assert_eq!(asked.line(), format!("CONNECT {host}"), "{config}");
    }
    // The endpoint of another service is not that of STS.
    let config = format!(
        "[profile deploy]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = deploy\n{keys}services = s\n\
         endpoint_url = {}\n[services s]\ns3 =\n  endpoint_url = http://127.0.0.1:1\n",
        sts.url()
    );
    assert_eq!(Home::new(&config, "").fetch("deploy").await.expect("a set").access_key_id, "ASIAEXAMPLE");
}

#[tokio::test]
async fn a_program_of_a_profile_is_run_as_a_program_of_ours() {
    // It gets no terminal, no input and no variable but ours, and may use what a shell has.
    let home = Home::new("", "");
    let seen = home.file("seen");
    let config = format!(
        "[profile tool]\ncredential_process = read answer; env > {0}; cut -d' ' -f1,5-7 /proc/$$/stat >> {0}; echo {PRINTED} | cat\n\
         aws_account_id = 123456789012\n",
        seen.display()
    );
    write(&home.file(".aws/config"), &config);
    let set = home.fetch("tool").await.expect("credentials");
    assert_eq!((set.access_key_id.as_str(), set.session_token.expose()), ("ASIAPROGRAM", "IQoJ"));
    assert_eq!(set.expiration.to_string(), "2098-01-01T00:00:00Z");
    assert_eq!(set.account_id.map(|id| id.to_string()).as_deref(), Some("123456789012"));
    let seen = fs::read_to_string(seen).expect("written");
    let names = seen.lines().filter_map(|line| Some(line.split_once('=')?.0));
    let mut names: Vec<&str> = names.filter(|name| !["PWD", "SHLVL", "_", "OLDPWD"].contains(name)).collect();
    names.sort_unstable();
    assert_eq!(names, ["MARK", "PATH"]);
    let numbers: Vec<&str> = seen.lines().last().expect("a line").split(' ').collect();
    let [process, group, session, terminal] = numbers[..] else { panic!("{seen}") };
    assert_eq!((group, session, terminal), (process, process, "0"));

    write(&home.file(".aws/config"), "# a\n[profile tool]\ncredential_process = echo 'log in first' >&2; exit 7\n");
    let said = home.fetch("tool").await.expect_err("no credentials").message;
    assert!(
        said.starts_with("the profile tool: ") && said.contains("/.aws/config:3: the credential_process: "),
        "{said}"
    );
    assert!(said.ends_with("it ended with exit status: 7: log in first"), "{said}");
}

#[tokio::test]
async fn a_program_of_a_profile_is_ended_with_all_it_started() {
    let home = Home::new("", "");
    let pipe = home.file("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let process = format!("exec 3>{}; echo started >&3; sleep 600 & sleep 600", pipe.display());
    write(&home.file(".aws/config"), &format!("[profile tool]\ncredential_process = {process}\n"));
    let settings = home.settings("tool");
    // Long enough for a busy machine to start it: nobody else would end the wait for the pipe.
    let http = alppaca::fetch::Options { timeout: Duration::from_secs(2), ..settings.http };
    let source = Profile::new(Settings { http, ..settings }, SystemClock::shared());
    let reader = std::thread::spawn(move || fs::read_to_string(pipe).expect("until all writers are gone"));
    let said = source.fetch(None).await.expect_err("a time-out").message;
    assert!(said.contains("not done within 6s, and killed"), "{said}");
    assert_eq!(reader.join().expect("no panic"), "started\n");
}

#[tokio::test]
async fn a_role_is_assumed_with_what_a_program_of_a_profile_prints() {
    let sts = Server::start(|_| (200, ASSUMED.to_owned()));
    let role = format!("role_arn = arn:aws:iam::123456789012:role/deploy\nendpoint_url = {}\n", sts.url());
    let process = format!("credential_process = echo {PRINTED}\n");
    for (config, credentials) in [
        (format!("[profile x]\n{role}source_profile = my tool\n[profile my tool]\n{process}"), String::new()),
        (format!("[profile x]\n{role}source_profile = tool\n"), format!("[tool]\n{process}")),
        // Of itself.
        (format!("[profile x]\n{role}source_profile = x\n{process}"), String::new()),
    ] {
        let set = Home::new(&config, &credentials).fetch("x").await.expect(&config);
        assert_eq!(set.access_key_id, "ASIAEXAMPLE");
        let asked = sts.asked().pop().expect("a call");
        let authorization = asked.header("authorization").expect("signed");
        assert!(authorization.contains("ASIAPROGRAM/"), "{asked:?}");
        assert_eq!(asked.header("x-amz-security-token"), Some("IQoJ"));
    }
    // Behind another profile, keys go before the program, as in the SDK.
    let keys = "aws_access_key_id = AKIAKEY\naws_secret_access_key = s\n";
    let config = format!("[profile x]\n{role}source_profile = y\n[profile y]\n{process}{keys}");
    Home::new(&config, "").fetch("x").await.expect(&config);
    let asked = sts.asked().pop().expect("a call");
    assert!(asked.header("authorization").expect("signed").contains("AKIAKEY/"), "{asked:?}");
}

/// The CLI names the file of the cache by the SHA-1 of the true name, also of one that the SDK for Rust does not take.
#[tokio::test]
async fn an_sso_session_may_have_spaces_and_any_letters_in_its_name() {
    for (name, hash) in
        [("my corp", "2603e49e9877a1061664a5a7f900ffb84f872d49"), ("prüf", "7977f6223e35f8ad1a07ec8ed53b1dbec51bf436")]
    {
        let portal = Server::start(|asked| match (asked.line().as_str(), asked.header("x-amz-sso_bearer_token")) {
            ("POST /token", _) if asked.body.contains("\"refreshToken\":\"r1\"") => (
                200,
                r#"{"accessToken":"second","expiresIn":3600,"refreshToken":"r2","tokenType":"Bearer"}"#.to_owned(),
            ),
            (line, Some(token @ ("first" | "second"))) if line.starts_with("GET /federation/credentials?") => {
                let set = r#"{"roleCredentials":{"accessKeyId":"ASIA-","secretAccessKey":"wJalr","sessionToken":"IQoJ","expiration":4070908800000}}"#;
                (200, set.replace("ASIA-", &format!("ASIA{token}")))
            }
            _ => (401, "{}".to_owned()),
        });
        let config = format!(
            "[profile sso]\nsso_session = {name}\nsso_account_id = 123456789012\nsso_role_name = Admin\nendpoint_url = {}\n\
             [sso-session {name}]\nsso_region = eu-central-1\nsso_start_url = https://corp.awsapps.com/start\n",
            portal.url()
        );
        let home = Home::new(&config, "");
        let error = home.fetch("sso").await.expect_err("no login").message;
        assert!(error.contains(hash) && error.contains("run `aws sso login --profile"), "{error}");
        fs::create_dir_all(home.file(".aws/sso/cache")).expect("writable");
        let cache = home.file(&format!(".aws/sso/cache/{hash}.json"));
        let login = |end: &str| {
            let text = r#"{"accessToken":"first","expiresAt":"END","region":"eu-central-1","startUrl":"https://corp.awsapps.com/start","clientId":"c","clientSecret":"s","registrationExpiresAt":"2099-01-01T00:00:00Z","refreshToken":"r1"}"#;
            write(&cache, &text.replace("END", end));
        };
        login("2099-01-01T00:00:00Z");
        assert_eq!(home.fetch("sso").await.expect("credentials").access_key_id, "ASIAfirst");
        // One that is over is renewed, and the next one finds it so.
        login("2020-01-01T00:00:00Z");
        assert_eq!(home.fetch("sso").await.expect("credentials").access_key_id, "ASIAsecond");
        let written = fs::read_to_string(&cache).expect("there");
        assert!(written.contains("\"r2\"") && written.contains("\"second\""), "{written}");
        let renewals = portal.lines().len();
        assert_eq!(home.fetch("sso").await.expect("credentials").access_key_id, "ASIAsecond");
        assert_eq!(portal.lines().len(), renewals + 1, "{:?}", portal.lines());
        assert_eq!(fs::read_dir(home.file(".aws/sso/cache")).expect("there").count(), 1);
    }
}
