//! Numbers and lengths of the keyed state's bytes: how they are put, and how they are taken back with a reason where
//! they do not fit.
//!
//! Lengths are LEB128, so that small keys cost one byte; what is compared as bytes on disk is escaped so that its order
//! stays that of (key, space). Nothing is allocated for a length before the bytes are known to be there.

use forebay_core::time::EventTime;

/// Why bytes cannot be read; the caller says which bytes.
pub(super) type Read<T> = std::result::Result<T, String>;

/// Puts a length or count.
pub(super) fn put_length(out: &mut Vec<u8>, length: usize) {
    let mut left = length as u64;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

/// Puts bytes with their length.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Puts what `write` writes, with its length before it.
pub(super) fn put_sized(out: &mut Vec<u8>, scratch: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    scratch.clear();
    write(scratch);
    put_bytes(out, scratch);
}

/// Puts an event time; [`None`] is the least number.
pub(super) fn put_time(out: &mut Vec<u8>, time: Option<EventTime>) {
    out.extend_from_slice(&time.map_or(i64::MIN, |time| time.0).to_le_bytes());
}

/// Takes `N` bytes.
pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Read<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or("the bytes end early")?;
    *rest = tail;
    Ok(*head)
}

/// Takes one byte.
pub(super) fn take_byte(rest: &mut &[u8]) -> Read<u8> {
    take::<1>(rest).map(|[byte]| byte)
}

/// Takes what [`put_length`] put.
pub(super) fn take_length(rest: &mut &[u8]) -> Read<usize> {
    let mut length = 0u64;
    for shift in (0..63).step_by(7) {
        let byte = take_byte(rest)?;
        length |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return usize::try_from(length).map_err(|_| "a length is too great".to_string());
        }
    }
    Err("a length is too great".to_string())
}

/// Takes what [`put_bytes`] put.
pub(super) fn take_bytes<'a>(rest: &mut &'a [u8]) -> Read<&'a [u8]> {
    let length = take_length(rest)?;
    let (head, tail) = rest.split_at_checked(length).ok_or("the bytes end early")?;
    *rest = tail;
    Ok(head)
}

/// Takes text that [`put_bytes`] put.
pub(super) fn take_text(rest: &mut &[u8]) -> Read<String> {
    String::from_utf8(take_bytes(rest)?.to_vec()).map_err(|_| "a name is not UTF-8".to_string())
}

/// Takes what [`put_time`] put.
pub(super) fn take_time(rest: &mut &[u8]) -> Read<Option<EventTime>> {
    let micros = i64::from_le_bytes(take(rest)?);
    Ok((micros != i64::MIN).then_some(EventTime(micros)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_back_and_a_broken_one_is_refused() {
        for length in [0, 1, 127, 128, 16_383, 16_384, u32::MAX as usize, usize::MAX >> 1] {
            let mut out = Vec::new();
            put_length(&mut out, length);
            let mut rest = &out[..];
            assert_eq!(take_length(&mut rest).unwrap(), length);
            assert!(rest.is_empty());
            assert!(take_length(&mut &out[..out.len() - 1]).is_err());
        }
        assert!(take_length(&mut &[0xff; 12][..]).is_err());
        assert!(take_bytes(&mut &[5, 1, 2][..]).is_err());
    }

    #[test]
    fn times_are_read_back() {
        for time in [None, Some(EventTime(-5)), Some(EventTime::MAX)] {
            let mut out = Vec::new();
            put_time(&mut out, time);
            assert_eq!(take_time(&mut &out[..]).unwrap(), time);
        }
    }
}
