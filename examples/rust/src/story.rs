//! A login that turns out to be somebody else's, and a change of keys meanwhile: what an auth service does with the
//! notification service, each step proven by what is seen from outside.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use tokio::time::sleep;

use crate::contract::crown::notification::v1::{Notification, notification_status};
use crate::issuer::{Issuer, key_id};
use crate::keys::LEAD_S;
use crate::notifier::Notifier;
use crate::socket::{Answer, Socket, open};

const PATIENCE: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(200);
const REVOKED: u16 = 1001;

/// Plays it against the gateway at `target` with tokens of `serve` at `auth`.
pub async fn tell(target: &str, auth: &str) -> anyhow::Result<()> {
    let issuer = Issuer::new(auth);
    let notifier = Notifier::connect(target).await?;
    // A person of this run alone, whose inbox is empty.
    let person = format!("rust-{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis());
    let laptop = issuer.person(&person, "laptop").await?;
    let thief = issuer.person(&person, "thief").await?;
    let service = issuer.service().await?;

    let new_key = issuer.rotate().await?;
    println!("published key {new_key}, which signs in {LEAD_S} s");

    let mut kept = connected(target, &laptop, &person).await?;
    let mut stolen = connected(target, &thief, &person).await?;
    let alert = notifier.alert(&service, &person, "thief").await.context("sending the alert")?;
    let seen = kept.event("notification").await?;
    ensure!(seen["notification_id"] == alert.as_str(), "another notification on the socket: {seen}");
    println!("sent login_alert {alert}, which the person's socket showed");

    notifier.end_session(&service, &person, "thief").await.context("ending the session")?;
    let (code, reason) = stolen.closed().await?;
    ensure!(code == REVOKED, "the socket closed with {code} {reason}, not with {REVOKED}");
    println!("ended the session: its socket closed with {code} ({reason})");
    refused(target, &thief).await?;
    println!("its token cannot connect again: 403");
    connected(target, &laptop, &person).await.context("the person's other session")?;
    println!("the person's other session still can");

    print_state(&settled(&notifier, &service, &alert).await?);

    let renewed = signed_by(&issuer, &new_key).await?;
    notifier.state(&renewed, &alert).await.context("with the first token of the new key")?;
    connected(target, &issuer.person(&person, "laptop").await?, &person).await?;
    println!("the first token of the new key was taken by gateway, API and socket");
    notifier.state(&service, &alert).await.context("with a token of the old key")?;
    println!("a token of the old key is still good");
    Ok(())
}

/// A socket that joined the person's topic. It asks twice, as every client does: the first token of a new key that
/// comes to a node by a socket makes it read the keys, and is refused meanwhile.
async fn connected(target: &str, token: &str, person: &str) -> anyhow::Result<Socket> {
    for wait in [AGAIN, Duration::ZERO] {
        match open(target, token).await? {
            Answer::Open(mut socket) => {
                socket.join(person).await?;
                return Ok(socket);
            }
            Answer::Refused(403) => sleep(wait).await,
            Answer::Refused(status) => bail!("the socket was refused with {status}"),
        }
    }
    bail!("the socket was refused with 403")
}

async fn refused(target: &str, token: &str) -> anyhow::Result<()> {
    match open(target, token).await? {
        Answer::Refused(403) => Ok(()),
        Answer::Refused(status) => bail!("refused with {status}, not with 403"),
        Answer::Open(_) => bail!("the token of an ended session could connect"),
    }
}

/// The notification once every delivery of it is final.
async fn settled(notifier: &Notifier, token: &str, notification_id: &str) -> anyhow::Result<Notification> {
    let begin = Instant::now();
    loop {
        let found = notifier.state(token, notification_id).await?;
        if found.status() == notification_status::Type::Done {
            return Ok(found);
        }
        ensure!(begin.elapsed() < PATIENCE, "not every delivery is final after {PATIENCE:?}: {found:?}");
        sleep(PAUSE).await;
    }
}

fn print_state(notification: &Notification) {
    for delivery in &notification.deliveries {
        let state = delivery.state().as_str_name();
        let reason =
            if delivery.reason.is_empty() { String::new() } else { format!(" ({})", delivery.reason) };
        println!("login_alert by {}: {state}{reason}", delivery.channel().as_str_name());
    }
}

/// The first token that the key signs.
async fn signed_by(issuer: &Issuer, key: &str) -> anyhow::Result<String> {
    let begin = Instant::now();
    loop {
        let token = issuer.service().await?;
        if key_id(&token)? == key {
            return Ok(token);
        }
        ensure!(begin.elapsed() < PATIENCE, "key {key} signs nothing after {PATIENCE:?}");
        sleep(PAUSE).await;
    }
}
