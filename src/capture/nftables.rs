//! What `nft -j list ruleset` prints, as far as it concerns one captured address. Pure. The format: libnftables-json(5).

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;
use serde_json::Value;

use super::{
    bridges::TABLE,
    foreign::{Check, HTTP, Rule, Ruleset, Target},
    plan::NAME,
};

/// `listing` is JSON. `without_iptables`: leave out what iptables shows itself, because nft does not show it in full.
pub(super) fn read(listing: &str, address: IpAddr, without_iptables: bool) -> Ruleset {
    let listing: Value = serde_json::from_str(listing).unwrap_or_default();
    let objects = listing["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
    let all = |kind: &'static str| objects.iter().map(move |object| &object[kind]).filter(|value| value.is_object());
    let sets = all("set").chain(all("map")).map(|set| (place(set, text(&set["name"])), &set["elem"])).collect();
    let reader = Reader { address, sets };
    let mut ruleset = Ruleset::default();
    let mut filters = Vec::new();
    for chain in all("chain").filter(|chain| chain["hook"] == "output") {
        let chains = if chain["type"] == "nat" { &mut ruleset.entries } else { &mut filters };
        chains.push(place(chain, text(&chain["name"])));
    }
    let other_family = if address.is_ipv4() { "ip6" } else { "ip" };
    for rule in all("rule").filter(|rule| rule["family"] != other_family && !is_ours(rule)) {
        if without_iptables && expressions(rule).any(|expression| expression.get("xt").is_some()) {
            continue;
        }
        ruleset.rules.extend(reader.rule(rule));
    }
    // Our own checks count as well.
    for rule in all("rule")
        .filter(|rule| rule["family"] != other_family && filters.contains(&place(rule, text(&rule["chain"]))))
    {
        ruleset.checks.extend(check(rule));
    }
    ruleset
}

fn is_ours(rule: &Value) -> bool {
    rule["family"] == "ip" && (rule["table"] == NAME || rule["table"] == TABLE)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What something of that name is called in the whole ruleset, in the table where `thing` is.
fn place(thing: &Value, name: &str) -> String {
    format!("{} {} {name}", text(&thing["family"]), text(&thing["table"]))
}

fn expressions(rule: &Value) -> impl Iterator<Item = &Value> {
    rule["expr"].as_array().into_iter().flatten()
}

/// One thing, or the several that are looked at together.
fn parts(value: &Value) -> Vec<&Value> {
    value["concat"].as_array().map_or_else(|| vec![value], |parts| parts.iter().collect())
}

/// Whether a match covers the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// It is one of these.
    Yes {
        /// By its address.
        named: bool,
    },
    No,
    /// It is about something else.
    Unknown,
}

struct Reader<'a> {
    address: IpAddr,
    sets: HashMap<String, &'a Value>,
}

impl Reader<'_> {
    /// `None` if the rule cannot apply to the connection.
    fn rule(&self, rule: &Value) -> Option<Rule> {
        let chain = place(rule, text(&rule["chain"]));
        let mut read = Rule {
            text: format!("nft rule {chain} handle {}", rule["handle"]),
            chain,
            names_address: false,
            redirects: None,
            jumps: Vec::new(),
        };
        for expression in expressions(rule) {
            let Some((kind, value)) = expression.as_object().and_then(|object| object.iter().next()) else { continue };
            match kind.as_str() {
                "match" if self.is_of_other_family(&value["left"]) => return None,
                "match" => match (self.fit(rule, &value["left"], &value["right"]), value["op"] == "!=") {
                    (Fit::Yes { named }, false) => read.names_address |= named,
                    (Fit::No, false) | (Fit::Yes { .. }, true) => return None,
                    (Fit::No, true) | (Fit::Unknown, _) => {}
                },
                "jump" | "goto" => read.jumps.push(place(rule, text(&value["target"]))),
                "vmap" => {
                    for (verdict, named) in self.mapped(rule, value) {
                        read.names_address |= named;
                        let chains = ["jump", "goto"].into_iter().filter_map(|kind| verdict[kind]["target"].as_str());
                        read.jumps.extend(chains.map(|chain| place(rule, chain)));
                    }
                }
                "redirect" => read.redirects = Some(port(&value["port"], None)),
                "dnat" if value["addr"]["map"].is_object() => {
                    for (to, named) in self.mapped(rule, &value["addr"]["map"]) {
                        read.names_address |= named;
                        read.redirects = Some(port(&value["port"], parts(to).get(1).copied()));
                    }
                }
                "dnat" => read.redirects = Some(port(&value["port"], None)),
                "xt" if value["name"] == "DNAT" || value["name"] == "REDIRECT" => {
                    read.redirects = Some(Target::Unknown);
                }
                _ => {}
            }
        }
        Some(read)
    }

    /// The values of a map for the connection, each with whether its address led there.
    fn mapped<'b>(&'b self, rule: &Value, map: &'b Value) -> Vec<(&'b Value, bool)> {
        let pairs = self.elements(rule, &map["data"]).into_iter().filter_map(|pair| Some((pair.get(0)?, pair.get(1)?)));
        let fitting = pairs.filter_map(|(key, value)| match self.fit(rule, &map["key"], key) {
            Fit::Yes { named } => Some((value, named)),
            Fit::Unknown => Some((value, false)),
            Fit::No => None,
        });
        fitting.collect()
    }

    /// Whether what `left` looks at is among `right`.
    fn fit(&self, rule: &Value, left: &Value, right: &Value) -> Fit {
        let fields = parts(left);
        let named = fields.iter().any(|field| self.is_address(field));
        if !named && !fields.iter().any(|field| is_port(field)) {
            return Fit::Unknown;
        }
        let fits = |candidate: &&Value| {
            fields.iter().zip(parts(candidate)).all(|(field, value)| {
                if self.is_address(field) { self.has_address(value) } else { !is_port(field) || has_port(value) }
            })
        };
        if self.elements(rule, right).iter().any(fits) { Fit::Yes { named } } else { Fit::No }
    }

    /// Of a set that is written down here or has a name; anything else is the only one.
    fn elements<'b>(&'b self, rule: &Value, value: &'b Value) -> Vec<&'b Value> {
        let named = |name: &str| self.sets.get(&place(rule, name)).copied();
        let value = value.as_str().and_then(|text| text.strip_prefix('@')).map_or(Some(value), named);
        let list = value.and_then(|value| value.as_array().or_else(|| value["set"].as_array()));
        match (list, value) {
            (Some(list), _) => list.iter().map(|one| one.pointer("/elem/val").unwrap_or(one)).collect(),
            (None, Some(value)) => vec![value],
            (None, None) => Vec::new(),
        }
    }

    fn is_of_other_family(&self, fields: &Value) -> bool {
        let other = if self.address.is_ipv4() { "ip6" } else { "ip" };
        parts(fields).iter().any(|field| field["payload"]["protocol"] == other)
    }

    fn is_address(&self, field: &Value) -> bool {
        let family = if self.address.is_ipv4() { "ip" } else { "ip6" };
        (field["payload"]["protocol"] == family && field["payload"]["field"] == "daddr")
            || field["ct"]["key"].as_str().and_then(|key| key.strip_suffix(" daddr")) == Some(family)
    }

    fn has_address(&self, value: &Value) -> bool {
        let read = |value: &Value| value.as_str().and_then(|text| text.parse::<IpAddr>().ok());
        let length = || value["prefix"]["len"].as_u64().and_then(|length| u8::try_from(length).ok());
        if let (Some(prefix), Some(length)) = (read(&value["prefix"]["addr"]), length()) {
            return IpNet::new(prefix, length).is_ok_and(|network| network.contains(&self.address));
        }
        match (read(&value["range"][0]), read(&value["range"][1])) {
            (Some(from), Some(to)) => (from..=to).contains(&self.address),
            _ => read(value) == Some(self.address),
        }
    }
}

fn check(rule: &Value) -> Option<Check> {
    let matches = || expressions(rule).map(|expression| &expression["match"]);
    let port = matches().find(|found| is_port(&found["left"]))?["right"].as_u64()?;
    Some(Check {
        port: port.try_into().ok()?,
        of_redirection: matches().any(|found| found["left"]["ct"]["key"] == "status" && found["right"] == "dnat"),
        refuses: expressions(rule).any(|expression| ["drop", "reject"].iter().any(|end| expression.get(end).is_some())),
    })
}

fn is_port(field: &Value) -> bool {
    field["payload"]["field"] == "dport"
}

fn has_port(value: &Value) -> bool {
    match (value["range"][0].as_u64(), value["range"][1].as_u64()) {
        (Some(from), Some(to)) => (from..=to).contains(&HTTP.into()),
        _ => value.as_u64() == Some(HTTP.into()),
    }
}

/// Of a redirection that says it, or else of the map that it takes the address from.
fn port(said: &Value, mapped: Option<&Value>) -> Target {
    let Some(port) = (if said.is_null() { mapped } else { Some(said) }) else { return Target::Port(HTTP) };
    port.as_u64().and_then(|port| port.try_into().ok()).map_or(Target::Unknown, Target::Port)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What a rule of a chain with a hook does to connections to the address.
    fn reads(expressions: &Value, address: &str) -> Option<Rule> {
        let listing = json!({"nftables": [
            {"chain": {"family": "inet", "table": "t", "name": "o", "type": "nat", "hook": "output"}},
            {"set": {"family": "inet", "table": "t", "name": "s", "elem": [
                {"elem": {"val": "169.254.169.254", "timeout": 9}}, {"prefix": {"addr": "10.0.0.0", "len": 8}}]}},
            {"map": {"family": "inet", "table": "t", "name": "m", "elem": [["169.254.169.254", "127.0.0.1"]]}},
            {"rule": {"family": "inet", "table": "t", "chain": "o", "handle": 5, "expr": expressions}},
        ]});
        let ruleset = read(&listing.to_string(), address.parse().expect("legal"), true);
        assert_eq!(ruleset.entries, ["inet t o"]);
        ruleset.rules.into_iter().next()
    }

    fn to(family: &str) -> Value {
        json!({"payload": {"protocol": family, "field": "daddr"}})
    }

    fn is(left: &Value, right: &Value) -> Value {
        json!({"match": {"op": "==", "left": left, "right": right}})
    }

    #[test]
    fn an_address_is_named_in_all_forms_of_a_match() {
        let redirect = json!({"redirect": {"port": 1}});
        let port = json!({"payload": {"protocol": "tcp", "field": "dport"}});
        let (imds, both) = ("169.254.169.254", json!({"concat": [to("ip"), port]}));
        for matches in [
            is(&to("ip"), &json!(imds)),
            is(&to("ip"), &json!("@s")),
            is(&to("ip"), &json!({"set": ["10.0.0.1", imds]})),
            is(&to("ip"), &json!({"prefix": {"addr": "169.254.0.0", "len": 16}})),
            is(&to("ip"), &json!({"range": ["169.254.169.0", "169.254.169.255"]})),
            is(&both, &json!({"set": [{"concat": [imds, 80]}]})),
            is(&json!({"ct": {"key": "ip daddr", "dir": "original"}}), &json!(imds)),
        ] {
            let rule = reads(&json!([matches, redirect]), imds).unwrap_or_else(|| panic!("{matches}"));
            assert!(rule.names_address && rule.redirects == Some(Target::Port(1)), "{matches}: {rule:?}");
            assert_eq!(rule.text, "nft rule inet t o handle 5");
        }
        for matches in [
            is(&to("ip"), &json!("169.254.170.2")),
            is(&to("ip6"), &json!("fd00:ec2::254")),
            is(&port, &json!({"set": [443, {"range": [1, 79]}]})),
            is(&both, &json!({"set": [{"concat": [imds, 443]}]})),
            json!({"match": {"op": "!=", "left": to("ip"), "right": imds}}),
        ] {
            assert!(reads(&json!([matches, redirect]), imds).is_none(), "{matches}");
        }
        let others = json!({"match": {"op": "!=", "left": to("ip"), "right": "10.0.0.1"}});
        assert!(!reads(&json!([others, redirect]), imds).expect("it applies").names_address);
        assert!(reads(&json!([is(&to("ip6"), &json!("fd00:ec2::254")), redirect]), "fd00:ec2::254").is_some());
    }

    #[test]
    fn the_target_may_come_from_a_map() {
        let map = |data: Value| json!([{"dnat": {"addr": {"map": {"key": to("ip"), "data": data}}}}]);
        for (expressions, target) in [
            (map(json!("@m")), Some(Target::Port(80))),
            (map(json!({"set": [["169.254.169.254", {"concat": ["127.0.0.1", 2]}]]})), Some(Target::Port(2))),
            (map(json!({"set": [["10.0.0.1", "127.0.0.1"]]})), None),
        ] {
            let rule = reads(&expressions, "169.254.169.254").expect("it applies");
            assert_eq!((rule.redirects, rule.names_address), (target, target.is_some()), "{expressions}");
        }
        let verdicts =
            json!([{"vmap": {"key": to("ip"), "data": {"set": [["169.254.169.254", {"jump": {"target": "x"}}]]}}}]);
        let rule = reads(&verdicts, "169.254.169.254").expect("it applies");
        assert!(rule.names_address && rule.jumps == ["inet t x"], "{rule:?}");
    }
}
