//! Clients that misbehave: idle ones, dripping ones, ones that do not read, more than there is room
//! for. Nobody else may notice.

mod support;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    time::Duration,
};

use alppaca::mock_ims::Behaviour;
use support::{Daemon, Ims, cannot, connect, needs_root, raw, read_one, request};

const ROLE: &str = "/latest/meta-data/iam/security-credentials/test_role";

fn daemon(config: &str) -> (Ims, Daemon) {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&format!("{}{config}", ims.config()));
    (ims, daemon)
}

fn is_served(address: SocketAddr) -> bool {
    request(address, &format!("GET {ROLE} HTTP/1.1\r\n")).status == 200
}

/// Waits for the other side to close; whatever it sends before does not count.
fn is_closed(mut stream: TcpStream) -> bool {
    let mut rest = Vec::new();
    // A reset is as good as a close here.
    stream.read_to_end(&mut rest).map_or_else(|error| error.kind() == std::io::ErrorKind::ConnectionReset, |_| true)
}

#[test]
fn idle_and_dripping_connections_hold_up_nobody_and_are_ended() {
    let (_ims, daemon) = daemon("header_timeout: 1s\nidle_timeout: 2s\n");
    let idle: Vec<_> = (0..300).map(|_| connect(daemon.address())).collect();
    let dripping: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = connect(daemon.address());
            stream.write_all(b"GET / HT").expect("open");
            stream
        })
        .collect();
    assert!((0..50).all(|_| is_served(daemon.address())));
    assert!(dripping.into_iter().all(is_closed), "after the header time-out");
    assert!(idle.into_iter().all(is_closed), "after the idle time-out");
    assert!(is_served(daemon.address()));
}

#[test]
fn one_connection_too_many_ends_the_one_that_was_idle_for_longest() {
    let (_ims, daemon) = daemon("max_connections: 3\n");
    let oldest = connect(daemon.address());
    let mut used = connect(daemon.address());
    used.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("open");
    read_one(&mut used);
    let _third = connect(daemon.address());
    let _fourth = connect(daemon.address());
    assert!(is_closed(oldest));
    used.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("still open");
    assert_eq!(read_one(&mut used).status, 200);
    // The last: it is one more, and whoever has not been served for longest has to go.
    assert!(is_served(daemon.address()));
}

#[test]
fn a_client_that_does_not_read_is_given_up_and_holds_up_nobody() {
    let (_ims, daemon) = daemon("write_timeout: 1s\n");
    let mut stream = connect(daemon.address());
    stream.set_write_timeout(Some(Duration::from_secs(10))).expect("settable");
    let requests = format!("GET {ROLE} HTTP/1.1\r\n\r\n").repeat(100);
    // Until the answers, which nobody reads, have filled all buffers and it stops reading or closes.
    while stream.write_all(requests.as_bytes()).is_ok() {}
    assert!(is_served(daemon.address()));
}

#[test]
fn many_clients_that_do_not_read_leave_files_for_the_others() {
    // At 1024 the same holds, but a debug build on a loaded machine takes half a minute for it.
    const FILES: usize = 512;
    // As many as the daemon has files for, less 160 of its own.
    const GREEDY: usize = FILES - 160 - 4;
    if !may_open(4 * FILES) {
        return;
    }
    let ims = Ims::start(Behaviour::default());
    let limited = |program: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {FILES} && exec \"$0\" \"$@\""), program]);
        command
    };
    // Large answers, so that few of them fill the kernel's buffers.
    let large = format!("metadata: {{user-data: '{}'}}\n", "x".repeat(15_000));
    let config = format!("{}{large}access_log: false\nwrite_timeout: 60s\n", ims.config());
    let daemon = Daemon::start_through(&config, limited, || {});
    daemon.wait_for_log(" fetched ");
    let pipeline = "GET /latest/user-data HTTP/1.1\r\n\r\n".repeat(800);
    let greedy: Vec<_> = (0..GREEDY)
        .map(|_| {
            let mut stream = connect(daemon.address());
            rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 2048).expect("settable");
            stream.set_nonblocking(true).expect("settable");
            // What it does not take at once is not needed.
            let _taken = stream.write(pipeline.as_bytes()).expect("open");
            stream
        })
        .collect();
    assert!((0..20).all(|_| is_served(daemon.address())));
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("it runs").count();
    assert!(open < GREEDY + 100, "{open} files for {GREEDY} connections");
    let queued = queued_answers(&daemon);
    assert!(queued < GREEDY * 160 * 1024, "the kernel keeps {queued} bytes");
    assert!(!daemon.log().contains("cannot accept"), "there are files enough");
    drop(greedy);
}

/// Whether so many files may be open; raises the limit if need be.
fn may_open(count: usize) -> bool {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = count as u64;
    current.is_none_or(|current| current >= wanted)
        || setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).is_ok()
        || cannot("many connections", "too few files may be open")
}

/// How many bytes of answers wait in the kernel for the clients of `daemon`.
fn queued_answers(daemon: &Daemon) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("text");
    let port = format!(":{:04X}", daemon.address().port());
    let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let queues = lines.filter(|fields| fields[1].ends_with(&port)).filter_map(|fields| fields[4].split(':').next());
    queues.map(|bytes| usize::from_str_radix(bytes, 16).expect("a number")).sum()
}

#[test]
fn the_owner_with_most_connections_makes_room_for_the_others() {
    if !needs_root("making connections as another user") {
        return;
    }
    let (_ims, daemon) = daemon("max_connections: 20\n");
    let script = "exec 3<>\"/dev/tcp/127.0.0.1/$0\"
        printf 'GET / HTTP/1.1\\r\\n\\r\\n' >&3; IFS= read -r first <&3; echo \"$first\"
        read -r _; printf 'GET /latest/ HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n' >&3; grep -a -c 'HTTP/1.1 200' <&3";
    let mut victim = Command::new("bash");
    victim.args(["-c", script, &daemon.address().port().to_string()]).uid(54_321).gid(54_321).current_dir("/");
    let mut victim = victim.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("bash");
    let mut lines = BufReader::new(victim.stdout.take().expect("piped")).lines();
    assert_eq!(lines.next().expect("a line").expect("text").trim_end(), "HTTP/1.1 200 OK");
    // All of them are younger, and so of use more recently.
    let greedy: Vec<_> = (0..100).map(|_| connect(daemon.address())).collect();
    assert!((0..20).all(|_| is_served(daemon.address())));
    writeln!(victim.stdin.take().expect("piped"), "again").expect("it waits");
    assert_eq!(lines.next().expect("a line").expect("text"), "1", "its connection was ended");
    assert!(victim.wait().expect("it ends").success());
    drop(greedy);
}

#[test]
fn the_time_to_take_answers_is_one_for_all_that_was_asked_for_at_once() {
    let (_ims, daemon) = daemon("access_log: false\nwrite_timeout: 2s\n");
    let mut stream = connect(daemon.address());
    rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 2048).expect("settable");
    let requests = format!("GET {ROLE} HTTP/1.1\r\n\r\n").repeat(100);
    stream.set_nonblocking(true).expect("settable");
    while stream.write_all(requests.as_bytes()).is_ok() {}
    stream.set_nonblocking(false).expect("settable");
    // It takes a little again and again, always in time for one answer.
    let pace = std::sync::mpsc::channel::<()>();
    let mut answer = [0; 2048];
    let ended = std::iter::repeat_with(|| {
        let _elapsed = pace.1.recv_timeout(Duration::from_millis(200));
        stream.read(&mut answer).is_ok_and(|count| count > 0)
    });
    assert!(ended.take_while(|more| *more).take(150).count() < 150, "it is still open");
}

#[test]
fn an_endless_head_and_a_large_body_are_refused_with_an_answer() {
    let (_ims, daemon) = daemon("");
    let endless = format!("GET / HTTP/1.1\r\n{}", "X-Padding: y\r\n".repeat(3000));
    assert_eq!(raw(daemon.address(), endless.as_bytes()).status, 431);
    let mut large = b"PUT /latest/api/token HTTP/1.1\r\nContent-Length: 200000\r\n\r\n".to_vec();
    large.resize(large.len() + 200_000, b'x');
    assert_eq!(raw(daemon.address(), &large).status, 400);
    assert!(is_served(daemon.address()));
}

#[test]
fn a_flood_of_puts_costs_no_memory() {
    let (_ims, daemon) = daemon("access_log: false\n");
    let flood = || {
        let mut stream = connect(daemon.address());
        let put = "PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 21600\r\n\r\n";
        for _ in 0..100 {
            stream.write_all(put.repeat(50).as_bytes()).expect("open");
            (0..50).for_each(|_| assert_eq!(read_one(&mut stream).status, 200));
        }
    };
    flood();
    let before = resident(daemon.pid());
    flood();
    let grown = resident(daemon.pid()).saturating_sub(before);
    // A table would have kept 5,000 tokens: at 100 bytes each, half a megabyte.
    assert!(grown < 256, "{grown} KiB for 5,000 tokens");
}

/// Resident memory in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn a_stop_lets_answers_finish_and_is_clean() {
    let (_ims, mut daemon) = daemon("");
    let mut open = connect(daemon.address());
    open.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("open");
    assert_eq!(read_one(&mut open).status, 200);
    assert_eq!(daemon.stop(), Some(0));
    assert!(is_closed(open));
    assert!(daemon.wait_for_log("stopped").contains("stopped"));
    assert!(TcpStream::connect(daemon.address()).is_err());
}
