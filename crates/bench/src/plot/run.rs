//! One scenario over time in three panels: rows in flight under their limit, goodput beside the oracle's, 99th percentile.

use plotters::chart::{ChartBuilder, ChartContext, LabelAreaPosition};
use plotters::coord::types::RangedCoordf64;
use plotters::element::{PathElement, Text};
use plotters::prelude::{Cartesian2d, IntoDrawingArea, SVGBackend};
use plotters::series::LineSeries;
use plotters::style::{BLACK, Color, IntoFont, RGBColor, ShapeStyle, WHITE};

use super::{Area, GREY, LEGEND_WIDTH, PlotError, colour, failed, legend};

const WIDTH: u32 = 1_200;
const HEIGHT: u32 = 960;
/// Latencies above this many objectives are drawn at the edge, so that an outage does not flatten everything else.
const LATENCY_OBJECTIVES_MAX: f64 = 3.0;

/// One scenario with everything drawn of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figure {
    /// Above the plot, such as `A2: slots 32, 12, 48, 32`.
    pub title: String,
    /// The declared latency in seconds.
    pub objective: f64,
    /// The oracle's good rows per second, second by second; empty where there is no oracle.
    pub oracle_goodput: Vec<f64>,
    /// Moments at which something changes.
    pub marks: Vec<Mark>,
    /// A line for each limiter.
    pub lines: Vec<Line>,
}

/// A moment at which something changes, such as the begin of a phase.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mark {
    /// Seconds since the start.
    pub at: f64,
    /// What changes, in a few words; may be empty.
    pub label: String,
}

/// What one limiter did. Element `i` of each list is second `i` of the run; lists may be of different length.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Line {
    /// The limiter's name.
    pub limiter: String,
    /// Rows that may be in flight.
    pub limit: Vec<f64>,
    /// Rows in flight.
    pub in_flight: Vec<f64>,
    /// Rows answered within the objective.
    pub goodput: Vec<f64>,
    /// 99th percentile of the latency of what was answered in that second, in seconds; NaN where nothing was.
    pub p99: Vec<f64>,
}

/// Draws a scenario.
///
/// # Errors
/// When the drawing library refuses, which it does for nothing that a figure can hold.
pub fn run(figure: &Figure) -> Result<String, PlotError> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        let root = root.titled(&figure.title, ("sans-serif", 20)).map_err(failed)?;
        let panels = root.split_evenly((3, 1));
        for (panel, what) in panels.iter().zip([Panel::InFlight, Panel::Goodput, Panel::Latency]) {
            draw(panel, figure, what)?;
        }
        root.present().map_err(failed)?;
    }
    Ok(svg)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Panel {
    InFlight,
    Goodput,
    Latency,
}

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

fn draw(area: &Area<'_>, figure: &Figure, panel: Panel) -> Result<(), PlotError> {
    let (end, top) = (figure.seconds(), figure.top(panel));
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .set_label_area_size(LabelAreaPosition::Left, 64)
        .set_label_area_size(LabelAreaPosition::Bottom, 34)
        .margin_right(LEGEND_WIDTH)
        .build_cartesian_2d(0.0..end, 0.0..top)
        .map_err(failed)?;
    let mut mesh = chart.configure_mesh();
    mesh.x_label_formatter(&|second| format!("{second:.0}"));
    mesh.light_line_style(WHITE).bold_line_style(GREY.mix(0.25)).y_desc(panel.label()).x_labels(13);
    if panel == Panel::Latency {
        mesh.x_desc("seconds");
    }
    mesh.draw().map_err(failed)?;
    marks(&mut chart, figure, top)?;
    let mut entries: Vec<(&str, ShapeStyle)> = reference(&mut chart, figure, panel, end)?.into_iter().collect();
    for (index, line) in figure.lines.iter().enumerate() {
        lines(&mut chart, line, panel, top, colour(index))?;
        entries.push((&line.limiter, colour(index).stroke_width(2)));
    }
    legend(area, &entries)
}

fn marks(chart: &mut Chart<'_, '_>, figure: &Figure, top: f64) -> Result<(), PlotError> {
    for mark in &figure.marks {
        let line = vec![(mark.at, 0.0), (mark.at, top)];
        chart.draw_series([PathElement::new(line, GREY.mix(0.6))]).map_err(failed)?;
        let label = Text::new(format!(" {}", mark.label), (mark.at, top * 0.99), ("sans-serif", 12).into_font());
        chart.draw_series([label]).map_err(failed)?;
    }
    Ok(())
}

/// Draws what the lines are to be compared with, the oracle or the objective, and names it.
fn reference(
    chart: &mut Chart<'_, '_>,
    figure: &Figure,
    panel: Panel,
    end: f64,
) -> Result<Option<(&'static str, ShapeStyle)>, PlotError> {
    let (points, name, style) = match panel {
        Panel::InFlight => return Ok(None),
        Panel::Goodput if figure.oracle_goodput.is_empty() => return Ok(None),
        Panel::Goodput => (points(&figure.oracle_goodput, f64::INFINITY), "oracle", GREY.stroke_width(3)),
        Panel::Latency => (vec![(0.0, figure.objective), (end, figure.objective)], "objective", BLACK.stroke_width(1)),
    };
    chart.draw_series(LineSeries::new(points, style)).map_err(failed)?;
    Ok(Some((name, style)))
}

fn lines(chart: &mut Chart<'_, '_>, line: &Line, panel: Panel, top: f64, colour: RGBColor) -> Result<(), PlotError> {
    let (dark, pale) = (colour.stroke_width(2), colour.mix(0.35).stroke_width(2));
    let drawn = match panel {
        Panel::InFlight => vec![(&line.in_flight, pale), (&line.limit, dark)],
        Panel::Goodput => vec![(&line.goodput, dark)],
        Panel::Latency => vec![(&line.p99, dark)],
    };
    for (values, style) in drawn {
        chart.draw_series(LineSeries::new(points(values, top), style)).map_err(failed)?;
    }
    Ok(())
}

/// Seconds and values, without what is not a number, none above `top`.
fn points(values: &[f64], top: f64) -> Vec<(f64, f64)> {
    let of_second = |(second, value): (usize, &f64)| (second as f64 + 0.5, value.min(top));
    values.iter().enumerate().filter(|(_, value)| !value.is_nan()).map(of_second).collect()
}

// === impl Figure ===

impl Figure {
    fn seconds(&self) -> f64 {
        let of_lines = self.lines.iter().flat_map(|line| [line.limit.len(), line.goodput.len(), line.p99.len()]);
        of_lines.chain([self.oracle_goodput.len(), 1]).max().unwrap_or(1) as f64
    }

    /// The upper end of the vertical axis.
    fn top(&self, panel: Panel) -> f64 {
        let highest = |lists: Vec<&[f64]>| {
            let all = lists.into_iter().flatten().copied();
            all.filter(|value| value.is_finite()).fold(0.0, f64::max)
        };
        let of = |list: fn(&Line) -> &[f64]| self.lines.iter().map(list).collect::<Vec<_>>();
        let top = match panel {
            Panel::InFlight => highest([of(|line| &line.limit), of(|line| &line.in_flight)].concat()),
            Panel::Goodput => highest(of(|line| &line.goodput)).max(highest(vec![&self.oracle_goodput])),
            Panel::Latency => {
                let objective = self.objective.max(1e-6);
                highest(of(|line| &line.p99)).clamp(objective * 1.2, objective * LATENCY_OBJECTIVES_MAX)
            }
        };
        if top > 0.0 { top * 1.08 } else { 1.0 }
    }
}

// === impl Panel ===

impl Panel {
    fn label(self) -> &'static str {
        match self {
            Self::InFlight => "limit (dark), in flight, rows",
            Self::Goodput => "good rows per second",
            Self::Latency => "p99, seconds",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure() -> Figure {
        let line = |name: &str| Line {
            limiter: name.into(),
            limit: vec![4.0, 8.0, 16.0],
            in_flight: vec![4.0, 8.0, 15.0],
            goodput: vec![80.0, 160.0, 300.0],
            p99: vec![0.05, f64::NAN, 9.0],
        };
        Figure {
            title: "A1: <slots> & more".into(),
            objective: 0.2,
            oracle_goodput: vec![310.0; 3],
            marks: vec![Mark { at: 1.0, label: "capacity x0.5".into() }],
            lines: vec![line("latch"), line("aimd")],
        }
    }

    #[test]
    fn a_figure_names_everything_in_it() {
        let svg = run(&figure()).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for text in ["latch", "aimd", "oracle", "objective", "capacity x0.5", "A1: &lt;slots&gt; &amp; more"] {
            assert!(svg.contains(text), "{text} is missing");
        }
        // Two limiters: limit and in flight, goodput, p99; the oracle and the objective.
        assert!(svg.matches("<polyline").count() >= 10);
        assert!(!svg.contains("NaN"));
    }

    #[test]
    fn nothing_at_all_can_be_drawn_too() {
        let svg = run(&Figure::default()).unwrap();
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn axes_fit_what_is_shown() {
        let figure = figure();
        assert_eq!(figure.seconds(), 3.0);
        assert!((figure.top(Panel::InFlight) - 16.0 * 1.08).abs() < 1e-9);
        assert!((figure.top(Panel::Goodput) - 310.0 * 1.08).abs() < 1e-9);
        assert!((figure.top(Panel::Latency) - 0.6 * 1.08).abs() < 1e-9);
    }
}
