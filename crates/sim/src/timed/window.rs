//! A window step: what is drawn, and what it gives, window by window.

use std::collections::BTreeMap;

use crate::random::Random;
use crate::shape::Cut;

use super::{Click, logged};

/// A drawn window step over the clicks, or over the first of each key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WindowStep {
    pub shape: Shape,
    /// How many rows of each key count, those with the greatest numbers; a row that is pushed out is taken back from its
    /// windows, which stay as long as the job runs.
    pub first: Option<usize>,
    /// Whether each key has windows of its own.
    pub keyed: bool,
    lateness_ms: i64,
}

/// Lengths in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    Tumble {
        size: i64,
    },
    Slide {
        size: i64,
        every: i64,
    },
    Session {
        gap: i64,
    },
    /// A group that gives each change.
    Running,
}

/// Key, start and end of a window, in microseconds; the key is 0 where all rows have one.
pub(super) type Place = (u64, i64, i64);

/// Count and sum of the rows of each window.
pub(super) type Results = BTreeMap<Place, (u64, u64)>;

// === impl WindowStep ===

impl WindowStep {
    pub fn draw(random: &mut Random) -> Self {
        let size = random.pick(&[500, 3_000, 7_000]);
        let shape = match random.below(3) {
            0 => Shape::Tumble { size },
            1 => Shape::Slide { size, every: random.pick(&[size, size / 5, 300]).min(size) },
            _ => Shape::Session { gap: random.pick(&[100, 400, 1_500]) },
        };
        let lateness_ms = if random.chance(400) { random.pick(&[50, 800, 5_000]) } else { 0 };
        Self { shape, first: None, keyed: random.chance(800), lateness_ms }
    }

    /// The same over updates, or a group that gives updates, which stands in for sessions unless `keeps_sessions`.
    pub fn with_updates(self, random: &mut Random, keeps_sessions: bool) -> Self {
        const HOUR_MS: i64 = 3_600_000;
        let is_running = match self.shape {
            Shape::Session { .. } => !keeps_sessions,
            _ => random.chance(300),
        };
        let shape = if is_running { Shape::Running } else { self.shape };
        let first = (!is_running || random.chance(700)).then(|| random.within(1, 4) as usize);
        let lateness_ms = if is_running { 0 } else { HOUR_MS };
        // The few rows of one key that count seldom lie so that a session is cut in two.
        let is_session = matches!(shape, Shape::Session { .. });
        let keyed = if is_session { random.chance(250) } else { self.keyed };
        Self { shape, first, keyed, lateness_ms }
    }

    /// A window of this shape for each key, without lateness.
    pub fn keyed(shape: Shape) -> Self {
        Self { shape, first: None, keyed: true, lateness_ms: 0 }
    }

    /// The sections of the step and of those before it, the last of them the durable one of a `cut`.
    pub fn text(&self, cut: Option<Cut>) -> String {
        let shape = match self.shape {
            Shape::Tumble { size } => format!("tumble = \"{size}ms\""),
            Shape::Slide { size, every } => format!("slide = {{ size = \"{size}ms\", every = \"{every}ms\" }}"),
            Shape::Session { gap } => format!("session = \"{gap}ms\""),
            Shape::Running => "emit = \"changes\"".to_string(),
        };
        let kind = if matches!(self.shape, Shape::Running) { "group" } else { "window" };
        let (first, from) = match self.first {
            None => (String::new(), "clicks"),
            Some(rows) => {
                let top = format!("top = {{ rows = {rows}, by = [\"k\"], order = [\"n DESC\", \"id\"] }}");
                (format!("[[step]]\nuid = \"first\"\nfrom = \"clicks\"\n{top}\n\n"), "first")
            }
        };
        let (logged, from) = logged(cut, from);
        let by = if self.keyed { "by = [\"k\"], " } else { "" };
        let lateness = match self.lateness_ms {
            0 => String::new(),
            ms => format!("allowed_lateness = \"{ms}ms\", "),
        };
        format!(
            "{first}{logged}[[step]]\nuid = \"win\"\nfrom = \"{from}\"\n\
             {kind} = {{ {shape}, {by}{lateness}aggregates = [\"count(*) AS c\", \"sum(n) AS s\"] }}\n\n"
        )
    }

    /// Whether results are taken back.
    pub fn updates(&self) -> bool {
        self.lateness_ms > 0 || matches!(self.shape, Shape::Running)
    }

    /// Whether rows may come too late for it.
    pub fn has_late(&self) -> bool {
        !matches!(self.shape, Shape::Running)
    }

    /// What the step gives for `rows`, none of them late.
    pub fn results(&self, rows: &[Click]) -> Results {
        let rows = &self.counted(rows);
        let mut results = Results::new();
        let mut add = |place: Place, row: &Click| {
            let (count, sum) = results.entry(place).or_default();
            (*count, *sum) = (*count + 1, *sum + row.n);
        };
        let mut sorted = rows.to_vec();
        sorted.sort_by_key(|row| row.at);
        match self.shape.in_micros() {
            Shape::Tumble { size } => sorted.iter().for_each(|row| {
                let start = window_start(row.at, size);
                add((self.key(row), start, start + size), row);
            }),
            Shape::Slide { size, every } => {
                for row in &sorted {
                    let mut start = window_start(row.at, every);
                    while start + size > row.at {
                        add((self.key(row), start, start + size), row);
                        start -= every;
                    }
                }
            }
            Shape::Running => sorted.iter().for_each(|row| add((self.key(row), 0, 0), row)),
            Shape::Session { gap } => {
                for (place, rows) in self.sessions(&sorted, gap) {
                    rows.iter().for_each(|row| add(place, row));
                }
            }
        }
        results
    }

    fn sessions(&self, sorted: &[Click], gap: i64) -> Vec<(Place, Vec<Click>)> {
        let mut of_key: BTreeMap<u64, Vec<(Place, Vec<Click>)>> = BTreeMap::new();
        for row in sorted {
            let key = self.key(row);
            let sessions = of_key.entry(key).or_default();
            match sessions.last_mut().filter(|(place, _)| row.at <= place.2) {
                Some((place, rows)) => {
                    place.2 = row.at + gap;
                    rows.push(*row);
                }
                None => sessions.push(((key, row.at, row.at + gap), vec![*row])),
            }
        }
        of_key.into_values().flatten().collect()
    }

    /// The rows that are not pushed out.
    fn counted(&self, rows: &[Click]) -> Vec<Click> {
        let mut ranked = rows.to_vec();
        let Some(first) = self.first else { return ranked };
        ranked.sort_by_key(|row| (row.key, std::cmp::Reverse(row.n), row.id));
        let mut of_key: BTreeMap<u64, usize> = BTreeMap::new();
        ranked.retain(|row| {
            let before = of_key.entry(row.key).or_default();
            *before += 1;
            *before <= first
        });
        ranked
    }

    fn key(&self, row: &Click) -> u64 {
        if self.keyed { row.key } else { 0 }
    }
}

// === impl Shape ===

impl Shape {
    fn in_micros(self) -> Self {
        match self {
            Self::Tumble { size } => Self::Tumble { size: size * 1000 },
            Self::Slide { size, every } => Self::Slide { size: size * 1000, every: every * 1000 },
            Self::Session { gap } => Self::Session { gap: gap * 1000 },
            Self::Running => Self::Running,
        }
    }
}

/// Windows lie on multiples of their length since 1970, and lengths need not divide a day.
fn since_1970(at: i64) -> i64 {
    const DAYS_TO_2026_01_31: i64 = 20_484;
    DAYS_TO_2026_01_31 * 86_400_000_000 + at
}

/// The start of the window of `size` that `at` lies in, in microseconds.
pub(super) fn window_start(at: i64, size: i64) -> i64 {
    at - since_1970(at).rem_euclid(size)
}
