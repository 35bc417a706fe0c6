//! Placing replicas on GPUs: a pure function of what is wanted and what there is.
//!
//! Largest first. Whole GPUs are nobody else's. A part goes where most is free, so that work spreads before it is stacked.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use forebay_core::{Error, Kind, Result};

use super::{Gpu, ReplicaOf, Share, VARIABLE};

/// Thousandths of a whole GPU.
const WHOLE: u32 = 1000;

/// The replicas of one model, each of which needs the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub model: String,
    /// How many.
    pub replicas: u16,
    /// What each needs.
    pub share: Share,
}

/// For each replica the ids of its GPUs.
pub type Placed = BTreeMap<ReplicaOf, Vec<String>>;

/// What is left of one GPU.
struct Left<'a> {
    gpu: &'a Gpu,
    thousandths: u32,
    memory_bytes: u64,
    is_taken: bool,
}

// === impl Left ===

impl Left<'_> {
    fn is_whole(&self) -> bool {
        self.thousandths == WHOLE && !self.is_taken && self.memory_bytes == self.gpu.memory_bytes.unwrap_or(0)
    }

    fn fits(&self, share: Share) -> bool {
        !self.is_taken && self.thousandths >= share.thousandths && self.has_memory(share)
    }

    fn has_memory(&self, share: Share) -> bool {
        share.memory_bytes.is_none_or(|bytes| bytes <= self.memory_bytes)
    }

    fn take(&mut self, share: Share) -> String {
        self.is_taken = share.thousandths >= WHOLE;
        self.thousandths -= share.thousandths.min(self.thousandths);
        self.memory_bytes -= share.memory_bytes.unwrap_or(0);
        self.gpu.id.clone()
    }
}

/// Places every replica of `wanted` on `gpus`, beside what is `kept`: those stay where they are, wanted or not. Their models are
/// among `wanted`, if only with no replica.
///
/// # Errors
/// `Invalid` if there is too little of what a model needs, naming it, what is left, and what to do.
pub fn place(wanted: &[Wanted], kept: &Placed, gpus: &[Gpu]) -> Result<Placed> {
    let left = |gpu| Left { gpu, thousandths: WHOLE, memory_bytes: gpu.memory_bytes.unwrap_or(0), is_taken: false };
    let mut left: Vec<Left<'_>> = gpus.iter().map(left).collect();
    for ((model, _), ids) in kept {
        let share = wanted.iter().find(|wanted| wanted.model == *model).map_or(Share::default(), |wanted| wanted.share);
        left.iter_mut().filter(|left| ids.contains(&left.gpu.id)).for_each(|left| drop(left.take(share)));
    }
    let mut wanted: Vec<&Wanted> = wanted.iter().collect();
    wanted.sort_by_key(|wanted| (Reverse((wanted.share.thousandths, wanted.share.memory_bytes)), &wanted.model));
    let mut placed = kept.clone();
    for wanted in wanted {
        for replica in 0..wanted.replicas {
            if let Entry::Vacant(free) = placed.entry((wanted.model.clone(), replica)) {
                free.insert(seat(wanted.share, &mut left).ok_or_else(|| too_few(wanted, replica, &left))?);
            }
        }
    }
    Ok(placed)
}

/// The GPUs of one replica, if there are any for it.
fn seat(share: Share, left: &mut [Left<'_>]) -> Option<Vec<String>> {
    if share.thousandths < WHOLE {
        let most = left.iter_mut().rev().filter(|left| left.fits(share));
        return most.max_by_key(|left| (left.thousandths, left.memory_bytes)).map(|left| vec![left.take(share)]);
    }
    let count = (share.thousandths / WHOLE) as usize;
    let free = left.iter_mut().filter(|left| left.is_whole() && left.has_memory(share));
    let free: Vec<_> = free.take(count).collect();
    (free.len() == count).then(|| free.into_iter().map(|left| left.take(share)).collect())
}

fn too_few(wanted: &Wanted, replica: u16, left: &[Left<'_>]) -> Error {
    let Wanted { model, replicas, share } = wanted;
    let error = Error::new(Kind::Invalid, "place model on GPUs").with("model", model).with("replicas", replicas);
    let error = error.with("gpu", f64::from(share.thousandths) / f64::from(WHOLE));
    let error = match share.memory_bytes {
        Some(bytes) => error.with("gpu_memory", format!("{bytes}B")),
        None => error,
    };
    if left.is_empty() {
        return error.source(format!(
            "this process sees no GPU: nvidia-smi lists none, or {VARIABLE} hides them; remove gpu and gpu_memory to run without"
        ));
    }
    if share.memory_bytes.is_some() && left.iter().all(|left| left.gpu.memory_bytes.is_none()) {
        return error.source("nvidia-smi does not say how much memory the GPUs have; say gpu without gpu_memory");
    }
    let shown = left.iter().map(|left| {
        let part = if left.is_taken { 0.0 } else { f64::from(left.thousandths) / f64::from(WHOLE) };
        match left.gpu.memory_bytes {
            Some(_) if !left.is_taken => format!("{part} and {} MiB of {}", left.memory_bytes >> 20, left.gpu.id),
            _ => format!("{part} of {}", left.gpu.id),
        }
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    error.source(format!("replica {replica} has no place: left are {shown}; lower replicas, gpu or gpu_memory"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn gpus(count: usize, memory_bytes: Option<u64>) -> Vec<Gpu> {
        (0..count).map(|place| Gpu { id: format!("GPU-{place}"), memory_bytes }).collect()
    }

    fn wanted(model: &str, replicas: u16, thousandths: u32, memory_bytes: Option<u64>) -> Wanted {
        Wanted { model: model.into(), replicas, share: Share { thousandths, memory_bytes } }
    }

    fn fresh(wanted: &[Wanted], gpus: &[Gpu]) -> Result<Placed> {
        place(wanted, &Placed::new(), gpus)
    }

    fn of<'a>(placed: &'a Placed, model: &str) -> Vec<Vec<&'a str>> {
        let of_model = placed.iter().filter(|((other, _), _)| other == model);
        of_model.map(|(_, ids)| ids.iter().map(String::as_str).collect()).collect()
    }

    #[test]
    fn parts_spread_before_they_stack_and_whole_ones_are_alone() {
        let all = [wanted("part", 3, 500, None), wanted("whole", 1, 1000, None)];
        let placed = fresh(&all, &gpus(3, None)).unwrap();
        assert_eq!(of(&placed, "whole"), [["GPU-0"]]);
        assert_eq!(of(&placed, "part"), [["GPU-1"], ["GPU-2"], ["GPU-1"]]);
        let two = fresh(&[wanted("two", 1, 2000, None)], &gpus(2, None)).unwrap();
        assert_eq!(of(&two, "two"), [["GPU-0", "GPU-1"]]);
    }

    #[test]
    fn memory_counts_beside_the_part() {
        let all = [wanted("a", 2, 100, Some(10 * GIB)), wanted("b", 2, 100, Some(6 * GIB))];
        let placed = fresh(&all, &gpus(2, Some(16 * GIB))).unwrap();
        assert_eq!(of(&placed, "a"), [["GPU-0"], ["GPU-1"]]);
        assert_eq!(of(&placed, "b"), [["GPU-0"], ["GPU-1"]]);
        let alone = [wanted("only_memory", 1, 0, Some(16 * GIB))];
        assert_eq!(of(&fresh(&alone, &gpus(1, Some(16 * GIB))).unwrap(), "only_memory"), [["GPU-0"]]);
    }

    #[test]
    fn who_is_placed_stays_and_others_get_what_is_left() {
        let there = gpus(2, Some(16 * GIB));
        let one = [wanted("part", 1, 500, Some(6 * GIB))];
        let kept = fresh(&one, &there).unwrap();
        let both = [wanted("part", 3, 500, Some(6 * GIB)), wanted("whole", 1, 1000, None)];
        assert!(fresh(&both[..1], &there).is_ok());
        assert!(place(&both, &kept, &there).is_err(), "three parts and a whole one need three");
        let placed = place(&[wanted("part", 0, 500, Some(6 * GIB)), both[1].clone()], &kept, &there).unwrap();
        assert_eq!((of(&placed, "part"), of(&placed, "whole")), (vec![vec!["GPU-0"]], vec![vec!["GPU-1"]]));
        let more = place(&both, &placed, &there).unwrap_err().chain();
        assert!(more.contains("replica 2 has no place: left are 0 and 4096 MiB of GPU-0, 0 of GPU-1"), "{more}");
    }

    #[test]
    fn errors_read_like_this() {
        let case = |all: &[Wanted], gpus: &[Gpu]| fresh(all, gpus).unwrap_err().chain();
        let said = [
            case(&[wanted("m", 1, 1000, None)], &[]),
            case(&[wanted("m", 3, 1000, None)], &gpus(2, None)),
            case(&[wanted("m", 3, 500, Some(9 * GIB))], &gpus(1, Some(16 * GIB))),
            case(&[wanted("m", 1, 500, Some(GIB))], &gpus(1, None)),
            case(&[wanted("n", 1, 1000, None), wanted("m", 1, 500, None)], &gpus(1, Some(GIB))),
        ];
        insta::assert_snapshot!(said.join("\n"));
    }

    proptest! {
        #[test]
        fn nothing_is_given_twice_and_equal_parts_are_placed_if_they_fit(
            shares in prop::collection::vec((1_u16..4, prop::sample::select(vec![0, 100, 250, 500, 999, 1000, 2000]), 0_u64..12), 1..5),
            count in 0_usize..5,
        ) {
            let all: Vec<Wanted> = shares.iter().enumerate()
                .map(|(place, (replicas, thousandths, gib))| wanted(&format!("m{place}"), *replicas, *thousandths, Some(gib * GIB)))
                .collect();
            let there = gpus(count, Some(16 * GIB));
            if let Ok(placed) = fresh(&all, &there) {
                for gpu in &there {
                    let on = all.iter().flat_map(|wanted| {
                        of(&placed, &wanted.model).into_iter().filter(|ids| ids.contains(&gpu.id.as_str())).map(|_| wanted.share)
                    });
                    let on: Vec<Share> = on.collect();
                    let parts: u32 = on.iter().map(|share| share.thousandths.min(WHOLE)).sum();
                    let memory: u64 = on.iter().filter_map(|share| share.memory_bytes).sum();
                    prop_assert!(parts <= WHOLE && memory <= 16 * GIB, "{on:?} on {gpu:?}");
                    prop_assert!(on.iter().all(|share| share.thousandths < WHOLE) || on.len() == 1, "{on:?}");
                }
                for wanted in &all {
                    prop_assert_eq!(of(&placed, &wanted.model).len(), usize::from(wanted.replicas));
                    let each = (wanted.share.thousandths / WHOLE).max(1) as usize;
                    prop_assert!(of(&placed, &wanted.model).iter().all(|ids| ids.len() == each));
                }
            } else if let [only] = &all[..] {
                let on_one = match only.share.thousandths {
                    0 => u64::MAX,
                    whole if whole >= WHOLE => 1,
                    part => u64::from(WHOLE / part),
                };
                let on_one = on_one.min((16 * GIB).checked_div(only.share.memory_bytes.unwrap_or(0)).unwrap_or(u64::MAX));
                let each = u64::from(only.share.thousandths / WHOLE).max(1);
                let fits = (count as u64 / each).saturating_mul(on_one) >= u64::from(only.replicas) && count > 0;
                prop_assert!(!fits, "{only:?} on {count} was refused");
            }
        }
    }
}
