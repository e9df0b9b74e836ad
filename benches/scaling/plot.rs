//! How time and memory grow, a column per sweep: what was measured, and the line that was fitted to it.

use super::{Point, Sweep};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::Path;

type Outcome = Result<(), Box<dyn std::error::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const TIME: RGBColor = RGBColor(31, 119, 180);
const MEMORY: RGBColor = RGBColor(214, 39, 40);

pub fn draw(path: &Path, sweeps: &[Sweep]) -> Outcome {
    let area = SVGBackend::new(path, (300 * sweeps.len() as u32, 540)).into_drawing_area();
    area.fill(&WHITE)?;
    let panels = area.split_evenly((2, sweeps.len()));
    for (i, sweep) in sweeps.iter().enumerate() {
        panel(&panels[i], sweep, "milliseconds", TIME, |point| 1e3 * point.seconds[0])?;
        panel(&panels[sweeps.len() + i], sweep, "MB", MEMORY, |point| point.bytes as f64 / 1e6)?;
    }
    area.present()?;
    Ok(())
}

/// Both axes are logarithmic, and an axis of values spans a factor of ten at least, so that flat looks flat.
fn panel(area: &Area, sweep: &Sweep, unit: &str, colour: RGBColor, value: fn(&Point) -> f64) -> Outcome {
    let points: Vec<(f64, f64)> =
        sweep.points.iter().map(|point| (point.size as f64, value(point))).collect();
    let ends = |of: fn(&(f64, f64)) -> f64| {
        let all = points.iter().map(of);
        (all.clone().fold(f64::INFINITY, f64::min), all.fold(0.0, f64::max))
    };
    let (x, y) = (ends(|point| point.0), ends(|point| point.1));
    let room = (10.0 * y.0 / y.1).max(1.7).sqrt();
    let (slope, at_one) = sweep.fit(value);
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{unit} ~ {}^{slope:.2}", sweep.variable), ("sans-serif", 15))
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(46)
        .build_cartesian_2d(
            (x.0 / 1.3..x.1 * 1.3).log_scale().base(2.0),
            (y.0 / room..y.1 * room).log_scale(),
        )?;
    chart
        .configure_mesh()
        .x_desc(sweep.variable)
        .x_labels(5)
        .x_label_formatter(&|x| format!("{x}"))
        .y_label_formatter(&|y| format!("{y}"))
        .light_line_style(WHITE.mix(0.0))
        .draw()?;
    let from = (sweep.from as f64).max(x.0);
    let line = [from, x.1].map(|size| (size, at_one * size.powf(slope)));
    chart.draw_series(LineSeries::new(line, BLACK.mix(0.6)))?;
    chart.draw_series(points.iter().map(|&point| Circle::new(point, 4, colour.filled())))?;
    Ok(())
}
