//! `test` as its users let it run: over and over, in CI, and to have expectations written.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluicegate_tests::plugins::plugin;
use sluicegate_tests::process::Signal;
use sluicegate_tests::program::{Output, Running, sluicegate};
use sluicegate_tests::wait::eventually;

const SOON: Duration = Duration::from_secs(60);

const CASES: &str = r#"# What shouting makes of records.
cases:
  - name: right
    record: { value: buy }
    expect: { emit: [{ value: BUY }] }   # as it is
  - name: wrong
    record: { key: k, value: { side: buy } }
    expect: pass                         # so far
  - { name: a tombstone, record: { value: null }, expect: drop }
"#;

fn test(folder: &Path, plugin: &Path, args: &[&str]) -> Result<Output> {
    let all = ["test".as_ref(), "cases.yaml".as_ref(), "--plugin".as_ref(), plugin.as_os_str()];
    let args = args.iter().map(|arg| arg.as_ref());
    sluicegate(all.into_iter().chain(args))?.folder(folder).run()
}

#[test]
fn update_writes_what_was_found_and_nothing_else() -> Result<()> {
    let (folder, uppercase) = (tempfile::tempdir()?, plugin("uppercase")?);
    let file = folder.path().join("cases.yaml");
    fs::write(&file, CASES)?;
    let updated = test(folder.path(), &uppercase, &["--update"])?;
    ensure!(updated.code == Some(0) && updated.stdout.contains("1 passed, 2 updated, 0 failed"), "{updated:?}");
    ensure!(updated.stdout.contains("UPDATED wrong") && updated.stdout.contains("- pass"), "{updated:?}");
    let expected = CASES
        .replace("expect: pass  ", "expect: { emit: [{ value: { SIDE: \"BUY\" } }] }  ")
        .replace("expect: drop", "expect: pass");
    assert_eq!(fs::read_to_string(&file)?, expected);
    let again = test(folder.path(), &uppercase, &["--update"])?;
    ensure!(again.code == Some(0) && again.stdout.contains("3 passed, 0 failed"), "{again:?}");
    assert_eq!(fs::read_to_string(&file)?, expected);
    Ok(())
}

#[test]
fn update_never_takes_a_plugin_that_does_not_start_for_what_is_expected() -> Result<()> {
    let (folder, redact) = (tempfile::tempdir()?, plugin("redact")?);
    let file = folder.path().join("cases.yaml");
    fs::write(&file, CASES)?; // Which have no configuration, and redact needs one.
    let refused = test(folder.path(), &redact, &["--update"])?;
    ensure!(refused.code == Some(1) && refused.stdout.contains("1 failed"), "{refused:?}");
    assert_eq!(fs::read_to_string(&file)?, CASES);
    Ok(())
}

#[test]
fn junit_is_written_beside_the_report() -> Result<()> {
    let (folder, uppercase) = (tempfile::tempdir()?, plugin("uppercase")?);
    fs::write(folder.path().join("cases.yaml"), CASES)?;
    let tested = test(folder.path(), &uppercase, &["--junit", "report.xml"])?;
    ensure!(tested.code == Some(1) && tested.stdout.contains("1 passed, 2 failed"), "{tested:?}");
    let report = fs::read_to_string(folder.path().join("report.xml"))?;
    for words in [
        "<testsuites name=\"sluicegate test\" tests=\"3\" failures=\"2\">",
        "<testcase name=\"right\" classname=\"cases.yaml\"/>",
    ] {
        ensure!(report.contains(words), "no {words} in {report}");
    }
    let nowhere = test(folder.path(), &uppercase, &["--junit", "nowhere/report.xml"])?;
    ensure!(nowhere.code == Some(1) && nowhere.stderr.contains("cannot write nowhere/report.xml"), "{nowhere:?}");
    Ok(())
}

#[test]
fn watch_runs_again_when_cases_or_the_plugin_are_saved() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let project = folder.path();
    fs::create_dir(project.join("cases"))?;
    fs::write(project.join("cases/a.yaml"), "cases: [{ record: { value: buy }, expect: pass }]\n")?;
    let mut running = sluicegate(["test", "--watch"])?.folder(project).spawn()?;
    said(&running, "there is no plugin to test", 1)?;
    fs::copy(plugin("uppercase")?, project.join("p.wasm"))?;
    said(&running, "0 passed, 1 failed", 2)?;
    fs::write(
        project.join("cases/a.yaml"),
        "cases: [{ record: { value: buy }, expect: { emit: [{ value: BUY }] } }]\n",
    )?;
    said(&running, "1 passed, 0 failed", 1)?;
    fs::write(project.join("cases/b.yaml"), "cases: [{ expect: pass }]\n")?;
    said(&running, "2 passed, 0 failed", 1)?;
    fs::write(project.join("cases/b.yaml"), "cases: [{ expect: pas }]\n")?;
    eventually(SOON, "the slip", || Ok(running.stderr()?.contains("did you mean 'pass'?").then_some(())))?;
    // Not what Ctrl-C sends: who runs in the background of a shell ignores that.
    running.signal(Signal::Term)?;
    ensure!(running.wait(SOON)?.signal == Some(15));
    Ok(())
}

/// Waits until the program has said this so many times.
fn said(running: &Running, words: &str, times: usize) -> Result<()> {
    let found = eventually(SOON, words, || Ok((running.stdout()?.matches(words).count() >= times).then_some(())));
    found.with_context(|| format!("{}{}", running.stdout().unwrap_or_default(), running.stderr().unwrap_or_default()))
}
