//! The clients: each one's name, version and command line.

use std::{net::SocketAddr, path::Path, process::Command};

use super::{
    gate::Door,
    tools::{Tools, existing, in_path, pinned, source},
};

/// One client.
pub struct Kind {
    pub name: &'static str,
    /// The version that is pinned, or `(Debian)`.
    pub version: fn() -> String,
    /// The program, without the bucket and the key; or why it is not there.
    program: fn(&Tools) -> Result<Command, String>,
    /// It starts anew for each call, so it holds nothing that would have to be refreshed.
    pub short_lived: bool,
    /// It replaces the expiration of sets that end soon by a later one (25 minutes, at most), so
    /// that sets with a life of seconds show nothing.
    pub stretches: bool,
    /// Once the metadata service has failed it, it uses an ended set for 5 to 15 minutes more, on EC2 too.
    pub holds_on: bool,
    /// It sends the token that it has until that one's own end, whatever the answer is.
    pub keeps_dead_tokens: bool,
    /// It has no chain and reads no metadata: a shell script hands it what `alppaca credentials` prints.
    pub by_hand: bool,
    /// It calls S3, or STS, or both.
    pub services: &'static [&'static str],
}

const BOTH: &[&str] = &["s3", "sts"];

pub const KINDS: &[Kind] = &[
    Kind {
        name: "boto3",
        version: || pinned("python/requirements.txt", "boto3=="),
        program: |tools| python(tools, "python/boto3_client.py"),
        short_lived: false,
        stretches: true,
        holds_on: false,
        keeps_dead_tokens: false,
        by_hand: false,
        services: BOTH,
    },
    Kind {
        name: "AWS CLI v1",
        version: || pinned("python/requirements.txt", "awscli=="),
        program: |tools| Ok(shell("shell/aws.sh", &[&tools.python_program("aws")?])),
        short_lived: true,
        stretches: false,
        holds_on: false,
        keeps_dead_tokens: false,
        by_hand: false,
        services: BOTH,
    },
    Kind {
        name: "AWS CLI v2",
        version: || "(Debian)".to_owned(),
        program: |_| Ok(shell("shell/aws.sh", &[&existing("/usr/bin/aws".into())?])),
        short_lived: true,
        stretches: false,
        holds_on: false,
        keeps_dead_tokens: false,
        by_hand: false,
        services: BOTH,
    },
    Kind {
        name: "aws-config (Rust)",
        version: || pinned("rust/Cargo.toml", "aws-config = { version = \"="),
        program: |tools| Ok(Command::new(tools.program("rust/debug/aws-config")?)),
        short_lived: false,
        stretches: false,
        holds_on: false,
        keeps_dead_tokens: true,
        by_hand: false,
        services: &["sts"],
    },
    Kind {
        name: "AWS SDK for JavaScript v3",
        version: || pinned("javascript/package.json", "client-s3\": \""),
        program: |tools| {
            let mut command = Command::new(in_path("node")?);
            command.arg(tools.program("javascript/client.mjs")?);
            Ok(command)
        },
        short_lived: false,
        stretches: false,
        holds_on: false,
        keeps_dead_tokens: false,
        by_hand: false,
        services: BOTH,
    },
    Kind {
        name: "AWS SDK for Go v2",
        version: || pinned("go/go.mod", "aws-sdk-go-v2/config "),
        program: |tools| Ok(Command::new(tools.program("go/client")?)),
        short_lived: false,
        stretches: false,
        holds_on: true,
        keeps_dead_tokens: false,
        by_hand: false,
        services: BOTH,
    },
    Kind {
        name: "AWS SDK for Java v2",
        version: || pinned("java/pom.xml", "<artifactId>s3</artifactId>\n      <version>"),
        program: |tools| {
            let (classes, libraries) = (tools.program("java/classes")?, tools.program("java/lib")?);
            let mut command = Command::new(in_path("java")?);
            // Quick to start and small, for there is one for each way.
            command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m", "-cp"]);
            command.arg(format!("{}:{}/*", classes.display(), libraries.display())).arg("Client");
            Ok(command)
        },
        short_lived: false,
        stretches: false,
        holds_on: false,
        keeps_dead_tokens: false,
        by_hand: false,
        services: BOTH,
    },
    Kind {
        name: "object_store (Rust)",
        version: || pinned("rust/Cargo.toml", "object_store = { version = \"="),
        program: |tools| Ok(Command::new(tools.program("rust/debug/object-store")?)),
        short_lived: false,
        stretches: false,
        holds_on: false,
        keeps_dead_tokens: false,
        by_hand: false,
        services: &["s3"],
    },
    Kind {
        name: "minio-py",
        version: || pinned("python/requirements.txt", "minio=="),
        program: |tools| python(tools, "python/minio_client.py"),
        short_lived: false,
        stretches: false,
        holds_on: false,
        keeps_dead_tokens: false,
        by_hand: false,
        services: &["s3"],
    },
    Kind {
        name: "curl",
        version: || "(Debian)".to_owned(),
        program: |_| {
            existing("/usr/bin/curl".into())?;
            Ok(shell("shell/curl.sh", &[Path::new(env!("CARGO_BIN_EXE_alppaca"))]))
        },
        short_lived: true,
        stretches: false,
        holds_on: false,
        keeps_dead_tokens: false,
        by_hand: true,
        services: BOTH,
    },
];

impl Kind {
    /// The command, ready to start, with nothing in reach that it could take credentials from.
    pub fn command(&self, tools: &Tools, home: &Path) -> Result<Command, String> {
        let mut command = (self.program)(tools)?;
        command.args([super::moto::BUCKET, self.name]);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin").env("HOME", home);
        command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        // The AWS CLI would page, botocore would write its byte code beside our sources.
        command.env("AWS_PAGER", "").env("PYTHONDONTWRITEBYTECODE", "1");
        Ok(command)
    }

    /// The same, which knows its AWS and its region, but no way to credentials.
    pub fn at(&self, door: &Door, tools: &Tools, home: &Path) -> Result<Command, String> {
        let mut command = self.command(tools, home)?;
        command.env("AWS_ENDPOINT_URL", format!("http://{}", door.address)).env("AWS_ALLOW_HTTP", "true");
        command.env("AWS_REGION", "us-east-1").env("AWS_DEFAULT_REGION", "us-east-1");
        Ok(command)
    }
}

/// Tells where the metadata service is.
pub fn tell(command: &mut Command, endpoint: SocketAddr) {
    // The AWS CLI of 2023 needs the final slash.
    command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{endpoint}/"));
    // object_store has a name of its own for it.
    command.env("AWS_METADATA_ENDPOINT", format!("http://{endpoint}"));
}

fn python(tools: &Tools, script: &str) -> Result<Command, String> {
    let mut command = Command::new(existing(tools.python.clone())?);
    command.arg(source(script));
    Ok(command)
}

fn shell(script: &str, arguments: &[&Path]) -> Command {
    let mut command = Command::new("sh");
    command.arg(source(script)).args(arguments);
    command
}
