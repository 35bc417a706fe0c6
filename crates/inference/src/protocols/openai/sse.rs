//! Server-sent events, as far as model servers use them: the `data` of each event.
//!
//! Pure, fed with the pieces that come, wherever they are cut. One event may have a limited length, so that a line that
//! never ends ends here.

/// Longest event. Pieces of answers have a few hundred bytes; one with log-probabilities of many tokens some ten thousand.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// Takes events out of pieces.
#[derive(Debug, Default)]
pub(super) struct Events {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    after_return: bool,
}

// === impl Events ===

impl Events {
    /// Takes the next piece and gives the data of the events that it completes.
    ///
    /// # Errors
    /// An event is too long or no UTF-8.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Result<Vec<String>, String> {
        let mut events = Vec::new();
        for byte in piece {
            let after_return = std::mem::replace(&mut self.after_return, *byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => events.extend(self.end_line()?),
                byte => self.line.push(*byte),
            }
            if self.line.len() + self.data.len() > EVENT_BYTES_MAX {
                return Err(format!("an event is longer than {EVENT_BYTES_MAX} bytes"));
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Result<Option<String>, String> {
        let line = std::mem::take(&mut self.line);
        if let Some(data) = line.strip_prefix(b"data:") {
            if self.has_data {
                self.data.push(b'\n');
            }
            self.has_data = true;
            self.data.extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
            return Ok(None);
        }
        if !line.is_empty() || !self.has_data {
            return Ok(None);
        }
        self.has_data = false;
        let data = String::from_utf8(std::mem::take(&mut self.data)).map_err(|_| "an event is no UTF-8 text")?;
        Ok(Some(data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        ": hello\r\ndata: {\"a\":1}\r\n\r\nevent: x\ndata:two\ndata: lines é\n\n\n\rid: 7\rdata: [DONE]\r\r";

    #[test]
    fn events_are_the_same_wherever_pieces_are_cut() {
        let expected = ["{\"a\":1}", "two\nlines é", "[DONE]"];
        for size in 1..TEXT.len() {
            let mut events = Events::default();
            let all: Vec<String> = TEXT.as_bytes().chunks(size).flat_map(|piece| events.feed(piece).unwrap()).collect();
            assert_eq!(all, expected, "pieces of {size}");
        }
    }

    #[test]
    fn a_line_without_end_and_broken_text_are_errors() {
        let mut events = Events::default();
        let endless = (0..1_100).try_for_each(|_| events.feed(&[b'x'; 1_024]).map(|_| ()));
        assert_eq!(endless, Err("an event is longer than 1048576 bytes".to_string()));
        assert_eq!(Events::default().feed(b"data: \xff\n\n"), Err("an event is no UTF-8 text".to_string()));
    }
}
