//! Digests are kept as their hexadecimal digits alone.

use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer, Serializer};

use crate::config::Digest;

pub(super) fn serialize<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(digest.hex())
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    let hex = String::deserialize(deserializer)?;
    Digest::from_hex(&hex).ok_or_else(|| D::Error::custom(format!("'{hex}' is no SHA-256")))
}
