//! Rounds compared: a table to read, and a plot.

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result};
use plotters::prelude::*;
use serde::Serialize;

use crate::contender::Setup;
use crate::measure::{Latency, Measured};
use crate::workload::Workload;

/// All rounds under one promise. A contender has one run a round, in the same order.
#[derive(Serialize)]
pub struct Comparison {
    /// The promise, and how often it is committed.
    pub delivery: String,
    /// The work.
    pub workload: &'static str,
    /// How many records each run took.
    pub records: u64,
    /// The contenders, the yardstick first.
    pub contenders: Vec<Runs>,
}

/// A contender's runs.
#[derive(Serialize)]
pub struct Runs {
    /// What it is called.
    pub title: &'static str,
    /// One a round.
    pub runs: Vec<Measured>,
}

impl Comparison {
    /// Nothing yet.
    pub fn new(setup: &Setup, workload: &Workload, records: u64, titles: impl Iterator<Item = &'static str>) -> Self {
        let contenders = titles.map(|title| Runs { title, runs: Vec::new() }).collect();
        let delivery = format!("{}, committed every {:?}", setup.delivery, setup.commit);
        Comparison { delivery, workload: workload.title, records, contenders }
    }
}

/// How long records took under one promise at one rate. A contender has one run a round.
#[derive(Serialize)]
pub struct Latencies {
    /// The promise.
    pub delivery: String,
    /// Records a second.
    pub rate: u32,
    /// The contenders.
    pub contenders: Vec<(&'static str, Vec<Latency>)>,
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: latency in ms at {} records a second; median (least–most)\n", self.delivery, self.rate)?;
        writeln!(f, "| | p50 | p99 | p99.9 |\n|---|---|---|---|")?;
        for (title, runs) in &self.contenders {
            let spread = |of: fn(&Latency) -> f64| Spread::of(runs.iter().map(of));
            let (p50, p99, p999) = (spread(|run| run.p50), spread(|run| run.p99), spread(|run| run.p999));
            writeln!(f, "| {title} | {p50:.1} | {p99:.1} | {p999:.1} |")?;
        }
        Ok(())
    }
}

/// Least, median and most.
#[derive(Clone, Copy)]
pub struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    /// Of these values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let last = values.len().saturating_sub(1);
        // Of an even number, what lies between the two in the middle.
        let median = f64::midpoint(at(last / 2), at(last.div_ceil(2)));
        Spread { least: at(0), median, most: at(last) }
    }
}

impl fmt::Display for Spread {
    /// With the precision that is asked for: `{:.2}`. Of no values, that nothing could be measured.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(0);
        let Spread { least, median, most } = self;
        if median.is_nan() {
            return f.write_str("too little to measure: take more records");
        }
        write!(f, "{median:.digits$} ({least:.digits$}–{most:.digits$})")
    }
}

impl Runs {
    fn spread(&self, of: impl Fn(&Measured) -> Option<f64>) -> Spread {
        Spread::of(self.runs.iter().filter_map(of))
    }

    /// Each run beside the yardstick's of the same round.
    fn ratio(&self, yardstick: &Runs, of: impl Fn(&Measured) -> Option<f64>) -> Spread {
        Spread::of(self.runs.iter().zip(&yardstick.runs).filter_map(|(own, its)| Some(of(own)? / of(its)?)))
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.contenders.first().map_or(0, |first| first.runs.len());
        let Comparison { delivery, workload, records, .. } = self;
        writeln!(f, "{workload}; {delivery}; {records} records, {rounds} rounds; median (least–most)\n")?;
        writeln!(
            f,
            "| | CPU µs per record | × bare | records/s | × bare | peak memory MiB |\n|---|---|---|---|---|---|"
        )?;
        for contender in &self.contenders {
            let (cpu, rate) = (contender.spread(|run| run.cpu_us), contender.spread(|run| Some(run.rate)));
            let memory = contender.spread(|run| Some(run.memory_mib));
            let yardstick = &self.contenders[0];
            let (cost, speed) =
                (contender.ratio(yardstick, |run| run.cpu_us), contender.ratio(yardstick, |run| Some(run.rate)));
            writeln!(f, "| {} | {cpu:.2} | {cost:.2} | {rate:.0} | {speed:.2} | {memory:.0} |", contender.title)?;
        }
        Ok(())
    }
}

const WIDTH: i32 = 960;
const ROW: i32 = 30;
/// Where bars begin.
const LEFT: i32 = 480;

/// Draws CPU time per record, a bar a contender, as an SVG file.
///
/// # Errors
/// The file cannot be written.
pub fn plot(comparisons: &[Comparison], file: &Path) -> Result<()> {
    let bars: Vec<(String, f64, bool)> = comparisons.iter().flat_map(bars).collect();
    let most = bars.iter().map(|(_, value, _)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let height = ROW * (i32::try_from(bars.len())? + 1);
    let area = SVGBackend::new(file, (WIDTH.unsigned_abs(), height.unsigned_abs())).into_drawing_area();
    area.fill(&WHITE)?;
    let text = ("sans-serif", 14).into_font();
    area.draw(&Text::new("CPU µs per record: less is better", (LEFT, 8), text.clone()))?;
    for ((title, value, ours), top) in bars.iter().zip((ROW..).step_by(ROW.unsigned_abs() as usize)) {
        let colour = if *ours { RGBColor(0, 110, 90) } else { RGBColor(170, 180, 190) };
        let right = LEFT + (f64::from(WIDTH - LEFT - 60) * value / most) as i32;
        area.draw(&Text::new(title.as_str(), (10, top + 8), text.clone()))?;
        area.draw(&Rectangle::new([(LEFT, top + 4), (right, top + ROW - 4)], colour.filled()))?;
        area.draw(&Text::new(format!("{value:.2}"), (right + 6, top + 8), text.clone()))?;
    }
    area.present().with_context(|| file.display().to_string())
}

fn bars(comparison: &Comparison) -> impl Iterator<Item = (String, f64, bool)> {
    let measured =
        comparison.contenders.iter().filter(|contender| contender.runs.iter().any(|run| run.cpu_us.is_some()));
    measured.map(|contender| {
        let title = contender.title.replace("**", "");
        let ours = title.starts_with("sluicegate");
        let value = contender.spread(|run| run.cpu_us).median;
        (format!("{title}; {}", comparison.delivery), value, ours)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::Delivery;
    use crate::workload::ALL;

    fn comparison() -> Comparison {
        let run = |cpu_us| Measured { cpu_us: Some(cpu_us), rate: 1e6 / cpu_us, memory_mib: 60.0 };
        let (setup, titles) = (Setup::new(Delivery::ExactlyOnce), ["bare", "**sluicegate**"]);
        let mut comparison = Comparison::new(&setup, &ALL[0], 10, titles.into_iter());
        comparison.contenders[0].runs = vec![run(2.0), run(4.0), run(3.0)];
        comparison.contenders[1].runs = vec![run(1.0), run(3.0), run(2.4)];
        comparison
    }

    #[test]
    fn ratios_are_within_a_round() {
        let table = comparison().to_string();
        assert!(table.contains("| bare | 3.00 (2.00–4.00) | 1.00 (1.00–1.00) |"), "{table}");
        assert!(table.contains("| **sluicegate** | 2.40 (1.00–3.00) | 0.75 (0.50–0.80) |"), "{table}");
    }

    #[test]
    fn what_was_not_measured_has_no_figure() {
        let mut comparison = comparison();
        comparison.contenders[1].runs.iter_mut().for_each(|run| run.cpu_us = None);
        let table = comparison.to_string();
        assert!(table.contains("| **sluicegate** | too little to measure: take more records |"), "{table}");
        assert_eq!(bars(&comparison).count(), 1);
    }

    #[test]
    fn a_median_is_in_the_middle() {
        let median = |values: &[f64]| Spread::of(values.iter().copied()).median;
        assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0, 2.0, 3.0]), median(&[7.0])), (2.0, 2.5, 7.0));
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_plot_names_everyone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plot.svg");
        plot(&[comparison()], &file).unwrap();
        let svg = std::fs::read_to_string(file).unwrap();
        assert!(
            ["bare; exactly-once", "3.00", "sluicegate; exactly-once", "2.40"].iter().all(|text| svg.contains(text)),
            "{svg}"
        );
    }
}
