//! Rows that take back others get the answer that was given, in every order, whatever happens in between.

use datafusion::physical_expr::expressions::lit;
use forebay_core::operator::Lineage;
use forebay_core::row_kind::RowKind::{self, Delete, Insert, UpdateAfter, UpdateBefore};
use forebay_state::keyed::StateSettings;

use super::super::contents::ContentColumns;
use super::super::ladder::Computed;
use super::super::taking_back::UpdatesSettings;
use super::*;

const ORDERS: [Order; 3] = [Order::Unordered, Order::Ordered, Order::PerKey];

/// Rows have a number, by which they come, and a group, which is the key of `PerKey`; one row a call.
fn updating(order: Order, on_error: OnError) -> InferenceSettings {
    let mut settings = settings(order, on_error);
    let fields = [("n", DataType::Int64, false), ("y", DataType::Int64, true), ("k", DataType::Int64, false)];
    let [n, y, k] = fields.map(|(name, kind, null)| Field::new(name, kind, null));
    let input = Schema::new(vec![n.clone(), k.clone()]);
    settings.answers.schema = Arc::new(Schema::new(vec![n, y]));
    settings.answers.kept = vec![0];
    settings.batcher = BatcherSettings::new(1, 1 << 20, LINGER);
    let by = if order == Order::PerKey { vec![1] } else { vec![0, 1] };
    settings.rows.key =
        (order == Order::PerKey).then(|| forebay_core::keys::KeyColumns::new(by.clone(), &input).unwrap());
    let contents = ContentColumns::new(by, &input).unwrap();
    settings.updates = Some(UpdatesSettings { contents, ttl: None, state: StateSettings::default() });
    settings
}

fn bench(order: Order) -> Bench {
    Bench::restored(updating(order, OnError::DeadLetter), Restored::default())
}

fn changes(changes: &[(RowKind, i64, u64)]) -> Batch {
    let ids: Vec<RowId> = changes.iter().map(|(_, _, id)| RowId::new(SplitId(7), *id)).collect();
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(changes.iter().map(|(_, n, _)| *n)));
    let groups: ArrayRef = Arc::new(Int64Array::from_iter_values(changes.iter().map(|(_, n, _)| n % 2)));
    let rows = RecordBatch::try_from_iter([("n", numbers), ("k", groups)]).unwrap();
    let kinds: Vec<RowKind> = changes.iter().map(|(kind, ..)| *kind).collect();
    Batch::new(rows, ids).unwrap().with_kinds(kinds).unwrap()
}

impl Bench {
    /// Gives rows: what each does, its content, its id.
    fn change(&mut self, rows: &[(RowKind, i64, u64)]) {
        self.operator.on_batch(changes(rows)).unwrap();
    }
}

#[test]
fn a_row_that_takes_back_gets_the_answer_that_was_given_and_nobody_is_asked() {
    for order in ORDERS {
        let mut bench = bench(order);
        bench.change(&[(Insert, 3, 1)]);
        bench.model.say(0, 77);
        assert_eq!(bench.out(), "rows 1=77", "{order:?}");
        bench.change(&[(UpdateBefore, 3, 2), (UpdateAfter, 5, 3)]);
        assert_eq!(bench.out(), "rows -U2=77");
        bench.model.say(1, 78);
        assert_eq!(bench.out(), "rows +U3=78");
        assert_eq!(bench.model.call_sizes(), [1, 1], "two rows were asked about");
        assert_eq!(bench.operator.drain().unwrap(), Drained::Done);
    }
}

#[test]
fn it_waits_for_an_addition_in_flight_and_holds_back_the_watermark_behind_it() {
    for order in ORDERS {
        let mut bench = bench(order);
        bench.change(&[(Insert, 3, 1), (Delete, 3, 2), (Insert, 4, 3)]);
        bench.operator.on_watermark(EventTime(10)).unwrap();
        let other = if order == Order::Ordered { "" } else { "rows 3=40" };
        bench.model.say(1, 40);
        assert_eq!(bench.out(), other, "{order:?}");
        bench.model.say(0, 30);
        let rest = match order {
            Order::Unordered => "rows 1=30 | rows -D2=30",
            Order::PerKey => "rows 1=30 -D2=30",
            Order::Ordered => "rows 1=30 -D2=30 3=40",
        };
        assert_eq!(bench.out(), format!("{rest} | watermark 10"), "{order:?}");
    }
}

#[test]
fn rows_of_one_content_may_have_several_answers_and_each_is_taken_back_once() {
    for order in ORDERS {
        let mut bench = bench(order);
        bench.change(&[(Insert, 3, 1), (Insert, 3, 2)]);
        if order == Order::PerKey {
            bench.model.say(0, 30);
            assert_eq!(bench.out(), "rows 1=30");
            bench.model.say(1, 31);
            assert_eq!(bench.out(), "rows 2=31");
        } else {
            bench.model.say(0, 30);
            bench.model.say(1, 31);
            assert_eq!(bench.out(), "rows 1=30 2=31");
        }
        bench.change(&[(Delete, 3, 3), (Delete, 3, 4)]);
        assert_eq!(bench.out(), "rows -D3=31 -D4=30", "{order:?}");
        bench.change(&[(Delete, 3, 5)]);
        assert_eq!(bench.out(), "dead 5 data after 1", "a third was never given");
    }
}

#[test]
fn a_dead_letter_is_taken_back_without_a_trace() {
    for order in ORDERS {
        let mut bench = bench(order);
        bench.change(&[(Insert, 3, 1), (Delete, 3, 2), (Insert, 5, 3)]);
        bench.operator.on_watermark(EventTime(10)).unwrap();
        bench.model.answer(0, Some(Kind::Data));
        bench.out();
        for call in 1..bench.model.call_sizes().len() {
            bench.model.answer(call, None);
        }
        let out = bench.out();
        assert!(out.ends_with("rows 3=50 | watermark 10"), "{order:?} {out}");
        assert_eq!(bench.operator.drain().unwrap(), Drained::Done);
        bench.change(&[(Insert, 3, 4)]);
        assert_eq!(bench.model.call_sizes().len(), 3, "asked anew");
    }
}

#[test]
fn a_missing_answer_is_taken_back_as_it_was_given() {
    let mut bench = Bench::restored(updating(Order::Unordered, OnError::Null), Restored::default());
    bench.change(&[(Insert, 3, 1)]);
    bench.model.answer(0, Some(Kind::Data));
    assert_eq!(bench.out(), "rows 1=null");
    bench.change(&[(Delete, 3, 2), (Delete, 4, 3)]);
    assert_eq!(bench.out(), "rows -D2=null | dead 3 data after 1", "what was never given is no null");
}

#[test]
fn who_answered_is_taken_back_as_it_was_said() {
    let mut settings = updating(Order::Unordered, OnError::DeadLetter);
    let fields = [("n", DataType::Int64, false), ("y", DataType::Int64, true), ("by", DataType::Utf8, true)];
    let fields = fields.map(|(name, kind, null)| Field::new(name, kind, null));
    settings.answers.schema = Arc::new(Schema::new(fields.to_vec()));
    settings.answers.answered_by = vec!["first".into(), "constant".into()];
    let computed = Computed::new("constant".into(), vec![("y".into(), DataType::Int64, Some(lit(-1i64)))]);
    let ladder = vec![Rung::Computed(computed)];
    let mut bench = Bench::with_ladder(ManualEnv::new(1), settings, Restored::default(), ladder);
    bench.change(&[(Insert, 3, 1), (Insert, 4, 2)]);
    bench.model.answer(0, Some(Kind::Data));
    bench.model.answer(1, None);
    bench.out();
    bench.change(&[(Delete, 3, 3), (Delete, 4, 4)]);
    assert_eq!(bench.out(), "rows -D3=-1(constant) -D4=40(first)");
}

#[test]
fn what_is_not_taken_back_in_time_is_forgotten() {
    let mut settings = updating(Order::Unordered, OnError::DeadLetter);
    settings.updates.as_mut().unwrap().ttl = Some(Duration::from_micros(5));
    let mut bench = Bench::restored(settings, Restored::default());
    bench.change(&[(Insert, 3, 1), (Insert, 4, 2)]);
    bench.model.say(0, 30);
    bench.model.say(1, 40);
    bench.operator.on_watermark(EventTime(10)).unwrap();
    assert_eq!(bench.out(), "rows 1=30 2=40 | watermark 10");
    bench.operator.on_watermark(EventTime(15)).unwrap();
    bench.change(&[(Delete, 3, 3)]);
    assert_eq!(bench.out(), "watermark 15 | rows -D3=30");
    bench.operator.on_watermark(EventTime(16)).unwrap();
    bench.change(&[(Delete, 4, 4)]);
    assert_eq!(bench.out(), "watermark 16 | dead 4 data after 1");
    assert_eq!(bench.operator.drain().unwrap(), Drained::Done);
}

#[test]
fn rows_that_are_given_and_taken_back_together_leave_nothing_in_state() {
    let mut settings = updating(Order::Ordered, OnError::DeadLetter);
    settings.batcher = BatcherSettings::new(4, 1 << 20, LINGER);
    let mut bench = Bench::restored(settings, Restored::default());
    // The first addition holds all others back.
    let rows = [(Insert, 1, 1), (Insert, 3, 2), (Insert, 3, 3), (Delete, 3, 4), (Insert, 5, 5), (Delete, 5, 6)];
    bench.change(&rows);
    bench.model.answer(0, None);
    assert_eq!(bench.out(), "rows 1=10 2=30 3=30 -D4=30 5=50 -D6=50");
    bench.change(&[(Delete, 5, 7), (Delete, 3, 8), (Delete, 1, 9), (Delete, 3, 10)]);
    assert_eq!(bench.out(), "rows -D8=30 -D9=10 | dead 7 data after 1, 10 data after 1");
    bench.change(&[(Insert, 7, 11), (Delete, 7, 12), (Insert, 8, 13)]);
    bench.operator.drain().unwrap();
    bench.model.answer(1, Some(Kind::Unavailable));
    bench.out();
    bench.model.answer(2, Some(Kind::Unavailable));
    bench.model.answer(3, None);
    assert_eq!(bench.out(), "rows 13=80 | dead 11 unavailable after 2", "12 leaves no trace");
}

/// A checkpoint that is restored at parallelism two: what each of the two subtasks gets.
fn halves(restored: &Restored) -> [Restored; 2] {
    [0..64, 64..128].map(|owned: std::ops::Range<u16>| {
        let groups = restored.groups.iter().filter(|(group, _)| owned.contains(&group.0)).cloned().collect();
        Restored { epoch: restored.epoch, groups }
    })
}

fn at_parallelism_two(settings: &InferenceSettings, subtask: u16, restored: Restored) -> Bench {
    let (env, model) = (ManualEnv::new(1), Arc::new(Scripted::default()));
    let gate = ModelGate::fixed(Arc::new(env.clone()), 2, 4, LINGER);
    let mut operator = Inference::new(settings.clone(), model.clone(), gate);
    let mut context = crate::tests::context(&env);
    (context.identity.subtask, context.identity.parallelism) = (subtask, 2);
    operator.open(context, restored).unwrap();
    operator.poll().unwrap();
    Bench { env, model, operator }
}

#[test]
fn a_restore_at_another_parallelism_goes_on_where_it_was() {
    for order in ORDERS {
        let mut bench = bench(order);
        // Of every second number the answer is given, the others are in flight, and half of all are being taken back.
        let given: Vec<_> = (0..16).map(|n| (Insert, n, n as u64)).collect();
        bench.change(&given);
        while !bench.operator.drain().is_ok_and(|drained| drained == Drained::Done) {
            let calls = bench.model.call_sizes().len();
            for call in 0..calls {
                if bench.model.calls.lock().unwrap()[call].1.is_some() {
                    bench.model.answer(call, None);
                }
            }
            bench.out();
        }
        let waiting: Vec<_> = (16..32).flat_map(|n| [(Insert, n, n as u64), (Delete, n, n as u64 + 100)]).collect();
        bench.change(&waiting);
        let restored = bench.snapshot(1);
        let mut found = Vec::new();
        for (subtask, half) in (0..).zip(halves(&restored)) {
            let mut again = at_parallelism_two(&updating(order, OnError::DeadLetter), subtask, half);
            let owned = again.operator.context().identity.key_groups();
            let contents = again.operator.settings.updates.clone().unwrap().contents;
            let back: Vec<_> = (0..16).map(|n| (Delete, n, n as u64 + 200)).collect();
            let groups = contents.of(changes(&back).rows()).unwrap();
            let back: Vec<_> = back.into_iter().zip(groups).filter(|(_, c)| owned.contains(&c.group(128).0)).collect();
            again.change(&back.into_iter().map(|(row, _)| row).collect::<Vec<_>>());
            let mut call = 0;
            loop {
                let drained = again.operator.drain().unwrap();
                found.extend(again.out().split(['|', ' ']).filter(|row| row.contains('=')).map(str::to_string));
                if drained == Drained::Done {
                    break;
                }
                while call < again.model.call_sizes().len() {
                    again.model.say(call, 5);
                    call += 1;
                }
            }
            assert!(again.model.call_sizes().len() < 16, "each half has some");
        }
        found.sort();
        let back = (0..16).map(|n| format!("-D{}={}", n + 200, n * 10));
        let mut expected: Vec<String> =
            back.chain((16..32).flat_map(|n| [format!("{n}=5"), format!("-D{}=5", n + 100)])).collect();
        expected.sort();
        assert_eq!(found, expected, "{order:?}");
    }
}

/// What a restore finds where `second` builds on `first`.
fn chained(first: &Restored, second: Snapshot) -> Restored {
    let Lineage { deltas, .. } = second.lineage.clone().unwrap();
    let built_on = first.groups.iter().filter(|(group, _)| deltas.contains(group)).cloned();
    let mut groups: Vec<_> = built_on.chain(second.groups).collect();
    groups.sort_by_key(|(group, _)| *group);
    Restored { epoch: Some(Epoch(2)), groups }
}

#[test]
fn of_checkpoints_that_build_on_each_other_the_newest_says_which_rows_wait() {
    let mut bench = bench(Order::Unordered);
    bench.change(&[(Insert, 3, 1), (Insert, 4, 2)]);
    bench.model.say(0, 30);
    assert_eq!(bench.out(), "rows 1=30");
    let first = bench.snapshot(1);
    bench.operator.on_checkpoint_complete(Epoch(1));
    bench.model.say(1, 40);
    bench.change(&[(Delete, 3, 3)]);
    assert_eq!(bench.out(), "rows 2=40 -D3=30");
    let frozen = bench.operator.snapshot(Epoch(2)).unwrap();
    let second = bench.env.block_on(frozen).unwrap();
    assert!(second.lineage.as_ref().is_some_and(|lineage| !lineage.deltas.is_empty()));
    let mut again = Bench::restored(updating(Order::Unordered, OnError::DeadLetter), chained(&first, second));
    again.change(&[(Delete, 4, 4), (Delete, 3, 5)]);
    assert_eq!(again.out(), "rows -D4=40 | dead 5 data after 1", "3 was taken back, 4 was given");
    assert!(again.model.call_sizes().is_empty());
}

#[test]
fn only_rows_that_were_asked_about_are_closed_in_the_journal() {
    let mut bench = bench(Order::Ordered);
    bench.change(&[(Insert, 3, 1), (Delete, 3, 2)]);
    bench.model.say(0, 30);
    bench.out();
    bench.snapshot(1);
    bench.operator.on_checkpoint_complete(Epoch(1));
    bench.snapshot(2);
    assert_eq!(*bench.model.closed.lock().unwrap(), [(Epoch(1), 1)]);
}

#[test]
fn an_answer_stays_in_the_journal_while_its_row_waits_again() {
    let mut bench = bench(Order::Ordered);
    bench.change(&[(Insert, 3, 1), (Delete, 3, 2), (Insert, 3, 1)]);
    bench.model.say(0, 30);
    assert_eq!(bench.out(), "rows 1=30 -D2=30");
    bench.snapshot(1);
    bench.operator.on_checkpoint_complete(Epoch(1));
    bench.snapshot(2);
    assert!(bench.model.closed.lock().unwrap().is_empty(), "the same inference is in flight");
    bench.model.say(1, 30);
    assert_eq!(bench.out(), "rows 1=30");
    bench.snapshot(3);
    bench.operator.on_checkpoint_complete(Epoch(3));
    bench.snapshot(4);
    assert_eq!(*bench.model.closed.lock().unwrap(), [(Epoch(3), 1)]);
}

#[test]
fn state_of_rows_that_only_add_is_refused() {
    let mut bench = Bench::new(Order::Unordered);
    bench.rows(0..3);
    let restored = bench.snapshot(1);
    let (env, model) = (ManualEnv::new(1), Arc::new(Scripted::default()));
    let gate = ModelGate::fixed(Arc::new(env.clone()), 1, 4, LINGER);
    let mut operator = Inference::new(updating(Order::Unordered, OnError::DeadLetter), model, gate);
    assert_eq!(operator.open(crate::tests::context(&env), restored).unwrap_err().kind(), Kind::Corrupt);
}

/// What comes out with a bug of an addition that is taken back twice: in flight, and after a restart.
fn with(plant: impl FnOnce(&mut Planted)) -> String {
    let mut settings = updating(Order::Unordered, OnError::DeadLetter);
    plant(&mut settings.planted);
    let mut bench = Bench::restored(settings.clone(), Restored::default());
    bench.change(&[(Insert, 3, 1), (Delete, 3, 2), (Insert, 3, 3)]);
    (0..bench.model.call_sizes().len()).for_each(|call| bench.model.say(call, 30 + call as i64));
    let before = bench.out();
    let restored = bench.snapshot(1);
    let mut again = Bench::restored(settings, restored);
    again.change(&[(Delete, 3, 4)]);
    (0..again.model.call_sizes().len()).for_each(|call| again.model.say(call, 50));
    format!("{before} || {}", again.out())
}

#[test]
fn each_planted_bug_shows() {
    let right = with(|_| {});
    assert_eq!(right, "rows 1=30 3=31 | rows -D2=31 || rows -D4=30");
    assert_ne!(with(|planted| planted.asked_again = true), right);
    assert_ne!(with(|planted| planted.retraction_overtakes = true), right);
    assert_ne!(with(|planted| planted.answers_forgotten = true), right);
}
