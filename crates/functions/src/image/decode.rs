//! One encoded file to one tensor's worth of pixels: picks the decoder, decodes, resizes.
//!
//! All memory is reused from file to file; [`Scratch`] belongs to one thread at a time.

use ::image::ImageFormat;
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use forebay_core::{Error, Kind, Result};

use super::jpeg::JpegDecoder;
use super::pixels::Mode;
use super::{limits, raster, unusable};
use crate::bytes::beginning;

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) width: usize,
    pub(super) height: usize,
}

/// Decoded pixels, and how much of them is the picture: a shrunk one ends within its last column and row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decoded {
    pub(super) size: Size,
    /// Above `size.width - 1`, at most that wide.
    pub(super) width: f64,
    pub(super) height: f64,
}

/// The tensor asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) size: Size,
    pub(super) mode: Mode,
}

/// Decoder, resizer and their memory.
pub(super) struct Scratch {
    jpeg: JpegDecoder,
    resizer: Resizer,
    pixels: Vec<u8>,
    /// Pixels of one tensor, for callers that convert them to another type.
    pub(super) resized: Vec<u8>,
}

// === impl Size ===

impl Size {
    pub(super) fn pixels(self) -> usize {
        self.width * self.height
    }
}

// === impl Decoded ===

impl Decoded {
    /// A picture of whole pixels.
    pub(super) fn whole(size: Size) -> Self {
        Self { size, width: size.width as f64, height: size.height as f64 }
    }
}

// === impl Target ===

impl Target {
    /// Values of one tensor.
    pub(super) fn values(self) -> usize {
        self.size.pixels() * self.mode.channels()
    }

    /// Bytes the resizer holds between its two passes: the vertical one comes first.
    pub(super) fn resize_bytes(self, from: Size) -> u64 {
        (from.width * self.size.height * self.mode.channels()) as u64
    }
}

// === impl Scratch ===

impl Scratch {
    /// Without memory, which the first images take.
    pub(super) fn new() -> Result<Self> {
        Ok(Self { jpeg: JpegDecoder::new()?, resizer: Resizer::new(), pixels: Vec::new(), resized: Vec::new() })
    }

    /// Decodes `encoded` and resizes it to `target`, into `out` of `target.values()` values.
    ///
    /// # Errors
    /// `Data` with the reason if `encoded` is no usable image; `out` is untouched then.
    pub(super) fn decode_into(&mut self, encoded: &[u8], target: Target, out: &mut [u8]) -> Result<()> {
        let decoded = match format(encoded)? {
            ImageFormat::Jpeg => self.jpeg.decode(encoded, target, &mut self.pixels)?,
            format => Decoded::whole(raster::decode(encoded, format, target, &mut self.pixels)?),
        };
        self.resize(decoded, target, out)
    }

    /// The same as [`Scratch::decode_into`], into [`Scratch::resized`].
    pub(super) fn decode(&mut self, encoded: &[u8], target: Target) -> Result<()> {
        let mut resized = std::mem::take(&mut self.resized);
        resized.resize(target.values(), 0);
        let decoded = self.decode_into(encoded, target, &mut resized);
        self.resized = resized;
        decoded
    }

    /// Gives memory back that only unusually large images need.
    pub(super) fn trim(&mut self) {
        if self.pixels.capacity() > limits::SCRATCH_KEEP_BYTES {
            self.pixels = Vec::new();
        }
        if self.resizer.size_of_internal_buffers() > limits::SCRATCH_KEEP_BYTES {
            self.resizer.reset_internal_buffers();
        }
    }

    /// Resizes with a triangle as wide as the shrinking asks for, so that nothing aliases.
    fn resize(&mut self, decoded: Decoded, target: Target, out: &mut [u8]) -> Result<()> {
        let from = decoded.size;
        let kind = match target.mode {
            Mode::Rgb => PixelType::U8x3,
            Mode::L => PixelType::U8,
        };
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        let options = options.crop(0.0, 0.0, decoded.width, decoded.height);
        let bytes = from.pixels() * target.mode.channels();
        let side = |side: usize| u32::try_from(side).expect("sides are held against the limits");
        let source = ImageRef::new(side(from.width), side(from.height), &self.pixels[..bytes], kind);
        let tensor = Image::from_slice_u8(side(target.size.width), side(target.size.height), out, kind);
        let (source, mut tensor) = source.and_then(|source| Ok((source, tensor?))).map_err(unsized_buffer)?;
        self.resizer.resize(&source, &mut tensor, &options).map_err(unsized_buffer)
    }
}

fn unsized_buffer(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(Kind::Internal, "resize image").source(source)
}

/// The format that the first bytes announce, if it is one of those decoded here.
fn format(encoded: &[u8]) -> Result<ImageFormat> {
    if encoded.is_empty() {
        return Err(unusable("empty value"));
    }
    let Ok(format) = ::image::guess_format(encoded) else {
        let reason = format!("not an image: it starts with the bytes {}", beginning(encoded));
        return Err(unusable(reason).with("bytes", encoded.len()));
    };
    match format {
        ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP | ImageFormat::Gif | ImageFormat::Bmp => Ok(format),
        other => {
            let name = raster::name(other);
            Err(unusable(format!("unsupported format {name}; JPEG, PNG, WebP, GIF and BMP are supported")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_over_the_limits_take_no_memory() {
        // The first 33 bytes of a PNG of 50,000 x 50,000 pixels, and a JPEG's frame header of as many.
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xc3\x50\0\0\xc3\x50\x08\x02\0\0\0".to_vec();
        png.extend([0; 4]);
        let mut jpeg = b"\xff\xd8\xff\xc0\0\x0b\x08\xc3\x50\xc3\x50\x01\x01\x11\0".to_vec();
        jpeg.extend(b"\xff\xda\0\x08\x01\x01\0\0\x3f\0");
        let target = Target { size: Size { width: 2, height: 2 }, mode: Mode::Rgb };
        let mut scratch = Scratch::new().unwrap();
        for file in [png, jpeg] {
            let story = scratch.decode_into(&file, target, &mut [0; 12]).unwrap_err().chain();
            assert!(story.contains("50000 x 50000 pixels, over the limit"), "{story}");
        }
        assert_eq!((scratch.pixels.capacity(), scratch.resizer.size_of_internal_buffers()), (0, 0));
    }

    #[test]
    fn memory_for_one_large_image_is_given_back() {
        let mut scratch = Scratch::new().unwrap();
        limits::reserve(&mut scratch.pixels, limits::SCRATCH_KEEP_BYTES).unwrap();
        scratch.trim();
        assert!(scratch.pixels.capacity() > 0);
        limits::reserve(&mut scratch.pixels, limits::SCRATCH_KEEP_BYTES + 1).unwrap();
        scratch.trim();
        assert_eq!(scratch.pixels.capacity(), 0);
    }
}
