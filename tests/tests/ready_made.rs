//! The ready-made plugins as their users get them: components, in several languages, by their own cases, and in a pipeline.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sluicegate_tests::build::project;
use sluicegate_tests::pipeline::Pipeline;
use sluicegate_tests::plugins::plugin;
use sluicegate_tests::program::{Output, free_address, sluicegate};
use sluicegate_tests::wait::eventually;

/// A first run compiles the plugin, which takes an interpreter half a minute on a busy machine.
const SOON: Duration = Duration::from_secs(300);
const CUSTOMERS: usize = 10_000;

#[test]
fn uppercase() -> Result<()> {
    passes("uppercase", 4)
}

#[test]
fn filter() -> Result<()> {
    passes("filter", 27)
}

#[test]
fn redact() -> Result<()> {
    passes("redact", 20)
}

#[test]
fn route() -> Result<()> {
    passes("route", 19)
}

#[test]
fn regex() -> Result<()> {
    passes("regex", 37)
}

#[test]
fn jq() -> Result<()> {
    passes("jq", 25)
}

#[test]
fn csv_to_json() -> Result<()> {
    passes("csv-to-json", 21)
}

#[test]
fn mask() -> Result<()> {
    passes("mask", 15)
}

#[test]
fn enrich() -> Result<()> {
    passes("enrich", 23)
}

/// All cases of the plugin, of which there are so many; and its records come to the same end in whatever way they come.
fn passes(name: &str, cases: usize) -> Result<()> {
    let (plugin, folder) = (plugin(name)?, project().join("plugins").join(name));
    let args = ["test".as_ref(), folder.as_os_str(), "--json".as_ref(), "--repeat".as_ref(), "--plugin".as_ref()];
    let output = sluicegate(args.into_iter().chain([plugin.as_os_str()]))?.spawn()?.wait(SOON)?;
    let report: Value = serde_json::from_str(&output.stdout).with_context(|| format!("{output:?}"))?;
    ensure!(report["failed"] == 0 && report["passed"] == cases, "{report:#}");
    Ok(())
}

/// What no schema can say is said before the pipeline starts.
#[test]
fn what_cannot_work_is_refused_by_its_place() -> Result<()> {
    for (name, config, words) in [
        ("jq", json!({ "program": ".a | | .b" }), "program, line 1, column 6: expected term, found `|`"),
        ("regex", json!({ "pattern": "(a" }), "unclosed group"),
        ("csv-to-json", json!({ "columns": ["a"], "types": { "b": "number" } }), "types.b: there is no such column"),
        ("mask", json!({ "fields": [{ "path": "a", "hash": true }] }), "fields[0]: `hash` needs a `salt`"),
        ("mask", json!({ "fields": [{ "path": "a", "keep": 4 }] }), "keep"),
        (
            "enrich",
            json!({ "match": "a", "key": true, "table": { "csv": "a,b\n1" } }),
            "table.csv: line 2 has 1 columns",
        ),
        ("enrich", json!({ "match": "a", "key": true, "table": {}, "missing": "skip" }), "missing"),
    ] {
        let refused = validate(&plugin(name)?, &config)?;
        ensure!(refused.code == Some(2) && refused.stderr.contains(words), "{name}: {config}: {refused:?}");
    }
    Ok(())
}

fn validate(plugin: &Path, config: &Value) -> Result<Output> {
    let stage = json!({ "plugin": plugin, "config": config, "limits": { "compile-time": "10m", "deadline": "10s" } });
    let pipeline = Pipeline::new(&pipeline(&[stage]))?;
    sluicegate(["validate".as_ref(), pipeline.file().as_os_str()])?.spawn()?.wait(SOON)
}

/// A pipeline on the embedded log, as YAML, of which JSON is a part.
fn pipeline(stages: &[Value]) -> String {
    let pipeline = json!({
        "name": "ready-made",
        "source": { "local": { "path": "data", "topics": ["in"] } },
        "stages": stages,
        "sink": { "local": { "path": "data", "topic": "out" } },
        "dead-letter": { "topic": "dead" },
    });
    pipeline.to_string()
}

/// Rows of CSV become objects (in Rust), get their customers from a table of ten thousand (in Python), and lose their
/// secrets (in Go).
#[test]
fn three_languages_in_one_pipeline() -> Result<()> {
    let limits = json!({ "compile-time": "10m", "deadline": "10s" });
    let stages = [
        json!({ "plugin": plugin("csv-to-json")?, "config": { "columns": ["id", "customer"], "types": { "id": "number" } } }),
        json!({
            "plugin": plugin("enrich")?,
            "config": { "table": { "csv": "${file:customers.csv}" }, "match": "customer", "field": "customer", "into": "who" },
            "limits": limits,
        }),
        json!({
            "plugin": plugin("mask")?,
            "config": { "fields": [{ "path": "who.phone", "keep-last": 2 }] },
            "limits": limits,
        }),
    ];
    let pipeline = Pipeline::new(&pipeline(&stages))?;
    fs::write(pipeline.file().with_file_name("customers.csv"), customers())?;
    let data = pipeline.file().with_file_name("data");
    let local = |args: &[&str], input: &str| -> Result<Output> {
        let args = args.iter().map(OsStr::new).chain(["--local".as_ref(), data.as_os_str()]);
        let output = sluicegate(args)?.input(input).run()?;
        ensure!(output.code == Some(0), "{output:?}");
        Ok(output)
    };
    local(&["topics", "create", "in"], "")?;
    let values = ["1,c0", "2,c9999", "3,c10000", "four,c1"];
    local(&["produce", "in"], &values.map(|value| json!({ "value": value }).to_string()).join("\n"))?;

    let admin = free_address()?;
    let mut running = pipeline.start(admin)?;
    running.wait_ready(admin, SOON)?;
    let read = |topic: &str, count: usize| {
        eventually(SOON, topic, || {
            let seen = local(&["consume", topic], "")?.stdout;
            let records: Vec<Value> = seen.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
            Ok((records.len() == count).then_some(records))
        })
    };
    let (made, dead) = (read("out", 3)?, read("dead", 1)?);
    let made: Vec<&str> = made.iter().filter_map(|record| record["value"].as_str()).collect();
    assert_eq!(
        made,
        [
            r#"{"id":1,"customer":"c0","who":{"name":"Customer 0","phone":"*******00"}}"#,
            r#"{"id":2,"customer":"c9999","who":{"name":"Customer 9999","phone":"*******99"}}"#,
            r#"{"id":3,"customer":"c10000"}"#,
        ]
    );
    ensure!(dead[0]["value"] == "four,c1" && dead[0].to_string().contains("column `id`"), "{dead:?}");
    running.end()
}

fn customers() -> String {
    (0..CUSTOMERS).fold("customer,name,phone\n".to_owned(), |mut csv, n| {
        writeln!(csv, "c{n},Customer {n},0049-{n:04}").expect("a string takes it");
        csv
    })
}
