//! WAV: a header and samples as they are, read where they lie.
//!
//! Read here and not by a library, since there is nothing to decode: what matters is that no length in the file is believed
//! beyond the bytes that follow it.

use forebay_core::Result;

use super::file::Header;
use super::{limits, unusable};

/// Bytes of `RIFF`, a length and `WAVE`; parts follow.
const HEAD: usize = 12;

/// The length of samples that programs write which cannot go back to correct it: all that follows.
const UNTIL_THE_END: u32 = u32::MAX;

/// The end of an identifier whose first two bytes are an encoding.
const GUID_END: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71];

/// A file with its header read.
pub(super) struct Wav<'a> {
    layout: Layout,
    /// Whole frames.
    data: &'a [u8],
}

/// What the header says of the samples.
#[derive(Clone, Copy)]
struct Layout {
    encoding: Encoding,
    channels: u16,
    sample_rate: u32,
}

/// How a sample is written, little-endian.
#[derive(Clone, Copy)]
enum Encoding {
    Unsigned8,
    Signed16,
    Signed24,
    Signed32,
    Float32,
    Float64,
}

// === impl Wav ===

impl<'a> Wav<'a> {
    /// Finds header and samples in `file`, which begins as a WAV file does.
    pub(super) fn open(file: &'a [u8]) -> Result<Self> {
        let mut rest = file.get(HEAD..).unwrap_or_default();
        let mut layout = None;
        loop {
            let [a, b, c, d, l0, l1, l2, l3, body @ ..] = rest else { return Err(truncated()) };
            let length = u32::from_le_bytes([*l0, *l1, *l2, *l3]);
            let whole = body.get(..length as usize);
            match (&[*a, *b, *c, *d], layout) {
                (b"fmt ", _) => layout = Some(Layout::read(whole.ok_or_else(truncated)?)?),
                (b"data", None) => return Err(damaged("samples stand before their format")),
                (b"data", Some(layout)) => {
                    let data = if length == UNTIL_THE_END { body } else { whole.ok_or_else(truncated)? };
                    if data.len() % layout.frame_bytes() != 0 {
                        return Err(damaged("samples end inside a frame"));
                    }
                    return Ok(Self { layout, data });
                }
                _ => {}
            }
            // Parts begin at even places.
            rest = body.get(length as usize + length as usize % 2..).ok_or_else(truncated)?;
        }
    }

    pub(super) fn header(&self) -> Header {
        let frames = (self.data.len() / self.layout.frame_bytes()) as u64;
        Header { sample_rate: self.layout.sample_rate, channels: self.layout.channels, frames: Some(frames) }
    }

    /// All samples, the mean of the channels.
    pub(super) fn mono(&self) -> Result<Vec<f32>> {
        let mut samples = Vec::new();
        limits::reserve(&mut samples, self.data.len() / self.layout.frame_bytes())?;
        match self.layout.encoding {
            Encoding::Unsigned8 => self.mix(&mut samples, |[a]| (f32::from(a) - 128.0) / 128.0),
            Encoding::Signed16 => self.mix(&mut samples, |bytes| f32::from(i16::from_le_bytes(bytes)) / 32_768.0),
            Encoding::Signed24 => self.mix(&mut samples, |[a, b, c]| whole(i32::from_le_bytes([0, a, b, c]))),
            Encoding::Signed32 => self.mix(&mut samples, |bytes| whole(i32::from_le_bytes(bytes))),
            Encoding::Float32 => self.mix(&mut samples, f32::from_le_bytes),
            Encoding::Float64 => self.mix(&mut samples, |bytes| f64::from_le_bytes(bytes) as f32),
        }
        Ok(samples)
    }

    /// Appends the mean of every frame's samples, each read by `sample` from its `WIDTH` bytes.
    fn mix<const WIDTH: usize>(&self, samples: &mut Vec<f32>, sample: impl Fn([u8; WIDTH]) -> f32) {
        let channels = f32::from(self.layout.channels);
        let (single, _) = self.data.as_chunks::<WIDTH>();
        let frames = single.chunks_exact(usize::from(self.layout.channels));
        samples.extend(frames.map(|frame| frame.iter().map(|bytes| sample(*bytes)).sum::<f32>() / channels));
    }
}

/// A sample of 32 bits as a part of the largest.
fn whole(sample: i32) -> f32 {
    (f64::from(sample) / 2_147_483_648.0) as f32
}

// === impl Layout ===

impl Layout {
    /// Reads the part `fmt `.
    fn read(part: &[u8]) -> Result<Self> {
        let two = |at: usize| part.get(at..at + 2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
        let (Some(mut tag), Some(channels), Some(bits)) = (two(0), two(2), two(14)) else {
            return Err(damaged("its format is too short"));
        };
        let sample_rate = part[4..8].iter().rev().fold(0u32, |all, byte| all << 8 | u32::from(*byte));
        if tag == 0xFFFE && part.get(26..40) == Some(&GUID_END) {
            tag = two(24).unwrap_or(tag);
        }
        let encoding = match (tag, bits) {
            (1, 8) => Encoding::Unsigned8,
            (1, 16) => Encoding::Signed16,
            (1, 24) => Encoding::Signed24,
            (1, 32) => Encoding::Signed32,
            (3, 32) => Encoding::Float32,
            (3, 64) => Encoding::Float64,
            _ => return Err(unusable(format!("unsupported WAV encoding {tag} with {bits} bits"))),
        };
        let header = Header { sample_rate, channels, frames: None }.checked()?;
        let layout = Self { encoding, channels: header.channels, sample_rate: header.sample_rate };
        if two(12).map(usize::from) != Some(layout.frame_bytes()) {
            return Err(damaged("its frames are not as long as their samples"));
        }
        Ok(layout)
    }

    /// Bytes of one sample of each channel, above 0.
    fn frame_bytes(self) -> usize {
        let sample = match self.encoding {
            Encoding::Unsigned8 => 1,
            Encoding::Signed16 => 2,
            Encoding::Signed24 => 3,
            Encoding::Signed32 | Encoding::Float32 => 4,
            Encoding::Float64 => 8,
        };
        sample * usize::from(self.channels)
    }
}

fn truncated() -> forebay_core::Error {
    unusable("truncated WAV")
}

fn damaged(what: &str) -> forebay_core::Error {
    unusable(format!("damaged WAV: {what}"))
}
