//! IAM Identity Center (AWS SSO): the accounts and roles of a person who has signed in there.
//! <https://docs.aws.amazon.com/singlesignon/latest/PortalAPIReference/Welcome.html>

mod endpoints;
pub(super) mod options;

use std::{collections::HashMap, sync::Arc, time::Duration};

use aws_sdk_sso::{
    Client, Config,
    config::{BehaviorVersion, Region, retry::RetryConfig, timeout::TimeoutConfig},
    types::AccountInfo,
};
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::request_id::RequestId;
use jiff::Timestamp;
use tokio::task::JoinSet;

use super::{
    RoleList, Source, SourceError, SourceFuture,
    aws::{AnsweredAt, Proof, failure, is_throttling, sdk_client},
    ims::NO_SUCH_ROLE,
    places::{Place, Places},
};
use crate::{
    clock::{self, SharedClock},
    credentials::{AccountId, Credentials, RoleName, Secret, is_key_text},
    fetch::Options,
    refresh::{CallLimit, CallQueue, note_request_id},
    sign_in::Session,
    text::printable,
};

/// A list takes a call for each account: it is not made again for every glance.
const LIST_AGE: Duration = Duration::from_mins(30);
/// The most pages of one list, and the most items on a page.
const MAX_PAGES: usize = 1000;
const PAGE: i32 = 100;
/// AWS accepts some 20 calls in a second. A list that meets the limit slows down.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];

/// What is asked for, and how.
struct Settings {
    portal: String,
    region: String,
    /// The names or numbers of the accounts that count; empty: all.
    accounts: Vec<String>,
    /// The names of the roles that count; empty: all.
    roles: Vec<String>,
    concurrency: usize,
    rate: f64,
    http: Options,
}

/// The access portal of an instance. Cheap to clone.
#[derive(Clone)]
struct Portal(Arc<Inner>);

struct Inner {
    settings: Settings,
    client: Client,
    session: Arc<Session>,
    clock: SharedClock,
    places: Places,
    /// The turns of all calls: what `refresh` bounds is only those for credentials.
    turns: tokio::sync::Mutex<CallQueue<()>>,
}

impl Portal {
    fn new(settings: Settings, session: Arc<Session>, clock: SharedClock) -> Self {
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(settings.region.clone()))
            .endpoint_url(&settings.portal)
            .http_client(sdk_client(settings.http.clone()))
            // Both are ours: when to ask again is for `refresh` to decide.
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled());
        let client = Client::from_conf(config.build());
        // How many run at once is known where they begin.
        let bounds = CallLimit { concurrency: usize::MAX, rate: Some(settings.rate) };
        let turns = CallQueue::new(bounds, clock.now().boot).into();
        Self(Arc::new(Inner { settings, client, session, clock, places: Places::default(), turns }))
    }

    /// Returns when one more call may begin.
    async fn turn(&self) {
        let Inner { turns, clock, .. } = &*self.0;
        let mut turns = turns.lock().await;
        turns.push(());
        while turns.next(clock.now().boot).is_none() {
            clock::sleep(turns.pause().unwrap_or_default()).await;
        }
        turns.done();
    }

    /// One call with the person's token.
    async fn call<T, E, F>(&self, what: &str, send: impl Fn(&Client, Secret) -> F) -> Result<T, Failed>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        self.turn().await;
        let Inner { client, session, clock, .. } = &*self.0;
        let token = session.token().await.map_err(SourceError::from)?;
        let error = match send(client, token.clone()).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        note_request_id(error.request_id());
        let service = error.as_service_error();
        match service.and_then(|service| service.code()) {
            Some(code @ "UnauthorizedException") => {
                session.refused(&token, code);
                Err(SourceError::transient(format!("{what}: the access portal does not know who this is: {code}"))
                    .into())
            }
            Some(code @ ("ForbiddenException" | "ResourceNotFoundException")) => {
                let said = printable(service.and_then(|service| service.message()).unwrap_or_default(), 200);
                Err(SourceError::doubtful(NO_SUCH_ROLE, format!("{what}: {code} ({said})")).into())
            }
            code => Err(Failed {
                throttled: code.is_some_and(is_throttling),
                error: failure(what, Proof::Signature, &error, clock.now().wall),
            }),
        }
    }

    /// The same for a list, which is worth some patience.
    async fn patient<T, E, F>(&self, what: &str, send: impl Fn(&Client, Secret) -> F) -> Result<T, SourceError>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        for pause in PAUSES {
            match self.call(what, &send).await {
                Err(Failed { throttled: true, .. }) => clock::sleep(pause).await,
                outcome => return outcome.map_err(|failed| failed.error),
            }
        }
        self.call(what, send).await.map_err(|failed| failed.error)
    }

    async fn accounts(&self) -> Result<Vec<(AccountId, String)>, SourceError> {
        let mut accounts: Vec<AccountInfo> = Vec::new();
        let mut next: Option<String> = None;
        for _page in 0..MAX_PAGES {
            let send = |client: &Client, token: Secret| {
                let call = client.list_accounts().access_token(token.expose()).max_results(PAGE);
                call.set_next_token(next.clone()).send()
            };
            let answer = self.patient("ListAccounts", send).await?;
            accounts.extend(answer.account_list.unwrap_or_default());
            next = answer.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                break;
            }
        }
        let wanted = &self.0.settings.accounts;
        let counts = |(id, name): &(AccountId, String)| {
            wanted.is_empty() || wanted.iter().any(|wanted| *wanted == id.to_string() || wanted == name)
        };
        let read = |account: AccountInfo| Some((account.account_id?.parse().ok()?, account.account_name?));
        Ok(accounts.into_iter().filter_map(read).filter(counts).collect())
    }

    async fn roles_of(&self, account: AccountId) -> Result<Vec<String>, SourceError> {
        let (what, id) = (format!("ListAccountRoles of {account}"), account.to_string());
        let mut roles = Vec::new();
        let mut next: Option<String> = None;
        for _page in 0..MAX_PAGES {
            let send = |client: &Client, token: Secret| {
                let call = client.list_account_roles().access_token(token.expose()).account_id(&id).max_results(PAGE);
                call.set_next_token(next.clone()).send()
            };
            let answer = self.patient(&what, send).await?;
            roles.extend(answer.role_list.unwrap_or_default().into_iter().filter_map(|role| role.role_name));
            next = answer.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                break;
            }
        }
        let wanted = &self.0.settings.roles;
        roles.retain(|role| wanted.is_empty() || wanted.contains(role));
        Ok(roles)
    }

    async fn list(&self) -> Result<RoleList, SourceError> {
        let before = self.0.session.serial();
        let accounts = named(self.accounts().await?);
        let mut found: Vec<Vec<String>> = vec![Vec::new(); accounts.len()];
        let mut running = JoinSet::new();
        let mut waiting = accounts.iter().map(|(id, _)| *id).enumerate();
        loop {
            while running.len() < self.0.settings.concurrency.max(1)
                && let Some((index, id)) = waiting.next()
            {
                let this = self.clone();
                running.spawn(async move { (index, this.roles_of(id).await) });
            }
            let Some(done) = running.join_next().await else { break };
            let (index, roles) = done.map_err(|error| SourceError::transient(error.to_string()))?;
            if let Some(place) = found.get_mut(index) {
                *place = roles?;
            }
        }
        self.same_person(before)?;
        let places = accounts.into_iter().zip(found).flat_map(|((id, account), roles)| {
            roles.into_iter().map(move |role| Place { account: account.clone(), id: Some(id), role })
        });
        Ok(RoleList { max_age: Some(LIST_AGE), ..self.0.places.list(places.collect()) })
    }

    /// What was asked for one person is for no other.
    fn same_person(&self, before: u64) -> Result<(), SourceError> {
        if self.0.session.serial() == before {
            Ok(())
        } else {
            Err(SourceError::transient("a person has signed in or out meanwhile"))
        }
    }

    async fn credentials(&self, role: &RoleName) -> Result<Credentials, SourceError> {
        let before = self.0.session.serial();
        let place = self.0.places.find(role, before, &self.0.clock, self.list()).await?;
        let id = place.id.map(|id| id.to_string()).unwrap_or_default();
        let what = format!("GetRoleCredentials of {} in {id}", place.role);
        let at = AnsweredAt::default();
        let send = |client: &Client, token: Secret| {
            let call = client.get_role_credentials().access_token(token.expose());
            call.account_id(&id).role_name(&place.role).customize().interceptor(at.clone()).send()
        };
        let answer = self.call(&what, send).await.map_err(|failed| failed.error)?;
        note_request_id(answer.request_id());
        self.same_person(before)?;
        let wrong = |problem: &str| SourceError::transient(format!("{what}: {problem}"));
        let set = answer.role_credentials.ok_or_else(|| wrong("the answer has no credentials"))?;
        let expiration =
            Timestamp::from_millisecond(set.expiration).map_err(|_| wrong("the expiration is not a valid time"))?;
        let given = |text: Option<String>| {
            text.filter(|text| is_key_text(text))
                .ok_or_else(|| wrong("the credentials are empty or have illegal characters"))
        };
        Ok(at.dated(Credentials {
            access_key_id: given(set.access_key_id)?,
            secret_access_key: Secret::new(given(set.secret_access_key)?),
            session_token: Secret::new(given(set.session_token)?),
            expiration,
            life: None,
            last_updated: None,
            account_id: place.id,
            role_arn: None,
        }))
    }
}

/// Why a call brought nothing.
struct Failed {
    error: SourceError,
    /// AWS has no time now.
    throttled: bool,
}

impl From<SourceError> for Failed {
    fn from(error: SourceError) -> Self {
        Self { error, throttled: false }
    }
}

/// The accounts by their names, which need not be unique: then by their numbers.
fn named(accounts: Vec<(AccountId, String)>) -> Vec<(AccountId, String)> {
    let mut count: HashMap<String, usize> = HashMap::new();
    for (_, name) in &accounts {
        *count.entry(name.clone()).or_default() += 1;
    }
    let own = |(id, name): (AccountId, String)| match count.get(&name) {
        Some(1) if !name.is_empty() => (id, name),
        _ => (id, id.to_string()),
    };
    accounts.into_iter().map(own).collect()
}

impl Source for Portal {
    fn roles(&self) -> SourceFuture<'_, RoleList> {
        Box::pin(self.list())
    }

    fn concurrency(&self) -> usize {
        self.0.settings.concurrency
    }

    fn fetch<'a>(&'a self, role: &'a RoleName) -> SourceFuture<'a, Credentials> {
        Box::pin(self.credentials(role))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_of_the_same_name_go_by_their_numbers() {
        let account = |id: &str, name: &str| (id.parse().expect("an account"), name.to_owned());
        let named = named(vec![
            account("111111111111", "prod"),
            account("222222222222", "dev"),
            account("333333333333", "prod"),
            account("444444444444", ""),
        ]);
        let names: Vec<&str> = named.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["111111111111", "dev", "333333333333", "444444444444"]);
    }
}
