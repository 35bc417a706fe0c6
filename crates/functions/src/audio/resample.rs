//! Another number of samples a second, by a windowed sinc filter.
//!
//! The filter is that of `torchaudio.functional.resample` with its defaults: a Hann window over 6 zero crossings to each
//! side, cut off at 0.99 of the lower of the two rates' limits. What lies above is damped before it could fold back, which
//! linear interpolation does not do, and models trained on torchaudio's samples get the same ones.

use std::f64::consts::PI;

use forebay_core::Result;

use super::limits;

/// Zero crossings of the filter to each side.
const CROSSINGS: f64 = 6.0;

/// Where the filter cuts, as a ratio of what the lower rate can hold.
const ROLLOFF: f64 = 0.99;

/// The filter at one place between two samples.
struct Phase {
    /// Where it begins, from the sample that its block begins with.
    first: i64,
    weights: Vec<f32>,
}

/// `samples` of `from` a second as samples of `to` a second; the last of them lies before the end.
///
/// # Errors
/// `Data` if there would be more than [`limits::SAMPLES_MAX`], `Exhausted` if there is no memory for them.
pub(super) fn resample(samples: &[f32], from: u32, to: u32) -> Result<Vec<f32>> {
    let common = common_divisor(from, to);
    let (from, to) = (u64::from(from / common), u64::from(to / common));
    let count = (samples.len() as u64 * to).div_ceil(from);
    limits::check_samples(count)?;
    let mut made = Vec::new();
    limits::reserve(&mut made, count as usize)?;
    let phases: Vec<Phase> = (0..to.min(count)).map(|place| Phase::new(place, from, to)).collect();
    made.extend((0..count).map(|place| {
        let block = (place / to * from) as i64;
        phases[(place % to) as usize].applied(samples, block)
    }));
    Ok(made)
}

fn common_divisor(left: u32, right: u32) -> u32 {
    if right == 0 { left } else { common_divisor(right, left % right) }
}

// === impl Phase ===

impl Phase {
    /// The filter for the sample `place` of a block, which is of `from` samples before and of `to` after.
    fn new(place: u64, from: u64, to: u64) -> Self {
        let cut = from.min(to) as f64 * ROLLOFF / from as f64;
        let centre = (place * from) as f64 / to as f64;
        let reach = CROSSINGS / cut;
        let (first, last) = ((centre - reach).ceil() as i64, (centre + reach).floor() as i64);
        let weight = |at: i64| {
            let distance = (at as f64 - centre) * cut;
            let sinc = if distance == 0.0 { 1.0 } else { (PI * distance).sin() / (PI * distance) };
            (sinc * (PI * distance / CROSSINGS / 2.0).cos().powi(2) * cut) as f32
        };
        Self { first, weights: (first..=last).map(weight).collect() }
    }

    /// The sum of the samples around `block`, weighted; there is silence before the first and after the last.
    fn applied(&self, samples: &[f32], block: i64) -> f32 {
        let begin = block + self.first;
        let (skipped, begin) = (usize::try_from(-begin).unwrap_or(0), usize::try_from(begin).unwrap_or(0));
        let around = samples.get(begin..).unwrap_or_default();
        let weights = self.weights.get(skipped..).unwrap_or_default();
        around.iter().zip(weights).map(|(sample, weight)| sample * weight).sum()
    }
}
