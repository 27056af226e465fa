//! A provider of any kind: where people sign in, and what a session asks of it.

use super::{
    Failure, LOOPBACK,
    answer::DeviceCode,
    console::{Console, ConsoleSettings},
    held::Tokens,
    identity_center::{IdentityCenter, IdentityCenterSettings},
    openid::{OpenId, OpenIdSettings},
    person::Person,
    pkce::{Callback, Request},
};
use crate::clock::SharedClock;

/// Where people sign in, and what is asked there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settings {
    /// At an `OpenID` provider.
    OpenId(OpenIdSettings),
    /// At IAM Identity Center.
    IdentityCenter(IdentityCenterSettings),
    /// At the AWS console.
    Console(ConsoleSettings),
}

impl Settings {
    /// The word for it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::OpenId(_) => "oidc",
            Self::IdentityCenter(_) => "sso",
            Self::Console(_) => "aws_login",
        }
    }

    /// Its name, a URL.
    pub(super) fn issuer(&self) -> &str {
        match self {
            Self::OpenId(settings) => &settings.oidc.issuer,
            Self::IdentityCenter(settings) => &settings.start_url,
            Self::Console(settings) => &settings.base,
        }
    }

    /// Where the browser returns to, as registered: without a port any will do.
    pub(super) fn redirect_url(&self) -> &str {
        match self {
            Self::OpenId(settings) => &settings.oidc.redirect_url,
            Self::IdentityCenter(_) | Self::Console(_) => LOOPBACK,
        }
    }

    /// Whether a sign-in outlives the daemon.
    pub(super) fn keeps_sign_in(&self) -> bool {
        match self {
            Self::OpenId(settings) => settings.oidc.keep_sign_in,
            Self::IdentityCenter(settings) => settings.keep_sign_in,
            Self::Console(settings) => settings.keep_sign_in,
        }
    }

    /// What else tells sign-ins there apart: what is kept of one is not for another.
    pub(super) fn client(&self) -> (&str, &[String]) {
        match self {
            Self::OpenId(settings) => (&settings.oidc.client_id, &settings.oidc.scopes),
            Self::IdentityCenter(settings) => (&settings.oidc, &settings.scopes),
            Self::Console(settings) => (&settings.source, &[]),
        }
    }
}

/// A provider that can be asked.
pub(super) enum Provider {
    OpenId(OpenId),
    IdentityCenter(IdentityCenter),
    Console(Console),
}

/// What a sign-in or a renewal brings: tokens, and whose they are.
pub(super) type Granted = (Tokens, Person);

/// What a person does at another device.
pub(super) enum Elsewhere {
    /// Enters this code.
    Code(DeviceCode),
    /// Opens this URL, and brings back what the last page shows.
    Paste(Request, String),
}

impl Provider {
    /// Asks it where its endpoints are, if it has to say that.
    pub(super) async fn open(settings: &Settings, clock: &SharedClock) -> Result<Self, Failure> {
        match settings {
            Settings::OpenId(settings) => OpenId::discover(settings, clock).await.map(Self::OpenId),
            Settings::IdentityCenter(settings) => IdentityCenter::new(settings, clock).map(Self::IdentityCenter),
            Settings::Console(settings) => Ok(Self::Console(Console::new(settings, clock))),
        }
    }

    /// Begins a sign-in by the browser, which comes back to this port; answers where it goes.
    pub(super) async fn begin(&mut self, port: u16) -> Result<(Request, String), Failure> {
        match self {
            Self::OpenId(provider) => provider.begin(port),
            Self::IdentityCenter(provider) => provider.begin(port).await,
            Self::Console(provider) => provider.begin(port),
        }
    }

    /// Exchanges what the browser brought back.
    pub(super) async fn redeem(&self, request: &Request, callback: &Callback) -> Result<Granted, Failure> {
        match self {
            Self::OpenId(provider) => provider.redeem(request, callback).await,
            Self::IdentityCenter(provider) => provider.redeem(request, callback).await,
            Self::Console(provider) => provider.redeem(request, callback).await,
        }
    }

    /// Begins a sign-in with a browser of another device.
    pub(super) async fn device(&mut self) -> Result<Elsewhere, Failure> {
        match self {
            Self::OpenId(provider) => provider.device().await.map(Elsewhere::Code),
            Self::IdentityCenter(provider) => provider.device().await.map(Elsewhere::Code),
            Self::Console(provider) => provider.begin_elsewhere().map(|(request, url)| Elsewhere::Paste(request, url)),
        }
    }

    /// Asks whether the person has entered it.
    pub(super) async fn poll(&self, code: &DeviceCode) -> Result<Granted, Failure> {
        match self {
            Self::OpenId(provider) => provider.poll(code).await,
            Self::IdentityCenter(provider) => provider.poll(code).await,
            Self::Console(_) => Err(Failure::Wrong("the AWS console gives no codes to enter".to_owned())),
        }
    }

    /// New tokens for these, which have a refresh token, of that person.
    pub(super) async fn renew(&self, tokens: &Tokens, person: &Person) -> Result<Granted, Failure> {
        match self {
            Self::OpenId(provider) => provider.renew(tokens).await,
            Self::IdentityCenter(provider) => provider.renew(tokens).await,
            Self::Console(provider) => provider.renew(tokens, person).await,
        }
    }

    /// Ends these tokens, if it can.
    pub(super) async fn revoke(&self, tokens: &Tokens) -> Result<bool, Failure> {
        match self {
            Self::OpenId(provider) => provider.revoke(tokens).await,
            Self::IdentityCenter(provider) => provider.revoke(tokens).await,
            Self::Console(_) => Ok(false),
        }
    }
}
