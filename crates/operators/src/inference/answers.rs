//! The answers that were given for additions of one content and not taken back yet, as keyed state holds them.
//!
//! Rows of one content need not have one answer: a model may say something else each time, or nothing. Equal answers that follow
//! each other are counted, so the copies of a row whose model always says the same take the room of one.

use forebay_core::{Error, Kind, Result};
use forebay_state::keyed::StateValue;

/// Nothing was given: the row became a dead letter.
const LETTER: u8 = 0;
/// The row was given with these columns.
const GIVEN: u8 = 1;

/// What became of an addition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was given with these added columns, as a stored row.
    Given(Vec<u8>),
    /// It became a dead letter.
    Letter,
}

/// What became of the additions of one content that were not taken back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Answers {
    runs: Vec<(u32, Answer)>,
    bytes: usize,
}

// === impl Answers ===

impl Answers {
    /// How many there are.
    pub fn len(&self) -> u64 {
        self.runs.iter().map(|(count, _)| u64::from(*count)).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Adds one.
    pub fn push(&mut self, answer: Answer) {
        match self.runs.last_mut() {
            Some((count, last)) if *last == answer && *count < u32::MAX => *count += 1,
            _ => {
                self.bytes += size(&answer);
                self.runs.push((1, answer));
            }
        }
    }

    /// Takes the latest one: any would do, for rows of one content cannot be told apart.
    pub fn pop(&mut self) -> Option<Answer> {
        let (count, last) = self.runs.last_mut()?;
        if *count > 1 {
            *count -= 1;
            return Some(last.clone());
        }
        let (_, answer) = self.runs.pop()?;
        self.bytes -= size(&answer);
        Some(answer)
    }
}

/// Bytes that a run of this answer takes in memory.
fn size(answer: &Answer) -> usize {
    let held = if let Answer::Given(row) = answer { row.len() } else { 0 };
    size_of::<(u32, Answer)>() + held
}

impl StateValue for Answers {
    const CODEC: &'static str = "answers";

    fn encode(&self, out: &mut Vec<u8>) {
        for (count, answer) in &self.runs {
            out.extend_from_slice(&count.to_le_bytes());
            match answer {
                Answer::Letter => out.push(LETTER),
                Answer::Given(row) => {
                    out.push(GIVEN);
                    out.extend_from_slice(&(row.len() as u32).to_le_bytes());
                    out.extend_from_slice(row);
                }
            }
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let corrupt = || Error::new(Kind::Corrupt, "decode kept answers").with("bytes", bytes.len());
        let (mut rest, mut answers) = (bytes, Self::default());
        while !rest.is_empty() {
            let (count, answer) = run(&mut rest).ok_or_else(corrupt)?;
            answers.bytes += size(&answer);
            answers.runs.push((count, answer));
        }
        Ok(answers)
    }

    fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.bytes
    }
}

/// The first run of `rest`, which goes on behind it.
fn run(rest: &mut &[u8]) -> Option<(u32, Answer)> {
    let (count, tail) = rest.split_first_chunk::<4>()?;
    let (tag, tail) = tail.split_first()?;
    let (answer, tail) = match *tag {
        LETTER => (Answer::Letter, tail),
        GIVEN => {
            let (length, tail) = tail.split_first_chunk::<4>()?;
            let (row, tail) = tail.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            (Answer::Given(row.to_vec()), tail)
        }
        _ => return None,
    };
    *rest = tail;
    Some((u32::from_le_bytes(*count), answer)).filter(|(count, _)| *count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(byte: u8) -> Answer {
        Answer::Given(vec![byte; 3])
    }

    #[test]
    fn as_many_are_taken_as_were_put_and_equal_ones_take_the_room_of_one() {
        let mut answers = Answers::default();
        for answer in [given(1), given(1), Answer::Letter, given(2)] {
            answers.push(answer);
        }
        assert_eq!((answers.len(), answers.runs.len()), (4, 3));
        let (mut all_given, bytes) = (0, answers.bytes);
        while let Some(answer) = answers.pop() {
            all_given += usize::from(answer != Answer::Letter);
        }
        assert!(answers.is_empty() && answers.bytes == 0 && bytes > 0);
        assert_eq!(all_given, 3);
    }

    #[test]
    fn bytes_are_read_back_and_broken_ones_refused() {
        let mut answers = Answers::default();
        [given(7), given(7), Answer::Letter].into_iter().for_each(|answer| answers.push(answer));
        let mut bytes = Vec::new();
        answers.encode(&mut bytes);
        assert_eq!(Answers::decode(&bytes).unwrap(), answers);
        for end in 1..bytes.len() {
            // Between two runs the bytes are whole.
            let whole = Answers::decode(&bytes[..end]).is_ok();
            assert_eq!(whole, end == 12, "{end}");
        }
        assert!(Answers::decode(&[0, 0, 0, 0, LETTER]).is_err() && Answers::decode(&[1, 0, 0, 0, 9]).is_err());
    }
}
