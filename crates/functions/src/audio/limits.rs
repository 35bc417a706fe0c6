//! What a recording may cost: bounds held against its header and its length, before memory is taken for it.

use forebay_core::{Error, Kind, Result};

use super::unusable;

/// Channels of a file. Surround sound has 8, which is also what FLAC can express; microphone arrays have up to 64.
pub const CHANNELS_MAX: u16 = 64;

/// Samples a second of a file. Converters reach 768,000.
pub const SAMPLE_RATE_MAX: u32 = 768_000;

/// Least and most samples a second that may be asked for.
pub const ASKED_RATES: std::ops::RangeInclusive<u32> = 1_000..=384_000;

/// Frames (one sample of each channel) of a file: 50 minutes at 44,100 a second, 512 MiB once mixed to one channel.
pub const FRAMES_MAX: u64 = 1 << 27;

/// Samples given for one row: 70 minutes at 16,000 a second, 256 MiB, which is what a row's tensor may take as well.
pub const SAMPLES_MAX: u64 = 1 << 26;

/// Refuses files with too many frames.
pub(super) fn check_frames(frames: u64) -> Result<()> {
    if frames <= FRAMES_MAX {
        return Ok(());
    }
    Err(unusable(format!("{frames} frames, over the limit of {FRAMES_MAX}")))
}

/// Refuses results with too many samples.
pub(super) fn check_samples(samples: u64) -> Result<()> {
    if samples <= SAMPLES_MAX {
        return Ok(());
    }
    Err(unusable(format!("{samples} samples, over the limit of {SAMPLES_MAX}")))
}

/// Takes memory for `more` samples.
///
/// # Errors
/// `Exhausted` if there is none.
pub(super) fn reserve(samples: &mut Vec<f32>, more: usize) -> Result<()> {
    samples
        .try_reserve(more)
        .map_err(|source| Error::new(Kind::Exhausted, "take memory for audio").with("samples", more).source(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_at_the_limit_pass_and_one_more_does_not() {
        assert!(check_frames(FRAMES_MAX).is_ok() && check_frames(FRAMES_MAX + 1).is_err());
        assert!(check_samples(SAMPLES_MAX).is_ok() && check_samples(SAMPLES_MAX + 1).is_err());
    }
}
