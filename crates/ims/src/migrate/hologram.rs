//! hologram-server's `server.json`. <https://github.com/AdRoll/hologram>
//!
//! Its keys are read as Go does, whatever their case.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Text;
use crate::settings::render::quoted;

/// What becomes of a role that only the server could know.
const EVERY_ROLE: &str = "hologram-server gave every user every role that it may assume (no `enableldaproles`). Write a rule for \
                          each group and role:";

/// A place of a role among claims: the claim, and what the rules are called.
const CLAIMS: [(&str, &str, &str); 2] =
    [("ldap.roleattr", "role", "roles of groups"), ("ldap.defaultroleattr", "default_role", "default roles")];

/// The settings that have not been translated yet, by names in lower case with dots.
struct Settings(BTreeMap<String, Value>);

impl Settings {
    fn new(json: &Value) -> Self {
        let mut all = BTreeMap::new();
        flatten("", json, &mut all);
        Self(all)
    }

    /// A text, or a number as one, that is not empty.
    fn text(&mut self, key: &str) -> Option<String> {
        match self.0.remove(&key.to_lowercase())? {
            Value::String(text) => Some(text).filter(|text| !text.is_empty()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    fn flag(&mut self, key: &str) -> bool {
        self.0.remove(&key.to_lowercase()) == Some(Value::Bool(true))
    }
}

fn flatten(prefix: &str, json: &Value, into: &mut BTreeMap<String, Value>) {
    let Value::Object(entries) = json else { return };
    for (key, value) in entries {
        let key = format!("{prefix}{}", key.to_lowercase());
        if value.is_object() && key != "accountaliases" {
            flatten(&format!("{key}."), value, into);
        } else {
            into.insert(key, value.clone());
        }
    }
}

/// Translates `server.json`. Secrets are not shown.
pub fn translate(json: &Value) -> String {
    let (mut text, mut settings) = (Text::default(), Settings::new(json));
    text.line("# Translated from hologram-server. Look at each line that begins with `# !`, then: alppaca-ims check");
    let accounts = Accounts::new(&mut settings);
    listener(&mut text, &mut settings);
    let by_groups = settings.flag("ldap.enableldaproles");
    let claims = directory(&mut text, &mut settings, by_groups);
    identities(&mut text);
    accounts.write(&mut text);
    rules(&mut text, &mut settings, &accounts, &claims);
    if !by_groups {
        text.note(EVERY_ROLE);
        let account = quoted(&accounts.default_name);
        text.line(&format!("  # - {{name: admins, match: {{groups: admins}}, account: {account}, role: admin}}"));
    }
    text.note("Roles with a path in LDAP need rules of their own (`path`).");
    text.line("");
    text.line("sts:");
    text.line("  credentials: {kind: imds}");
    text.note(
        "hologram-server took what the AWS SDK finds: on EC2 the instance's role, as here; else `kind: profile`.",
    );
    text.note("The regions whose STS is called; hologram-server called the global endpoint.");
    text.line("  regions: [us-east-1]");
    rest(&mut text, &mut settings);
    text.0
}

fn listener(text: &mut Text, settings: &mut Settings) {
    text.line("listen: 0.0.0.0:8443");
    text.line("tls_certificate: /etc/alppaca-ims/server.pem");
    text.line("tls_key: /etc/alppaca-ims/server.key");
    let listen = settings.text("listen").unwrap_or_else(|| "0.0.0.0:3100".to_owned());
    text.note(&format!(
        "hologram-server was at {listen}, with a certificate whose key is public. This speaks HTTPS with one of your own,"
    ));
    text.note("so both can run until the last desktop has moved.");
    text.line("");
}

/// Writes the directory; which claims it gives.
fn directory(text: &mut Text, settings: &mut Settings, by_groups: bool) -> Vec<(&'static str, &'static str)> {
    let host = settings.text("ldap.host").unwrap_or_else(|| "ldap.example.com".to_owned());
    let insecure = settings.flag("ldap.insecureldap");
    text.line("directories:");
    text.line("  ldap:");
    let scheme = if insecure { "ldap" } else { "ldaps" };
    text.line(&format!("    urls: {}", quoted(&format!("{scheme}://{host}"))));
    if insecure {
        text.line("    plain_ldap: yes");
        text.note("Without TLS anybody on the way can make anybody a member of any group. Remove `plain_ldap` to use StartTLS.");
    } else {
        text.note("hologram-server did not verify the directory's certificate. Name its authority, if it is your own:");
        text.line("    # ca_file: /etc/alppaca-ims/ldap-ca.pem");
    }
    if let Some(dn) = settings.text("ldap.bind.dn") {
        text.line(&format!("    bind_dn: {}", quoted(&dn)));
        text.line("    password_file: /etc/alppaca-ims/ldap-password");
        text.note(
            "Put the password (`ldap.bind.password`) into that file, for the server's account alone (chmod 600).",
        );
    }
    settings.text("ldap.bind.password");
    let base = settings.text("ldap.basedn").unwrap_or_default();
    text.line(&format!("    base_dn: {}", quoted(&base)));
    for (key, ours, usual) in
        [("ldap.userattr", "name_attribute", "cn"), ("ldap.pubkeysattr", "ssh_key_attribute", "sshPublicKey")]
    {
        let value = settings.text(key).unwrap_or_else(|| usual.to_owned());
        text.line(&format!("    {ours}: {}", quoted(&value)));
    }
    let class = settings.text("ldap.groupclassattr").unwrap_or_else(|| "groupOfNames".to_owned());
    let members = if class.eq_ignore_ascii_case("groupOfUniqueNames") { "uniqueMember" } else { "member" };
    text.line(&format!("    groups_filter: {}", quoted(&format!("(&(objectClass={class})({members}={{dn}}))"))));
    text.note("hologram-server read `memberOf` of the person. Here groups are found by their members.");
    text.note("If others may create groups elsewhere in the directory, set `groups_base_dn`.");
    let claims = claims(text, settings, by_groups);
    if let Some(seconds) = settings.text("cachetimeout") {
        text.note(&format!("`cachetimeout` ({seconds} s): who is removed from LDAP is gone after `refresh`, here 1m."));
    }
    text.line("");
    claims
}

/// The claims of people and groups that hold roles: each with what the rules are called.
fn claims(text: &mut Text, settings: &mut Settings, by_groups: bool) -> Vec<(&'static str, &'static str)> {
    let mut found = Vec::new();
    for (key, claim, rules) in CLAIMS {
        let attribute = settings.text(key);
        let Some(attribute) = attribute.filter(|_| by_groups) else { continue };
        let ours = if claim == "role" { "group_claims" } else { "person_claims" };
        text.line(&format!("    {ours}: {{{claim}: {}}}", quoted(&attribute)));
        found.push((claim, rules));
    }
    if let Some(attribute) = settings.text("ldap.roletimeoutattr") {
        text.note(&format!(
            "{attribute:?} (`roletimeoutattr`) is not read: sessions last an hour, or as long as the `duration` of a rule."
        ));
    }
    if by_groups && !found.iter().any(|(claim, _)| *claim == "role") {
        text.note("`enableldaproles` without `roleattr`: no group had a role. In examples it is `businessCategory`, with rules for the claim:");
        text.line("    # group_claims: {role: businessCategory}");
    }
    found
}

fn identities(text: &mut Text) {
    text.line("identities:");
    text.line("  desktops: {kind: ssh, for: people, directory: ldap, groups_from: ldap, hosts: ims.example.com}");
    text.note(
        "`hosts`: the name of this server in the clients' URLs. They sign it, so that no other server can use the",
    );
    text.note("signature. The clients of Hologram do not speak to this server; see its guide.");
    text.line("");
}

/// The accounts that roles are looked for in.
struct Accounts {
    /// By alias, one for each account.
    aliases: Vec<(String, String)>,
    /// Further aliases, and those of the same accounts that are kept.
    others: Vec<(String, String)>,
    /// That of a role without an account, and what it is called.
    default: String,
    default_name: String,
    missing: bool,
}

impl Accounts {
    fn new(settings: &mut Settings) -> Self {
        let default = settings.text("aws.account").as_deref().and_then(digits);
        let (mut aliases, mut others) = (Vec::<(String, String)>::new(), Vec::new());
        if let Some(Value::Object(entries)) = settings.0.remove("accountaliases") {
            for (alias, arn) in &entries {
                let id = arn.as_str().and_then(|arn| digits(arn.rsplit(':').find(|part| !part.is_empty())?));
                let Some(id) = id else { continue };
                match aliases.iter().find(|(_, known)| *known == id) {
                    Some((first, _)) => others.push((alias.clone(), first.clone())),
                    None => aliases.push((alias.clone(), id)),
                }
            }
        }
        let missing = default.is_none();
        let default = default.unwrap_or_else(|| "000000000000".to_owned());
        let default_name =
            aliases.iter().find(|(_, id)| *id == default).map_or("default", |(alias, _)| alias).to_owned();
        Self { aliases, others, default, default_name, missing }
    }

    fn write(&self, text: &mut Text) {
        text.line("accounts:");
        if self.missing {
            text.note("`aws.account` is missing: the account of roles that name none.");
        }
        text.line(&format!("  {}: {}", quoted(&self.default_name), quoted(&self.default)));
        for (alias, id) in self.aliases.iter().filter(|(alias, _)| *alias != self.default_name) {
            text.line(&format!("  {}: {}", quoted(alias), quoted(id)));
        }
        for (alias, first) in &self.others {
            text.note(&format!(
                "{alias:?} is the same account as {first:?}: in LDAP, write {first}/ROLE where it says {alias}/ROLE."
            ));
        }
        text.line("");
    }

    /// Account and role of what a user may write, as hologram-server understood it. Roles with a path are not found.
    fn find(&self, role: &str) -> Option<(String, String)> {
        let kept = self.aliases.iter().map(|(alias, _)| (alias, alias));
        let mut names = kept.chain(self.others.iter().map(|(alias, first)| (alias, first)));
        let alias = role.split_once('/').and_then(|(alias, name)| {
            names.find(|(known, _)| *known == alias).map(|(_, account)| (account.clone(), name))
        });
        let (account, name) = if let Some(found) = alias {
            found
        } else if let Some((account, name)) = role.split_once(":role/") {
            (digits(account.rsplit(':').next()?)?, name)
        } else {
            (self.default_name.clone(), role)
        };
        Some((account, name.to_owned())).filter(|(_, name)| !name.is_empty() && !name.contains(['/', ':']))
    }

    /// The forms of a role: what they are called, a pattern, and the account.
    fn forms(&self) -> Vec<(&'static str, String, &str)> {
        let mut forms = vec![
            ("ARN", "(?:arn:aws[a-z-]*:iam::)?(?P<account>[0-9]{12}):role/(?P<role>[^/]+)".to_owned(), "{account}"),
            ("name", "(?P<role>[^/:]+)".to_owned(), &self.default_name),
        ];
        let aliases: Vec<_> = self.aliases.iter().map(|(alias, _)| escaped(alias)).collect();
        if !aliases.is_empty() {
            forms.push(("alias/name", format!("(?P<account>{})/(?P<role>[^/]+)", aliases.join("|")), "{account}"));
        }
        forms
    }
}

fn digits(text: &str) -> Option<String> {
    let is_account = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_account.then(|| text.to_owned())
}

/// A pattern of a text.
fn escaped(text: &str) -> String {
    let mut pattern = String::new();
    for character in text.chars() {
        if character.is_ascii_punctuation() && character != '-' && character != '_' {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

fn rules(text: &mut Text, settings: &mut Settings, accounts: &Accounts, claims: &[(&str, &str)]) {
    text.line("rules:");
    for (claim, called) in claims {
        for (form, pattern, account) in accounts.forms() {
            text.line(&format!("  - name: {}", quoted(&format!("{called}, by {form}"))));
            text.line(&format!("    match: {{method: desktops, claims: {{{claim}: {}}}}}", quoted(&pattern)));
            text.line(&format!("    account: {}", quoted(account)));
            text.line("    role: '{role}'");
        }
    }
    if let Some(role) = settings.text("aws.defaultrole") {
        match accounts.find(&role) {
            Some((account, name)) => {
                text.line("  - name: default role");
                text.line("    match: {method: desktops}");
                text.line(&format!("    account: {}", quoted(&account)));
                text.line(&format!("    role: {}", quoted(&name)));
            }
            None => text.note(&format!("The role {role:?} (`aws.defaultrole`) has a path: write a rule with `path`.")),
        }
    }
}

/// What is left.
fn rest(text: &mut Text, settings: &mut Settings) {
    if let Some(address) = settings.text("stats") {
        text.note(&format!(
            "`stats` ({address}): there is no statsd. Prometheus reads the metrics at `metrics_listen`:"
        ));
        text.line("# metrics_listen: 127.0.0.1:9102");
    }
    for key in settings.0.keys() {
        text.note(&format!("{key:?} is not a key that hologram-server is known to have."));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_key_is_translated_or_named() {
        let settings = json!({
            "LDAP": {
                "Bind": {"dn": "cn=h,dc=x", "password": "hush"}, "host": "ldap.x:636", "userAttr": "uid",
                "baseDN": "dc=x", "insecureLDAP": false, "enableLDAPRoles": true, "roleAttr": "businessCategory",
                "defaultRoleAttr": "employeeType", "groupClassAttr": "group", "pubKeysAttr": "keys",
                "roleTimeoutAttr": "street"
            },
            "AWS": {"account": "111122223333", "defaultRole": "prod/dev"},
            "stats": "localhost:8125", "listen": "0.0.0.0:3100", "cacheTimeout": 3600,
            "accountAliases": {"prod": "arn:aws:iam::444455556666", "a.b": "arn:aws:iam::444455556667"}, "other": 1
        });
        let text = translate(&settings);
        for part in [
            "urls: \"ldaps://ldap.x:636\"",
            "bind_dn: \"cn=h,dc=x\"",
            "base_dn: \"dc=x\"",
            "name_attribute: \"uid\"",
            "ssh_key_attribute: \"keys\"",
            "group_claims: {role: \"businessCategory\"}",
            "person_claims: {default_role: \"employeeType\"}",
            "\"prod\": \"444455556666\"",
            "\"default\": \"111122223333\"",
            "(?P<account>a\\\\.b|prod)/",
            "account: \"prod\"\n    role: \"dev\"",
            "groups_filter: \"(&(objectClass=group)(member={dn}))\"",
            "\"street\"",
            "`cachetimeout` (3600 s)",
            "localhost:8125",
            "\"other\" is not a key",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("hush"), "{text}");
    }

    #[test]
    fn what_is_missing_has_hologram_s_defaults() {
        let text = translate(&json!({"ldap": {"insecureldap": true, "host": "l:389", "roleattr": "x"}}));
        for part in
            ["plain_ldap: yes", "\"ldap://l:389\"", "name_attribute: \"cn\"", "every user every role", "aws.account"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("group_claims"), "{text}");
    }

    #[test]
    fn an_account_has_one_name() {
        let text = translate(&json!({
            "ldap": {"enableldaproles": true, "roleattr": "x"}, "aws": {"account": "111122223333", "defaultrole": "c/dev"},
            "accountaliases": {"a": "arn:aws:iam::111122223333", "b": "arn:aws:iam::444455556666",
                               "c": "arn:aws:iam::444455556666"}
        }));
        assert!(text.contains("accounts:\n  \"a\": \"111122223333\"\n  \"b\": \"444455556666\"\n# !"), "{text}");
        assert!(text.contains("\"c\" is the same account as \"b\"") && text.contains("(?P<account>a|b)/"), "{text}");
        assert!(text.contains("account: \"b\"\n    role: \"dev\"") && !text.contains("\"default\":"), "{text}");
    }

    #[test]
    fn groups_without_roles_are_not_every_role_for_everybody() {
        let text = translate(&json!({"ldap": {"enableldaproles": true}, "aws": {"account": "111122223333"}}));
        assert!(text.contains("no group had a role") && !text.contains("every user every role"), "{text}");
    }

    #[test]
    fn roles_are_found_as_hologram_did() {
        let mut settings = Settings::new(&json!({
            "aws": {"account": "111122223333"}, "accountaliases": {"prod": "arn:aws:iam::444455556666:"}
        }));
        let accounts = Accounts::new(&mut settings);
        let find = |role| accounts.find(role);
        let is = |account: &str, role: &str| Some((account.to_owned(), role.to_owned()));
        assert_eq!(find("dev"), is("default", "dev"));
        assert_eq!(find("prod/dev"), is("prod", "dev"));
        assert_eq!(find("arn:aws:iam::123456789012:role/x"), is("123456789012", "x"));
        assert_eq!(find("123456789012:role/x"), is("123456789012", "x"));
        for role in ["role/a/b", "", "prod/a/b", "1234:role/x"] {
            assert_eq!(find(role), None, "{role}");
        }
    }
}
