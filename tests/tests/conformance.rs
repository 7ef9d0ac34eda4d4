//! Every SDK passes the same cases, with the same plugin in its language: `tests/conformance/README.md`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sluicegate_tests::build::project;
use sluicegate_tests::http;
use sluicegate_tests::languages::conformance;
use sluicegate_tests::pipeline::Pipeline;
use sluicegate_tests::program::{Output, free_address, sluicegate};
use sluicegate_tests::wait::eventually;

/// A first run compiles the plugin, which takes an interpreter half a minute on a busy machine.
const TEST_WITHIN: Duration = Duration::from_secs(300);
const SOON: Duration = Duration::from_secs(120);

#[test]
fn rust() -> Result<()> {
    conforms("rust", "lib.rs")
}

#[test]
fn c() -> Result<()> {
    conforms("c", "plugin.c")
}

#[test]
fn go() -> Result<()> {
    conforms("go", "plugin.go")
}

#[test]
fn python() -> Result<()> {
    conforms("python", "plugin.py")
}

#[test]
fn js() -> Result<()> {
    conforms("js", "plugin.js")
}

/// `source` is the file of the plugin, as a panic names it.
fn conforms(language: &str, source: &str) -> Result<()> {
    let plugin = conformance(language)?;
    let scratch = tempfile::tempdir()?;
    passes_all_cases(&plugin, &project().join("tests/conformance/cases"))?;
    passes_all_cases(&plugin, &write_large_cases(scratch.path())?)?;
    panics_tell_words_and_place(&plugin, source, scratch.path())?;
    configurations_are_judged(&plugin, source)?;
    gives_up_what_it_drops(&plugin, scratch.path())?;
    has_memory_for_every_record(&plugin)?;
    is_named_and_counts(&plugin, language)
}

fn test(plugin: &Path, cases: &Path) -> Result<Value> {
    let args = ["test".as_ref(), cases.as_os_str(), "--json".as_ref(), "--plugin".as_ref(), plugin.as_os_str()];
    let output = sluicegate(args)?.spawn()?.wait(TEST_WITHIN)?;
    serde_json::from_str(&output.stdout).with_context(|| format!("{output:?}"))
}

fn passes_all_cases(plugin: &Path, cases: &Path) -> Result<()> {
    let report = test(plugin, cases)?;
    let passed = report["passed"].as_u64().unwrap_or_default();
    ensure!(report["failed"] == 0 && passed > 0, "{}", failures(&report));
    Ok(())
}

fn failures(report: &Value) -> String {
    let each = |list: &Value| list.as_array().cloned().unwrap_or_default();
    let files = each(&report["files"]);
    let errors = files.iter().filter(|file| file.get("error").is_some()).map(|file| file["error"].clone());
    let cases = files.iter().flat_map(|file| each(&file["cases"])).filter(|case| case["passed"] == false);
    let shown: Vec<String> =
        errors.chain(cases).map(|case| format!("{case:#}").chars().take(2_000).collect()).collect();
    shown.join("\n")
}

/// What is too large to be written down: a folder with a file a case, as a file may have 1 MiB.
fn write_large_cases(scratch: &Path) -> Result<PathBuf> {
    let folder = scratch.join("large");
    fs::create_dir(&folder)?;
    for (index, case) in large_cases().into_iter().enumerate() {
        let limits = json!({ "memory": "512MiB", "deadline": "60s", "compile-time": "10m" });
        let file = json!({ "limits": limits, "cases": [case] });
        fs::write(folder.join(format!("{index}.yaml")), file.to_string())?;
    }
    Ok(folder)
}

fn large_cases() -> Vec<Value> {
    let megabyte = "ü".repeat(500_000);
    let headers: Vec<Value> = (0..10_000).map(|n| json!([format!("h{}", n % 100), n.to_string()])).collect();
    let all: String = (0..10_000).map(|n| format!("h{}={n};", n % 100)).collect();
    let one_more: Vec<Value> = headers.iter().cloned().chain([json!(["last", "ü"])]).collect();
    let thousand: Vec<Value> = (0..1_000).map(|n| json!({ "value": n.to_string() })).collect();
    let case = |name: &str, record: Value, outputs: Value| json!({ "name": name, "record": record, "expect": { "emit": outputs } });
    let program = |program: &str| json!([["do", program]]);
    vec![
        case(
            "1 MB in",
            json!({ "value": megabyte, "headers": program("emit\ncopy value\nkey k\nemit") }),
            json!([{ "key": "k" }, {}]),
        ),
        case("1 MB out", json!({ "value": "emit\nfill 1000000" }), json!([{ "value": "x".repeat(1_000_000) }])),
        case(
            "1,000 outputs",
            json!({ "key": "k", "headers": program("split 1000"), "timestamp": 3 }),
            Value::Array(thousand),
        ),
        case(
            "10,000 headers in",
            json!({ "value": "emit\nkey k\ncopy headers", "headers": headers }),
            json!([{ "key": "k", "value": all }]),
        ),
        case(
            "10,000 headers out",
            json!({ "value": "emit\nheader last=ü", "headers": headers }),
            json!([{ "headers": one_more }]),
        ),
        case(
            "the last of 10,000",
            json!({ "value": "emit\ncopy header h7", "headers": headers }),
            json!([{ "value": "9907" }]),
        ),
    ]
}

/// The words are the plugin's, and the place is a line of its source.
fn panics_tell_words_and_place(plugin: &Path, source: &str, scratch: &Path) -> Result<()> {
    let cases = scratch.join("panic.yaml");
    let panic = json!({ "record": { "value": "panic böse \"Worte\"" }, "expect": "pass" });
    let fine = json!({ "record": { "value": "emit\nvalue fine" }, "expect": { "emit": [{ "value": "fine" }] } });
    let limits = json!({ "memory": "256MiB", "deadline": "10s", "compile-time": "10m" });
    fs::write(&cases, json!({ "limits": limits, "cases": [panic, fine] }).to_string())?;
    let report = test(plugin, &cases)?;
    let found = report["files"][0]["cases"][0]["found"].as_str().context("a failure")?;
    ensure!(found.starts_with("fail: trap") && found.contains("böse \"Worte\""), "{found}");
    ensure!(has_place(found, source), "no place in {source}: {found}");
    // An instance that failed is replaced by one that works.
    ensure!(report["passed"] == 1, "{report:#}");
    Ok(())
}

/// Whether the text has the file's name and, behind a colon, the number of a line.
fn has_place(text: &str, source: &str) -> bool {
    let after = text.split(source).nth(1).and_then(|after| after.strip_prefix(':'));
    after.is_some_and(|after| after.starts_with(|digit: char| digit.is_ascii_digit()))
}

fn configurations_are_judged(plugin: &Path, source: &str) -> Result<()> {
    let accepted = validate(plugin, "{}")?;
    ensure!(accepted.code == Some(0), "{accepted:?}");
    for (config, words) in [
        ("{ greeting: 5 }", "config.greeting does not fit the plugin"),
        ("{ greetings: x }", "greetings"),
        ("{ refuse: 'das paßt nicht: ✗' }", "refuses its config: das paßt nicht: ✗"),
        ("{ panic: böse }", "böse"),
    ] {
        let refused = validate(plugin, config)?;
        ensure!(refused.code == Some(2) && refused.stderr.contains(words), "{config}: {refused:?}");
        ensure!(!config.contains("panic") || has_place(&refused.stderr, source), "{refused:?}");
    }
    Ok(())
}

fn validate(plugin: &Path, config: &str) -> Result<Output> {
    let pipeline = Pipeline::new(&pipeline(plugin, config))?;
    sluicegate(["validate".as_ref(), pipeline.file().as_os_str()])?.spawn()?.wait(TEST_WITHIN)
}

fn pipeline(plugin: &Path, config: &str) -> String {
    let plugin = plugin.display();
    format!(
        "
name: conformance
source: {{ local: {{ path: data, topics: [in] }} }}
stages:
  - plugin: {plugin}
    config: {config}
    limits: {{ memory: 256MiB, deadline: 10s, compile-time: 10m }}
sink: {{ local: {{ path: data, topic: out, outputs: {{ large: large }} }} }}
dead-letter: {{ topic: dead }}
"
    )
}

/// One instance has room for what many records allocate one after the other.
fn gives_up_what_it_drops(plugin: &Path, scratch: &Path) -> Result<()> {
    let file = scratch.join("dropped.yaml");
    let case = json!({ "record": { "value": "emit\nfill 2000000\ndrop" }, "expect": "drop" });
    let limits = json!({ "memory": "64MiB", "deadline": "10s", "compile-time": "10m" });
    fs::write(&file, json!({ "limits": limits, "cases": vec![case; 200] }).to_string())?;
    passes_all_cases(plugin, &file)
}

/// Whatever an instance keeps of the records before, none of them alone in its batch fails for it: they emit more than fits.
fn has_memory_for_every_record(plugin: &Path) -> Result<()> {
    const RECORDS: usize = 400;
    const BYTES: usize = 250_000;
    let pipeline = Pipeline::new(&(pipeline(plugin, "{}").replace("256MiB", "64MiB") + "batch: { records: 1 }\n"))?;
    let lines = format!("{}\n", json!({ "value": format!("emit\nfill {BYTES}") })).repeat(RECORDS);
    let file = pipeline.file();
    let args = ["run".as_ref(), file.as_os_str(), "--stdin".as_ref(), "--stdout".as_ref()];
    let ran = sluicegate(args)?.input(lines).spawn()?.wait(TEST_WITHIN)?;
    ensure!(ran.code == Some(0), "{:?}: {}", ran.code, ran.stderr);
    let whole = ran.stdout.lines().filter(|line| line.matches('x').count() == BYTES).count();
    ensure!(whole == RECORDS && ran.stdout.lines().count() == RECORDS, "{whole} outputs of {RECORDS} records");
    Ok(())
}

/// In a pipeline that runs: counters are the stage's, and lines are in its log. And `inspect` names the SDK.
fn is_named_and_counts(plugin: &Path, language: &str) -> Result<()> {
    let inspected = sluicegate(["inspect".as_ref(), plugin.as_os_str()])?.run()?;
    let sdk = if language == "rust" { "sluicegate-plugin ".to_owned() } else { format!("sluicegate-{language} ") };
    ensure!(inspected.stdout.contains(&sdk), "{inspected:?}");

    let pipeline = Pipeline::new(&pipeline(plugin, "{}"))?;
    let data = pipeline.file().with_file_name("data");
    let local = |command: &str, topic: &str| -> Result<_> {
        let args: [&std::ffi::OsStr; 4] = [command.as_ref(), topic.as_ref(), "--local".as_ref(), data.as_os_str()];
        sluicegate(args)
    };
    let created =
        sluicegate(["topics".as_ref(), "create".as_ref(), "in".as_ref(), "--local".as_ref(), data.as_os_str()])?;
    ensure!(created.run()?.code == Some(0));
    let record = json!({ "key": "k", "value": "count seen 3\ncount seen 4\nlog warn wörtlich\nemit" });
    ensure!(local("produce", "in")?.input(format!("{record}\n{record}\n")).run()?.code == Some(0));
    let admin = free_address()?;
    let mut running = pipeline.start(admin)?;
    running.wait_ready(admin, SOON)?;
    eventually(SOON, "14 in the plugin's counter", || {
        let metrics = http::get(admin, "/metrics")?.body;
        let counter = metrics.lines().find(|line| line.contains("plugin_seen") && !line.starts_with('#'));
        Ok(counter.and_then(|line| line.ends_with(" 14").then_some(())))
    })?;
    ensure!(running.stderr()?.contains("wörtlich"), "{}", running.stderr()?);
    Ok(())
}
