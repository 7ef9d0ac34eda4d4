//! Who may be trusted: keys, signatures, and pipelines that load nothing else, at their start; `refusals` sees that they do
//! not later either. Nothing of it needs a broker.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sluicegate_tests::plugins::{guest, plugin};
use sluicegate_tests::program::{Output, Program, sluicegate};
use tempfile::TempDir;

const BAD: i32 = 2;

#[test]
fn a_key_pair_is_made_and_never_overwritten() -> Result<()> {
    let bench = Bench::new()?;
    let made: Value = serde_json::from_str(&bench.done(&["keygen", "dev", "--json"])?)?;
    ensure!(made["secret"] == "dev.key" && made["public"] == "dev.pub", "{made}");
    let mode = bench.folder.path().join("dev.key").metadata()?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (secret, public) = (bench.read("dev.key")?, bench.read("dev.pub")?);
    bench.refused(&["keygen", "dev"], &["dev.key is there already", "choose another name"])?;
    ensure!(bench.read("dev.key")? == secret, "overwritten");
    // Signed plugins are checked by it, wherever its other half is kept.
    fs::remove_file(bench.folder.path().join("dev.key"))?;
    bench.refused(&["keygen", "dev"], &["dev.pub is there already", "choose another name"])?;
    ensure!(bench.read("dev.pub")? == public, "overwritten");
    ensure!(bench.read("dev.key").is_err(), "a key without its other half");
    Ok(())
}

#[test]
fn a_signature_is_of_a_key_and_of_bytes() -> Result<()> {
    let bench = Bench::new()?;
    let signed: Value =
        serde_json::from_str(&bench.done(&["sign", "plain.wasm", "--key", "ops.key", "-o", "s.wasm", "--json"])?)?;
    let verified: Value = serde_json::from_str(&bench.done(&["verify", "s.wasm", "--key", "ops.pub", "--json"])?)?;
    ensure!(verified["keys"][0] == signed["key"] && verified["digest"] == signed["digest"], "{verified}, {signed}");
    bench.done(&["verify", "s.wasm", "--key", "stranger.pub", "--key", "ops.pub"])?;
    bench.refused(&["verify", "s.wasm", "--key", "stranger.pub"], &["which is none of those that are trusted"])?;
    bench.refused(&["verify", "plain.wasm", "--key", "ops.pub"], &["plain.wasm", "not signed"])?;
    bench.refused(&["verify", "s.wasm", "--key", "ops.key"], &["ops.key", "a secret key"])?;
    bench.refused(&["sign", "s.wasm", "--key", "ops.pub"], &["ops.pub", "not an Ed25519 secret key"])?;
    bench.refused(&["sign", "ops.pub", "--key", "ops.key"], &["ops.pub", "not a WebAssembly file"])?;

    let inspect = |args: &[&str]| -> Result<Value> {
        let args: Vec<&str> = [&["inspect", "s.wasm", "--json"], args].concat();
        Ok(serde_json::from_str(&bench.done(&args)?)?)
    };
    let inspected = inspect(&["--no-run"])?;
    ensure!(inspected["signed-by"][0] == signed["key"], "{inspected}");
    ensure!(inspected["name"].is_null() && inspected["trusted-key"].is_null(), "{inspected}");
    ensure!(inspect(&["--key", "ops.pub"])?["trusted-key"] == signed["key"], "not by its key");
    ensure!(inspect(&["--key", "stranger.pub"])?["trusted-key"].is_null(), "by a stranger's");
    Ok(())
}

#[test]
fn a_pipeline_loads_what_its_keys_signed_and_nothing_else() -> Result<()> {
    let bench = Bench::new()?;
    bench.done(&["sign", "plain.wasm", "--key", "ops.key", "-o", "good.wasm"])?;
    bench.done(&["sign", "plain.wasm", "--key", "stranger.key", "-o", "strange.wasm"])?;
    let good = bench.read("good.wasm")?;
    let changed = |name: &str, change: &dyn Fn(&mut Vec<u8>)| -> Result<()> {
        let mut bytes = good.clone();
        change(&mut bytes);
        Ok(fs::write(bench.folder.path().join(name), bytes)?)
    };
    changed("cut.wasm", &|bytes| bytes.truncate(bytes.len() - 1))?;
    changed("longer.wasm", &|bytes| bytes.extend([0, 2, 1, b'x']))?;
    // A letter in the plugin's own name: a component as good as before.
    changed("flipped.wasm", &|bytes| {
        let at = bytes.windows(9).rposition(|window| window == b"uppercase").unwrap_or_default();
        bytes[at] = b'U';
    })?;
    let trust = "trust: { keys: [{ key: '${file:ops.pub}' }] }\n";
    bench.validates("good.wasm", trust)?;
    bench.refuses(
        "plain.wasm",
        trust,
        &["pipeline.yaml:3:", "stage 's'", "not signed", "trust.keys", "sluicegate sign"],
    )?;
    bench.refuses("strange.wasm", trust, &["which is none of those that are trusted"])?;
    bench.refuses("cut.wasm", trust, &["cut off"])?;
    for name in ["longer.wasm", "flipped.wasm"] {
        bench.refuses(name, trust, &["the plugin was changed after it was signed"])?;
    }
    let either = "trust:\n  keys:\n    - key: '${file:stranger.pub}'\n    - key: '${file:ops.pub}'\n";
    bench.validates("good.wasm", either)?;
    bench.validates("strange.wasm", either)
}

#[test]
fn a_key_may_be_bound_to_topics() -> Result<()> {
    let bench = Bench::new()?;
    bench.done(&["sign", "plain.wasm", "--key", "ops.key"])?;
    let trust = |topics: &str| format!("trust: {{ keys: [{{ key: '${{file:ops.pub}}', topics: {topics} }}] }}\n");
    bench.validates("plain.wasm", &trust("[out, audit]"))?;
    bench.refuses("plain.wasm", &trust("[out]"), &["may not write to topic 'audit'"])?;
    bench.refuses("plain.wasm", &trust("[audit]"), &["may not write to topic 'out'"])?;
    bench.refuses("plain.wasm", &trust("[]"), &["no topics"])
}

#[test]
fn a_wrong_digest_is_refused_before_anything_is_compiled() -> Result<()> {
    let bench = Bench::new()?;
    let digest = format!("sha256:{}", "0".repeat(64));
    bench.refuses(&format!("plain.wasm, digest: '{digest}'"), "", &["pipeline.yaml:3:", "pinned is", &digest])?;
    let compiled = bench.folder.path().join("cache/sluicegate/compiled/wasmtime");
    ensure!(!compiled.exists() || fs::read_dir(&compiled)?.next().is_none(), "it was compiled");
    Ok(())
}

#[test]
fn a_plugin_is_held_against_a_pipeline() -> Result<()> {
    let bench = Bench::new()?;
    fs::copy(guest("fickle")?, bench.folder.path().join("fickle.wasm"))?;
    bench.lay_out("fickle.wasm, allow: [clock]", "trust: { keys: [{ key: '${file:ops.pub}' }] }\n")?;
    let shown = bench.done(&["inspect", "fickle.wasm", "--pipeline", "pipeline.yaml"])?;
    for words in [
        "clock: imports wasi:clocks/wall-clock; allowed by the stage",
        "not allowed by the stage: gets",
        "signature   not trusted: it is not signed",
    ] {
        ensure!(shown.contains(words), "no {words:?} in {shown}");
    }
    bench.refused(&["inspect", "fickle.wasm", "--pipeline", "pipeline.yaml", "--stage", "t"], &["--stage", "'p': s"])
}

/// A folder with keys, a plugin and a pipeline.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Result<Self> {
        let bench = Bench { folder: tempfile::tempdir()? };
        fs::copy(plugin("uppercase")?, bench.folder.path().join("plain.wasm"))?;
        for name in ["ops", "stranger"] {
            bench.done(&["keygen", name])?;
        }
        Ok(bench)
    }

    fn program(&self, args: &[&str]) -> Result<Program> {
        let path = |name: &str| self.folder.path().join(name);
        let program = sluicegate(args)?.folder(self.folder.path());
        Ok(program.env("XDG_CACHE_HOME", path("cache")).env("XDG_STATE_HOME", path("state")))
    }

    fn run(&self, args: &[&str]) -> Result<Output> {
        self.program(args)?.run()
    }

    fn done(&self, args: &[&str]) -> Result<String> {
        let output = self.run(args)?;
        ensure!(output.code == Some(0), "{args:?}: {output:?}");
        Ok(output.stdout)
    }

    fn refused(&self, args: &[&str], words: &[&str]) -> Result<()> {
        clear(&self.run(args)?, words).with_context(|| format!("{args:?}"))
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        Ok(fs::read(self.folder.path().join(name))?)
    }

    /// A pipeline with this plugin, and whatever keys follow it, in its one stage on line 3.
    fn lay_out(&self, plugin: &str, trust: &str) -> Result<()> {
        let text = format!(
            "name: p\n\
             source: {{ local: {{ path: data, topics: [in] }} }}\n\
             stages: [{{ name: s, plugin: {plugin} }}]\n\
             sink: {{ local: {{ path: data, topic: out, outputs: {{ audit: audit }} }} }}\n{trust}"
        );
        Ok(fs::write(self.folder.path().join("pipeline.yaml"), text)?)
    }

    fn validates(&self, plugin: &str, trust: &str) -> Result<()> {
        self.lay_out(plugin, trust)?;
        self.done(&["validate", "pipeline.yaml"]).map(drop)
    }

    fn refuses(&self, plugin: &str, trust: &str, words: &[&str]) -> Result<()> {
        self.lay_out(plugin, trust)?;
        self.refused(&["validate", "pipeline.yaml"], words).with_context(|| format!("{plugin}, {trust}"))
    }
}

/// One error for a person, with these words.
fn clear(output: &Output, words: &[&str]) -> Result<()> {
    let stderr = &output.stderr;
    ensure!(output.code == Some(BAD), "exit code {:?}:\n{stderr}", output.code);
    ensure!(stderr.matches("error: ").count() == 1 && !stderr.contains("panicked"), "not one error:\n{stderr}");
    ensure!(words.iter().all(|word| stderr.contains(word)), "{words:?} in:\n{stderr}");
    Ok(())
}
