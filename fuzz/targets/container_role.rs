//! Whatever a container asks for: a role that is granted is an ARN that fits a pattern, and its parts are legal.
#![no_main]

use alppaca::credentials::Pattern;
use alppaca::policy::containers::{Allow, Rules, WrittenRole, clean_session_name, parse_mapping};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let rules = Rules {
        role: vec![],
        external_id: vec![],
        session_key: None,
        default_role: None,
        default_account: Some("111111111111".into()),
        accounts: vec![("prod".into(), "222222222222".parse().expect("digits"))],
        partition: "aws".into(),
        session_name: None,
        allow: Allow(vec![Pattern::of_arns("arn:aws*:iam::????????????:role/*")]),
    };
    for ask in parse_mapping(text, &rules).into_iter().flatten() {
        check(&rules, ask.1.role_arn.as_str());
    }
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Ok(ask) = rules.written(text, None, None, None) {
        assert!(WrittenRole::parse(text).is_ok());
        assert!(ask.role_arn.as_str().ends_with(ask.name.as_str()));
        check(&rules, ask.role_arn.as_str());
    }
    if let Some(name) = clean_session_name(text) {
        assert!((2..=64).contains(&name.len()) && !name.contains(['{', '}', ' ', '/']), "{name}");
    }
});

fn check(rules: &Rules, arn: &str) {
    assert!(rules.allow.permits(arn), "{arn}");
    assert!(!arn.contains(['*', '?', ' ', '"', '%', '\\']) && !arn.contains("..//"), "{arn}");
    // What was accepted is accepted again, and is the same.
    assert_eq!(rules.written(arn, None, None, None).map(|ask| ask.role_arn.to_string()).as_deref(), Ok(arn));
}
