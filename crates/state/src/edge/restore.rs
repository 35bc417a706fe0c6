//! From which checkpoint each region goes on, so that no consumer has read what its producer has not written.
//!
//! Normally that is each region's newest: consumers read only what was published, so the newest of each always fit (lemma 1).
//! When a checkpoint is corrupt its region falls back, and consumers that have read beyond what is then written fall back
//! too: the greatest choice with `read <= written` on every commit-read edge, found as a fixpoint from above. Cycles need no
//! special care. An id-dedupe edge constrains nobody: its log keeps what the producer will write again.

use std::collections::BTreeMap;

use forebay_core::element::Epoch;
use forebay_core::{Error, Kind, Result};

use super::position::Positions;
use super::protocol::EdgeMode;

/// One retained, readable checkpoint of a region.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Candidate {
    /// Its number.
    pub epoch: Option<Epoch>,
    /// How far its writers had written, by edge.
    pub written: BTreeMap<String, Positions>,
    /// How far its readers had read, by edge.
    pub read: BTreeMap<String, Positions>,
}

/// One durable edge of the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeEnds {
    /// Its name.
    pub edge: String,
    /// The region that writes it.
    pub producer: String,
    /// The region that reads it; an edge with several consumers is listed once for each.
    pub consumer: String,
    /// Its mode.
    pub mode: EdgeMode,
    /// Up to where the log is trimmed: a consumer cannot go on from before.
    pub trimmed: Positions,
}

/// The checkpoint of each region to go on from, `None` for the empty state; the newest that fit together.
///
/// `candidates` are each region's retained checkpoints that can be read, oldest first, without epochs that a later start gave
/// up. A region without any starts empty.
///
/// # Errors
/// `Corrupt` if nothing fits: some consumer would have to read what is trimmed. The user may restore a savepoint.
pub fn consistent_restore(
    candidates: &BTreeMap<String, Vec<Candidate>>,
    edges: &[EdgeEnds],
) -> Result<BTreeMap<String, Option<Epoch>>> {
    let empty = Candidate::default();
    let mut chosen: BTreeMap<&str, usize> =
        candidates.iter().map(|(region, all)| (region.as_str(), all.len())).collect();
    let candidate = |chosen: &BTreeMap<&str, usize>, region: &str| -> &Candidate {
        let place = chosen.get(region).and_then(|count| count.checked_sub(1));
        place.and_then(|place| candidates.get(region)?.get(place)).unwrap_or(&empty)
    };
    let none = Positions::default();
    let violated = |chosen: &BTreeMap<&str, usize>, edge: &&EdgeEnds| {
        let written = candidate(chosen, &edge.producer).written.get(&edge.edge).unwrap_or(&none);
        let read = candidate(chosen, &edge.consumer).read.get(&edge.edge).unwrap_or(&none);
        edge.mode == EdgeMode::CommitRead && !written.covers(read)
    };
    // A producer that falls back further never helps, so only consumers move, and each only down: this ends.
    while let Some(edge) = edges.iter().find(|edge| violated(&chosen, edge)) {
        match chosen.get_mut(edge.consumer.as_str()) {
            Some(count) if *count > 0 => *count -= 1,
            _ => return Err(nothing_fits(edge, "it has read rows that no checkpoint of its producer holds")),
        }
    }
    for edge in edges {
        let read = candidate(&chosen, &edge.consumer).read.get(&edge.edge).unwrap_or(&none);
        if !read.covers(&edge.trimmed) {
            return Err(nothing_fits(edge, "it would have to read rows that are trimmed"));
        }
    }
    Ok(candidates.keys().map(|region| (region.clone(), candidate(&chosen, region).epoch)).collect())
}

fn nothing_fits(edge: &EdgeEnds, reason: &'static str) -> Error {
    Error::new(Kind::Corrupt, "choose checkpoints that fit together")
        .with("edge", &edge.edge)
        .with("producer", &edge.producer)
        .with("consumer", &edge.consumer)
        .with("to do", "restore a savepoint")
        .source(reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_core::key_group::KeyGroup;
    use proptest::prelude::*;

    fn at(position: u64) -> Positions {
        Positions([(KeyGroup(0), position)].into())
    }

    /// Regions `0..n`, each with checkpoints that give its position on every edge, in the order of `edges`.
    fn job(
        edges: &[(usize, usize)],
        checkpoints: &[Vec<Vec<u64>>],
    ) -> (BTreeMap<String, Vec<Candidate>>, Vec<EdgeEnds>) {
        let ends = edges.iter().enumerate().map(|(edge, (producer, consumer))| EdgeEnds {
            edge: edge.to_string(),
            producer: producer.to_string(),
            consumer: consumer.to_string(),
            mode: EdgeMode::CommitRead,
            trimmed: Positions::default(),
        });
        let candidate = |region: usize, number: usize, positions: &Vec<u64>| {
            let of = |side: fn(&(usize, usize)) -> usize| {
                let mine = edges.iter().enumerate().filter(move |(_, ends)| side(ends) == region);
                mine.map(|(edge, _)| (edge.to_string(), at(positions[edge]))).collect()
            };
            Candidate { epoch: Some(Epoch(number as u64 + 1)), written: of(|ends| ends.0), read: of(|ends| ends.1) }
        };
        let regions = checkpoints.iter().enumerate().map(|(region, all)| {
            (region.to_string(), all.iter().enumerate().map(|(n, positions)| candidate(region, n, positions)).collect())
        });
        (regions.collect(), ends.collect())
    }

    fn chosen(edges: &[(usize, usize)], checkpoints: &[Vec<Vec<u64>>]) -> Vec<u64> {
        let (candidates, ends) = job(edges, checkpoints);
        let chosen = consistent_restore(&candidates, &ends).unwrap();
        chosen.values().map(|epoch| epoch.map_or(0, |epoch| epoch.0)).collect()
    }

    #[test]
    fn the_newest_of_each_is_taken_when_they_fit() {
        assert_eq!(chosen(&[(0, 1)], &[vec![vec![3], vec![9]], vec![vec![2], vec![9]]]), [2, 2]);
    }

    #[test]
    fn a_lost_checkpoint_takes_along_who_read_beyond_it_and_nobody_else() {
        // 0 lost its checkpoint at 9; 1 has read 5 and falls back to 3, 2 reads edge 1 of region 1, which then ends at 4.
        let (edges, all) =
            ([(0, 1), (1, 2)], [vec![vec![3, 0]], vec![vec![3, 4], vec![5, 8]], vec![vec![0, 4], vec![0, 8]]]);
        assert_eq!(chosen(&edges, &all), [1, 1, 1]);
        let unread = [vec![vec![5, 0]], vec![vec![3, 4], vec![5, 8]], vec![vec![0, 4], vec![0, 8]]];
        assert_eq!(chosen(&edges, &unread), [1, 2, 2]);
    }

    #[test]
    fn a_cycle_falls_back_together() {
        // Region 1 feeds region 0 back; without the newest of 0, 1 must go back, and then 0 once more.
        let (edges, all) = ([(0, 1), (1, 0)], [vec![vec![2, 1], vec![4, 3]], vec![vec![2, 2], vec![6, 5]]]);
        assert_eq!(chosen(&edges, &all), [1, 1]);
    }

    #[test]
    fn what_is_trimmed_cannot_be_read_again_and_id_dedupe_binds_nobody() {
        let (candidates, mut edges) = job(&[(0, 1)], &[vec![vec![3]], vec![vec![5]]]);
        edges[0].trimmed = at(4);
        assert_eq!(consistent_restore(&candidates, &edges).unwrap_err().kind(), Kind::Corrupt);
        edges[0].mode = EdgeMode::IdDedupe;
        assert_eq!(consistent_restore(&candidates, &edges).unwrap()["1"], Some(Epoch(1)));
    }

    fn fits(edges: &[(usize, usize)], checkpoints: &[Vec<Vec<u64>>], choice: &[usize]) -> bool {
        let position =
            |region: usize, edge: usize| choice[region].checked_sub(1).map_or(0, |n| checkpoints[region][n][edge]);
        edges
            .iter()
            .enumerate()
            .all(|(edge, (producer, consumer))| position(*consumer, edge) <= position(*producer, edge))
    }

    proptest! {
        /// Against every choice there is, on random graphs of three regions with cycles.
        #[test]
        fn the_choice_fits_and_is_above_every_other_that_fits(
            edges in prop::collection::vec((0usize..3, 0usize..3), 1..4),
            steps in prop::collection::vec(prop::collection::vec(prop::collection::vec(0u64..4, 3), 0..4), 3),
        ) {
            let edges: Vec<_> = edges.into_iter().filter(|(from, to)| from != to).collect();
            let grow = |steps: &Vec<Vec<u64>>| {
                let mut at = vec![0; 3];
                steps.iter().map(|step| { (0..3).for_each(|edge| at[edge] += step[edge]); at.clone() }).collect::<Vec<_>>()
            };
            let checkpoints: Vec<Vec<Vec<u64>>> = steps.iter().map(grow).collect();
            let found: Vec<usize> = chosen(&edges, &checkpoints).into_iter().map(|epoch| epoch as usize).collect();
            prop_assert!(fits(&edges, &checkpoints, &found));
            for a in 0..=checkpoints[0].len() {
                for b in 0..=checkpoints[1].len() {
                    for c in 0..=checkpoints[2].len() {
                        let other = [a, b, c];
                        let above = other.iter().zip(&found).any(|(other, found)| other > found);
                        prop_assert!(!(above && fits(&edges, &checkpoints, &other)), "{other:?} is better than {found:?}");
                    }
                }
            }
        }
    }
}
