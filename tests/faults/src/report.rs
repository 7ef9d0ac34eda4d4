//! The table, and the same for machines.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::plan::Planned;
use crate::run::Outcome;
use crate::setting::Delivery;

/// What a table says of all runs.
#[derive(Debug)]
pub struct Table<'a>(pub &'a [Outcome]);

const COLUMNS: [&str; 9] =
    ["runs", "records", "lost", "repeated EO", "repeated ALO", "out of order", "violations", "recovery", "max"];

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<_> = self.0.iter().map(|outcome| outcome.planned.fault.name).collect();
        names.dedup();
        write!(f, "{:20}", "fault")?;
        for column in COLUMNS {
            write!(f, "  {column:>len$}", len = column.len().max(7))?;
        }
        writeln!(f)?;
        for name in names {
            let of_fault: Vec<_> = self.0.iter().filter(|outcome| outcome.planned.fault.name == name).collect();
            row(f, name, &of_fault)?;
        }
        row(f, "all", &self.0.iter().collect::<Vec<_>>())
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, outcomes: &[&Outcome]) -> fmt::Result {
    let sum = |of: &dyn Fn(&Outcome) -> u64| outcomes.iter().map(|outcome| of(outcome)).sum::<u64>().to_string();
    let repeated = |outcome: &Outcome, delivery| match outcome.planned.setting.delivery == delivery {
        true => outcome.report.counts.repeated,
        false => 0,
    };
    let mut recoveries: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.recovery).collect();
    recoveries.sort_unstable();
    let seconds =
        |recovery: Option<&Duration>| recovery.map_or("-".into(), |time| format!("{:.1}", time.as_secs_f64()));
    let cells = [
        outcomes.len().to_string(),
        sum(&|outcome| outcome.report.counts.records),
        sum(&|outcome| outcome.report.counts.lost),
        sum(&|outcome| repeated(outcome, Delivery::ExactlyOnce)),
        sum(&|outcome| repeated(outcome, Delivery::AtLeastOnce)),
        sum(&|outcome| outcome.report.counts.out_of_order),
        sum(&|outcome| outcome.violations.len() as u64),
        seconds(recoveries.get(recoveries.len() / 2)),
        seconds(recoveries.last()),
    ];
    write!(f, "{name:20}")?;
    for (column, cell) in COLUMNS.iter().zip(cells) {
        write!(f, "  {cell:>len$}", len = column.len().max(7))?;
    }
    writeln!(f)
}

/// One run, for machines.
pub fn json(outcome: &Outcome) -> Value {
    let Planned { fault, setting, plan, .. } = outcome.planned;
    let counts = &outcome.report.counts;
    json!({
        "seed": plan,
        "fault": fault.name,
        "delivery": setting.delivery.to_string(),
        "workers": setting.workers,
        "protocol": setting.protocol.to_string(),
        "records": counts.records,
        "outputs": counts.outputs,
        "lost": counts.lost,
        "repeated": counts.repeated,
        "out_of_order": counts.out_of_order,
        "violations": outcome.violations,
        "recovery_seconds": outcome.recovery.map(|time| time.as_secs_f64()),
        "memory_bytes": outcome.memory,
        "seconds": outcome.took.as_secs_f64(),
    })
}
