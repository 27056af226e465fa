//! The protocol between a client and the test that drives it: see `../python/rounds.py`.

use std::{error::Error, future::Future, io};

/// Makes a round for each line of input.
pub async fn serve<F: Future<Output = Result<(), Box<dyn Error>>>>(mut round: impl FnMut() -> F) -> io::Result<()> {
    for line in io::stdin().lines() {
        line?;
        match round().await {
            Ok(()) => println!("ok"),
            Err(error) => println!("error: {}", causes(error.as_ref())),
        }
    }
    Ok(())
}

/// On one line, with all that led to it.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
