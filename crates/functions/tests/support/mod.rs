//! Image files made in memory, and one short way to call `image_to_tensor` on them.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test may stop at anything odd")]

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, FixedSizeListArray};
use arrow::datatypes::UInt8Type;
use forebay_core::Result;
use forebay_core::function::{Argument, BoundFunction, Evaluated};
use forebay_core::types::image_field;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

/// Binds `image_to_tensor` to a column of images and `arguments`.
pub fn bind(arguments: &[Argument]) -> Result<Arc<dyn BoundFunction>> {
    let mut all = vec![Argument::Column(Arc::new(image_field("photo", true)))];
    all.extend_from_slice(arguments);
    let functions = forebay_functions::functions();
    let function = functions.iter().find(|function| function.name() == "image_to_tensor").unwrap();
    function.bind(&all)
}

pub fn sized(width: i64, height: i64) -> Vec<Argument> {
    vec![Argument::Int(width), Argument::Int(height)]
}

pub fn text(value: &str) -> Argument {
    Argument::Text(value.to_string())
}

pub fn evaluate(bound: &dyn BoundFunction, rows: &[Option<&[u8]>]) -> Evaluated {
    let column: ArrayRef = Arc::new(BinaryArray::from(rows.to_vec()));
    let evaluated = bound.evaluate(&[column], rows.len()).unwrap();
    assert_eq!(evaluated.column.len(), rows.len());
    assert_eq!(evaluated.column.data_type(), bound.output().data_type());
    for (row, _) in &evaluated.errors {
        assert!(evaluated.column.is_null(*row), "a row in error is null");
    }
    evaluated
}

/// The tensor of `file`, 8-bit, or the error's whole story.
pub fn tensor(file: &[u8], width: i64, height: i64, mode: &str) -> Result<Vec<u8>, String> {
    let bound = bind(&[sized(width, height), vec![text(mode)]].concat()).unwrap();
    let evaluated = evaluate(bound.as_ref(), &[Some(file)]);
    match evaluated.errors.first() {
        Some((_, error)) => Err(error.chain()),
        None => Ok(samples(evaluated.column.as_fixed_size_list(), 0)),
    }
}

pub fn samples(tensors: &FixedSizeListArray, row: usize) -> Vec<u8> {
    tensors.value(row).as_primitive::<UInt8Type>().values().to_vec()
}

/// A smooth picture: every channel changes slowly, so that resizers and JPEG agree on it.
pub fn smooth(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let (x, y) = (f64::from(x) / f64::from(width), f64::from(y) / f64::from(height));
        let wave = |phase: f64| ((((x * 3.0 + y * 2.0 + phase).sin() + 1.0) * 110.0) + 15.0) as u8;
        Rgb([wave(0.0), wave(1.5), wave(3.0)])
    })
}

pub fn encode(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, format).unwrap();
    file.into_inner()
}

/// How [`jpeg`] writes its picture.
#[derive(Clone, Copy, PartialEq)]
pub enum Jpeg {
    Baseline,
    Progressive,
    Gray,
    Cmyk,
}

pub fn jpeg(picture: &RgbImage, kind: Jpeg) -> Vec<u8> {
    let mut compressor = turbojpeg::Compressor::new().unwrap();
    compressor.set_quality(92).unwrap();
    compressor.set_subsamp(turbojpeg::Subsamp::Sub2x2).unwrap();
    compressor.set_progressive(kind == Jpeg::Progressive).unwrap();
    let (mut format, mut pixels) = (turbojpeg::PixelFormat::RGB, picture.as_raw().clone());
    if kind == Jpeg::Gray {
        compressor.set_subsamp(turbojpeg::Subsamp::Gray).unwrap();
    }
    if kind == Jpeg::Cmyk {
        // Inverted, without black ink: 255 of the fourth channel.
        format = turbojpeg::PixelFormat::CMYK;
        pixels = picture.pixels().flat_map(|Rgb([r, g, b])| [*r, *g, *b, 255]).collect();
    }
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let image = turbojpeg::Image { pixels: &pixels[..], width, pitch: width * format.size(), height, format };
    compressor.compress_to_vec(image).unwrap()
}

/// Writes other sides into a JPEG's frame header.
pub fn lie_about_size(jpeg: &[u8], width: u16, height: u16) -> Vec<u8> {
    let mut file = jpeg.to_vec();
    let frame = file.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    file[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    file[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    file
}

/// A PNG from its parts: `rows` are the filtered rows, uncompressed; `palette` may be empty.
pub fn png(width: u32, height: u32, depth: u8, color: u8, palette: &[u8], rows: &[u8]) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let sides = [width.to_be_bytes(), height.to_be_bytes()].concat();
    chunk(&mut file, b"IHDR", &[&sides[..], &[depth, color, 0, 0, 0]].concat());
    if !palette.is_empty() {
        chunk(&mut file, b"PLTE", palette);
    }
    let length = u16::try_from(rows.len()).unwrap();
    let (mut low, mut high) = (1u32, 0u32);
    for byte in rows {
        low = (low + u32::from(*byte)) % 65_521;
        high = (high + low) % 65_521;
    }
    let stored = [&[0x78, 0x01, 0x01], &length.to_le_bytes()[..], &(!length).to_le_bytes()[..], rows].concat();
    chunk(&mut file, b"IDAT", &[stored, ((high << 16) | low).to_be_bytes().to_vec()].concat());
    chunk(&mut file, b"IEND", &[]);
    file
}

fn chunk(file: &mut Vec<u8>, name: &[u8; 4], body: &[u8]) {
    let content = [&name[..], body].concat();
    let mut crc = u32::MAX;
    for byte in &content {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    file.extend_from_slice(&(body.len() as u32).to_be_bytes());
    file.extend_from_slice(&content);
    file.extend_from_slice(&(!crc).to_be_bytes());
}

/// An animated WebP of `frames`, all of one size.
pub fn animated_webp(frames: &[RgbImage]) -> Vec<u8> {
    let stills = frames.iter().map(|frame| {
        let still = encode(&DynamicImage::ImageRgb8(frame.clone()), ImageFormat::WebP);
        let at = still.windows(4).position(|name| name == b"VP8L").unwrap();
        still[at..].to_vec()
    });
    animation(frames[0].width(), frames[0].height(), stills)
}

/// An animated WebP of 2 x 2 pixels whose only frame is 64 x 64: alpha for the one, a lossy picture of the other.
pub fn lying_webp() -> Vec<u8> {
    let alpha = riff(b"ALPH", &[0, 255, 255, 255, 255]);
    let first_part = 64u32;
    let tag = ((first_part << 5) | 0x10).to_le_bytes();
    let picture = [&tag[..3], &[0x9D, 0x01, 0x2A, 64, 0, 64, 0], &[0; 512]].concat();
    animation(2, 2, std::iter::once([alpha, riff(b"VP8 ", &picture)].concat()))
}

fn animation(width: u32, height: u32, frames: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let three = |value: u32| value.to_le_bytes()[..3].to_vec();
    let sides = [three(width - 1), three(height - 1)].concat();
    let mut body = b"WEBP".to_vec();
    body.extend(riff(b"VP8X", &[&[0x02, 0, 0, 0][..], &sides].concat()));
    body.extend(riff(b"ANIM", &[0; 6]));
    for frame in frames {
        let place_and_time = [&[0; 6][..], &sides, &three(100), &[0]].concat();
        body.extend(riff(b"ANMF", &[&place_and_time[..], &frame].concat()));
    }
    riff(b"RIFF", &body)
}

fn riff(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let padding = vec![0; body.len() % 2];
    [&name[..], &(body.len() as u32).to_le_bytes()[..], body, &padding].concat()
}
