//! An unprivileged user tries to be taken for another one behind the redirection: `attack.py`, bounded, in a namespace.

use serde_json::{Value, json};

use crate::{Namespace, OLD_RULE, possible, support::needs};

const TRIES: u32 = 20_000;
/// Only the victim has a role.
const POLICY: &str = "policy: {rules: [{match: {user: 61001}, everything: true}], default: deny}\naccess_log: false\n";

/// What the attack comes to, in a namespace in which `capture` has redirected the address to `port`.
fn attack(port: u16, capture: impl FnOnce(&Namespace)) -> Value {
    let mut namespace = Namespace::new();
    capture(&namespace);
    namespace.start_daemon(POLICY);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/capture/attack.py");
    let said = namespace.shell(&format!("ulimit -n 8192 && python3 {script} {port} {TRIES}"));
    serde_json::from_str(&said).expect("JSON")
}

fn count(statuses: &Value, status: &str) -> u64 {
    statuses.get(status).and_then(Value::as_u64).unwrap_or(0)
}

fn is_possible(what: &str) -> bool {
    possible(what) && needs(what, "python3")
}

/// With the capture of our own there is no way to collide, so that each client is known for certain.
fn prove_that_it_is_impossible(tool: &str) {
    let result = attack(25774, |namespace| {
        let (code, said) = namespace.alppaca(&format!("capture apply --mode dnat --tool {tool}"));
        assert_eq!(code, Some(0), "{said}");
    });
    assert_eq!(result["direct"], json!({"held": 0, "refused": 5000}), "{result}");
    assert_eq!(result["victim"], json!({"200": 200}), "{result}");
    assert_eq!(result["victim_after"], json!({"200": 400}), "{result}");
    assert_eq!(result["statuses"], json!({"404": TRIES}), "{result}");
}

#[test]
fn behind_the_rules_of_nftables_every_user_is_known_and_none_is_taken_for_another() {
    if is_possible("capture: attack, nft") {
        prove_that_it_is_impossible("nft");
    }
}

#[test]
fn behind_the_rules_of_iptables_every_user_is_known_and_none_is_taken_for_another() {
    if is_possible("capture: attack, iptables") {
        prove_that_it_is_impossible("iptables");
    }
}

#[test]
fn behind_the_rule_of_2015_nobody_is_taken_for_another_user_and_who_is_not_known_is_told_to_try_again() {
    if !is_possible("capture: attack, the rule of 2015") {
        return;
    }
    let result = attack(25772, |namespace| {
        namespace.shell(OLD_RULE);
    });
    assert_eq!(count(&result["statuses"], "200"), 0, "the attacker got the victim's role: {result}");
    // There the attacker can make collisions; otherwise this would prove nothing.
    assert!(count(&result, "common") > 5 && count(&result["statuses"], "503") > 0, "{result}");
    let victim = &result["victim"];
    assert_eq!(count(victim, "200") + count(victim, "503"), 200, "never 404, which is final: {result}");
}
