//! The options of the faces: what is read, what is printed, what is wrong.

#[path = "support/schema.rs"]
mod schema;

use std::any::Any;

use alppaca::config::Config;

/// The options of the first face that has a section.
fn options<T: 'static>(config: &Config) -> &T {
    let options: &dyn Any = &*config.faces.first().expect("a section").options;
    options.downcast_ref().expect("options of that face")
}

mod container {

    use alppaca::{config::Loaded, faces::ecs::Options};

    use super::{options, schema::parse};

    fn parsed(text: &str) -> Result<Loaded, String> {
        parse(&format!("ims_host: x\n{text}"))
    }

    #[test]
    fn what_opens_a_role_is_read_and_printed() {
        let text = "container:\n  listen: ['127.0.0.1:1', '169.254.170.2:80']\n  roles:\n    web: {authorization_token_file: /t}\n    \
                batch: {credentials_id_file: /i, open: yes}\n";
        let loaded = parsed(text).expect("legal");
        let container: &Options = options(&loaded.config);
        assert_eq!((loaded.config.faces[0].listen.len(), container.roles.len()), (2, 2));
        assert!(
            container.roles[1].opener.open && loaded.warnings.iter().any(|w| w.to_string().contains("without a token"))
        );
        let again = parse(&loaded.config.render()).expect("what we wrote").config;
        assert_eq!(again, loaded.config);
        let reachable = parsed("container: {listen: '0.0.0.0:1', roles: {web: {open: true}}}").expect("legal").warnings;
        assert!(reachable.iter().any(|warning| warning.to_string().contains("0.0.0.0:1 over the network")));
        assert_eq!(parsed("").expect("legal").config.faces, []);
        let plain = parsed("container: {listen: '127.0.0.1:0'}").expect("legal").config;
        assert!(options::<Options>(&plain).roles.is_empty());
    }

    #[test]
    fn mistakes_are_told() {
        for (text, part) in [
            ("container: {roles: {web: {}}}", "2:21: nothing opens this role"),
            ("container: {roles: {a/b: {open: true}}}", "illegal character '/'"),
            ("container: {listen: []}", "an empty list: no client could connect"),
            ("container: {roles: [a]}", "a mapping of names is expected here"),
            ("container: {rolls: {}}", "did you mean `roles`?"),
        ] {
            let said = parsed(text).expect_err(text);
            assert!(said.contains(part), "{text:?} should say {part:?}, not {said}");
        }
    }
}

mod pod_identity {

    use alppaca::{config::Loaded, faces::pod_identity::Options};

    use super::{options, schema::parse};

    fn parsed(text: &str) -> Result<Loaded, String> {
        parse(&format!("ims_host: x\npod_identity:\n{text}"))
    }

    #[test]
    fn what_is_read_is_printed() {
        for keys in ["jwks_file: /k", "jwks_url: 'https://k/jwks'\n  jwks_ca_file: /ca\n  jwks_token_file: /t"] {
            let text = format!(
                "  issuer: https://i\n  {keys}\n  associations:\n    - {{namespace: prod, service_account: 'web-*', role: web}}\n    \
             - {{role: rest}}\n"
            );
            let config = parsed(&text).expect("legal").config;
            let section = options::<Options>(&config);
            assert_eq!(section.associations[1].namespace.as_str(), "*");
            assert_eq!(section.audience, "pods.eks.amazonaws.com");
            let again = parse(&config.render()).expect("what we wrote").config;
            assert_eq!(again, config);
        }
    }

    #[test]
    fn annotations_take_the_place_of_associations() {
        let text = "  issuer: https://i\n  service_accounts:\n    api_server: https://10.96.0.1:443/\n    api_ca_file: /ca\n    \
                    allow:\n      - {namespace: prod, roles: [web, 'batch-*']}\n      - {namespace: 'team-*', roles: x}\n";
        let config = parsed(text).expect("legal").config;
        let section = options::<Options>(&config);
        let annotations = section.service_accounts.as_ref().expect("given");
        assert_eq!((section.associations.len(), &*annotations.api.server), (0, "https://10.96.0.1:443"));
        assert!(annotations.api.token_file.ends_with("kubernetes.io/serviceaccount/token"));
        assert_eq!(annotations.allow[0].roles[1].as_str(), "batch-*");
        assert_eq!(parse(&config.render()).expect("what we wrote").config, config);
    }

    #[test]
    fn mistakes_are_told() {
        let rest = "  associations: [{role: r}]\n";
        for (text, part) in [
            (format!("  issuer: i\n{rest}"), "2:1: `jwks_file` or `jwks_url` is missing"),
            (format!("  jwks_file: k\n{rest}"), "2:1: `issuer` is missing"),
            ("  issuer: i\n  jwks_file: k\n".to_owned(), "2:1: `associations` or `service_accounts` is missing"),
            (
                "  issuer: i\n  jwks_file: k\n  service_accounts: {}".to_owned(),
                "5:3: `allow` is missing in this section: without it no annotation has any effect",
            ),
            (
                "  issuer: i\n  jwks_file: k\n  service_accounts: {allow: [{roles: a}]}".to_owned(),
                "5:30: `namespace` is missing here",
            ),
            (
                "  issuer: i\n  jwks_file: k\n  service_accounts: {allow: [{namespace: a}]}".to_owned(),
                "5:30: `roles` is missing here",
            ),
            (
                "  issuer: i\n  jwks_file: k\n  service_accounts: {api_server: 'http://x', allow: [{namespace: a, roles: b}]}"
                    .to_owned(),
                "5:34: https is needed here",
            ),
            (
                "  issuer: i\n  jwks_file: k\n  associations: [{namespace: a}]".to_owned(),
                "5:18: `role` is missing here",
            ),
            (format!("  issuer: i\n  jwks_file: k\n  jwks_url: http://x\n{rest}"), "replaces `jwks_url`"),
            (format!("  issuer: i\n  jwks_url: x\n{rest}"), "4:13: a URL with http or https"),
        ] {
            let said = parsed(&text).expect_err(&text);
            assert!(said.contains(part), "{text:?} should say {part:?}, not {said}");
        }
    }
}

mod metadata {

    use alppaca::{config::Config, faces::imds::Entry};

    use super::schema::parse;

    #[test]
    fn the_region_is_also_that_of_the_zone() {
        for (text, region) in [
            ("  region: eu-west-1\n", Some("eu-west-1")),
            ("  meta-data: {placement: {availability-zone: us-west-2-lax-1a}}\n", Some("us-west-2")),
            ("  meta-data: {placement: {region: cn-north-1, availability-zone: rack-7}}\n", Some("cn-north-1")),
            ("  region: eu-west-1\n  meta-data: {placement: {availability-zone: eu-west-1c}}\n", Some("eu-west-1")),
            ("  meta-data: {placement: {availability-zone: rack-7}}\n", None),
            ("  meta-data: {placement: null}\n", None),
        ] {
            assert_eq!(parsed(text).expect(text).imds.metadata.stated_region(), region, "{text}");
        }
    }

    fn parsed(text: &str) -> Result<Config, String> {
        parse(&format!("ims_host: x\nmetadata:\n{text}")).map(|loaded| loaded.config)
    }

    #[test]
    fn a_tree_is_read_as_it_is_written() {
        let config = parsed(
            "  region: eu-west-1\n  meta-data:\n    hostname: null\n    tags: {instance: {Name: yes, n: 010}}\n    \
         security-groups: [a, b]\n    empty: ''\n  user-data: |\n    #!/bin/sh\n    true\n  passthrough: http://h/\n",
        )
        .expect("legal");
        let file = |text: &str| Entry::File(text.to_owned());
        let [(meta_data, Entry::Directory(tree)), (user_data, script)] = &*config.imds.metadata.overlay.0 else {
            panic!()
        };
        assert_eq!((&**meta_data, &**user_data, script), ("meta-data", "user-data", &file("#!/bin/sh\ntrue\n")));
        let instance = Entry::Directory(vec![("Name".into(), file("yes")), ("n".into(), file("010"))]);
        assert_eq!(
            tree,
            &[
                ("hostname".to_owned(), Entry::Removed),
                ("tags".to_owned(), Entry::Directory(vec![("instance".into(), instance)])),
                ("security-groups".to_owned(), file("a\nb")),
                ("empty".to_owned(), file("")),
            ]
        );
        assert_eq!(config.imds.metadata.passthrough.as_deref(), Some("http://h"));
        let again = parse(&config.render()).expect("what we wrote").config;
        assert_eq!(again, config);
    }

    #[test]
    fn binary_data_are_decoded_and_other_tags_refused() {
        let gzip = vec![0x1f, 0x8b, 8, 0, 0xff];
        for text in ["!!binary H4sIAP8=", "!!binary |\n    H4sI\n    AP8=\n", "!<tag:yaml.org,2002:binary> 'H4sIAP8='"]
        {
            let config = parsed(&format!("  user-data: {text}\n")).expect(text);
            assert_eq!(
                config.imds.metadata.overlay.0,
                [("user-data".to_owned(), Entry::Binary(gzip.clone()))],
                "{text}"
            );
            assert_eq!(parse(&config.render()).expect("what we wrote").config, config);
        }
        assert!(parsed("  user-data: !!str 12\n  region: !!str eu-west-1\n").is_ok());
        for (text, part) in [
            ("  user-data: !!binary H4sI*", "3:23: `!!binary` is followed by base64"),
            ("  user-data: !gzip H4sI", "the tag !gzip is not allowed here"),
            ("  user-data: !binary H4sI", "the tag !binary is not allowed here"),
            ("  region: !!binary H4sI", "binary data"),
            ("  meta-data: !!set {a: b}", "set is not allowed here"),
            ("  meta-data: {a: !!python/tuple [b]}", "is not allowed here"),
        ] {
            let said = parsed(text).expect_err(text);
            assert!(said.contains(part), "{text:?} should say {part:?}, not {said}");
        }
    }

    #[test]
    fn what_cannot_be_in_a_tree_is_told_with_its_place() {
        for (text, part) in [
            ("  meta-data: {iam: {security-credentials: {x: y}}}", "3:14: `iam` is built from the roles"),
            ("  meta-data: {a/b: c}", "3:15: \"a/b\" cannot be one segment of a path"),
            ("  meta-data: {'..': c}", "cannot be one segment of a path"),
            ("  meta-data: x", "3:14: a mapping is expected here"),
            ("  meta-data:\n", "cannot be removed"),
            ("  user-data: {a: b}", "user data is a text"),
            ("  meta-data: {a: {b: {c: {d: {e: {f: {g: h}}}}}}}", "deeper than 7 levels"),
            ("  passthrough: ftp://x", "a URL such as http://169.254.169.254"),
            ("  account_id: 12", "an account has twelve digits"),
            ("  regoin: x", "did you mean `region`?"),
            ("  region: x", "3:11: a region such as eu-central-1"),
            ("  defaults: all", "one of minimal, ec2"),
            ("  meta-data: {public-keys: {'0': {openssh-key: k}}}", "lists keys as `0=NAME`"),
            ("  meta-data: {public-keys: {'0=n': k}}", "lists keys as `0=NAME`"),
            ("  meta-data: {public-keys: 0=n}", "lists keys as `0=NAME`"),
            (
                "  region: eu-central-1\n  meta-data: {placement: {availability-zone: us-west-2-lax-1a}}",
                "4:3: the region is eu-central-1 here, but the zone us-west-2-lax-1a is in us-west-2",
            ),
            (
                "  region: eu-central-1\n  meta-data: {placement: {region: eu-west-1}}",
                "the region is eu-west-1 here, but `metadata.region` eu-central-1 is in eu-central-1",
            ),
        ] {
            let said = parsed(text).expect_err(text);
            assert!(said.contains(part), "{text:?} should say {part:?}, not {said}");
        }
    }
}
