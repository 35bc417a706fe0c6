//! Chance without a generator that lives on: the draw of a row and a place in it is a hash of seed, number and place.
//!
//! A draw is an output of SplitMix64 (Steele, Lea and Flood, 2014), taken at any point of its sequence at once. Only 64-bit
//! multiplications, shifts and products of doubles are used, which every language does alike to the last bit; no
//! logarithm or power is, because libraries round those differently.

/// The step of SplitMix64: 2^64 divided by the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
/// Places a row may draw at.
const PLACES: u64 = 32;
/// 10 to the power of 6/2^8, 6/2^16 and 6/2^24: what a price grows by from one step of each of its three scales to the next.
const PRICE_STEPS: [f64; 3] = [1.055449600878603, 1.0002108301829544, 1.0000008234689381];

/// The draws of one seed.
#[derive(Debug, Clone)]
pub(super) struct Chance {
    start: u64,
    /// Powers of each of [`PRICE_STEPS`].
    prices: Box<[[f64; 256]; 3]>,
}

// === impl Chance ===

impl Chance {
    pub fn new(seed: u64) -> Self {
        let mut prices = Box::new([[1.0; 256]; 3]);
        for (scale, step) in prices.iter_mut().zip(PRICE_STEPS) {
            for place in 1..256 {
                scale[place] = scale[place - 1] * step;
            }
        }
        Self { start: mix(seed), prices }
    }

    /// The draw of the row `number` at `place`, below [`PLACES`].
    pub fn draw(&self, number: u64, place: u64) -> u64 {
        debug_assert!(place < PLACES);
        mix(self.start.wrapping_add((number.wrapping_mul(PLACES).wrapping_add(place)).wrapping_mul(STEP)))
    }

    /// A price in cents, 100 to 100,000,000, with all orders of magnitude alike. Takes 24 bits of the draw.
    pub fn price(&self, draw: u64) -> i64 {
        let [coarse, middle, fine] = &*self.prices;
        let scale = |prices: &[f64; 256], shift: u32| prices[usize::from((draw >> shift) as u8)];
        (scale(coarse, 0) * scale(middle, 8) * scale(fine, 16) * 100.0 + 0.5) as i64
    }
}

/// The finisher of SplitMix64: every bit of the input decides about every bit of the output.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A number below `below` from the upper half of a draw.
pub(super) fn upper(draw: u64, below: u64) -> u64 {
    debug_assert!(below <= 1 << 32);
    ((draw >> 32) * below) >> 32
}

/// A number below `below` from the lower half of a draw.
pub(super) fn lower(draw: u64, below: u64) -> u64 {
    debug_assert!(below <= 1 << 32);
    ((draw & 0xffff_ffff) * below) >> 32
}

/// Appends `length` letters, eight of each output of the sequence that starts at `draw`.
pub(super) fn letters(draw: u64, length: usize, out: &mut Vec<u8>) {
    let mut state = draw;
    let mut word = || {
        state = state.wrapping_add(STEP);
        eight_letters(mix(state)).to_le_bytes()
    };
    out.reserve(length + 8);
    for _ in 0..length / 8 {
        out.extend_from_slice(&word());
    }
    out.extend_from_slice(&word()[..length % 8]);
}

/// Each byte `b` as the letter 'a' + b * 26 / 256, four bytes in one multiplication.
fn eight_letters(bytes: u64) -> u64 {
    const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
    const LETTERS: u64 = 0x6161_6161_6161_6161;
    let even = (((bytes & EVEN) * 26) >> 8) & EVEN;
    let odd = (((bytes >> 8) & EVEN) * 26) & !EVEN;
    (even | odd) + LETTERS
}

/// Appends a text of 3 to `length_max` - 1 letters and spaces, 12 to 1, without the spaces at its ends.
pub(super) fn words(draw: u64, length_max: u64, out: &mut Vec<u8>) {
    let start = out.len();
    let length = 3 + upper(draw, length_max - 3) as usize;
    let mut state = draw;
    while out.len() < start + length {
        state = state.wrapping_add(STEP);
        out.extend_from_slice(&mix(state).to_le_bytes().map(|byte| match byte.checked_sub(20) {
            None => b' ',
            Some(byte) => b'a' + (u16::from(byte) * 26 / 236) as u8,
        }));
    }
    out.truncate(start + length);
    trim(start, out);
}

/// Takes the spaces off both ends of what was appended since `start`.
fn trim(start: usize, out: &mut Vec<u8>) {
    while out.len() > start && out.last() == Some(&b' ') {
        out.pop();
    }
    let leading = out[start..].iter().take_while(|byte| **byte == b' ').count();
    out.drain(start..start + leading);
}

/// How long the text is that fills a row of `used` bytes up to `average` in the mean: within a fifth around what is left.
pub(super) fn extra_length(draw: u64, used: u64, average: u32) -> usize {
    let Some(left) = u64::from(average).checked_sub(used) else { return 0 };
    let spread = (left + 2) / 5;
    (left - spread + upper(draw, 2 * spread)) as usize
}
