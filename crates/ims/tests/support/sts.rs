//! The mock STS, on a thread of its own.

use alppaca_core::clock::SystemClock;
use alppaca_mock_sts::{Call, Handle, Role, Script, User, serve};
use tokio::{net::TcpListener, runtime::Runtime};

use super::{ACCOUNT, SECRET};

/// A mock STS that runs.
pub struct Sts {
    handle: Handle,
    _runtime: Runtime,
}

impl Sts {
    /// With the server's user, and the roles `web`, `db`, `readonly` and `admin` that it may assume.
    pub fn start() -> Self {
        let user = format!("arn:aws:iam::{ACCOUNT}:user/ims");
        let roles = ["web", "db", "readonly", "admin"];
        let roles = roles.map(|name| Role::new(format!("arn:aws:iam::{ACCOUNT}:role/{name}"), user.clone()));
        let user = User {
            arn: user.clone(),
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: SECRET.to_owned(),
        };
        let script = Script { users: vec![user], roles: roles.into(), ..Script::default() };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let handle = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            serve(listener, script, SystemClock::shared()).expect("it serves")
        });
        Self { handle, _runtime: runtime }
    }

    pub fn url(&self) -> String {
        self.handle.url()
    }

    pub fn change(&self, change: impl FnOnce(&mut Script)) {
        self.handle.change(change);
    }

    /// The calls of `AssumeRole`.
    pub fn assumed(&self) -> Vec<Call> {
        self.handle.calls().into_iter().filter(|call| call.get("Action") == "AssumeRole").collect()
    }
}
