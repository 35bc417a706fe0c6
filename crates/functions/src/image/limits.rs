//! What an image may cost: bounds held against its header, before memory is taken for it.

use forebay_core::{Error, Kind, Result};

use super::unusable;

/// Longest side of a tensor, in pixels. Models take 224 to 1,024; 16,384 leaves room for tiles and maps.
pub const TENSOR_SIDE_MAX: u32 = 16_384;

/// Bytes of one row's tensor. Several rows of several batches are in flight at once, so that one row must stay well below
/// a worker's memory; 256 MiB still holds 4,096 x 4,096 RGB as `float32` (192 MiB).
pub const TENSOR_BYTES_MAX: usize = 256 << 20;

/// Longest side of an encoded image, in pixels: what JPEG and GIF can express. Only PNG and BMP could say more.
pub const SIDE_MAX: u32 = 65_535;

/// Pixels of an encoded image. Cameras reach 60 million; 100 million takes 300 MB as RGB, which is what one row may cost.
pub const PIXELS_MAX: u64 = 100_000_000;

/// Bytes taken while one image is decoded and resized. Holds 100 million pixels as RGBA (400 MB); what needs more a pixel
/// (16-bit samples, progressive JPEG, WebP) is refused with fewer of them. It also covers what a WebP file can make its
/// decoder take by lying about the size of its frame: 16,383 x 16,383 at 1.5 bytes is 403 MB.
pub const WORK_BYTES_MAX: u64 = 512 << 20;

/// Pixels per encoded byte of a JPEG. Huffman coding spends at least one bit on a block of 64 samples, so that a whole file
/// stays under 512; above 1,000 the header promises a picture that the file cannot hold. (Arithmetic coding, which
/// hardly any file uses, could exceed it and is refused then.) Other formats have no such bound: a PNG of one
/// colour is legitimately a thousandth of its pixels, so that only the absolute bounds apply.
pub const JPEG_PIXELS_PER_BYTE_MAX: u64 = 1_000;

/// Scans of a progressive JPEG, each of which costs a pass over all pixels. Encoders write about 10.
pub const JPEG_SCANS_MAX: u32 = 100;

/// Scratch memory kept between batches. Larger images are decoded in memory that is given back after their batch.
pub const SCRATCH_KEEP_BYTES: usize = 64 << 20;

/// Refuses images with too many pixels or too long a side.
pub(super) fn check_size(width: u32, height: u32) -> Result<()> {
    if width == 0 || height == 0 {
        return Err(unusable(format!("{width} x {height} pixels, which is no picture")));
    }
    if width.max(height) > SIDE_MAX {
        return Err(unusable(format!("{width} x {height} pixels, over the limit of {SIDE_MAX} a side")));
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels > PIXELS_MAX {
        return Err(unusable(format!("{width} x {height} pixels, over the limit of {PIXELS_MAX} in all")));
    }
    Ok(())
}

/// Refuses images that would take more than [`WORK_BYTES_MAX`].
pub(super) fn check_work(bytes: u64) -> Result<()> {
    if bytes <= WORK_BYTES_MAX {
        return Ok(());
    }
    Err(unusable(format!("decoding takes {bytes} bytes, over the limit of {WORK_BYTES_MAX}")))
}

/// Makes `buffer` hold `bytes` bytes of unspecified value.
///
/// # Errors
/// `Exhausted` if there is no memory for them.
pub(super) fn reserve(buffer: &mut Vec<u8>, bytes: usize) -> Result<()> {
    if buffer.len() < bytes {
        let more = bytes - buffer.len();
        buffer.try_reserve_exact(more).map_err(|source| {
            Error::new(Kind::Exhausted, "take memory for an image").with("bytes", bytes).source(source)
        })?;
        buffer.resize(bytes, 0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_at_the_limit_pass_and_one_more_does_not() {
        assert!(check_size(10_000, 10_000).is_ok());
        assert!(check_size(10_001, 10_000).is_err());
        assert!(check_size(SIDE_MAX, 1).is_ok());
        assert!(check_size(SIDE_MAX + 1, 1).is_err());
        assert!(check_size(0, 5).is_err());
        assert!(check_work(WORK_BYTES_MAX).is_ok() && check_work(WORK_BYTES_MAX + 1).is_err());
    }
}
