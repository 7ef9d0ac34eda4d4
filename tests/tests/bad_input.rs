//! What users get wrong: one clear error that names the thing, the place and the remedy, the right exit code, no stack
//! trace; nothing is lost or acknowledged.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluicegate_tests::client::{Client, Isolation, Offsets};
use sluicegate_tests::kafka::Kafka;
use sluicegate_tests::pipeline::Pipeline;
use sluicegate_tests::plugins::{guest, plugin};
use sluicegate_tests::program::{Output, free_address, sluicegate};
use sluicegate_tests::record::Record;

const CONFIG: i32 = 2;
const UNREACHABLE: i32 = 3;
const ENDS_WITHIN: Duration = Duration::from_secs(60);
const EMPTY_MODULE: &[u8] = b"\0asm\x01\0\0\0";
const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

#[test]
fn a_wrong_file_is_told_by_line_and_column() -> Result<()> {
    // What replaces `stages: []` on line 4, and what standard error says.
    let table: &[(&str, &[&str])] = &[
        ("stages: []\ncomit: { interval: 1s }", &[":5:1:", "unknown key 'comit'", "did you mean 'commit'"]),
        ("stages: []\ncommit: { intervall: 1s }", &[":5:11:", "'intervall'", "did you mean 'interval'"]),
        ("stages: []\nworkers: many", &[":5:10:", "expected a whole number", "'many'"]),
        ("stages: filter", &[":4:9:", "expected a list", "stages"]),
        ("stages: []\nbudget: 64MX", &[":5:9:", "expected a size such as 64MiB", "'64MX'"]),
        ("stages: []\nbatch: { records: 0 }", &[":5:10:", "records is 0", "the least is 1"]),
        ("stages: []\ncommit: { interval: 1h }", &[":5:11:", "interval", "the most is 30s"]),
        ("stages: []\ndelivery: twice", &[":5:11:", "'twice'", "exactly-once"]),
        ("stages: []\n : [", &[":5:"]),
        ("stages: [{ plugin: a.wasm, config: '${NO_SUCH_VARIABLE}' }]", &[":4:", "NO_SUCH_VARIABLE"]),
    ];
    for (lines, words) in table {
        judge(&yaml("127.0.0.1:1", "", lines), CONFIG, words)?;
    }
    Ok(())
}

#[test]
fn a_property_that_would_break_the_promise_is_refused_with_the_reason() -> Result<()> {
    for (property, words) in [
        ("enable.auto.commit: true", ["enable.auto.commit", "commit"]),
        ("auto.offset.reset: latest", ["auto.offset.reset", "start"]),
        ("isolation.level: read_uncommitted", ["isolation.level", "delivery"]),
        ("group.id: other", ["group.id", "group"]),
    ] {
        let properties = format!(", properties: {{ {property} }}");
        judge(&yaml("127.0.0.1:1", &properties, "stages: []"), CONFIG, &[":3:", words[0], words[1]])?;
    }
    Ok(())
}

#[test]
fn a_file_that_is_not_there_is_named() -> Result<()> {
    let output = sluicegate(["run", "no-such-pipeline.yaml"])?.folder(&std::env::temp_dir()).run()?;
    clear(&output, CONFIG, &["no-such-pipeline.yaml", "no such file", "looked in"])
}

#[test]
fn a_plugin_that_is_none_is_refused() -> Result<()> {
    let whole = fs::read(plugin("uppercase")?)?;
    let cut = &whole[..whole.len() / 2];
    let table: [(&str, &[u8], &[&str]); 5] = [
        ("text", b"fn main() {}", &["not a WebAssembly file", "sluicegate build"]),
        ("module", EMPTY_MODULE, &["a core WebAssembly module that neither exports", "sluicegate build"]),
        ("cut", cut, &["cut off", "copy it again"]),
        ("world", EMPTY_COMPONENT, &["exports no sluicegate:plugin/lifecycle", "plugin.wit"]),
        ("empty", b"", &["not a WebAssembly file", "sluicegate build"]),
    ];
    let folder = tempfile::tempdir()?;
    for (name, bytes, words) in table {
        let file = folder.path().join(format!("{name}.wasm"));
        fs::write(&file, bytes)?;
        let place = [file.to_str().context("UTF-8")?, "pipeline.yaml:4:23: ", "'bad'"];
        let words: Vec<_> = place.into_iter().chain(words.iter().copied()).collect();
        judge(&with_plugin(&file, "{}"), CONFIG, &words)?;
    }
    let missing = folder.path().join("missing.wasm");
    judge(
        &with_plugin(&missing, "{}"),
        CONFIG,
        &["pipeline.yaml:4:23: ", "'bad'", "missing.wasm", "No such file", "sluicegate build"],
    )
}

/// The compiler keeps each of a thousand values that each call gives.
#[test]
fn a_plugin_that_takes_any_amount_of_memory_to_compile_is_refused() -> Result<()> {
    let (values, calls) = ("i32 ".repeat(1000), "call 0 ".repeat(200_000));
    let text = format!(
        "(component
            (core module
                (func (param {values}) (result {values}) unreachable)
                (func (result {values}) unreachable)
                (func (result {values}) call 1 {calls}))
            (instance $i)
            (export \"sluicegate:plugin/lifecycle@0.1.0\" (instance $i))
            (export \"sluicegate:plugin/transform@0.1.0\" (instance $i)))"
    );
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("hog.wasm");
    fs::write(&path, wat::parse_str(text)?)?;
    judge(&with_plugin(&path, "{}"), CONFIG, &["pipeline.yaml:4:", "'bad'", "does not compile: memory allocation of"])
}

#[test]
fn a_plugin_that_cannot_be_configured_says_why() -> Result<()> {
    let (filter, redact, outward) = (plugin("filter")?, plugin("redact")?, guest("outward")?);
    judge(
        &with_plugin(&filter, "{ keep: { key: true, equals: [1] } }"),
        CONFIG,
        &["pipeline.yaml:4:", "'bad'", "config"],
    )?;
    let fields = ["pipeline.yaml:4:", "'bad'", "config.fields", "array", "sluicegate inspect"];
    judge(&with_plugin(&redact, "{ fields: 7 }"), CONFIG, &fields)?;
    let field = ["pipeline.yaml:4:", "'bad'", "'field' was unexpected", "sluicegate inspect"];
    judge(&with_plugin(&redact, "{ field: [a] }"), CONFIG, &field)?;
    judge(&with_plugin(&outward, "{}"), CONFIG, &["pipeline.yaml:4:23: ", "'bad'", "imports"])
}

#[test]
fn a_broker_that_is_not_there_is_told_apart() -> Result<()> {
    let closed = free_address()?.to_string();
    judge(&yaml(&closed, "", "stages: []"), UNREACHABLE, &["bad-input", &closed, "no broker", "Connection refused"])
}

#[test]
fn an_unknown_topic_is_named_and_nothing_is_acknowledged() -> Result<()> {
    let (client, brokers) = (Client::shared()?, Kafka::shared()?.bootstrap());
    client.create_topic("there", 1, &[])?;
    client.produce("there", &[Record::new("key", "value")])?;
    let pipeline = |delivery: &str, source: &str, sink: &str| {
        format!(
            "name: unknown\n\
             source: {{ kafka: {{ brokers: '{brokers}', topics: [{source}], group: unknown, start: earliest }} }}\n\
             stages: []\n\
             sink: {{ kafka: {{ topic: {sink} }} }}\n\
             delivery: {delivery}\n"
        )
    };
    for delivery in ["exactly-once", "at-least-once"] {
        judge(&pipeline(delivery, "not-there", "there"), CONFIG, &["unknown", "'not-there'", "topic"])?;
        judge(&pipeline(delivery, "there", "not-there"), CONFIG, &["unknown", "'not-there'", "topic"])?;
        assert_eq!(client.committed("unknown", "there")?, Offsets::new());
    }
    assert_eq!(client.consume("there", Isolation::ReadUncommitted)?.len(), 1);
    Ok(())
}

#[test]
fn a_failed_record_without_a_dead_letter_topic_stops_the_pipeline_before_it() -> Result<()> {
    let (client, brokers, hostile) = (Client::shared()?, Kafka::shared()?.bootstrap(), guest("hostile")?);
    for delivery in ["exactly-once", "at-least-once"] {
        let (source, sink) = (format!("stop-{delivery}"), format!("stop-{delivery}.clean"));
        client.create_topic(&source, 1, &[])?;
        client.create_topic(&sink, 1, &[])?;
        client.produce(&source, &[Record::new("key", "trap")])?;
        let text = format!(
            "name: {source}\n\
             source: {{ kafka: {{ brokers: '{brokers}', topics: [{source}], start: earliest }} }}\n\
             stages: [{{ name: bad, plugin: {} }}]\n\
             sink: {{ kafka: {{ topic: {sink} }} }}\n\
             delivery: {delivery}\n",
            hostile.display()
        );
        judge(&text, 1, &["'bad'", &source, "offset 0", "trap", "dead-letter"])?;
        assert_eq!(client.committed(&source, &source)?, Offsets::new());
        assert_eq!(client.consume(&sink, Isolation::ReadUncommitted)?, []);
    }
    Ok(())
}

#[test]
fn an_output_that_the_broker_refuses_ends_the_pipeline_and_nothing_is_acknowledged() -> Result<()> {
    let large = Record::new("key", &"x".repeat(2_000));
    refuses("too-large", ("max.message.bytes", "500"), &[large], &["too large"])
}

#[test]
fn a_record_that_the_broker_refuses_is_told_from_those_that_share_its_batch() -> Result<()> {
    let keyless = Record { key: None, ..Record::new("", "value") };
    let records = [Record::new("key", "value"), keyless, Record::new("key", "value")];
    refuses("keyless", ("cleanup.policy", "compact"), &records, &["failed to validate record", "without a key"])
}

/// A topic of this setting does not take these records: the pipeline ends with these words, and has acknowledged nothing.
fn refuses(name: &str, setting: (&str, &str), records: &[Record], words: &[&str]) -> Result<()> {
    let (client, brokers) = (Client::shared()?, Kafka::shared()?.bootstrap());
    for delivery in ["exactly-once", "at-least-once"] {
        let (source, sink) = (format!("{name}-{delivery}"), format!("{name}-{delivery}.clean"));
        client.create_topic(&source, 1, &[])?;
        client.create_topic(&sink, 1, &[setting])?;
        client.produce(&source, records)?;
        let text = format!(
            "name: {source}\n\
             source: {{ kafka: {{ brokers: '{brokers}', topics: [{source}], start: earliest }} }}\n\
             stages: []\n\
             sink: {{ kafka: {{ topic: {sink} }} }}\n\
             delivery: {delivery}\n"
        );
        judge(&text, CONFIG, &[&[source.as_str(), &sink], words].concat())?;
        assert_eq!(client.committed(&source, &source)?, Offsets::new());
        assert_eq!(client.consume(&sink, Isolation::ReadCommitted)?, []);
    }
    Ok(())
}

#[test]
fn a_topic_that_is_refused_is_named_and_nothing_is_acknowledged() -> Result<()> {
    let kafka = Kafka::start_with(&[
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
        ("allow.everyone.if.no.acl.found", "true"),
    ])?;
    let (client, brokers) = (Client::connect(&kafka)?, kafka.bootstrap());
    for topic in ["open", "no-read", "no-write"] {
        client.create_topic(topic, 1, &[])?;
        client.produce(topic, &[Record::new("key", "value")])?;
    }
    client.refuse("no-read", "READ")?;
    client.refuse("no-write", "WRITE")?;
    for delivery in ["exactly-once", "at-least-once"] {
        for (source, sink, refused) in [("no-read", "open", "no-read"), ("open", "no-write", "no-write")] {
            let text = format!(
                "name: refused\n\
                 source: {{ kafka: {{ brokers: '{brokers}', topics: [{source}], start: earliest }} }}\n\
                 stages: []\n\
                 sink: {{ kafka: {{ topic: {sink} }} }}\n\
                 delivery: {delivery}\n\
                 workers: 1\n"
            );
            judge(&text, CONFIG, &["'refused'", refused, "authoriz"])?;
            assert_eq!(client.committed("refused", source)?, Offsets::new());
        }
    }
    assert_eq!(client.consume("open", Isolation::ReadUncommitted)?.len(), 1);
    Ok(())
}

/// Line 3 has the source, with more of its keys in `more`; line 4 is `stages`.
fn yaml(brokers: &str, more: &str, stages: &str) -> String {
    format!(
        "name: bad-input\n\
         sink: {{ kafka: {{ topic: out }} }}\n\
         source: {{ kafka: {{ brokers: '{brokers}', topics: [in]{more} }} }}\n\
         {stages}\n"
    )
}

fn with_plugin(plugin: &Path, config: &str) -> String {
    let plugin = plugin.display();
    yaml("127.0.0.1:1", "", &format!("stages: [{{ name: bad, plugin: {plugin}, config: {config} }}]"))
}

/// Runs the pipeline, which must fail as told.
fn judge(yaml: &str, code: i32, words: &[&str]) -> Result<()> {
    let pipeline = Pipeline::new(yaml)?;
    let output = pipeline.start(free_address()?)?.wait(ENDS_WITHIN).context(yaml.to_owned())?;
    clear(&output, code, words).context(yaml.to_owned())
}

/// The last lines of standard error are one error for a person, and it has these words.
fn clear(output: &Output, code: i32, words: &[&str]) -> Result<()> {
    let stderr = &output.stderr;
    ensure!(output.code == Some(code), "exit code {:?}, expected {code}:\n{stderr}", output.code);
    ensure!(output.stdout.is_empty(), "standard output: {}", output.stdout);
    for trace in ["panicked", "stack backtrace", "RUST_BACKTRACE", "   0: "] {
        ensure!(!stderr.contains(trace), "{trace}:\n{stderr}");
    }
    ensure!(stderr.matches("error: ").count() == 1, "not one error:\n{stderr}");
    ensure!(stderr.lines().count() <= 20, "a flood of lines:\n{stderr}");
    let error = &stderr[stderr.find("error: ").unwrap_or_default()..];
    for word in words {
        ensure!(error.contains(word), "no {word:?} in:\n{error}");
    }
    Ok(())
}
