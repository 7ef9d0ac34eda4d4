use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::sign::Verifier;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer};
use sha2::{Digest as _, Sha256};

use crate::config::parsed;

/// A public key, Ed25519 or ECDSA on P-256, by which cosign signs. Shown as its id: the first bytes of a hash, as signatures
/// name it.
#[derive(Clone)]
pub struct PublicKey {
    /// As X.509 has it, and so OpenSSL.
    der: Vec<u8>,
    id: String,
    /// An Ed25519 key checks signatures within plugins, too.
    within: Option<wasmsign2::PublicKey>,
}

/// An Ed25519 secret key, never shown.
pub struct SecretKey(pub(super) wasmsign2::SecretKey);

impl PublicKey {
    fn ed25519(key: wasmsign2::PublicKey) -> Self {
        let key = key.attach_default_key_id();
        PublicKey { der: key.to_der(), id: hex::encode(key.key_id.as_deref().unwrap_or_default()), within: Some(key) }
    }

    fn p256(der: &[u8]) -> Option<Self> {
        let key = PKey::public_key_from_der(der).and_then(|key| key.ec_key()).ok()?;
        let is_sound = key.check_key().is_ok() && key.group().curve_name() == Some(Nid::X9_62_PRIME256V1);
        // Written anew: a point may be written in two ways.
        let der = is_sound.then(|| key.public_key_to_der().ok()).flatten()?;
        let id = hex::encode(&Sha256::digest(&der)[..ID_BYTES]);
        Some(PublicKey { der, id, within: None })
    }

    /// As a PEM file, which OpenSSL reads too.
    pub fn to_pem(&self) -> String {
        let body = STANDARD.encode(&self.der);
        format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
    }

    /// The key that checks signatures within plugins. None for ECDSA, whose signatures are all beside plugins.
    pub(super) fn within(&self) -> Option<&wasmsign2::PublicKey> {
        self.within.as_ref()
    }

    /// Whether this key signed this message: Ed25519 as it is, ECDSA by its SHA-256.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = PKey::public_key_from_der(&self.der);
        let verified = key.and_then(|key| {
            let mut verifier = match self.within {
                Some(_) => Verifier::new_without_digest(&key),
                None => Verifier::new(MessageDigest::sha256(), &key),
            }?;
            verifier.verify_oneshot(signature, message)
        });
        verified.unwrap_or(false)
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for PublicKey {}

impl SecretKey {
    /// A new key, from the system's random numbers.
    pub fn generate() -> Self {
        SecretKey(wasmsign2::KeyPair::generate().sk)
    }

    /// The key of a PEM file, from here or by `openssl genpkey -algorithm ed25519`.
    ///
    /// # Errors
    /// It is none.
    pub fn from_pem(text: &str) -> Result<Self, String> {
        let key = wasmsign2::SecretKey::from_pem(text).map(SecretKey);
        key.map_err(|_| "not an Ed25519 secret key as PEM: 'sluicegate keygen' makes one".into())
    }

    /// As a PEM file.
    pub fn to_pem(&self) -> String {
        self.0.to_pem()
    }

    /// Its other half.
    pub fn public(&self) -> PublicKey {
        PublicKey::ed25519(wasmsign2::PublicKey { pk: self.0.sk.public_key(), key_id: None })
    }
}

impl FromStr for PublicKey {
    type Err = String;

    /// Reads a PEM file's text, or what is between its first line and its last.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains("PRIVATE KEY") {
            return Err("that is a secret key: name the public one, which ends with .pub".into());
        }
        let middle: String = text.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
        let expected = || format!("expected {EXPECTED}");
        let der = STANDARD.decode(middle).map_err(|_| expected())?;
        let ed25519 = wasmsign2::PublicKey::from_der(&der).ok().filter(|key| key.pk.validate().is_ok());
        ed25519.map(PublicKey::ed25519).or_else(|| PublicKey::p256(&der)).ok_or_else(expected)
    }
}

/// As long as the ids of Ed25519 keys.
const ID_BYTES: usize = 12;
const EXPECTED: &str = "a public key, Ed25519 or ECDSA on P-256: the text of a .pub file of 'sluicegate keygen' or \
                        'cosign generate-key-pair', as ${file:ops.pub}, or what is between its first line and its last";

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, EXPECTED)
    }
}

impl JsonSchema for PublicKey {
    fn schema_name() -> Cow<'static, str> {
        "PublicKey".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A public key, Ed25519 or ECDSA on P-256: the text of a PEM file, or what is between its first line and \
                            its last.",
            "type": "string",
            "examples": ["${file:ops.pub}", "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout`, as RFC 8410 prints them.
    const SECRET: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

    #[test]
    fn openssls_keys_are_read() {
        let secret = SecretKey::from_pem(SECRET).unwrap();
        let public: PublicKey = PUBLIC.parse().unwrap();
        assert_eq!(secret.public(), public);
        assert_eq!((secret.to_pem(), public.to_pem()), (SECRET.to_owned(), PUBLIC.to_owned()));
        let middle = PUBLIC.lines().nth(1).unwrap();
        assert_eq!(middle.parse(), Ok(public));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert!(SECRET.parse::<PublicKey>().unwrap_err().contains("a secret key"));
        assert!(SecretKey::from_pem(PUBLIC).is_err());
        // The last is a point of small order, under which anybody can sign.
        for text in ["", "x", "MCowBQYDK2VwAyEA", "MCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="] {
            assert!(text.parse::<PublicKey>().unwrap_err().contains("expected a public key"), "{text}");
        }
    }
}
