//! Which windows a row belongs to.

use forebay_core::time::EventTime;

/// How event time is cut into windows; lengths in microseconds, each more than zero. Windows are half open and lie on
/// multiples of their length (slides: of `every`) since 1970-01-01 00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Windows of one length, end to end.
    Tumble {
        /// Length.
        size: i64,
    },
    /// Windows of one length that overlap.
    Slide {
        /// Length.
        size: i64,
        /// From the start of one to the start of the next, at most `size`.
        every: i64,
    },
    /// Rows of a key with less than a gap between them, whose window ends a gap after the last. Rows exactly a gap apart are
    /// in one window.
    Session {
        /// Length of the gap.
        gap: i64,
    },
    /// One window of all rows, which count as rows of time 0. It ends with time, so it is complete when the input has ended.
    Whole,
}

/// A window: rows from `start` on and before `end`. Ordered by end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Span {
    pub end: EventTime,
    pub start: EventTime,
}

// === impl Shape ===

impl Shape {
    /// The windows that a row at `time` belongs to, the latest first; of a session that of the row alone.
    pub(super) fn spans(self, time: EventTime) -> impl Iterator<Item = Span> {
        let (first, size, every) = match self {
            Self::Tumble { size } => (floor(time.0, size), size, size),
            Self::Slide { size, every } => (floor(time.0, every), size, every),
            Self::Session { gap } => (time.0, gap, gap),
            Self::Whole => (0, i64::MAX, i64::MAX),
        };
        let starts = std::iter::successors(Some(first), move |start| start.checked_sub(every));
        starts
            .take_while(move |start| start.saturating_add(size) > time.0)
            .map(move |start| Span { start: EventTime(start), end: EventTime(start.saturating_add(size)) })
    }

    /// The slice of a sliding window that `time` is in: from one start or end of a window to the next, so that each window
    /// consists of whole slices. Where `every` divides the length, one slice for each `every`, else two.
    pub(super) fn slice(self, time: EventTime) -> Span {
        let (size, every) = self.length();
        let start = floor(time.0, every);
        let ended = floor(time.0.saturating_sub(size), every).saturating_add(size);
        let ended = if ended <= time.0 { ended } else { start };
        let end = start.saturating_add(every).min(ended.saturating_add(every));
        Span { start: EventTime(start.max(ended)), end: EventTime(end) }
    }

    /// The last window that the slice to `end` is in.
    pub(super) fn last_of(self, end: EventTime) -> Span {
        let (size, every) = self.length();
        let start = floor(end.0.saturating_sub(1), every);
        Span { start: EventTime(start), end: EventTime(start.saturating_add(size)) }
    }

    /// The first window that the slice to `end` is in and that ends after `done`.
    pub(super) fn next_of(self, end: EventTime, done: EventTime) -> Option<Span> {
        let (size, every) = self.length();
        let from = end.0.max(done.0.saturating_add(1));
        let next = from.saturating_add(size.saturating_sub(from).rem_euclid(every)).min(self.last_of(end).end.0);
        (next >= from && next > done.0).then(|| self.ending(EventTime(next)))
    }

    /// The window to `end`.
    pub(super) fn ending(self, end: EventTime) -> Span {
        Span { start: EventTime(end.0.saturating_sub(self.length().0)), end }
    }

    /// Length, and from one start to the next.
    fn length(self) -> (i64, i64) {
        match self {
            Self::Tumble { size } => (size, size),
            Self::Slide { size, every } => (size, every),
            Self::Session { gap } => (gap, gap),
            Self::Whole => (i64::MAX, i64::MAX),
        }
    }

    /// The watermark as the step counts and hands it on. A row exactly a gap behind the last one of a session joins it, and may
    /// still come when the watermark is at the session's last moment: sessions see time a moment later.
    pub(super) fn seen(self, watermark: EventTime) -> EventTime {
        match self {
            Self::Session { .. } if watermark < EventTime::MAX => EventTime(watermark.0.saturating_sub(1)),
            _ => watermark,
        }
    }
}

/// The last multiple of `step` that is not after `time`.
fn floor(time: i64, step: i64) -> i64 {
    time.saturating_sub(time.rem_euclid(step))
}

// === impl Span ===

impl Span {
    /// The last moment that belongs to the window: its event time, and the watermark at which it is complete.
    pub fn last(self) -> EventTime {
        EventTime(self.end.0.saturating_sub(1))
    }

    /// Whether `time` is in it.
    pub fn holds(self, time: i64) -> bool {
        self.start.0 <= time && time < self.end.0
    }

    /// Whether the two share a moment or touch.
    pub fn touches(self, other: Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    /// From the earlier start to the later end.
    pub fn with(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_fall_into_the_windows_around_them() {
        let case = |shape: Shape, time: i64, expected: &[(i64, i64)]| {
            let spans: Vec<(i64, i64)> = shape.spans(EventTime(time)).map(|span| (span.start.0, span.end.0)).collect();
            assert_eq!(spans, expected, "{shape:?} at {time}");
        };
        let tumble = Shape::Tumble { size: 10 };
        case(tumble, 0, &[(0, 10)]);
        case(tumble, 9, &[(0, 10)]);
        case(tumble, 10, &[(10, 20)]);
        case(tumble, -1, &[(-10, 0)]);
        let slide = Shape::Slide { size: 10, every: 4 };
        case(slide, 0, &[(0, 10), (-4, 6), (-8, 2)]);
        case(slide, 3, &[(0, 10), (-4, 6)]);
        case(slide, 4, &[(4, 14), (0, 10), (-4, 6)]);
        case(Shape::Session { gap: 5 }, 7, &[(7, 12)]);
        case(Shape::Whole, 0, &[(0, i64::MAX)]);
        assert_eq!(tumble.spans(EventTime(i64::MAX)).count(), 0, "no window ends after the end of time");
    }

    #[test]
    fn windows_consist_of_whole_slices() {
        for (size, every) in [(10, 2), (10, 4), (7, 3), (5, 5), (9, 1), (10, 9)] {
            let shape = Shape::Slide { size, every };
            for time in -30..30 {
                let slice = shape.slice(EventTime(time));
                assert!(slice.start.0 <= time && time < slice.end.0, "{slice:?} at {time}");
                assert_eq!(shape.slice(slice.start), shape.slice(EventTime(slice.end.0 - 1)));
                let spans: Vec<Span> = shape.spans(EventTime(time)).collect();
                assert!(spans.iter().all(|span| span.start <= slice.start && slice.end <= span.end));
                assert_eq!(shape.last_of(slice.end), spans[0]);
                let next = std::iter::successors(shape.next_of(slice.end, EventTime::MIN), |span| {
                    shape.next_of(slice.end, span.end)
                });
                assert!(next.eq(spans.into_iter().rev()), "{shape:?} at {time}");
            }
        }
        let ends = [i64::MIN, i64::MIN + 3, i64::MAX - 3, i64::MAX];
        for time in ends.map(EventTime) {
            let shape = Shape::Slide { size: 10, every: 4 };
            let slice = shape.slice(time);
            assert!(slice.start <= time && time <= slice.end);
            let first = shape.next_of(slice.end, EventTime::MIN);
            assert!(std::iter::successors(first, |span| shape.next_of(slice.end, span.end)).count() <= 3);
        }
    }

    #[test]
    fn windows_that_touch_are_one() {
        let span = |start, end| Span { start: EventTime(start), end: EventTime(end) };
        assert!(span(0, 5).touches(span(5, 9)) && !span(0, 5).touches(span(6, 9)));
        assert_eq!(span(3, 5).with(span(0, 4)), span(0, 5));
    }
}
