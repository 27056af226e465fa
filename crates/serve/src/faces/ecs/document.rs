//! The documents of the container protocols. A document is cut out of the one in the store on request:
//! a copy of some hundred bytes, so roles take no more memory where these faces are used than where they are not.

use crate::{
    credentials::{AccountId, SecretBytes, document_field, format_timestamp},
    store::Published,
};

/// What ECS says: five fields, and s3fs counts them.
/// `ecs-agent/tmds/handlers/v1/credentials_handler.go` in aws/amazon-ecs-agent.
pub(crate) fn ecs(set: &Published, role_arn: &str) -> SecretBytes {
    render(set, Some(("RoleArn", role_arn)), None)
}

/// What the EKS Pod Identity agent says. `pkg/credentials/model.go` in aws/eks-pod-identity-agent.
pub(crate) fn pod_identity(set: &Published, account: Option<AccountId>) -> SecretBytes {
    render(set, None, account.as_ref().map(|account| ("AccountId", account.as_str())))
}

fn render(set: &Published, first: Option<(&str, &str)>, before_last: Option<(&str, &str)>) -> SecretBytes {
    let stored = |key| document_field(set.document().expose(), key).unwrap_or_default();
    let expiration = format_timestamp(set.expiration);
    let fields = [
        first.map(|(key, value)| (key, value.as_bytes())),
        Some(("AccessKeyId", set.access_key_id.as_bytes())),
        Some(("SecretAccessKey", stored("SecretAccessKey"))),
        Some(("Token", stored("Token"))),
        before_last.map(|(key, value)| (key, value.as_bytes())),
        Some(("Expiration", expiration.as_bytes())),
    ];
    let fields = || fields.iter().flatten();
    // Exactly sized: a buffer that grows would leave unwiped copies of the secrets behind.
    let length = 1 + fields().map(|(key, value)| key.len() + value.len() + 6).sum::<usize>();
    let mut text = Vec::with_capacity(length);
    for (index, (key, value)) in fields().enumerate() {
        text.push(if index == 0 { b'{' } else { b',' });
        for part in [b"\"", key.as_bytes(), b"\":\"", value, b"\""] {
            text.extend_from_slice(part);
        }
    }
    text.push(b'}');
    debug_assert_eq!(text.len(), length);
    SecretBytes::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::{BootTime, Moment},
        credentials::{Credentials, Secret},
    };

    #[test]
    fn each_protocol_has_its_fields_in_its_order() {
        let credentials = Credentials {
            access_key_id: "ASIA".into(),
            secret_access_key: Secret::new("s/+="),
            session_token: Secret::new("t"),
            expiration: "2026-11-23T11:00:00.9Z".parse().expect("a timestamp"),
            life: None,
            last_updated: None,
            account_id: None,
            role_arn: None,
        };
        let wall = "2026-11-23T10:00:00Z".parse().expect("a timestamp");
        let set = Published::new(&credentials, Moment { wall, boot: BootTime::ZERO });
        let text = |bytes: SecretBytes| String::from_utf8(bytes.expose().to_vec()).expect("ASCII");
        assert_eq!(
            text(ecs(&set, "arn:x")),
            r#"{"RoleArn":"arn:x","AccessKeyId":"ASIA","SecretAccessKey":"s/+=","Token":"t","Expiration":"2026-11-23T11:00:00Z"}"#
        );
        assert_eq!(
            text(pod_identity(&set, "123456789012".parse().ok())),
            r#"{"AccessKeyId":"ASIA","SecretAccessKey":"s/+=","Token":"t","AccountId":"123456789012","Expiration":"2026-11-23T11:00:00Z"}"#
        );
    }
}
