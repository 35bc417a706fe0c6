//! Audio files made in memory, and one short way to call `decode_audio` on them.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test may stop at anything odd")]

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray};
use arrow::datatypes::{DataType, Field, Float32Type};
use forebay_core::function::{Argument, Evaluated};
use forebay_core::{Kind, Result};

/// Evaluates `name` over a column of files.
pub fn call(name: &str, more: &[Argument], rows: &[Option<&[u8]>]) -> Result<Evaluated> {
    let functions = forebay_functions::functions();
    let function = functions.iter().find(|function| function.name() == name).unwrap();
    let column = Argument::Column(Arc::new(Field::new("sound", DataType::Binary, true)));
    let bound = function.bind(&[&[column], more].concat())?;
    let files: ArrayRef = Arc::new(BinaryArray::from(rows.to_vec()));
    let found = bound.evaluate(&[files], rows.len()).unwrap();
    assert_eq!((found.column.len(), found.column.data_type()), (rows.len(), bound.output().data_type()));
    assert!(found.errors.iter().all(|(row, error)| found.column.is_null(*row) && error.kind() == Kind::Data));
    Ok(found)
}

/// The samples of `file`, at `rate` a second or its own, or the error's whole story.
pub fn samples(file: &[u8], rate: Option<i64>) -> Result<Vec<f32>, String> {
    let found = call("decode_audio", &rate.map(Argument::Int).into_iter().collect::<Vec<_>>(), &[Some(file)]).unwrap();
    match found.errors.first() {
        Some((_, error)) => Err(error.chain()),
        None => Ok(found.column.as_list::<i32>().value(0).as_primitive::<Float32Type>().values().to_vec()),
    }
}

/// The part `fmt ` of a WAV file.
pub fn format(tag: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
    let frame = channels * (bits / 8);
    let mut part = Vec::new();
    part.extend(tag.to_le_bytes());
    part.extend(channels.to_le_bytes());
    part.extend(rate.to_le_bytes());
    part.extend((rate * u32::from(frame)).to_le_bytes());
    part.extend(frame.to_le_bytes());
    part.extend(bits.to_le_bytes());
    part
}

/// A WAV file of `parts`, each with its name.
pub fn riff(parts: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut file = b"RIFF\0\0\0\0WAVE".to_vec();
    for (name, body) in parts {
        file.extend(*name);
        file.extend((body.len() as u32).to_le_bytes());
        file.extend(*body);
        file.extend(vec![0; body.len() % 2]);
    }
    let length = file.len() as u32 - 8;
    file[4..8].copy_from_slice(&length.to_le_bytes());
    file
}

/// A WAV file of 16 bits.
pub fn wav(channels: u16, rate: u32, samples: &[i16]) -> Vec<u8> {
    let data: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    riff(&[(b"fmt ", &format(1, channels, rate, 16)), (b"data", &data)])
}

/// A FLAC file of 16 bits with frames of at most `block` samples a channel, and metadata to be skipped.
pub fn flac(channels: u8, rate: u32, samples: &[i16], block: usize) -> Vec<u8> {
    let channels = usize::from(channels);
    let frames = samples.len() / channels;
    let mut file = b"fLaC".to_vec();
    file.extend([0, 0, 0, 34]);
    file.extend((block as u16).to_be_bytes());
    file.extend((block as u16).to_be_bytes());
    file.extend([0; 6]);
    let packed = u64::from(rate) << 44 | (channels as u64 - 1) << 41 | 15 << 36 | frames as u64;
    file.extend(packed.to_be_bytes());
    file.extend([0; 16]);
    file.extend([4 | 0x80, 0, 0, 3, 1, 2, 3]);
    for (number, frame) in samples.chunks(block * channels).enumerate() {
        file.extend(flac_frame(number as u8, channels, frame));
    }
    file
}

/// One frame whose samples stand as they are, or once where a channel has only one value.
fn flac_frame(number: u8, channels: usize, samples: &[i16]) -> Vec<u8> {
    let mut frame = flac_frame_head(number, channels as u8 - 1, samples.len() as u16 / channels as u16);
    for channel in 0..channels {
        let own: Vec<i16> = samples.iter().skip(channel).step_by(channels).copied().collect();
        if own.iter().all(|sample| *sample == own[0]) {
            frame.push(0);
            frame.extend(own[0].to_be_bytes());
        } else {
            frame.push(0b0000_0010);
            frame.extend(own.iter().flat_map(|sample| sample.to_be_bytes()));
        }
    }
    let check = sum(&frame, 16, 0x8005);
    frame.extend(check.to_be_bytes());
    frame
}

/// What a frame of `length` samples a channel begins with; `assignment` is one less than the channels, or how two share.
pub fn flac_frame_head(number: u8, assignment: u8, length: u16) -> Vec<u8> {
    assert!(number < 128, "one byte");
    let mut head = vec![0xFF, 0xF8, 0x70, assignment << 4 | 0b1000, number];
    head.extend((length - 1).to_be_bytes());
    head.push(sum(&head, 8, 0x07) as u8);
    head
}

/// A cyclic redundancy check of `bits` bits.
fn sum(bytes: &[u8], bits: u32, polynomial: u32) -> u16 {
    let mut sum = 0u32;
    for byte in bytes {
        sum ^= u32::from(*byte) << (bits - 8);
        for _ in 0..8 {
            sum <<= 1;
            if sum >> bits & 1 == 1 {
                sum ^= polynomial | 1 << bits;
            }
        }
    }
    sum as u16
}

/// Samples of a tone of half the loudness.
pub fn tone(hertz: f64, rate: u32, count: usize) -> Vec<i16> {
    let turn = std::f64::consts::TAU * hertz / f64::from(rate);
    (0..count).map(|at| ((turn * at as f64).sin() * 16_384.0).round() as i16).collect()
}
