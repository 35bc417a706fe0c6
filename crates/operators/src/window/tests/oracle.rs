//! What windows should give, written the slow way: every window keeps its rows, every row is looked at alone.

use std::collections::BTreeSet;

use forebay_core::row_kind::RowKind;

use super::super::Shape;
use super::{Line, Row};

pub struct Oracle {
    shape: Shape,
    lateness: i64,
    watermark: i64,
    windows: Vec<Kept>,
    late: Vec<(u64, RowKind)>,
}

struct Kept {
    key: Option<u8>,
    start: i64,
    end: i64,
    rows: Vec<Row>,
}

impl Oracle {
    pub fn new(shape: Shape, lateness: i64) -> Self {
        Self { shape, lateness, watermark: i64::MIN, windows: Vec::new(), late: Vec::new() }
    }

    pub fn watermark(&mut self, watermark: i64) {
        self.watermark = self.watermark.max(watermark);
    }

    pub fn row(&mut self, row: Row) {
        let taken = match self.shape {
            Shape::Tumble { size } => self.fixed(&row, size, size),
            Shape::Slide { size, every } => self.fixed(&row, size, every),
            Shape::Session { gap } => self.session(&row, gap),
            Shape::Whole => self.window(&row, 0, i64::MAX),
        };
        if !taken {
            self.late.push((row.place, row.kind));
        }
    }

    /// Every window that could hold the row, tried one by one.
    fn fixed(&mut self, row: &Row, size: i64, every: i64) -> bool {
        let mut taken = false;
        for start in (-100..200).filter(|start: &i64| start.rem_euclid(every) == 0) {
            let end = start + size;
            taken |= (start..end).contains(&row.time) && self.window(row, start, end);
        }
        taken
    }

    /// The window from `start` to `end`, if it still takes rows.
    fn window(&mut self, row: &Row, start: i64, end: i64) -> bool {
        if self.is_gone(end) {
            return false;
        }
        let kept =
            self.windows.iter_mut().find(|kept| kept.key == row.key && kept.start == start && !kept.rows.is_empty());
        match kept {
            Some(kept) => kept.rows.push(row.clone()),
            None => self.windows.push(Kept { key: row.key, start, end, rows: vec![row.clone()] }),
        }
        true
    }

    fn session(&mut self, row: &Row, gap: i64) -> bool {
        let mut joined = Kept { key: row.key, start: row.time, end: row.time + gap, rows: vec![row.clone()] };
        let mut touched = Vec::new();
        for (place, kept) in self.windows.iter().enumerate() {
            // A window that is gone is only a result; nothing joins it.
            let touches = row.time <= kept.end && kept.start <= row.time + gap;
            if kept.key == row.key && !self.is_gone(kept.end) && touches {
                touched.push(place);
                joined.start = joined.start.min(kept.start);
                joined.end = joined.end.max(kept.end);
                joined.rows.extend(kept.rows.iter().cloned());
            }
        }
        if self.is_gone(joined.end) {
            return false;
        }
        touched.iter().rev().for_each(|place| drop(self.windows.remove(*place)));
        self.windows.push(joined);
        true
    }

    /// The last moment at which a row may come that the window to `end` takes: sessions take one exactly at their end.
    fn last(&self, end: i64) -> i64 {
        if matches!(self.shape, Shape::Session { .. }) { end } else { end - 1 }
    }

    fn is_gone(&self, end: i64) -> bool {
        self.last(end).saturating_add(self.lateness) <= self.watermark
    }

    /// The results of all complete windows.
    pub fn table(&self) -> Vec<Line> {
        let complete = self.windows.iter().filter(|kept| self.last(kept.end) <= self.watermark);
        let mut lines: Vec<Line> = complete.map(line).collect();
        lines.sort();
        lines
    }

    pub fn late(&self) -> Vec<(u64, RowKind)> {
        let mut late = self.late.clone();
        late.sort_unstable();
        late
    }
}

fn line(kept: &Kept) -> Line {
    let values: Vec<i64> = kept.rows.iter().filter_map(|row| row.value).collect();
    let sum = (!values.is_empty()).then(|| values.iter().sum());
    let different = values.iter().collect::<BTreeSet<_>>().len() as i64;
    let numbers = [kept.start, kept.end, kept.end - 1, kept.rows.len() as i64].map(Some);
    let texts = numbers.into_iter().chain([sum, values.iter().max().copied(), Some(different)]).map(text);
    std::iter::once(text(kept.key)).chain(texts).collect()
}

/// As the driver writes values.
pub fn text(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_string(), |value| value.to_string())
}
