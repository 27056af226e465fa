//! `alppaca migrate`: another tool's settings as our configuration.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{Failure, Outcome, environment};
use crate::migrate::{self, PodAnnotations};

/// Arguments of `migrate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docker inspect -f '{{range .Config.Env}}{{println .}}{{end}}' metadataproxy > old.env
  alppaca migrate metadataproxy old.env > alppaca.yaml
  alppaca migrate hologram /etc/hologram/agent.json > alppaca.yaml
  alppaca migrate signing-helper serve --certificate host.pem --private-key host.key … > new.yaml
  alppaca migrate ec2-metadata-mock aemm-config.json > alppaca.yaml
  kubectl get pods,deployments,daemonsets,statefulsets,cronjobs,namespaces -A -o json |
    alppaca migrate kube2iam - -- --base-role-arn=arn:aws:iam::123456789012:role/ > alppaca.yaml
  alppaca migrate eks-pod-identity associations.json > alppaca.yaml
  alppaca check -c alppaca.yaml

Comments that begin with `# !` show what changes and what could not be kept.")]
pub(super) struct Args {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Debug, clap::Subcommand)]
enum Tool {
    /// From the environment variables of lyft/metadataproxy
    Metadataproxy {
        /// A file of NAME=value lines; by default this command's own environment
        file: Option<PathBuf>,
    },
    /// From the configuration of hologram-agent
    Hologram {
        /// Its file
        #[arg(default_value = "/etc/hologram/agent.json")]
        file: PathBuf,
    },
    /// From the command line of AWS's `aws_signing_helper` (IAM Roles Anywhere)
    SigningHelper {
        /// What followed the program's name
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        words: Vec<String>,
    },
    /// From the configuration of amazon-ec2-metadata-mock
    Ec2MetadataMock {
        /// Its file, such as `aemm-config.json`
        file: PathBuf,
    },
    /// From the annotations of pods and namespaces that kube2iam goes by
    Kube2iam(Annotated),
    /// From the annotations of pods and namespaces that kiam goes by
    Kiam(Annotated),
    /// From the associations of EKS Pod Identity
    EksPodIdentity {
        /// What `aws eks describe-pod-identity-association` printed, one after the other; `-` is standard input
        file: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Annotated {
    /// What `kubectl get pods,namespaces -A -o json` printed; `-` is standard input. Templates of pods count, too:
    /// deployments, daemonsets, statefulsets, jobs, cronjobs
    file: PathBuf,
    /// Arguments of the program (of kiam those of its server), such as --base-role-arn
    #[arg(last = true)]
    words: Vec<String>,
}

/// Prints the configuration.
pub(super) fn run(args: &Args) -> Outcome {
    let text = match &args.tool {
        Tool::Metadataproxy { file: None } => migrate::from_metadataproxy(&environment::variables().0),
        Tool::Metadataproxy { file: Some(file) } => {
            let variables = migrate::parse_env_file(&read(file)?).map_err(|error| failed(file, &error))?;
            migrate::from_metadataproxy(&variables)
        }
        Tool::Hologram { file } => {
            let json = serde_json::from_str(&read(file)?).map_err(|error| failed(file, &error))?;
            migrate::from_hologram(&json)
        }
        Tool::SigningHelper { words } => migrate::from_signing_helper(words),
        Tool::Ec2MetadataMock { file } => {
            let json = serde_json::from_str(&read(file)?).map_err(|error| failed(file, &error))?;
            migrate::from_metadata_mock(&json)
        }
        Tool::Kube2iam(annotated) => of_cluster(PodAnnotations::Kube2iam, annotated)?,
        Tool::Kiam(annotated) => of_cluster(PodAnnotations::Kiam, annotated)?,
        Tool::EksPodIdentity { file } => {
            migrate::from_eks_associations(&documents(file)?).map_err(|error| failed(file, &error))?
        }
    };
    alppaca_command::print!("{text}");
    Ok(())
}

fn of_cluster(tool: PodAnnotations, Annotated { file, words }: &Annotated) -> Result<String, Failure> {
    tool.translate(&documents(file)?, words).map_err(|error| failed(file, &error))
}

/// JSON texts, one after the other.
fn documents(file: &Path) -> Result<Vec<Value>, Failure> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text).map_err(|error| failed(file, &error))?;
        text
    } else {
        read(file)?
    };
    let documents = serde_json::Deserializer::from_str(&text).into_iter();
    documents.collect::<Result<_, _>>().map_err(|error| failed(file, &error))
}

fn read(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|error| failed(file, &error))
}

fn failed(file: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::usage(format!("{}: {error}", file.display()))
}
