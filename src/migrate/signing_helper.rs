//! The command line of `aws_signing_helper`, of AWS's rolesanywhere-credential-helper: `cmd/credentials.go` and
//! `cmd/serve.go`. <https://github.com/aws/rolesanywhere-credential-helper>

use alppaca_settings::render::quoted;

use super::{flags::Flags, text::Text};
use crate::credentials::RoleArn;

/// Flags that are followed by a value.
const VALUES: [&str; 17] = [
    "cert-selector",
    "certificate",
    "endpoint",
    "hop-limit",
    "intermediates",
    "pkcs11-lib",
    "pkcs8-password",
    "port",
    "private-key",
    "profile-arn",
    "region",
    "role-arn",
    "role-session-name",
    "session-duration",
    "system-store-name",
    "tpm-key-password",
    "trust-anchor-arn",
];

/// Flags that are either there or not.
const SWITCHES: [&str; 6] =
    ["debug", "no-tpm-key-password", "no-verify-ssl", "reuse-pin", "use-latest-expiring-certificate", "with-proxy"];

/// What `aws_signing_helper` cannot do without, beside the role.
const NEEDED: [&str; 4] = ["certificate", "private-key", "trust-anchor-arn", "profile-arn"];

/// Our configuration from the words of its command line, with a comment at all that changes or cannot be kept. It shows
/// no password.
pub fn translate(words: &[String]) -> String {
    // The program and its command, if they were pasted, too.
    let is_command =
        |word: &str| word.ends_with("aws_signing_helper") || matches!(word, "serve" | "update" | "credential-process");
    let flags = Flags::parse(words, is_command, &VALUES, &SWITCHES);
    let mut text = Text::new("aws_signing_helper", "signing-helper");
    listener(&mut text, &flags);
    source(&mut text, &flags);
    role(&mut text, &flags);
    for word in &flags.unknown {
        text.note(&format!("{word:?} is not known of aws_signing_helper, or has no counterpart here."));
    }
    text.into_string()
}

fn listener(text: &mut Text, flags: &Flags) {
    let port = flags.get("port").unwrap_or("9911");
    text.note(
        "Programs that have AWS_EC2_METADATA_SERVICE_ENDPOINT need no change. With `alppaca capture`, none needs it.",
    );
    text.line(&format!("listen: [{}]", quoted(&format!("127.0.0.1:{port}"))));
    if flags.has("debug") {
        text.line("log_level: debug");
    }
    if flags.has("hop-limit") {
        text.note("--hop-limit: answers have no hop limit; the daemon listens on the loopback interface only.");
    }
}

fn source(text: &mut Text, flags: &Flags) {
    text.line("sources:");
    text.line("  x509:");
    text.line("    kind: roles_anywhere");
    let keys = [
        ("certificate", "certificate"),
        ("private-key", "key"),
        ("intermediates", "chain"),
        ("pkcs11-lib", "pkcs11_module"),
        ("trust-anchor-arn", "trust_anchor_arn"),
        ("profile-arn", "profile_arn"),
        ("endpoint", "endpoint"),
    ];
    for (flag, key) in keys {
        if let Some(value) = flags.get(flag) {
            text.line(&format!("    {key}: {}", quoted(value)));
        } else if NEEDED.contains(&flag) {
            text.note(&format!("--{flag} is not there: write `{key}`."));
        }
    }
    if flags.has("with-proxy") {
        text.line("    proxy: environment");
    }
    if flags.get("private-key").is_some_and(|key| key.starts_with("handle:") || key.contains("TSS2")) {
        text.note(
            "A key in a TPM is reached by PKCS#11: put it into a token of tpm2-pkcs11, and name it by a pkcs11: URI.",
        );
    }
    let notes = [
        ("pkcs8-password", "--pkcs8-password: write the passphrase into a file, and name it as `passphrase_file`."),
        ("tpm-key-password", "--tpm-key-password: write the PIN into a file, and name it as `pin_file`."),
        ("no-tpm-key-password", "--no-tpm-key-password: not needed; a token without a PIN has no `pin_file`."),
        ("reuse-pin", "--reuse-pin: not needed; the PIN of `pin_file` is used for both."),
        (
            "no-verify-ssl",
            "--no-verify-ssl: certificates are always verified. Name the authority of a proxy as `ca_file`.",
        ),
        ("region", "--region: the region is that of the trust anchor."),
        (
            "cert-selector",
            "--cert-selector: name the certificate, a file or a pkcs11: URI, as `certificate` and `key`.",
        ),
        ("system-store-name", "--system-store-name: there are no certificate stores of macOS or Windows here."),
        (
            "use-latest-expiring-certificate",
            "--use-latest-expiring-certificate: files are read again for each call; renew them in place.",
        ),
    ];
    for (flag, note) in notes {
        if flags.has(flag) {
            text.note(note);
        }
    }
}

fn role(text: &mut Text, flags: &Flags) {
    let arn = flags.get("role-arn").unwrap_or_default();
    let name = arn.parse::<RoleArn>().map_or_else(|_| "app".to_owned(), |arn| arn.name().to_string());
    text.line("roles:");
    text.line(&format!("  {}:", quoted(&name)));
    text.line("    source: x509");
    text.line(&format!("    role_arn: {}", quoted(arn)));
    if let Some(seconds) = flags.get("session-duration") {
        text.line(&format!("    duration: {}", quoted(&format!("{seconds}s"))));
    }
    if let Some(session) = flags.get("role-session-name") {
        text.line(&format!("    session_name: {}", quoted(session)));
    }
    if arn.is_empty() {
        text.note("--role-arn is not there: write the ARN of the role.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> String {
        translate(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn every_flag_is_translated_or_named() {
        let text =
            of("/usr/bin/aws_signing_helper serve --certificate /c.pem --private-key=/k.pem --intermediates /i.pem \
             --role-arn arn:aws:iam::123456789012:role/team/web --session-duration 900 --port 1338 --with-proxy \
             --role-session-name me --region eu-west-1 --no-verify-ssl --tpm-key-password hush --new hush2 --debug");
        for part in [
            "listen: [\"127.0.0.1:1338\"]",
            "log_level: debug",
            "certificate: \"/c.pem\"",
            "key: \"/k.pem\"",
            "chain: \"/i.pem\"",
            "proxy: environment",
            "\"web\":",
            "duration: \"900s\"",
            "session_name: \"me\"",
            "# ! --region",
            "# ! --no-verify-ssl",
            "`pin_file`",
            "\"--new\" is not known",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("hush"), "{text}");
        assert!(text.contains("# ! --trust-anchor-arn is not there: write `trust_anchor_arn`."), "{text}");
    }

    #[test]
    fn a_key_in_a_tpm_is_named() {
        assert!(of("serve --private-key handle:0x81000001").contains("tpm2-pkcs11"));
    }

    #[test]
    fn each_flag_leaves_a_trace() {
        let plain = of("serve");
        for flag in VALUES.map(|flag| format!("{flag} 1")).into_iter().chain(SWITCHES.map(str::to_owned)) {
            assert_ne!(of(&format!("serve --{flag}")), plain, "{flag}");
        }
    }
}
