//! With a name service of the tests' own.

use std::{collections::HashMap, sync::Mutex, time::SystemTime};

use http::{HeaderMap, Method};

use super::*;
use crate::lookups::{EACH, SCARCE};

#[derive(Default)]
struct Zone {
    reverse: HashMap<IpAddr, Result<String, LookupError>>,
    forward: HashMap<String, Result<Vec<IpAddr>, LookupError>>,
    /// While it is held, nothing is answered.
    gate: Arc<Mutex<()>>,
}

impl Resolve for Zone {
    fn name(&self, address: IpAddr) -> Result<String, LookupError> {
        let _open = self.gate.lock();
        self.reverse.get(&address).cloned().unwrap_or(Err(LookupError::NotFound))
    }

    fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        let Some(name) = name.strip_suffix('.') else { return Err(LookupError::Failed(format!("{name} is relative"))) };
        self.forward.get(name).cloned().unwrap_or(Err(LookupError::NotFound))
    }
}

impl Zone {
    fn with(mut self, address: &str, name: &str, addresses: &[&str]) -> Self {
        self.reverse.insert(ip(address), Ok(name.to_owned()));
        let addresses = addresses.iter().map(|address| ip(address)).collect();
        self.forward.insert(name.trim_end_matches('.').to_lowercase(), Ok(addresses));
        self
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn settings(pattern: &str, rewrite: &[(&str, &str)]) -> Settings {
    let rewrite = rewrite.iter().map(|(pattern, with)| (Regex::new(pattern).expect("one"), (*with).to_owned()));
    Settings {
        name: "names".to_owned(),
        timeout: Duration::from_secs(20),
        pattern: Expression::new(pattern).expect("a pattern"),
        rewrite: rewrite.collect(),
    }
}

fn prove(dns: &Dns, peer: &Peer) -> Result<Option<Identity>, Refusal> {
    let (method, headers) = (Method::GET, HeaderMap::new());
    let now = SystemTime::UNIX_EPOCH;
    dns.prove(&Evidence { peer, certificates: &[], method: &method, path: "/", headers: &headers, now })
}

fn outcome(zone: Zone, settings: Settings, address: &str) -> String {
    match prove(&Dns::new(settings, Arc::new(zone)), &Peer::Tcp(ip(address))) {
        Ok(Some(identity)) => identity.names.join(" "),
        Ok(None) => "nothing".to_owned(),
        Err(Refusal::Refused(text)) => format!("refused: {text}"),
        Err(Refusal::Unavailable(text)) => format!("unavailable: {text}"),
    }
}

#[test]
fn a_name_counts_if_it_has_the_address() {
    let zone = || Zone::default().with("192.0.2.1", "Web1.Example.com.", &["192.0.2.9", "192.0.2.1"]);
    assert_eq!(outcome(zone(), settings(".*", &[]), "192.0.2.1"), "web1.example.com");
    assert_eq!(outcome(zone(), settings(".*", &[]), "::ffff:192.0.2.1"), "web1.example.com");
    assert_eq!(outcome(zone(), settings(".*", &[]), "192.0.2.2"), "refused: 192.0.2.2 has no name in the DNS");
    let liar = Zone::default().with("192.0.2.1", "db.example.com", &["192.0.2.7"]);
    assert!(outcome(liar, settings(".*", &[]), "192.0.2.1").contains("does not have this address"));
    let mut liar = zone();
    liar.forward.clear();
    assert!(outcome(liar, settings(".*", &[]), "192.0.2.1").contains("does not have this address"));
}

/// What a resolver finds that tries the domains of its search list where a name is relative.
struct Searching;

impl Resolve for Searching {
    fn name(&self, _: IpAddr) -> Result<String, LookupError> {
        Ok("web1.example.com".to_owned())
    }

    fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        match name {
            "web1.example.com" | "web1.example.com.corp.example.net." => Ok(vec![ip("192.0.2.1")]),
            _ => Err(LookupError::NotFound),
        }
    }
}

#[test]
fn a_name_in_the_search_list_confirms_nothing() {
    let proven = prove(&Dns::new(settings(".*", &[]), Arc::new(Searching)), &Peer::Tcp(ip("192.0.2.1")));
    assert!(matches!(proven, Err(Refusal::Refused(text)) if text.contains("does not have this address")));
}

#[test]
fn the_scheme_of_the_federation_proxy_is_a_pattern_and_rewriting() {
    let pattern = r"(?P<loc>...)(?P<typ>...)..\.example\.(?:com|org)";
    let rewrite = [("^(?:ber|ham)", "pro"), (r"^(.{6})..\..*$", "p_$1")];
    let zone = |name: &str| Zone::default().with("192.0.2.1", name, &["192.0.2.1"]);
    let ask = |name: &str| outcome(zone(name), settings(pattern, &rewrite), "192.0.2.1");
    assert_eq!(ask("berfoo42.example.com"), "p_profoo berfoo42.example.com");
    assert_eq!(ask("tuvbar01.example.org"), "p_tuvbar tuvbar01.example.org");
    for name in
        ["berfoo42.example.net", "berfoo421.example.com", "berfoo42.example.com.evil.org", "x.berfoo42.example.com"]
    {
        assert!(ask(name).contains("is not accepted"), "{name}");
    }
    let ask = |with: &str| outcome(zone("web1"), settings(".*", &[("^.*$", with)]), "192.0.2.1");
    for with in ["", "../x", "a/b", "a b"] {
        assert!(ask(with).contains("is not a name"), "{with}");
    }
}

#[test]
fn odd_names_prove_nothing() {
    for name in ["*.example.com", "a\0b", "", "a/b", "192.0.2.1 ", "192.0.2.1"] {
        let zone = Zone::default().with("192.0.2.1", name, &["192.0.2.1"]);
        assert!(outcome(zone, settings(".*", &[]), "192.0.2.1").contains("is no host name"), "{name:?}");
    }
}

#[test]
fn a_broken_name_service_is_no_refusal() {
    let broken = || Err(LookupError::Failed("try again".to_owned()));
    let mut zone = Zone::default();
    zone.reverse.insert(ip("192.0.2.1"), broken());
    assert!(outcome(zone, settings(".*", &[]), "192.0.2.1").starts_with("unavailable: "));
    let mut zone = Zone::default().with("192.0.2.1", "web1", &[]);
    zone.forward.insert("web1".to_owned(), Err(LookupError::Failed("try again".to_owned())));
    assert!(outcome(zone, settings(".*", &[]), "192.0.2.1").ends_with("try again"));
}

#[test]
fn one_that_does_not_answer_holds_up_no_request_for_long_and_leaves_places_to_others() {
    let zone = Zone::default();
    let gate = Arc::clone(&zone.gate);
    let closed = gate.lock().expect("the gate");
    let dns = Dns::new(Settings { timeout: Duration::from_millis(1), ..settings(".*", &[]) }, Arc::new(zone));
    let ask = |address: &str| match prove(&dns, &Peer::Tcp(ip(address))) {
        Err(Refusal::Unavailable(text)) => text,
        other => panic!("{address}: {other:?}"),
    };
    let waits = |address: &str| assert!(ask(address).ends_with("no answer within 1ms"), "{address}");
    let has_too_many = |address: &str| assert!(ask(address).contains("too many look-ups for the same"), "{address}");
    for _ in 0..SCARCE {
        waits("192.0.2.1");
    }
    has_too_many("192.0.2.1");
    has_too_many("::ffff:192.0.2.1");
    waits("192.0.2.2");
    for last in 1..=EACH {
        waits(&format!("2001:db8::{last}"));
    }
    has_too_many("2001:db8::ffff:0:0:1");
    waits("2001:db8:0:1::1");
    drop(closed);
}

#[test]
fn a_unix_socket_has_no_name() {
    let dns = Dns::new(settings(".*", &[]), Arc::new(Zone::default()));
    assert_eq!(prove(&dns, &Peer::Unix { uid: 0 }), Ok(None));
}

#[test]
fn the_hosts_own_name_service_knows_the_loopback_address_and_no_test_network() {
    assert_eq!(System.addresses("localhost.").map(|found| found.iter().any(IpAddr::is_loopback)), Ok(true));
    assert!(System.name(ip("127.0.0.1")).is_ok_and(|name| !name.is_empty() && name != "127.0.0.1"));
    // Without a name server it is a failure, and never the address as a name.
    assert!(System.name(ip("192.0.2.1")).is_err());
    assert!(System.addresses("alppaca.invalid.").is_err());
}
