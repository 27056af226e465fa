//! How a request is signed for `alppaca-ims` (`docs/ims-identities.md`): the challenge that it sends, what is signed, and the
//! proof. Pure.

use base64::{Engine, engine::general_purpose::STANDARD};

/// The scheme in `WWW-Authenticate` and `Authorization`.
const SCHEME: &str = "Alppaca-SSH ";
/// The longest challenge.
const MAX_CHALLENGE: usize = 128;

/// The challenge for signatures in `namespace`, in values of `WWW-Authenticate`. It is one word: what is signed has others
/// beside it.
pub fn challenge<'a>(headers: impl IntoIterator<Item = &'a str>, namespace: &str) -> Option<&'a str> {
    headers.into_iter().filter_map(|header| header.strip_prefix(SCHEME)).find_map(|parameters| {
        let parameter = |wanted: &str| {
            let mut pairs = parameters.split(',').filter_map(|parameter| parameter.trim().split_once('='));
            pairs.find(|(name, _)| *name == wanted)?.1.strip_prefix('"')?.strip_suffix('"')
        };
        let legal = |challenge: &&str| {
            (1..=MAX_CHALLENGE).contains(&challenge.len())
                && challenge.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        parameter("challenge").filter(legal).filter(|_| parameter("namespace") == Some(namespace))
    })
}

/// What is signed for a GET of `path` at the host `authority`, which counts in lower case.
pub fn message(path: &str, authority: &str, challenge: &str) -> String {
    format!("GET {path} {} {challenge}", authority.to_ascii_lowercase())
}

/// The value of `Authorization`: a secret while the challenge is valid. `user` says whose key it is, if several may have it.
pub fn authorization(challenge: &str, signature: &[u8], user: Option<&str>) -> String {
    let user = user.map(|user| format!(r#", user="{user}""#)).unwrap_or_default();
    format!(r#"{SCHEME}challenge="{challenge}", signature="{}"{user}"#, STANDARD.encode(signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_for_its_namespace_is_taken() {
        let (host, user) = (
            r#"Alppaca-SSH challenge="a-B_1", namespace="alppaca-host""#,
            r#"Alppaca-SSH challenge="c", namespace="alppaca-user""#,
        );
        let all = ["Bearer", user, host];
        assert_eq!(challenge(all, "alppaca-host"), Some("a-B_1"));
        assert_eq!(challenge(all, "alppaca-user"), Some("c"));
        let long = format!(r#"Alppaca-SSH challenge="{}", namespace="alppaca-host""#, "a".repeat(129));
        for wrong in [
            "Bearer",
            user,
            r#"Alppaca-SSH challenge="AbC", namespace="git""#,
            r#"Alppaca-SSH challenge="AbC""#,
            r#"Alppaca-SSH challenge="a b", namespace="alppaca-host""#,
            r#"Alppaca-SSH challenge="", namespace="alppaca-host""#,
            r#"Alppaca-SSH challenge=a, namespace="alppaca-host""#,
            r#"Alppaca-SSH namespace="alppaca-host""#,
            r#"Other challenge="a", namespace="alppaca-host""#,
            &long,
        ] {
            assert_eq!(challenge([wrong], "alppaca-host"), None, "{wrong}");
        }
    }

    #[test]
    fn the_host_is_signed_in_lower_case_and_the_proof_names_the_user() {
        assert_eq!(message("/account", "IMS.example.com:8443", "c"), "GET /account ims.example.com:8443 c");
        assert_eq!(authorization("c", b"sig", None), r#"Alppaca-SSH challenge="c", signature="c2ln""#);
        let named = r#"Alppaca-SSH challenge="c", signature="c2ln", user="alice""#;
        assert_eq!(authorization("c", b"sig", Some("alice")), named);
    }
}
