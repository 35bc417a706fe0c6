//! A page of Prometheus text: names and values, without what labels say.

use std::collections::BTreeMap;

/// Bytes of a page that are read; a busy server with many models stays below one MiB.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// The sums of all series of a page, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    sums: BTreeMap<String, f64>,
}

// === impl Page ===

impl Page {
    /// Reads the text format 0.0.4 and OpenMetrics. Lines that are neither, and values that are no finite number, are left
    /// out: a page is read for what it has.
    pub fn read(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(&text[..text.len().min(PAGE_BYTES_MAX)]);
        let mut page = Self::default();
        for (name, value) in text.lines().filter_map(sample) {
            *page.sums.entry(name.to_string()).or_insert(0.0) += value;
        }
        page
    }

    /// The sum of all series called `name`.
    pub fn sum(&self, name: &str) -> Option<f64> {
        self.sums.get(name).copied()
    }
}

/// `name{labels} value timestamp`, labels and timestamp optional. A label's value may hold any escaped text.
fn sample(line: &str) -> Option<(&str, f64)> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let end = line.find(|letter: char| letter == '{' || letter.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    let rest = if rest.starts_with('{') { &rest[labels_end(rest)?..] } else { rest };
    let value: f64 = rest.split_whitespace().next()?.parse().ok()?;
    value.is_finite().then_some((name, value))
}

/// Where the labels that open `rest` end.
fn labels_end(rest: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (place, letter) in rest.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '}' if !quoted => return Some(place + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_lines_cost_only_themselves() {
        let text = "a 1\na{x=\"}\\\"{\"} 2 1700000000\nb NaN\nc{x=\"1 3\nd\n\n# a 100\ne +Inf\n\u{fffd} 1\nf 1e3\n";
        let page = Page::read(text.as_bytes());
        assert_eq!(page.sum("a"), Some(3.0));
        assert_eq!(page.sum("f"), Some(1_000.0));
        assert_eq!([page.sum("b"), page.sum("c"), page.sum("d"), page.sum("e")], [None; 4]);
        assert_eq!(Page::read(&[0xff, 0xfe, b'\n', b'a', b' ', b'1']).sum("a"), Some(1.0));
    }
}
