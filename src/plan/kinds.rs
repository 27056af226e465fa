//! The kinds that are asked for one set at a time: from their configuration to their calls. What the roles of one source
//! share (a login, connections, an IMDS token) is made once.

use std::{collections::HashMap, fmt::Display, path::Path, sync::Arc};

use super::{FetchingError, Purpose, Surroundings, aws_calls::sts};
use crate::{
    config::{
        self, Config, ProxyChoice, Proxying, SourceKind,
        sources::{SecretText, VaultAuth},
    },
    credentials::SessionFacts,
    fetch::{Options, Proxies, Proxy},
    refresh::Fetch,
    source::{aws::Environment, imds, process, profile, static_keys, vault, web_identity},
};

/// Programs are found here if the daemon has no `PATH`.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The sources, by their names.
pub(super) struct Kinds(HashMap<String, Made>);

/// A source that is ready to be asked.
enum Made {
    /// Always the same call.
    One(Arc<dyn Fetch>),
    WebIdentity(Arc<web_identity::WebIdentity>),
    Vault(Arc<vault::Vault>, vault::Endpoint),
    Imds(Arc<imds::Imds>),
}

impl Kinds {
    /// Makes the sources of `config`. Certificates are read; nothing is sent yet.
    pub(super) fn new(config: &Config, surroundings: &Surroundings) -> Result<Self, FetchingError> {
        let mut made = HashMap::new();
        for source in &config.upstreams.sources {
            let wrong = |problem: &dyn Display| FetchingError::new(&source.name, problem);
            let one = match &source.kind {
                SourceKind::Ims(_) | SourceKind::Sts(_) | SourceKind::RolesAnywhere(_) => continue,
                SourceKind::WebIdentity(settings) => {
                    let settings = web_identity_settings(settings, surroundings).map_err(|error| wrong(&error))?;
                    let made = web_identity::WebIdentity::new(settings, surroundings.clock.clone());
                    Made::WebIdentity(Arc::new(made))
                }
                SourceKind::Process(settings) => {
                    let made =
                        process::Process::new(process_settings(settings, surroundings), surroundings.clock.clone());
                    Made::One(Arc::new(made.map_err(|error| wrong(&error))?))
                }
                SourceKind::Profile(settings) => {
                    let settings = profile_settings(settings, surroundings).map_err(|error| wrong(&error))?;
                    Made::One(Arc::new(profile::Profile::new(settings, surroundings.clock.clone())))
                }
                SourceKind::Vault(settings) => {
                    let endpoint = if settings.sts { vault::Endpoint::Sts } else { vault::Endpoint::Creds };
                    let settings = vault_settings(settings, surroundings).map_err(|error| wrong(&error))?;
                    let made = vault::Vault::new(settings, surroundings.clock.clone());
                    Made::Vault(made.map_err(|error| wrong(&error))?, endpoint)
                }
                SourceKind::Static(settings) => {
                    let made = static_keys::StaticKeys::new(static_settings(settings), surroundings.clock.clone());
                    Made::One(Arc::new(made.map_err(|error| wrong(&error))?))
                }
                SourceKind::Imds(settings) => {
                    let own = [&config.listen[..], config.capture_listen.as_slice()].concat();
                    if imds::asks_ourselves(&settings.endpoint, &own) {
                        let endpoint = &settings.endpoint;
                        return Err(wrong(&format!("{endpoint} is where alppaca itself listens; it would ask itself")));
                    }
                    let settings = imds::Settings {
                        endpoint: settings.endpoint.clone(),
                        v1_fallback: settings.v1_fallback,
                        connect_timeout: settings.connect_timeout,
                        timeout: settings.timeout,
                    };
                    Made::Imds(imds::Imds::new(&settings).map_err(|error| wrong(&error))?)
                }
            };
            made.insert(source.name.clone(), one);
        }
        Ok(Self(made))
    }

    /// The call for one role.
    pub(super) fn call(&self, name: &str, purpose: &Purpose, facts: SessionFacts) -> Result<Arc<dyn Fetch>, String> {
        let session = purpose.session;
        let arn = purpose.role_arn.cloned();
        Ok(match self.0.get(name).ok_or("is of another kind")? {
            Made::One(fetch) => Arc::clone(fetch),
            Made::WebIdentity(identity) => Arc::new(identity.role(web_identity::RoleSettings {
                role_arn: arn.ok_or("needs a role_arn")?,
                session_name: session.name.fill(facts),
                duration: session.duration,
                policy: session.policy.clone(),
                policy_arns: session.policy_arns.clone(),
            })),
            Made::Vault(vault, endpoint) => Arc::new(vault.role(vault::RoleSettings {
                role: purpose.upstream_role.unwrap_or(purpose.name.as_str()).to_owned(),
                endpoint: *endpoint,
                ttl: session.duration,
                // Without an ARN Vault makes up a name, as it does for federation tokens.
                session_name: arn.is_some().then(|| session.name.fill(facts)),
                role_arn: arn,
            })),
            Made::Imds(imds) => {
                let role = purpose.upstream_role.map(str::parse).transpose();
                Arc::new(imds.role(role.map_err(|error: crate::credentials::RoleNameError| error.to_string())?))
            }
        })
    }
}

/// Whether clients get keys of this source that have no session token.
pub(super) fn serves_long_term(kind: &SourceKind) -> bool {
    match kind {
        SourceKind::Process(process) => process.serve_long_term,
        SourceKind::Profile(profile) => profile.serve_long_term,
        SourceKind::Vault(vault) => vault.serve_long_term,
        SourceKind::Static(keys) => keys.serve_long_term,
        SourceKind::Ims(_)
        | SourceKind::Sts(_)
        | SourceKind::WebIdentity(_)
        | SourceKind::RolesAnywhere(_)
        | SourceKind::Imds(_) => false,
    }
}

/// The proxies that `proxying` means here.
pub(super) fn proxies(proxying: &Proxying, surroundings: &Surroundings) -> Result<Proxies, String> {
    let proxy = |proxy: &config::Proxy| Proxy { url: proxy.url.clone(), credentials: proxy.credentials.clone() };
    let mut proxies = match &proxying.choice {
        ProxyChoice::None => return Ok(Proxies::none()),
        ProxyChoice::Given(given) => Proxies::always(proxy(given)),
        ProxyChoice::Environment => {
            let found = surroundings.proxies.resolve()?;
            Proxies {
                http: found.http.as_ref().map(proxy),
                https: found.https.as_ref().map(proxy),
                except: found.except,
            }
        }
    };
    proxies.except.extend(proxying.except.iter().cloned());
    Ok(proxies)
}

/// How AWS is called, as the one HTTP client wants it.
pub(super) fn aws_options(aws: &config::Aws, surroundings: &Surroundings) -> Result<Options, String> {
    Ok(Options {
        connect_timeout: aws.connect_timeout,
        timeout: aws.timeout,
        limit_name: None,
        ca_file: aws.ca_file.clone().or_else(|| surroundings.aws.ca_bundle.clone()),
        client_certificate: None,
        proxies: proxies(&aws.proxying, surroundings)?,
    })
}

fn web_identity_settings(
    config: &config::sources::WebIdentity,
    surroundings: &Surroundings,
) -> Result<web_identity::Settings, String> {
    let sts = sts(&config.aws, surroundings)?;
    Ok(web_identity::Settings { token_file: config.token_file.clone(), sts })
}

fn process_settings(config: &config::sources::Process, surroundings: &Surroundings) -> process::Settings {
    process::Settings {
        command: config.command.clone(),
        launcher: surroundings.launcher.clone(),
        timeout: config.timeout,
        environment: environment(surroundings, surroundings.home.as_deref(), &config.environment),
        assumed_lifetime: config.lifetime,
    }
}

/// The environment of a program.
fn environment(surroundings: &Surroundings, home: Option<&Path>, own: &[(String, String)]) -> Vec<(String, String)> {
    let path = surroundings.path.clone().unwrap_or_else(|| USUAL_PATH.to_owned());
    let mut all = vec![("PATH".to_owned(), path)];
    all.extend(home.map(|home| ("HOME".to_owned(), home.to_string_lossy().into_owned())));
    // Later ones replace earlier ones.
    all.extend(own.iter().cloned());
    all
}

fn profile_settings(
    config: &config::sources::Profile,
    surroundings: &Surroundings,
) -> Result<profile::Settings, String> {
    let own_home = surroundings.home.as_deref().unwrap_or(Path::new("~"));
    let home = config.home.as_deref().map(|home| profile::at_home(home, own_home));
    let home = home.or_else(|| surroundings.home.clone());
    let home = home.ok_or("has no `home`, and the daemon has no HOME")?;
    Ok(profile::Settings {
        profile: config.profile.clone(),
        config_file: config.config_file.as_deref().map(|file| profile::at_home(file, &home)),
        credentials_file: config.credentials_file.as_deref().map(|file| profile::at_home(file, &home)),
        launcher: surroundings.launcher.clone(),
        environment: environment(surroundings, Some(&home), &config.environment),
        home,
        region: config.aws.region.clone(),
        endpoints: endpoints(&config.aws, &surroundings.aws),
        http: aws_options(&config.aws, surroundings)?,
        assumed_lifetime: config.lifetime,
    })
}

/// What the source or the daemon's environment says of the endpoints of a profile's calls, as variables of the SDKs.
fn endpoints(aws: &config::Aws, environment: &Environment) -> Vec<(&'static str, String)> {
    let flag = |own: Option<bool>, other: Option<bool>| own.or(other).map(|flag| flag.to_string());
    let all = match &aws.endpoint {
        Some(url) => [Some(("AWS_ENDPOINT_URL", url.clone())), None, None],
        None => [
            environment.endpoint_url_sts.clone().map(|url| ("AWS_ENDPOINT_URL_STS", url)),
            flag(aws.fips, environment.use_fips_endpoint).map(|flag| ("AWS_USE_FIPS_ENDPOINT", flag)),
            flag(aws.dual_stack, environment.use_dualstack_endpoint).map(|flag| ("AWS_USE_DUALSTACK_ENDPOINT", flag)),
        ],
    };
    all.into_iter().flatten().collect()
}

fn vault_settings(config: &config::sources::Vault, surroundings: &Surroundings) -> Result<vault::Settings, String> {
    Ok(vault::Settings {
        address: config.address.clone(),
        namespace: config.namespace.clone(),
        mount: config.mount.clone(),
        auth: match &config.auth {
            VaultAuth::TokenFile(file) => vault::Auth::TokenFile(file.clone()),
            VaultAuth::AppRole { mount, role_id, secret_id_file } => vault::Auth::AppRole {
                mount: mount.clone(),
                role_id: role_id.clone(),
                secret_id_file: secret_id_file.clone(),
            },
            VaultAuth::Kubernetes { mount, role, token_file } => {
                vault::Auth::Kubernetes { mount: mount.clone(), role: role.clone(), token_file: token_file.clone() }
            }
        },
        http: Options {
            connect_timeout: config.connect_timeout,
            timeout: config.timeout,
            limit_name: None,
            ca_file: config.ca_file.clone(),
            client_certificate: config.client_certificate.clone(),
            proxies: proxies(&config.proxying, surroundings)?,
        },
    })
}

fn static_settings(config: &config::sources::StaticKeys) -> static_keys::Settings {
    let text = |text: &SecretText| match text {
        SecretText::Given(secret) => static_keys::SecretText::Given(secret.clone()),
        SecretText::File(path) => static_keys::SecretText::File(path.clone()),
    };
    static_keys::Settings {
        access_key_id: config.access_key_id.clone(),
        secret_access_key: text(&config.secret_access_key),
        session_token: config.session_token.as_ref().map(text),
        expiration: config.expiration,
        assumed_lifetime: config.lifetime,
    }
}
