use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error as _};

/// An Ed25519 public key. Shown as its id: the first bytes of a hash, as signatures name it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey(pub(super) wasmsign2::PublicKey);

/// An Ed25519 secret key, never shown.
pub struct SecretKey(pub(super) wasmsign2::SecretKey);

impl PublicKey {
    fn of(key: wasmsign2::PublicKey) -> Self {
        PublicKey(key.attach_default_key_id())
    }

    /// As a PEM file, which OpenSSL reads too.
    pub fn to_pem(&self) -> String {
        self.0.to_pem()
    }
}

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
        PublicKey::of(wasmsign2::PublicKey { pk: self.0.sk.public_key(), key_id: None })
    }
}

impl FromStr for PublicKey {
    type Err = String;

    /// Reads a PEM file's text, or its middle line alone.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains("PRIVATE KEY") {
            return Err("that is a secret key: name the public one, which ends with .pub".into());
        }
        let middle: String = text.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
        let der = STANDARD.decode(middle).map_err(drop);
        let key = der.and_then(|der| wasmsign2::PublicKey::from_der(&der).map_err(drop));
        let sound = key.and_then(|key| key.pk.validate().map_err(drop).map(|()| key));
        sound.map(PublicKey::of).map_err(|()| EXPECTED.into())
    }
}

const EXPECTED: &str = "expected an Ed25519 public key: the text of a .pub file of 'sluicegate keygen', as ${file:ops.pub}, \
                        or its middle line";

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0.key_id.as_deref().unwrap_or_default()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for PublicKey {
    fn schema_name() -> Cow<'static, str> {
        "PublicKey".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An Ed25519 public key: the text of a PEM file, or its middle line.",
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
            assert!(text.parse::<PublicKey>().unwrap_err().contains("expected an Ed25519 public key"), "{text}");
        }
    }
}
