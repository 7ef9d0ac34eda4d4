//! Dead letters are found, shown, and brought back, each once.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sluicegate_tests::client::{Client, Ending, Isolation};
use sluicegate_tests::http;
use sluicegate_tests::kafka::Kafka;
use sluicegate_tests::pipeline::Pipeline;
use sluicegate_tests::plugins::{guest, plugin};
use sluicegate_tests::process::Signal;
use sluicegate_tests::program::{Output, done, free_address, sluicegate};
use sluicegate_tests::random::{Random, seed};
use sluicegate_tests::record::{Record, as_stored, difference};
use sluicegate_tests::trades;
use sluicegate_tests::wait::eventually;

const PARTITIONS: i32 = 2;
const DONE_WITHIN: Duration = Duration::from_secs(120);
/// Before any of the letters failed, and after all.
const PAST: &str = "2020-01-01T00:00:00Z";
const FUTURE: &str = "2100-01-01T00:00:00Z";

#[test]
fn letters_are_listed_shown_and_replayed_once() -> Result<()> {
    let client = Client::shared()?;
    let name = "mended";
    create_topics(client, name)?;
    let values = ["a", "trap b", "reject c", "trap d", "reject e", "f"];
    let input: Vec<_> =
        values.iter().enumerate().map(|(n, value)| Record::new(&format!("k{n}"), value).in_partition(0)).collect();
    client.produce(name, &input)?;
    let pipeline = Pipeline::new(&on_kafka(name, "")?)?;
    run_until_consumed(client, &pipeline, name)?;
    assert_eq!(values_of(client, &format!("{name}.clean"))?, ["A", "F"]);

    filters_find_what_they_say(&pipeline)?;
    a_letter_is_shown_whole(&pipeline)?;

    // A dry run says what would come, and writes nothing.
    let ends = || {
        anyhow::Ok((client.offsets_taken(&format!("{name}.clean"))?, client.offsets_taken(&format!("{name}.dead"))?))
    };
    let before = ends()?;
    let mended = plugin("uppercase")?;
    let with = ["--with", mended.to_str().context("UTF-8")?];
    let told = lines(done(replay(&pipeline, &[&with[..], &["--dry-run"]].concat())?)?)?;
    let mut would: Vec<_> = told.iter().filter_map(|line| line["value"].as_str()).collect();
    would.sort_unstable();
    assert_eq!(would, ["REJECT C", "REJECT E", "TRAP B", "TRAP D"]);
    assert_eq!(ends()?, before);

    // The same plugin fails again: the letters stay, and the exit code says so.
    let failed = replay(&pipeline, &["--failure", "trap"])?;
    ensure!(failed.code == Some(1), "{failed:?}");
    let told = summary(failed)?;
    assert_eq!((&told["open"], &told["replayed"], &told["failed_again"]), (&2.into(), &0.into(), &2.into()));
    assert_eq!(list(&pipeline, &[])?.len(), 4);

    // What a filter leaves out is replayed later.
    let nonsense = replay(&pipeline, &["--failure", "reject"])?;
    ensure!(nonsense.code == Some(2) && nonsense.stderr.contains("rejected"), "{nonsense:?}");
    let told = summary(replay(&pipeline, &[&with[..], &["--failure", "rejected", "--limit", "1"]].concat())?)?;
    assert_eq!((&told["replayed"], &told["outputs"]), (&1.into(), &1.into()), "{told}");
    assert_eq!(list(&pipeline, &[])?.len(), 3);
    let told = summary(replay(&pipeline, &with)?)?;
    assert_eq!((&told["open"], &told["replayed"]), (&3.into(), &3.into()), "{told}");
    let told = summary(replay(&pipeline, &with)?)?;
    assert_eq!((&told["open"], &told["outputs"]), (&0.into(), &0.into()), "{told}");
    let mut seen = values_of(client, &format!("{name}.clean"))?;
    seen.sort_unstable();
    assert_eq!(seen, ["A", "F", "REJECT C", "REJECT E", "TRAP B", "TRAP D"]);
    assert_eq!((list(&pipeline, &[])?.len(), list(&pipeline, &["--all"])?.len()), (0, 4));
    Ok(())
}

fn filters_find_what_they_say(pipeline: &Pipeline) -> Result<()> {
    let count = |args: &[&str]| anyhow::Ok(list(pipeline, args)?.len());
    assert_eq!(count(&[])?, 4);
    assert_eq!(count(&["--failure", "trap"])?, 2);
    assert_eq!(count(&["--failure", "trap", "--failure", "rejected"])?, 4);
    assert_eq!(count(&["--failure", "memory"])?, 0);
    assert_eq!(count(&["--stage", "victim"])?, 4);
    assert_eq!(count(&["--since", PAST, "--until", FUTURE])?, 4);
    assert_eq!((count(&["--since", FUTURE])?, count(&["--until", PAST])?), (0, 0));
    assert_eq!((count(&["--since", "1h"])?, count(&["--until", "1h"])?), (4, 0));
    assert_eq!(count(&["--limit", "3"])?, 3);
    let wrong = letters("list", pipeline, &["--stage", "nobody"])?;
    ensure!(wrong.code == Some(2) && wrong.stderr.contains("victim"), "{wrong:?}");

    let table = done(letters("list", pipeline, &[])?)?;
    ensure!(table.lines().count() == 5 && !table.contains('\u{1b}'), "{table}");
    let row = table.lines().find(|row| row.contains("mended/0@1")).with_context(|| table.clone())?;
    ensure!(["victim", "trap", "mended.dead/"].iter().all(|word| row.contains(word)), "{row}");
    Ok(())
}

fn a_letter_is_shown_whole(pipeline: &Pipeline) -> Result<()> {
    let shown = done(letters("show", pipeline, &["mended/0@2"])?)?;
    ensure!(["rejected", "not", "this one", "reject c", "k2"].iter().all(|word| shown.contains(word)), "{shown}");
    let place = list(pipeline, &["--limit", "1"])?[0]["letter"].as_str().context("a place")?.to_owned();
    let shown: Value = serde_json::from_str(&done(letters("show", pipeline, &[&place, "--json"])?)?)?;
    assert_eq!((&shown["letter"], &shown["replayed"]), (&place.clone().into(), &false.into()));
    let missing = letters("show", pipeline, &["mended/0@0"])?;
    ensure!(missing.code == Some(1) && missing.stderr.contains("mended/0@0"), "{missing:?}");
    let nonsense = letters("show", pipeline, &["mended"])?;
    ensure!(nonsense.code == Some(2), "{nonsense:?}");
    Ok(())
}

/// Letters that were written as the runtime writes them, of records with everything odd that a record can have.
#[test]
fn records_come_back_byte_for_byte() -> Result<()> {
    let client = Client::shared()?;
    let name = "odd";
    create_topics(client, name)?;
    let stored = as_stored(&trades::generate(7, 2_000, PARTITIONS));
    let dead: Vec<_> = stored.iter().map(|record| letter(name, record)).collect();
    client.produce(&format!("{name}.dead"), &dead)?;
    let text = on_kafka(name, "")?;
    let (before, after) = text.split_once("stages:").context("stages")?;
    let rest = after.split_once("sink:").context("a sink")?.1;
    let pipeline = Pipeline::new(&format!("{before}stages: []\nsink:{rest}"))?;
    let told = summary(replay(&pipeline, &[])?)?;
    assert_eq!(told["replayed"], stored.len(), "{told}");
    assert_eq!(difference(&stored, &client.consume(&format!("{name}.clean"), Isolation::ReadCommitted)?), None);
    Ok(())
}

fn letter(pipeline: &str, record: &Record) -> Record {
    let story = [
        ("pipeline", pipeline.to_owned()),
        ("stage", "victim".into()),
        ("plugin", "hostile".into()),
        ("plugin-version", "0.1.0".into()),
        ("plugin-digest", "00".into()),
        ("failure", "trap".into()),
        ("reason", "boom".into()),
        ("topic", pipeline.to_owned()),
        ("partition", record.partition.to_string()),
        ("offset", record.offset.to_string()),
        ("time", record.timestamp.to_string()),
    ];
    let mut letter = record.clone();
    letter.headers.extend(story.map(|(name, value)| (format!("sluicegate-{name}"), Some(value.into_bytes()))));
    letter
}

#[test]
fn a_replay_that_is_killed_goes_on_and_repeats_nothing() -> Result<()> {
    // Some 2,000 transactions. No machine ends them before the last kill, though one is looked for every 200 ms only.
    const COUNT: usize = 20_000;
    const KILLS: u64 = 4;
    let client = Client::shared()?;
    let name = "killed";
    create_topics(client, name)?;
    let record = |n: usize| Record {
        timestamp: 1_767_623_400_000 + n as i64,
        ..Record::new(&format!("k{}", n % 50), &format!("reject {n}"))
    };
    let stored = as_stored(&(0..COUNT).map(|n| record(n).in_partition(n as i32 % PARTITIONS)).collect::<Vec<_>>());
    let dead: Vec<_> = stored.iter().map(|record| letter(name, record)).collect();
    client.produce(&format!("{name}.dead"), &dead)?;
    let pipeline = Pipeline::new(&on_kafka(name, "commit: { records: 10 }\nbatch: { records: 10 }")?)?;
    let (clean, mended) = (format!("{name}.clean"), plugin("uppercase")?);
    let with = ["--with", mended.to_str().context("UTF-8")?];
    let args = arguments("replay", &pipeline, &[&with[..], &["--json"]].concat());

    let mut random = Random::new(seed()?);
    for kill in 1..=KILLS {
        let until = client.offsets_taken(&clean)? + 1 + random.below(COUNT as u64 / 20) as i64;
        let mut running = sluicegate(&args)?.spawn()?;
        eventually(DONE_WITHIN, "outputs of the replay", || {
            ensure!(running.is_running()?, "it ended before kill {kill}: {}", running.stderr()?);
            Ok((client.offsets_taken(&clean)? >= until).then_some(()))
        })?;
        ensure!(running.kill()?.signal == Some(9));
    }
    // One that was given up for dead comes back: its successor has fenced it. It has outputs of its own by then, and not
    // only ended what the last one had left open, which is a mark in each partition.
    let until = client.offsets_taken(&clean)? + i64::from(PARTITIONS) + 1;
    let mut zombie = sluicegate(&args)?.spawn()?;
    eventually(DONE_WITHIN, "outputs of the replay", || Ok((client.offsets_taken(&clean)? >= until).then_some(())))?;
    zombie.signal(Signal::Stop)?;
    let told = summary(sluicegate(&args)?.run()?)?;
    ensure!(told["replayed"].as_u64().is_some_and(|last| last > 0 && last < COUNT as u64), "{told}");
    zombie.signal(Signal::Cont)?;
    let end = zombie.wait(DONE_WITHIN)?;
    ensure!(end.code == Some(70), "{end:?}");
    assert_eq!(summary(sluicegate(&args)?.run()?)?["open"], 0);

    let upper = |record: &Record| Record {
        value: record.value.as_ref().map(|value| value.to_ascii_uppercase()),
        offset: -1,
        ..record.clone()
    };
    let expected: Vec<_> = stored.iter().map(upper).collect();
    assert_eq!(difference(&expected, &client.consume(&clean, Isolation::ReadCommitted)?), None);
    Ok(())
}

/// Of a mark that is behind a transaction which is still open no reader knows yet.
#[test]
fn a_replay_waits_for_what_is_not_yet_visible() -> Result<()> {
    let client = Client::shared()?;
    let name = "hidden";
    create_topics(client, name)?;
    let (clean, dead) = (format!("{name}.clean"), format!("{name}.dead"));
    let stored = as_stored(&["pass 0", "pass 1"].map(|value| Record::new("k", value).in_partition(0)));
    client.produce(&dead, &[letter(name, &stored[0])])?;
    let pipeline = Pipeline::new(&on_kafka(name, "")?)?;
    assert_eq!(list(&pipeline, &[])?.len(), 1);
    client.open_transaction(&dead, &[letter(name, &stored[1])])?;
    let mark = ("sluicegate-replayed".to_owned(), Some(b"0".to_vec()));
    client.produce(&dead, &[Record { headers: vec![mark], ..Record::new("k", "replayed").in_partition(0) }])?;
    assert_eq!(list(&pipeline, &[])?.len(), 1, "nobody knows better");

    let mut running = sluicegate(arguments("replay", &pipeline, &["--json"]))?.spawn()?;
    eventually(DONE_WITHIN, "a replay that waits", || {
        ensure!(running.is_running()?, "it did not wait: {}", running.stdout()?);
        Ok(running.stderr()?.contains("waiting for the transactions").then_some(()))
    })?;
    client.end_transaction(Ending::Commit)?;
    let told = summary(running.wait(DONE_WITHIN)?)?;
    assert_eq!((&told["open"], &told["replayed"]), (&1.into(), &1.into()), "{told}");
    assert_eq!(values_of(client, &clean)?, ["pass 1"]);
    Ok(())
}

#[test]
fn the_embedded_log_keeps_and_replays_letters_too() -> Result<()> {
    let (hostile, uppercase) = (guest("hostile")?, plugin("uppercase")?);
    let pipeline = Pipeline::new(&format!(
        "
name: embedded
source: {{ local: {{ path: data, topics: [in] }} }}
stages: [{{ name: victim, plugin: {}, on-failure: {{ breaker: 2 }} }}]
sink: {{ local: {{ path: data, topic: out }} }}
dead-letter: {{ topic: dead }}
workers: 1
",
        hostile.display()
    ))?;
    let data = pipeline.file().with_file_name("data");
    let local = ["--local", data.to_str().context("UTF-8")?];
    let run = |args: &[&str], input: &str| done(sluicegate(args.iter().chain(&local))?.input(input).run()?);
    run(&["topics", "create", "in"], "")?;
    run(&["produce", "in", "--raw"], "a\nreject b\ntrap c\nd\ntrap e\n")?;
    let admin = free_address()?;
    let mut running = pipeline.start(admin)?;
    running.wait_ready(admin, DONE_WITHIN)?;
    eventually(DONE_WITHIN, "the records", || {
        let status: Value = serde_json::from_str(&http::get(admin, "/v1/pipelines")?.body)?;
        Ok((status[0]["records_in"] == 5).then_some(()))
    })?;
    running.end()?;

    let found = list(&pipeline, &[])?;
    assert_eq!(found.len(), 3);
    // The same plugin fails again, on as many in a row as its breaker counts: all are tried.
    assert_eq!(summary(replay(&pipeline, &[])?)?["failed_again"], 3);
    let with = ["--with", uppercase.to_str().context("UTF-8")?];
    let told = summary(replay(&pipeline, &[&with[..], &["--failure", "trap"]].concat())?)?;
    assert_eq!((&told["replayed"], &told["outputs"]), (&2.into(), &2.into()), "{told}");
    assert_eq!(summary(replay(&pipeline, &with)?)?["replayed"], 1);
    assert_eq!(summary(replay(&pipeline, &with)?)?["open"], 0);
    let seen = run(&["consume", "out"], "")?;
    let values: Vec<_> = lines(seen)?.iter().map(|line| line["value"].clone()).collect();
    assert_eq!(values, ["A", "D", "TRAP C", "TRAP E", "REJECT B"]);

    // Back into the source topic, without a promise: what `list` prints is what `produce` takes.
    let records: String = found.iter().map(|letter| format!("{}\n", letter["record"])).collect();
    run(&["produce", "in"], &records)?;
    let values: Vec<_> = lines(run(&["consume", "in"], "")?)?.iter().map(|line| line["value"].clone()).collect();
    assert_eq!(values, ["a", "reject b", "trap c", "d", "trap e", "reject b", "trap c", "trap e"]);
    Ok(())
}

/// A topic that is made anew counts its offsets from 0 again.
#[test]
fn records_that_stood_at_the_same_place_are_each_replayed() -> Result<()> {
    let (client, name) = (Client::shared()?, "anew");
    create_topics(client, name)?;
    let record = |value| Record { offset: 7, timestamp: 1_767_623_400_000, ..Record::new("k", value).in_partition(0) };
    // The last is a letter that a crash has written twice.
    let dead = ["old", "new", "new"].map(|value| letter(name, &record(value)));
    client.produce(&format!("{name}.dead"), &dead)?;
    let pipeline = Pipeline::new(&on_kafka(name, "")?)?;
    let told = summary(replay(&pipeline, &[])?)?;
    assert_eq!((&told["open"], &told["replayed"]), (&2.into(), &2.into()), "{told}");
    assert_eq!(values_of(client, &format!("{name}.clean"))?, ["OLD", "NEW"]);
    assert_eq!(list(&pipeline, &[])?.len(), 0);
    Ok(())
}

#[test]
fn a_mended_plugin_needs_to_be_told_its_place() -> Result<()> {
    let uppercase = plugin("uppercase")?;
    let uppercase = uppercase.to_str().context("UTF-8")?;
    let text = |dead_letter: &str| {
        format!(
            "name: two\n\
             source: {{ kafka: {{ brokers: '127.0.0.1:1', topics: [in] }} }}\n\
             stages: [{{ name: one, plugin: {uppercase} }}, {{ name: other, plugin: {uppercase} }}]\n\
             sink: {{ kafka: {{ topic: out }} }}\n{dead_letter}"
        )
    };
    let pipeline = Pipeline::new(&text("dead-letter: { topic: dead }\n"))?;
    let unclear = replay(&pipeline, &["--with", uppercase])?;
    ensure!(unclear.code == Some(2) && unclear.stderr.contains("one, other"), "{unclear:?}");
    let none = letters("list", &Pipeline::new(&text(""))?, &[])?;
    ensure!(none.code == Some(2) && none.stderr.contains("dead-letter: { topic"), "{none:?}");
    let unreachable = letters("list", &pipeline, &[])?;
    ensure!(unreachable.code == Some(3) && unreachable.stderr.contains("127.0.0.1:1"), "{unreachable:?}");
    Ok(())
}

fn create_topics(client: &Client, name: &str) -> Result<()> {
    [name.to_owned(), format!("{name}.clean"), format!("{name}.dead")]
        .iter()
        .try_for_each(|topic| client.create_topic(topic, PARTITIONS, &[]))
}

fn run_until_consumed(client: &Client, pipeline: &Pipeline, name: &str) -> Result<()> {
    let running = pipeline.run()?;
    client.wait_until_consumed(name, name, DONE_WITHIN)?;
    running.end()
}

fn values_of(client: &Client, topic: &str) -> Result<Vec<String>> {
    let seen = client.consume(topic, Isolation::ReadCommitted)?;
    let text = |record: Record| String::from_utf8_lossy(&record.value.unwrap_or_default()).into_owned();
    Ok(seen.into_iter().map(text).collect())
}

fn arguments(command: &str, pipeline: &Pipeline, args: &[&str]) -> Vec<String> {
    let file = pipeline.file().display().to_string();
    let command = ["dead-letters", command, &file];
    command.iter().chain(args).map(|arg| (*arg).to_owned()).collect()
}

fn letters(command: &str, pipeline: &Pipeline, args: &[&str]) -> Result<Output> {
    sluicegate(arguments(command, pipeline, args))?.run()
}

fn replay(pipeline: &Pipeline, args: &[&str]) -> Result<Output> {
    letters("replay", pipeline, &[args, &["--json"]].concat())
}

fn list(pipeline: &Pipeline, args: &[&str]) -> Result<Vec<Value>> {
    lines(done(letters("list", pipeline, &[args, &["--json"]].concat())?)?)
}

fn lines(output: String) -> Result<Vec<Value>> {
    output.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// The last line of a replay.
fn summary(output: Output) -> Result<Value> {
    let last = lines(output.stdout.clone())?.pop();
    last.with_context(|| format!("no summary: {output:?}"))
}

fn on_kafka(name: &str, more: &str) -> Result<String> {
    let (brokers, hostile) = (Kafka::shared()?.bootstrap(), guest("hostile")?);
    let hostile = hostile.display();
    Ok(format!(
        "
name: {name}
source:
  kafka: {{ brokers: '{brokers}', topics: [{name}], start: earliest }}
stages:
  - name: victim
    plugin: {hostile}
    on-failure: {{ retries: 1, backoff: 20ms }}
sink:
  kafka: {{ topic: {name}.clean, partition: same }}
dead-letter: {{ topic: {name}.dead }}
delivery: exactly-once
{more}
"
    ))
}
