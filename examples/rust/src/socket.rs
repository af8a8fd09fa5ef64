//! A browser's socket, as phoenix.js opens it: Phoenix Channels V2, with the token among the subprotocols, where no
//! log has it.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const LIMIT: Duration = Duration::from_secs(10);

pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// A socket, or the HTTP status that there is none for this token.
pub enum Answer {
    Open(Socket),
    Refused(u16),
}

/// Connects to the gateway at `target`, a host and a port.
pub async fn open(target: &str, token: &str) -> anyhow::Result<Answer> {
    let mut request = format!("ws://{target}/socket/websocket?vsn=2.0.0").into_client_request()?;
    let offered = format!("phoenix, base64url.bearer.phx.{}", BASE64URL.encode(token));
    request.headers_mut().insert("sec-websocket-protocol", offered.parse()?);
    match timeout(LIMIT, connect_async(request)).await.context("no answer to the handshake")? {
        Ok((stream, _)) => Ok(Answer::Open(Socket { stream })),
        Err(Error::Http(answer)) => Ok(Answer::Refused(answer.status().as_u16())),
        Err(error) => Err(error.into()),
    }
}

impl Socket {
    /// Joins the topic of a person.
    pub async fn join(&mut self, user_id: &str) -> anyhow::Result<()> {
        let frame = json!(["1", "1", format!("user:{user_id}"), "phx_join", {}]);
        self.stream.send(Message::text(frame.to_string())).await?;
        let reply = self.event("phx_reply").await?;
        if reply["status"] != "ok" {
            bail!("the join was refused: {reply}");
        }
        Ok(())
    }

    /// The payload of the next event of this name.
    pub async fn event(&mut self, name: &str) -> anyhow::Result<Value> {
        loop {
            match self.next().await.with_context(|| format!("waiting for {name}"))? {
                Message::Text(text) => {
                    let [_, _, _, event, payload]: [Value; 5] = serde_json::from_str(&text)?;
                    if event == name {
                        return Ok(payload);
                    }
                }
                Message::Close(frame) => bail!("closed while waiting for {name}: {frame:?}"),
                _ => {}
            }
        }
    }

    /// Code and reason of the close that the other side sends.
    pub async fn closed(&mut self) -> anyhow::Result<(u16, String)> {
        loop {
            if let Message::Close(frame) = self.next().await.context("waiting for the close")? {
                let frame = frame.context("closed without a code")?;
                return Ok((frame.code.into(), frame.reason.to_string()));
            }
        }
    }

    async fn next(&mut self) -> anyhow::Result<Message> {
        let found =
            timeout(LIMIT, self.stream.next()).await.map_err(|_| anyhow!("nothing within {LIMIT:?}"))?;
        Ok(found.context("the connection ended without a close")??)
    }
}
