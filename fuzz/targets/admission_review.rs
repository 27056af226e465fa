//! Whatever is sent to the webhook is read without a panic, and its answer is a review that adds and does nothing else.
#![no_main]

use alppaca::admission::{Decision, Injection, Review, decide};
use base64::{Engine, prelude::BASE64_STANDARD};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let Ok(review) = Review::read(body) else { return };
    let injection = Injection {
        credentials_url: "http://169.254.170.23/v1/credentials".into(),
        audience: "pods.eks.amazonaws.com".into(),
        token_expiration: 86_400,
        region: Some("eu-central-1".into()),
        regional_sts: true,
    };
    let decision = decide(&review, &injection);
    for text in [review.shown(), review.shown_account(), decision.to_string()] {
        assert!(!text.contains(char::is_control), "{text:?}");
    }
    let answer: Value = serde_json::from_slice(&review.answer(&decision)).expect("JSON");
    let response = &answer["response"];
    assert_eq!(response["allowed"], true);
    let Decision::Inject(injected) = decision else {
        assert!(response["patch"].is_null());
        return;
    };
    let patch = BASE64_STANDARD.decode(response["patch"].as_str().expect("text")).expect("base64");
    let operations: Vec<Value> = serde_json::from_slice(&patch).expect("JSON");
    assert_eq!(operations, injected.operations);
    for operation in operations {
        assert_eq!(operation["op"], "add");
        let path = operation["path"].as_str().expect("a path");
        assert!(path.starts_with("/spec/") || path.starts_with("/metadata/labels"), "{path}");
    }
});
