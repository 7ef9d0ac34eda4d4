use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::IgnoredAny;
use sluicegate_plugin::Buffer;

use crate::rows::Row;

/// What the texts of a column are in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Type {
    /// A string.
    String,
    /// A number, with the digits that were written.
    Number,
    /// `true` or `false`, of `true`, `false` in any case, `1` and `0`.
    Boolean,
}

/// How fields are written, whatever the columns are.
pub(crate) struct Style {
    /// The types of columns, by name; strings otherwise.
    pub(crate) types: BTreeMap<String, Type>,
    /// Texts that stand for null, in any column.
    pub(crate) nulls: Vec<String>,
    /// Whether spaces around a field are no part of it.
    pub(crate) trim: bool,
}

/// The columns of rows, in order.
#[derive(Default)]
pub(crate) struct Layout {
    columns: Vec<Column>,
}

struct Column {
    name: String,
    /// What stands before the value: `"name":`, after a comma if it is not the first.
    before: Vec<u8>,
    r#type: Type,
}

impl Layout {
    /// Columns of these names.
    ///
    /// # Errors
    /// A name is there twice.
    pub(crate) fn new<'a>(names: impl IntoIterator<Item = &'a str>, style: &Style) -> Result<Self, String> {
        let (mut columns, mut known) = (Vec::new(), BTreeSet::new());
        for name in names {
            if !known.insert(name) {
                return Err(format!("two columns have the name `{name}`"));
            }
            let comma = if columns.is_empty() { "" } else { "," };
            let before = format!("{comma}{}:", serde_json::Value::from(name)).into_bytes();
            let r#type = style.types.get(name).copied().unwrap_or(Type::String);
            columns.push(Column { name: name.to_owned(), before, r#type });
        }
        Ok(Layout { columns })
    }

    /// Columns of the names that stand in a row.
    ///
    /// # Errors
    /// A name is there twice, or is not UTF-8.
    pub(crate) fn of_row(row: Row<'_>, style: &Style) -> Result<Self, String> {
        let names = row.fields().map(|name| str::from_utf8(trimmed(name, style.trim)));
        let names: Vec<&str> =
            names.collect::<Result<_, _>>().map_err(|_| ": a column's name is not UTF-8".to_owned())?;
        Layout::new(names, style).map_err(|what| format!(": {what}"))
    }

    /// Writes a row as a JSON object.
    ///
    /// # Errors
    /// It has more or fewer columns, or a field that is not what its column is; no field is shown.
    pub(crate) fn write(&self, row: Row<'_>, style: &Style, into: &mut Buffer<'_>) -> Result<(), String> {
        if row.len() != self.columns.len() {
            return Err(format!(" has {} columns, and not {}", row.len(), self.columns.len()));
        }
        into.push(b'{');
        for (column, field) in self.columns.iter().zip(row.fields()) {
            into.extend_from_slice(&column.before);
            let field = trimmed(field, style.trim);
            if style.nulls.iter().any(|null| null.as_bytes() == field) {
                into.extend_from_slice(b"null");
            } else {
                column.r#type.write(field, into).map_err(|what| format!(", column `{}`: {what}", column.name))?;
            }
        }
        into.push(b'}');
        Ok(())
    }
}

impl Type {
    fn write(self, field: &[u8], into: &mut Buffer<'_>) -> Result<(), &'static str> {
        match self {
            Type::String => {
                let text = str::from_utf8(field).map_err(|_| "not UTF-8 text")?;
                serde_json::to_writer(into, text).expect("a text is JSON, and a buffer takes it");
            }
            Type::Number if is_number(field) => into.extend_from_slice(field),
            Type::Number => return Err("not a number as JSON has them"),
            Type::Boolean if field == b"1" || field.eq_ignore_ascii_case(b"true") => into.extend_from_slice(b"true"),
            Type::Boolean if field == b"0" || field.eq_ignore_ascii_case(b"false") => into.extend_from_slice(b"false"),
            Type::Boolean => return Err("neither true nor false"),
        }
        Ok(())
    }
}

/// Whether the field is a number in JSON's own grammar, with nothing around it.
fn is_number(field: &[u8]) -> bool {
    let begins = field.first().is_some_and(|byte| matches!(byte, b'-' | b'0'..=b'9'));
    let ends = field.last().is_some_and(u8::is_ascii_digit);
    begins && ends && serde_json::from_slice::<IgnoredAny>(field).is_ok()
}

fn trimmed(field: &[u8], trim: bool) -> &[u8] {
    if trim { field.trim_ascii() } else { field }
}
