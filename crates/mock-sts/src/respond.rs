//! A request and its answer.

use std::{collections::HashMap, time::Duration};

use aws_lc_rs::rand;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;

use super::{
    Call, Role, Session, State,
    limits::{Asked, Refused},
    refusal,
    sigv4::{self, Key, Request, hex},
};

const SPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// What is sent.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) request_id: String,
    pub(super) body: String,
}

pub(super) fn reply(state: &mut State, request: &Request, now: Timestamp) -> Reply {
    let request_id = uuid();
    let find = |id: &str| find(state, id);
    let claim = match sigv4::verify(request, find, now) {
        Ok(claim) => claim,
        Err(why) => {
            let (status, body) = refusal::render(why, "sts");
            return Reply { status, request_id, body };
        }
    };
    let form = form(&request.body);
    let mut call = Call { form, key: claim.key, region: claim.region, request_id: request_id.clone(), refused: None };
    let answered = answer(state, &call, now);
    let (status, body) = match answered {
        Ok(result) => (200, success(&call, &result)),
        Err((status, code, message)) => {
            call.refused = Some(code);
            (status, error(&request_id, code, &message))
        }
    };
    state.calls.push(call);
    Reply { status, request_id, body }
}

fn answer(state: &mut State, call: &Call, now: Timestamp) -> Result<String, Refused> {
    if state.script.down.iter().any(|region| region == "*" || *region == call.region) {
        return Err((503, "ServiceUnavailable", "The service is unavailable".to_owned()));
    }
    count(state, &call.region, now)?;
    match call.get("Action") {
        "AssumeRole" => assume_role(state, call, now),
        "GetCallerIdentity" => {
            let (arn, id) = principal(state, &call.key);
            let account = account(&arn);
            Ok(format!("<Arn>{arn}</Arn><UserId>{id}</UserId><Account>{account}</Account>"))
        }
        other => Err((400, "InvalidAction", format!("Could not find operation {other}"))),
    }
}

/// The calls of one second in one region.
fn count(state: &mut State, region: &str, now: Timestamp) -> Result<(), Refused> {
    let second = now.as_second();
    let counted = state.counted.entry(region.to_owned()).or_insert((second, 0));
    if counted.0 != second {
        *counted = (second, 0);
    }
    counted.1 += 1;
    match state.script.quota {
        Some(quota) if counted.1 > quota => Err((400, "Throttling", "Rate exceeded".to_owned())),
        _ => Ok(()),
    }
}

fn find(state: &State, id: &str) -> Option<Key> {
    let user = state.script.users.iter().find(|user| user.access_key_id == id);
    let user = user.map(|user| Key { secret: user.secret_access_key.clone(), token: None, expires: Timestamp::MAX });
    let session = || {
        let Session { secret, token, expires, .. } = state.sessions.get(id)?;
        Some(Key { secret: secret.clone(), token: Some(token.clone()), expires: *expires })
    };
    user.or_else(session)
}

/// The ARN and the id of the owner of a key.
pub(super) fn principal(state: &State, key: &str) -> (String, String) {
    if let Some(Session { role_arn, name, .. }) = state.sessions.get(key) {
        let (account, role) = (account(role_arn), role_arn.rsplit('/').next().unwrap_or_default());
        let partition = role_arn.split(':').nth(1).unwrap_or("aws");
        return (format!("arn:{partition}:sts::{account}:assumed-role/{role}/{name}"), format!("AROAEXAMPLE:{name}"));
    }
    let user = state.script.users.iter().find(|user| user.access_key_id == key);
    (user.map(|user| user.arn.clone()).unwrap_or_default(), "AIDAEXAMPLE".to_owned())
}

fn assume_role(state: &mut State, call: &Call, now: Timestamp) -> Result<String, Refused> {
    let asked = Asked::read(&call.form)?;
    let parent = state.sessions.get(&call.key).cloned();
    let (caller, _) = principal(state, &call.key);
    let denied = |action: &str| {
        let message = format!("User: {caller} is not authorized to perform: {action} on resource: {}", asked.role_arn);
        (403, "AccessDenied", message)
    };
    // A trust policy names users and roles; of a role's session it is the role that counts.
    let trusted = parent.as_ref().map_or(&caller, |parent| &parent.role_arn);
    let role = state.script.roles.iter().find(|role| role.arn == asked.role_arn);
    // There is no other answer for a role that does not exist.
    let role = role.filter(|role| role.trusts.contains(trusted)).ok_or_else(|| denied("sts:AssumeRole"))?;
    allow(role, &asked, parent.as_ref(), &denied)?;
    let source_identity = parent.as_ref().and_then(|parent| parent.source_identity.clone());
    let source_identity = source_identity.or_else(|| asked.source_identity.clone());
    let is_chained = parent.is_some();
    let mut transitive = parent.map(|parent| parent.transitive).unwrap_or_default();
    transitive.extend(asked.tags.iter().filter(|(key, _)| asked.transitive.contains(key)).cloned());
    let session = Session {
        secret: hex(&random::<20>()),
        token: format!("IQoJ{}", hex(&random::<64>())),
        // Whole seconds, as AWS has them.
        expires: Timestamp::from_second((now + asked.duration).as_second()).unwrap_or(Timestamp::MAX),
        role_arn: asked.role_arn.clone(),
        name: asked.session_name.clone(),
        source_identity: source_identity.clone(),
        transitive,
        is_chained,
    };
    let id = format!("ASIA{}", hex(&random::<8>()).to_uppercase());
    let Session { secret, token, expires, .. } = &session;
    let set = format!(
        "<AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken>\
         <Expiration>{expires}</Expiration>"
    );
    state.sessions.retain(|_, session| session.expires > now);
    state.sessions.insert(id.clone(), session);
    let (arn, user) = principal(state, &id);
    let source = source_identity.map(|who| format!("<SourceIdentity>{who}</SourceIdentity>")).unwrap_or_default();
    let owner = format!("<Arn>{arn}</Arn><AssumedRoleId>{user}</AssumedRoleId>");
    Ok(format!("<Credentials>{set}</Credentials><AssumedRoleUser>{owner}</AssumedRoleUser>{source}"))
}

/// What the role's trust policy, its settings and a chain allow.
fn allow(
    role: &Role,
    asked: &Asked,
    parent: Option<&Session>,
    denied: &dyn Fn(&str) -> Refused,
) -> Result<(), Refused> {
    if role.external_id.is_some() && role.external_id != asked.external_id {
        return Err(denied("sts:AssumeRole"));
    }
    if (!asked.tags.is_empty() || parent.is_some_and(|parent| !parent.transitive.is_empty())) && !role.tag_session {
        return Err(denied("sts:TagSession"));
    }
    let inherited = parent.and_then(|parent| parent.source_identity.as_ref());
    if (asked.source_identity.is_some() || inherited.is_some()) && !role.set_source_identity {
        return Err(denied("sts:SetSourceIdentity"));
    }
    if inherited.is_some() && asked.source_identity.is_some() && inherited != asked.source_identity.as_ref() {
        return Err(denied("sts:SetSourceIdentity"));
    }
    let overwritten = |key: &String| {
        parent
            .is_some_and(|parent| parent.transitive.iter().any(|(other, _)| other.to_lowercase() == key.to_lowercase()))
    };
    if asked.tags.iter().any(|(key, _)| overwritten(key)) {
        let message =
            "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag";
        return Err((400, "InvalidParameterValue", message.to_owned()));
    }
    if parent.is_some() && asked.duration > Duration::from_hours(1) {
        let message =
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining";
        return Err((400, "ValidationError", message.to_owned()));
    }
    if asked.duration > role.max_session {
        let message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
        return Err((400, "ValidationError", message.to_owned()));
    }
    Ok(())
}

fn account(arn: &str) -> &str {
    arn.split(':').nth(4).unwrap_or_default()
}

pub(super) fn form(body: &[u8]) -> HashMap<String, String> {
    let body = String::from_utf8_lossy(body);
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (decode(key), decode(value))).collect()
}

fn success(call: &Call, result: &str) -> String {
    let (action, id) = (call.get("Action"), &call.request_id);
    format!(
        "<{action}Response xmlns=\"{SPACE}\"><{action}Result>{result}</{action}Result><ResponseMetadata>\
         <RequestId>{id}</RequestId></ResponseMetadata></{action}Response>"
    )
}

fn error(id: &str, code: &str, message: &str) -> String {
    let message = message.replace('&', "&amp;").replace('<', "&lt;");
    let error = format!("<Type>Sender</Type><Code>{code}</Code><Message>{message}</Message>");
    format!("<ErrorResponse xmlns=\"{SPACE}\"><Error>{error}</Error><RequestId>{id}</RequestId></ErrorResponse>")
}

pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Without randomness the kernel would not have started us.
    let _filled = rand::fill(&mut bytes);
    bytes
}

fn uuid() -> String {
    let digits = hex(&random::<16>());
    let parts = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)];
    parts.map(|(start, end)| digits.get(start..end).unwrap_or_default()).join("-")
}
