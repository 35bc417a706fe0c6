//! A join step: what is drawn, and which rows meet, by nested loops.

use std::collections::BTreeSet;

use crate::random::Random;

use super::Click;
use super::window::window_start;

/// A drawn join of the clicks with the views. Lengths in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JoinStep {
    pub kind: JoinKind,
    /// Rows without a partner: of the clicks, of the views.
    pub keeps: (bool, bool),
    /// Whether views are the changes of a table that has the last one of each key, of a join as of a row's time.
    pub is_table: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JoinKind {
    Interval { before: i64, after: i64 },
    Window { size: i64 },
    AsOf,
    Regular,
}

/// Ids of a click and of a view, `None` where a row stands alone.
pub(super) type Pair = (Option<u64>, Option<u64>);

// === impl JoinStep ===

impl JoinStep {
    /// Draws a step; whether it reads a table's changes apart, so that seeds keep what they drew before.
    pub fn draw(random: &mut Random, table: &mut Random) -> Self {
        let (before, after) = (random.pick(&[0, 200, 2_000]), random.pick(&[0, 300, 4_000]));
        let kind = match random.below(4) {
            0 => JoinKind::Interval { before, after },
            1 => JoinKind::Window { size: random.pick(&[400, 3_000]) },
            2 => JoinKind::AsOf,
            _ => JoinKind::Regular,
        };
        let keeps = random.pick(&[(false, false), (true, false), (false, true), (true, true)]);
        let is_as_of = kind == JoinKind::AsOf;
        Self { kind, keeps: if is_as_of { (keeps.0, false) } else { keeps }, is_table: is_as_of && table.chance(600) }
    }

    /// The section of the step.
    pub fn text(&self) -> String {
        let how = match self.keeps {
            (false, false) => "inner",
            (true, false) => "left",
            (false, true) => "right",
            (true, true) => "full",
        };
        let kind = match self.kind {
            JoinKind::Interval { before, after } => {
                format!(", within = {{ before = \"{before}ms\", after = \"{after}ms\" }}")
            }
            JoinKind::Window { size } => format!(", window = \"{size}ms\""),
            JoinKind::AsOf => ", as_of = true".to_string(),
            JoinKind::Regular => String::new(),
        };
        let (table, views) = match self.is_table {
            false => ("", "views"),
            true => (
                "[[step]]\nuid = \"table\"\nfrom = \"views\"\n\
                 deduplicate = { by = [\"k\"], keep = \"last\" }\n\n",
                "table",
            ),
        };
        format!(
            "{table}[[step]]\nuid = \"pair\"\nfrom = \"clicks\"\n\
             join = {{ stream = \"{views}\", on = {{ k = \"k\" }}, how = \"{how}\", prefix = \"v_\"{kind} }}\n\n"
        )
    }

    /// Whether rows are taken back.
    pub fn updates(&self) -> bool {
        self.kind == JoinKind::Regular && self.keeps != (false, false)
    }

    /// How many side outputs of late rows the step has.
    pub fn late_outputs(&self) -> usize {
        match self.kind {
            JoinKind::Interval { .. } | JoinKind::Window { .. } => 2,
            JoinKind::AsOf => 1,
            JoinKind::Regular => 0,
        }
    }

    /// What the step gives for rows none of which is late; not of a join as of a row's time.
    pub fn pairs(&self, clicks: &[Click], views: &[Click]) -> BTreeSet<Pair> {
        let meet = |click: &Click, view: &Click| click.key == view.key && self.meet(click.at, view.at);
        let mut pairs = BTreeSet::new();
        for click in clicks {
            let met = views.iter().filter(|view| meet(click, view)).map(|view| (Some(click.id), Some(view.id)));
            pairs.extend(met);
            if self.keeps.0 && !views.iter().any(|view| meet(click, view)) {
                pairs.insert((Some(click.id), None));
            }
        }
        let alone = |view: &&Click| self.keeps.1 && !clicks.iter().any(|click| meet(click, view));
        pairs.extend(views.iter().filter(alone).map(|view| (None, Some(view.id))));
        pairs
    }

    fn meet(&self, click: i64, view: i64) -> bool {
        match self.kind {
            JoinKind::Interval { before, after } => (click - before * 1000..=click + after * 1000).contains(&view),
            JoinKind::Window { size } => window_start(click, size * 1000) == window_start(view, size * 1000),
            JoinKind::AsOf => view <= click,
            JoinKind::Regular => true,
        }
    }
}
