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
    fn windows_that_touch_are_one() {
        let span = |start, end| Span { start: EventTime(start), end: EventTime(end) };
        assert!(span(0, 5).touches(span(5, 9)) && !span(0, 5).touches(span(6, 9)));
        assert_eq!(span(3, 5).with(span(0, 4)), span(0, 5));
    }
}
