//! Figures beside published examples and beside formulas over lists; rows that are taken back leave nothing.

use forebay_state::keyed::StateValue;
use proptest::prelude::*;

use super::tally::{Figures, Pane, Scale, Tally};

const SCALE: Scale = Scale { threshold: 0.5, bins: 10 };

fn tally(rows: &[(f64, Option<bool>)]) -> Tally {
    let mut tally = Tally::default();
    rows.iter().for_each(|(score, label)| tally.add(SCALE, *score, *label, 1));
    tally
}

fn figures(rows: &[(f64, Option<bool>)]) -> Figures {
    tally(rows).figures(None)
}

fn is_near(found: Option<f64>, expected: f64) -> bool {
    found.is_some_and(|found| (found - expected).abs() < 1e-6)
}

#[test]
fn auc_and_log_loss_are_those_of_the_examples_of_scikit_learn() {
    // roc_auc_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) is 0.75.
    let rows = [(0.1, Some(false)), (0.4, Some(false)), (0.35, Some(true)), (0.8, Some(true))];
    assert_eq!(figures(&rows).ratios[3], Some(0.75));
    // log_loss(["spam", "ham", "ham", "spam"], [[.1, .9], [.9, .1], [.8, .2], [.35, .65]]) is 0.21616...
    let rows = [(0.9, Some(true)), (0.1, Some(false)), (0.2, Some(false)), (0.65, Some(true))];
    assert!(is_near(figures(&rows).ratios[4], 0.21616187));
}

#[test]
fn accuracy_precision_and_recall_count_from_the_threshold_on() {
    let rows = [(0.5, Some(true)), (0.6, Some(false)), (0.4, Some(true)), (0.1, Some(false)), (0.9, None)];
    let found = figures(&rows);
    assert_eq!(found.counts, [5, 4]);
    assert_eq!(found.ratios[..3], [Some(0.5), Some(0.5), Some(0.5)]);
    let negatives = figures(&[(0.1, Some(false)), (0.2, Some(false))]);
    assert_eq!(negatives.ratios[..4], [Some(1.0), None, None, None], "what cannot be said is null");
    assert_eq!(figures(&[]).ratios, [None; 6]);
}

#[test]
fn calibration_error_is_the_weighted_gap_between_scores_and_labels() {
    // Two of four in a bin are true at a mean score of 0.75; one of one is at 0.05.
    let rows = [(0.72, true), (0.74, true), (0.76, false), (0.78, false), (0.05, true)];
    let rows = rows.map(|(score, label)| (score, Some(label)));
    assert!(is_near(figures(&rows).ratios[5], (4.0 * 0.25 + 0.95) / 5.0));
}

#[test]
fn drift_is_the_population_stability_index_and_none_without_rows() {
    let own = tally(&[(0.05, None), (0.15, None), (0.15, None), (0.25, None)]);
    let reference = tally(&[(0.05, None), (0.05, None), (0.15, None), (0.35, None)]);
    let term = |own: f64, other: f64| (own - other) * (own / other).ln();
    let expected = term(0.25, 0.5) + term(0.5, 0.25) + term(0.25, 0.0001) + term(0.0001, 0.25);
    assert!(is_near(own.figures(Some(Some(&reference))).ratios[6], expected));
    assert_eq!(own.figures(Some(Some(&own))).ratios[6], Some(0.0));
    assert_eq!(own.figures(Some(Some(&Tally::default()))).ratios[6], None);
}

fn row() -> impl Strategy<Value = (f64, Option<bool>)> {
    (0.0..=1.0f64, prop::option::weighted(0.8, any::<bool>()))
}

proptest! {
    #[test]
    fn what_is_taken_back_leaves_nothing(kept in prop::collection::vec(row(), 0..40), gone in prop::collection::vec(row(), 0..40)) {
        let mut all = tally(&gone);
        kept.iter().for_each(|(score, label)| all.add(SCALE, *score, *label, 1));
        gone.iter().rev().for_each(|(score, label)| all.add(SCALE, *score, *label, -1));
        let reversed: Vec<_> = kept.iter().rev().copied().collect();
        prop_assert_eq!(&all, &tally(&reversed), "order does not count");
        prop_assert_eq!(all.is_empty(), kept.is_empty());
    }

    #[test]
    fn auc_is_near_that_of_all_pairs(rows in prop::collection::vec((0.0..=1.0f64, any::<bool>()), 2..60)) {
        let found = figures(&rows.iter().map(|(score, label)| (*score, Some(*label))).collect::<Vec<_>>()).ratios[3];
        let of = |label| rows.iter().filter(move |row| row.1 == label).map(|row| row.0);
        let pairs: Vec<(f64, f64)> = of(true).flat_map(|high| of(false).map(move |low| (high, low))).collect();
        let near = pairs.iter().filter(|(high, low)| (high - low).abs() < 0.001).count() as f64;
        let won: f64 = pairs.iter().map(|(high, low)| if high > low { 1.0 } else if high == low { 0.5 } else { 0.0 }).sum();
        match found {
            None => prop_assert!(pairs.is_empty()),
            Some(found) => prop_assert!((found * pairs.len() as f64 - won).abs() <= near / 2.0 + 1e-9),
        }
    }

    #[test]
    fn panes_are_read_back(rows in prop::collection::vec(row(), 0..30), is_given: bool) {
        let tally = tally(&rows);
        let pane = Pane { given: is_given.then(|| tally.figures(Some(None))), tally };
        let mut bytes = Vec::new();
        pane.encode(&mut bytes);
        prop_assert_eq!(Pane::decode(&bytes).unwrap(), pane);
        prop_assert!(Pane::decode(&bytes[..bytes.len() - 1]).is_err());
    }
}
