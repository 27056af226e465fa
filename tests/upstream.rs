//! What a bad upstream does to programs: nothing, as long as there are good credentials.

mod support;

use alppaca::mock_ims::{Answer, Behaviour};
use support::{Daemon, Ims, get};

#[test]
fn bad_documents_never_replace_good_credentials_and_leave_other_roles_alone() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&format!("{}refresh_interval: 1\n", ims.config()));
    for answer in [Answer::Empty, Answer::Expired, Answer::Refusal, Answer::Status(503)] {
        let told = |daemon: &Daemon| daemon.log().matches("[WARNING] role test_role: cannot fetch").count();
        let before = told(&daemon);
        ims.handle.update(|behaviour| behaviour.document = answer.clone());
        while told(&daemon) == before {
            let document = get(daemon.address(), "/latest/meta-data/iam/security-credentials/test_role");
            assert_eq!((document.status, document.json()["Code"].as_str()), (200, Some("Success")), "{answer:?}");
        }
        let recovered = daemon.log().matches("could be fetched again").count();
        ims.handle.update(|behaviour| behaviour.document = Answer::Good);
        while daemon.log().matches("could be fetched again").count() == recovered {
            assert_eq!(get(daemon.address(), "/latest/meta-data/iam/security-credentials/test_role").status, 200);
        }
    }
}
