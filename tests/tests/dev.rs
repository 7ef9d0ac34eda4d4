//! `dev`: a pipeline that follows what is saved, on an embedded log.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sluicegate_tests::build::{project, target_folder};
use sluicegate_tests::plugins::plugin;
use sluicegate_tests::process::Signal;
use sluicegate_tests::program::{Running, sluicegate};
use sluicegate_tests::stamp::{mischievous, version};
use sluicegate_tests::wait::eventually;

/// A build may wait for others.
const BUILT_WITHIN: Duration = Duration::from_secs(180);
const DONE_WITHIN: Duration = Duration::from_secs(60);
const DRAINED_WITHIN: Duration = Duration::from_secs(10);

/// A `dev` that runs in a folder, and what of its output was looked at.
struct Dev<'a> {
    folder: &'a Path,
    running: Running,
    seen: usize,
}

impl<'a> Dev<'a> {
    fn start(folder: &'a Path, args: &[&str]) -> Result<Self> {
        let dev = sluicegate(["dev", "pipeline.yaml"].iter().chain(args))?.folder(folder);
        // What all plugins depend on is compiled once.
        let running = dev.env("CARGO_TARGET_DIR", target_folder()?.join("plugins")).spawn()?;
        Ok(Dev { folder, running, seen: 0 })
    }

    /// Waits until this is said after what was waited for last.
    fn says(&mut self, words: &str) -> Result<()> {
        let said = eventually(BUILT_WITHIN, words, || {
            ensure!(self.running.is_running()?, "it ended");
            let stdout = self.running.stdout()?;
            Ok(stdout[self.seen..].find(words).map(|at| self.seen + at + words.len()))
        });
        let told =
            || format!("{}\n{}", self.running.stdout().unwrap_or_default(), self.running.stderr().unwrap_or_default());
        self.seen = said.with_context(told)?;
        Ok(())
    }

    fn produce(&self, records: &[Value]) -> Result<()> {
        let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
        let produced = sluicegate(["produce", "in", "--local", "data"])?.folder(self.folder).input(lines).run()?;
        ensure!(produced.code == Some(0), "{produced:?}");
        Ok(())
    }

    fn consume(&self, topic: &str) -> Result<Vec<Value>> {
        let consumed = sluicegate(["consume", topic, "--local", "data"])?.folder(self.folder).run()?;
        ensure!(consumed.code == Some(0), "{consumed:?}");
        consumed.stdout.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    fn interrupt(mut self) -> Result<()> {
        self.running.signal(Signal::Int)?;
        let end = self.running.wait(DRAINED_WITHIN)?;
        ensure!(end.code == Some(0), "{end:?}");
        ensure!(!end.stdout.contains('\u{1b}'), "colours are for terminals: {end:?}");
        Ok(())
    }
}

fn edit(file: &Path, from: &str, to: &str) -> Result<()> {
    let text = fs::read_to_string(file)?;
    ensure!(text.contains(from), "{from} in {text}");
    Ok(fs::write(file, text.replace(from, to))?)
}

#[test]
fn a_saved_plugin_is_built_and_takes_over_while_records_are_shown() -> Result<()> {
    let parent = tempfile::tempdir()?;
    let sdk = project().join("plugins/sdk/rust");
    let new = ["new".as_ref(), "rust".as_ref(), "shout".as_ref(), "--sdk".as_ref(), sdk.as_os_str()];
    let made = sluicegate(new)?.folder(parent.path()).run()?;
    ensure!(made.code == Some(0), "{made:?}");
    plugin("uppercase")?;
    let folder = parent.path().join("shout");
    let source = folder.join("src/lib.rs");
    let mut dev = Dev::start(&folder, &[])?;
    dev.says("built ")?;
    dev.says("shout: in → shout → out")?;
    let raw = json!({ "value": { "base64": "/w==" } });
    dev.produce(&[json!({ "key": "k1", "value": "hello" }), json!({ "value": "" }), json!({ "key": "k1" }), raw])?;
    dev.says("in[0]@0  k1: hello\n  → out  k1: > HELLO\n")?;
    dev.says("in[0]@1  null: \n  dropped\n")?;
    dev.says("in[0]@2  k1: null\n  → out  passed\n")?;
    dev.says("in[0]@3  null: 0xff\n  rejected by shout: the value is not UTF-8 text  → dead\n")?;

    edit(&source, "byte.to_ascii_uppercase()", "byte.to_ascii_lowercase()")?;
    dev.says(" runs now\n")?;
    dev.produce(&[json!({ "value": "QUIET" })])?;
    dev.says("in[0]@4  null: QUIET\n  → out  null: > quiet\n")?;

    edit(&source, "record.emit();", "record.emit(;")?;
    dev.says("not built: the build failed\n")?;
    ensure!(dev.running.stderr()?.contains("src/lib.rs:"), "the compiler's words: {}", dev.running.stderr()?);
    dev.produce(&[json!({ "value": "STILL" })])?;
    dev.says("in[0]@5  null: STILL\n  → out  null: > still\n")?;
    edit(&source, "record.emit(;", "record.emit();")?;
    dev.says(" runs already\n")?;

    edit(&folder.join("pipeline.yaml"), "prefix: \"> \"", "prefix: \"! \"")?;
    dev.says("the pipeline's file has changed: starting anew\n")?;
    dev.produce(&[json!({ "value": "again" })])?;
    dev.says("in[0]@6  null: again\n  → out  null: ! again\n")?;
    edit(&folder.join("pipeline.yaml"), "prefix: ", "perfix: ")?;
    dev.says("error: ")?;
    dev.says("waiting for a change")?;
    edit(&folder.join("pipeline.yaml"), "perfix: ", "prefix: ")?;
    dev.produce(&[json!({ "value": "mended" })])?;
    dev.says("in[0]@7  null: mended\n  → out  null: ! mended\n")?;
    // What is shown is committed soon after.
    eventually(DONE_WITHIN, "the last commit", || Ok((dev.consume("out")?.len() == 6).then_some(())))?;
    assert_eq!(dev.consume("dead")?.len(), 1);
    dev.interrupt()
}

/// A pipeline of a plugin that is not built here.
fn lay_out(folder: &Path, plugin: &[u8], stage: &str) -> Result<()> {
    fs::write(folder.join("p.wasm"), plugin)?;
    let text = format!(
        "name: p\nsource: {{ local: {{ path: data, topics: [in] }} }}\nstages: [{{ plugin: p.wasm{stage} }}]\n\
         sink: {{ local: {{ path: data, topic: out }} }}\ndead-letter: {{ topic: dead }}\n"
    );
    Ok(fs::write(folder.join("pipeline.yaml"), text)?)
}

#[test]
fn a_plugins_file_that_is_replaced_takes_over_or_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    lay_out(folder.path(), &version(1)?, "")?;
    let mut dev = Dev::start(folder.path(), &[])?;
    dev.says("p: in → p → out")?;
    dev.produce(&[json!({ "value": "a" })])?;
    dev.says("→ out  null: 000001:a\n")?;
    fs::write(folder.path().join("p.wasm"), version(2)?)?;
    dev.says(" runs now\n")?;
    fs::write(folder.path().join("p.wasm"), mischievous(3, "deny")?)?;
    dev.says("p: refused: ")?;
    dev.says("the version before runs on\n")?;
    dev.produce(&[json!({ "value": "b" })])?;
    dev.says("→ out  null: 000002:b\n")?;
    dev.interrupt()
}

#[test]
fn what_is_skipped_is_shown_and_what_is_too_much_is_counted() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let stage = ", config: { fields: [pin] }, on-failure: { then: skip }";
    lay_out(folder.path(), &fs::read(plugin("redact")?)?, stage)?;
    let mut dev = Dev::start(folder.path(), &["--rate", "3"])?;
    dev.says("p: in → p → out")?;
    let records: Vec<Value> = (0..100).map(|_| json!({ "value": "no JSON" })).collect();
    dev.produce(&records)?;
    dev.says("in[0]@2  null: no JSON\n  rejected by p: the value is not JSON")?;
    dev.says("  skipped\n")?;
    dev.says("more records, which are not shown; --rate shows more\n")?;
    let stdout = dev.running.stdout()?;
    ensure!(stdout.matches("rejected by p").count() < 20, "{stdout}");
    eventually(DONE_WITHIN, "a commit", || Ok(dev.consume("dead")?.is_empty().then_some(())))?;
    dev.interrupt()
}

#[test]
fn a_pipeline_that_stops_goes_on_when_the_plugin_is_mended() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let stage = ", on-failure: { then: stop }";
    lay_out(folder.path(), &mischievous(1, "trap")?, stage)?;
    let mut dev = Dev::start(folder.path(), &[])?;
    dev.says("p: in → p → out")?;
    dev.produce(&[json!({ "value": "a" })])?;
    dev.says("failed on in[0] offset 0")?;
    dev.says("waiting for a change")?;
    fs::write(folder.path().join("p.wasm"), version(2)?)?;
    dev.says("in[0]@0  null: a\n  → out  null: 000002:a\n")?;
    dev.interrupt()
}
