//! Visits of users to a shop: until they buy something, or fall silent.
//!
//! Rows come out of order, and a visit is told in order. So each row is kept until the watermark reaches its time: a timer then
//! brings it back, and timers fire in order of time. Nothing depends on when a row came.

use forebay::process::{
    Column, Columns, Context, DurationText, Json, Map, ProcessFunction, Row, Shape, SideOutput, TableSpec, Timer, Value,
};
use forebay::{Error, EventTime, Kind, Result};
use serde::{Deserialize, Serialize};

/// Gives one row for each visit: when it began and ended, how many pages it had, what was spent, whether something was bought.
pub struct Sessions {
    gap: DurationText,
    page: Column<str>,
    price: Column<f64>,
    late: SideOutput,
    waiting: Map<EventTime, Json<Vec<View>>>,
    visit: Value<Json<Visit>>,
}

/// What the job file says under `settings`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Silence that ends a visit.
    gap: DurationText,
}

/// A row that waits for its time.
#[derive(Serialize, Deserialize)]
struct View {
    page: String,
    price: f64,
}

/// What is known of a visit.
#[derive(Serialize, Deserialize)]
struct Visit {
    start: i64,
    latest: i64,
    pages: u64,
    spent: f64,
}

impl ProcessFunction for Sessions {
    type Settings = Settings;

    fn declare(settings: Settings, shape: &mut Shape) -> Result<Self> {
        shape.needs_event_time();
        shape.output(Columns::key().time("start").event_time("end").int("pages").float("spent").boolean("bought"));
        Ok(Self {
            gap: settings.gap,
            page: shape.column("page"),
            price: shape.column("price"),
            late: shape.side("late", Columns::input()),
            waiting: shape.map(TableSpec::new("waiting", 1)),
            visit: shape.value(TableSpec::new("visit", 1)),
        })
    }

    fn on_row(&mut self, row: &Row<'_>, context: &mut Context<'_>) -> Result<()> {
        let Some(time) = row.time().filter(|_| !context.is_late(row)) else {
            return context.side(self.late).forward(row);
        };
        let view = View { page: row.need(self.page)?.to_string(), price: row.get(self.price).unwrap_or(0.0) };
        if view.price < 0.0 {
            return Err(Error::new(Kind::Data, "read price").with("price", view.price).source("it is negative"));
        }
        self.waiting.get_or(context, &time, Json::default)?.0.push(view);
        context.set_timer(time, "row")
    }

    fn on_timer(&mut self, timer: &Timer, context: &mut Context<'_>) -> Result<()> {
        if timer.name == "silent" {
            return self.end(timer.time, false, context);
        }
        let mut views = self.waiting.remove(context, &timer.time)?.unwrap_or_default().0;
        // Rows of one moment came in any order.
        views.sort_by(|one, other| one.page.cmp(&other.page).then(one.price.total_cmp(&other.price)));
        views.iter().try_for_each(|view| self.view(view, timer.time, context))
    }
}

impl Sessions {
    /// Takes a row whose time has come.
    fn view(&self, view: &View, at: EventTime, context: &mut Context<'_>) -> Result<()> {
        let start = || Json(Visit { start: at.0, latest: at.0, pages: 0, spent: 0.0 });
        let Json(visit) = self.visit.get_or(context, start)?;
        let silent = EventTime(visit.latest).plus(self.gap.0);
        visit.latest = at.0;
        visit.pages += 1;
        visit.spent += view.price;
        context.delete_timer(silent, "silent");
        if view.page == "bought" {
            return self.end(at, true, context);
        }
        context.set_timer(at.plus(self.gap.0), "silent")
    }

    fn end(&self, end: EventTime, bought: bool, context: &mut Context<'_>) -> Result<()> {
        let Some(Json(Visit { start, pages, spent, .. })) = self.visit.take(context)? else { return Ok(()) };
        context.output().cell(EventTime(start)).cell(end).cell(pages).cell(spent).cell(bought).emit()
    }
}
