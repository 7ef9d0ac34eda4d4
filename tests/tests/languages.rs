//! From an empty folder to a passing test, in every language: one `new`, one `build`, one `test`, and no edit between.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
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

/// A plugin in C with a mistake for each letter that a value begins with, and a number of its configuration.
const MISTAKES: &str = r#"
#include <sluicegate.h>
#include <stdio.h>

static int64_t number;

static bool configure(const sg_config *config, sg_error *error) {
  (void)error;
  number = sg_config_integer(config, "number", 7);
  return true;
}

static sg_outcome process(const sg_record *record) {
  char text[32];
  switch (record->value.data[0]) {
    case 'e':
      snprintf(text, sizeof text, "%lld", (long long)number);
      sg_emit();
      sg_set_value(sg_text(text));
      return SG_EMIT;
    case 's':
      sg_set_value(sg_text("stray"));
      return SG_EMIT;
    case 'u':
      sg_reject("not returned");
      return SG_PASS;
    case 'b':
      return SG_REJECT;
    default:
      return (sg_outcome)0;
  }
}

SLUICEGATE_PLUGIN(
  .name = "mistakes",
  .config_schema = "{\"properties\":{\"number\":{\"type\":\"integer\"}}}",
  .configure = configure,
  .process = process)
"#;

#[test]
fn mistakes_in_c_fail_their_own_records() -> Result<()> {
    let parent = tempfile::tempdir()?;
    let sdk = sdk("c");
    let new = ["new".as_ref(), "c".as_ref(), "mistakes".as_ref(), "--sdk".as_ref(), sdk.as_os_str()];
    let made = sluicegate(new)?.folder(parent.path()).run()?;
    ensure!(made.code == Some(0), "{made:?}");
    let project = parent.path().join("mistakes");
    std::fs::write(project.join("plugin.c"), MISTAKES)?;
    build(&project)?;
    let run = |config: &str, lines: &str| {
        let args = ["run", "--stdin", "--stdout", "--raw", "--plugin", "mistakes.wasm", "--config", config];
        sluicegate(args)?.folder(&project).input(lines).spawn()?.wait(TEST_WITHIN)
    };

    let ran = run(r#"{"number": 1e3}"#, "emit\nstray\nnone\nunreturned\nbare\nemit\n")?;
    ensure!(ran.code == Some(1) && ran.stdout == "1000\nunreturned\n1000\n", "{ran:?}");
    for reason in ["sg_emit begins an output", "process returned 0, which is no outcome", "rejected without a reason"] {
        ensure!(ran.stderr.contains(reason), "no '{reason}' in {}", ran.stderr);
    }

    let refused = run(r#"{"number": 18446744073709551615}"#, "emit\n")?;
    ensure!(refused.code == Some(2), "{refused:?}");
    ensure!(refused.stderr.contains("number: 18446744073709551615 is no 64-bit integer"), "{refused:?}");
    Ok(())
}

fn from_nothing(language: &str) -> Result<()> {
    let parent = tempfile::tempdir()?;
    let sdk = sdk(language);
    let new = ["new".as_ref(), language.as_ref(), "my-plugin".as_ref(), "--sdk".as_ref(), sdk.as_os_str()];
    let made = sluicegate(new)?.folder(parent.path()).run()?;
    ensure!(made.code == Some(0), "{made:?}");
    let project = parent.path().join("my-plugin");
    build(&project)?;
    let tested = sluicegate(["test", "--json"])?.folder(&project).spawn()?.wait(TEST_WITHIN)?;
    let report: Value = serde_json::from_str(&tested.stdout).with_context(|| format!("{tested:?}"))?;
    ensure!(report["failed"] == 0 && report["passed"] == 4, "{report}");
    is_repeatable(&project)
}

/// What `new` makes keeps the promise of a record that comes again.
fn is_repeatable(project: &Path) -> Result<()> {
    let tested = sluicegate(["test", "--repeat"])?.folder(project).spawn()?.wait(TEST_WITHIN)?;
    ensure!(tested.code == Some(0) && tested.stdout.contains("repeatable"), "{tested:?}");
    Ok(())
}
