//! The example `postgres`, as its README has it: the table holds each record once, however often the pipeline is killed.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sluicegate_tests::build::{program, project};
use sluicegate_tests::client::{Client, Isolation};
use sluicegate_tests::kafka::Kafka;
use sluicegate_tests::plugins::plugin;
use sluicegate_tests::postgres::Postgres;
use sluicegate_tests::process::{Process, Signal, output};
use sluicegate_tests::record::Record;
use sluicegate_tests::wait::eventually;

const ROUNDS: usize = 20;
const KILLS: usize = 2;
const PORTION: usize = 500;
const WITHIN: Duration = Duration::from_secs(120);
const DRAINED_WITHIN: Duration = Duration::from_secs(10);
/// What of the README starts the pipeline, without its `&`.
const RUN: &str = "sluicegate run pipeline.yaml";
const FEED: &str = "./feed.sh";

#[test]
fn the_table_holds_each_record_once() -> Result<()> {
    let (client, example) = (Client::shared()?, Example::lay_out()?);
    let mut sidecar = None;
    for line in example.readme()? {
        match line.as_str() {
            line if line.starts_with("export") || line.starts_with("sluicegate build") => {} // `Example` has done it.
            line if line.strip_suffix(" &") == Some(RUN) => sidecar = Some(example.start()?),
            line => example.sh(line)?,
        }
    }
    let mut written = 3;
    example.has(written)?;
    sidecar.context("a line that runs the pipeline")?.kill()?;

    let mut kills = 0;
    for round in 0.. {
        ensure!(round < ROUNDS, "only {kills} kills came between output and commit in {ROUNDS} rounds");
        let trades: Vec<_> = (written..written + PORTION).map(trade).collect();
        client.produce("trades", &trades)?;
        let before = client.offsets_taken("trades.clean")?;
        let mut sidecar = example.start()?;
        eventually(WITHIN, "outputs", || Ok((client.offsets_taken("trades.clean")? > before).then_some(())))?;
        sidecar.kill()?;
        written += PORTION;
        // What is in the topic and not committed will be there twice.
        let committed: i64 = client.committed("trades", "trades")?.values().sum();
        kills += usize::from(client.offsets_taken("trades.clean")? > committed);
        if round % 2 == 0 {
            example.sh(FEED)?;
        }
        if kills == KILLS {
            break;
        }
    }
    let mut sidecar = example.start()?;
    client.wait_until_consumed("trades", "trades", WITHIN)?;
    sidecar.signal(Signal::Term)?;
    ensure!(sidecar.wait(DRAINED_WITHIN)?.success());
    let outputs = client.consume("trades.clean", Isolation::ReadCommitted)?.len();
    ensure!(outputs > written, "{outputs} outputs of {written} records: nothing was repeated");

    example.sh(FEED)?;
    example.has(written)?;
    let odd = "SELECT value ->> 'symbol' FROM trade WHERE (value ->> 'id')::int IN (2, 3) ORDER BY value ->> 'id'";
    assert_eq!(example.postgres.query("trades", odd)?, "O'REILLY\nR&D \\ \"quoted\"");
    Ok(())
}

fn trade(number: usize) -> Record {
    let value = json!({ "id": number + 1, "symbol": "IT'S; --", "quantity": 10, "account": "4111111111111111" });
    Record::new(&format!("A-{}", number % 7), &value.to_string())
}

/// The example's folder, with the plugin built where it is looked for, and `sluicegate` on the path.
struct Example {
    postgres: Postgres,
    brokers: String,
    folder: PathBuf,
    path: OsString,
    temporary: tempfile::TempDir,
}

impl Example {
    fn lay_out() -> Result<Self> {
        let temporary = tempfile::tempdir()?;
        let folder = temporary.path().join("examples/postgres");
        fs::create_dir_all(&folder)?;
        for file in fs::read_dir(project().join("examples/postgres"))? {
            let file = file?;
            fs::copy(file.path(), folder.join(file.file_name()))?;
        }
        let redact = temporary.path().join("plugins/redact");
        fs::create_dir_all(&redact)?;
        fs::copy(plugin("redact")?, redact.join("redact.wasm"))?;
        let postgres = Postgres::start()?;
        let bin = program()?.parent().map(Path::to_owned).context("the program's folder")?;
        let before = std::env::var_os("PATH").unwrap_or_default();
        let first = [bin, postgres.programs().to_owned()];
        let path = std::env::join_paths(first.into_iter().chain(std::env::split_paths(&before)))?;
        Ok(Self { postgres, brokers: Kafka::shared()?.bootstrap(), folder, path, temporary })
    }

    /// The lines of the README's first block of commands.
    fn readme(&self) -> Result<Vec<String>> {
        let readme = fs::read_to_string(self.folder.join("README.md"))?;
        let block = readme.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next());
        Ok(block.context("a block of commands")?.lines().map(str::to_owned).collect())
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(&self.folder).env("PATH", &self.path);
        command.env("XDG_STATE_HOME", self.temporary.path());
        command.envs(self.postgres.env()).env("PGDATABASE", "trades").env("SLUICEGATE_BROKERS", &self.brokers);
        command
    }

    fn sh(&self, line: &str) -> Result<()> {
        output(&mut self.command(line), "a shell").with_context(|| line.to_owned()).map(drop)
    }

    /// The table has so many records, each once, and no account numbers.
    fn has(&self, records: usize) -> Result<()> {
        let count = "SELECT count(*), count(DISTINCT value ->> 'id'), \
                     count(*) FILTER (WHERE value ->> 'account' = '****') FROM trade";
        let found = self.postgres.query("trades", count)?;
        ensure!(found == format!("{records}|{records}|{records}"), "{found} of {records} records");
        Ok(())
    }

    fn start(&self) -> Result<Process> {
        let mut command = self.command(&format!("exec {RUN}"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Process::spawn(&mut command, &self.folder.join("no-such-folder"))
    }
}
