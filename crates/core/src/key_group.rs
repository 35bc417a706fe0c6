//! Key groups: the unit of state that moves when a parallelism changes.
//!
//! Their count is fixed when a job is created. Group to subtask follows Flink's formula, so that the same state lands in
//! the same place on both hosts (see `KeyGroupRangeAssignment` in Apache Flink).

use std::ops::Range;

/// How many key groups a job has when its file does not say.
pub const KEY_GROUPS_DEFAULT: u16 = 128;

/// One key group, `0..groups`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct KeyGroup(pub u16);

// === impl KeyGroup ===

impl KeyGroup {
    /// The group of a well-mixed 64-bit hash.
    pub fn of_hash(hash: u64, groups: u16) -> Self {
        Self((hash % u64::from(groups.max(1))) as u16)
    }

    /// The subtask that owns this group at `parallelism`.
    pub fn subtask(self, parallelism: u16, groups: u16) -> u16 {
        (u32::from(self.0) * u32::from(parallelism) / u32::from(groups.max(1))) as u16
    }

    /// The groups that `subtask` owns at `parallelism`, the inverse of [`KeyGroup::subtask`].
    pub fn range_of(subtask: u16, parallelism: u16, groups: u16) -> Range<u16> {
        let (subtask, parallelism, groups) = (u32::from(subtask), u32::from(parallelism.max(1)), u32::from(groups));
        let start = (subtask * groups).div_ceil(parallelism);
        let end = ((subtask + 1) * groups).div_ceil(parallelism);
        start as u16..end as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_every_group_once_and_agree_with_subtask() {
        for groups in [1u16, 7, 128, 1024] {
            for parallelism in 1..=groups.min(17) {
                let mut next = 0;
                for subtask in 0..parallelism {
                    let range = KeyGroup::range_of(subtask, parallelism, groups);
                    assert_eq!(range.start, next);
                    next = range.end;
                    for group in range {
                        assert_eq!(KeyGroup(group).subtask(parallelism, groups), subtask);
                    }
                }
                assert_eq!(next, groups);
            }
        }
    }
}
