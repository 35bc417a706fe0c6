//! Where a spilled entry lies, so that the order of bytes is that of group, key and space.
//!
//! ```text
//! address = group:u16 big-endian, key with 0 as 0 255, 0 0, space
//! ```

use std::ops::Bound;

use forebay_core::key_group::KeyGroup;
use forebay_core::keys::Key;

use super::super::bytes::{Read, take_byte};
use super::super::slots::{Address, SpaceRange};
use super::super::space::Space;

/// Where an entry lies in the store for cold entries.
pub(super) fn address(group: KeyGroup, key: &Key, space: &Space) -> Vec<u8> {
    let mut out = key_prefix(group, key);
    out.extend_from_slice(space.as_bytes());
    out
}

fn key_prefix(group: KeyGroup, key: &Key) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.as_bytes().len() + 16);
    out.extend_from_slice(&group.0.to_be_bytes());
    for byte in key.as_bytes() {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 0]);
    out
}

/// The addresses of a key's spaces in `range`: from the first, to before the second.
pub(super) fn address_range(group: KeyGroup, key: &Key, range: &SpaceRange) -> (Vec<u8>, Vec<u8>) {
    let at = |space: &Space, more: &[u8]| [&address(group, key, space)[..], more].concat();
    let from = match &range.0 {
        Bound::Included(space) => at(space, &[]),
        // The least byte string after `space`.
        Bound::Excluded(space) => at(space, &[0]),
        Bound::Unbounded => key_prefix(group, key),
    };
    let until = match &range.1 {
        Bound::Included(space) => at(space, &[0]),
        Bound::Excluded(space) => at(space, &[]),
        Bound::Unbounded => {
            let mut prefix = key_prefix(group, key);
            // The prefix ends in 0 0: the next prefix of its length ends in 0 1, and no other key's address lies between.
            if let Some(last) = prefix.last_mut() {
                *last = 1;
            }
            prefix
        }
    };
    (from, until)
}

/// All addresses of a group: from the first, to before the second.
pub(super) fn group_range(group: KeyGroup) -> (Vec<u8>, Vec<u8>) {
    let until = u32::from(group.0) + 1;
    (group.0.to_be_bytes().to_vec(), if until > 0xffff { vec![0xff; 4] } else { until.to_be_bytes()[2..].to_vec() })
}

/// Key and space of an address.
pub(super) fn read_address(address: &[u8]) -> Read<Address> {
    let mut rest = address.get(2..).ok_or("an address is too short")?;
    let mut key = Vec::with_capacity(rest.len());
    loop {
        match (take_byte(&mut rest)?, rest.first()) {
            (0, Some(0)) => return Ok((Key::new(key), Space::new(&rest[1..]))),
            (0, Some(_)) => {
                rest = &rest[1..];
                key.push(0);
            }
            (byte, _) => key.push(byte),
        }
    }
}
