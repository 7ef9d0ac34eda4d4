use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

/// Which header carries an output's stable id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IdHeader {
    /// As the delivery asks for; a pipeline that was read has one of the others.
    #[default]
    ByDelivery,
    /// None.
    Off,
    /// The one of this name.
    Named(String),
}

impl IdHeader {
    /// What it is called unless the file says otherwise.
    pub const NAME: &str = "sluicegate-id";

    /// Its name; none where there is no such header.
    pub fn name(&self) -> Option<&str> {
        match self {
            IdHeader::ByDelivery | IdHeader::Off => None,
            IdHeader::Named(name) => Some(name),
        }
    }
}

impl From<bool> for IdHeader {
    fn from(on: bool) -> Self {
        if on { IdHeader::Named(IdHeader::NAME.to_owned()) } else { IdHeader::Off }
    }
}

impl<'de> Deserialize<'de> for IdHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrBool;

        impl Visitor<'_> for NameOrBool {
            type Value = IdHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or the name of a header")
            }

            fn visit_bool<E: Error>(self, on: bool) -> Result<IdHeader, E> {
                Ok(on.into())
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<IdHeader, E> {
                Ok(IdHeader::Named(name.to_owned()))
            }
        }

        deserializer.deserialize_any(NameOrBool)
    }
}

impl serde::Serialize for IdHeader {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            IdHeader::ByDelivery => serializer.serialize_none(),
            IdHeader::Off => serializer.serialize_bool(false),
            IdHeader::Named(name) => serializer.serialize_str(name),
        }
    }
}

impl JsonSchema for IdHeader {
    fn schema_name() -> Cow<'static, str> {
        "IdHeader".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The header that carries each output's stable id: true (sluicegate-id), its name, or false.",
            "type": ["string", "boolean"],
            "minLength": 1,
            "examples": [true, false, "x-output-id"],
        })
    }
}
