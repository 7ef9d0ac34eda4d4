//! How cost grows with one thing: a table to read, and a plot.

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result};
use plotters::coord::Shift;
use plotters::prelude::*;
use serde::{Deserialize, Serialize};

/// The cost of nearly all curves.
pub const CPU: &str = "CPU µs per record";

/// One thing that grows, while all others stay.
#[derive(Debug, Serialize)]
pub struct Curve {
    /// What grows.
    pub axis: &'static str,
    /// What a point's cost is.
    pub unit: &'static str,
    /// From few to many.
    pub points: Vec<Point>,
}

/// What it costs at one size.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Point {
    /// How many, or how large.
    pub size: u64,
    /// In the curve's unit.
    pub cost: f64,
    /// The most memory that was resident at once, in MiB.
    pub memory_mib: f64,
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| {} | {} | memory MiB |\n|---|---|---|", self.axis, self.unit)?;
        for Point { size, cost, memory_mib } in &self.points {
            writeln!(f, "| {size} | {cost:.2} | {memory_mib:.0} |")?;
        }
        Ok(())
    }
}

/// Width and height of one panel, in pixels.
const PANEL: (u32, u32) = (460, 200);

/// Draws two panels a curve, cost and memory, from nothing upwards, as an SVG file.
///
/// # Errors
/// The file cannot be written.
pub fn plot(curves: &[Curve], file: &Path) -> Result<()> {
    let rows = curves.len();
    let area = SVGBackend::new(file, (PANEL.0 * 2, PANEL.1 * u32::try_from(rows)?)).into_drawing_area();
    area.fill(&WHITE)?;
    let panels = area.split_evenly((rows, 2));
    for (curve, panels) in curves.iter().zip(panels.chunks(2)) {
        panel(&panels[0], &format!("{}: {}", curve.axis, curve.unit), &curve.points, |point| point.cost)?;
        panel(&panels[1], &format!("{}: memory MiB", curve.axis), &curve.points, |point| point.memory_mib)?;
    }
    area.present().with_context(|| file.display().to_string())
}

fn panel<'a>(
    area: &DrawingArea<SVGBackend<'a>, Shift>,
    title: &str,
    points: &[Point],
    value: fn(&Point) -> f64,
) -> Result<()> {
    let most = points.iter().map(value).fold(f64::MIN_POSITIVE, f64::max) * 1.1;
    let (first, last) = (points.first().context("a point")?.size, points.last().context("a point")?.size);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 15))
        .margin(8)
        .x_label_area_size(24)
        .y_label_area_size(52)
        .build_cartesian_2d((first as f64..last as f64 * 1.01).log_scale(), 0.0..most)?;
    chart.configure_mesh().x_labels(7).y_labels(5).light_line_style(WHITE).draw()?;
    let line = points.iter().map(|point| (point.size as f64, value(point)));
    let colour = RGBColor(0, 110, 90);
    chart.draw_series(LineSeries::new(line.clone(), colour.stroke_width(2)))?;
    chart.draw_series(line.map(|at| Circle::new(at, 3, colour.filled())))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_a_table_and_two_panels() {
        let point = |size| Point { size, cost: 2.0, memory_mib: size as f64 };
        let curve = Curve { axis: "stages", unit: CPU, points: vec![point(1), point(8)] };
        assert!(curve.to_string().contains("| 8 | 2.00 | 8 |"), "{curve}");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("growth.svg");
        plot(&[curve], &file).unwrap();
        let svg = std::fs::read_to_string(file).unwrap();
        assert!(svg.contains("stages: CPU µs per record") && svg.contains("stages: memory MiB"), "{svg}");
    }
}
