//! `aws login`: the credentials of a person who has signed in at the AWS console. The sign-in itself has them.

pub(super) mod options;

use std::sync::Arc;

use super::{Fetch, SourceError, SourceFuture};
use crate::{
    credentials::Credentials,
    sign_in::{
        Session,
        console::{Token, WANTED_LIFE},
    },
};

/// The set of one person.
struct Login(Arc<Session>);

impl Login {
    async fn set(&self) -> Result<Credentials, SourceError> {
        let token = self.0.token_with(WANTED_LIFE).await?;
        let set = Token::parse(token.expose().as_bytes()).and_then(|token| token.set());
        set.map_err(|problem| SourceError::transient(format!("the sign-in at the AWS console: {problem}")))
    }
}

impl Fetch for Login {
    fn fetch<'a>(&'a self, _: Option<&'a Credentials>) -> SourceFuture<'a, Credentials> {
        Box::pin(self.set())
    }
}
