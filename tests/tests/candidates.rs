//! Plugins that are tried out beside those that run: shadows, which nobody notices, and canaries, which have their share and
//! then everything, or nothing.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sluicegate_tests::client::{Client, Isolation};
use sluicegate_tests::http;
use sluicegate_tests::kafka::Kafka;
use sluicegate_tests::program::{Output, Running, done, free_address, sluicegate};
use sluicegate_tests::record::Record;
use sluicegate_tests::stamp::{digest, mischievous, take_apart, version};
use sluicegate_tests::wait::eventually;

const PARTITIONS: i32 = 4;
const WITHIN: Duration = Duration::from_secs(60);
/// A group gives up the dead after 45 seconds, and one that died while it was joining only in the generation after.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(150);
const RECORDS: usize = 2_000;
/// Of so many records one is odd.
const ODD_EVERY: usize = 101;

#[test]
fn a_shadow_finds_exactly_the_records_that_differ_and_nothing_of_it_is_seen() -> Result<()> {
    let setup = Setup::new("shadowed")?;
    let running = setup.start(&version(1)?)?;
    let file = setup.write("shadow.wasm", &mischievous(1, "diff")?)?;
    let begun = done(setup.cli(&["shadow", "shadowed", "stamp", &file, "--why", "to compare"])?)?;
    ensure!(begun.contains("runs as shadow"), "{begun}");
    setup.produce(0..RECORDS)?;
    let report = setup.wait_for_report("all to be compared", |report| report["candidate"]["records"] == RECORDS)?;
    ensure!(report["differing"] == RECORDS.div_ceil(ODD_EVERY) && report["live"]["records"] == RECORDS, "{report}");
    ensure!(report["candidate"]["ns_per_record"].as_u64().is_some_and(|time| time > 0), "{report}");
    let samples = report["samples"].as_array().context("samples")?;
    ensure!(samples.len() == 16, "{} samples", samples.len());
    for sample in samples {
        let (live, shadow) = (sample["live"].as_str().context("live")?, sample["candidate"].as_str().context("both")?);
        ensure!(live.contains("odd\"") && live.replace("odd\"", "oddly\"") == shadow, "{sample}");
    }
    let shown = done(setup.cli(&["shadow", "shadowed", "stamp"])?)?;
    for words in ["2000 records compared, 20 differing", "offset ", "+   value: \"000001:", "oddly\""] {
        ensure!(shown.contains(words), "no {words:?} in {shown}");
    }
    let status = done(setup.cli(&["status", "shadowed"])?)?;
    ensure!(
        status.contains("20 differing") && !status.contains("oddly"),
        "records are for those who may change: {status}"
    );

    let counts =
        ["records_total of=candidate", "records_total of=live", "failures_total of=live kind=trap", "differing_total"];
    let counted = counts.map(|name| setup.metric(name)).into_iter().collect::<Result<Vec<_>>>()?;
    ensure!(counted == [2000.0, 2000.0, 0.0, 20.0].map(Some), "{counts:?}: {counted:?}");
    ensure!(
        setup.metric("info role=shadow version=000001")? == Some(1.0) && setup.metric("record_seconds")? > Some(0.0)
    );

    let second = setup.write("second.wasm", &version(3)?)?;
    let refused = setup.cli(&["canary", "shadowed", "stamp", &second, "--share", "10%"])?;
    ensure!(refused.code == Some(1) && refused.stderr.contains("has a shadow already"), "{refused:?}");
    done(setup.cli(&["shadow", "shadowed", "stamp", "--stop"])?)?;
    setup.produce(RECORDS..RECORDS + 100)?;
    setup.judge(RECORDS + 100, |_, version| version == 1)?;
    ensure!(setup.report()?["candidate"]["records"] == RECORDS, "it has ended: {}", setup.report()?);
    ensure!(setup.metric("info")?.is_none(), "nothing is tried out");
    ensure!(setup.actions()? == ["shadow done", "canary refused", "shadow-end done"], "{:?}", setup.actions()?);
    running.end()
}

#[test]
fn a_shadow_that_crashes_on_everything_is_dropped_and_the_stream_is_untouched() -> Result<()> {
    let setup = Setup::new("haunted")?;
    let running = setup.start(&version(1)?)?;
    let file = setup.write("shadow.wasm", &mischievous(2, "trap")?)?;
    done(setup.cli(&["shadow", "haunted", "stamp", &file])?)?;
    setup.produce(0..RECORDS)?;
    let ended = |report: &Value| report["ended"].as_str().is_some_and(|why| why.contains("crashes on every record"));
    setup.wait_for_report("its end", ended)?;
    setup.judge(RECORDS, |_, version| version == 1)?;
    setup.wait_for_action("shadow-end done")?;
    let metrics = http::get(setup.admin, "/metrics")?.body;
    ensure!(metrics.lines().any(|line| line.contains("kind=\"trap\"") && line.ends_with(" 0")), "{metrics}");
    ensure!(running.stderr()?.contains("role=\"shadow\""), "its lines are marked: {}", running.stderr()?);
    running.end()
}

#[test]
fn a_canary_has_its_share_of_the_keys_and_then_everything() -> Result<()> {
    let setup = Setup::new("canary")?;
    let (first, second) = (version(1)?, version(2)?);
    let running = setup.start(&first)?;
    let file = setup.write("canary.wasm", &second)?;
    let begin = |time: &str| {
        let begun =
            setup.cli(&["canary", "canary", "stamp", &file, "--share", "25%", "--of", "keys", "--for", time])?;
        ensure!(done(begun)?.contains("runs as canary"));
        anyhow::Ok(())
    };
    begin("10m")?;
    setup.produce(0..RECORDS)?;
    let is_canarys = |output: &Record| output.key.as_deref().is_some_and(|key| fnv_1a(key) % 10_000 < 2_500);
    let outputs = setup.judge(RECORDS, |output, version| version == if is_canarys(output) { 2 } else { 1 })?;
    let keys: BTreeSet<_> = outputs.iter().filter(|output| is_canarys(output)).map(|output| &output.key).collect();
    ensure!((150..350).contains(&keys.len()), "{} of 1000 keys", keys.len());
    for output in &outputs {
        let made_by = output.header("sluicegate-plugin-digest").flatten().context("the header")?;
        let plugin = if is_canarys(output) { &second } else { &first };
        ensure!(format!("sha256:{}", std::str::from_utf8(made_by)?) == digest(plugin), "{output:?}");
    }
    let shown = done(setup.cli(&["canary", "canary", "stamp"])?)?;
    ensure!(shown.contains("25% of the keys until") && !shown.contains("ended"), "it still ran: {shown}");
    done(setup.cli(&["canary", "canary", "stamp", "--stop"])?)?;

    // One that is given no record would be rolled back.
    begin("5s")?;
    let mut written = RECORDS;
    eventually(WITHIN, "its promotion", || {
        setup.produce(written..written + 100)?;
        written += 100;
        Ok(setup.actions()?.iter().any(|seen| seen == "promote done").then_some(()))
    })?;
    let status = setup.status()?;
    ensure!(status["stages"][0]["version"] == "000002" && status["stages"][0]["on_trial"] == true, "{status}");
    setup.produce(written..written + RECORDS)?;
    setup.judge(written + RECORDS, |output, version| match index(output) {
        Ok(index) if index < RECORDS => version == if is_canarys(output) { 2 } else { 1 },
        Ok(index) if index < written => version == 2 || !is_canarys(output),
        _ => version == 2,
    })?;
    // As after any change: the version before is there, and what runs survives a restart.
    running.end()?;
    let running = setup.start(&first)?;
    ensure!(setup.status()?["stages"][0]["version"] == "000002", "{}", setup.status()?);
    running.end()
}

#[test]
fn a_canary_has_its_share_of_the_partitions() -> Result<()> {
    let setup = Setup::new("parted")?;
    let running = setup.start(&version(1)?)?;
    let path = "stages/stamp/candidate?role=canary&share=50%25&of=partitions&for=10m";
    let answer = setup.ask("PUT", path, &version(2)?)?;
    ensure!(answer["changed"] == true, "{answer}");
    ensure!(setup.ask("PUT", path, &version(2)?)?["changed"] == false, "it is so already");
    setup.produce(0..RECORDS)?;
    let is_canarys = |partition: i32| fnv_1a(&[b"parted", &partition.to_le_bytes()[..]].concat()) % 10_000 < 5_000;
    setup.judge(RECORDS, |output, version| version == if is_canarys(output.partition) { 2 } else { 1 })?;
    ensure!((0..PARTITIONS).any(is_canarys) && !(0..PARTITIONS).all(is_canarys), "the test shows something");

    // In the midst of it the process ends: what ran beside it goes on alone.
    running.kill()?;
    let running = setup.start(&version(1)?)?;
    setup.produce(RECORDS..RECORDS + 100)?;
    let consumed = setup.client.wait_until_consumed(&setup.name, &setup.name, TAKEN_OVER_WITHIN);
    consumed.with_context(|| running.stderr().unwrap_or_default())?;
    setup.judge(RECORDS + 100, |output, version| {
        version == if is_canarys(output.partition) && index(output).is_ok_and(|index| index < RECORDS) { 2 } else { 1 }
    })?;
    let history = setup.history()?;
    let last = history.last().context("an entry")?;
    ensure!(
        last["action"] == "rollback" && last["why"].as_str().is_some_and(|why| why.contains("the process ended")),
        "{last}"
    );
    running.end()
}

/// It crashes on what is odd, where what runs does not; and nothing else becomes of that than ever.
#[test]
fn a_canary_that_does_worse_is_rolled_back_and_nothing_is_lost() -> Result<()> {
    let setup = Setup::new("worse")?;
    let running = setup.start(&version(1)?)?;
    let bad = mischievous(2, "poor")?;
    let file = setup.write("canary.wasm", &bad)?;
    done(setup.cli(&["canary", "worse", "stamp", &file, "--share", "50%", "--for", "10m"])?)?;
    setup.produce(0..2 * RECORDS)?;
    setup.wait_for_action("rollback done")?;
    setup.produce(2 * RECORDS..2 * RECORDS + 100)?;
    let outputs = setup.judge(2 * RECORDS + 100, |output, version| match version {
        1 => true,
        2 => output.key.as_deref().is_some_and(|key| fnv_1a(key) % 10_000 < 5_000),
        _ => false,
    })?;
    let by_it = outputs.iter().filter(|output| take_apart(output).is_ok_and(|(version, _)| version == 2)).count();
    ensure!(by_it > 0, "it had its share while it lasted");
    let late = outputs.iter().filter(|output| index(output).is_ok_and(|index| index >= 2 * RECORDS));
    ensure!(late.map(take_apart).all(|found| found.is_ok_and(|(version, _)| version == 1)), "it has ended");
    let history = setup.history()?;
    let rollback = history.iter().find(|entry| entry["action"] == "rollback").context("a rollback")?;
    ensure!(rollback["who"] == "sluicegate" && rollback["before"] == digest(&bad).as_str(), "{rollback}");
    ensure!(rollback["why"].as_str().is_some_and(|why| why.starts_with("failures: ")), "{rollback}");
    let report = setup.report()?;
    ensure!(
        report["candidate"]["failures"]["trap"].as_u64() > Some(3)
            && report["live"]["failures"] == serde_json::json!({}),
        "{report}"
    );
    running.end()
}

/// A pipeline from Kafka to Kafka with one stage, `stamp`, and no place for dead letters: one would stop it.
struct Setup {
    name: String,
    folder: tempfile::TempDir,
    admin: SocketAddr,
    client: Client,
}

impl Setup {
    fn new(name: &str) -> Result<Self> {
        let kafka = Kafka::shared()?;
        let client = Client::connect(kafka)?;
        client.create_topic(name, PARTITIONS, &[])?;
        client.create_topic(&format!("{name}.out"), PARTITIONS, &[])?;
        let folder = tempfile::tempdir()?;
        let brokers = kafka.bootstrap();
        let yaml = format!(
            "name: {name}\n\
             source: {{ kafka: {{ brokers: '{brokers}', topics: [{name}], start: earliest }} }}\n\
             stages: [{{ plugin: stamp.wasm }}]\n\
             sink: {{ kafka: {{ topic: {name}.out, partition: same, plugin-header: true }} }}\n\
             delivery: exactly-once\nworkers: 2\n"
        );
        fs::write(folder.path().join("pipeline.yaml"), yaml)?;
        Ok(Setup { name: name.to_owned(), folder, admin: free_address()?, client })
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<String> {
        let file = self.folder.path().join(name);
        fs::write(&file, bytes)?;
        Ok(file.to_str().context("UTF-8")?.to_owned())
    }

    fn start(&self, plugin: &[u8]) -> Result<Running> {
        self.write("stamp.wasm", plugin)?;
        let args = ["run", "pipeline.yaml", "--state-dir", "state", "--admin", &self.admin.to_string()];
        let mut running = sluicegate(args)?.folder(self.folder.path()).spawn()?;
        running.wait_ready(self.admin, WITHIN)?;
        Ok(running)
    }

    fn cli(&self, args: &[&str]) -> Result<Output> {
        sluicegate(args.iter().copied().chain(["--admin", &format!("http://{}", self.admin)]))?.run()
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Result<Value> {
        let path = format!("/v1/pipelines/{}/{path}", self.name);
        let answer = http::send(self.admin, method, &path, &["Content-Type: application/wasm"], body)?;
        ensure!(answer.status == 200, "{method} {path}: {answer:?}");
        Ok(serde_json::from_str(&answer.body)?)
    }

    fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&http::get(self.admin, &format!("/v1/pipelines/{}", self.name))?.body)?)
    }

    fn report(&self) -> Result<Value> {
        self.ask("GET", "stages/stamp/candidate", &[])
    }

    /// A metric of the candidate, with these labels among others; none while there is no candidate.
    fn metric(&self, words: &str) -> Result<Option<f64>> {
        let (name, labels) = words.split_once(' ').unwrap_or((words, ""));
        let labels: Vec<String> = labels.split_whitespace().map(|label| label.replace('=', "=\"") + "\"").collect();
        let has = |line: &&str| {
            line.starts_with(&format!("sluicegate_candidate_{name}{{"))
                && labels.iter().all(|label| line.contains(label))
        };
        let body = http::get(self.admin, "/metrics")?.body;
        let value = body.lines().find(has).and_then(|line| line.rsplit_once(' '));
        Ok(value.map(|(_, value)| value.parse()).transpose()?)
    }

    fn wait_for_report(&self, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        let waited = eventually(WITHIN, what, || Ok(Some(self.report()?).filter(&is)));
        waited.with_context(|| self.report().unwrap_or_default().to_string())
    }

    fn history(&self) -> Result<Vec<Value>> {
        Ok(serde_json::from_value(self.ask("GET", "history", &[])?)?)
    }

    /// What was changed, and how it ended.
    fn actions(&self) -> Result<Vec<String>> {
        let words = |entry: &Value| format!("{} {}", entry["action"], entry["ended"]).replace('"', "");
        Ok(self.history()?.iter().map(words).collect())
    }

    fn wait_for_action(&self, action: &str) -> Result<()> {
        eventually(WITHIN, action, || Ok(self.actions()?.iter().any(|seen| seen == action).then_some(())))
    }

    fn produce(&self, indices: std::ops::Range<usize>) -> Result<()> {
        self.client.produce(&self.name, &indices.map(record).collect::<Vec<_>>())
    }

    /// Once all is consumed: each record once and in order, by a version that it may be by.
    fn judge(&self, written: usize, may_be: impl Fn(&Record, usize) -> bool) -> Result<Vec<Record>> {
        self.client.wait_until_consumed(&self.name, &self.name, WITHIN)?;
        let outputs = self.client.consume(&format!("{}.out", self.name), Isolation::ReadCommitted)?;
        ensure!(outputs.len() == written, "{} outputs of {written} records", outputs.len());
        let mut next: Vec<usize> = (0..PARTITIONS as usize).collect();
        for output in &outputs {
            let (version, value) = take_apart(output)?;
            let (index, due) = (index(output)?, &mut next[output.partition as usize]);
            ensure!(index == *due && record(index).value.as_deref() == Some(value), "{due} was due: {output:?}");
            ensure!(may_be(output, version), "by version {version}: {output:?}");
            *due += PARTITIONS as usize;
        }
        Ok(outputs)
    }
}

/// A thousand keys; the ones after each other are of different partitions.
fn record(index: usize) -> Record {
    let odd = if index.is_multiple_of(ODD_EVERY) { "odd" } else { "even" };
    let partition = (index % PARTITIONS as usize) as i32;
    Record::new(&format!("key-{}", index % 1000), &format!("{index:010} {odd}")).in_partition(partition)
}

fn index(output: &Record) -> Result<usize> {
    let (_, value) = take_apart(output)?;
    Ok(std::str::from_utf8(value.get(..10).context("an index")?)?.parse()?)
}

/// As the documentation says it: 64-bit FNV-1a.
fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
