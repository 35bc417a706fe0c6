//! FLAC: the header is read here, frames are decoded by claxon.
//!
//! claxon checks each frame's sum. Metadata beside the header is skipped unread, pictures included.

use std::io::Cursor;

use claxon::frame::FrameReader;
use forebay_core::{Error, Result};

use super::file::Header;
use super::{limits, unusable};

/// Bytes of `fLaC`; metadata follows.
const MARK: usize = 4;

/// Bytes of the header's part.
const INFO: usize = 34;

/// A file with its header read.
pub(super) struct Flac<'a> {
    header: Header,
    bits: u32,
    frames: &'a [u8],
}

// === impl Flac ===

impl<'a> Flac<'a> {
    /// Finds header and frames in `file`, which begins as a FLAC file does.
    pub(super) fn open(file: &'a [u8]) -> Result<Self> {
        let mut rest = file.get(MARK..).unwrap_or_default();
        let mut info = None;
        loop {
            let [kind, l0, l1, l2, body @ ..] = rest else { return Err(unusable("truncated FLAC")) };
            let length = u32::from_be_bytes([0, *l0, *l1, *l2]) as usize;
            let (part, after) = body.split_at_checked(length).ok_or_else(|| unusable("truncated FLAC"))?;
            if info.is_none() {
                info = Some(read_info(kind & 0x7F, part)?);
            }
            if let (true, Some((header, bits))) = (kind & 0x80 != 0, info) {
                return Ok(Self { header, bits, frames: after });
            }
            rest = after;
        }
    }

    pub(super) fn header(&self) -> Header {
        self.header
    }

    /// All samples, the mean of the channels.
    pub(super) fn mono(&self) -> Result<Vec<f32>> {
        let mut reader = FrameReader::new(Cursor::new(self.frames));
        let (mut samples, mut buffer) = (Vec::new(), Vec::new());
        let scale = 2f64.powi(self.bits as i32 - 1) * f64::from(self.header.channels);
        let promised = self.header.frames.unwrap_or(u64::MAX);
        // Other data may follow the last frame, such as tags.
        while (samples.len() as u64) < promised {
            let Some(block) = reader.read_next_or_eof(buffer).map_err(unreadable)? else { break };
            let frames = samples.len() as u64 + u64::from(block.duration());
            if block.channels() != u32::from(self.header.channels) || frames > promised {
                return Err(unusable("damaged FLAC").with("channels", block.channels()).with("frames", frames));
            }
            limits::check_frames(frames)?;
            limits::reserve(&mut samples, block.duration() as usize)?;
            let sum = |at| (0..block.channels()).map(|channel| f64::from(block.sample(channel, at))).sum::<f64>();
            samples.extend((0..block.duration()).map(|at| (sum(at) / scale) as f32));
            buffer = block.into_buffer();
        }
        match self.header.frames {
            Some(frames) if frames > samples.len() as u64 => Err(unusable("truncated FLAC")),
            _ => Ok(samples),
        }
    }
}

/// Rate, channels, bits a sample and frames, which are packed into 8 bytes of the header.
fn read_info(kind: u8, part: &[u8]) -> Result<(Header, u32)> {
    let packed: Option<[u8; 8]> = part.get(10..18).and_then(|bytes| bytes.try_into().ok());
    let (0, INFO, Some(packed)) = (kind, part.len(), packed) else { return Err(unusable("damaged FLAC: no header")) };
    let packed = u64::from_be_bytes(packed);
    let frames = packed & 0xF_FFFF_FFFF;
    let header = Header {
        sample_rate: (packed >> 44) as u32,
        channels: (packed >> 41 & 0x7) as u16 + 1,
        frames: (frames > 0).then_some(frames),
    };
    Ok((header.checked()?, (packed >> 36 & 0x1F) as u32 + 1))
}

fn unreadable(error: claxon::Error) -> Error {
    match &error {
        claxon::Error::IoError(_) => unusable("truncated FLAC").source(error),
        _ => unusable("damaged FLAC").source(error),
    }
}
