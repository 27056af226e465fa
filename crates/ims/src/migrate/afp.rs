//! AFP's configuration as ours. Pure: trees in, text out.
//!
//! AFP reads two directories of YAML: its own settings, and the accounts. What cannot be kept is said in comments that begin
//! with `# !`.

use super::Text;
use crate::{
    expression::Expression,
    settings::{Node, Value, render::quoted},
};

/// Translates AFP's settings and its accounts.
pub fn translate(api: Option<&Node>, accounts: Option<&Node>) -> String {
    let mut text = Text::default();
    text.line("# Translated from AFP. Look at each line that begins with `# !`, then: alppaca-ims check");
    text.line("listen: 127.0.0.1:8080");
    text.note(
        "AFP was behind Apache. For TLS without it, set `tls_certificate` and `tls_key`, and listen at 0.0.0.0:8443.",
    );
    text.line("");
    let caller = caller(&mut text, api);
    mounts(&mut text, caller);
    translate_accounts(&mut text, accounts);
    rules(&mut text, api, caller);
    sts(&mut text, api);
    logging(&mut text, api);
    text.0
}

/// The provider for hosts.
const BY_IP: &str = "provider_by_ip";

/// What the callers of AFP are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Callers {
    People,
    Hosts,
}

fn caller(text: &mut Text, api: Option<&Node>) -> Callers {
    let field = find(api, &["api", "user_identification", "environment_field"]).and_then(scalar);
    let Some(field) = field else {
        let (who, usual) = if provider(api) == BY_IP { ("hosts", "REMOTE_ADDR") } else { ("people", "REMOTE_USER") };
        text.note(
            "`api.user_identification.environment_field` is missing, which AFP requires: were those all of its settings?",
        );
        text.note(&format!("By its provider the callers are {who}, so this is what {usual} would become."));
        return caller_in(text, api, usual);
    };
    caller_in(text, api, &field)
}

/// The same for the WSGI variable that says who it is.
fn caller_in(text: &mut Text, api: Option<&Node>, field: &str) -> Callers {
    text.line("identities:");
    match field {
        "REMOTE_ADDR" => {
            text.line(&format!("  dns: {{kind: dns, pattern: {}}}", quoted(&host_pattern(api, "[^.]{8}"))));
            text.note("The name of an address counts only if it leads back to the address; AFP did not look.");
            text.note("A certificate for each host (`kind: mtls`) is a proof, which a name service is not.");
            return Callers::Hosts;
        }
        "REMOTE_USER" => {
            proxy(text, "X-Remote-User");
            text.note("Apache passes it on with: RequestHeader set X-Remote-User expr=%{REMOTE_USER}");
        }
        header if header.starts_with("HTTP_") => {
            proxy(text, &header["HTTP_".len()..].replace('_', "-"));
            text.note("AFP believed this header from every client. Here only the proxy's counts (`from_networks`).");
        }
        "SSL_CLIENT_S_DN_CN" => {
            text.line("  mtls: {kind: mtls, ca_files: [/etc/alppaca-ims/ca.pem]}");
            text.note(
                "Names of certificates are taken from subject alternative names only, never from the common name.",
            );
            return Callers::Hosts;
        }
        other => {
            proxy(text, "X-Remote-User");
            text.note(&format!(
                "The WSGI variable {other:?} has no counterpart: let the proxy send it in that header."
            ));
        }
    }
    Callers::People
}

fn proxy(text: &mut Text, header: &str) {
    let line = format!(
        "  people: {{kind: proxy, name_header: {}, from_networks: [127.0.0.1], groups_from: nss}}",
        quoted(header)
    );
    text.line(&line);
}

fn mounts(text: &mut Text, callers: Callers) {
    let (path, routes) = match callers {
        Callers::People => ("/afp-api/latest", "people"),
        Callers::Hosts => ("/", "hosts"),
    };
    text.line(&format!("mounts: [{{path: {path}, routes: {routes}}}]"));
    text.line("");
}

fn translate_accounts(text: &mut Text, accounts: Option<&Node>) {
    let Some(Value::Map(entries)) = accounts.map(|node| &node.value) else {
        text.note("There are no accounts.");
        return text.line("accounts: {}\n");
    };
    text.line("accounts:");
    for (alias, node) in entries {
        let Some(id) = find(Some(node), &["id"]).and_then(scalar) else {
            text.note(&format!("The account {:?} has no `id`.", alias.text));
            continue;
        };
        // YAML reads digits as a number, which loses zeros at the beginning.
        text.line(&format!("  {}: {}", quoted(&alias.text), quoted(&format!("{id:0>12}"))));
    }
    text.line("");
}

fn rules(text: &mut Text, api: Option<&Node>, callers: Callers) {
    text.line("rules:");
    match &*provider(api) {
        "grp_provider" | "sssd_provider" => by_group(text, api),
        "ldap_provider" => {
            by_group(text, api);
            ldap(text, api);
        }
        BY_IP => by_name(text, api),
        other => {
            text.line("  []");
            text.note(&format!("The provider {other:?} is Python code: write what it decides as rules."));
        }
    }
    if callers == Callers::People {
        text.note(
            "AFP gave every role a URL of the console, and so do these rules: remove `console` where it is not used.",
        );
    }
    text.line("");
}

/// The last part of the name of its module.
fn provider(api: Option<&Node>) -> String {
    let module = find(api, &["provider", "module"]).and_then(scalar).unwrap_or_default();
    module.rsplit('.').next().unwrap_or_default().to_owned()
}

fn by_group(text: &mut Text, api: Option<&Node>) {
    let regex = find(api, &["provider", "regex"]).and_then(scalar).unwrap_or_default();
    text.line("  - name: groups");
    text.line(&format!("    match: {{groups: {}}}", quoted(&regex)));
    text.line("    account: '{account}'");
    text.line("    role: '{role}'");
    text.line("    console: yes");
    let captures: Vec<String> = match Expression::new(&regex) {
        Ok(pattern) => pattern.capture_names().map(str::to_owned).collect(),
        Err(why) => {
            text.note(&format!("The pattern cannot be used here (no look-around, no references back): {why}"));
            return;
        }
    };
    if !["account", "role"].iter().all(|name| captures.iter().any(|capture| capture == name)) {
        text.note("The pattern needs the named groups `account` and `role`.");
    }
}

fn ldap(text: &mut Text, api: Option<&Node>) {
    let uri = find(api, &["provider", "ldap_uri"]).and_then(scalar).unwrap_or_default();
    text.note(&format!(
        "AFP asked {uri} for groups. Here the name service of the host does (`groups_from: nss`): set up"
    ));
    text.note("sssd or nslcd for that directory, then `id USER` shows what the rules match.");
}

fn by_name(text: &mut Text, api: Option<&Node>) {
    let text_of = |key| find(api, &["provider", key]).and_then(scalar).unwrap_or_default();
    let (account, prefix) = (text_of("account_name"), text_of("role_prefix"));
    text.line("  - name: hosts");
    text.line("    match:");
    text.line(&format!("      name: {}", quoted(&host_pattern(api, "(?P<type>[^.]{6})[^.]{2}"))));
    text.line("      rewrite: [{capture: type, from: '^(?:ber|ham)', to: pro}]");
    text.line(&format!("    account: {}", quoted(&account)));
    text.line(&format!("    role: {}", quoted(&format!("{prefix}{{type}}"))));
}

/// A pattern of host names in the domains that AFP allows.
fn host_pattern(api: Option<&Node>, host: &str) -> String {
    let domains = match find(api, &["provider", "allowed_domains"]).map(|node| &node.value) {
        Some(Value::List(items)) => items.iter().filter_map(scalar).map(|domain| domain.replace('.', "\\.")).collect(),
        _ => Vec::new(),
    };
    if domains.is_empty() { format!("{host}\\..*") } else { format!("{host}\\.(?:{})", domains.join("|")) }
}

fn sts(text: &mut Text, api: Option<&Node>) {
    let text_of = |key| find(api, &["aws", key]).and_then(scalar);
    text.line("sts:");
    match (text_of("access_key"), text_of("secret_key")) {
        (Some(id), Some(secret)) => {
            let (id, secret) = (quoted(&id), quoted(&secret));
            text.line(&format!("  credentials: {{kind: static, access_key_id: {id}, secret_access_key: {secret}}}"));
            text.note("A secret: this file is for the server's account alone (chmod 600).");
        }
        _ => {
            text.line("  credentials: {kind: profile}");
            text.note("AFP left it to boto, which also looks at the environment and at EC2 (`kind: imds`).");
        }
    }
    text.note("The region whose STS is called; AFP called the global endpoint.");
    text.line("  regions: [eu-central-1]\n");
}

fn logging(text: &mut Text, api: Option<&Node>) {
    for key in ["log_level", "log_format"] {
        if let Some(value) = find(api, &[key]).and_then(scalar) {
            text.line(&format!("{key}: {}", quoted(&value)));
        }
    }
    if let Some(handler) = find(api, &["logging_handler"]) {
        text.line(&format!("logging_handler: {}", flow(handler)));
    }
}

fn find<'a>(node: Option<&'a Node>, path: &[&str]) -> Option<&'a Node> {
    path.iter().try_fold(node?, |node, name| match &node.value {
        Value::Map(entries) => entries.iter().find(|(key, _)| key.text == *name).map(|(_, node)| node),
        _ => None,
    })
}

fn scalar(node: &Node) -> Option<String> {
    match &node.value {
        Value::Scalar { text, .. } if !node.is_null() => Some(text.clone()),
        _ => None,
    }
}

/// A value in one line of YAML.
fn flow(node: &Node) -> String {
    match &node.value {
        Value::Scalar { text, plain: true } => text.clone(),
        Value::Scalar { text, .. } => quoted(text),
        Value::Binary(_) | Value::Any(_) => "null".to_owned(),
        Value::List(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Map(entries) => {
            let entries: Vec<String> =
                entries.iter().map(|(key, node)| format!("{}: {}", quoted(&key.text), flow(node))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

#[cfg(test)]
mod tests;
