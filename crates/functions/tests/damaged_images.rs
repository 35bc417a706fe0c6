//! `image_to_tensor` against bytes that no encoder wrote: each is a tensor or a `Data` error of its row, and never a panic.

mod support;

use image::{DynamicImage, ImageFormat};
use proptest::prelude::*;
use support::{Jpeg, animated_webp, encode, jpeg, lying_webp, png, smooth, tensor};

/// Whole files of every format, small.
fn files() -> Vec<Vec<u8>> {
    let picture = DynamicImage::ImageRgb8(smooth(40, 30));
    let mut files: Vec<Vec<u8>> = [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Gif]
        .into_iter()
        .map(|format| encode(&picture, format))
        .collect();
    files.extend([Jpeg::Baseline, Jpeg::Progressive, Jpeg::Gray, Jpeg::Cmyk].map(|kind| jpeg(&smooth(40, 30), kind)));
    files.push(animated_webp(&[smooth(20, 20), smooth(20, 20)]));
    files.push(png(2, 2, 8, 3, &[1, 2, 3, 200, 100, 50], &[0, 1, 1, 0, 1, 1]));
    files
}

/// A tensor or a `Data` error: no panic, caught or not.
fn survives(file: &[u8]) {
    if let Err(story) = tensor(file, 16, 16, "RGB") {
        assert!(story.starts_with("decode image (reason="), "{story}");
        assert!(!story.contains("panicked"), "{story}");
    }
}

/// The WebP decoder of today panics on a frame that is larger than the animation said; the row alone must pay for it.
#[test]
fn a_panic_in_a_decoder_is_an_error_of_its_row() {
    let story = tensor(&lying_webp(), 8, 8, "RGB").unwrap_err();
    assert!(story.contains("the decoder panicked"), "{story}");
    assert!(tensor(&jpeg(&smooth(40, 30), Jpeg::Baseline), 8, 8, "RGB").is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        survives(&bytes);
    }

    #[test]
    fn damaged_files_never_panic(
        file in 0..10usize,
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
