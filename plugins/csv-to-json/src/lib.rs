//! Makes JSON objects of rows of CSV: one output record a row.

mod layout;
mod rows;

use std::collections::BTreeMap;

use conditions::Unjudged;
use layout::{Layout, Style, Type};
use rows::Rows;
use schemars::JsonSchema;
use serde::Deserialize;
use sluicegate_plugin::prelude::*;

/// Where the columns have their names from (exactly one of `columns`, `columns-header` and `columns-row`), and how fields are
/// read.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    /// The names of the columns, in order.
    columns: Option<Vec<String>>,
    /// The name of the record's header that has the names, as a row of CSV; the last one counts where there are several.
    columns_header: Option<String>,
    /// `true` where the first row of each value has the names.
    #[serde(default)]
    columns_row: bool,
    /// What the fields of a column are; strings where nothing is said.
    #[serde(default)]
    types: BTreeMap<String, Type>,
    /// Fields that become null, in any column, such as `""` or `"NULL"`.
    #[serde(default)]
    nulls: Vec<String>,
    /// What stands between fields: one ASCII character.
    #[serde(default = "comma")]
    delimiter: char,
    /// What stands around fields that have a delimiter, a newline or a quote in them: one ASCII character.
    #[serde(default = "double_quote")]
    quote: char,
    /// Whether spaces around a field are no part of it.
    #[serde(default)]
    trim: bool,
    /// What becomes of a record whose value is not the CSV that is expected.
    #[serde(default = "Unjudged::reject")]
    invalid: Unjudged,
    /// What becomes of a tombstone.
    #[serde(default = "Unjudged::pass")]
    tombstones: Unjudged,
}

fn comma() -> char {
    ','
}

fn double_quote() -> char {
    '"'
}

/// Where the names of columns come from.
enum Names {
    Config,
    Header(String),
    Row,
}

struct CsvToJson {
    names: Names,
    /// The header that the layout was made of last, which is mostly that of the next record too.
    named_by: Vec<u8>,
    layout: Layout,
    style: Style,
    rows: Rows,
    invalid: Unjudged,
    tombstones: Unjudged,
}

impl Plugin for CsvToJson {
    type Config = Config;

    fn configure(config: Config, _: &Outputs) -> Result<Self, Error> {
        let style = Style { types: config.types, nulls: config.nulls, trim: config.trim };
        let (names, layout) = match (config.columns, config.columns_header, config.columns_row) {
            (Some(columns), None, false) => (Names::Config, named(&columns, &style)?),
            (None, Some(header), false) => (Names::Header(header), Layout::default()),
            (None, None, true) => (Names::Row, Layout::default()),
            _ => {
                let one =
                    "exactly one of `columns`, `columns-header` and `columns-row: true` says what the columns are";
                return Err(Error::new(one));
            }
        };
        let (delimiter, quote) = (ascii("delimiter", config.delimiter)?, ascii("quote", config.quote)?);
        if delimiter == quote {
            return Err(Error::new("`delimiter` and `quote` are the same"));
        }
        let rows = Rows::new(delimiter, quote);
        let (invalid, tombstones) = (config.invalid, config.tombstones);
        Ok(CsvToJson { names, named_by: Vec::new(), layout, style, rows, invalid, tombstones })
    }

    fn process(&mut self, record: Record<'_>) -> Outcome {
        let Some(value) = record.value() else { return self.tombstones.outcome("a tombstone has no rows") };
        if let Err(nameless) = self.read_header(&record) {
            return self.invalid.outcome(nameless);
        }
        let mut names_come = matches!(self.names, Names::Row);
        let mut split = record.split();
        let read = self.rows.read(value, |row| {
            if names_come {
                names_come = false;
                self.layout = Layout::of_row(row, &self.style)?;
                return Ok(());
            }
            self.layout.write(row, &self.style, &mut split.add().write_value())
        });
        match read {
            Ok(0) => self.invalid.outcome("the value has no row"),
            Ok(_) => split.done(),
            Err(malformed) => self.invalid.outcome(malformed),
        }
    }
}

impl CsvToJson {
    /// Takes the columns from the record's header, where they come from there.
    fn read_header(&mut self, record: &Record<'_>) -> Result<(), String> {
        let Names::Header(name) = &self.names else { return Ok(()) };
        let header = record.header(name).and_then(|header| header.value);
        let header = header.ok_or_else(|| format!("there is no header `{name}`, which names the columns"))?;
        if header != self.named_by {
            let mut layout = Layout::default();
            let read = self.rows.read(header, |row| {
                layout = Layout::of_row(row, &self.style)?;
                Ok(())
            });
            match read {
                Ok(1) => (self.layout, self.named_by) = (layout, header.to_vec()),
                Ok(rows) => return Err(format!("header `{name}`: the names of columns are one row, and not {rows}")),
                Err(malformed) => return Err(format!("header `{name}`: {malformed}")),
            }
        }
        Ok(())
    }
}

/// The layout of configured columns. A type of a column that is not there is a mistake.
fn named(columns: &[String], style: &Style) -> Result<Layout, Error> {
    if columns.is_empty() || columns.len() > rows::COLUMNS_MAX {
        return Err(Error::new(format_args!("`columns` needs one name at least, and {} at most", rows::COLUMNS_MAX)));
    }
    if let Some(unknown) = style.types.keys().find(|name| !columns.contains(name)) {
        return Err(Error::new(format_args!("types.{unknown}: there is no such column")));
    }
    Layout::new(columns.iter().map(String::as_str), style).map_err(Error::new)
}

fn ascii(key: &str, char: char) -> Result<u8, Error> {
    let byte = u8::try_from(char).ok().filter(|byte| byte.is_ascii() && !matches!(byte, b'\r' | b'\n'));
    byte.ok_or_else(|| Error::new(format_args!("`{key}` has to be an ASCII character, and no end of a line")))
}

sluicegate_plugin::export!(CsvToJson);

#[cfg(test)]
mod tests {
    use super::CsvToJson;
    use sluicegate_plugin::testing::{Input, Outcome, run};

    fn refusal(config: &str) -> String {
        run::<CsvToJson>(config, &[], []).unwrap_err()
    }

    #[test]
    fn cases() {
        cases::run::<CsvToJson>();
    }

    #[test]
    fn a_configuration_that_does_not_fit_is_refused() {
        assert!(refusal("{}").starts_with("exactly one of `columns`"));
        assert!(refusal(r#"{"columns": ["a"], "columns-row": true}"#).starts_with("exactly one of `columns`"));
        assert!(refusal(r#"{"columns": []}"#).contains("one name at least"));
        assert_eq!(refusal(r#"{"columns": ["a", "b", "a"]}"#), "two columns have the name `a`");
        let typo = refusal(r#"{"columns": ["price"], "types": {"pirce": "number"}}"#);
        assert_eq!(typo, "types.pirce: there is no such column");
        assert!(refusal(r#"{"columns": ["a"], "types": {"a": "integer"}}"#).starts_with("types.a: unknown variant"));
        assert!(
            refusal(r#"{"columns": ["a"], "delimiter": "é"}"#).contains("`delimiter` has to be an ASCII character")
        );
        assert!(refusal(r#"{"columns": ["a"], "quote": ","}"#).contains("the same"));
        assert!(refusal(r#"{"columns": ["a"], "delimiter": "::"}"#).starts_with("delimiter: "));
    }

    #[test]
    fn the_names_of_a_header_hold_for_its_record_alone() {
        let record = |names: &str| Input::new().header("names", Some(names)).value("1,2");
        let config = r#"{"columns-header": "names"}"#;
        let outcomes = run::<CsvToJson>(config, &[], ["a,b", "a,a", "x,y\nb,a", "a,b", "b,a"].map(record)).unwrap();
        let values = outcomes.iter().map(|outcome| match outcome {
            Outcome::Emit(outputs) => String::from_utf8(outputs[0].value.clone().unwrap()).unwrap(),
            Outcome::Reject(reason) => reason.clone(),
            other => format!("{other:?}"),
        });
        let values: Vec<String> = values.collect();
        assert_eq!(
            values,
            [
                r#"{"a":"1","b":"2"}"#,
                "header `names`: row 1: two columns have the name `a`",
                "header `names`: the names of columns are one row, and not 2",
                r#"{"a":"1","b":"2"}"#,
                r#"{"b":"1","a":"2"}"#,
            ]
        );
    }

    #[test]
    fn the_schema_says_the_same_as_the_plugin() {
        let fits = |config| cases::fits_schema::<CsvToJson>(&config);
        fits(serde_json::json!({ "columns": ["a"], "types": { "a": "number" }, "delimiter": "\t" })).unwrap();
        fits(serde_json::json!({ "columns": ["a"], "types": { "a": "integer" } })).unwrap_err();
        fits(serde_json::json!({ "columns": ["a"], "delimiter": ",," })).unwrap_err();
    }
}
