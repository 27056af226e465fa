//! Signs with SSH keys: those in an ssh-agent, and those in files.
//!
//! [`Signer`] makes an SSHSIG, which is what `alppaca-ims` verifies:
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use alppaca_ssh_agent::{Agent, Choice, Signer, sshsig};
//!
//! let agent = Agent::new("/run/user/1000/ssh-agent", Duration::from_secs(60));
//! let signer = Signer::Agent { agent, key: Some(Choice::parse("SHA256:…")) };
//! let signature = signer.sign("alppaca-user", b"GET / ims.example.com CHALLENGE").await?;
//! println!("{}", sshsig::armoured(&signature));
//! # Ok(())
//! # }
//! ```

mod agent;
pub mod challenge;
mod choice;
mod error;
mod key;
mod private;
mod rsa;
mod signer;
pub mod sshsig;
pub mod wire;

use alppaca_core::text;

pub use agent::{Agent, MAX_MESSAGE, Signature, parse_keys, parse_signature};
pub use choice::{Choice, choose};
pub use error::SshError;
pub use key::{Key, fingerprint, key_fingerprint};
pub use private::PrivateKey;
pub use rsa::RsaHash;
pub use signer::Signer;
