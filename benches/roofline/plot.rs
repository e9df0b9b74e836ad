//! The roofline as a picture: arithmetic against arithmetic intensity, both logarithmic.
//!
//! An exponential counts as as many operations as the machine could do in its time, so that what exponentials bound
//! comes near the same roof.

use super::{Ceilings, Resource, Row};
use crate::machine::{Level, Traffic};
use plotters::prelude::*;
use std::path::Path;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const COLOURS: [RGBColor; 7] = [
    RGBColor(31, 119, 180),
    RGBColor(255, 127, 14),
    RGBColor(44, 160, 44),
    RGBColor(214, 39, 40),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
    RGBColor(23, 190, 207),
];

/// The fastest instruction set with the most threads.
pub fn draw(path: &Path, ceilings: &[Ceilings], rows: &[Row]) -> Outcome {
    let threads = ceilings.iter().map(|known| known.threads).max().unwrap_or(1);
    let known = ceilings.iter().find(|known| known.threads == threads).ok_or("no ceilings")?;
    let rows: Vec<&Row> = rows.iter().filter(|row| row.threads == threads && row.isa == known.isa).collect();
    let (low, high) = (0.1f64, 2000.0f64); // operations per byte
    let peak = known.fma / 1e9;

    let area = SVGBackend::new(path, (900, 560)).into_drawing_area();
    area.fill(&WHITE)?;
    let title = format!("Roofline, {}, {threads} threads", known.isa);
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(58)
        .build_cartesian_2d((low..high).log_scale(), (1.0..peak * 1.8).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("operations per byte (an exponential counts as what multiply-adds take its time)")
        .y_desc("G operations per second")
        .x_label_formatter(&|x| format!("{x}"))
        .y_label_formatter(&|y| format!("{y}"))
        .light_line_style(WHITE.mix(0.0))
        .draw()?;

    for (level, traffic) in [
        (Level::Memory, Traffic::Read),
        (Level::L3, Traffic::Read),
        (Level::L2, Traffic::Read),
        (Level::L1, Traffic::Read),
    ] {
        let rate = known.of(Resource::Bandwidth(traffic, level)) / 1e9;
        let bend = peak / rate;
        chart.draw_series(LineSeries::new([(low, low * rate), (bend, peak)], BLACK.mix(0.5)))?;
        let at = (low * 1.15, (low * 1.25 * rate).max(1.15));
        let label = format!("{} {rate:.0} GB/s", level.name());
        chart.draw_series([Text::new(label, at, ("sans-serif", 12).into_font().color(&BLACK.mix(0.7)))])?;
    }
    chart.draw_series(LineSeries::new([(low, peak), (high, peak)], BLACK.stroke_width(2)))?;
    let label = format!("multiply-adds {peak:.0} GFLOP/s");
    let font = ("sans-serif", 12).into_font().color(&BLACK.mix(0.7));
    chart.draw_series([Text::new(label, (low * 1.15, peak * 1.15), font)])?;

    let mut kernels: Vec<&str> = Vec::new();
    rows.iter().for_each(|row| {
        if !kernels.contains(&row.kernel.as_str()) {
            kernels.push(&row.kernel);
        }
    });
    for (i, kernel) in kernels.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        let points = rows.iter().filter(|row| row.kernel == *kernel).map(|row| {
            let operations = row.work.flops + row.work.exps * known.fma / known.exp;
            let intensity = operations / (row.work.read + row.work.written);
            Circle::new((intensity.clamp(low, high), operations / row.seconds / 1e9), 5, colour.filled())
        });
        chart
            .draw_series(points)?
            .label(*kernel)
            .legend(move |(x, y)| Circle::new((x + 8, y), 5, colour.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.9))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    Ok(())
}
