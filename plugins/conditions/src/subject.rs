use sluicegate_plugin::{Error, Record};

use crate::fields::{Fields, NotJson};
use crate::found::Found;

/// What a test is about: exactly one of them.
#[derive(Debug, Default)]
pub struct SubjectConfig {
    /// The record's key.
    pub key: bool,
    /// The last header of this name.
    pub header: Option<String>,
    /// The field at this path of the value, which is JSON then.
    pub field: Option<String>,
}

/// What a test is about, ready to be read.
#[derive(Debug)]
pub enum Subject {
    /// The record's key.
    Key,
    /// The last header of this name.
    Header(String),
    /// The fields at a path of the value.
    Field(Fields),
}

impl Subject {
    /// Reads the configuration.
    ///
    /// # Errors
    /// If it names none or more than one, or a path is none.
    pub fn new(config: SubjectConfig) -> Result<Self, Error> {
        match (config.key, config.header, config.field) {
            (true, None, None) => Ok(Subject::Key),
            (false, Some(name), None) => Ok(Subject::Header(name)),
            (false, None, Some(path)) => Ok(Subject::Field(Fields::new([path.as_str()])?)),
            _ => Err(Error::new("exactly one of `key: true`, `header` and `field` says what is tested")),
        }
    }

    /// Calls `found` with everything the record has there: for a field, one call for each that the path leads to.
    ///
    /// # Errors
    /// If a field is asked for, and the value is not JSON. A tombstone has no fields, and is no error.
    pub fn read<'a>(&self, record: &Record<'a>, mut found: impl FnMut(Found<'a>)) -> Result<(), NotJson> {
        match self {
            Subject::Key => record.key().into_iter().for_each(|key| found(Found::Bytes(key))),
            Subject::Header(name) => {
                record.header(name).into_iter().for_each(|header| found(Found::bytes(header.value)));
            }
            Subject::Field(fields) => {
                let Some(value) = record.value() else { return Ok(()) };
                fields.visit(value, |raw| found(Found::json(raw)))?;
            }
        }
        Ok(())
    }
}
