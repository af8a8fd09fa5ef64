//! The keys that tokens are signed with. A new key is published first and signs later, so that nobody meets a token
//! whose key they could not have read; an old one stays published until the last token that it signed has expired.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use p256::ecdsa::{Signature, SigningKey, signature::Signer};
use p256::elliptic_curve::Generate;
use serde_json::{Value, json};

/// Seconds between publishing a key and signing with it: by then every gateway has read it.
pub const LEAD_S: u64 = 10;

/// Seconds that a token is still good after it expired, since clocks differ.
const LEEWAY_S: u64 = 30;

pub struct Key {
    pub id: String,
    signing: SigningKey,
    public: Value,
    signs_from: u64,
    last_expiry: u64,
}

impl Key {
    fn new(signs_from: u64) -> Key {
        let signing = SigningKey::generate();
        let point = signing.verifying_key().to_sec1_point(false);
        let coordinate = |found: Option<&p256::FieldBytes>| {
            BASE64URL.encode(found.expect("a key is no point at infinity"))
        };
        let (x, y) = (coordinate(point.x()), coordinate(point.y()));
        // Any name will do that no other key has.
        let id = x[..16].to_owned();
        let public =
            json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": id, "alg": "ES256", "use": "sig"});
        Key { id, signing, public, signs_from, last_expiry: 0 }
    }
}

/// Every key that a token may still be signed with, the newest last. Times are seconds since 1970.
pub struct KeyRing {
    keys: Vec<Key>,
}

impl KeyRing {
    pub fn new() -> KeyRing {
        KeyRing { keys: vec![Key::new(0)] }
    }

    /// Publishes a new key, which signs from `LEAD_S` later on. Answers it.
    pub fn rotate(&mut self, now: u64) -> &Key {
        self.keys.push(Key::new(now + LEAD_S));
        self.keys.last().expect("one was just added")
    }

    /// A token with these claims, which expires at `expiry`.
    pub fn sign(&mut self, claims: &Value, expiry: u64, now: u64) -> String {
        let place = self.signer(now);
        let key = &mut self.keys[place];
        key.last_expiry = key.last_expiry.max(expiry);
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": key.id});
        let signed = [header, claims.clone()].map(|part| BASE64URL.encode(part.to_string())).join(".");
        let signature: Signature = key.signing.sign(signed.as_bytes());
        format!("{signed}.{}", BASE64URL.encode(signature.to_bytes()))
    }

    /// The JWK set of the public halves.
    pub fn published(&mut self, now: u64) -> Value {
        let signer = self.keys[self.signer(now)].id.clone();
        self.keys.retain(|key| key.id == signer || key.signs_from > now || key.last_expiry + LEEWAY_S > now);
        json!({"keys": self.keys.iter().map(|key| &key.public).collect::<Vec<_>>()})
    }

    fn signer(&self, now: u64) -> usize {
        self.keys.iter().rposition(|key| key.signs_from <= now).expect("the first key signs at once")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(token: &str) -> String {
        let header = BASE64URL.decode(token.split('.').next().unwrap()).unwrap();
        serde_json::from_slice::<Value>(&header).unwrap()["kid"].as_str().unwrap().to_owned()
    }

    fn published(ring: &mut KeyRing, now: u64) -> Vec<String> {
        let set = ring.published(now);
        set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_key_is_published_before_it_signs_and_as_long_as_its_tokens_live() {
        let mut ring = KeyRing::new();
        let old = signer(&ring.sign(&json!({}), 160, 100));
        let new = ring.rotate(100).id.clone();
        assert_eq!(published(&mut ring, 100), [old.clone(), new.clone()]);
        assert_eq!(signer(&ring.sign(&json!({}), 160, 109)), old);
        assert_eq!(signer(&ring.sign(&json!({}), 160, 110)), new);
        assert_eq!(published(&mut ring, 189), [old, new.clone()]);
        assert_eq!(published(&mut ring, 190), [new]);
    }
}
