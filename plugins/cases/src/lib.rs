//! Runs the case files of a plugin, `cases/*.yaml`, against its type: the files that `sluicegate test` runs against the
//! component, here in `cargo test`, without a runtime.
//!
//! What a file leaves out matters: a field of an expected output that is not there is inherited from the input, which
//! is not the same as null.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};
use sluicegate_plugin::Plugin;
use sluicegate_plugin::testing::{self, Header, Input, Outcome, Output};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "no_config")]
    config: Value,
    #[serde(default)]
    outputs: Vec<String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    record: Map<String, Value>,
    expect: Value,
}

fn no_config() -> Value {
    Value::Object(Map::new())
}

/// Runs all case files of the plugin whose crate cargo is testing. Cargo is asked when the test runs: checkouts may
/// share a target folder.
///
/// # Panics
/// Where a case fails, a file cannot be read, a configuration does not fit the plugin's schema, or there is no file.
pub fn run<P: Plugin>() {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("run by cargo");
    let folder = Path::new(&package).join("cases");
    let entries = std::fs::read_dir(&folder).expect("a folder of cases");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(!files.is_empty(), "no cases in {}", folder.display());
    let failures: Vec<String> = files.iter().flat_map(|file| run_file::<P>(file)).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn run_file<P: Plugin>(path: &Path) -> Vec<String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"));
    let file: File = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    fits_schema::<P>(&file.config).unwrap_or_else(|error| panic!("{name}: config: {error}"));
    let outputs: Vec<&str> = file.outputs.iter().map(String::as_str).collect();
    let inputs: Vec<Input> = file.cases.iter().map(|case| input(&case.record)).collect();
    let outcomes = testing::run::<P>(&file.config.to_string(), &outputs, inputs)
        .unwrap_or_else(|error| panic!("{name}: configure: {error}"));
    let checked = file.cases.iter().zip(&outcomes).filter_map(|(case, outcome)| {
        let what = check(case, outcome).err()?;
        Some(format!("{name}: {}: {what}", case.name))
    });
    checked.collect()
}

/// Whether the runtime would accept the configuration, which it checks before the plugin sees it.
///
/// # Errors
/// What the schema says against it.
///
/// # Panics
/// If the schema is not one.
pub fn fits_schema<P: Plugin>(config: &Value) -> Result<(), String> {
    let schema = serde_json::from_str(&testing::schema::<P>()).expect("a schema in JSON");
    let schema = jsonschema::validator_for(&schema).expect("a valid schema");
    schema.validate(config).map_err(|error| error.to_string())
}

fn input(record: &Map<String, Value>) -> Input {
    let mut input = Input::new();
    for (field, value) in record {
        input = match field.as_str() {
            "key" => match bytes(value) {
                Some(key) => input.key(key),
                None => input,
            },
            "value" => match bytes(value) {
                Some(value) => input.value(value),
                None => input,
            },
            "timestamp" => input.timestamp(value.as_i64().expect("a timestamp")),
            "topic" => input.topic(value.as_str().expect("a topic")),
            "partition" => input.partition(value.as_u64().and_then(|n| u32::try_from(n).ok()).expect("a partition")),
            "offset" => input.offset(value.as_u64().expect("an offset")),
            "headers" => headers(value).into_iter().fold(input, |input, (key, value)| {
                let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("a header of text");
                input.header(&text(key), value.map(text).as_deref())
            }),
            unknown => panic!("a record has no `{unknown}`"),
        };
    }
    input
}

/// A key or value as a file writes it: text, `{ base64: … }`, null, or anything else as compact JSON.
fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone().into_bytes()),
        value => Some(base64(value).unwrap_or_else(|| value.to_string().into_bytes())),
    }
}

fn base64(value: &Value) -> Option<Vec<u8>> {
    let fields = value.as_object().filter(|fields| fields.len() == 1)?;
    Some(STANDARD.decode(fields.get("base64")?.as_str()?).expect("base64"))
}

fn headers(value: &Value) -> Vec<Header> {
    let pairs = value.as_array().expect("headers are a list");
    let header = |pair: &Value| {
        let key = pair[0].as_str().expect("a header's name").as_bytes().to_vec();
        (key, bytes(&pair[1]))
    };
    pairs.iter().map(header).collect()
}

fn check(case: &Case, outcome: &Outcome) -> Result<(), String> {
    let fits = match (&case.expect, outcome) {
        (Value::String(expected), Outcome::Drop) => expected == "drop",
        (Value::String(expected), Outcome::Pass) => expected == "pass",
        (expected, Outcome::Reject(reason)) => {
            expected["reject"].as_str().is_some_and(|expected| reason.contains(expected))
        }
        (expected, Outcome::Emit(outputs)) => return check_outputs(case, &expected["emit"], outputs),
        _ => false,
    };
    if fits { Ok(()) } else { Err(format!("expected {}, got {outcome:?}", case.expect)) }
}

fn check_outputs(case: &Case, expected: &Value, outputs: &[Output]) -> Result<(), String> {
    let expected = expected.as_array().ok_or_else(|| format!("expected {}, got {outputs:?}", case.expect))?;
    if expected.len() != outputs.len() {
        return Err(format!("expected {} outputs, got {outputs:?}", expected.len()));
    }
    for (index, (expected, output)) in expected.iter().zip(outputs).enumerate() {
        let expected = expected.as_object().expect("an output is a mapping");
        for field in FIELDS {
            if !field_fits(field, expected, &case.record, output) {
                return Err(format!("output {index}: {field}: expected {expected:?}, got {output:?}"));
            }
        }
        if let Some(unknown) = expected.keys().find(|field| !FIELDS.contains(&field.as_str())) {
            return Err(format!("an output has no `{unknown}`"));
        }
    }
    Ok(())
}

const FIELDS: [&str; 5] = ["to", "timestamp", "key", "value", "headers"];

fn field_fits(field: &str, expected: &Map<String, Value>, record: &Map<String, Value>, output: &Output) -> bool {
    // What an output does not say, it inherits; where it goes is not part of the record.
    let inherited = if field == "to" { None } else { record.get(field) };
    let wanted = expected.get(field).or(inherited).unwrap_or(&Value::Null);
    match field {
        "to" => wanted.as_str() == output.to.as_deref(),
        "timestamp" => wanted.as_i64() == output.timestamp,
        "key" => same_bytes(wanted, output.key.as_deref()),
        "value" => same_bytes(wanted, output.value.as_deref()),
        _ if wanted.is_null() => output.headers.is_empty(),
        _ => headers(wanted) == output.headers,
    }
}

fn same_bytes(wanted: &Value, got: Option<&[u8]>) -> bool {
    let is_json = !matches!(wanted, Value::Null | Value::String(_)) && base64(wanted).is_none();
    match got {
        Some(got) if is_json => serde_json::from_slice::<Value>(got).is_ok_and(|got| got == *wanted),
        got => bytes(wanted).as_deref() == got,
    }
}
