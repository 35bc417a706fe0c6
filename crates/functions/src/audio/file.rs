//! A file of audio whose kind its first bytes say.

use forebay_core::Result;

use super::flac::Flac;
use super::wav::Wav;
use super::{limits, unusable};
use crate::bytes::beginning;

/// What a file says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Frames a second.
    pub sample_rate: u32,
    pub channels: u16,
    /// Samples of each channel; `None` where a stream was written whose length nobody knew.
    pub frames: Option<u64>,
}

/// A file with its header read and within [`limits`].
pub(super) enum AudioFile<'a> {
    Wav(Wav<'a>),
    Flac(Flac<'a>),
}

// === impl Header ===

impl Header {
    /// The header if it is within [`limits`].
    pub(super) fn checked(self) -> Result<Self> {
        if self.channels == 0 || self.channels > limits::CHANNELS_MAX {
            return Err(unusable(format!("{} channels, not 1 to {}", self.channels, limits::CHANNELS_MAX)));
        }
        if self.sample_rate == 0 || self.sample_rate > limits::SAMPLE_RATE_MAX {
            let most = limits::SAMPLE_RATE_MAX;
            return Err(unusable(format!("{} samples a second, not 1 to {most}", self.sample_rate)));
        }
        Ok(self)
    }
}

// === impl AudioFile ===

impl<'a> AudioFile<'a> {
    /// Reads the header of `file`.
    ///
    /// # Errors
    /// `Data`, with the reason, for bytes that are no WAV or FLAC file.
    pub(super) fn open(file: &'a [u8]) -> Result<Self> {
        match file {
            [] => Err(unusable("empty value")),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Wav::open(file).map(Self::Wav),
            [b'f', b'L', b'a', b'C', ..] => Flac::open(file).map(Self::Flac),
            _ => Err(match known(file) {
                Some(name) => unusable(format!("unsupported format {name}; WAV and FLAC are decoded")),
                None => unusable(format!("not an audio file: it starts with the bytes {}", beginning(file))),
            }),
        }
    }

    /// `wav` or `flac`.
    pub(super) fn format(&self) -> &'static str {
        match self {
            Self::Wav(_) => "wav",
            Self::Flac(_) => "flac",
        }
    }

    pub(super) fn header(&self) -> Header {
        match self {
            Self::Wav(file) => file.header(),
            Self::Flac(file) => file.header(),
        }
    }

    /// All samples, the mean of the channels, whole numbers as parts of the largest: -1 to 1.
    pub(super) fn mono(&self) -> Result<Vec<f32>> {
        limits::check_frames(self.header().frames.unwrap_or(0))?;
        match self {
            Self::Wav(file) => file.mono(),
            Self::Flac(file) => file.mono(),
        }
    }
}

/// The name of a format that is known and not decoded.
fn known(file: &[u8]) -> Option<&'static str> {
    match file {
        [b'O', b'g', b'g', b'S', ..] => Some("Ogg"),
        [b'I', b'D', b'3', ..] | [0xFF, 0xE2..=0xFF, ..] => Some("MP3"),
        [b'R', b'F', b'6', b'4', ..] => Some("RF64"),
        [b'F', b'O', b'R', b'M', ..] => Some("AIFF"),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => Some("MP4"),
        [0x1A, 0x45, 0xDF, 0xA3, ..] => Some("Matroska"),
        _ => None,
    }
}
