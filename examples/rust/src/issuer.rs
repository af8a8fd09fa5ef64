//! Asks the running `serve` for tokens, and for another key.

use anyhow::{Context, ensure};
use axum::body::Body;
use axum::http::Request;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

const LARGEST_ANSWER_BYTES: usize = 1 << 16;

pub struct Issuer {
    address: String,
    client: Client<HttpConnector, Body>,
}

impl Issuer {
    /// `address` is where `serve` is, such as "http://127.0.0.1:3100".
    pub fn new(address: &str) -> Issuer {
        Issuer { address: address.to_owned(), client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// A token for a person who logged in as `session`.
    pub async fn person(&self, user_id: &str, session: &str) -> anyhow::Result<String> {
        self.post("/tokens", &json!({"use": "user", "subject": user_id, "session": session})).await
    }

    /// A token for the auth service itself, with the rights that it needs and no more.
    pub async fn service(&self) -> anyhow::Result<String> {
        let scopes = ["notifications.send", "sessions.revoke"];
        self.post("/tokens", &json!({"use": "service", "subject": "auth", "scopes": scopes})).await
    }

    /// Has a new key published. Answers its id.
    pub async fn rotate(&self) -> anyhow::Result<String> {
        let answer: Value = serde_json::from_str(&self.post("/keys:rotate", &Value::Null).await?)?;
        Ok(answer["key_id"].as_str().context("no key_id in the answer")?.to_owned())
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<String> {
        let request = Request::post(format!("{}{path}", self.address)).body(Body::from(body.to_string()))?;
        let answer =
            self.client.request(request).await.with_context(|| format!("POST {}{path}", self.address))?;
        let status = answer.status();
        let body = axum::body::to_bytes(Body::new(answer.into_body()), LARGEST_ANSWER_BYTES).await?;
        let text = String::from_utf8(body.to_vec())?;
        ensure!(status.is_success(), "{path}: {text}");
        Ok(text)
    }
}

/// The id of the key that signed `token`.
pub fn key_id(token: &str) -> anyhow::Result<String> {
    let header = BASE64URL.decode(token.split('.').next().unwrap_or_default())?;
    let header: Value = serde_json::from_slice(&header)?;
    Ok(header["kid"].as_str().context("the token names no key")?.to_owned())
}
