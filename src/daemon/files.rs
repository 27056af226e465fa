//! The files that a configuration names, and whether others may change or read them. `check` shows it, the start and a reload
//! act on it.

use std::path::{Path, PathBuf};

use crate::plan::Surroundings;
use crate::{
    config::{
        Aws, Config, Loaded, SourceKind,
        sources::{RolesAnywhere, SecretText, VaultAuth},
    },
    relay::KeySource,
    source::roles_anywhere::Location,
    trust::{Purpose, Trust},
};

/// What is wrong with files.
#[derive(Debug, Default)]
pub struct FileFaults {
    /// Files that others may change: the configuration is not used.
    pub refused: Vec<String>,
    /// Secrets that others may read.
    pub warnings: Vec<String>,
}

impl FileFaults {
    /// Judges the files of a configuration that was read from `path`.
    pub fn find(path: &Path, loaded: &Loaded, surroundings: &Surroundings, trust: &Trust) -> Self {
        let mut faults = Self::default();
        for (path, what, purpose) in files(path, loaded, surroundings) {
            for fault in trust.judge(&path, &what, purpose) {
                let list = if fault.refused { &mut faults.refused } else { &mut faults.warnings };
                let text = fault.to_string();
                if !list.contains(&text) {
                    list.push(text);
                }
            }
        }
        faults
    }

    /// The reason not to use the configuration, if there is one.
    pub fn refusal(&self) -> Option<String> {
        (!self.refused.is_empty()).then(|| self.refused.join("\n"))
    }
}

type File = (PathBuf, String, Purpose);

fn files(path: &Path, loaded: &Loaded, surroundings: &Surroundings) -> Vec<File> {
    let config = &loaded.config;
    let mut files: Vec<File> = Vec::new();
    if path.is_dir() {
        files.push((path.to_owned(), "the directory of the configuration".to_owned(), Purpose::Obeyed));
    }
    // Where it shows stars, a secret is written down.
    let secret = config.render().contains("***");
    for file in &loaded.files {
        files.push((file.clone(), "the configuration".to_owned(), Purpose::Obeyed));
        if secret {
            files.push((file.clone(), "the configuration".to_owned(), Purpose::Secret));
        }
    }
    for source in &config.upstreams.sources {
        of_source(&source.kind, surroundings, &mut |path, what, purpose| {
            files.push((path.to_owned(), format!("source {}: {what}", source.name), purpose));
        });
    }
    of_aws(&config.upstreams.sts, &mut |path, what, purpose| {
        files.push((path.to_owned(), format!("sts: {what}"), purpose));
    });
    of_faces(config, &mut files);
    files
}

fn of_faces(config: &Config, files: &mut Vec<File>) {
    for role in config.container.iter().flat_map(|container| &container.roles) {
        let keys = [("authorization_token_file", &role.token_file), ("credentials_id_file", &role.id_file)];
        files.extend(keys.into_iter().filter_map(|(key, path)| {
            Some((path.clone()?, format!("container: {key} of {}", role.name), Purpose::Secret))
        }));
    }
    match config.pod_identity.as_ref().map(|section| &section.keys) {
        Some(KeySource::File(path)) => {
            files.push((path.clone(), "pod_identity: jwks_file".to_owned(), Purpose::Obeyed));
        }
        Some(KeySource::Url { ca_file, token_file, .. }) => {
            let ca = ca_file.clone().map(|path| (path, "pod_identity: jwks_ca_file".to_owned(), Purpose::Obeyed));
            let token =
                token_file.clone().map(|path| (path, "pod_identity: jwks_token_file".to_owned(), Purpose::Secret));
            files.extend(ca.into_iter().chain(token));
        }
        None => {}
    }
    if let Some(path) = config.containers.as_ref().and_then(|section| section.mapping_file.clone()) {
        files.push((path, "containers: mapping_file".to_owned(), Purpose::Obeyed));
    }
}

fn of_source(kind: &SourceKind, surroundings: &Surroundings, add: &mut dyn FnMut(&Path, &str, Purpose)) {
    match kind {
        SourceKind::Ims(ims) => {
            optional(ims.ca_file.as_ref(), "ca_file", Purpose::Obeyed, add);
            client_certificate(ims.client_certificate.as_ref(), add);
        }
        SourceKind::Sts(aws) => of_aws(aws, add),
        SourceKind::WebIdentity(identity) => {
            add(&identity.token_file, "token_file", Purpose::Secret);
            of_aws(&identity.aws, add);
        }
        SourceKind::RolesAnywhere(source) => of_roles_anywhere(source, add),
        SourceKind::Process(process) => of_process(&process.command, surroundings, add),
        SourceKind::Profile(profile) => {
            // They can name programs.
            let home = profile.home.as_ref().or(surroundings.home.as_ref());
            for (key, path, usual) in [
                ("config_file", &profile.config_file, ".aws/config"),
                ("credentials_file", &profile.credentials_file, ".aws/credentials"),
            ] {
                if let Some(path) = path.clone().or_else(|| Some(home?.join(usual))) {
                    add(&path, key, Purpose::Obeyed);
                }
            }
            of_aws(&profile.aws, add);
        }
        SourceKind::Vault(vault) => {
            optional(vault.ca_file.as_ref(), "ca_file", Purpose::Obeyed, add);
            client_certificate(vault.client_certificate.as_ref(), add);
            match &vault.auth {
                VaultAuth::TokenFile(path) => add(path, "token_file", Purpose::Secret),
                VaultAuth::AppRole { secret_id_file, .. } => {
                    optional(secret_id_file.as_ref(), "secret_id_file", Purpose::Secret, add);
                }
                VaultAuth::Kubernetes { token_file, .. } => add(token_file, "token_file", Purpose::Secret),
            }
        }
        SourceKind::Static(keys) => {
            for text in [Some(&keys.secret_access_key), keys.session_token.as_ref()].into_iter().flatten() {
                if let SecretText::File(path) = text {
                    add(path, "a file of its keys", Purpose::Secret);
                }
            }
        }
        SourceKind::Imds(_) => {}
    }
}

fn optional(path: Option<&PathBuf>, key: &str, purpose: Purpose, add: &mut dyn FnMut(&Path, &str, Purpose)) {
    if let Some(path) = path {
        add(path, key, purpose);
    }
}

fn client_certificate(files: Option<&(PathBuf, PathBuf)>, add: &mut dyn FnMut(&Path, &str, Purpose)) {
    optional(files.map(|(certificate, _)| certificate), "client_certificate", Purpose::Obeyed, add);
    optional(files.map(|(_, key)| key), "client_key", Purpose::Secret, add);
}

fn of_aws(aws: &Aws, add: &mut dyn FnMut(&Path, &str, Purpose)) {
    optional(aws.ca_file.as_ref(), "ca_file", Purpose::Obeyed, add);
}

fn of_roles_anywhere(source: &RolesAnywhere, add: &mut dyn FnMut(&Path, &str, Purpose)) {
    let identity = &source.identity;
    for (key, location, purpose) in
        [("certificate", &identity.certificate, Purpose::Obeyed), ("key", &identity.key, Purpose::Secret)]
    {
        match location {
            Location::File(path) => add(path, key, purpose),
            Location::Token(uri) => {
                optional(uri.module_path.as_ref(), "the PKCS#11 module", Purpose::Obeyed, add);
                optional(uri.pin_source.as_ref(), "the file of the PIN", Purpose::Secret, add);
            }
        }
    }
    optional(identity.chain.as_ref(), "chain", Purpose::Obeyed, add);
    optional(identity.passphrase_file.as_ref(), "passphrase_file", Purpose::Secret, add);
    optional(identity.pkcs11_module.as_ref(), "pkcs11_module", Purpose::Obeyed, add);
    optional(identity.pin_file.as_ref(), "pin_file", Purpose::Secret, add);
    of_aws(&source.aws, add);
}

/// The program, and the files among its arguments: an interpreter runs one of them.
fn of_process(command: &[String], surroundings: &Surroundings, add: &mut dyn FnMut(&Path, &str, Purpose)) {
    let Some((program, arguments)) = command.split_first() else { return };
    let found = if program.contains('/') {
        Some(PathBuf::from(program))
    } else {
        let path = surroundings.path.as_deref().unwrap_or_default();
        std::env::split_paths(path).map(|directory| directory.join(program)).find(|file| file.is_file())
    };
    optional(found.as_ref(), "its program", Purpose::Obeyed, add);
    for argument in arguments.iter().map(Path::new).filter(|argument| argument.is_absolute() && argument.is_file()) {
        add(argument, "a file that its program is given", Purpose::Obeyed);
    }
}
