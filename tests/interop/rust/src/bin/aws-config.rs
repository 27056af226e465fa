//! The AWS SDK for Rust with its default chain.

use std::{error::Error, io};

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_config::from_env().http_client(http).load().await;
    let sts = aws_sdk_sts::Client::new(&config);
    alppaca_interop::serve(|| async {
        sts.get_caller_identity().send().await?;
        Ok::<(), Box<dyn Error>>(())
    })
    .await
}
