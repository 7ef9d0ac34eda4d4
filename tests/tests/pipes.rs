//! `run --stdin --stdout`, and every command at the head of a pipe whose reader has enough.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sluicegate_tests::build::project;
use sluicegate_tests::plugins::plugin;
use sluicegate_tests::process::Signal;
use sluicegate_tests::program::{Output, Piped, Program, sluicegate};

const SOON: Duration = Duration::from_secs(60);

/// `run --stdin --stdout` with these arguments too.
fn filter(args: &[&str]) -> Result<Program> {
    sluicegate(["run", "--stdin", "--stdout"].iter().chain(args))
}

fn uppercase() -> Result<String> {
    Ok(plugin("uppercase")?.to_str().context("UTF-8")?.to_owned())
}

fn lines(records: &[Value]) -> String {
    records.iter().map(|record| format!("{record}\n")).collect()
}

fn parsed(text: &str) -> Result<Vec<Value>> {
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

#[test]
fn a_plugin_alone_is_a_filter() -> Result<()> {
    let input = [
        json!({ "key": "k", "value": "buy", "headers": [["trace", "a"], ["none", null]], "timestamp": 1_767_623_400_001_i64 }),
        json!({ "key": null, "value": null }),
        json!({ "value": { "base64": "/2E=" }, "partition": 3, "offset": 9 }),
    ];
    let output = filter(&["--plugin", &uppercase()?])?.input(lines(&input)).run()?;
    ensure!(output.code == Some(0) && output.stderr.is_empty(), "{output:?}");
    let expected = [
        json!({ "timestamp": 1_767_623_400_001_i64, "key": "k", "value": "BUY", "headers": [["trace", "a"], ["none", null]] }),
        json!({ "timestamp": null, "key": null, "value": null, "headers": [] }),
        json!({ "timestamp": null, "key": null, "value": { "base64": "/0E=" }, "headers": [] }),
    ];
    assert_eq!(parsed(&output.stdout)?, expected);
    // What comes out goes in.
    let again = filter(&["--plugin", &uppercase()?])?.input(output.stdout.clone()).run()?;
    assert_eq!(again.stdout, output.stdout);
    Ok(())
}

#[test]
fn raw_lines_are_values() -> Result<()> {
    let output = filter(&["--raw", "--plugin", &uppercase()?])?.input("one\r\n\n{\"two\": 2}\nthree").run()?;
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), "ONE\n{\"TWO\": 2}\nTHREE\n"), "{output:?}");
    Ok(())
}

#[test]
fn a_plugin_alone_takes_a_configuration() -> Result<()> {
    let redact = plugin("redact")?;
    let redact = redact.to_str().context("UTF-8")?;
    let with = |config: &str| filter(&["--raw", "--plugin", redact, "--config", config])?.input("{\"pin\": 1}\n").run();
    assert_eq!(with(r#"{"fields": ["pin"]}"#)?.stdout, "{\"pin\": \"***\"}\n");
    for wrong in ["{}", r#"{"feilds": ["pin"]}"#, "[]", "{"] {
        let refused = with(wrong)?;
        ensure!(refused.code == Some(2) && refused.stdout.is_empty(), "{wrong}: {refused:?}");
    }
    Ok(())
}

#[test]
fn each_line_is_answered_before_more_is_read() -> Result<()> {
    let Piped { running, mut stdin, stdout } = filter(&["--raw", "--plugin", &uppercase()?])?.pipe()?;
    let answers = answers(stdout);
    for number in 0..20 {
        writeln!(stdin, "line {number}")?;
        assert_eq!(answers.recv_timeout(SOON)?, format!("LINE {number}"));
    }
    drop(stdin);
    let end = running.wait(SOON)?;
    ensure!(end.code == Some(0) && end.stderr.is_empty(), "{end:?}");
    Ok(())
}

/// The lines of a pipe, as they come.
fn answers(from: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, told) = channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let _ = tell.send(line);
        }
    });
    told
}

#[test]
fn an_interrupted_filter_ends_at_once_and_says_so() -> Result<()> {
    let Piped { mut running, mut stdin, stdout } = filter(&["--raw", "--plugin", &uppercase()?])?.pipe()?;
    let answers = answers(stdout);
    writeln!(stdin, "one")?;
    assert_eq!(answers.recv_timeout(SOON)?, "ONE");
    running.signal(Signal::Int)?;
    let end = running.wait(SOON)?;
    ensure!(end.code == Some(1) && end.stderr.contains("interrupted after 1 records"), "{end:?}");
    Ok(())
}

/// A pipeline on an embedded log that is never opened, with these lines in it.
fn pipeline(folder: &Path, stages: &str, rest: &str) -> Result<()> {
    let text = format!(
        "name: piped\nsource: {{ local: {{ path: log, topics: [in] }} }}\nstages: [{stages}]\n\
         sink: {{ local: {{ path: log, topic: out, outputs: {{ large: out.large }} }} }}\n{rest}\n"
    );
    Ok(fs::write(folder.join("pipeline.yaml"), text)?)
}

fn redacting(on_failure: &str) -> Result<String> {
    let redact = plugin("redact")?;
    Ok(format!("{{ plugin: {}, config: {{ fields: [pin] }}, on-failure: {on_failure} }}", redact.display()))
}

fn one_fails(on_failure: &str, rest: &str) -> Result<Output> {
    one_fails_in(on_failure, rest, Program::run)
}

/// Runs the pipeline on two records that come through and, between them, one that does not.
fn one_fails_in(on_failure: &str, rest: &str, run: impl FnOnce(Program) -> Result<Output>) -> Result<Output> {
    let folder = tempfile::tempdir()?;
    pipeline(folder.path(), &redacting(on_failure)?, rest)?;
    let input =
        "{\"value\": {\"pin\": 1}}\n{\"key\": \"bad\", \"value\": \"no JSON\x7f\"}\n{\"value\": {\"pin\": 2}}\n";
    let output = run(filter(&["pipeline.yaml"])?.folder(folder.path()).input(input))?;
    ensure!(!folder.path().join("log").exists(), "the pipeline's own log is left alone");
    Ok(output)
}

#[test]
fn what_fails_goes_by_the_pipelines_policy() -> Result<()> {
    let dead = one_fails("{}", "dead-letter: { topic: dead }")?;
    ensure!(dead.code == Some(1) && dead.stdout.lines().count() == 2, "{dead:?}");
    let (letter, rest) = dead.stderr.split_once('\n').context("a line")?;
    let letter: Value = serde_json::from_str(letter)?;
    assert_eq!((&letter["stage"], &letter["failure"]), (&json!("redact"), &json!("rejected")));
    ensure!(letter["reason"].as_str().is_some_and(|reason| reason.starts_with("the value is not JSON")), "{letter}");
    assert_eq!((&letter["source"]["offset"], &letter["record"]["key"]), (&json!(1), &json!("bad")));
    ensure!(rest.contains("1 of 3 records failed"), "{rest}");
    let again = filter(&["--plugin", &uppercase()?])?.input(letter["record"].to_string()).run()?;
    assert_eq!(parsed(&again.stdout)?[0]["value"], "NO JSON\x7f");

    let skipped = one_fails("{ then: skip }", "")?;
    ensure!(skipped.code == Some(0) && skipped.stderr.is_empty(), "{skipped:?}");
    ensure!(skipped.stdout.lines().count() == 2, "{skipped:?}");

    let stopped = one_fails("{ then: stop }", "batch: { records: 1 }")?;
    ensure!(stopped.code == Some(1) && stopped.stderr.contains("failed on in[0] offset 1"), "{stopped:?}");
    ensure!(stopped.stdout.lines().count() == 1, "what came before it is done: {stopped:?}");
    Ok(())
}

#[test]
fn a_dead_letter_that_cannot_be_written_ends_the_filter() -> Result<()> {
    let full = one_fails_in("{}", "dead-letter: { topic: dead }", |program| program.unheard()?.run())?;
    ensure!(full.code == Some(1) && full.signal.is_none(), "{full:?}");
    let refused = sluicegate(["run", "no-such-pipeline.yaml"])?.unheard()?.run()?;
    ensure!(refused.code == Some(2), "{refused:?}");
    Ok(())
}

#[test]
fn what_comes_before_a_bad_line_is_done() -> Result<()> {
    let input = "{\"value\": \"a\"}\n\n{\"vlaue\": \"b\"}\n{\"value\": \"c\"}\n";
    let output = filter(&["--plugin", &uppercase()?])?.input(input).run()?;
    ensure!(output.code == Some(2) && output.stderr.contains("line 3: unknown field `vlaue`"), "{output:?}");
    assert_eq!(parsed(&output.stdout)?[0]["value"], "A");
    Ok(())
}

#[test]
fn outputs_say_which_one_they_go_to() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let route = plugin("route")?;
    let stage =
        format!("{{ plugin: {}, config: {{ field: qty, rules: [{{ greater: 9, to: large }}] }} }}", route.display());
    pipeline(folder.path(), &stage, "")?;
    let input = "{\"value\": {\"qty\": 10}}\n{\"value\": {\"qty\": 1}}\n";
    let output = filter(&["pipeline.yaml"])?.folder(folder.path()).input(input).run()?;
    let to: Vec<Value> = parsed(&output.stdout)?.iter().map(|line| line["to"].clone()).collect();
    assert_eq!(to, [json!("large"), Value::Null], "{output:?}");
    // It has left the pipeline: no other takes it for its input by mistake.
    let other = filter(&["--plugin", &uppercase()?])?.input(output.stdout).run()?;
    ensure!(other.code == Some(2) && other.stderr.contains("line 1: unknown field `to`"), "{other:?}");
    Ok(())
}

#[test]
fn topics_are_filtered_by_pipes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let run = |args: &[&str], input: String| {
        let output = sluicegate(args)?.folder(folder.path()).input(input).run()?;
        ensure!(output.code == Some(0), "{output:?}");
        Ok(output.stdout)
    };
    for topic in ["in", "out"] {
        run(&["topics", "create", topic, "--local", "log", "--partitions", "2"], String::new())?;
    }
    let records: Vec<Value> =
        (0..50).map(|n| json!({ "key": format!("k{}", n % 7), "value": format!("v{n}"), "timestamp": n })).collect();
    run(&["produce", "in", "--local", "log"], lines(&records))?;
    let read = run(&["consume", "in", "--local", "log"], String::new())?;
    let made = run(&["run", "--stdin", "--stdout", "--plugin", &uppercase()?], read.clone())?;
    run(&["produce", "out", "--local", "log"], made)?;
    let written = run(&["consume", "out", "--local", "log"], String::new())?;
    let shouted = |text: &str| -> Result<Vec<Value>> {
        let mut records = parsed(text)?;
        for record in &mut records {
            record["value"] = record["value"].as_str().context("text")?.to_uppercase().into();
        }
        Ok(records)
    };
    assert_eq!(shouted(&read)?, parsed(&written)?);
    Ok(())
}

#[test]
fn half_a_filter_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    pipeline(folder.path(), "", "")?;
    for args in [
        &["run", "pipeline.yaml", "--stdin"][..],
        &["run", "pipeline.yaml", "--stdout"],
        &["run", "pipeline.yaml", "--raw"],
        &["run", "--plugin", "x.wasm"],
        &["run", "--stdin", "--stdout"],
        &["run", "--stdin", "--stdout", "pipeline.yaml", "--plugin", "x.wasm"],
        &["run", "--stdin", "--stdout", "pipeline.yaml", "pipeline.yaml"],
        &["run", "--stdin", "--stdout", "--plugin", "x.wasm"],
    ] {
        let refused = sluicegate(args)?.folder(folder.path()).run()?;
        ensure!(refused.code == Some(2), "{args:?}: {refused:?}");
    }
    Ok(())
}

#[test]
fn a_reader_who_has_enough_ends_the_filter_quietly() -> Result<()> {
    let Piped { running, mut stdin, stdout } = filter(&["--raw", "--plugin", &uppercase()?])?.pipe()?;
    writeln!(stdin, "one")?;
    let mut first = String::new();
    let mut reader = BufReader::new(stdout);
    reader.read_line(&mut first)?;
    assert_eq!(first, "ONE\n");
    drop(reader);
    // It ends while the writer still writes.
    let writer = thread::spawn(move || while writeln!(stdin, "more").is_ok() {});
    let end = running.wait(SOON)?;
    ensure!(end.code == Some(0) && end.stderr.is_empty(), "{end:?}");
    ensure!(writer.join().is_ok());
    Ok(())
}

#[test]
fn a_reader_who_has_enough_ends_every_command_quietly() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redact = plugin("redact")?;
    let redact = redact.to_str().context("UTF-8")?;
    pipeline(folder.path(), &redacting("{}")?, "dead-letter: { topic: dead }")?;
    let cases = project().join("plugins/redact");
    let cases = cases.to_str().context("UTF-8")?;
    let sdk = project().join("plugins/sdk/rust");
    let sdk = sdk.to_str().context("UTF-8")?;
    let made = sluicegate(["topics", "create", "in", "--local", "log"])?.folder(folder.path()).run()?;
    ensure!(made.code == Some(0), "{made:?}");
    let records = lines(&[json!({ "value": "x" }), json!({ "value": "y" })]);
    let produced = sluicegate(["produce", "in", "--local", "log"])?.folder(folder.path()).input(records).run()?;
    ensure!(produced.code == Some(0), "{produced:?}");
    for args in [
        &["--help"][..],
        &["schema"],
        &["completions", "bash"],
        &["inspect", redact],
        &["inspect", redact, "--json"],
        &["validate", "pipeline.yaml"],
        &["validate", "pipeline.yaml", "--json"],
        &["test", cases, "--plugin", redact],
        &["test", cases, "--plugin", redact, "--json"],
        &["topics", "list", "--local", "log"],
        &["topics", "list", "--local", "log", "--json"],
        &["consume", "in", "--local", "log"],
        &["consume", "in", "--local", "log", "--follow"],
        &["keygen", "ops"],
        &["new", "rust", "shout", "--sdk", sdk],
        &["demo"],
    ] {
        let unread = sluicegate(args)?.folder(folder.path()).run_unread()?;
        ensure!(unread.code == Some(0), "{args:?}: {unread:?}");
        ensure!(!unread.stderr.contains("panicked") && !unread.stderr.contains("error"), "{args:?}: {unread:?}");
    }
    Ok(())
}
