//! A row of which the server makes a failure each time, and servers that are down.

use super::*;

/// Longer than any pause.
const LATER: Duration = Duration::from_secs(6);

fn remote() -> Bench {
    let settings = InferenceSettings { site: Site::Server, ..settings(Order::Unordered, OnError::DeadLetter) };
    Bench::restored(settings, Restored::default())
}

impl Bench {
    /// Answers every open call: those with a row of `bad` as a server that is down, the others with rows. Lets time pass then.
    fn round(&mut self, bad: &[i64]) -> String {
        let calls = self.calls();
        for (number, rows) in calls.iter().enumerate() {
            if self.model.calls.lock().unwrap()[number].1.is_some() {
                let fails = rows.iter().any(|row| bad.contains(row));
                self.model.answer(number, fails.then_some(Kind::Unavailable));
            }
        }
        let out = self.out();
        self.pass(LATER);
        out
    }
}

#[test]
fn a_row_that_fails_while_others_are_answered_is_found_and_given_up() {
    let mut bench = remote();
    let mut out = Vec::new();
    for round in 0..40 {
        bench.rows(round * 4..round * 4 + 4);
        out.push(bench.round(&[1]));
    }
    let dead: Vec<&String> = out.iter().filter(|out| out.contains("dead")).collect();
    assert_eq!(dead.len(), 1, "{out:?}");
    assert!(dead[0].contains("dead 1 unavailable after "), "{dead:?}");
    assert!(bench.operator.table.is_empty(), "all others were answered");
    let most = bench.calls().iter().filter(|rows| rows.contains(&1)).count();
    assert!(most < 30, "asked {most} times");
}

#[test]
fn while_nobody_is_answered_rows_wait_and_none_is_a_dead_letter() {
    let mut bench = remote();
    bench.rows(0..8);
    for _ in 0..200 {
        assert_eq!(bench.round(&[0, 1, 2, 3, 4, 5, 6, 7]), "");
    }
    assert_eq!(bench.calls().last().map(Vec::len), Some(4), "no call was cut for it");
    let mut out = Vec::new();
    while !bench.operator.table.is_empty() {
        out.push(bench.round(&[]));
    }
    assert!(!out.iter().any(|out| out.contains("dead")), "{out:?}");
}

#[test]
fn of_a_last_call_that_fails_for_one_of_its_rows_the_others_are_answered() {
    let mut bench = remote();
    bench.rows(0..4);
    let mut out = Vec::new();
    while bench.operator.table.len() > 1 {
        out.push(bench.round(&[2]));
        assert!(out.len() < 40, "{out:?}");
    }
    assert_eq!(out.iter().filter(|out| out.contains("rows")).count(), 2, "{out:?}");
    assert!(!out.iter().any(|out| out.contains("dead")), "too little is known of it: {out:?}");
}

#[test]
fn a_row_that_all_others_wait_for_is_given_up_too() {
    let settings = InferenceSettings { site: Site::Server, ..settings(Order::Ordered, OnError::DeadLetter) };
    let mut bench = Bench::restored(settings, Restored::default());
    let mut out = String::new();
    let mut rows = 0;
    for _ in 0..60 {
        if bench.operator.room() == Room::Room {
            bench.rows(rows..rows + 1);
            rows += 1;
        }
        out += &bench.round(&[0]);
    }
    assert!(out.contains("dead 0 unavailable"), "{out}");
}

#[test]
fn a_server_that_answers_one_call_between_crashes_makes_no_dead_letters() {
    let mut bench = remote();
    bench.rows(0..8);
    let mut out = String::new();
    for round in 0..200 {
        if round % 2 == 0 {
            bench.rows(100 + round..101 + round);
        }
        let bad: Vec<i64> = (0..300).filter(|row| row % 8 != round % 8).collect();
        out += &bench.round(&bad);
    }
    assert!(!out.contains("dead"), "{out}");
}
