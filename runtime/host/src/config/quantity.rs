//! Values that people write with a unit or a prefix.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytesize::ByteSize;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error, Unexpected};
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use sluicegate_wasm::Plugin;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// So many KiB.
    pub const fn kib(count: u64) -> Self {
        Size(count << 10)
    }

    /// So many MiB.
    pub const fn mib(count: u64) -> Self {
        Size(count << 20)
    }

    /// As the length of something in memory.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units.iter().find(|(shift, _)| self.0 != 0 && self.0.trailing_zeros() >= *shift) {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, &SIZE_EXPECTED, |text| text.parse().ok())
    }
}

const SIZE_EXPECTED: &str = "a size such as 64MiB, '1 MB' or 65536";

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let size = text.parse::<ByteSize>().map_err(|_| format!("expected {SIZE_EXPECTED}"))?;
        Ok(Size(size.as_u64()))
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of bytes, with or without a unit.",
            "type": ["string", "integer"],
            "minimum": 0,
            "pattern": r"^([0-9]+(\.[0-9]+)? *([kKmMgGtT]([iI]?[bB])?|[bB])?|.*\$\{.+\}.*)$",
            "examples": ["64MiB", "1 MB", 65536],
        })
    }
}

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

impl Time {
    /// So many milliseconds.
    pub const fn ms(count: u64) -> Self {
        Time(Duration::from_millis(count))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, &TIME_EXPECTED, |text| text.parse().ok())
    }
}

const TIME_EXPECTED: &str = "a time with its unit, such as 100ms, 5s or '1m 30s'";

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text).map(Time).map_err(|_| format!("expected {TIME_EXPECTED}"))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A length of time with its unit.",
            "type": "string",
            "pattern": r"^(( *[0-9]+ *[a-zA-Zµ]+)+ *|.*\$\{.+\}.*)$",
            "examples": ["100ms", "5s", "1m 30s"],
        })
    }
}

/// Where to begin a partition of which the group has no offset yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record that is kept.
    #[default]
    Earliest,
    /// At the records that come from now on.
    Latest,
    /// At the first record of this timestamp or a later one, in milliseconds since the Unix epoch.
    At(i64),
}

impl Start {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "earliest" => Some(Start::Earliest),
            "latest" => Some(Start::Latest),
            text => text.parse().ok().filter(|ms| *ms >= 0).or_else(|| rfc3339_ms(text)).map(Start::At),
        }
    }
}

fn rfc3339_ms(text: &str) -> Option<i64> {
    unix_ms(humantime::parse_rfc3339_weak(text).ok()?)
}

/// Milliseconds since the Unix epoch; none before it.
pub(crate) fn unix_ms(time: SystemTime) -> Option<i64> {
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

impl<'de> Deserialize<'de> for Start {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = &"earliest, latest, or a time such as 2026-01-31T12:00:00Z or 1769860800000 (ms)";
        from_text(deserializer, expected, Start::parse)
    }
}

impl Serialize for Start {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Start::Earliest => serializer.serialize_str("earliest"),
            Start::Latest => serializer.serialize_str("latest"),
            Start::At(ms) => serializer.serialize_i64(*ms),
        }
    }
}

impl JsonSchema for Start {
    fn schema_name() -> Cow<'static, str> {
        "Start".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Where to begin a partition of which the group has no offset yet: earliest, latest, an \
                            RFC 3339 time, or milliseconds since the Unix epoch.",
            "type": ["string", "integer"],
            "minimum": 0,
            "examples": ["earliest", "latest", "2026-01-31T12:00:00Z", 1_769_860_800_000_u64],
        })
    }
}

/// A SHA-256, written `sha256:` and 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(transparent)]
pub struct Digest(#[schemars(regex(pattern = r"^sha256:[0-9a-fA-F]{64}$"))] String);

impl Digest {
    /// The hexadecimal digits, in lower case.
    pub fn hex(&self) -> &str {
        &self.0
    }

    /// That of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Digest(hex::encode(Sha256::digest(bytes)))
    }

    /// That of a plugin's bytes.
    pub(crate) fn of_plugin(plugin: &Plugin) -> Self {
        Digest(plugin.artifact().digest.clone())
    }

    /// The digest that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        Digest::from_hex(text.strip_prefix("sha256:")?)
    }

    /// The digest of these hexadecimal digits.
    pub(crate) fn from_hex(hex: &str) -> Option<Self> {
        let is_hex = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| Digest(hex.to_ascii_lowercase()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, &"sha256: and 64 hexadecimal digits", Digest::parse)
    }
}

const ADDRESS: &str = "an IP address and port such as 127.0.0.1:9644";

/// An address to listen on, as files and command lines have it.
///
/// # Errors
/// What is expected.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    parse_address(text.trim()).ok_or_else(|| format!("expected {ADDRESS}"))
}

/// The same, of a file.
pub(super) fn read_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    from_text(deserializer, &ADDRESS, parse_address)
}

fn parse_address(text: &str) -> Option<SocketAddr> {
    text.replacen("localhost:", "127.0.0.1:", 1).parse().ok()
}

/// What a text stands for. If it stands for nothing, the error is that of `FromStr`, which may quote the text; where that came
/// from the environment or a file, the error says what is expected instead.
pub(crate) fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err = String>>(
    deserializer: D,
    expected: &str,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|words: String| D::Error::invalid_value(Unexpected::Other(&words), &expected))
}

fn from_text<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: &'static &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, D::Error> {
    struct Text<P>(&'static &'static str, P);

    impl<T, P: Fn(&str) -> Option<T>> serde::de::Visitor<'_> for Text<P> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            (self.1)(text.trim()).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
        }
    }

    deserializer.deserialize_str(Text(expected, parse))
}
