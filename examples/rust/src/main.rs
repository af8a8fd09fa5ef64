//! The auth service of an app, as far as the notification service meets it: it publishes the keys that its tokens
//! are checked with, and it calls when a session ends and when somebody should look at a login.

mod issuer;
mod keys;
mod notifier;
mod serve;
mod socket;
mod story;
mod tokens;

use std::process::ExitCode;

use anyhow::{Context, bail};

#[allow(clippy::all, dead_code)]
mod contract {
    include!(concat!(env!("OUT_DIR"), "/contract.rs"));
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match act().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("auth service: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn act() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => story::tell(&setting("CROWN_TARGET")?, &setting("CROWN_AUTH")?).await,
        ["serve", port] => serve::serve(port.parse().context("serve: the port must be a number")?).await,
        _ => bail!("run it without arguments, or with: serve <port>"),
    }
}

fn setting(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set"))
}
