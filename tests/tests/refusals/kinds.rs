use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;
use sluicegate_tests::plugins::guest;
use sluicegate_tests::process::output;
use sluicegate_tests::random::Random;
use sluicegate_tests::stamp::{mischievous, remark, version};

use crate::setup::{FILE_SIZE_MAX, Setup};
use crate::{Bad, Way};

const LIFECYCLE: &str = "sluicegate:plugin/lifecycle@0.1.0";
const SINGLE: &str = "sluicegate:plugin/transform@0.1.0";
const BATCHED: &str = "sluicegate:plugin/batch-transform@0.1.0";
const NO_DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// All kinds, each of which comes to its pipeline.
pub(crate) fn all(setup: &Setup) -> Result<Vec<Bad>> {
    let all = [others(setup)?, misfits()?, mischief()?, untrusted(setup)?, files(setup), tags(setup)?];
    Ok(all.into_iter().flatten().collect())
}

/// More than the stages of these tests take.
pub(crate) fn too_large() -> Vec<u8> {
    vec![0; 2 * FILE_SIZE_MAX]
}

/// One that is loaded by `sluicegate load`, as most are.
fn given(kind: &'static str, bytes: Vec<u8>, words: &'static str) -> Bad {
    Bad { kind, stage: "open/given", way: Way::Load(bytes, &[]), words }
}

/// Files that are something else, or no longer what they were.
fn others(setup: &Setup) -> Result<Vec<Bad>> {
    let mut damaged = setup.good.clone();
    damaged[9..15].fill(0xff); // The length of its first section.
    // As `wasmtime compile` begins its files.
    let native = b"\x7fELF\x02\x01\x01\xc8\x01".iter().copied().chain([0; 500]).collect();
    let gzip = output(Command::new("gzip").arg("-c").arg(setup.file("stamp.wasm")), "gzip")?;
    let random = Way::Put(Random::new(7).bytes(5_000));
    Ok(vec![
        given("an empty file", Vec::new(), "but an empty one"),
        Bad { way: random, ..given("random bytes", Vec::new(), "not a WebAssembly file: build") },
        given("damaged bytes", damaged, "not a valid component"),
        given("precompiled native code", native, "but native code"),
        given("WebAssembly as text", b"(component)".into(), "but WebAssembly as text"),
        given("compressed by gzip", gzip, "but one that gzip has compressed"),
    ])
}

/// WebAssembly that is none of our plugins.
fn misfits() -> Result<Vec<Bad>> {
    let newer = ["sluicegate:plugin/lifecycle@0.2.0", "sluicegate:plugin/transform@0.2.0"];
    let broken = "(core module (func (result i32)))";
    let outward = std::fs::read(guest("outward")?)?;
    Ok(vec![
        given("a core module", wat::parse_str("(module)")?, "a core WebAssembly module that neither exports"),
        given("another world", component("", &["wasi:cli/run@0.2.6"])?, "exports no sluicegate:plugin/lifecycle"),
        given("another version of ours", component("", &newer)?, "and this program speaks version 0.1.0"),
        given(
            "an export that is missing",
            component("", &[LIFECYCLE])?,
            "exports neither transform nor batch-transform",
        ),
        given("one export too many", component("", &[LIFECYCLE, SINGLE, BATCHED])?, "exports both transform and"),
        given("exports of another type", component("", &[LIFECYCLE, BATCHED])?, "does not fit plugin.wit"),
        given("code that does not compile", component(broken, &[LIFECYCLE, SINGLE])?, "does not compile"),
        given("imports the network", outward, "which no plugin is given (plugins have no network)"),
    ])
}

/// Plugins that fit until they are tried.
fn mischief() -> Result<Vec<Bad>> {
    let up_to = [
        ("crashes in describe", "mute", "fails on describe: trap"),
        ("its schema wants another config", "pick", "config does not fit the plugin"),
        ("refuses its config", "deny", "refuses its config: wants another"),
        ("crashes in configure", "crsh", "fails on its config: trap"),
        ("hangs in configure", "hang", "fails on its config: deadline: not done after 1s"),
        ("wants too much memory in configure", "fill", "fails on its config: memory"),
    ];
    let bad = |(number, (kind, mischief, words))| Ok(given(kind, mischievous(number, mischief)?, words));
    let mut bad = (1..).zip(up_to).map(bad).collect::<Result<Vec<_>>>()?;
    let slow = component(&slow_module(), &[LIFECYCLE, SINGLE])?;
    bad.extend([
        Bad { stage: "open/hasty", ..given("takes long to compile", slow, "compiling takes longer than 2s") },
        Bad {
            way: Way::Load(version(7)?, &["--digest", NO_DIGEST]),
            ..given("another digest than was said", Vec::new(), "expected is sha256:000000")
        },
        Bad {
            stage: "open/pinned",
            way: Way::Put(version(8)?),
            ..given("another digest than is pinned", Vec::new(), "pinned is sha256:")
        },
    ]);
    Ok(bad)
}

/// Plugins that somebody has signed, or should have.
fn untrusted(setup: &Setup) -> Result<Vec<Bad>> {
    let signed = |kind, bytes, words| Bad { stage: "signed/stamp", ..given(kind, bytes, words) };
    let altered = remark(setup.signed("ops", 13)?, 14, "good")?;
    Ok(vec![
        signed("not signed", version(10)?, "it is not signed"),
        signed("signed by a stranger", setup.signed("stranger", 11)?, "which is none of those that are trusted"),
        signed(
            "its signer may not write there",
            setup.signed("intern", 12)?,
            "may not write to topic 'refusals.signed'",
        ),
        signed("changed after it was signed", altered, "was changed after it was signed: get it once more"),
        Bad {
            stage: "locked/stamp",
            ..given("not pinned, where that is asked", version(15)?, "and the pipeline is locked")
        },
    ])
}

/// What becomes of the file that a stage watches.
fn files(setup: &Setup) -> Vec<Bad> {
    let file = |kind, bytes, words| Bad { way: Way::File(bytes), ..given(kind, Vec::new(), words) };
    vec![
        file("half of a file", Some(setup.good[..setup.good.len() / 2].to_vec()), "the file is cut off"),
        file("a file that is too large", Some(too_large()), "the limit on a plugin's file is 1048576"),
        file("a file that is gone", None, "cannot read plugin"),
    ]
}

/// What becomes of the tag that a stage follows.
fn tags(setup: &Setup) -> Result<Vec<Bad>> {
    let tag =
        |kind, manifest, words| Bad { stage: "open/tag", way: Way::Tag(manifest), ..given(kind, Vec::new(), words) };
    let mut image = setup.registry.manifest("stamp", "live")?;
    image["config"]["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
    setup.write("next.wasm", &version(20)?)?;
    setup.push("next.wasm", "next")?;
    let damaged = setup.registry.manifest("stamp", "next")?;
    setup.registry.damage(damaged["layers"][0]["digest"].as_str().context("a digest")?)?;
    Ok(vec![
        tag("a tag that leads to an image", Some(image), "and not application/vnd.wasm.config.v0+json"),
        tag("a tag whose plugin is damaged", Some(damaged), "as its manifest says: not loaded"),
        tag("a tag that is gone", None, "the registry has no such repository, tag or digest"),
    ])
}

/// A component that exports these interfaces, with nothing in them.
fn component(inside: &str, exports: &[&str]) -> Result<Vec<u8>> {
    let exports: String = exports.iter().map(|name| format!("(export \"{name}\" (instance $i))")).collect();
    Ok(wat::parse_str(format!("(component {inside} (instance $i) {exports})"))?)
}

/// A small module that a compiler has a hard time with: a loop over so many locals that any of its many cases may change.
fn slow_module() -> String {
    const LOCALS: usize = 1_500;
    const CASES: usize = 6_000;
    let case = |case: usize| {
        let [to, one, other] = [1, 7, 13].map(|step| 1 + case * step % LOCALS);
        let depth = CASES - 1 - case;
        format!(
            "end local.get {one} local.get {other} i64.add local.set {to} local.get 0 i32.const 1 i32.add local.set 0 br {depth}\n"
        )
    };
    let (locals, blocks) = ("i64 ".repeat(LOCALS), "block ".repeat(CASES));
    let (targets, cases) =
        ((0..CASES).map(|case| format!("{case} ")).collect::<String>(), (0..CASES).map(case).collect::<String>());
    format!(
        "(core module (func (param i32) (local {locals}) loop {blocks} local.get 0 br_table {targets}\n{cases} end))"
    )
}
