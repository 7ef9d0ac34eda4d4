//! How many instructions the path from columns to columns takes, counted by valgrind: a count that other processes on
//! the machine do not disturb, against the one that is kept.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use sluicegate_benches::boundary::RECORDS;
use sluicegate_tests::process::output;
use sluicegate_tests::{cache, plugins};

const VALGRIND: &str = "valgrind (Debian: apt-get install valgrind)";
/// Instructions a record that were counted when the path was last made faster or, with a reason, slower.
const KEPT: [(&str, f64); 2] = [("pass", 551.0), ("rewrite", 1012.0)];
/// How much more than that passes, as a share: processors of other makers are given other code.
const MARGIN: f64 = 0.10;
/// The batches of a short and a long run. What both have in common, to start a process and a plugin, is left out.
const BATCHES: [u64; 2] = [20, 120];

#[test]
fn the_path_takes_no_more_instructions_than_it_did() -> Result<()> {
    let program = Path::new(env!("CARGO_BIN_EXE_instructions"));
    // Compiled under valgrind, whose processor differs from the machine's: two minutes, once for each plugin and host.
    let files = [plugins::plugin("filter")?, plugins::plugin("uppercase")?];
    let compiled = cache::once_for("instructions", &files, |folder| {
        KEPT.iter().try_for_each(|(call, _)| count(program, call, 0, folder).map(drop))
    })?;
    for (call, kept) in KEPT {
        let [short, long] = BATCHES;
        let counted = count(program, call, long, &compiled)? - count(program, call, short, &compiled)?;
        let each = counted as f64 / ((long - short) * RECORDS) as f64;
        println!("{call}: {each:.1} instructions a record; kept: {kept}");
        ensure!(each <= kept * (1.0 + MARGIN), "{call} takes {each:.1} instructions a record, and took {kept}");
    }
    Ok(())
}

/// The instructions of a run of so many batches.
fn count(program: &Path, call: &str, batches: u64, compiled: &Path) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--log-fd=1"]).arg(program);
    let said = output(valgrind.args([call, &batches.to_string()]).arg(compiled), VALGRIND)?;
    let said = String::from_utf8_lossy(&said);
    let total = said.lines().find_map(|line| line.split_once("Collected :")).context("valgrind's count")?.1;
    Ok(total.trim().parse()?)
}
