//! Plots as SVG: what limiters did over time beside the oracle, and an overview of many scenarios.
//!
//! [`run`] draws one scenario with one limiter or several over one another, [`overview`] draws bars of goodput. Both take
//! plain numbers, which virtual and real runs fill alike, and answer the text of the file; writing it is the caller's.
//! SVG only, because it needs no font, no codec and no system library, and any browser shows it.

mod overview;
mod run;

use std::fmt;

use plotters::coord::Shift;
use plotters::element::{PathElement, Text};
use plotters::prelude::{DrawingArea, SVGBackend};
use plotters::style::{IntoFont, RGBColor, ShapeStyle};

pub use self::overview::{Bars, Overview, overview};
pub use self::run::{Figure, Line, Mark, run};

/// A plot could not be drawn.
#[derive(Debug)]
pub struct PlotError(String);

// === impl PlotError ===

impl fmt::Display for PlotError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "draw plot: {}", self.0)
    }
}

impl std::error::Error for PlotError {}

/// Turns what the drawing library says into ours.
fn failed(error: impl fmt::Display) -> PlotError {
    PlotError(error.to_string())
}

/// Colours that stay apart from one another, also for most who see few of them (Okabe and Ito, extended); ours is first.
const COLOURS: [RGBColor; 12] = [
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(120, 94, 60),
    RGBColor(130, 80, 190),
    RGBColor(160, 160, 30),
    RGBColor(200, 40, 60),
    RGBColor(60, 60, 60),
    RGBColor(20, 190, 190),
];

/// Of the oracle, of marks and of what is merely accepted.
const GREY: RGBColor = RGBColor(150, 150, 150);

fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

/// Room to the right of a chart for its legend, in pixels.
const LEGEND_WIDTH: u32 = 150;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Names what is drawn, to the right of the chart in `area`, where it hides nothing.
fn legend(area: &Area<'_>, entries: &[(&str, ShapeStyle)]) -> Result<(), PlotError> {
    let left = (area.dim_in_pixel().0 - LEGEND_WIDTH) as i32 + 12;
    for (place, (name, style)) in entries.iter().enumerate() {
        let top = 16 + 18 * place as i32;
        area.draw(&PathElement::new(vec![(left, top), (left + 20, top)], *style)).map_err(failed)?;
        let name = Text::new(name.to_string(), (left + 26, top - 7), ("sans-serif", 14).into_font());
        area.draw(&name).map_err(failed)?;
    }
    Ok(())
}
