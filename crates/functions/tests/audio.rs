//! `decode_audio` and `audio_metadata`: samples of every encoding, other rates, and what is refused with which reason.

mod recordings;

use std::f64::consts::PI;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray, LargeBinaryArray};
use arrow::datatypes::{DataType, Field, Float32Type};
use arrow::util::display::array_value_to_string;
use forebay_core::Kind;
use forebay_core::function::Argument;
use proptest::prelude::*;
use recordings::{call, flac, format, riff, samples, tone, wav};

fn close(found: &[f32], expected: &[f64], room: f64) {
    assert_eq!(found.len(), expected.len());
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(*found) - expected).abs() <= room, "{at}: {found}, not {expected}");
    }
}

#[test]
fn every_encoding_of_wav_is_read() {
    let case = |tag: u16, bits: u16, data: &[u8], expected: &[f32]| {
        let file = riff(&[(b"fmt ", &format(tag, 1, 8_000, bits)), (b"data", data)]);
        assert_eq!(samples(&file, None).unwrap(), expected, "{tag} with {bits} bits");
        let mut extensible = format(0xFFFE, 1, 8_000, bits);
        extensible.extend([22, 0, bits as u8, 0, 4, 0, 0, 0, tag as u8, 0]);
        extensible.extend([0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71]);
        let file = riff(&[(b"JUNK", &[1, 2, 3]), (b"fmt ", &extensible), (b"LIST", &[0; 7]), (b"data", data)]);
        assert_eq!(samples(&file, None).unwrap(), expected, "extensible {tag} with {bits} bits");
    };
    case(1, 8, &[0, 64, 128, 255], &[-1.0, -0.5, 0.0, 127.0 / 128.0]);
    case(1, 16, &[0, 0x80, 0, 0x40, 0xFF, 0xFF], &[-1.0, 0.5, -1.0 / 32_768.0]);
    case(1, 24, &[0, 0, 0x80, 0, 0, 0x40, 1, 0, 0], &[-1.0, 0.5, 1.0 / 8_388_608.0]);
    case(1, 32, &[0, 0, 0, 0x80, 0, 0, 0, 0x40], &[-1.0, 0.5]);
    case(3, 32, &[1.5f32.to_le_bytes(), (-0.25f32).to_le_bytes()].concat(), &[1.5, -0.25]);
    case(3, 64, &[0.5f64.to_le_bytes(), (-1.0f64).to_le_bytes()].concat(), &[0.5, -1.0]);
    case(1, 16, &[], &[]);
}

#[test]
fn channels_are_mixed_by_their_mean() {
    let stereo = [16_384, 0, -16_384, -16_384, 8_192, -8_192];
    for file in [wav(2, 8_000, &stereo), flac(2, 8_000, &stereo, 2), flac(2, 8_000, &stereo, 3)] {
        assert_eq!(samples(&file, None).unwrap(), [0.25, -0.5, 0.0]);
    }
}

#[test]
fn flac_and_wav_give_the_same_samples() {
    for channels in [1, 2, 6] {
        let recorded = tone(440.0, 16_000, 6_000);
        let expected = samples(&wav(channels, 16_000, &recorded), None).unwrap();
        for block in [64, 1_000, 65_535] {
            let file = flac(channels as u8, 16_000, &recorded, block);
            assert_eq!(samples(&file, None).unwrap(), expected, "{channels} channels, {block} a block");
            assert_eq!(samples(&file, Some(8_000)), samples(&wav(channels, 16_000, &recorded), Some(8_000)));
        }
    }
}

#[test]
fn a_stream_without_a_length_is_read_to_its_end() {
    let mut file = wav(1, 8_000, &[1, 2, 3]);
    let data = file.len() - 6;
    file[data - 4..data].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(samples(&file, None).unwrap().len(), 3);
    let mut file = flac(1, 8_000, &[1, 2, 3], 16);
    file[21] &= 0xF0;
    file[22..26].copy_from_slice(&[0; 4]);
    assert_eq!(samples(&file, None).unwrap().len(), 3);
    let shown = |file: &[u8]| array_value_to_string(&call("audio_metadata", &[], &[Some(file)]).unwrap().column, 0);
    assert!(shown(&file).unwrap().contains("frames: , duration_seconds: }"));
}

#[test]
fn tags_behind_the_last_frame_are_no_damage() {
    let recorded = tone(440.0, 8_000, 300);
    for whole in [flac(1, 8_000, &recorded, 100), wav(1, 8_000, &recorded)] {
        let tagged = [&whole[..], b"TAG and more"].concat();
        assert_eq!(samples(&tagged, None).unwrap(), samples(&whole, None).unwrap());
    }
}

/// `torchaudio.functional.resample` with its defaults, as one sum over all samples.
fn resampled(samples: &[f32], from: u32, to: u32) -> Vec<f64> {
    let (from, to) = (f64::from(from), f64::from(to));
    let cut = from.min(to) * 0.99;
    let count = (samples.len() as f64 * to / from).ceil() as usize;
    let one = |place: usize| {
        let weigh = |(at, sample): (usize, &f32)| {
            let distance = ((at as f64 / from - place as f64 / to) * cut).clamp(-6.0, 6.0);
            let window = (distance * PI / 6.0 / 2.0).cos().powi(2);
            let sinc = if distance == 0.0 { 1.0 } else { (distance * PI).sin() / (distance * PI) };
            f64::from(*sample) * sinc * window * cut / from
        };
        samples.iter().enumerate().map(weigh).sum()
    };
    (0..count).map(one).collect()
}

#[test]
fn a_tone_keeps_its_pitch_at_another_rate() {
    for (from, to) in [(44_100, 16_000), (8_000, 16_000), (48_000, 16_000), (16_000, 44_100), (22_050, 48_000)] {
        let found = samples(&wav(1, from, &tone(440.0, from, from as usize / 4)), Some(i64::from(to))).unwrap();
        assert_eq!(found.len(), (from as usize / 4 * to as usize).div_ceil(from as usize));
        let expected: Vec<f64> =
            tone(440.0, to, found.len()).iter().map(|sample| f64::from(*sample) / 32_768.0).collect();
        // The filter sees silence before and after.
        let inner = 200..found.len() - 200;
        close(&found[inner.clone()], &expected[inner], 4e-3);
    }
}

#[test]
fn what_the_lower_rate_cannot_hold_is_damped() {
    let loudest = |hertz: f64| {
        let found = samples(&wav(1, 44_100, &tone(hertz, 44_100, 22_050)), Some(16_000)).unwrap();
        found[200..found.len() - 200].iter().fold(0.0f32, |loudest, sample| loudest.max(sample.abs()))
    };
    assert!(loudest(12_000.0) < 0.002, "{}", loudest(12_000.0));
    assert!(loudest(4_000.0) > 0.49, "{}", loudest(4_000.0));
}

#[test]
fn rates_that_share_nothing_and_short_recordings_are_resampled() {
    for (from, to, count) in [(44_101, 16_000, 3), (3, 1_000, 2), (768_000, 1_000, 5_000), (1_000, 384_000, 9)] {
        let recorded = tone(100.0, 8_000, count);
        let file = wav(1, from, &recorded);
        let plain = samples(&file, None).unwrap();
        close(&samples(&file, Some(to)).unwrap(), &resampled(&plain, from, to as u32), 1e-5);
    }
    assert!(samples(&wav(1, 44_100, &[]), Some(16_000)).unwrap().is_empty());
}

#[test]
fn metadata_is_read_from_the_header_alone() {
    let recorded = tone(440.0, 8_000, 4_000);
    let whole = flac(2, 8_000, &recorded, 64);
    let rows: [Option<&[u8]>; 5] =
        [Some(&wav(1, 8_000, &recorded)), Some(&whole), Some(&whole[..60]), None, Some(b"hello")];
    let found = call("audio_metadata", &[], &rows).unwrap();
    let shown: Vec<String> = (0..5).map(|row| array_value_to_string(&found.column, row).unwrap()).collect();
    let two = "{format: flac, sample_rate: 8000, channels: 2, frames: 2000, duration_seconds: 0.25}";
    let one = "{format: wav, sample_rate: 8000, channels: 1, frames: 4000, duration_seconds: 0.5}";
    assert_eq!(shown, [one, two, two, "", ""]);
    assert_eq!(found.errors.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [4]);
}

#[test]
fn a_bad_row_and_a_null_row_leave_the_others_alone() {
    let rows: [Option<&[u8]>; 5] = [
        Some(&wav(1, 8_000, &[0, 16_384])),
        None,
        Some(b"nothing"),
        Some(&wav(1, 8_000, &[])),
        Some(&wav(1, 1, &[-32_768])),
    ];
    let found = call("decode_audio", &[], &rows).unwrap();
    let lists = found.column.as_list::<i32>();
    let read = |row: Option<ArrayRef>| row.map(|row| row.as_primitive::<Float32Type>().values().to_vec());
    let expected = [Some(vec![0.0, 0.5]), None, None, Some(vec![]), Some(vec![-1.0])];
    assert_eq!(lists.iter().map(read).collect::<Vec<_>>(), expected);
    assert_eq!(found.errors.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [2]);
}

#[test]
fn what_cannot_be_decoded_says_why() {
    let refused = |file: &[u8], expected: &str| {
        let story = samples(file, Some(16_000)).unwrap_err();
        assert!(story.starts_with("decode audio (reason=") && story.contains(expected), "{story:?}: {expected:?}");
    };
    let whole = wav(2, 8_000, &[1, 2, 3, 4]);
    let parts = |format: &[u8]| riff(&[(b"fmt ", format), (b"data", &[0; 8])]);
    refused(b"", "empty value");
    refused(b"hello world", "not an audio file: it starts with the bytes 68 65 6c 6c 6f 20 77 6f");
    refused(b"OggS\0\0\0\0\0\0", "unsupported format Ogg; WAV and FLAC are decoded");
    refused(b"ID3\x04\0\0\0\0", "unsupported format MP3");
    refused(&[0xFF, 0xFB, 0x90, 0x64], "unsupported format MP3");
    refused(b"\0\0\0\x20ftypM4A ", "unsupported format MP4");
    for length in [12, 20, 40, 44, whole.len() - 1] {
        refused(&whole[..length], "truncated WAV");
    }
    refused(&riff(&[(b"data", &[0; 8]), (b"fmt ", &format(1, 1, 8_000, 16))]), "samples stand before their format");
    refused(&riff(&[(b"fmt ", &format(1, 2, 8_000, 16)), (b"data", &[0; 6])]), "samples end inside a frame");
    refused(&parts(&format(1, 1, 8_000, 16)[..15]), "its format is too short");
    refused(&parts(&[&format(1, 1, 8_000, 16)[..12], &[3, 0, 16, 0]].concat()), "frames are not as long");
    refused(&parts(&format(6, 1, 8_000, 8)), "unsupported WAV encoding 6 with 8 bits");
    refused(&parts(&format(1, 0, 8_000, 16)), "0 channels, not 1 to 64");
    refused(&parts(&format(1, 65, 8_000, 16)), "65 channels, not 1 to 64");
    refused(&parts(&format(1, 1, 0, 16)), "0 samples a second, not 1 to 768000");
    refused(&parts(&format(1, 1, 768_001, 16)), "768001 samples a second");
    let whole = flac(1, 8_000, &tone(50.0, 8_000, 500), 100);
    for length in [4, 10, 40, 49, 60, whole.len() - 1] {
        refused(&whole[..length], "truncated FLAC");
    }
    // At the end of a frame only the header knows that more should follow.
    refused(&flac(1, 8_000, &tone(50.0, 8_000, 500), 100)[..whole.len() - 210], "truncated FLAC");
    let mut flipped = whole.clone();
    flipped[100] ^= 1;
    refused(&flipped, "damaged FLAC): Ill-formed FLAC stream: frame CRC mismatch");
    let mut longer = whole.clone();
    longer[25] -= 1;
    refused(&longer, "damaged FLAC");
    let mut unnamed = whole;
    unnamed[4] = 1;
    refused(&unnamed, "damaged FLAC: no header");
}

#[test]
fn lengths_are_refused_by_the_header_alone() {
    let mut long = flac(1, 8_000, &[1, 2, 3], 16);
    long[21] |= 0x0F;
    let story = samples(&long, None).unwrap_err();
    assert!(story.contains("64424509443 samples, over the limit of 67108864"), "{story}");
    let story = samples(&long, Some(1_000)).unwrap_err();
    assert!(story.contains("samples, over the limit of 67108864"), "{story}");
    let story = samples(&wav(1, 1, &[7; 1_000]), Some(384_000)).unwrap_err();
    assert!(story.contains("384000000 samples, over the limit of 67108864"), "{story}");
}

#[test]
fn every_byte_column_is_read() {
    let file = wav(1, 8_000, &[-32_768]);
    let rows = vec![Some(&file[..]), None];
    let columns: [ArrayRef; 2] =
        [Arc::new(LargeBinaryArray::from(rows.clone())), Arc::new(rows.into_iter().collect::<BinaryViewArray>())];
    for column in columns {
        let functions = forebay_functions::functions();
        let function = functions.iter().find(|function| function.name() == "decode_audio").unwrap();
        let field = Arc::new(Field::new("sound", column.data_type().clone(), true));
        let found = function.bind(&[Argument::Column(field)]).unwrap().evaluate(&[column], 2).unwrap();
        assert_eq!(found.column.as_list::<i32>().value(0).as_primitive::<Float32Type>().values().to_vec(), [-1.0]);
        assert!(found.column.is_null(1) && found.errors.is_empty());
    }
}

#[test]
fn wrong_arguments_are_named_when_the_query_is_planned() {
    let case = |name: &str, more: &[Argument], expected: &str| {
        let error = call(name, more, &[]).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        let shown = error.to_string();
        assert!(shown.contains(expected) && shown.starts_with(&format!("call {name}(")), "{shown:?}: {expected:?}");
    };
    let int = |value| Argument::Int(value);
    case("decode_audio", &[int(999)], "argument=sample_rate, given=999, accepted=a whole number in 1000..=384000");
    case("decode_audio", &[int(384_001)], "given=384001");
    case("decode_audio", &[Argument::Text("16k".to_string())], "given='16k'");
    case("decode_audio", &[int(16_000), int(1)], "arguments=3, accepted=1 to 2");
    case("audio_metadata", &[int(1)], "arguments=2, accepted=1 to 1");
    let text = Argument::Column(Arc::new(Field::new("name", DataType::Utf8, true)));
    for function in forebay_functions::functions().iter().filter(|function| function.name().contains("audio")) {
        let error = function.bind(std::slice::from_ref(&text)).unwrap_err();
        assert!(error.to_string().contains("argument=audio, given=column name of type Utf8"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn resampling_agrees_with_one_sum_over_all_samples(
        recorded in proptest::collection::vec(any::<i16>(), 0..200),
        from in prop_oneof![1_000..50_000u32, Just(44_100), Just(48_000)],
        to in prop_oneof![1_000..50_000u32, Just(16_000), Just(22_050)],
    ) {
        let file = wav(1, from, &recorded);
        let plain = samples(&file, None).unwrap();
        let found = samples(&file, Some(i64::from(to))).unwrap();
        if from == to {
            prop_assert_eq!(found, plain);
        } else {
            close(&found, &resampled(&plain, from, to), 1e-5);
        }
    }
}
