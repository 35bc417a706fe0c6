//! What the retry rules promise.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_budget_starts_with_five_and_earns_a_tenth() {
    let mut budget = Budget::new(BudgetSettings::default());
    assert_eq!((0..10).filter(|_| budget.try_spend(SECOND)).count(), 5);
    (0..9).for_each(|_| budget.earn());
    assert!(!budget.try_spend(SECOND));
    budget.earn();
    assert!(budget.try_spend(SECOND), "ten first attempts pay for one retry");
    (0..10_000).for_each(|_| budget.earn());
    assert_eq!((0..100).filter(|_| budget.try_spend(SECOND)).count(), 50, "no more than fifty are saved");
}

#[test]
fn a_trickle_refills_a_budget_without_new_rows() {
    let mut budget = Budget::new(BudgetSettings { start: 0.0, per_second: 0.5, ..BudgetSettings::default() });
    assert!(!budget.try_spend(SECOND));
    assert!(budget.try_spend(2 * SECOND));
    assert!(!budget.try_spend(2 * SECOND));
}

#[test]
fn what_may_have_been_worked_on_is_retried_only_if_idempotent() {
    let case = |fault: Fault| (fault.is_retryable(true), fault.is_retryable(false));
    assert_eq!(case(Fault::Throttled), (true, true));
    assert_eq!(case(Fault::Overloaded), (true, true));
    assert_eq!(case(Fault::Down), (true, true));
    assert_eq!(case(Fault::Timeout), (true, false));
    assert_eq!(case(Fault::Died), (true, false));
    assert_eq!(case(Fault::Data), (false, false));
    assert_eq!(case(Fault::TooLarge), (false, false));
}

proptest! {
    #[test]
    fn retries_never_exceed_the_budget(steps in prop::collection::vec(prop::bool::weighted(0.4), 0..500)) {
        let mut budget = Budget::new(BudgetSettings::default());
        let (mut first, mut retries) = (0u32, 0u32);
        for retry in steps {
            if retry { retries += u32::from(budget.try_spend(SECOND)) } else { budget.earn(); first += 1 }
            prop_assert!(f64::from(retries) <= 5.0 + 0.1 * f64::from(first) + 1e-6);
            prop_assert!((0.0..=50.0).contains(&budget.saved()));
        }
    }

    #[test]
    fn pauses_are_within_their_bound(failures in 1u32..100, asked in prop::option::of(0u64..100_000), seed: u64) {
        let backoff = RetrySettings::default().backoff;
        let mut chance = Chance::new(seed);
        let asked = asked.map(Duration::from_millis);
        let pause = backoff.pause(failures, asked, &mut chance);
        match asked {
            Some(asked) => prop_assert!(pause >= asked && pause <= asked.mul_f64(1.1)),
            None => {
                let bound = 50u64.saturating_mul(1 << (failures - 1).min(20)).min(5_000);
                prop_assert!(pause <= Duration::from_millis(bound));
            }
        }
    }
}

#[test]
fn jitter_is_full() {
    let backoff = RetrySettings::default().backoff;
    let mut chance = Chance::new(3);
    let pauses: Vec<f64> = (0..4000).map(|_| backoff.pause(1, None, &mut chance).as_secs_f64()).collect();
    let mean = pauses.iter().sum::<f64>() / 4000.0;
    assert!((mean - 0.025).abs() < 0.001, "uniform over 0..50 ms has mean 25 ms: {mean}");
    assert!(pauses.iter().any(|pause| *pause < 0.001) && pauses.iter().any(|pause| *pause > 0.049));
}
