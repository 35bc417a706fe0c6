//! JPEG by libjpeg-turbo, shrunk while it is decoded.
//!
//! The inverse transform can give a half, a quarter or an eighth of a picture for less work than the whole, so that the
//! smallest of them that still covers the tensor is asked for. libjpeg counts a file that ends early as worth a warning and
//! fills the rest with grey; here every warning fails the row. EXIF orientation is not applied.

use forebay_core::{Error, Kind, Result};
use turbojpeg::{Colorspace, DecompressHeader, Decompressor, Image, PixelFormat, ScalingFactor};

use super::decode::{Decoded, Size, Target};
use super::pixels::{Mode, inverted_cmyk_to_rgb, luminance};
use super::{limits, unusable};

/// Sizes a picture can be decoded at. libjpeg offers every k/8, but only these have vectorised transforms: asking for 6/8
/// instead of the whole costs 10 % (500 x 300), 3/8 instead of 1/2 gains nothing (800 x 600; `examples/decode_rate.rs`).
const SCALINGS: [ScalingFactor; 3] = [ScalingFactor::ONE_EIGHTH, ScalingFactor::ONE_QUARTER, ScalingFactor::ONE_HALF];

/// A reusable JPEG decoder.
#[derive(Debug)]
pub(super) struct JpegDecoder {
    decompressor: Decompressor,
}

// === impl JpegDecoder ===

impl JpegDecoder {
    /// A decoder without limits from earlier files.
    pub(super) fn new() -> Result<Self> {
        let broken = |source| Error::new(Kind::Internal, "start JPEG decoder").source(source);
        let mut decompressor = Decompressor::new().map_err(broken)?;
        decompressor.set_scan_limit(limits::JPEG_SCANS_MAX).map_err(broken)?;
        Ok(Self { decompressor })
    }

    /// Decodes `encoded` into the start of `pixels`, in `target`'s mode, at least as large as `target` if the file is. Where
    /// it is shrunk, libjpeg fills up the last pixels of rows and columns.
    pub(super) fn decode(&mut self, encoded: &[u8], target: Target, pixels: &mut Vec<u8>) -> Result<Decoded> {
        let header = self.decompressor.read_header(encoded).map_err(|error| failed(encoded, error))?;
        check(encoded, &header)?;
        let factor = scaling(&header, target);
        let size = Size { width: factor.scale(header.width), height: factor.scale(header.height) };
        let format = pixel_format(&header, target.mode);
        let bytes = size.pixels() * format.size();
        limits::check_work(bytes as u64 + coefficient_bytes(&header) + target.resize_bytes(size))?;
        limits::reserve(pixels, bytes)?;
        self.decompressor.set_scaling_factor(factor).map_err(|error| failed(encoded, error))?;
        let image = Image {
            pixels: &mut pixels[..bytes],
            width: size.width,
            pitch: size.width * format.size(),
            height: size.height,
            format,
        };
        self.decompressor.decompress(encoded, image).map_err(|error| failed(encoded, error))?;
        if format == PixelFormat::CMYK {
            inverted_cmyk_to_rgb(pixels, size.pixels());
            if target.mode == Mode::L {
                luminance(pixels, size.pixels());
            }
        }
        let side = |side: usize| side as f64 * factor.num() as f64 / factor.denom() as f64;
        Ok(Decoded { size, width: side(header.width), height: side(header.height) })
    }
}

/// Holds the header against the limits.
fn check(encoded: &[u8], header: &DecompressHeader) -> Result<()> {
    let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
    limits::check_size(side(header.width), side(header.height))?;
    let pixels = header.width as u64 * header.height as u64;
    if pixels / limits::JPEG_PIXELS_PER_BYTE_MAX > encoded.len() as u64 {
        let promised = format!("truncated JPEG: {} bytes cannot hold {pixels} pixels", encoded.len());
        return Err(unusable(promised));
    }
    Ok(())
}

/// The smallest factor whose picture still covers `target`; one where the file is smaller, or lossless.
fn scaling(header: &DecompressHeader, target: Target) -> ScalingFactor {
    if header.is_lossless {
        return ScalingFactor::ONE;
    }
    // Not by the pixels that it is decoded to: the last one is only begun by the picture.
    let reaches = |factor: &ScalingFactor, from: usize, to: usize| from * factor.num() >= to * factor.denom();
    let covers = |factor: &ScalingFactor| {
        reaches(factor, header.width, target.size.width) && reaches(factor, header.height, target.size.height)
    };
    SCALINGS.into_iter().find(covers).unwrap_or(ScalingFactor::ONE)
}

fn pixel_format(header: &DecompressHeader, mode: Mode) -> PixelFormat {
    match (header.colorspace, mode) {
        (Colorspace::CMYK | Colorspace::YCCK, _) => PixelFormat::CMYK,
        (_, Mode::Rgb) => PixelFormat::RGB,
        (_, Mode::L) => PixelFormat::GRAY,
    }
}

/// Bytes libjpeg holds beside the picture: a progressive file keeps every coefficient, in 2 bytes, until its last scan.
fn coefficient_bytes(header: &DecompressHeader) -> u64 {
    if !header.is_progressive {
        return 0;
    }
    let pixels = header.width as u64 * header.height as u64;
    let area = (header.subsamp.width() * header.subsamp.height()) as u64;
    let samples = match header.colorspace {
        Colorspace::Gray => pixels,
        Colorspace::CMYK | Colorspace::YCCK => 2 * pixels + 2 * pixels / area,
        Colorspace::RGB | Colorspace::YCbCr => pixels + 2 * pixels / area,
    };
    2 * samples
}

/// Says whether the file ends early or is damaged; libjpeg's own words are the source.
fn failed(encoded: &[u8], error: turbojpeg::Error) -> Error {
    let padding = encoded.iter().rev().take_while(|byte| **byte == 0).count();
    let complete = encoded[..encoded.len() - padding].ends_with(&[0xFF, 0xD9]);
    let early = !complete || error.to_string().to_lowercase().contains("premature end");
    unusable(if early { "truncated JPEG" } else { "damaged JPEG" }).with("bytes", encoded.len()).source(error)
}
