//! From an empty folder to a passing test, in every language: one `new`, one `build`, one `test`, and no edit between.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use sluicegate_tests::build::project;
use sluicegate_tests::languages::{build, sdk, zig};
use sluicegate_tests::program::sluicegate;

/// A first run compiles the plugin.
const TEST_WITHIN: Duration = Duration::from_secs(300);

#[test]
fn rust() -> Result<()> {
    from_nothing("rust")
}

#[test]
fn c() -> Result<()> {
    from_nothing("c")
}

#[test]
fn cpp() -> Result<()> {
    from_nothing("cpp")
}

#[test]
fn go() -> Result<()> {
    from_nothing("go")
}

#[test]
fn python() -> Result<()> {
    from_nothing("python")
}

#[test]
fn js() -> Result<()> {
    from_nothing("js")
}

#[test]
fn ts() -> Result<()> {
    from_nothing("ts")
}

/// The worked example of docs/boundary.md, by the commands it names.
#[test]
fn without_an_sdk() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = project().join("tests/conformance/raw/plugin.c");
    let module = folder.path().join("raw.core.wasm");
    zig(&["cc", "-target", "wasm32-freestanding", "-O3", "-nostdlib", "-Wl,--no-entry", "-o"], &[&module, &source])?;
    build(&module)?;
    let cases = folder.path().join("cases.yaml");
    let upper = "{ record: { key: k, value: abc, headers: [[a, b]] }, expect: { emit: [{ value: ABC }] } }";
    let tombstone = "{ record: { key: k }, expect: { emit: [{}] } }";
    std::fs::write(&cases, format!("cases: [{upper}, {tombstone}]\n"))?;
    let plugin = folder.path().join("raw.wasm");
    let test = ["test".as_ref(), cases.as_os_str(), "--plugin".as_ref(), plugin.as_os_str()];
    let tested = sluicegate(test)?.spawn()?.wait(TEST_WITHIN)?;
    ensure!(tested.code == Some(0) && tested.stdout.contains("2 passed, 0 failed"), "{tested:?}");
    Ok(())
}

fn from_nothing(language: &str) -> Result<()> {
    let parent = tempfile::tempdir()?;
    let sdk = sdk(language);
    let new = ["new".as_ref(), language.as_ref(), "shout".as_ref(), "--sdk".as_ref(), sdk.as_os_str()];
    let made = sluicegate(new)?.folder(parent.path()).run()?;
    ensure!(made.code == Some(0), "{made:?}");
    let project = parent.path().join("shout");
    build(&project)?;
    let tested = sluicegate(["test"])?.folder(&project).spawn()?.wait(TEST_WITHIN)?;
    ensure!(tested.code == Some(0) && tested.stdout.contains("4 passed, 0 failed"), "{tested:?}");
    is_repeatable(&project)
}

/// What `new` makes keeps the promise of a record that comes again.
fn is_repeatable(project: &Path) -> Result<()> {
    let tested = sluicegate(["test", "--repeat"])?.folder(project).spawn()?.wait(TEST_WITHIN)?;
    ensure!(tested.code == Some(0) && tested.stdout.contains("repeatable"), "{tested:?}");
    Ok(())
}
