//! Plugins that are no good, of every kind there is, loaded while records flow: each is refused with its reason, and the
//! stream does not notice.

mod kinds;
mod setup;

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sluicegate_tests::client::Isolation;
use sluicegate_tests::http;
use sluicegate_tests::numbered::{Fed, feed, judge};
use sluicegate_tests::record::Record;
use sluicegate_tests::stamp::{digest, take_apart};

use setup::{PIPELINES, Setup, TOPIC};

const DONE_WITHIN: Duration = Duration::from_secs(120);
const RECORDS_PER_SECOND: usize = 2_000;

/// A plugin that is no good.
struct Bad {
    kind: &'static str,
    /// Where it is to run: `pipeline/stage`.
    stage: &'static str,
    way: Way,
    /// Words of its reason that no other kind's has.
    words: &'static str,
}

/// How a plugin comes to a pipeline.
enum Way {
    /// By `sluicegate load`, with these options.
    Load(Vec<u8>, &'static [&'static str]),
    /// Over HTTP.
    Put(Vec<u8>),
    /// As the stage's file. None: that is gone.
    File(Option<Vec<u8>>),
    /// As what this manifest, to which the stage's tag leads, names. None: the tag is gone.
    Tag(Option<Value>),
}

#[test]
fn bad_plugins_of_every_kind_are_refused_and_the_stream_is_untouched() -> Result<()> {
    let setup = Setup::new()?;
    let running = setup.start()?;
    let (before, bad) = (setup.versions()?, kinds::all(&setup)?);
    let Fed { written, result: said, .. } = feed(&setup.writer, TOPIC, RECORDS_PER_SECOND, || {
        let said: Vec<_> = bad.iter().map(|bad| refuse(&setup, bad).context(bad.kind)).collect();
        turn_away(&setup)?;
        Ok(said)
    })?;
    let wrong: Vec<_> = said.iter().filter_map(|said| Some(format!("{:#}", said.as_ref().err()?))).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let reasons = said.into_iter().collect::<Result<Vec<_>>>()?;
    show(&bad, &reasons)?;
    for (index, Bad { words, .. }) in bad.iter().enumerate() {
        let said = reasons.iter().enumerate().filter(|(_, reason)| reason.contains(words)).map(|(index, _)| index);
        ensure!(said.eq([index]), "{words:?} is not said of one kind alone");
    }

    ensure!(setup.versions()? == before, "{:?} now, {before:?} before", setup.versions()?);
    let metrics = http::get(setup.admin, "/metrics")?.body;
    let refused = sum(&metrics, "sluicegate_changes_total", r#"ended="refused""#)?;
    ensure!(refused == bad.len() as f64, "{refused} of {} are counted as refused", bad.len());
    for none in ["sluicegate_swaps_total", "sluicegate_failures_total"] {
        ensure!(sum(&metrics, none, "")? == 0.0, "{none} in {metrics}");
    }
    for (pipeline, stages) in PIPELINES {
        setup.client.wait_until_consumed(pipeline, TOPIC, DONE_WITHIN)?;
        let outputs = setup.client.consume(&format!("{TOPIC}.{pipeline}"), Isolation::ReadCommitted)?;
        println!("{pipeline}: {written} records, longest gap between outputs {:?}", longest_gap(&outputs));
        judge(&unstamped(outputs, stages)?, written, &BTreeSet::new()).context(pipeline)?;
    }
    running.end()
}

/// Has a plugin refused. Gives the reason, which everybody is told who may want to know it.
fn refuse(setup: &Setup, bad: &Bad) -> Result<String> {
    let (pipeline, stage) = bad.stage.split_once('/').context("a stage")?;
    let (before, runs) = (setup.history(pipeline)?.len(), setup.stage(bad.stage)?["digest"].clone());
    match &bad.way {
        Way::Load(bytes, options) => {
            setup.write("bad.wasm", bytes)?;
            let loaded = setup.cli(&[&["load", pipeline, stage, "bad.wasm"], *options].concat())?;
            ensure!(loaded.code == Some(1) && loaded.stderr.contains(bad.words), "{loaded:?}");
        }
        Way::Put(bytes) => {
            let answer = setup.put(bad.stage, bytes)?;
            ensure!(answer.status == 422 && answer.body.contains(bad.words), "{answer:?}");
        }
        Way::File(bytes) => setup.replace_file(bytes.as_deref())?,
        Way::Tag(manifest) => setup.move_tag(manifest.as_ref())?,
    }
    let is_said = |stage: &Value| stage["refused"]["reason"].as_str().is_some_and(|reason| reason.contains(bad.words));
    let shown = setup.wait_for(bad.stage, bad.words, is_said)?;
    let (entry, history) = (&shown["refused"], setup.history(pipeline)?);
    ensure!(history.len() == before + 1 && history.last() == Some(entry), "{entry} is not the last of {history:?}");
    ensure!(entry["ended"] == "refused" && entry["stage"] == stage, "{entry}");
    let reason = entry["reason"].as_str().context("a reason")?;
    ensure!(!reason.contains('\n'), "more than a line: {reason}");
    if let Way::Load(bytes, _) | Way::Put(bytes) = &bad.way {
        ensure!(entry["digest"] == digest(bytes).as_str(), "{entry}");
    }
    ensure!(shown["digest"] == runs, "{shown}");
    mend(setup, bad)?;
    Ok(reason.to_owned())
}

/// Puts back what was there before.
fn mend(setup: &Setup, bad: &Bad) -> Result<()> {
    match &bad.way {
        Way::Load(..) | Way::Put(_) => return Ok(()),
        Way::File(_) => setup.replace_file(Some(&setup.good))?,
        Way::Tag(_) => drop(setup.push("stamp.wasm", "live")?),
    }
    setup.wait_for(bad.stage, "all to be well", |stage| stage["refused"].is_null()).map(drop)
}

/// What comes to no pipeline at all, or changes nothing.
fn turn_away(setup: &Setup) -> Result<()> {
    let answer = setup.put("open/given", &kinds::too_large())?;
    ensure!(answer.status == 413 && answer.body.contains("limits.file-size of the stage allows 1MiB"), "{answer:?}");
    let answer = setup.put("open/other", &setup.good)?;
    ensure!(answer.status == 404 && answer.body.contains("it has given, hasty, tag, pinned"), "{answer:?}");
    for missing in ["/no/such/file.wasm", "/tmp"] {
        let loaded = setup.cli(&["load", "open", "given", missing])?;
        ensure!(loaded.code == Some(2) && loaded.stderr.contains(missing), "{loaded:?}");
    }
    let answer = setup.put("open/hasty", &setup.good)?;
    ensure!(answer.status == 200 && answer.body.contains(r#""changed":false"#), "{answer:?}");
    Ok(())
}

/// For whoever reads what the test says, also where it passes.
fn show(bad: &[Bad], reasons: &[String]) -> Result<()> {
    let rows = bad.iter().zip(reasons).map(|(Bad { kind, stage, way, .. }, reason)| {
        let way = match way {
            Way::Load(..) => "load",
            Way::Put(_) => "PUT",
            Way::File(_) => "file",
            Way::Tag(_) => "tag",
        };
        format!("{kind:34} {way:4} {stage:12} {reason}\n")
    });
    let table: String = rows.collect();
    Ok(std::io::stdout().write_all(format!("\n{table}{} kinds refused\n", bad.len()).as_bytes())?)
}

/// The outputs with their last stamp alone. All that are gone are version 0's, as is the one that is left.
fn unstamped(outputs: Vec<Record>, stages: usize) -> Result<Vec<Record>> {
    let strip = |mut output: Record| {
        for stage in 0..stages {
            let (version, value) = take_apart(&output)?;
            ensure!(version == 0, "by version {version}: {output:?}");
            if stage > 0 {
                output.value = Some(value.to_vec());
            }
        }
        Ok(output)
    };
    outputs.into_iter().map(strip).collect()
}

/// The longest time in which no output came.
fn longest_gap(outputs: &[Record]) -> Duration {
    let mut times: Vec<_> = outputs.iter().map(|output| output.timestamp).collect();
    times.sort_unstable();
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
    Duration::from_millis(longest as u64)
}

/// What all counters of this name, and with this label, count together.
fn sum(metrics: &str, name: &str, label: &str) -> Result<f64> {
    let lines = metrics.lines().filter(|line| line.starts_with(&format!("{name}{{")) && line.contains(label));
    lines.map(|line| Ok(line.rsplit_once(' ').with_context(|| line.to_owned())?.1.parse::<f64>()?)).sum()
}
