//! PNG, WebP, GIF and BMP, by the `image` crate with its limits set.
//!
//! Of an animation the first frame is decoded, and no other is looked at.

use std::io::{Cursor, ErrorKind};

use ::image::{ColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use forebay_core::{Error, Result};

use super::decode::{Size, Target};
use super::pixels::{Layout, convert};
use super::{limits, unusable};

/// Decodes `encoded` into the start of `pixels`, in `target`'s mode and the file's own size.
pub(super) fn decode(encoded: &[u8], format: ImageFormat, target: Target, pixels: &mut Vec<u8>) -> Result<Size> {
    let name = name(format);
    if format == ImageFormat::Png {
        check_png_size(encoded)?;
    }
    let mut reader = ImageReader::with_format(Cursor::new(encoded), format);
    reader.limits(allowed(limits::WORK_BYTES_MAX));
    let mut decoder = reader.into_decoder().map_err(|error| failed(name, encoded, error))?;
    let (width, height) = decoder.dimensions();
    limits::check_size(width, height)?;
    let size = Size { width: width as usize, height: height as usize };
    let layout = layout(decoder.color_type())?;
    // The buffer also holds the converted pixels, which are wider where grey becomes RGB.
    let bytes = decoder.total_bytes();
    let held = bytes.max(size.pixels() as u64 * target.mode.channels() as u64);
    let own = decoder_bytes(format, encoded) * size.pixels() as u64;
    limits::check_work(held + own + target.resize_bytes(size))?;
    decoder.set_limits(allowed(limits::WORK_BYTES_MAX - bytes)).map_err(|error| failed(name, encoded, error))?;
    let bytes = bytes as usize;
    limits::reserve(pixels, bytes)?;
    decoder.read_image(&mut pixels[..bytes]).map_err(|error| failed(name, encoded, error))?;
    convert(pixels, size.pixels(), layout, target.mode)?;
    Ok(size)
}

/// The format's name as people write it.
pub(super) fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Png => "PNG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Gif => "GIF",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Tiff => "TIFF",
        ImageFormat::Avif => "AVIF",
        ImageFormat::Ico => "ICO",
        other => other.extensions_str().first().copied().unwrap_or("unknown"),
    }
}

fn allowed(bytes: u64) -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(limits::SIDE_MAX);
    limits.max_image_height = Some(limits::SIDE_MAX);
    limits.max_alloc = Some(bytes);
    limits
}

/// Checks the size that a PNG declares in its first 24 bytes: its decoder would first read on to the pixels.
fn check_png_size(encoded: &[u8]) -> Result<()> {
    let side = |place: usize| {
        let bytes = encoded.get(place..place + 4)?;
        bytes.try_into().ok().map(u32::from_be_bytes)
    };
    match (encoded.get(12..16), side(16), side(20)) {
        (Some(b"IHDR"), Some(width), Some(height)) => limits::check_size(width, height),
        _ => Ok(()),
    }
}

/// Bytes a pixel that the decoder takes beside the picture, and that it holds against no limit of ours.
///
/// A still WebP takes up to 4 (RGBA where RGB was asked for); an animation 10, for planes, frame and canvas. The frame
/// that GIF takes is held against the limits by its decoder, and the others work row by row.
fn decoder_bytes(format: ImageFormat, encoded: &[u8]) -> u64 {
    let animated = encoded.get(12..16) == Some(b"VP8X") && encoded.get(20).is_some_and(|flags| flags & 2 != 0);
    match format {
        ImageFormat::WebP if animated => 10,
        ImageFormat::WebP => 4,
        _ => 0,
    }
}

fn layout(color: ColorType) -> Result<Layout> {
    let (channels, wide) = match color {
        ColorType::L8 => (1, false),
        ColorType::La8 => (2, false),
        ColorType::Rgb8 => (3, false),
        ColorType::Rgba8 => (4, false),
        ColorType::L16 => (1, true),
        ColorType::La16 => (2, true),
        ColorType::Rgb16 => (3, true),
        ColorType::Rgba16 => (4, true),
        other => return Err(unusable(format!("unsupported pixels {other:?}"))),
    };
    Ok(Layout { channels, wide })
}

/// Says whether the file ends early, is over a limit, of an unknown kind, or damaged; the decoder's words are the source.
fn failed(name: &str, encoded: &[u8], error: ImageError) -> Error {
    let reason = match &error {
        ImageError::Limits(_) => format!("{name} over the limits"),
        ImageError::Unsupported(_) => format!("unsupported kind of {name}"),
        error if ends_early(error) => format!("truncated {name}"),
        _ => format!("damaged {name}"),
    };
    unusable(reason).with("bytes", encoded.len()).source(error)
}

fn ends_early(error: &ImageError) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return error.kind() == ErrorKind::UnexpectedEof;
        }
        next = error.source();
    }
    false
}
