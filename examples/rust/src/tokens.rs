//! What a token has to say for the notification service to believe it.

use anyhow::ensure;
use serde::Deserialize;
use serde_json::{Value, json};

const DEFAULT_TTL_S: u64 = 3600;
const LONGEST_TTL_S: u64 = 24 * 3600;

/// What is asked of `POST /tokens`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Who the token speaks for: user, service or operator.
    #[serde(rename = "use")]
    role: String,
    /// The person's id, or the service's name.
    subject: String,
    /// A service's rights; nobody else has any.
    #[serde(default)]
    scopes: Vec<String>,
    /// A person's login, which can be ended alone.
    #[serde(default)]
    session: String,
    /// Seconds that it is good for.
    #[serde(default = "default_ttl_s")]
    ttl: u64,
}

fn default_ttl_s() -> u64 {
    DEFAULT_TTL_S
}

impl TokenRequest {
    /// The claims of the token and the second at which it expires, or what is wrong with the request.
    pub fn claims(&self, issuer: &str, audience: &str, now: u64) -> anyhow::Result<(Value, u64)> {
        ensure!(
            ["user", "service", "operator"].contains(&self.role.as_str()),
            "use: must be user, service or operator"
        );
        ensure!(!self.subject.is_empty(), "subject: must not be empty");
        ensure!((1..=LONGEST_TTL_S).contains(&self.ttl), "ttl: must be 1 to {LONGEST_TTL_S} seconds");
        ensure!(
            (self.role == "service") != self.scopes.is_empty(),
            "scopes: a service has some, and nobody else"
        );
        let expiry = now + self.ttl;
        let mut claims = json!({
            "iss": issuer, "aud": audience, "sub": self.subject, "iat": now, "exp": expiry, "use": self.role,
        });
        if self.role == "service" {
            claims["scope"] = self.scopes.join(" ").into();
        }
        if !self.session.is_empty() {
            claims["sid"] = self.session.as_str().into();
        }
        Ok((claims, expiry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(asked: Value) -> anyhow::Result<(Value, u64)> {
        serde_json::from_value::<TokenRequest>(asked)?.claims("auth", "crown", 100)
    }

    #[test]
    fn a_person_has_a_session_and_a_service_its_rights() {
        let person = json!({"use": "user", "subject": "ann", "session": "laptop", "ttl": 60});
        let common =
            json!({"iss": "auth", "aud": "crown", "sub": "ann", "iat": 100, "exp": 160, "use": "user"});
        let (found, expiry) = claims(person).unwrap();
        assert_eq!((found["sid"].as_str(), expiry), (Some("laptop"), 160));
        assert!(common.as_object().unwrap().iter().all(|(name, value)| &found[name] == value));
        let service = json!({"use": "service", "subject": "feed", "scopes": ["inbox.read", "inbox.write"]});
        let (found, expiry) = claims(service).unwrap();
        assert_eq!((found["scope"].as_str(), expiry), (Some("inbox.read inbox.write"), 100 + DEFAULT_TTL_S));
        assert!(found.get("sid").is_none());
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (asked, named) in [
            (json!({"use": "root", "subject": "ann"}), "use"),
            (json!({"use": "user", "subject": ""}), "subject"),
            (json!({"use": "user", "subject": "ann", "ttl": 0}), "ttl"),
            (json!({"use": "user", "subject": "ann", "ttl": LONGEST_TTL_S + 1}), "ttl"),
            (json!({"use": "user", "subject": "ann", "scopes": ["inbox.read"]}), "scopes"),
            (json!({"use": "service", "subject": "feed"}), "scopes"),
            (json!({"use": "user", "subject": "ann", "role": "x"}), "role"),
        ] {
            let error = claims(asked).expect_err(named).to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
