//! The proof that the client that renews a login has the key to which it is bound (`DPoP`).
//! <https://datatracker.ietf.org/doc/html/rfc9449#section-4.2>

use aws_lc_rs::{
    rand::{self, SystemRandom},
    signature::{EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::{Value, json};

/// A token for one POST to `url`.
pub(super) fn make(key: &EcdsaKeyPair, url: &str, now: Timestamp) -> Result<String, String> {
    // 4, then both coordinates.
    let [4, point @ ..] = key.public_key().as_ref() else {
        return Err("the key of the login has no public half".to_owned());
    };
    let (x, y) = point.split_at(point.len() / 2);
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)});
    let head = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk});
    let body = json!({"htm": "POST", "htu": url, "iat": now.as_second(), "jti": unique()?});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&head), part(&body));
    let signature =
        key.sign(&SystemRandom::new(), signed.as_bytes()).map_err(|_| "the key of the login cannot sign")?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// A random UUID.
fn unique() -> Result<String, String> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| "there is no randomness")?;
    let random = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62) | (4 << 76) | (2 << 62);
    let hex = format!("{random:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| &hex[range]);
    Ok(parts.join("-"))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// The key of the service's documentation, as SEC 1 has it.
    const KEY: &str = "MHcCAQEEIFDZHUzOG1Pzq+6F0mjMlOSp1syN9LRPBuHMoCFXTcXhoAoGCCqGSM49AwEHoUQDQgAE9qhj+KtcdHj1kVgwxWWWw++tqoh7H7UHs7oXh8jBbgF47rrYGC+tdjiIaHK3dBvvdE7MGj5HsepzLm3Kj91bqA==";

    #[test]
    fn it_names_the_call_and_is_signed_with_the_key() {
        let now = Timestamp::from_second(1_651_516_560).expect("in range");
        let der = STANDARD.decode(KEY).expect("base64");
        let key = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).expect("a key");
        let proof = make(&key, "https://us-west-2.signin.aws.amazon.com/v1/token", now).expect("a proof");
        let (signed, signature) = proof.rsplit_once('.').expect("three parts");
        let part = |index| -> Value {
            let text = signed.split('.').nth(index).expect("two parts");
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).expect("base64")).expect("JSON")
        };
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": "9qhj-KtcdHj1kVgwxWWWw--tqoh7H7UHs7oXh8jBbgE",
            "y": "eO662BgvrXY4iGhyt3Qb73ROzBo-R7Hqcy5tyo_dW6g"});
        assert_eq!(part(0), json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk}));
        let body = part(1);
        assert_eq!(body["htu"], "https://us-west-2.signin.aws.amazon.com/v1/token");
        assert_eq!((&body["htm"], &body["iat"]), (&json!("POST"), &json!(1_651_516_560)));
        let public = aws_lc_rs::signature::UnparsedPublicKey::new(
            &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED,
            key.public_key().as_ref(),
        );
        public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).expect("base64")).expect("signed");
        let id = body["jti"].as_str().expect("a text");
        assert!(id.len() == 36 && id.as_bytes()[14] == b'4' && "89ab".contains(&id[19..20]), "{id}");
        assert_ne!(unique(), unique());
    }
}
