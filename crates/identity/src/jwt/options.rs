//! `kind: jwt`: tokens of one issuer.

use std::{sync::Arc, time::Duration};

use alppaca_jwt::{ALGORITHMS, Algorithm, Demands, KEY_COUNT, KEY_SETTINGS, KeyOptions};

use super::{Jwt, Settings};
use crate::{
    method::{Entry, KeyFeed, Method, Opened, Opening},
    mtls::{not_empty, trust_domain},
    needs::Needs,
    settings::{
        Fields, NamedFiles, Problem, Rendered, Setting,
        read::{self, render_duration},
        render::{list, quoted},
        table::concat,
    },
};

/// Which tokens prove what.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Options {
    issuer: Option<String>,
    trust_domain: Option<String>,
    audience: Vec<String>,
    algorithms: Option<Vec<Algorithm>>,
    leeway: Duration,
    name_claim: String,
    groups_claim: Option<String>,
    keys: KeyOptions,
}

/// How it is written.
pub static METHOD: Entry =
    Entry { word: "jwt", settings: &SETTINGS, read: |fields| Some(Arc::new(Options::read(fields)?)) };

const OWN: [Setting; 7] = [
    Setting::nested(
        "issuer",
        "",
        "The issuer of the tokens (`iss`), such as `https://token.actions.githubusercontent.com`. This or \
         `trust_domain` is required.",
    ),
    Setting::nested(
        "trust_domain",
        "",
        "The trust domain of SPIFFE, such as `example.org`: only JWT-SVIDs of it are accepted.",
    ),
    Setting::nested(
        "audience",
        "",
        "Whom tokens have to be for (`aud`): a name of this server that no other has, or a list. Required.",
    ),
    Setting::nested(
        "algorithms",
        "",
        "A list of algorithms of signatures, such as `[RS256, ES256]`. Without it, all that the keys are for; never \
         `none` or `HS256`.",
    ),
    Setting::nested("leeway", "60s", "How far the clocks of the issuer and of this host may differ."),
    Setting::nested(
        "name_claim",
        "sub",
        "The claim that is the name. One that is unique and does not change; a claim inside of another has a dot.",
    ),
    Setting::nested("groups_claim", "", "The claim that has the groups, such as `groups`."),
];
const SETTINGS: [Setting; 7 + KEY_COUNT] = concat(OWN, KEY_SETTINGS);

impl Options {
    fn read(fields: &mut Fields) -> Option<Self> {
        let issuer = fields.optional("issuer", read::text);
        let trust_domain = fields.optional("trust_domain", trust_domain);
        if let (Some(None), Some(None)) = (&issuer, &trust_domain) {
            fields.problems.push(Problem::nowhere(
                "a jwt method needs an `issuer` (`iss` of its tokens), or a `trust_domain` of SPIFFE",
            ));
        }
        let missing = "a jwt method needs an `audience`: what its tokens name this server (`aud`). Without it, a token for \
                       any other service would do";
        let audience = fields.required("audience", missing, |node| not_empty(node, "audience", read::text));
        let algorithm = |node: &_| read::choice(node, &ALGORITHMS);
        let algorithms = fields.optional("algorithms", |node| not_empty(node, "algorithm", algorithm));
        let leeway = fields.value("leeway", read::duration);
        let name_claim = fields.value("name_claim", read::text);
        let groups_claim = fields.optional("groups_claim", read::text);
        let keys = KeyOptions::read_or(fields, |fields| {
            let message = "a jwt method needs the keys of its issuer: `jwks_file`, `jwks_url`, or an `issuer` with https that says \
                           where they are";
            fields.problems.push(Problem::nowhere(message));
        });
        Some(Self {
            issuer: issuer?,
            trust_domain: trust_domain?,
            audience: audience?,
            algorithms: algorithms?,
            leeway: leeway?,
            name_claim: name_claim?,
            groups_claim: groups_claim?,
            keys: keys?,
        })
    }
}

fn word(algorithm: Algorithm) -> String {
    ALGORITHMS.iter().find(|(_, known)| *known == algorithm).map_or("", |(word, _)| word).to_owned()
}

impl Method for Options {
    fn entry(&self) -> &'static Entry {
        &METHOD
    }

    fn render(&self) -> Vec<(&'static str, String)> {
        let mut all = Vec::new();
        all.extend(self.issuer.as_ref().map(|issuer| ("issuer", quoted(issuer))));
        all.extend(self.trust_domain.as_ref().map(|domain| ("trust_domain", quoted(domain))));
        all.push(("audience", list(self.audience.iter().map(|audience| quoted(audience)))));
        let words = self.algorithms.as_ref().map(|words| list(words.iter().copied().map(word)));
        all.extend(words.map(|words| ("algorithms", words)));
        all.push(("leeway", render_duration(self.leeway)));
        all.push(("name_claim", quoted(&self.name_claim)));
        all.extend(self.groups_claim.as_ref().map(|claim| ("groups_claim", quoted(claim))));
        all.extend(self.keys.render());
        all
    }

    fn files(&self, files: &mut NamedFiles) {
        self.keys.files(files);
    }

    fn needs(&self, needs: &mut Needs) {
        self.keys.needs(needs);
    }

    fn open(&self, name: &str, opening: &Opening) -> Result<Opened, String> {
        let settings = Settings {
            name: name.to_owned(),
            demands: Demands {
                issuer: self.issuer.clone(),
                audiences: self.audience.clone(),
                algorithms: self.algorithms.clone(),
                leeway: self.leeway,
            },
            trust_domain: self.trust_domain.clone(),
            name_claim: self.name_claim.clone(),
            groups_claim: self.groups_claim.clone(),
        };
        let ring = opening.ring(&self.keys);
        let prove = Arc::new(Jwt::new(settings, ring.clone(), Arc::clone(&opening.clock)));
        Ok(Opened { keys: Some(KeyFeed { options: self.keys.clone(), ring }), ..Opened::new(prove) })
    }
}
