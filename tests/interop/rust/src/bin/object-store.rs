//! `object_store`, configured by the environment only.

use std::{env, error::Error, io};

use object_store::{ObjectStoreExt, aws::AmazonS3Builder, path::Path};

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1);
    let (bucket, key) = arguments.next().zip(arguments.next()).expect("a bucket and a key");
    let store = AmazonS3Builder::from_env().with_bucket_name(bucket).build().map_err(io::Error::other)?;
    let key = Path::from(key);
    alppaca_interop::serve(|| async {
        store.put(&key, "object_store".into()).await?;
        let got = store.get(&key).await?.bytes().await?;
        if got != "object_store" {
            return Err(format!("got {got:?}").into());
        }
        Ok::<(), Box<dyn Error>>(())
    })
    .await
}
