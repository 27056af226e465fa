//! The numbered cases of `docs/ims-conformance.md`: what clients of AFP rely on, against the real server over real
//! sockets. The table here has a test for each row of the table there.

mod denials;
mod hosts;
mod people;
#[path = "../support/mod.rs"]
mod support;
mod trouble;
mod wire;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
};

use support::{
    Scene, Server, Sts,
    client::{Answer, Client},
};

/// A row is the number of a case, the name of its test, and what tests it.
macro_rules! cases {
    ($($number:literal $name:ident => $check:path;)*) => {
        const CASES: &[(u8, &str)] = &[$(($number, stringify!($name)),)*];
        $(
            #[test]
            fn $name() {
                $check(&Rig::start());
            }
        )*
    };
}

cases! {
    1 case_01_status_needs_no_proof => wire::status_needs_no_proof;
    2 case_02_accounts_and_their_roles => people::accounts_and_their_roles;
    3 case_03_withid_shows_the_numbers_as_texts => people::withid_shows_the_numbers_as_texts;
    4 case_04_a_role_is_a_document_with_a_console_url => people::a_role_is_a_document_with_a_console_url;
    5 case_05_credentials_are_seven_keys_in_their_order => people::credentials_are_seven_keys_in_their_order;
    6 case_06_times_have_whole_seconds => people::times_have_whole_seconds;
    7 case_07_the_console_url_is_bare => people::the_console_url_is_bare;
    8 case_08_a_callback_is_the_issuer => people::a_callback_is_the_issuer;
    9 case_09_an_account_has_a_name_and_a_number => people::an_account_has_a_name_and_a_number;
    10 case_10_a_list_is_bare_lines => hosts::a_list_is_bare_lines;
    11 case_11_the_list_has_two_paths => hosts::the_list_has_two_paths;
    12 case_12_the_document_of_a_host => hosts::the_document_of_a_host;
    13 case_13_a_host_without_a_role_has_an_empty_list => hosts::a_host_without_a_role_has_an_empty_list;
    14 case_14_head_is_get_without_a_body => wire::head_is_get_without_a_body;
    15 case_15_other_methods_are_405 => wire::other_methods_are_405;
    16 case_16_an_encoded_slash_is_a_slash => wire::an_encoded_slash_is_a_slash;
    17 case_17_no_slash_is_added_or_removed => wire::no_slash_is_added_or_removed;
    18 case_18_an_unknown_path_is_404 => wire::an_unknown_path_is_404;
    19 case_19_each_mount_has_its_own_routes => wire::each_mount_has_its_own_routes;
    20 case_20_without_permission_403 => denials::without_permission_403;
    21 case_21_unknown_accounts_are_not_told_apart => denials::unknown_accounts_are_not_told_apart;
    22 case_22_without_a_proof_401 => denials::without_a_proof_401;
    23 case_23_a_callback_elsewhere_is_403 => denials::a_callback_elsewhere_is_403;
    24 case_24_another_site_gets_403 => denials::another_site_gets_403;
    25 case_25_a_refusal_of_sts_is_503 => trouble::a_refusal_of_sts_is_503;
    26 case_26_the_list_asks_no_sts => trouble::the_list_asks_no_sts;
    27 case_27_an_sts_that_is_down_is_503 => trouble::an_sts_that_is_down_is_503;
    28 case_28_no_console_leaves_the_document => trouble::no_console_leaves_the_document;
    29 case_29_the_session_has_a_legal_name => people::the_session_has_a_legal_name;
    30 case_30_nothing_secret_is_cached => wire::nothing_secret_is_cached;
    31 case_31_a_person_asks_for_a_time => people::a_person_asks_for_a_time;
}

#[test]
fn the_table_of_the_documentation_has_the_same_cases() {
    let numbers: Vec<u8> = CASES.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=31).collect::<Vec<u8>>());
    for (number, name) in CASES {
        assert!(name.starts_with(&format!("case_{number:02}_")), "{name}");
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/ims-conformance.md");
    let text = fs::read_to_string(path).expect("the documentation");
    let mut documented = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let Ok(number) = cells[0].parse::<u8>() else { continue };
        assert!(cells.len() == 3 && cells.iter().all(|cell| !cell.is_empty()), "and AFP? {line}");
        documented.push(number);
    }
    assert_eq!(documented, numbers);
}

const LIST: &str = "/meta-data/iam/security-credentials/";
const JSON: &str = "application/json; charset=utf-8";
const CALLBACK: &str = "https://portal.example/";

/// A server with three mounts, its STS, and a federation endpoint.
struct Rig {
    server: Server,
    sts: Sts,
    federation: Federation,
    scene: Scene,
}

impl Rig {
    fn start() -> Self {
        let (scene, sts, federation) = (Scene::new(), Sts::start(), Federation::start());
        let more = format!(
            "mounts: [{{path: /}}, {{path: /afp-api/latest, routes: people}}, {{path: /machines, routes: hosts}}]\n\
             console: {{endpoint: '{}', callback_urls: {CALLBACK}}}\n",
            federation.url
        );
        let rule = |name, role| {
            format!("  - {{name: {name}, match: {{method: hosts, name: 'two.*'}}, account: demo, role: {role}}}\n")
        };
        let rules = rule("one of two", "web") + &rule("the other", "db");
        let usual =
            scene.usual(&sts.url()).replace("role: '{role}'}", "role: '{role}', console: yes, max_duration: 4h}");
        let server = Server::start(&scene, &format!("{usual}{rules}{more}"));
        Self { server, sts, federation, scene }
    }

    fn client(&self, host: Option<&str>) -> Client {
        let files = host.map(|name| self.scene.authority.host(name, 7));
        self.scene.client(self.server.address, files.as_ref())
    }

    /// What a host gets.
    fn host(&self, name: &str, path: &str) -> Answer {
        self.client(Some(name)).get(path, &[])
    }

    /// What `alice` gets, who is in the groups of two roles.
    fn alice(&self, path: &str) -> Answer {
        let headers = [("X-Remote-User", "alice"), ("X-Groups", "aws-readonly,aws-db")];
        self.client(None).get(path, &headers)
    }
}

/// A federation endpoint that takes every session, unless it is broken.
struct Federation {
    url: String,
    broken: Arc<Mutex<bool>>,
}

impl Federation {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/federation", listener.local_addr().expect("bound"));
        let broken = Arc::new(Mutex::new(false));
        let is_broken = Arc::clone(&broken);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut reader = BufReader::new(stream.expect("a connection"));
                let (mut length, mut line) = (0, String::new());
                while reader.read_line(&mut line).expect("a line") > 2 {
                    if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
                        length = value.trim().parse().expect("a length");
                    }
                    line.clear();
                }
                reader.read_exact(&mut vec![0; length]).expect("a body");
                let broken = *is_broken.lock().expect("not poisoned");
                let (status, body) =
                    if broken { ("500 Oops", "") } else { ("200 OK", "{\"SigninToken\": \"to/ken\"}") };
                let length = body.len();
                write!(
                    reader.get_mut(),
                    "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
                )
                .expect("written");
            }
        });
        Self { url, broken }
    }

    fn breaks(&self) {
        *self.broken.lock().expect("not poisoned") = true;
    }
}

/// AFP's five keys.
fn error(status: &str, message: &str) -> String {
    format!(
        r#"{{"status": {}, "error": "{status}", "exception": null, "message": "{message}", "traceback": null}}"#,
        &status[..3]
    )
}

/// Whether the server says that this was its decision.
fn is_decided(answer: &Answer) -> bool {
    answer.header("alppaca-ims") == Some("1")
}

#[track_caller]
fn expect(answer: &Answer, status: u16, body: &str, kind: &str, user: Option<&str>) {
    assert_eq!((answer.status, answer.body.as_str()), (status, body), "{answer:?}");
    assert_eq!((answer.header("content-type"), answer.header("x-username")), (Some(kind), user), "{answer:?}");
}
