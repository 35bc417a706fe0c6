//! A process step: sessions by a user's function, with rows kept in a map, timers set and taken back.
//!
//! It gives what a session window gives, so its oracle is that of such a window.

use forebay_core::Result;
use forebay_core::time::EventTime;
use forebay_engine::Components;
use forebay_operators::process::{
    Column, Columns, Context, DurationText, Json, Map, ProcessFunction, Row, Shape, SideOutput, TableSpec, Timer,
};

use crate::random::Random;

use super::Click;
use super::window::{Results, Shape as Window, WindowStep};

/// A drawn process step over the clicks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionsStep {
    gap_ms: i64,
}

/// The functions that jobs of the simulation name.
pub(crate) fn components() -> Components {
    Components::new().process::<Sessions>("sessions")
}

// === impl SessionsStep ===

impl SessionsStep {
    pub fn draw(random: &mut Random) -> Self {
        Self { gap_ms: random.pick(&[100, 400, 1_500]) }
    }

    /// The section of the step.
    pub fn text(&self) -> String {
        format!(
            "[[step]]\nuid = \"ses\"\nfrom = \"clicks\"\n\
             process = {{ function = \"sessions\", by = [\"k\"], side_outputs = [\"late\"], settings = {{ gap = \"{}ms\" }} }}\n\n",
            self.gap_ms
        )
    }

    /// What the step gives for `rows`, none of them late.
    pub fn results(&self, rows: &[Click]) -> Results {
        WindowStep::keyed(Window::Session { gap: self.gap_ms }).results(rows)
    }
}

/// Rows of a key with at most the gap between them.
struct Sessions {
    gap: i64,
    n: Column<i64>,
    late: SideOutput,
    /// Count and sum of the rows of each time.
    rows: Map<i64, Json<(u64, i64)>>,
}

#[derive(serde::Deserialize)]
struct Settings {
    gap: DurationText,
}

impl ProcessFunction for Sessions {
    type Settings = Settings;

    fn declare(settings: Settings, shape: &mut Shape) -> Result<Self> {
        shape.needs_event_time();
        shape.output(Columns::key().time("window_start").event_time("window_end").int("c").int("s"));
        Ok(Self {
            gap: i64::try_from(settings.gap.0.as_micros()).unwrap_or(i64::MAX),
            n: shape.column("n"),
            late: shape.side("late", Columns::input()),
            rows: shape.map(TableSpec::new("rows", 1)),
        })
    }

    /// A timer stands behind each row without another within the gap.
    fn on_row(&mut self, row: &Row<'_>, context: &mut Context<'_>) -> Result<()> {
        if context.is_late(row) {
            return context.side(self.late).forward(row);
        }
        let (Some(EventTime(at)), n) = (row.time(), row.need(self.n)?) else { return Ok(()) };
        let cell = self.rows.get_or(context, &at, || Json((0, 0)))?;
        cell.0 = (cell.0.0 + 1, cell.0.1 + n);
        let times: Vec<i64> = self.rows.iter(context)?.map(|entry| entry.map(|(at, _)| at)).collect::<Result<_>>()?;
        let before = times.iter().rev().find(|other| **other < at);
        if let Some(before) = before.filter(|before| at - **before <= self.gap) {
            context.delete_timer(EventTime(before + self.gap), "end");
        }
        if !times.iter().any(|other| *other > at && other - at <= self.gap) {
            context.set_timer(EventTime(at + self.gap), "end")?;
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: &Timer, context: &mut Context<'_>) -> Result<()> {
        let last = timer.time.0 - self.gap;
        let entries: Vec<(i64, (u64, i64))> =
            self.rows.iter(context)?.map(|entry| entry.map(|(at, cell)| (at, cell.0))).collect::<Result<_>>()?;
        let ended = || entries.iter().filter(|(at, _)| *at <= last);
        let Some((start, _)) = ended().next() else { return Ok(()) };
        let (count, sum) = ended().fold((0, 0), |(count, sum), (_, cell)| (count + cell.0, sum + cell.1));
        context.output().cell(EventTime(*start)).cell(timer.time).cell(count).cell(sum).emit()?;
        ended().try_for_each(|(at, _)| self.rows.remove(context, at).map(drop))
    }
}
