//! A site: the routes for people of `alppaca-ims` or AFP, where a person who has signed in may have many roles.

mod accounts;
mod names;
pub(super) mod options;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use http::{Method, StatusCode, header};
use percent_encoding::utf8_percent_encode;

use accounts::Accounts;
use names::{Place, names};

use super::{
    ErrorKind, RoleList, Source, SourceError, SourceFuture,
    ims::{Accepted, ESCAPED, NO_SUCH_ROLE, accept, bad_document, empty, message_of},
};
use crate::{
    credentials::{Credentials, RoleName, Secret, parse_document},
    fetch::{self, Answer, Call, Client, SetupError, parse_url},
    sign_in::{NoToken, Session},
    text::snippet,
};

/// Hundreds of accounts with their roles must not be cut off by a small limit for documents.
const LEAST_LIST_LIMIT: usize = 1024 * 1024;

/// How the person proves who that is.
enum Identity {
    /// By nothing but the connection: its certificate, or where it comes from.
    Connection,
    /// By the token of a sign-in.
    Session(Arc<Session>),
}

struct Settings {
    /// Without a slash at the end.
    url: String,
    identity: Identity,
    max_response_bytes: usize,
    concurrency: usize,
}

/// A site.
struct Site {
    settings: Settings,
    client: Client,
    /// The roles of the last list.
    places: Mutex<Arc<HashMap<RoleName, Place>>>,
}

impl Site {
    fn new(settings: Settings, options: &fetch::Options) -> Result<Self, SetupError> {
        let client = Client::new(&parse_url("site", &settings.url)?, options)?;
        Ok(Self { settings, client, places: Mutex::default() })
    }

    /// What the site answers to that person.
    async fn get(&self, url: &str, limit: usize) -> Result<Answer, SourceError> {
        let call = Call::new(Method::GET, url);
        let Identity::Session(session) = &self.settings.identity else {
            return self.judge(url, self.client.send(call, limit).await?);
        };
        let token = session.token().await.map_err(|why| sign_in_needed(&why))?;
        let bearer = Secret::new(format!("Bearer {}", token.expose()));
        let answer = self.client.send(call.secret_header(header::AUTHORIZATION, &bearer)?, limit).await?;
        // What was asked for somebody who has gone meanwhile is for nobody.
        if !session.is_signed_in() {
            return Err(SourceError::transient("the person has signed out"));
        }
        if answer.status == StatusCode::UNAUTHORIZED {
            let reason = message_of(&answer.body).unwrap_or_default();
            session.refused(&token, &format!("401{reason}"));
        }
        self.judge(url, answer)
    }

    /// Not to know who asks is no decision about roles.
    #[expect(clippy::unused_self, reason = "what it means depends on the site")]
    fn judge(&self, url: &str, answer: Answer) -> Result<Answer, SourceError> {
        if answer.status == StatusCode::UNAUTHORIZED {
            let reason = message_of(&answer.body).unwrap_or_else(|| answer.detail());
            return Err(SourceError::transient(format!("GET {url}: the site does not know who this is: 401{reason}")));
        }
        Ok(answer)
    }

    async fn list(&self) -> Result<RoleList, SourceError> {
        let url = format!("{}/account?withid=true", self.settings.url);
        let answer = self.get(&url, self.settings.max_response_bytes.max(LEAST_LIST_LIMIT)).await?;
        let Accepted { body, decided, max_age, date } = accept(answer, &url)?;
        let accounts: Accounts = serde_json::from_slice(&body).map_err(|error| {
            SourceError::transient(format!("GET {url}: no list of accounts: {error}{}", snippet(&body)))
        })?;
        if accounts.0.is_empty() && !decided {
            return Err(empty(&url));
        }
        let named = names(accounts.0);
        let names = named.iter().map(|(name, _)| name.clone()).collect();
        *self.places.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(named.into_iter().collect());
        Ok(RoleList { names, problems: Vec::new(), max_age, date })
    }

    fn place(&self, role: &RoleName) -> Option<Place> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).get(role).cloned()
    }

    async fn document(&self, role: &RoleName) -> Result<Credentials, SourceError> {
        let place = match self.place(role) {
            Some(place) => place,
            None => {
                // A role of the configuration, asked for before the list.
                self.list().await?;
                self.place(role).ok_or_else(|| {
                    let message = format!("the site lists no role {role} for this person");
                    let kind =
                        ErrorKind::Refused { code: NO_SUCH_ROLE.to_owned(), message: message.clone(), withdraws: true };
                    SourceError::new(kind, message)
                })?
            }
        };
        let part = |text| utf8_percent_encode(text, ESCAPED);
        let url = format!("{}/account/{}/{}/credentials", self.settings.url, part(&place.account), part(&place.role));
        let answer = self.get(&url, self.settings.max_response_bytes).await?;
        let accepted = accept(answer, &url)?;
        let credentials = parse_document(&accepted.body).map_err(|error| bad_document(&url, error))?;
        Ok(Credentials { account_id: credentials.account_id.or(place.id), ..credentials })
    }
}

impl Source for Site {
    fn roles(&self) -> SourceFuture<'_, RoleList> {
        Box::pin(self.list())
    }

    fn concurrency(&self) -> usize {
        self.settings.concurrency
    }

    fn fetch<'a>(&'a self, role: &'a RoleName) -> SourceFuture<'a, Credentials> {
        Box::pin(self.document(role))
    }
}

/// What is valid is served on, unless the person has left.
fn sign_in_needed(why: &NoToken) -> SourceError {
    match why {
        NoToken::Needed(reason) => SourceError::transient(format!("sign-in needed ({reason}): run `alppaca login`")),
        NoToken::Later(problem) => {
            SourceError::transient(format!("the sign-in cannot be renewed at the moment: {problem}"))
        }
        NoToken::SignedOut => {
            let message = "signed out: run `alppaca login`".to_owned();
            let kind = ErrorKind::Refused { code: NO_SUCH_ROLE.to_owned(), message: message.clone(), withdraws: true };
            SourceError::new(kind, message)
        }
    }
}
