//! Keys in a PKCS#11 token: `SoftHSM2`, filled with its own tools. The module finds its tokens by a variable of the
//! environment, so each test runs in a process of its own.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use alppaca::{
    mock_ims::LIST_PATH,
    source::roles_anywhere::{Identity, IdentitySettings, Location},
};

use crate::{
    daemon::configuration,
    fetch, files,
    pki::{Leaf, P256, P384, Pki, RSA},
    role,
    server::Server,
    support::{Daemon, get, needs},
};

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const CONFIGURATION: &str = "SOFTHSM2_CONF";

/// Runs `inside` in a process with a token store of its own.
#[allow(clippy::disallowed_methods, reason = "a process of its own is told by its environment that it is one")]
fn with_store(test: &str, inside: impl FnOnce(&Path)) {
    if let Some(file) = std::env::var_os(CONFIGURATION) {
        return inside(Path::new(&file));
    }
    if !needs(test, "softhsm2-util") || !needs(test, "pkcs11-tool") {
        return;
    }
    let store = tempfile::TempDir::new().expect("a directory");
    let file = store.path().join("softhsm2.conf");
    fs::create_dir(store.path().join("tokens")).expect("a directory");
    let text = format!("directories.tokendir = {}/tokens\nlog.level = ERROR\n", store.path().display());
    fs::write(&file, text).expect("a file");
    let ended = Command::new(std::env::current_exe().expect("ourselves"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CONFIGURATION, &file)
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && text.contains("1 passed"), "{text}");
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {text}", arguments.join(" "));
}

fn make_token(label: &str) {
    run("softhsm2-util", &["--init-token", "--free", "--label", label, "--pin", "1234", "--so-pin", "12345678"]);
}

/// Puts a key into a token.
fn import(pki: &Pki, token: &str, name: &str, id: &str) {
    let key = pki.path(&format!("{name}.key"));
    let key = key.to_str().expect("UTF-8");
    run("softhsm2-util", &["--import", key, "--token", token, "--label", name, "--id", id, "--pin", "1234"]);
}

fn settings(pki: &Pki, certificate: &str, key: &str) -> IdentitySettings {
    let mut settings = files(&pki.path(certificate), Path::new("/"));
    if certificate.starts_with("pkcs11:") {
        settings.certificate = Location::parse(certificate).expect("a URI");
    }
    settings.chain = Some(pki.path("intermediate.pem"));
    settings.key = Location::parse(key).expect("a URI");
    settings.pkcs11_module = Some(MODULE.into());
    settings.pin_file = Some(pki.path("pin"));
    settings
}

#[test]
fn each_kind_of_key_signs_in_a_token() {
    with_store("token::each_kind_of_key_signs_in_a_token", |_| {
        let Some(pki) = Pki::new() else { return };
        let server = Server::start(&pki.path("root.pem"));
        fs::write(pki.path("pin"), "1234\n").expect("a file");
        make_token("hosts");
        make_token("others");
        for (name, kind, id) in [("rsa", RSA, "01"), ("p256", P256, "02"), ("p384", P384, "0a3b")] {
            pki.issue(&Leaf::new(name, kind));
            import(&pki, "hosts", name, id);
            fs::remove_file(pki.path(&format!("{name}.key"))).expect("it is in the token now");
            let identity =
                Identity::new(settings(&pki, &format!("{name}.pem"), &format!("pkcs11:token=hosts;object={name}")));
            for _again in 0..2 {
                fetch(&role(&server, &identity)).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
        }
        // By its id, module and PIN named in the URI.
        let mut by_id = settings(&pki, "p384.pem", "pkcs11:");
        let pin = pki.path("pin");
        let uri =
            format!("pkcs11:token=hosts;id=%0a%3b;type=private?module-path={MODULE}&pin-source=file:{}", pin.display());
        by_id.key = Location::parse(&uri).expect("a URI");
        (by_id.pkcs11_module, by_id.pin_file) = (None, None);
        fetch(&role(&server, &Identity::new(by_id))).expect("credentials");
        // The certificate in the token, too.
        pki.run(&["x509", "-in", "rsa.pem", "-outform", "DER", "-out", "rsa.der"]);
        let der = pki.path("rsa.der");
        let base = ["--module", MODULE, "--token-label", "hosts", "--login", "--pin", "1234"];
        let write = ["--write-object", der.to_str().expect("UTF-8"), "--type", "cert", "--label", "rsa", "--id", "01"];
        run("pkcs11-tool", &[&base[..], &write].concat());
        let both = settings(&pki, "pkcs11:token=hosts;object=rsa", "pkcs11:token=hosts;object=rsa");
        fetch(&role(&server, &Identity::new(both))).expect("credentials");
        assert_eq!(server.last().algorithm, "AWS4-X509-RSA-SHA256");
        assert_eq!(server.seen().len(), 8);
        assert!(server.seen().iter().all(Result::is_ok));
    });
}

#[test]
fn what_a_token_cannot_do_is_told() {
    with_store("token::what_a_token_cannot_do_is_told", |_| {
        let Some(pki) = Pki::new() else { return };
        let server = Server::start(&pki.path("root.pem"));
        fs::write(pki.path("pin"), "1234").expect("a file");
        for token in ["hosts", "others"] {
            make_token(token);
        }
        for (name, id) in [("web", "01"), ("other", "02")] {
            pki.issue(&Leaf::new(name, P256));
            import(&pki, "hosts", name, id);
        }
        let wrong =
            |settings: IdentitySettings| fetch(&role(&server, &Identity::new(settings))).expect_err("unusable").message;
        let with = |key: &str| settings(&pki, "web.pem", key);
        assert_eq!(
            wrong(with("pkcs11:token=nowhere")),
            "pkcs11:token=nowhere: pkcs11:token=nowhere matches no token; the module has: \"hosts\", \"others\""
        );
        assert!(wrong(with("pkcs11:object=web")).contains("matches more than one token (\"hosts\", \"others\")"));
        assert!(
            wrong(with("pkcs11:token=hosts"))
                .contains("2 private keys match pkcs11:token=hosts in the token \"hosts\"")
        );
        assert!(wrong(with("pkcs11:token=hosts;object=x")).contains("there is no private key that matches"));
        assert!(wrong(with("pkcs11:token=hosts;object=other")).contains("does not belong to the certificate"));
        let mut no_pin = with("pkcs11:token=hosts;object=web");
        no_pin.pin_file = None;
        assert!(wrong(no_pin).contains("requires a PIN and no PIN file is configured"));
        let mut no_module = with("pkcs11:token=hosts;object=web");
        no_module.pkcs11_module = Some("/nowhere.so".into());
        assert!(wrong(no_module).contains("the PKCS#11 module /nowhere.so cannot be loaded"));
        // A wrong PIN is tried once, until the file changes.
        fs::write(pki.path("pin"), "9999").expect("a file");
        let role = role(&server, &Identity::new(with("pkcs11:token=hosts;object=web")));
        for _again in 0..2 {
            let error = fetch(&role).expect_err("wrong PIN").message;
            assert!(error.contains("rejects the PIN; it is not tried again"), "{error}");
            assert!(!error.contains("9999"));
        }
        assert!(server.seen().is_empty(), "nothing was sent");
        fs::write(pki.path("pin"), "1234").expect("a file");
        fetch(&role).expect("credentials");
    });
}

#[test]
fn the_daemon_signs_with_a_key_in_a_token() {
    with_store("token::the_daemon_signs_with_a_key_in_a_token", |_| {
        let Some(pki) = Pki::new() else { return };
        let server = Server::start(&pki.path("root.pem"));
        fs::write(pki.path("pin"), "1234\n").expect("a file");
        make_token("hosts");
        pki.issue(&Leaf::new("web", RSA));
        import(&pki, "hosts", "web", "01");
        let path = |name: &str| pki.path(name).display().to_string();
        let (certificate, chain, pin) = (path("web.pem"), path("intermediate.pem"), path("pin"));
        let identity = format!(
            "    certificate: {certificate}\n    chain: {chain}\n    key: pkcs11:token=hosts;object=web\n    \
             pkcs11_module: {MODULE}\n    pin_file: {pin}\n"
        );
        // The daemon inherits where the tokens are.
        let daemon = Daemon::with_credentials(&configuration(&server, &identity));
        let answer = get(daemon.address(), &format!("{LIST_PATH}web")).json();
        assert_eq!(answer["AccessKeyId"], "ASIAFIRST");
        assert_eq!(server.last().algorithm, "AWS4-X509-RSA-SHA256");
    });
}
