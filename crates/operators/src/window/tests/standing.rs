//! Sessions over updates beside a naive oracle: it keeps the rows that stand, and cuts them into sessions anew each time.

use std::collections::{BTreeMap, BTreeSet};

use arrow::compute::SortOptions;
use datafusion::functions_aggregate::string_agg::string_agg_udaf;
use datafusion::physical_expr::PhysicalSortExpr;
use forebay_state::keyed::MemorySpill;

use super::updates::{Change, aggregates, edits, input, line, row, rows_of, wide};
use super::*;

/// How a case runs.
#[derive(Debug, Clone, Copy)]
struct Case {
    gap: i64,
    lateness: i64,
    /// Whether a row is taken back under another id than it was given.
    other_ids: bool,
    bug: Option<WindowBug>,
}

struct Oracle {
    case: Case,
    watermark: i64,
    /// That came, were not late and not taken back, and whose session is not over.
    rows: Vec<Row>,
    /// Of sessions that are over.
    done: Vec<Line>,
    late: BTreeSet<(u64, RowKind)>,
}

fn settings_of(case: Case) -> WindowSettings {
    let mut settings = super::settings(Shape::Session { gap: case.gap }, case.lateness, case.bug);
    settings.aggregates = aggregates(false);
    settings.aggregates.extend([counted(), named(), different()]);
    let mut fields = settings.output.fields()[..4].to_vec();
    for (place, aggregate) in settings.aggregates.iter().enumerate() {
        let kind = aggregate.function.field().data_type().clone();
        fields.push(Arc::new(Field::new(format!("a{place}"), kind, true)));
    }
    settings.keys = KeyColumns::new(vec![0], &input()).unwrap();
    WindowSettings { updates: true, output: Arc::new(Schema::new(fields)), ..settings }
}

/// Of a literal.
fn counted() -> Aggregate {
    aggregate(count_udaf(), lit(1i64), "rows", false)
}

/// Names in their order: no accumulator of it takes a row back.
fn named() -> Aggregate {
    let name = || col("name", &input()).unwrap();
    let order = vec![PhysicalSortExpr::new(name(), SortOptions::default())];
    let built = AggregateExprBuilder::new(string_agg_udaf(), vec![name(), lit("")]).schema(input()).alias("names");
    Aggregate::new(Arc::new(built.order_by(order).build().unwrap()), None, &input()).unwrap()
}

/// Nor of this one.
fn different() -> Aggregate {
    aggregate(sum_udaf(), col("value", &input()).unwrap(), "different", true)
}

// === impl Oracle ===

impl Oracle {
    fn new(case: Case) -> Self {
        Self { case, watermark: i64::MIN, rows: Vec::new(), done: Vec::new(), late: BTreeSet::new() }
    }

    fn is_over(&self, last: i64, lateness: i64) -> bool {
        last.saturating_add(self.case.gap).saturating_add(lateness) <= self.watermark
    }

    fn row(&mut self, row: &Row) {
        let gap = self.case.gap;
        let touches = |rows: &Vec<Row>| {
            let (first, last) = (rows[0].time, rows[rows.len() - 1].time);
            rows[0].key == row.key && first - gap <= row.time && row.time <= last + gap
        };
        let touched = self.sessions().into_iter().filter(touches);
        let last = touched.map(|rows| rows[rows.len() - 1].time).fold(row.time, i64::max);
        if self.is_over(last, self.case.lateness) {
            self.late.insert((row.place, row.kind));
        } else if row.kind.is_retraction() {
            let is_it = |other: &Row| (other.key, other.time, other.value) == (row.key, row.time, row.value);
            let found = self.rows.iter().position(is_it);
            found.map(|found| self.rows.remove(found));
        } else {
            self.rows.push(row.clone());
        }
    }

    fn watermark(&mut self, watermark: i64) {
        self.watermark = self.watermark.max(watermark);
        for rows in self.sessions() {
            if self.is_over(rows[rows.len() - 1].time, self.case.lateness) {
                self.rows.retain(|row| !rows.contains(row));
                self.done.push(self.line(&rows));
            }
        }
    }

    /// The rows of each, in order of time.
    fn sessions(&self) -> Vec<Vec<Row>> {
        let mut of_key: BTreeMap<Option<u8>, Vec<Row>> = BTreeMap::new();
        self.rows.iter().for_each(|row| of_key.entry(row.key).or_default().push(row.clone()));
        let mut sessions = Vec::new();
        for mut rows in of_key.into_values() {
            rows.sort_by_key(|row| row.time);
            let cut = rows.chunk_by(|row, next| next.time - row.time <= self.case.gap);
            sessions.extend(cut.map(<[Row]>::to_vec));
        }
        sessions
    }

    fn line(&self, rows: &[Row]) -> Line {
        let (start, end) = (rows[0].time, rows[rows.len() - 1].time + self.case.gap);
        let mut line = line((rows[0].key, start, end), &rows.iter().collect::<Vec<_>>(), true);
        let values: BTreeSet<i64> = rows.iter().filter_map(|row| row.value).collect();
        let mut names: Vec<String> = rows.iter().filter_map(|row| row.value.map(super::updates::name)).collect();
        names.sort_unstable();
        let text = |text: String, is_null: bool| if is_null { "-".to_string() } else { text };
        line.push(rows.len().to_string());
        line.push(text(names.concat(), values.is_empty()));
        line.push(text(values.iter().sum::<i64>().to_string(), values.is_empty()));
        line
    }

    fn table(&self) -> Vec<Line> {
        let mut lines = self.done.clone();
        if self.case.lateness > 0 {
            let complete = |rows: &Vec<Row>| self.is_over(rows[rows.len() - 1].time, 0);
            lines.extend(self.sessions().into_iter().filter(complete).map(|rows| self.line(&rows)));
        }
        lines.sort();
        lines
    }
}

/// Runs `acts` beside the oracle; says where the two differ. With `restarts` memory is short, too. Answers kinds and ids of all
/// results.
fn check(case: Case, acts: &[Change], restarts: bool) -> Result<Vec<(RowKind, RowId)>, String> {
    const OTHER: u64 = 1 << 32;
    let mut settings = settings_of(case);
    if restarts {
        settings.state = StateSettings { memory_bytes_max: 500, spill: Some(Arc::new(MemorySpill)), ..settings.state };
    }
    let mut job = Job::of(settings, 1, wide);
    let mut oracle = Oracle::new(case);
    let (mut standing, mut place, mut names) = (Vec::new(), 0, BTreeMap::new());
    for (step, act) in acts.iter().enumerate() {
        let before = job.out.len();
        match act {
            Change::Rows(edits) => {
                let mut rows = rows_of(edits, &mut standing, &mut place);
                rows.iter().for_each(|row| oracle.row(row));
                let taken_back = rows.iter_mut().filter(|row| case.other_ids && row.kind.is_retraction());
                taken_back.for_each(|row| row.place += OTHER);
                job.rows(&rows);
            }
            Change::Watermark(watermark) => {
                job.watermark(*watermark);
                oracle.watermark(*watermark);
            }
            Change::Restart(parallelism) if restarts => job.restart(*parallelism),
            Change::Restart(_) => {}
        }
        let (found, expected) = (job.table()?, oracle.table());
        if found != expected {
            return Err(format!("after act {step} of {acts:?}: found {found:?}, expected {expected:?}"));
        }
        let late: BTreeSet<_> = job.late().iter().map(|(id, kind)| (id % OTHER, *kind)).collect();
        if late != oracle.late {
            return Err(format!("after act {step} of {acts:?}: late {late:?}, expected {:?}", oracle.late));
        }
        for (kind, id, line) in &job.out[before..] {
            if names.entry(*id).or_insert_with(|| line.clone()) != line {
                return Err(format!("{id:?} is {line:?} and {:?}", names[id]));
            }
            if case.lateness == 0 && *kind != RowKind::Insert {
                return Err(format!("{kind} {line:?} without lateness"));
            }
        }
    }
    if names.values().collect::<BTreeSet<_>>().len() != names.len() {
        return Err("one result has two ids".to_string());
    }
    let mut out: Vec<_> = job.out.iter().map(|(kind, id, _)| (*kind, *id)).collect();
    out.sort_unstable();
    Ok(out)
}

fn cases() -> impl Strategy<Value = Case> {
    let lateness = prop_oneof![Just(0), 1i64..40];
    (1i64..8, lateness, any::<bool>()).prop_map(|(gap, lateness, other_ids)| Case {
        gap,
        lateness,
        other_ids,
        bug: None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn sessions_over_updates_are_those_of_the_rows_that_stand(case in cases(), acts in edits()) {
        let restarted = check(case, &acts, true).map_err(TestCaseError::fail)?;
        let straight = check(case, &acts, false).map_err(TestCaseError::fail)?;
        prop_assert_eq!(restarted, straight, "results differ by restarts, parallelism and memory");
    }
}

#[test]
fn planted_bugs_of_sessions_over_updates_are_caught() {
    use WindowBug::{AddRetractions, FireEarly, ForgetClock, KeepOld, NeverSplit};
    for bug in [AddRetractions, FireEarly, ForgetClock, KeepOld, NeverSplit] {
        let mut runner = TestRunner::deterministic();
        let given = (cases(), edits());
        let caught = (0..500).position(|_| {
            let (case, acts) = given.new_tree(&mut runner).unwrap().current();
            check(Case { bug: Some(bug), ..case }, &acts, true).is_err()
        });
        assert!(caught.is_some(), "{bug:?} was not caught");
    }
}

const CASE: Case = Case { gap: 5, lateness: 0, other_ids: false, bug: None };

/// Kind, start, end and rows of all that came out.
fn shown(job: &Job) -> Vec<String> {
    job.out.iter().map(|(kind, _, line)| format!("{kind} {}..{} of {}", line[1], line[2], line[14])).collect()
}

fn chain(times: &[i64]) -> Vec<Row> {
    (1..).zip(times).map(|(place, time)| row(place, *time, 1, RowKind::Insert)).collect()
}

#[test]
fn a_session_that_loses_a_row_is_two() {
    let mut job = Job::of(settings_of(Case { lateness: 20, ..CASE }), 1, wide);
    job.rows(&chain(&[0, 4, 8, 12]));
    job.watermark(17);
    job.rows(&[row(2, 4, 1, RowKind::Delete)]);
    job.restart(2);
    job.rows(&[row(5, 5, 1, RowKind::Insert)]);
    job.rows(&[row(5, 5, 1, RowKind::UpdateBefore), row(6, 5, 2, RowKind::UpdateAfter)]);
    let first = ["+I 0..17 of 4", "-D 0..17 of 4", "+I 0..5 of 1", "+I 8..17 of 2"];
    let joined = ["-D 0..5 of 1", "-D 8..17 of 2", "+I 0..17 of 4", "-U 0..17 of 4", "+U 0..17 of 4"];
    assert_eq!(shown(&job), [&first[..], &joined[..]].concat());
}

#[test]
fn what_is_over_because_it_lost_a_row_goes_with_the_next_watermark() {
    let mut job = Job::of(settings_of(CASE), 1, wide);
    job.rows(&chain(&[0, 4, 8, 12]));
    job.watermark(14);
    job.rows(&[row(2, 4, 1, RowKind::UpdateBefore)]);
    job.restart(3);
    job.rows(&[row(5, 4, 2, RowKind::UpdateAfter)]);
    job.rows(&[row(3, 8, 1, RowKind::Delete)]);
    assert_eq!(shown(&job), [""; 0], "an update in place cuts nothing in two");
    job.restart(1);
    job.watermark(14);
    assert_eq!(shown(&job), ["+I 0..9 of 2"]);
    job.rows(&[row(1, 0, 1, RowKind::Delete), row(6, 7, 1, RowKind::Insert)]);
    assert_eq!(job.late(), [(1, RowKind::Delete)]);
    job.watermark(17);
    assert_eq!(shown(&job), ["+I 0..9 of 2", "+I 7..17 of 2"]);
}

#[test]
fn what_was_never_there_is_not_taken_back() {
    let mut job = Job::of(settings_of(CASE), 1, wide);
    let other = row(1, 0, 7, RowKind::Delete);
    job.rows(&[other.clone(), row(2, 0, 1, RowKind::Insert), other, row(3, 2, 1, RowKind::Delete)]);
    job.watermark(5);
    assert_eq!(shown(&job), ["+I 0..5 of 1"]);
    assert_eq!(job.late(), []);
}

#[test]
fn rows_of_one_time_and_content_are_counted() {
    let mut job = Job::of(settings_of(CASE), 1, wide);
    job.rows(&chain(&[3; 9000]));
    job.rows(&[row(1, 3, 1, RowKind::Delete)]);
    job.restart(2);
    job.rows(&[row(1, 3, 1, RowKind::Delete)]);
    job.watermark(8);
    assert_eq!(shown(&job), ["+I 3..8 of 8998"]);
}
