//! Pixel layouts, changed in place in the decoder's buffer so that no image needs a second one.
//!
//! Alpha is dropped, not blended: models see the stored colours, and what a transparent pixel hides stays as stored.

use super::limits;
use forebay_core::Result;

/// Channels of a tensor of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Red, green, blue.
    Rgb,
    /// Luminance alone.
    L,
}

/// Interleaved samples of a decoder: `channels` of 1 (L), 2 (L, alpha), 3 (RGB) or 4 (RGB, alpha).
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) channels: usize,
    /// 16-bit samples in native byte order instead of 8-bit ones.
    pub(super) wide: bool,
}

// === impl Mode ===

impl Mode {
    /// Values of one pixel.
    pub(super) fn channels(self) -> usize {
        match self {
            Mode::Rgb => 3,
            Mode::L => 1,
        }
    }
}

/// Turns the first `count` pixels of `buffer` from `layout` into 8-bit pixels of `mode`.
pub(super) fn convert(buffer: &mut Vec<u8>, count: usize, layout: Layout, mode: Mode) -> Result<()> {
    if layout.wide {
        narrow(buffer, count * layout.channels);
    }
    match layout.channels {
        2 => drop_last::<2>(buffer, count),
        4 => drop_last::<4>(buffer, count),
        _ => {}
    }
    match (layout.channels, mode) {
        (1 | 2, Mode::Rgb) => {
            limits::reserve(buffer, count * 3)?;
            repeat(buffer, count);
        }
        (3 | 4, Mode::L) => luminance(buffer, count),
        _ => {}
    }
    Ok(())
}

/// Turns the first `count` CMYK pixels into RGB, by product and without a colour profile.
///
/// Samples are taken as Adobe writes them, inverted (255 is no ink), which practically every CMYK JPEG is.
pub(super) fn inverted_cmyk_to_rgb(buffer: &mut [u8], count: usize) {
    for pixel in 0..count {
        let black = u32::from(buffer[pixel * 4 + 3]);
        for channel in 0..3 {
            let ink = u32::from(buffer[pixel * 4 + channel]);
            buffer[pixel * 3 + channel] = ((ink * black + 127) / 255) as u8;
        }
    }
}

/// 16-bit samples to the nearest 8-bit ones: 65,535 becomes 255.
fn narrow(buffer: &mut [u8], samples: usize) {
    for sample in 0..samples {
        let wide = u16::from_ne_bytes([buffer[sample * 2], buffer[sample * 2 + 1]]);
        buffer[sample] = ((u32::from(wide) + 128) / 257) as u8;
    }
}

/// Drops the last of `CHANNELS` channels.
fn drop_last<const CHANNELS: usize>(buffer: &mut [u8], count: usize) {
    let kept = CHANNELS - 1;
    for pixel in 1..count {
        buffer.copy_within(pixel * CHANNELS..pixel * CHANNELS + kept, pixel * kept);
    }
}

/// One channel to three equal ones, from the end so that nothing is overwritten unread.
fn repeat(buffer: &mut [u8], count: usize) {
    for pixel in (0..count).rev() {
        let value = buffer[pixel];
        buffer[pixel * 3..pixel * 3 + 3].fill(value);
    }
}

/// RGB to luminance by the ITU-R 601 weights, in the fixed point that libjpeg and Pillow use.
pub(super) fn luminance(buffer: &mut [u8], count: usize) {
    for pixel in 0..count {
        let [red, green, blue] = [0, 1, 2].map(|channel| u32::from(buffer[pixel * 3 + channel]));
        buffer[pixel] = ((red * 19_595 + green * 38_470 + blue * 7_471 + 0x8000) >> 16) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(given: &[u8], channels: usize, wide: bool, mode: Mode, expected: &[u8]) {
        let mut buffer = given.to_vec();
        let count = given.len() / channels / if wide { 2 } else { 1 };
        convert(&mut buffer, count, Layout { channels, wide }, mode).unwrap();
        assert_eq!(&buffer[..expected.len()], expected);
    }

    #[test]
    fn every_layout_becomes_every_mode() {
        case(&[1, 2, 3], 1, false, Mode::L, &[1, 2, 3]);
        case(&[1, 2, 3], 1, false, Mode::Rgb, &[1, 1, 1, 2, 2, 2, 3, 3, 3]);
        case(&[1, 9, 2, 9], 2, false, Mode::L, &[1, 2]);
        case(&[1, 9, 2, 9], 2, false, Mode::Rgb, &[1, 1, 1, 2, 2, 2]);
        case(&[1, 2, 3, 4, 5, 6], 3, false, Mode::Rgb, &[1, 2, 3, 4, 5, 6]);
        case(&[255, 0, 0, 255, 255, 255], 3, false, Mode::L, &[76, 255]);
        case(&[1, 2, 3, 9, 4, 5, 6, 9], 4, false, Mode::Rgb, &[1, 2, 3, 4, 5, 6]);
        case(&[0, 0, 255, 9], 4, false, Mode::L, &[29]);
    }

    #[test]
    fn wide_samples_round_to_the_nearest_narrow_one() {
        let wide: Vec<u8> = [0u16, 128, 129, 257, 65_535].iter().flat_map(|value| value.to_ne_bytes()).collect();
        case(&wide, 1, true, Mode::L, &[0, 0, 1, 1, 255]);
    }

    #[test]
    fn full_black_ink_is_black_and_no_ink_is_white() {
        let mut buffer = vec![255, 255, 255, 0, 255, 255, 255, 255, 0, 255, 255, 255];
        inverted_cmyk_to_rgb(&mut buffer, 3);
        assert_eq!(&buffer[..9], &[0, 0, 0, 255, 255, 255, 0, 255, 255]);
    }
}
