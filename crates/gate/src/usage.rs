//! How many tokens a call will take, learned from what answers said that calls took.
//!
//! Prompts grow with bytes, answers with rows; both ratios are running means over what was asked. An estimate reserves: it is
//! settled by the answer, so that being wrong costs a little evenness and no quota.

use crate::permits::Size;

/// Tokens of a byte of prompt before anything is known: English text has four bytes a token.
const PER_BYTE: f64 = 0.25;
/// How much the first guesses weigh: as much as so many bytes and rows.
const GUESS: (f64, f64) = (1000.0, 4.0);
/// What is left of older answers' weight with each new one: the last fifty or so count.
const KEEPS: f64 = 0.98;

/// Tokens as an answer counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Of the prompt.
    pub prompt: u64,
    /// Generated.
    pub generated: u64,
}

/// The running means.
#[derive(Debug, Clone)]
pub struct Usage {
    bytes: f64,
    prompt: f64,
    rows: f64,
    generated: f64,
    /// An answer has told what it took.
    told: bool,
}

// === impl Usage ===

impl Usage {
    /// Nothing known but a guess: an answer to one row has `generated` tokens.
    pub fn new(generated: f64) -> Self {
        let (bytes, rows) = GUESS;
        Self { bytes, prompt: PER_BYTE * bytes, rows, generated: generated * rows, told: false }
    }

    /// Tokens that a call of `size` will take; at least one.
    pub fn estimate(&self, size: Size) -> u64 {
        let prompt = size.bytes as f64 * self.prompt / self.bytes.max(1.0);
        let generated = size.rows as f64 * self.generated / self.rows.max(1e-9);
        (prompt + generated).ceil().max(1.0) as u64
    }

    /// Calls of `size` took `used`.
    pub fn on_answer(&mut self, size: Size, used: Used) {
        self.told = true;
        let add = |sum: &mut f64, more: f64| *sum = KEEPS * *sum + more;
        add(&mut self.bytes, size.bytes as f64);
        add(&mut self.prompt, used.prompt as f64);
        add(&mut self.rows, size.rows as f64);
        add(&mut self.generated, used.generated as f64);
    }

    /// True once an answer told what it took: answers settle what was reserved.
    pub fn is_told(&self) -> bool {
        self.told
    }
}

// === impl Used ===

impl Used {
    /// Both together.
    pub fn total(self) -> u64 {
        self.prompt.saturating_add(self.generated)
    }

    /// What came since `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            prompt: self.prompt.saturating_sub(before.prompt),
            generated: self.generated.saturating_sub(before.generated),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_follow_what_answers_took() {
        let mut usage = Usage::new(100.0);
        let size = Size { rows: 2, bytes: 400, cost: 0 };
        assert_eq!(usage.estimate(size), 300);
        for _ in 0..300 {
            usage.on_answer(size, Used { prompt: 200, generated: 20 });
        }
        assert!((219..=225).contains(&usage.estimate(size)), "{}", usage.estimate(size));
        assert!((439..=450).contains(&usage.estimate(Size { rows: 4, bytes: 800, cost: 0 })));
        assert_eq!(usage.estimate(Size::default()), 1);
    }
}
