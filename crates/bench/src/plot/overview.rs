//! Many scenarios at once: a bar of goodput for each limiter, pale where the limiter broke its promise.

use plotters::chart::{ChartBuilder, LabelAreaPosition};
use plotters::element::{PathElement, Rectangle, Text};
use plotters::prelude::{IntoDrawingArea, SVGBackend};
use plotters::style::{BLACK, Color, IntoFont, WHITE};

use super::{Area, GREY, LEGEND_WIDTH, PlotError, colour, failed, legend};

const HEIGHT: u32 = 460;
const BAR_WIDTH: u32 = 7;
/// The highest bar, in per cent of the oracle; what is more is cut.
const PERCENT_MAX: f64 = 125.0;
/// The goal, in per cent of the oracle.
const PERCENT_GOAL: f64 = 95.0;

/// Goodput of several limiters in several scenarios.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overview {
    /// Above the plot.
    pub title: String,
    /// The scenarios' names, left to right.
    pub scenarios: Vec<String>,
    /// A colour for each limiter.
    pub limiters: Vec<Bars>,
}

/// One limiter over all scenarios.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bars {
    /// The limiter's name.
    pub limiter: String,
    /// Goodput in per cent of the oracle's, in the order of the scenarios; none where it did not run.
    pub goodput_percent: Vec<Option<f64>>,
    /// Whether it kept to the objective and to few errors; drawn pale where not.
    pub kept: Vec<bool>,
}

/// Draws an overview.
///
/// # Errors
/// When the drawing library refuses, which it does for nothing that an overview can hold.
pub fn overview(overview: &Overview) -> Result<String, PlotError> {
    let group = overview.limiters.len() as f64 + 2.0;
    let end = group * overview.scenarios.len().max(1) as f64;
    let width = (end as u32 * BAR_WIDTH + 80 + LEGEND_WIDTH).max(480);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (width, HEIGHT)).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        let area = root.titled(&overview.title, ("sans-serif", 20)).map_err(failed)?;
        bars(&area, overview, group, end)?;
        let names = overview.limiters.iter().map(|bars| bars.limiter.as_str());
        let entries: Vec<_> = names.zip((0..).map(|index| colour(index).stroke_width(10))).collect();
        legend(&area, &entries)?;
        root.present().map_err(failed)?;
    }
    Ok(svg)
}

/// Draws the bars, `group` bar widths for each scenario and `end` for all, over the names of the scenarios.
fn bars(area: &Area<'_>, overview: &Overview, group: f64, end: f64) -> Result<(), PlotError> {
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_right(LEGEND_WIDTH)
        .set_label_area_size(LabelAreaPosition::Left, 64)
        .set_label_area_size(LabelAreaPosition::Bottom, 8)
        .build_cartesian_2d(0.0..end, -8.0..PERCENT_MAX)
        .map_err(failed)?;
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh().disable_x_axis().light_line_style(WHITE).bold_line_style(GREY.mix(0.25));
    mesh.y_desc("goodput, % of oracle (pale: objective or errors not kept)").draw().map_err(failed)?;
    for (index, bars) in overview.limiters.iter().enumerate() {
        chart.draw_series(rectangles(bars, index, group)).map_err(failed)?;
    }
    let name = |(scenario, name): (usize, &String)| {
        Text::new(name.clone(), (scenario as f64 * group + 1.0, -2.0), ("sans-serif", 13).into_font())
    };
    chart.draw_series(overview.scenarios.iter().enumerate().map(name)).map_err(failed)?;
    let goal = vec![(0.0, PERCENT_GOAL), (end, PERCENT_GOAL)];
    chart.draw_series([PathElement::new(goal, BLACK.mix(0.6))]).map_err(failed)?;
    Ok(())
}

/// The bars of the limiter at `index` among those of a scenario, `group` bar widths apart.
fn rectangles(bars: &Bars, index: usize, group: f64) -> Vec<Rectangle<(f64, f64)>> {
    let bar = |(scenario, percent): (usize, &Option<f64>)| {
        let percent = percent.filter(|percent| percent.is_finite())?;
        let left = scenario as f64 * group + 1.0 + index as f64;
        let kept = bars.kept.get(scenario).copied().unwrap_or(false);
        let style = if kept { colour(index).filled() } else { colour(index).mix(0.3).filled() };
        Some(Rectangle::new([(left + 0.05, 0.0), (left + 0.95, percent.clamp(0.0, PERCENT_MAX))], style))
    };
    bars.goodput_percent.iter().enumerate().filter_map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_stand_beside_one_another_and_gaps_stay_empty() {
        let bars = |name: &str| Bars {
            limiter: name.into(),
            goodput_percent: vec![Some(99.0), None, Some(f64::NAN), Some(400.0)],
            kept: vec![true, true],
        };
        assert_eq!(rectangles(&bars("latch"), 0, 4.0).len(), 2);
        let names = ["A1", "B1", "C1", "D1"].map(String::from).to_vec();
        let svg =
            overview(&Overview { title: "all".into(), scenarios: names, limiters: vec![bars("latch"), bars("aimd")] });
        let svg = svg.unwrap();
        for text in ["A1", "D1", "latch", "aimd", "% of oracle"] {
            assert!(svg.contains(text), "{text} is missing");
        }
        assert!(!svg.contains("NaN"));
    }
}
