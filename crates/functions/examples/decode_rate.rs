//! Images a second of `image_to_tensor` on one core: JPEGs made in memory, 500 x 375 to 224 x 224 RGB.
//!
//! `cargo run --example decode_rate [-- WIDTH HEIGHT]`; the arguments are the files' size. Time is what the thread spent on a
//! processor, as Linux counts it, so that others on the machine disturb it little; the best and the median of several rounds
//! are printed, and how much memory the rounds added.

#![allow(clippy::unwrap_used, reason = "a measurement may stop at anything odd")]

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray};
use forebay_core::function::{Argument, BoundFunction};
use forebay_core::types::image_field;

const FILES: usize = 32;
const ROUNDS: usize = 20;

fn main() {
    let sides: Vec<usize> = std::env::args().skip(1).map(|side| side.parse().unwrap()).collect();
    let (width, height) = (sides.first().copied().unwrap_or(500), sides.get(1).copied().unwrap_or(375));
    let files: Vec<Vec<u8>> = (0..FILES).map(|seed| jpeg(width, height, seed)).collect();
    let mean = files.iter().map(Vec::len).sum::<usize>() / FILES;
    println!("{FILES} JPEGs of {width} x {height}, 4:2:0, quality 85, mean {mean} bytes");
    let column: ArrayRef = Arc::new(BinaryArray::from_iter_values(&files));
    measure("uint8", &bind(&[]), &column);
    let float = ["RGB", "float32"].map(|text| Argument::Text(text.to_string()));
    measure("float32", &bind(&float), &column);
    measure(
        "float32, mean and std",
        &bind(&[&float[..], &[Argument::Float(0.45), Argument::Float(0.225)]].concat()),
        &column,
    );
}

fn bind(more: &[Argument]) -> Arc<dyn BoundFunction> {
    let mut arguments = vec![Argument::Column(Arc::new(image_field("photo", false)))];
    arguments.extend([Argument::Int(224), Argument::Int(224)]);
    arguments.extend_from_slice(more);
    forebay_functions::functions()[0].bind(&arguments).unwrap()
}

fn measure(name: &str, bound: &Arc<dyn BoundFunction>, column: &ArrayRef) {
    let round = || {
        let start = cpu_seconds();
        let evaluated = bound.evaluate(std::slice::from_ref(column), column.len()).unwrap();
        assert!(evaluated.errors.is_empty());
        cpu_seconds() - start
    };
    round();
    let before = peak_kib();
    let mut seconds: Vec<f64> = (0..ROUNDS).map(|_| round()).collect();
    seconds.sort_by(f64::total_cmp);
    let rate = |seconds: f64| FILES as f64 / seconds;
    let (best, median, grown) = (rate(seconds[0]), rate(seconds[ROUNDS / 2]), peak_kib() - before);
    println!("{name}: best {best:.0} images/s, median {median:.0}; peak memory grew {grown} KiB over {ROUNDS} rounds");
}

/// A picture with edges and grain, about as hard to decode as a photograph.
fn jpeg(width: usize, height: usize, seed: usize) -> Vec<u8> {
    let mut grain = seed as u32 * 7_919 + 1;
    let mut pixels = Vec::with_capacity(width * height * 3);
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        grain = grain.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = (grain >> 28) as f64 * 2.0;
        let (fx, fy) = (x as f64 / width as f64, y as f64 / height as f64);
        let edge = if (x / 37 + y / 29 + seed).is_multiple_of(2) { 40.0 } else { 0.0 };
        for phase in [0.0, 1.5, 3.0] {
            let wave = ((fx * 9.0 + fy * 6.0 + phase + seed as f64).sin() + 1.0) * 80.0;
            pixels.push((wave + edge + noise) as u8);
        }
    }
    let image =
        turbojpeg::Image { pixels: &pixels[..], width, pitch: width * 3, height, format: turbojpeg::PixelFormat::RGB };
    turbojpeg::compress(image, 85, turbojpeg::Subsamp::Sub2x2).unwrap().to_vec()
}

/// Seconds this thread spent on a processor.
fn cpu_seconds() -> f64 {
    let counts = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    counts.split_whitespace().next().unwrap().parse::<u64>().unwrap() as f64 / 1e9
}

/// The process's largest resident size so far; 0 where the system does not say.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}
