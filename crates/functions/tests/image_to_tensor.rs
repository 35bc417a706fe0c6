//! `image_to_tensor` against files that are right, odd, broken and hostile.

#![allow(clippy::unwrap_used, reason = "a test may stop at anything odd")]

mod support;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray, LargeBinaryArray};
use arrow::datatypes::{DataType, Field, Float32Type};
use forebay_core::Kind;
use forebay_core::function::Argument;
use forebay_core::types::tensor::TensorType;
use image::codecs::png::{CompressionType, FilterType as PngFilter, PngEncoder};
use image::imageops::FilterType;
use image::{DynamicImage, Frame, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use support::{
    Jpeg, animated_webp, bind, encode, evaluate, jpeg, lie_about_size, png, samples, sized, smooth, tensor, text,
};

/// One picture of one colour, in every way it can be stored; `tolerance` is what the way costs.
#[track_caller]
fn case(file: &[u8], mode: &str, expected: &[u8], tolerance: u8) {
    let tensor = tensor(file, 3, 2, mode).unwrap();
    assert_eq!(tensor.len(), 6 * expected.len());
    for pixel in tensor.chunks(expected.len()) {
        let close = pixel.iter().zip(expected).all(|(got, expected)| got.abs_diff(*expected) <= tolerance);
        assert!(close, "{pixel:?} is not {expected:?}");
    }
}

#[track_caller]
fn refused(file: &[u8], reason: &str) {
    let story = tensor(file, 8, 8, "RGB").unwrap_err();
    assert!(story.contains(reason), "{story:?} does not say {reason:?}");
}

fn solid(width: u32, height: u32, color: [u8; 3]) -> RgbImage {
    RgbImage::from_pixel(width, height, Rgb(color))
}

fn gif(frames: &[[u8; 3]]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = image::codecs::gif::GifEncoder::new(&mut file);
    let frames = frames.iter().map(|[r, g, b]| Frame::new(RgbaImage::from_pixel(9, 7, Rgba([*r, *g, *b, 255]))));
    encoder.encode_frames(frames).unwrap();
    drop(encoder);
    file
}

#[test]
fn every_kind_of_file_becomes_both_modes() {
    let (red, gray) = (solid(9, 7, [250, 20, 10]), solid(9, 7, [90, 90, 90]));
    let rgb = DynamicImage::ImageRgb8(red.clone());
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp] {
        case(&encode(&rgb, format), "RGB", &[250, 20, 10], 0);
        case(&encode(&rgb, format), "L", &[88], 0);
    }
    for kind in [Jpeg::Baseline, Jpeg::Progressive, Jpeg::Cmyk] {
        case(&jpeg(&red, kind), "RGB", &[250, 20, 10], 3);
        case(&jpeg(&red, kind), "l", &[88], 3);
    }
    case(&jpeg(&gray, Jpeg::Gray), "RGB", &[90, 90, 90], 2);
    case(&jpeg(&gray, Jpeg::Gray), "L", &[90], 2);
    let image = DynamicImage::ImageRgb8(gray);
    case(&encode(&DynamicImage::ImageLuma8(image.to_luma8()), ImageFormat::Png), "RGB", &[90, 90, 90], 0);
    case(&encode(&DynamicImage::ImageLumaA16(image.to_luma_alpha16()), ImageFormat::Png), "L", &[90], 0);
    case(&encode(&DynamicImage::ImageRgb16(rgb.to_rgb16()), ImageFormat::Png), "RGB", &[250, 20, 10], 0);
}

#[test]
fn alpha_is_dropped_and_palettes_are_looked_up() {
    let clear = RgbaImage::from_pixel(4, 4, Rgba([10, 200, 30, 0]));
    case(&encode(&DynamicImage::ImageRgba8(clear.clone()), ImageFormat::Png), "RGB", &[10, 200, 30], 0);
    let wide = DynamicImage::ImageRgba8(clear).to_rgba16();
    case(&encode(&DynamicImage::ImageRgba16(wide), ImageFormat::Png), "RGB", &[10, 200, 30], 0);
    // Two rows of two one-byte places in a palette of two colours.
    let palette = png(2, 2, 8, 3, &[1, 2, 3, 200, 100, 50], &[0, 1, 1, 0, 1, 1]);
    case(&palette, "RGB", &[200, 100, 50], 0);
    let bits = png(2, 1, 1, 0, &[], &[0, 0b1100_0000]);
    case(&bits, "L", &[255], 0);
}

#[test]
fn an_animation_is_its_first_frame() {
    case(&gif(&[[200, 0, 0], [0, 200, 0]]), "RGB", &[200, 0, 0], 2);
    let webp = animated_webp(&[solid(6, 4, [1, 90, 9]), solid(6, 4, [9, 9, 200])]);
    // The decoder blends a frame onto the canvas, which rounds.
    case(&webp, "RGB", &[1, 90, 9], 1);
}

#[test]
fn smallest_and_longest_sides_work() {
    let dot = encode(&DynamicImage::ImageRgb8(solid(1, 1, [7, 8, 9])), ImageFormat::Png);
    assert_eq!(tensor(&dot, 1, 1, "RGB").unwrap(), [7, 8, 9]);
    assert_eq!(tensor(&dot, 16_384, 1, "L").unwrap(), vec![8; 16_384]);
    assert_eq!(tensor(&dot, 1, 16_384, "RGB").unwrap().len(), 16_384 * 3);
    let long = png(65_000, 1, 1, 0, &[], &vec![0; 1 + 65_000 / 8]);
    assert_eq!(tensor(&long, 2, 3, "L").unwrap(), [0; 6]);
}

#[test]
fn bad_rows_are_null_and_reported_and_their_neighbours_are_not_touched() {
    let good = jpeg(&solid(40, 30, [0, 128, 255]), Jpeg::Baseline);
    let bound = bind(&sized(4, 4)).unwrap();
    let rows: Vec<Option<&[u8]>> =
        vec![Some(&good), None, Some(b"hello, world"), Some(b""), Some(&good[..200]), Some(&good)];
    let evaluated = evaluate(bound.as_ref(), &rows);
    let places: Vec<usize> = evaluated.errors.iter().map(|(row, _)| *row).collect();
    assert_eq!(places, [2, 3, 4]);
    assert!(evaluated.errors.iter().all(|(_, error)| error.kind() == Kind::Data));
    let tensors = evaluated.column.as_fixed_size_list();
    let nulls: Vec<bool> = (0..rows.len()).map(|row| tensors.is_null(row)).collect();
    assert_eq!(nulls, [false, true, true, true, true, false]);
    assert_eq!(samples(tensors, 0), samples(tensors, 5));
    assert_eq!(tensors.values().len(), rows.len() * 48, "one buffer holds the whole batch");
    assert_eq!(evaluate(bound.as_ref(), &[]).column.len(), 0);
}

#[test]
fn reasons_say_what_is_wrong() {
    refused(b"", "empty value");
    refused(b"hello, world", "not an image: it starts with the bytes 68 65 6c 6c 6f 2c 20 77");
    refused(b"\xff", "not an image: it starts with the bytes ff");
    refused(b"II*\0........", "unsupported format TIFF; JPEG, PNG, WebP, GIF and BMP are supported");
    let mut damaged = jpeg(&smooth(64, 64), Jpeg::Baseline);
    let tables = damaged.windows(2).position(|pair| pair == [0xFF, 0xC4]).unwrap();
    damaged[tables + 5..tables + 21].fill(0xFF);
    refused(&damaged, "damaged JPEG");
}

#[test]
fn files_cut_anywhere_are_truncated_and_never_half_a_picture() {
    for kind in [Jpeg::Baseline, Jpeg::Progressive, Jpeg::Gray, Jpeg::Cmyk] {
        let file = jpeg(&smooth(320, 240), kind);
        for length in [4, 25, 100, 300, file.len() / 2, file.len() * 9 / 10, file.len() - 20, file.len() - 2] {
            refused(&file[..length], "truncated JPEG");
        }
    }
    let picture = DynamicImage::ImageRgb8(smooth(64, 48));
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Gif] {
        let file = encode(&picture, format);
        for length in [20, file.len() / 2, file.len() * 9 / 10] {
            let story = tensor(&file[..length], 8, 8, "RGB").unwrap_err();
            assert!(story.contains("truncated") || story.contains("damaged"), "{format:?} cut at {length}: {story}");
        }
    }
}

#[test]
fn sizes_are_refused_by_the_header_alone() {
    refused(&png(50_000, 50_000, 8, 2, &[], &[0]), "50000 x 50000 pixels, over the limit of 100000000 in all");
    refused(&png(50_000, 50_000, 8, 2, &[], &[0])[..33], "50000 x 50000 pixels");
    refused(&png(1 << 30, 1, 8, 2, &[], &[0]), "1073741824 x 1 pixels, over the limit of 65535 a side");
    refused(&png(9_000, 9_000, 16, 6, &[], &[0]), "decoding takes 648");
    let mut webp = animated_webp(&[solid(6, 4, [1, 90, 9])]);
    webp[24..30].copy_from_slice(&[0x87, 0x13, 0, 0x27, 0x23, 0]);
    refused(&webp, "decoding takes 585");
    let small = jpeg(&smooth(64, 64), Jpeg::Baseline);
    refused(&lie_about_size(&small, 20_000, 20_000), "20000 x 20000 pixels, over the limit");
    refused(&lie_about_size(&small, 9_000, 9_000), "bytes cannot hold 81000000 pixels");
    let mut bmp = encode(&DynamicImage::ImageRgb8(smooth(4, 4)), ImageFormat::Bmp);
    bmp[18..26].copy_from_slice(&[0x50, 0xC3, 0, 0, 0x50, 0xC3, 0, 0]);
    refused(&bmp, "50000 x 50000 pixels, over the limit");
    let mut animation = gif(&[[1, 2, 3]]);
    animation[6..10].copy_from_slice(&[0x50, 0xC3, 0x50, 0xC3]);
    refused(&animation, "50000 x 50000 pixels, over the limit");
}

#[test]
fn a_picture_of_one_colour_is_no_bomb() {
    let mut file = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut file, CompressionType::Best, PngFilter::NoFilter);
    solid(3_000, 3_000, [5, 6, 7]).write_with_encoder(encoder).unwrap();
    assert!(file.len() * 800 < 27_000_000, "{} bytes", file.len());
    assert_eq!(tensor(&file, 1, 1, "RGB").unwrap(), [5, 6, 7]);
}

/// Largest and mean distance of two tensors.
fn distance(left: &[u8], right: &[u8]) -> (u8, f64) {
    assert_eq!(left.len(), right.len());
    let distances: Vec<u8> = left.iter().zip(right).map(|(left, right)| left.abs_diff(*right)).collect();
    let mean = distances.iter().map(|distance| f64::from(*distance)).sum::<f64>() / distances.len() as f64;
    (distances.iter().copied().max().unwrap(), mean)
}

#[test]
fn resizing_agrees_with_the_image_crate() {
    let picture = smooth(500, 375);
    for (width, height) in [(224u32, 224u32), (499, 10), (375, 375), (700, 600), (1, 1)] {
        let expected = image::imageops::resize(&picture, width, height, FilterType::Triangle);
        let lossless = encode(&DynamicImage::ImageRgb8(picture.clone()), ImageFormat::Png);
        let got = tensor(&lossless, width.into(), height.into(), "RGB").unwrap();
        let (most, mean) = distance(&got, expected.as_raw());
        assert!(most <= 1, "PNG to {width} x {height}: {most}, {mean}");
        for kind in [Jpeg::Baseline, Jpeg::Progressive] {
            let got = tensor(&jpeg(&picture, kind), width.into(), height.into(), "RGB").unwrap();
            let (most, mean) = distance(&got, expected.as_raw());
            assert!(most <= 6 && mean < 1.0, "JPEG to {width} x {height}: {most}, {mean}");
        }
    }
}

#[test]
fn axes_are_height_width_channels() {
    let mut picture = solid(2, 3, [0, 0, 0]);
    picture.put_pixel(1, 2, Rgb([9, 8, 7]));
    let tensor = tensor(&encode(&DynamicImage::ImageRgb8(picture), ImageFormat::Png), 2, 3, "RGB").unwrap();
    assert_eq!(tensor[(2 * 2 + 1) * 3..], [9, 8, 7]);
    assert!(tensor[..15].iter().all(|sample| *sample == 0));
    let output = bind(&sized(2, 3)).unwrap().output();
    assert_eq!(TensorType::of(&output), Some(TensorType::new(DataType::UInt8, [3, 2, 3])));
    assert!(output.is_nullable());
}

#[test]
fn float_tensors_are_scaled_and_normalised() {
    let file = encode(&DynamicImage::ImageRgb8(solid(2, 2, [0, 51, 255])), ImageFormat::Png);
    let check = |arguments: &[Argument], expected: [f32; 3]| {
        let bound = bind(&[&sized(1, 1)[..], &[text("RGB"), text("float32")], arguments].concat()).unwrap();
        let evaluated = evaluate(bound.as_ref(), &[Some(&file), None]);
        let values = evaluated.column.as_fixed_size_list().values().as_primitive::<Float32Type>().values().to_vec();
        assert_eq!(values[..3], expected);
        assert_eq!(values[3..], [0.0; 3]);
        assert_eq!(TensorType::of(&bound.output()), Some(TensorType::new(DataType::Float32, [1, 1, 3])));
    };
    check(&[], [0.0, 0.2, 1.0]);
    check(&[Argument::Float(0.5)], [-0.5, 0.2 - 0.5, 0.5]);
    check(&[Argument::Float(0.5), Argument::Float(0.25)], [-2.0, (0.2 - 0.5) / 0.25, 2.0]);
    check(&[Argument::Int(0), Argument::Int(2)], [0.0, 0.1, 0.5]);
}

#[test]
fn every_byte_column_is_read() {
    let file = encode(&DynamicImage::ImageRgb8(solid(2, 2, [4, 5, 6])), ImageFormat::Png);
    let rows = vec![Some(&file[..]), None];
    let columns: [ArrayRef; 2] =
        [Arc::new(LargeBinaryArray::from(rows.clone())), Arc::new(rows.into_iter().collect::<BinaryViewArray>())];
    for column in columns {
        let field = Arc::new(Field::new("photo", column.data_type().clone(), true));
        let arguments = [vec![Argument::Column(field)], sized(1, 1)].concat();
        let bound = forebay_functions::functions()[0].bind(&arguments).unwrap();
        let evaluated = bound.evaluate(&[column], 2).unwrap();
        assert_eq!(samples(evaluated.column.as_fixed_size_list(), 0), [4, 5, 6]);
        assert!(evaluated.column.is_null(1) && evaluated.errors.is_empty());
    }
}

#[test]
fn wrong_arguments_are_named() {
    let case = |arguments: &[Argument], expected: &str| {
        let error = bind(arguments).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        let shown = error.to_string();
        assert!(shown.contains(expected), "{shown:?} does not say {expected:?}");
        assert!(shown.starts_with("call image_to_tensor(image, width, height"), "{shown:?}");
    };
    let with = |more: &[Argument]| [&sized(8, 8)[..], more].concat();
    case(&[], "arguments=1, accepted=3 to 7");
    case(&sized(0, 8), "argument=width, given=0, accepted=a whole number in 1..=16384");
    case(&sized(8, 16_385), "argument=height, given=16385");
    case(&sized(8, -1), "argument=height, given=-1");
    case(&[Argument::Float(8.0), Argument::Int(8)], "argument=width, given=8");
    case(&with(&[text("BGR")]), "argument=mode, given='BGR', accepted='RGB' or 'L'");
    case(&with(&[text("RGB"), text("float16")]), "argument=dtype, given='float16', accepted='uint8' or 'float32'");
    case(&with(&[text("RGB"), text("uint8"), Argument::Float(0.5)]), "argument=mean");
    case(&with(&[text("RGB"), text("float32"), text("x")]), "argument=mean, given='x'");
    let std = |value| with(&[text("RGB"), text("float32"), Argument::Float(0.5), value]);
    case(&std(Argument::Float(0.0)), "argument=std, given=0, accepted=a number above 0");
    case(&std(Argument::Float(f64::NAN)), "argument=std, given=NaN");
    case(&sized(16_384, 16_384), "sides whose tensor takes at most 268435456 bytes");
    let name = Argument::Column(Arc::new(Field::new("name", DataType::Utf8, true)));
    let error = forebay_functions::functions()[0].bind(&[vec![name], sized(8, 8)].concat()).unwrap_err();
    assert!(error.to_string().contains("argument=image, given=column name of type Utf8"), "{error}");
}

#[test]
fn what_is_in_a_shrunk_jpeg_stays_where_it_was() {
    // 224.125 pixels at an eighth: libjpeg makes 225 of them.
    let (width, edge) = (1793, 1680);
    let picture = RgbImage::from_fn(width, 64, |x, _| Rgb([if x < edge { 0 } else { 255 }; 3]));
    for kind in [Jpeg::Baseline, Jpeg::Progressive] {
        let row = &tensor(&jpeg(&picture, kind), 224, 8, "L").unwrap()[..224];
        let white = row.iter().map(|value| f64::from(*value)).sum::<f64>() / 255.0;
        let expected = f64::from(width - edge) * 224.0 / f64::from(width);
        assert!((white - expected).abs() < 0.1, "{white} columns are white, not {expected}");
    }
    let corner = RgbImage::from_fn(9, 9, |x, _| Rgb([if x < 8 { 0 } else { 255 }; 3]));
    let mean = tensor(&jpeg(&corner, Jpeg::Baseline), 1, 1, "L").unwrap()[0];
    assert!(mean.abs_diff(28) < 12, "{mean}: a ninth of it is white");
}
