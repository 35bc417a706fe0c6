//! What a table may hold: a live object that becomes bytes only for a snapshot or for disk.

use forebay_core::{Error, Kind, Result};

/// A value of keyed state.
///
/// In memory it is the object itself: an accumulator is updated in place and never decoded per row. `encode` is called once
/// for each changed value at a barrier, and when a cold value goes to disk; `decode` at a restore, and when it comes back.
pub trait StateValue: Send + Sized + 'static {
    /// Names the encoding; stored with the state and compared at a restore. Changes when the bytes change their meaning.
    const CODEC: &'static str;

    /// Appends the value's bytes. The same value gives the same bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// The value of these bytes, as the same `CODEC` encoded them.
    ///
    /// # Errors
    /// `Corrupt` if the bytes cannot be such a value. Never panics.
    fn decode(bytes: &[u8]) -> Result<Self>;

    /// Roughly how many bytes the value takes in memory, heap included. Asked at every access while there is a budget, so
    /// it takes constant time.
    fn size_bytes(&self) -> usize;
}

fn corrupt(codec: &'static str, length: usize) -> Error {
    Error::new(Kind::Corrupt, "decode state value").with("codec", codec).with("bytes", length)
}

macro_rules! number_value {
    ($($number:ty => $codec:literal),*) => {$(
        impl StateValue for $number {
            const CODEC: &'static str = $codec;

            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn decode(bytes: &[u8]) -> Result<Self> {
                let array = bytes.try_into().map_err(|_| corrupt(Self::CODEC, bytes.len()))?;
                Ok(<$number>::from_le_bytes(array))
            }

            fn size_bytes(&self) -> usize {
                size_of::<Self>()
            }
        }
    )*};
}

number_value!(u32 => "u32", u64 => "u64", i64 => "i64", u128 => "u128", f64 => "f64");

impl StateValue for () {
    const CODEC: &'static str = "unit";

    fn encode(&self, _out: &mut Vec<u8>) {}

    fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.is_empty() { Ok(()) } else { Err(corrupt(Self::CODEC, bytes.len())) }
    }

    fn size_bytes(&self) -> usize {
        0
    }
}

impl StateValue for Vec<u8> {
    const CODEC: &'static str = "bytes";

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        Ok(bytes.to_vec())
    }

    fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.capacity()
    }
}

impl StateValue for String {
    const CODEC: &'static str = "utf8";

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        String::from_utf8(bytes.to_vec()).map_err(|error| corrupt(Self::CODEC, bytes.len()).source(error))
    }

    fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round<V: StateValue + PartialEq + std::fmt::Debug>(value: V) {
        let mut out = Vec::new();
        value.encode(&mut out);
        assert_eq!(V::decode(&out).unwrap(), value);
    }

    #[test]
    fn values_are_read_back_and_broken_bytes_refused() {
        round(7u32);
        round(u64::MAX);
        round(-1i64);
        round(1u128 << 100);
        round(f64::NEG_INFINITY);
        round(());
        round(vec![0u8, 255]);
        round("ä".to_string());
        assert_eq!(u64::decode(&[1]).unwrap_err().kind(), Kind::Corrupt);
        assert_eq!(<()>::decode(&[1]).unwrap_err().kind(), Kind::Corrupt);
        assert_eq!(String::decode(&[0xff]).unwrap_err().kind(), Kind::Corrupt);
    }
}
