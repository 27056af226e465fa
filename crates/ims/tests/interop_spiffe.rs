//! Workloads with X.509-SVIDs as a SPIFFE authority makes them, here with openssl: short lives, renewed without a gap.

mod support;

use std::{fs, path::Path, process::Command};

use support::{Files, Scene, Server, Sts, eventually, needs::needs};

const WEB: &str = "/latest/meta-data/iam/security-credentials/web";
const ID: &str = "spiffe://example.org/ns/shop/sa/web";

/// Runs a script.
#[track_caller]
fn run(directory: &Path, script: &str) {
    let output = Command::new("sh").args(["-euc", script]).current_dir(directory).output().expect("a shell");
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// <https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md>: one URI, no name of a subject needed.
fn svid(directory: &Path, id: &str, seconds_left: u32) -> Files {
    let script = format!(
        "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout svid.key -out svid.csr -subj /O=SPIRE
         printf 'basicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature\n\
         extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=URI:{id}\n' > svid.ext
         faketime -f -{}s openssl x509 -req -in svid.csr -CA spire.pem -CAkey spire.key -CAcreateserial -days 1 \
             -extfile svid.ext -out svid.pem",
        24 * 3600 - seconds_left
    );
    run(directory, &script);
    let read = |name: &str| fs::read_to_string(directory.join(name)).expect("made");
    Files { certificate: read("svid.pem"), key: read("svid.key") }
}

#[test]
fn an_svid_counts_to_its_end_and_its_successor_has_the_same_session() {
    if !needs("SPIFFE", "openssl") || !needs("SPIFFE", "faketime") {
        return;
    }
    let (scene, sts) = (Scene::new(), Sts::start());
    let here = scene.path();
    let authority = "faketime -f -2d openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
                     -keyout spire.key -out spire.pem -subj /O=SPIRE -addext keyUsage=critical,keyCertSign,cRLSign \
                     -addext subjectAltName=URI:spiffe://example.org";
    run(here, authority);
    let config = scene.config(
        &sts.url(),
        &format!(
            "identities: {{workloads: {{kind: mtls, ca_files: {}, trust_domain: example.org}}}}\nrules:\n  - {{name: web, \
             match: {{method: workloads, name: '{ID}'}}, account: demo, role: web}}\n",
            here.join("spire.pem").display()
        ),
    );
    let server = Server::start(&scene, &config);
    let first = scene.client(server.address, Some(&svid(here, ID, 5)));
    let mut connection = first.connect().expect("a connection");
    let key = connection.get(WEB, &[]).expect("an answer").field("AccessKeyId");
    let next = scene.client(server.address, Some(&svid(here, ID, 3600)));
    assert_eq!(next.get(WEB, &[]).field("AccessKeyId"), key);
    assert_eq!(sts.assumed().len(), 1);
    // The connection is open, and the first one ends.
    let mut ask = || connection.get(WEB, &[]).ok().filter(|answer| answer.status != 200);
    let answer = eventually("it ends", &mut ask, || server.log());
    assert!(answer.status == 401 && answer.body.contains("the client certificate"), "{answer:?}");
    assert_eq!(next.get(WEB, &[]).status, 200);
    for id in ["spiffe://example.net/ns/shop/sa/web", "spiffe://example.org", "spiffe://example.org/ns/shop/sa/db"] {
        let other = scene.client(server.address, Some(&svid(here, id, 3600)));
        let answer = other.get(WEB, &[]);
        assert!(matches!(answer.status, 401 | 403), "{id}: {answer:?}");
    }
}
