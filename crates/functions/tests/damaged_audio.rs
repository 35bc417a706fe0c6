//! `decode_audio` against bytes that no encoder wrote: each gives samples or a `Data` error of its row, and never a panic.

mod recordings;

use arrow::array::AsArray;
use proptest::prelude::*;
use recordings::{call, flac, flac_frame_head, format, riff, samples, tone, wav};

/// Whole files of both formats, small.
fn files() -> Vec<Vec<u8>> {
    let recorded = tone(440.0, 8_000, 240);
    let floats: Vec<u8> = recorded.iter().flat_map(|sample| f32::from(*sample).to_le_bytes()).collect();
    vec![
        wav(1, 8_000, &recorded),
        wav(2, 44_100, &recorded),
        riff(&[(b"LIST", &[1; 5]), (b"fmt ", &format(3, 1, 8_000, 32)), (b"data", &floats)]),
        flac(1, 8_000, &recorded, 50),
        flac(2, 44_100, &recorded, 64),
        flac(1, 8_000, &[7; 240], 240),
    ]
}

/// Samples or a `Data` error: no panic, caught or not.
fn survives(file: &[u8]) {
    for rate in [None, Some(16_000)] {
        if let Err(story) = samples(file, rate) {
            assert!(story.starts_with("decode audio (reason="), "{story}");
            assert!(!story.contains("panicked"), "{story}");
        }
    }
    let found = call("audio_metadata", &[], &[Some(file)]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found.column.as_struct().num_columns(), 5);
}

#[test]
fn files_cut_anywhere_never_panic() {
    for file in files() {
        for length in 0..file.len() {
            let found = samples(&file[..length], None);
            assert!(found.is_err(), "cut at {length} of {}", file.len());
        }
        assert!(samples(&file, None).is_ok());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn random_bytes_never_panic(mark in 0..3usize, bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mark: &[u8] = [&b""[..], b"RIFF\0\0\0\0WAVE", b"fLaC\x80\0\0\x22"][mark];
        survives(&[mark, &bytes].concat());
    }

    #[test]
    fn flac_frames_of_anything_never_panic(
        assignment in 0..11u8,
        length in prop_oneof![1..64u16, Just(4_096), Just(u16::MAX)],
        kind in prop_oneof![Just(0u8), Just(2), 0x10..0x1Au8, 0x40..=0x7Fu8, any::<u8>()],
        body in proptest::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(u8::MAX)], 0..300),
    ) {
        let channels = if assignment < 8 { assignment + 1 } else { 2 };
        let mut file = flac(channels, 8_000, &[], 64);
        file.extend(flac_frame_head(0, assignment, length));
        file.push(kind);
        file.extend(body);
        survives(&file);
    }

    #[test]
    fn damaged_files_never_panic(
        file in 0..6usize,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut file = files().swap_remove(file);
        for (place, byte) in changes {
            let place = place.index(file.len());
            file[place] = byte;
        }
        if cut {
            file.truncate(length.index(file.len()));
        }
        survives(&file);
    }
}
