//! What is counted of the predictions of a key and interval, and what follows from it.
//!
//! Only whole numbers are kept: counts, and sums in units of 2^-32. A row that is taken back subtracts exactly what it added,
//! and the result does not depend on the order of rows. Scores are counted in narrow bins, `NARROW` of them to each bin of
//! calibration and drift; AUC is exact up to the width of a narrow bin, within which scores count as equal.
//!
//! Formulas: AUC is the Mann-Whitney statistic, ties a half (Hanley and McNeil, Radiology 143, 1982; Fawcett, Pattern Recognition
//! Letters 27, 2006). Calibration error is the expected calibration error over bins of equal width (Naeini, Cooper and
//! Hauskrecht, AAAI 2015; Guo et al., ICML 2017). Drift is the population stability index (Siddiqi, Credit Risk Scorecards,
//! 2006), where an empty bin counts as a share of 0.0001. Log loss is the mean of -ln of the probability given to the label, no
//! probability below 1e-15.

use std::collections::BTreeMap;

use forebay_core::{Error, Kind, Result};
use forebay_state::keyed::StateValue;

/// Narrow bins in each bin of calibration and drift.
const NARROW: u32 = 100;

/// Units of sums in one.
const ONE: f64 = (1u64 << 32) as f64;

/// Least probability that counts in log loss; what scikit-learn took for doubles.
const PROBABILITY_MIN: f64 = 1e-15;

/// Share that an empty bin counts as in drift.
const SHARE_MIN: f64 = 1e-4;

/// How rows are counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// From which score on a row counts as positive.
    pub threshold: f64,
    /// Bins of calibration and drift; at least two.
    pub bins: u16,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Rows with a label, by label (false, true), then by whether the score counts as positive.
    outcomes: [[i64; 2]; 2],
    /// Sum of losses of rows with a label.
    loss: i128,
    /// By narrow bin: rows without a label, with a false one, with a true one.
    narrow: BTreeMap<u32, [i64; 3]>,
    /// By bin: sum of scores of rows with a label.
    scores: BTreeMap<u32, i128>,
}

/// What is put out of a tally: predictions, those with a label, then accuracy, precision, recall, AUC, log loss, calibration
/// error, and drift where it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figures {
    pub counts: [i64; 2],
    pub ratios: Vec<Option<f64>>,
}

// === impl Tally ===

impl Tally {
    /// Counts a row, or, with `sign` -1, takes one back. `score` is from 0 to 1.
    pub fn add(&mut self, scale: Scale, score: f64, label: Option<bool>, sign: i64) {
        let narrow = ((score * f64::from(scale.narrow())) as u32).min(scale.narrow() - 1);
        let cell = self.narrow.entry(narrow).or_default();
        cell[label.map_or(0, |label| 1 + usize::from(label))] += sign;
        if *cell == [0; 3] {
            self.narrow.remove(&narrow);
        }
        let Some(label) = label else { return };
        self.outcomes[usize::from(label)][usize::from(score >= scale.threshold)] += sign;
        let given = if label { score } else { 1.0 - score };
        self.loss += i128::from(sign) * units(-given.max(PROBABILITY_MIN).ln());
        let sum = self.scores.entry(narrow / NARROW).or_default();
        *sum += i128::from(sign) * units(score);
        if *sum == 0 {
            self.scores.remove(&(narrow / NARROW));
        }
    }

    /// Whether every row was taken back.
    pub fn is_empty(&self) -> bool {
        self.narrow.is_empty()
    }

    /// What follows. `reference` is what drift is measured against: `None` where it is not asked for.
    pub fn figures(&self, reference: Option<Option<&Tally>>) -> Figures {
        let [[true_negative, false_positive], [false_negative, true_positive]] = self.outcomes;
        let labelled: i64 = self.outcomes.iter().flatten().sum();
        let predictions = self.narrow.values().flatten().sum();
        let mut ratios = vec![
            ratio(true_positive + true_negative, labelled),
            ratio(true_positive, true_positive + false_positive),
            ratio(true_positive, true_positive + false_negative),
            self.auc(),
            (labelled > 0).then(|| self.loss as f64 / ONE / labelled as f64),
            (labelled > 0).then(|| self.calibration_error() / labelled as f64),
        ];
        ratios.extend(reference.map(|reference| reference.and_then(|reference| self.drift(reference))));
        Figures { counts: [predictions, labelled], ratios }
    }

    /// How often a true row has a higher score than a false one.
    fn auc(&self) -> Option<f64> {
        let (mut twice, mut below, mut positives) = (0i128, 0i128, 0i128);
        for [_, negative, positive] in self.narrow.values() {
            let (negative, positive) = (i128::from(*negative), i128::from(*positive));
            twice += positive * (2 * below + negative);
            below += negative;
            positives += positive;
        }
        let pairs = positives * below;
        (pairs > 0).then(|| twice as f64 / 2.0 / pairs as f64)
    }

    /// Sum over bins of how far scores and labels are apart.
    fn calibration_error(&self) -> f64 {
        let mut positives: BTreeMap<u32, i128> = BTreeMap::new();
        for (narrow, [_, _, positive]) in &self.narrow {
            *positives.entry(narrow / NARROW).or_default() += i128::from(*positive) << 32;
        }
        for (bin, sum) in &self.scores {
            *positives.entry(*bin).or_default() -= sum;
        }
        positives.values().map(|apart| apart.abs()).sum::<i128>() as f64 / ONE
    }

    fn drift(&self, reference: &Tally) -> Option<f64> {
        let (own, other) = (self.shares()?, reference.shares()?);
        let share =
            |shares: &BTreeMap<u32, f64>, bin: u32| shares.get(&bin).copied().unwrap_or_default().max(SHARE_MIN);
        let mut bins: Vec<u32> = own.keys().chain(other.keys()).copied().collect();
        bins.sort_unstable();
        bins.dedup();
        // A bin that is empty on both sides adds nothing.
        let term = |bin: &u32| {
            let (own, other) = (share(&own, *bin), share(&other, *bin));
            (own - other) * (own / other).ln()
        };
        Some(bins.iter().map(term).sum())
    }

    /// The share of all predictions that each bin has; none of no predictions.
    fn shares(&self) -> Option<BTreeMap<u32, f64>> {
        let mut counts: BTreeMap<u32, i64> = BTreeMap::new();
        for (narrow, cell) in &self.narrow {
            *counts.entry(narrow / NARROW).or_default() += cell.iter().sum::<i64>();
        }
        let all: i64 = counts.values().sum();
        (all > 0).then(|| counts.into_iter().map(|(bin, count)| (bin, count as f64 / all as f64)).collect())
    }
}

// === impl Scale ===

impl Scale {
    fn narrow(self) -> u32 {
        u32::from(self.bins) * NARROW
    }
}

fn units(value: f64) -> i128 {
    (value * ONE).round() as i128
}

fn ratio(part: i64, all: i64) -> Option<f64> {
    (all > 0).then(|| part as f64 / all as f64)
}

// === as bytes ===

impl Figures {
    /// As state and row ids hold it.
    pub fn put(&self, out: &mut Vec<u8>) {
        self.counts.iter().for_each(|count| out.extend(count.to_le_bytes()));
        out.push(self.ratios.len() as u8);
        for ratio in &self.ratios {
            out.push(u8::from(ratio.is_some()));
            out.extend(ratio.unwrap_or_default().to_bits().to_le_bytes());
        }
    }

    fn take(rest: &mut &[u8]) -> Option<Self> {
        let counts = [i64::from_le_bytes(take(rest)?), i64::from_le_bytes(take(rest)?)];
        let [length] = take(rest)?;
        let mut ratios = Vec::with_capacity(usize::from(length));
        for _ in 0..length {
            let [is_there] = take(rest)?;
            let value = f64::from_bits(u64::from_le_bytes(take(rest)?));
            ratios.push((is_there == 1).then_some(value));
        }
        Some(Self { counts, ratios })
    }
}

/// A tally and what was last put out of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Pane {
    pub tally: Tally,
    pub given: Option<Figures>,
}

impl StateValue for Pane {
    const CODEC: &'static str = "metrics-1";

    fn encode(&self, out: &mut Vec<u8>) {
        let Tally { outcomes, loss, narrow, scores } = &self.tally;
        outcomes.iter().flatten().for_each(|count| out.extend(count.to_le_bytes()));
        out.extend(loss.to_le_bytes());
        out.extend((narrow.len() as u32).to_le_bytes());
        for (bin, cell) in narrow {
            out.extend(bin.to_le_bytes());
            cell.iter().for_each(|count| out.extend(count.to_le_bytes()));
        }
        out.extend((scores.len() as u32).to_le_bytes());
        for (bin, sum) in scores {
            out.extend(bin.to_le_bytes());
            out.extend(sum.to_le_bytes());
        }
        out.push(u8::from(self.given.is_some()));
        self.given.iter().for_each(|given| given.put(out));
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let mut rest = bytes;
        let pane = read(&mut rest).filter(|_| rest.is_empty());
        pane.ok_or_else(|| Error::new(Kind::Corrupt, "read counts of predictions").with("bytes", bytes.len()))
    }

    fn size_bytes(&self) -> usize {
        size_of::<Self>() + 40 * self.tally.narrow.len() + 32 * self.tally.scores.len()
    }
}

fn read(rest: &mut &[u8]) -> Option<Pane> {
    let mut tally = Tally::default();
    for count in tally.outcomes.iter_mut().flatten() {
        *count = i64::from_le_bytes(take(rest)?);
    }
    tally.loss = i128::from_le_bytes(take(rest)?);
    for _ in 0..u32::from_le_bytes(take(rest)?) {
        let bin = u32::from_le_bytes(take(rest)?);
        let mut cell = [0; 3];
        for count in &mut cell {
            *count = i64::from_le_bytes(take(rest)?);
        }
        tally.narrow.insert(bin, cell);
    }
    for _ in 0..u32::from_le_bytes(take(rest)?) {
        let bin = u32::from_le_bytes(take(rest)?);
        tally.scores.insert(bin, i128::from_le_bytes(take(rest)?));
    }
    let [is_given] = take(rest)?;
    let given = if is_given == 1 { Some(Figures::take(rest)?) } else { None };
    Some(Pane { tally, given })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}
