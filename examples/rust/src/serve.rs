//! The side that others call: the public keys for everybody, tokens for whoever is on this machine. A real auth
//! service asks for a password before it hands out a token; this one listens on the loopback address only.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::keys::{KeyRing, LEAD_S};
use crate::tokens::TokenRequest;

struct Issuer {
    name: String,
    audience: String,
    keys: Mutex<KeyRing>,
}

impl Issuer {
    fn keys(&self) -> MutexGuard<'_, KeyRing> {
        self.keys.lock().expect("nobody panics while holding the keys")
    }
}

/// Serves on `port` of the loopback address until the process is ended.
pub async fn serve(port: u16) -> anyhow::Result<()> {
    let named = |variable, usual: &str| std::env::var(variable).unwrap_or_else(|_| usual.to_owned());
    let issuer = Arc::new(Issuer {
        name: named("CROWN_JWT_ISSUER", "crown-stack"),
        audience: named("CROWN_JWT_AUDIENCE", "crown-notification"),
        keys: Mutex::new(KeyRing::new()),
    });
    let routes = Router::new()
        .route("/jwks.json", get(jwks))
        .route("/tokens", post(token))
        .route("/keys:rotate", post(rotate))
        .with_state(issuer);
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.with_context(|| format!("port {port}"))?;
    println!("keys: http://{}/jwks.json", listener.local_addr()?);
    Ok(axum::serve(listener, routes).await?)
}

async fn jwks(State(issuer): State<Arc<Issuer>>) -> Response {
    document(&issuer.keys().published(now()))
}

async fn rotate(State(issuer): State<Arc<Issuer>>) -> Response {
    document(&json!({"key_id": issuer.keys().rotate(now()).id, "signs_in_s": LEAD_S}))
}

async fn token(State(issuer): State<Arc<Issuer>>, body: Bytes) -> Response {
    let asked = serde_json::from_slice::<TokenRequest>(&body).map_err(anyhow::Error::from);
    let now = now();
    match asked.and_then(|asked| asked.claims(&issuer.name, &issuer.audience, now)) {
        Ok((claims, expiry)) => {
            let token = issuer.keys().sign(&claims, expiry, now);
            ([(CONTENT_TYPE, "application/jwt")], token).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

fn document(value: &Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}
