//! Protocol buffers for two messages, encoded by hand so that no compiler of schemas is needed.
//!
//! ```text
//! message Call     { uint32 replica = 1; repeated double sizes = 2; repeated double outputs = 3; }
//! message Answered { uint64 rows = 1; }
//! ```

use bytes::{Buf, BufMut};

use super::message::{Answer, Call};

/// Protocol buffers, as far as the two messages need them.
pub trait Message: Sized {
    /// Appends the message.
    fn put(&self, out: &mut impl BufMut);

    /// Reads a message; `None` when it is broken. Unknown fields are skipped.
    fn take(input: &mut impl Buf) -> Option<Self>;
}

// === impl Message ===

impl Message for Call {
    fn put(&self, out: &mut impl BufMut) {
        put_varint(1 << 3, out);
        put_varint(u64::from(self.replica), out);
        let columns = [
            (2, self.rows.iter().map(|row| row.0).collect::<Vec<_>>()),
            (3, self.rows.iter().map(|row| row.1).collect()),
        ];
        for (field, column) in columns {
            put_varint(field << 3 | 2, out);
            put_varint(8 * column.len() as u64, out);
            column.into_iter().for_each(|number| out.put_f64_le(number));
        }
    }

    fn take(input: &mut impl Buf) -> Option<Self> {
        let (mut replica, mut sizes, mut outputs) = (0, Vec::new(), Vec::new());
        while input.has_remaining() {
            match take_varint(input)? {
                8 => replica = u32::try_from(take_varint(input)?).ok()?,
                18 => take_doubles(input, &mut sizes)?,
                26 => take_doubles(input, &mut outputs)?,
                key => skip(key, input)?,
            }
        }
        outputs.resize(sizes.len(), 0.0);
        Some(Self { replica, rows: sizes.into_iter().zip(outputs).collect() })
    }
}

impl Message for Answer {
    fn put(&self, out: &mut impl BufMut) {
        put_varint(1 << 3, out);
        put_varint(self.rows, out);
    }

    fn take(input: &mut impl Buf) -> Option<Self> {
        let mut rows = 0;
        while input.has_remaining() {
            match take_varint(input)? {
                8 => rows = take_varint(input)?,
                key => skip(key, input)?,
            }
        }
        Some(Self { rows })
    }
}

fn put_varint(mut number: u64, out: &mut impl BufMut) {
    while number >= 0x80 {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

fn take_varint(input: &mut impl Buf) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = input.has_remaining().then(|| input.get_u8())?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn take_doubles(input: &mut impl Buf, out: &mut Vec<f64>) -> Option<()> {
    let length = usize::try_from(take_varint(input)?).ok()?;
    if length > input.remaining() || length % 8 != 0 {
        return None;
    }
    out.extend((0..length / 8).map(|_| input.get_f64_le()));
    Some(())
}

fn skip(key: u64, input: &mut impl Buf) -> Option<()> {
    let length = match key & 7 {
        0 => return take_varint(input).map(drop),
        1 => 8,
        2 => usize::try_from(take_varint(input)?).ok()?,
        5 => 4,
        _ => return None,
    };
    (length <= input.remaining()).then(|| input.advance(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(message: &impl Message) -> Vec<u8> {
        let mut out = Vec::new();
        message.put(&mut out);
        out
    }

    #[test]
    fn messages_survive_the_way_through_bytes() {
        let rows = |count: usize| (0..count).map(|row| (row as f64 * 0.5, row as f64)).collect::<Vec<_>>();
        for call in [Call::default(), Call { replica: 3, rows: rows(1) }, Call { replica: 300, rows: rows(130) }] {
            assert_eq!(Call::take(&mut bytes_of(&call).as_slice()), Some(call));
        }
        for rows in [0, 1, 127, 128, u64::MAX] {
            assert_eq!(Answer::take(&mut bytes_of(&Answer { rows }).as_slice()), Some(Answer { rows }));
        }
    }

    #[test]
    fn the_bytes_are_those_of_protocol_buffers() {
        let call = Call { replica: 150, rows: vec![(1.0, 0.0)] };
        let expected =
            [&[0x08, 0x96, 0x01, 0x12, 8][..], &1f64.to_le_bytes(), &[0x1a, 8], &0f64.to_le_bytes()].concat();
        assert_eq!(bytes_of(&call), expected);
    }

    #[test]
    fn broken_and_unknown_bytes() {
        let table: [(&[u8], Option<u64>); 7] = [
            (&[], Some(0)),
            (&[0x08, 5, 0x10, 7, 0x1a, 2, 1, 1, 0x25, 0, 0, 0, 0], Some(5)),
            (&[0x08], None),
            (&[0x08, 0x80], None),
            (&[0x1a, 200, 1], None),
            (&[0x0b], None),
            (&[0xff; 11], None),
        ];
        for (mut bytes, expected) in table {
            assert_eq!(Answer::take(&mut bytes).map(|answer| answer.rows), expected, "{bytes:?}");
        }
        let mut odd: &[u8] = &[0x12, 7, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(Call::take(&mut odd), None);
    }
}
