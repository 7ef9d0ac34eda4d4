//! The commands, one after the other, as a user types them.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sluicegate_tests::build::{project, target_folder};
use sluicegate_tests::client::{Client, Isolation};
use sluicegate_tests::http;
use sluicegate_tests::kafka::Kafka;
use sluicegate_tests::plugins::{guest, plugin};
use sluicegate_tests::process::Signal;
use sluicegate_tests::program::{Output, done, free_address, sluicegate};
use sluicegate_tests::record::Record;
use sluicegate_tests::wait::eventually;

const READY_WITHIN: Duration = Duration::from_secs(60);
const BUILT_WITHIN: Duration = Duration::from_secs(600);
const DONE_WITHIN: Duration = Duration::from_secs(60);
const DRAINED_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn a_component_that_is_no_plugin_is_told_when_it_is_built() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let manifest =
        "[workspace]\n[package]\nname = \"does-nothing\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n";
    fs::write(folder.path().join("Cargo.toml"), manifest)?;
    fs::create_dir(folder.path().join("src"))?;
    fs::write(folder.path().join("src/lib.rs"), "")?;
    let build = sluicegate(["build"])?.folder(folder.path()).env("CARGO_TARGET_DIR", target_folder()?.join("plugins"));
    let built = build.spawn()?.wait(BUILT_WITHIN)?;
    ensure!(built.code == Some(1), "{built:?}");
    ensure!(
        built.stderr.contains("does-nothing.wasm is no plugin: exports no sluicegate:plugin/lifecycle"),
        "{built:?}"
    );
    ensure!(!folder.path().join("does-nothing.wasm").exists(), "{built:?}");
    Ok(())
}

/// Runs `test --repeat` on the guest `fickle`, with a record for each of these values.
fn repeated(values: &[&str], allow: &str) -> Result<Output> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("fickle.yaml");
    let cases: String = values
        .iter()
        .map(|value| format!("  - name: asks for {value}\n    record: {{ value: {value} }}\n    expect: pass\n"))
        .collect();
    fs::write(&file, format!("allow: {allow}\ncases:\n{cases}"))?;
    let plugin = guest("fickle")?;
    sluicegate(["test".as_ref(), file.as_os_str(), "--plugin".as_ref(), plugin.as_os_str(), "--repeat".as_ref()])?.run()
}

#[test]
fn a_plugin_that_is_not_repeatable_is_told_by_the_record() -> Result<()> {
    let told = |values: &[&str], allow: &str, words: &[&str]| {
        let output = repeated(values, allow)?;
        ensure!(output.code == Some(1), "{output:?}");
        ensure!(words.iter().all(|word| output.stdout.contains(word)), "{words:?} in {}", output.stdout);
        Ok(())
    };
    let state =
        ["not repeatable: asks for count", "- alone in a fresh instance, + one record a call", "number 1", "number 2"];
    told(&["steady", "count", "steady"], "[]", &state)?;
    told(
        &["steady", "batch"],
        "[]",
        &["not repeatable: asks for batch", "+ in one batch of 2", "one of 1", "one of 2"],
    )?;
    told(&["map"], "[]", &["not repeatable: asks for map"])?;
    for look in ["time", "random"] {
        let named = format!("not repeatable: asks for {look}");
        told(&["steady", look], "[]", &[&named, "with another fixed clock"])?;
    }
    told(&["steady", "random"], "[random]", &["not repeatable: asks for random"])?;

    // The cases fail, as they expect nothing of the kind; the plugin is repeatable.
    let output = repeated(&["steady", "table", "elapsed", "seed"], "[]")?;
    ensure!(!output.stdout.contains("not repeatable"), "a map has one order: {}", output.stdout);
    Ok(())
}

#[test]
fn a_case_that_fails_is_told() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let case = folder.path().join("wrong.yaml");
    fs::write(&case, "cases:\n  - name: wrong\n    record: { value: buy }\n    expect: { emit: [{ value: sell }] }\n")?;
    let plugin = plugin("uppercase")?;
    let tested = sluicegate(["test".as_ref(), case.as_os_str(), "--plugin".as_ref(), plugin.as_os_str()])?.run()?;
    ensure!(tested.code == Some(1), "{tested:?}");
    ensure!(["wrong", "BUY", "sell"].iter().all(|word| tested.stdout.contains(word)), "{tested:?}");
    Ok(())
}

#[test]
fn a_cache_folder_that_cannot_be_used_is_replaced_by_one_that_goes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (cache, temporary) = (folder.path().join("cache"), folder.path().join("temporary"));
    fs::write(&cache, "no folder")?;
    fs::create_dir(&temporary)?;
    let uppercase = plugin("uppercase")?;
    let inspect = sluicegate(["inspect".as_ref(), uppercase.as_os_str()])?;
    let inspected = inspect.env("XDG_CACHE_HOME", &cache).env("TMPDIR", &temporary).run()?;
    ensure!(inspected.code == Some(0) && inspected.stdout.contains("uppercase"), "{inspected:?}");
    ensure!(inspected.stderr.contains("; plugins are compiled at each start"), "{inspected:?}");
    ensure!(!inspected.stderr.contains("in this process"), "{inspected:?}");
    ensure!(fs::read_dir(&temporary)?.next().is_none(), "{inspected:?}");
    Ok(())
}

#[test]
fn what_machines_read_parses() -> Result<()> {
    let redact = plugin("redact")?;
    let inspected = sluicegate(["inspect".as_ref(), redact.as_os_str(), "--json".as_ref()])?.run()?;
    let inspected: Value = serde_json::from_str(&done(inspected)?)?;
    assert_eq!(inspected["name"], "redact");
    let language = json!({ "field": "language", "name": "Rust", "version": "" });
    let sdk = json!({ "field": "sdk", "name": "sluicegate-plugin", "version": env!("CARGO_PKG_VERSION") });
    let made_by = inspected["producers"].as_array().context("producers")?;
    ensure!([language, sdk].iter().all(|producer| made_by.contains(producer)), "{inspected}");
    let asks: Vec<_> = inspected["asks"].as_array().context("asks")?.iter().map(|ask| &ask["interface"]).collect();
    assert_eq!(asks, ["wasi:random/insecure-seed"]);
    let inspect = |plugin: &Path| done(sluicegate(["inspect".as_ref(), plugin.as_os_str()])?.run()?);
    let asked = inspect(&guest("fickle")?)?;
    ensure!(asked.contains("clock: imports wasi:clocks/wall-clock; gets a clock that stands at 2000-01-01"), "{asked}");
    ensure!(asked.contains("unless the stage says allow: [random]"), "{asked}");
    let asked = inspect(&plugin("uppercase")?)?;
    ensure!(asked.contains("asks for    nothing but logs and counters"), "{asked}");
    let schema: Value = serde_json::from_str(&done(sluicegate(["schema"])?.run()?)?)?;
    ensure!(schema["properties"]["stages"].is_object(), "{schema}");

    let folder = tempfile::tempdir()?;
    lay_out_trades(folder.path())?;
    let validated: Value = serde_json::from_str(&done(
        sluicegate(["validate", "pipeline.yaml", "--json"])?.folder(folder.path()).run()?,
    )?)?;
    assert_eq!((&validated[0]["name"], &validated[0]["ok"]), (&json!("trades"), &json!(true)));
    let validated = done(sluicegate(["validate", "pipeline.yaml"])?.folder(folder.path()).run()?)?;
    ensure!(validated.contains("ok: trades"), "{validated}");
    Ok(())
}

/// The schema cannot say everything: some of it the plugin alone knows.
#[test]
fn a_plugin_that_refuses_its_configuration_is_told_before_anything_is_connected() -> Result<()> {
    let broker = TcpListener::bind("127.0.0.1:0")?;
    broker.set_nonblocking(true)?;
    let folder = tempfile::tempdir()?;
    let pipeline = format!(
        "name: trades\n\
         source: {{ kafka: {{ brokers: '{}', topics: [trades] }} }}\n\
         stages: [{{ name: sieve, plugin: {}, config: {{}} }}]\n\
         sink: {{ kafka: {{ topic: trades.clean }} }}\n",
        broker.local_addr()?,
        plugin("filter")?.display()
    );
    fs::write(folder.path().join("pipeline.yaml"), pipeline)?;
    for command in ["run", "validate"] {
        let refused = sluicegate([command, "pipeline.yaml"])?.folder(folder.path()).run()?;
        ensure!(refused.code == Some(2), "{refused:?}");
        let words = ["stage 'sieve'", "plugin filter 0.1.0 refuses its config", "exactly one of `keep` and `drop`"];
        ensure!(words.iter().all(|word| refused.stderr.contains(word)), "{refused:?}");
    }
    let connected = broker.accept().map(drop).map_err(|error| error.kind());
    assert_eq!(connected, Err(ErrorKind::WouldBlock));
    Ok(())
}

#[test]
fn records_go_round_trip_on_the_embedded_log() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("log");
    round_trip(&["--local", log.to_str().context("UTF-8")?])
}

#[test]
fn records_go_round_trip_on_kafka() -> Result<()> {
    round_trip(&["--brokers", &Kafka::shared()?.bootstrap()])?;
    let seen = Client::shared()?.consume("round-trip", Isolation::ReadCommitted)?;
    ensure!(seen.iter().any(|record| record.value.as_deref() == Some(&[255, 0])), "{seen:?}");
    Ok(())
}

/// One process runs the pipeline; the commands are others.
#[test]
fn records_are_written_and_read_beside_a_pipeline_on_the_embedded_log() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let text = format!(
        "name: beside\n\
         source: {{ local: {{ path: log, topics: [in] }} }}\n\
         stages: [{{ plugin: {} }}]\n\
         sink: {{ local: {{ path: log, topic: out }} }}\n",
        plugin("uppercase")?.display()
    );
    fs::write(folder.path().join("pipeline.yaml"), text)?;
    let run = |args: &[&str], input: &str| {
        done(sluicegate(args.iter().chain(&["--local", "log"]))?.folder(folder.path()).input(input).run()?)
    };
    run(&["topics", "create", "in", "--retention", "7d", "--retention-bytes", "1GiB"], "")?;
    let admin = free_address()?;
    let mut running =
        sluicegate(["run", "pipeline.yaml", "--admin", &admin.to_string()])?.folder(folder.path()).spawn()?;
    running.wait_ready(admin, READY_WITHIN)?;
    for (number, value) in ["first", "second"].iter().enumerate() {
        run(&["produce", "in"], &format!("{}\n", json!({ "value": value })))?;
        let seen = run(&["consume", "out", "--follow", "-n", &(number + 1).to_string()], "")?;
        let last: Value = serde_json::from_str(seen.lines().last().context("a line")?)?;
        assert_eq!(last["value"], value.to_uppercase());
    }
    // A second pipeline on the same log is told who has it.
    let second = sluicegate(["run", "pipeline.yaml"])?.folder(folder.path()).run()?;
    ensure!(second.code == Some(2) && second.stderr.contains("is using it"), "{second:?}");
    running.end()
}

fn round_trip(place: &[&str]) -> Result<()> {
    let run = |args: &[&str], input: &str| done(sluicegate(args.iter().chain(place))?.input(input).run()?);
    run(&["topics", "create", "round-trip", "--partitions", "2"], "")?;
    let listed: Value = serde_json::from_str(&run(&["topics", "list", "--json"], "")?)?;
    let there = json!({ "name": "round-trip", "partitions": 2 });
    ensure!(listed.as_array().is_some_and(|topics| topics.contains(&there)), "{listed}");

    let records = [
        json!({ "partition": 1, "timestamp": 1_767_623_400_001_i64, "key": "k", "value": "{\"qty\":3}",
                "headers": [["trace", "a"], ["trace", "b"], ["none", null], ["empty", ""]] }),
        json!({ "partition": 1, "timestamp": 1_767_623_400_002_i64, "key": null, "value": null, "headers": [] }),
        json!({ "partition": 1, "timestamp": 1_767_623_400_003_i64, "key": "", "value": "", "headers": [] }),
        json!({ "partition": 1, "timestamp": 1_767_623_400_004_i64, "key": "k", "value": { "base64": "/wA=" },
                "headers": [["raw", { "base64": "wyg=" }]] }),
    ];
    let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
    run(&["produce", "round-trip"], &lines)?;
    let mut seen = Vec::new();
    for line in run(&["consume", "round-trip"], "")?.lines() {
        let mut record: Value = serde_json::from_str(line)?;
        assert_eq!(record["offset"], seen.len());
        record.as_object_mut().context("an object")?.remove("offset");
        seen.push(record);
    }
    assert_eq!(seen, records);
    Ok(())
}

#[test]
fn lines_before_a_bad_one_are_written() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let run = |args: &[&str], input: &str| {
        sluicegate(args.iter().chain(&["--local", "log"]))?.folder(folder.path()).input(input).run()
    };
    done(run(&["topics", "create", "in"], "")?)?;
    let produced = run(&["produce", "in"], "{\"value\": 1}\n{\"value\": 2}\nthree\n")?;
    ensure!(produced.code == Some(2), "{produced:?}");
    let told = ["line 3: expected ident at column 2;", "; the 2 records before it are written"];
    ensure!(told.iter().all(|words| produced.stderr.contains(words)), "{produced:?}");
    assert_eq!(done(run(&["consume", "in"], "")?)?.lines().count(), 2);
    Ok(())
}

#[test]
fn the_demo_shows_what_comes_out() -> Result<()> {
    let shown = done(sluicegate(["demo", "--duration", "3s"])?.run()?)?;
    let clean: Vec<_> = shown.lines().filter(|line| line.trim_start().starts_with("trades.clean")).collect();
    ensure!(!clean.is_empty(), "{shown}");
    ensure!(clean.iter().all(|line| line.contains(r#""account":"****""#)), "{shown}");
    ensure!(shown.contains("lag") && shown.contains("/v1/pipelines"), "{shown}");
    Ok(())
}

#[test]
fn two_pipelines_run_in_one_process_and_tell_how_they_are() -> Result<()> {
    let (client, brokers, uppercase) = (Client::shared()?, Kafka::shared()?.bootstrap(), plugin("uppercase")?);
    let folder = tempfile::tempdir()?;
    for name in ["one", "two"] {
        client.create_topic(name, 2, &[])?;
        client.create_topic(&format!("{name}.clean"), 2, &[])?;
        client.produce(name, &[Record::new("a", name).in_partition(0), Record::new("b", name).in_partition(1)])?;
        let text = format!(
            "name: {name}\n\
             source: {{ kafka: {{ brokers: '{brokers}', topics: [{name}], start: earliest }} }}\n\
             stages: [{{ plugin: {} }}]\n\
             sink: {{ kafka: {{ topic: {name}.clean }} }}\n",
            uppercase.display()
        );
        fs::write(folder.path().join(format!("{name}.yaml")), text)?;
    }
    // By the name that admin.listen takes too.
    let args = ["run", "one.yaml", "two.yaml", "--admin", "localhost:0", "--log-format", "json"];
    let mut running = sluicegate(args)?.folder(folder.path()).spawn()?;
    let admin = eventually(READY_WITHIN, "the address of the admin endpoint", || {
        let log = running.stderr()?;
        let said = log.split_once("admin endpoint on http://").and_then(|(_, rest)| rest.split('"').next());
        Ok(said.and_then(|address| address.parse().ok()))
    })?;
    running.wait_ready(admin, READY_WITHIN)?;
    for name in ["one", "two"] {
        client.wait_until_consumed(name, name, DONE_WITHIN)?;
        let seen = client.consume(&format!("{name}.clean"), Isolation::ReadCommitted)?;
        let shouted = name.to_uppercase().into_bytes();
        ensure!(seen.len() == 2 && seen.iter().all(|record| record.value.as_ref() == Some(&shouted)), "{seen:?}");
    }

    assert_eq!(http::get(admin, "/live")?.status, 200);
    let metrics = http::get(admin, "/metrics")?;
    for name in ["one", "two"] {
        let line = format!("sluicegate_records_in_total{{pipeline=\"{name}\"}} 2");
        ensure!(metrics.status == 200 && metrics.body.contains(&line), "no {line} in {}", metrics.body);
    }
    let list: Value = serde_json::from_str(&http::get(admin, "/v1/pipelines")?.body)?;
    let by_name: BTreeMap<_, _> =
        list.as_array().context("a list")?.iter().map(|status| (status["name"].as_str(), status)).collect();
    for name in ["one", "two"] {
        let status = by_name.get(&Some(name)).with_context(|| format!("no {name}: {list}"))?;
        assert_eq!((&status["records_in"], &status["outputs"]), (&json!(2), &json!(2)), "{list}");
        assert_eq!((&status["ready"], &status["delivery"]), (&json!(true), &json!("exactly-once")), "{list}");
        assert_eq!(status["stages"][0]["plugin"], "uppercase", "{list}");
    }
    assert_eq!(http::get(admin, "/no-such-page")?.status, 404);

    running.signal(Signal::Int)?;
    let end = running.wait(DRAINED_WITHIN)?;
    ensure!(end.code == Some(0), "{end:?}");
    ensure!(end.stderr.contains("one a core; set 'workers'"), "{end:?}");
    for line in end.stderr.lines() {
        serde_json::from_str::<Value>(line).with_context(|| line.to_owned())?;
    }
    Ok(())
}

#[test]
fn the_example_for_kafka_is_sound_and_runs() -> Result<()> {
    let (client, folder, admin) = (Client::shared()?, tempfile::tempdir()?, free_address()?.to_string());
    lay_out_trades(folder.path())?;
    let brokers = Kafka::shared()?.bootstrap();
    let program =
        |args: &[&str]| anyhow::Ok(sluicegate(args)?.folder(folder.path()).env("SLUICEGATE_BROKERS", &brokers));
    let validated = done(program(&["validate", "pipeline.kafka.yaml"])?.run()?)?;
    ensure!(validated.contains("ok: trades"), "{validated}");
    for topic in ["trades", "trades.clean", "trades.large", "trades.dead"] {
        done(program(&["topics", "create", topic, "--partitions", "3"])?.run()?)?;
    }
    let trade = |quantity: u64| json!({ "value": { "quantity": quantity, "account": "4111" } });
    let lines = format!("{}\n{}\n{}\n", trade(100), trade(1_000), json!({ "value": "no trade" }));
    done(program(&["produce", "trades"])?.input(lines).run()?)?;
    let mut running = program(&["run", "pipeline.kafka.yaml", "--admin", &admin])?.spawn()?;
    running.wait_ready(admin.parse()?, READY_WITHIN)?;
    client.wait_until_consumed("trades", "trades", DONE_WITHIN)?;
    running.end()?;
    for (topic, words) in [("trades.clean", ":100}"), ("trades.large", ":1000}"), ("trades.dead", "no trade")] {
        let seen = client.consume(topic, Isolation::ReadCommitted)?;
        let values = seen.iter().map(|record| String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()));
        let values: Vec<_> = values.collect();
        ensure!(values.len() == 1 && values[0].contains(words) && !values[0].contains("4111"), "{topic}: {values:?}");
    }
    Ok(())
}

/// The example `trades` with its plugins beside it.
fn lay_out_trades(folder: &Path) -> Result<()> {
    fs::create_dir(folder.join("plugins"))?;
    for file in ["pipeline.yaml", "pipeline.kafka.yaml"] {
        fs::copy(project().join("examples/trades").join(file), folder.join(file))?;
    }
    for name in ["redact", "route"] {
        fs::copy(plugin(name)?, folder.join(format!("plugins/{name}.wasm")))?;
    }
    Ok(())
}
