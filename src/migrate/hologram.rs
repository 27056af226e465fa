//! hologram-agent's `agent.json`. <https://github.com/AdRoll/hologram>
//!
//! Its keys are read as Go does, whatever their case.

use alppaca_settings::render::quoted;
use serde_json::Value;

use super::text::Text;

/// The keys that the agent has.
const KNOWN: [&str; 3] = ["host", "accountaliases", "extraallowedips"];

/// Our configuration from hologram-agent's, with a comment at all that changes or cannot be kept.
pub fn translate(json: &Value) -> String {
    let find = |key: &str| {
        let entries = json.as_object()?;
        entries.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
    };
    let mut text = Text::new("hologram-agent", "hologram");
    match find("host").and_then(Value::as_str).filter(|host| !host.is_empty()) {
        Some(host) => with_server(&mut text, host),
        None => without_server(&mut text, find("accountAliases")),
    }
    text.note("hologram-agent served one role, called hologram-access. Here clients find `me` at 169.254.169.254.");
    text.note("For that address: alppaca capture");
    if let Some(Value::Array(addresses)) = find("extraAllowedIps").filter(|list| *list != &Value::Array(Vec::new())) {
        let addresses: Vec<_> = addresses.iter().filter_map(Value::as_str).collect();
        text.note(&format!(
            "extraAllowedIps ({}): alppaca listens on this host only. To let others in, set `listen` and a `policy`.",
            addresses.join(", ")
        ));
    }
    for key in json.as_object().into_iter().flatten().map(|(key, _)| key) {
        if !KNOWN.iter().any(|known| known.eq_ignore_ascii_case(key)) {
            text.note(&format!("{key:?} is not a key that hologram-agent is known to have."));
        }
    }
    text.into_string()
}

fn with_server(text: &mut Text, host: &str) {
    text.line("sources:");
    text.line("  hologram:");
    text.line("    kind: hologram");
    text.line(&format!("    server: {}", quoted(host)));
    text.note(
        "hologram-agent did not verify the server: anybody on the way could take its place. Set `pin` (its start",
    );
    text.note("shows the server's) or `ca_file`.");
    text.line("    # pin: sha256//…");
    text.note("All keys of the ssh-agent ($SSH_AUTH_SOCK) are tried in turn. To choose one:");
    text.line("    # key: ~/.ssh/id_ed25519.pub");
    text.line("roles:");
    text.line("  me: {source: hologram}");
    text.note("A line for each role that you used with `hologram use`:");
    text.line("  # dev: {source: hologram, upstream_role: dev}");
    text.line("  # audit: {source: hologram, role_arn: \"arn:aws:iam::123456789012:role/audit\"}");
    text.note("The daemon runs as you, since it needs your ssh-agent.");
}

/// The agent had keys of an IAM user of its own.
fn without_server(text: &mut Text, aliases: Option<&Value>) {
    text.note("There is no `host`: the agent took the keys of an IAM user from the AWS profile, as here.");
    text.line("sources:");
    text.line("  own: {kind: profile, serve_long_term: true}");
    text.line("roles:");
    text.line("  me: {source: own}");
    text.note(
        "`hologram me` made a session of these keys; here clients get them as they are. Better serve roles only, which",
    );
    text.note("are assumed with them, and remove `me` and `serve_long_term`:");
    text.line("  # dev: {source: own, role_arn: \"arn:aws:iam::123456789012:role/dev\"}");
    for (alias, arn) in aliases.and_then(Value::as_object).into_iter().flatten() {
        let arn = format!("{}:role/NAME", arn.as_str().unwrap_or_default().trim_end_matches(':'));
        text.note(&format!("The role {alias}/NAME is"));
        text.note(&format!("  NAME: {{source: own, role_arn: {}}}", quoted(&arn)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_key_is_translated_or_named() {
        let text = translate(&json!({
            "Host": "hologram.example.com:3100", "extraAllowedIps": ["10.0.0.0/8"], "accountAliases": {}, "x\ny": 1
        }));
        for part in ["server: \"hologram.example.com:3100\"", "(10.0.0.0/8)", "\"x\\ny\" is not a key"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let text = translate(&json!({"host": "", "accountAliases": {"prod": "arn:aws:iam::123456789012"}}));
        assert!(text.contains("kind: profile") && text.contains("arn:aws:iam::123456789012:role/NAME"), "{text}");
    }
}
