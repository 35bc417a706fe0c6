//! Functions on audio: encoded files in, samples of one channel out.
//!
//! Files come from strangers. What a header promises is held against [`limits`] and against the bytes that are there before
//! memory is taken for it. A file that cannot be decoded in full is an error of its row, never half a recording.

mod audio_metadata;
mod decode_audio;
mod file;
mod flac;
pub mod limits;
mod resample;
mod wav;

pub use audio_metadata::AudioMetadata;
pub use decode_audio::DecodeAudio;

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

use forebay_core::{Error, Kind, Result};

/// The error of a row whose bytes are no usable audio, with the reason.
fn unusable(reason: impl Display) -> Error {
    Error::new(Kind::Data, "decode audio").with("reason", reason)
}

/// What `decode` makes of `file`. A panic in a decoder is an error of the row too, or a job could never get past it.
fn guarded<T>(file: &[u8], decode: impl FnOnce() -> Result<T>) -> Result<T> {
    let panicked = || unusable("the decoder panicked, which is a bug in it").with("bytes", file.len());
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| Err(panicked()))
}
