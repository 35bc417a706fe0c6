//! Reading as a job does it: several subtasks, snapshots between any two outputs, restores at other parallelisms.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use bytes::Bytes;
use forebay_core::RowId;
use forebay_core::dead_letter::DeadLetter;
use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::operator::{Context, Identity, Restored};
use forebay_core::row::SplitId;
use forebay_core::source::{Enumerator, Read, Reader, Split};
use forebay_core::testing::ManualEnv;
use forebay_core::types::tensor::TensorType;
use proptest::prelude::*;

use super::*;
use crate::sinks::files::{FileSinkSettings, SinkFormat};
use crate::testing_store::MemoryStore;

const GROUPS: u16 = 8;

/// Everything that was read: rows as text by id, and dead letters.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    rows: BTreeMap<RowId, String>,
    letters: Vec<(RowId, String, String)>,
    batches: Vec<usize>,
}

struct Job {
    env: ManualEnv,
    store: MemoryStore,
    format: FileFormat,
    schema: SchemaRef,
    settings: ReaderSettings,
    splits: Vec<Split>,
    state: Vec<(KeyGroup, Bytes)>,
    seen: Seen,
}

// === impl Seen ===

impl Seen {
    fn take(&mut self, read: Read) {
        match read {
            Read::Batch(batch) => {
                assert!(!batch.is_empty());
                self.batches.push(batch.len());
                for (place, id) in batch.ids().iter().enumerate() {
                    let doubled = self.rows.insert(*id, text(batch.rows(), place));
                    assert_eq!(doubled, None, "row {id} was read twice");
                }
            }
            Read::DeadLetters(letters) => {
                let shown = |letter: DeadLetter| (letter.row, letter.reason, letter.input);
                self.letters.extend(letters.into_iter().map(shown));
            }
            other => panic!("not an output: {other:?}"),
        }
    }

    fn values(&self) -> Vec<&str> {
        self.rows.values().map(String::as_str).collect()
    }
}

fn text(rows: &RecordBatch, place: usize) -> String {
    let cell = |column: &arrow::array::ArrayRef| match arrow::util::display::array_value_to_string(column, place) {
        Ok(text) if text.len() > 40 => format!("{} characters", text.len()),
        Ok(text) => text,
        Err(error) => error.to_string(),
    };
    rows.columns().iter().map(cell).collect::<Vec<_>>().join("|")
}

// === impl Job ===

impl Job {
    fn new(store: &MemoryStore, format: FileFormat, pattern: &str) -> Self {
        let env = ManualEnv::new(7);
        let pattern = FilePattern::parse(pattern).unwrap();
        let shared: Arc<dyn Store> = Arc::new(store.clone());
        let schema = env.block_on(infer_schema(Arc::clone(&shared), format, pattern.clone())).unwrap();
        let splits = env.block_on(FilesEnumerator::new("files", shared, pattern).splits()).unwrap();
        let settings = ReaderSettings { batch_rows: Some(4), ..ReaderSettings::default() };
        Self { env, store: store.clone(), format, schema, settings, splits, state: Vec::new(), seen: Seen::default() }
    }

    fn owned(&self, subtask: u16, parallelism: u16) -> impl Iterator<Item = &Split> {
        let identity = Identity { uid: "files".to_string(), subtask, parallelism, groups: GROUPS, attempt: 1 };
        let owned = identity.key_groups();
        self.splits.iter().filter(move |split| owned.contains(&split.id.key_group(GROUPS).0))
    }

    fn open(&self, subtask: u16, parallelism: u16) -> SplitReader {
        self.open_with(subtask, parallelism, None)
    }

    fn open_with(&self, subtask: u16, parallelism: u16, feed: Option<Feed>) -> SplitReader {
        let uid = "files".to_string();
        let identity = Identity { uid, subtask, parallelism, groups: GROUPS, attempt: 1 };
        let owned = identity.key_groups();
        let splits = self.owned(subtask, parallelism).cloned();
        let groups = self.state.iter().filter(|(group, _)| owned.contains(&group.0)).cloned().collect();
        let context = Context { identity, env: Arc::new(self.env.clone()), waker: std::task::Waker::noop().clone() };
        let store = Arc::new(self.store.clone());
        let mut reader = reader(self.format, store, Arc::clone(&self.schema), self.settings.clone()).unwrap();
        if let Some(feed) = feed {
            reader = reader.following(feed);
        }
        let restored = Restored { epoch: Some(Epoch(1)), groups };
        Reader::open(&mut reader, context, splits.collect(), restored).unwrap();
        reader
    }

    /// Reads up to `outputs` outputs in each of `parallelism` subtasks, then snapshots. False once all have ended.
    fn run(&mut self, parallelism: u16, outputs: usize) -> bool {
        let (mut state, mut more) = (Vec::new(), false);
        for subtask in 0..parallelism {
            let mut reader = self.open(subtask, parallelism);
            let mut given = 0;
            let mut ended: BTreeSet<SplitId> = reader.take_ended().into_iter().collect();
            while given < outputs {
                match reader.poll_next().unwrap() {
                    Read::Pending => assert!(self.env.step(), "reader waits for nothing"),
                    Read::End => {
                        ended.extend(reader.take_ended());
                        let owned = self.owned(subtask, parallelism).map(|split| split.id).collect();
                        assert_eq!(ended, owned, "every split has ended by then");
                        break;
                    }
                    read => {
                        if let Read::Batch(batch) = &read {
                            assert!(
                                batch.ids().iter().all(|id| !ended.contains(&id.split)),
                                "a row after its split's end"
                            );
                        }
                        self.seen.take(read);
                        given += 1;
                    }
                }
                ended.extend(reader.take_ended());
            }
            more |= given == outputs;
            let frozen = reader.snapshot(Epoch(1)).unwrap();
            state.extend(self.env.block_on(frozen).unwrap().groups);
        }
        state.sort();
        self.state = state;
        more
    }

    fn read_all(mut self) -> Seen {
        assert!(!self.run(1, usize::MAX));
        self.seen
    }
}

fn ordinals(seen: &Seen) -> Vec<u64> {
    seen.rows.keys().map(|id| id.ordinal).collect()
}

fn lines(from: usize, count: usize) -> Vec<u8> {
    (from..from + count).map(|n| format!("{{\"n\": {n}, \"t\": \"row {n}\"}}\n")).collect::<String>().into_bytes()
}

/// Files of each format with some 90 rows in all, some of them bad.
fn samples(format: FileFormat) -> (MemoryStore, &'static str) {
    let store = MemoryStore::default();
    for file in 0..12usize {
        let (from, count) = (file * 100, file * 5 % 17);
        match format {
            FileFormat::Images => store.set(&format!("{file:02}.png"), vec![file as u8; file + 3]),
            FileFormat::JsonLines => {
                let mut bytes = lines(from, count + 1);
                bytes.extend_from_slice(b"{\"n\": oops}\n\n");
                bytes.extend(lines(from + 50, 3));
                store.set(&format!("{file:02}.jsonl"), bytes);
            }
            FileFormat::Csv => {
                let mut text = "n,t\n".to_string();
                (0..=count).for_each(|n| text.push_str(&format!("{},\"a \"\"b\"\"\n{n}\"\n", from + n)));
                text.push_str("1,2,3\n99,end");
                store.set(&format!("{file:02}.csv"), text.into_bytes());
            }
            FileFormat::Parquet => store.set(&format!("{file:02}.parquet"), parquet_file(from, count + 1)),
        }
    }
    (
        store,
        match format {
            FileFormat::Images => "*.png",
            FileFormat::JsonLines => "*.jsonl",
            FileFormat::Csv => "*.csv",
            FileFormat::Parquet => "*.parquet",
        },
    )
}

fn parquet_file(from: usize, rows: usize) -> Vec<u8> {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    let numbers = arrow::array::Int64Array::from_iter_values((from..from + rows).map(|n| n as i64));
    let rows = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(numbers)]).unwrap();
    let mut writer = ::parquet::arrow::ArrowWriter::try_new(
        Vec::new(),
        schema,
        Some(::parquet::file::properties::WriterProperties::builder().set_max_row_group_row_count(Some(3)).build()),
    )
    .unwrap();
    writer.write(&rows).unwrap();
    writer.into_inner().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn restores_at_any_parallelism_read_every_row_once_under_the_same_id(
        format in 0usize..4,
        runs in proptest::collection::vec((1u16..=4, 1usize..4), 0..8),
    ) {
        let format = FileFormat::ALL[format];
        let (store, pattern) = samples(format);
        let straight = Job::new(&store, format, pattern).read_all();
        prop_assert!(straight.rows.len() >= 12);
        let mut job = Job::new(&store, format, pattern);
        for (parallelism, outputs) in runs {
            job.run(parallelism, outputs);
        }
        prop_assert!(!job.run(2, usize::MAX));
        prop_assert_eq!(&job.seen.rows, &straight.rows);
        let sorted = |seen: &Seen| { let mut letters = seen.letters.clone(); letters.sort(); letters };
        prop_assert_eq!(sorted(&job.seen), sorted(&straight));
    }
}

#[test]
fn one_then_three_then_two_subtasks_read_each_row_once() {
    for format in FileFormat::ALL {
        let (store, pattern) = samples(format);
        let straight = Job::new(&store, format, pattern).read_all();
        let mut job = Job::new(&store, format, pattern);
        assert!(job.run(1, 1), "{format}");
        assert!(job.run(3, 1), "{format}");
        assert!(!job.run(2, usize::MAX), "{format}");
        assert_eq!(job.seen.rows, straight.rows, "{format}");
    }
}

#[test]
fn a_reader_that_follows_reads_what_is_announced_and_never_ends() {
    let (store, pattern) = samples(FileFormat::JsonLines);
    let straight = Job::new(&store, FileFormat::JsonLines, pattern).read_all();
    let mut job = Job::new(&store, FileFormat::JsonLines, pattern);
    let (feed, mut found) = (Feed::default(), job.splits.split_off(4));
    let last = found.split_off(5);
    feed.announce(found.clone());
    let mut readers: Vec<SplitReader> = (0..2).map(|subtask| job.open_with(subtask, 2, Some(feed.clone()))).collect();
    let mut read_on = |readers: &mut Vec<SplitReader>| {
        let mut told = BTreeSet::new();
        for reader in readers {
            loop {
                let read = reader.poll_next().unwrap();
                told.extend(reader.take_found());
                match read {
                    Read::Pending if !job.env.step() => break,
                    Read::Pending => {}
                    Read::End => panic!("it never ends"),
                    read => job.seen.take(read),
                }
            }
        }
        told
    };
    let ids = |splits: &[Split]| splits.iter().map(|split| split.id).collect::<BTreeSet<_>>();
    assert_eq!(read_on(&mut readers), ids(&found), "each by one of them");
    feed.announce(last.clone());
    assert_eq!(read_on(&mut readers), ids(&last));
    let positions: Vec<_> = readers.iter_mut().map(|reader| reader.snapshot(Epoch(1)).unwrap()).collect();
    assert_eq!(job.seen.rows, straight.rows);
    job.state = positions.into_iter().flat_map(|frozen| job.env.block_on(frozen).unwrap().groups).collect();
    job.state.sort();
    job.splits.extend(found.into_iter().chain(last));
    assert!(!job.run(3, 1), "with the list as it is now nothing is left");
}

#[test]
fn batches_depend_on_content_and_not_on_timing() {
    let (store, pattern) = samples(FileFormat::JsonLines);
    let batches = |seed| {
        let mut job = Job::new(&store, FileFormat::JsonLines, pattern);
        job.env = ManualEnv::new(seed);
        job.read_all().batches
    };
    assert!((1..20).all(|seed| batches(seed) == batches(0)));
}

#[test]
fn a_fraction_under_whole_numbers_is_a_dead_letter_and_not_cut_off() {
    let text = "{\"n\": 1, \"x\": 0.5}\n{\"n\": 2.0, \"x\": 1}\n{\"n\": 2.5, \"x\": 1.5}\n{\"n\": 3}\n";
    let mut job = Job::new(&MemoryStore::new([("a.jsonl", text.into())]), FileFormat::JsonLines, "a.jsonl");
    let fields = vec![Field::new("n", DataType::Int64, true), Field::new("x", DataType::Float64, true)];
    job.schema = Arc::new(Schema::new(fields));
    let seen = job.read_all();
    assert_eq!(seen.values(), ["1|0.5", "2|1.0", "3|"]);
    let [(_, reason, input)] = seen.letters.as_slice() else { panic!("{:?}", seen.letters) };
    assert!(reason.contains("2.5 has a fraction"), "{reason}");
    assert!(input.contains("\"record\":3"), "{input}");
}

#[test]
fn truncated_and_garbled_lines_are_dead_letters_and_the_rest_goes_on() {
    let text =
        "{\"a\": 1}\n{\"a\": 2\n{\"a\": 3} {\"a\": 4}\n[5]\n{\"a\": \"x\"}\n\u{ff}\n\n  \r\n{\"a\": 6}\r\n{\"a\": 7";
    let text: Vec<u8> = text.chars().map(|character| character as u8).collect();
    let seen = Job::new(&MemoryStore::new([("a.jsonl", text)]), FileFormat::JsonLines, "a.jsonl").read_all();
    // `a` is text because one line says so; the numbers of other lines are text then.
    assert_eq!(seen.values(), ["1", "x", "6"]);
    assert_eq!(seen.letters.len(), 5);
    let numbers = "{\"a\": 1}\n{\"a\": 2\n{\"a\": 3} {\"a\": 4}\n[5]\n\n{\"b\": 0}\r\n{\"a\": 6}";
    let store = MemoryStore::new([("a.jsonl", numbers.into())]);
    let seen = Job::new(&store, FileFormat::JsonLines, "a.jsonl").read_all();
    assert_eq!(seen.values(), ["1|", "|0", "6|"]);
    assert_eq!(ordinals(&seen), [0, 40, 50]);
    let inputs: Vec<&str> = seen.letters.iter().map(|(_, _, input)| input.as_str()).collect();
    assert_eq!(inputs[0], r#"{"file":"a.jsonl","record":2,"text":"{\"a\": 2"}"#);
    assert_eq!(inputs.len(), 3);
    assert_eq!(seen.letters[1].0.ordinal, 17);
}

#[test]
fn two_bad_lines_never_pass_for_two_good_ones() {
    // Read as one text they are two objects: the first ends in the second line.
    let text = "{\"t\": \"good\"}\n{\"t\": \"x\n\"} {\"t\": \"y\"}\n";
    let seen = Job::new(&MemoryStore::new([("a.jsonl", text.into())]), FileFormat::JsonLines, "a.jsonl").read_all();
    assert_eq!(seen.values(), ["good"]);
    assert_eq!(seen.letters.iter().map(|(id, _, _)| id.ordinal).collect::<Vec<_>>(), [14, 23]);
}

#[test]
fn bad_csv_records_are_dead_letters_and_quotes_may_hold_line_breaks() {
    let text = "\u{feff}id,name,score\n1,\"a\nb\",0.5\n2,x\n3,y,zero\n\n4,\"q\"\"q\",\r\n";
    let store = MemoryStore::new([("a.csv", text.into())]);
    let mut job = Job::new(&store, FileFormat::Csv, "a.csv");
    let column = |name: &str, kind| Field::new(name, kind, true);
    job.schema = Arc::new(Schema::new(vec![column("score", DataType::Float64), column("name", DataType::Utf8)]));
    let seen = job.read_all();
    assert_eq!(seen.values(), ["0.5|a\nb", "|q\"q"]);
    assert_eq!(ordinals(&seen), [0, 4]);
    assert_eq!(seen.letters.iter().map(|(id, _, _)| id.ordinal).collect::<Vec<_>>(), [1, 2]);
    assert!(seen.letters[1].2.contains(r#""record":3,"text":"3,y,zero""#), "{:?}", seen.letters);
}

#[test]
fn a_file_without_a_wanted_column_costs_only_itself() {
    let csv = MemoryStore::new([("a.csv", b"a,b\n1,2\n".to_vec()), ("b.csv", b"a,c\n3,4\n".to_vec())]);
    let parquet = MemoryStore::new([("a.parquet", parquet_file(1, 1)), ("b.parquet", vec![b'P'; 100])]);
    for (store, format, pattern, why) in [
        (csv, FileFormat::Csv, "*.csv", "no column `b`, only: a, c"),
        (parquet, FileFormat::Parquet, "*.parquet", "read parquet"),
    ] {
        let seen = Job::new(&store, format, pattern).read_all();
        assert_eq!(seen.rows.len(), 1);
        assert_eq!(seen.letters.len(), 1);
        assert!(seen.letters[0].1.contains(why), "{:?}", seen.letters);
    }
}

#[test]
fn files_changed_since_they_were_listed_are_dead_letters() {
    for format in FileFormat::ALL {
        let (store, pattern) = samples(format);
        let straight = Job::new(&store, format, pattern).read_all();
        let job = Job::new(&store, format, pattern);
        let name = |place: usize| job.splits[place].name.clone();
        let longer = [store.get(&name(8)).unwrap(), Bytes::from_static(b"x")].concat();
        store.set(&name(8), longer);
        store.set(&name(9), store.get(&name(9)).unwrap().slice(1..));
        let gone = MemoryStore::default();
        store
            .paths()
            .into_iter()
            .filter(|path| *path != name(10))
            .for_each(|path| gone.set(&path, store.get(&path).unwrap()));
        let changed: Vec<u64> = (8..11).map(|place| job.splits[place].id.0).collect();
        let seen = Job { store: gone, ..job }.read_all();
        let letters: Vec<_> = seen.letters.iter().filter(|(id, _, _)| changed.contains(&id.split.0)).collect();
        let reasons: Vec<&str> = letters.iter().map(|(_, reason, _)| reason.as_str()).collect();
        assert_eq!(reasons.len(), 3, "{format}: {reasons:?}");
        assert!(reasons[0].contains("more than"), "{format}: {reasons:?}");
        assert!(reasons[1].contains("less than"), "{format}: {reasons:?}");
        assert!(reasons[2].contains("gone"), "{format}: {reasons:?}");
        let kept = straight.rows.iter().filter(|(id, _)| !changed.contains(&id.split.0)).count();
        assert_eq!(seen.rows.len(), kept, "{format}");
    }
}

#[test]
fn images_beyond_the_limit_and_empty_ones_are_dead_letters_and_others_keep_their_order() {
    let store =
        MemoryStore::new([("a.png", vec![1; 10]), ("b.png", vec![2; 11]), ("c.png", vec![]), ("d.png", vec![3])]);
    let mut job = Job::new(&store, FileFormat::Images, "*.png");
    job.settings.file_bytes_max = 10;
    let paths: Vec<u64> = job.splits.iter().map(|split| split.id.0).collect();
    let seen = job.read_all();
    assert_eq!(seen.rows.len(), 2);
    let letters: Vec<u64> = seen.letters.iter().map(|(id, _, _)| id.split.0).collect();
    assert_eq!(letters, paths[1..3]);
    assert!(seen.letters[0].1.contains("file_bytes_max is 10"));
}

#[test]
fn reading_ahead_stops_at_the_limit_and_one_larger_file_still_passes() {
    let names: Vec<String> = (0..40).map(|n| format!("{n:02}.png")).collect();
    let store = MemoryStore::new(names.iter().map(|name| (name.as_str(), vec![0; 1000])));
    let mut job = Job::new(&store, FileFormat::Images, "*.png");
    job.settings.ahead_bytes_max = 100;
    assert_eq!(job.read_all().batches, vec![4; 10]);
}

#[test]
fn large_rows_make_small_batches() {
    let store = MemoryStore::new([("a.jsonl", lines(0, 4000))]);
    let mut job = Job::new(&store, FileFormat::JsonLines, "a.jsonl");
    job.settings = ReaderSettings { batch_bytes_max: 10_000, ..ReaderSettings::default() };
    let seen = job.read_all();
    assert_eq!(seen.rows.len(), 4000);
    assert!(seen.batches.iter().all(|rows| (10..=500).contains(rows)), "{:?}", seen.batches);
}

#[test]
fn a_record_without_end_is_given_up_in_bounded_memory() {
    let mut text = b"a,b\n1,2\n3,\"".to_vec();
    text.resize(40 << 20, b'x');
    let store = MemoryStore::new([("a.csv", text)]);
    let mut job = Job::new(&MemoryStore::new([("a.csv", b"a,b\n1,2\n".to_vec())]), FileFormat::Csv, "a.csv");
    job.splits[0].size_bytes = 40 << 20;
    let seen = Job { store, ..job }.read_all();
    assert_eq!(seen.values(), ["1|2"]);
    assert_eq!(seen.letters[0].1, "a record has more than 16777216 bytes");
}

#[test]
fn state_of_another_list_of_files_is_refused() {
    let (store, pattern) = samples(FileFormat::JsonLines);
    let mut job = Job::new(&store, FileFormat::JsonLines, pattern);
    job.run(1, 1);
    job.splits.remove(0);
    let uid = "files".to_string();
    let identity = Identity { uid, subtask: 0, parallelism: 1, groups: GROUPS, attempt: 2 };
    let context = Context { identity, env: Arc::new(job.env.clone()), waker: std::task::Waker::noop().clone() };
    let mut reader = reader(job.format, Arc::new(store), Arc::clone(&job.schema), job.settings.clone()).unwrap();
    let restored = Restored { epoch: Some(Epoch(1)), groups: job.state.clone() };
    assert_eq!(Reader::open(&mut reader, context, job.splits.clone(), restored).unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn nothing_that_matches_is_invalid_and_says_where() {
    let env = ManualEnv::new(1);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new([("a.png", vec![1])]));
    let pattern = FilePattern::parse("*.jpg").unwrap();
    let error = env.block_on(infer_schema(store, FileFormat::Images, pattern)).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert_eq!(error.chain(), "find files (pattern=*.jpg, place=memory): no file matches");
}

#[test]
fn inferred_columns_keep_the_file_order_and_bad_records_do_not_decide() {
    let columns = |format, text: &str, pattern: &str| {
        let job = Job::new(&MemoryStore::new([("a", text.into())]), format, pattern);
        let shown = |field: &Arc<Field>| format!("{} {}", field.name(), field.data_type());
        job.schema.fields().iter().map(shown).collect::<Vec<_>>().join(", ")
    };
    let json = "{\"z\": 1, \"b\": null}\n!\n{\"z\": 2.5, \"a\": {\"y\": true, \"x\": null}}\n";
    let expected = r#"z Float64, b Utf8, a Struct("x": Utf8, "y": Boolean)"#;
    assert_eq!(columns(FileFormat::JsonLines, json, "a"), expected);
    let csv = "z,b,when,e\n1,x,2024-01-02,\n\"2\",y,2024-01-03\n3,z,2024-01-03,\n";
    assert_eq!(columns(FileFormat::Csv, csv, "a"), "z Int64, b Utf8, when Date32, e Utf8");
}

#[test]
fn empty_files_do_not_decide_on_columns_and_compressed_ones_are_called_that() {
    let inferred = |format, files: &[(&str, &[u8])]| {
        let store = MemoryStore::new(files.iter().map(|(name, bytes)| (*name, bytes.to_vec())));
        let pattern = FilePattern::parse("*").unwrap();
        let schema = ManualEnv::new(1).block_on(infer_schema(Arc::new(store), format, pattern));
        schema.map(|schema| {
            schema.fields().iter().map(|field| field.data_type().to_string()).collect::<Vec<_>>().join(" ")
        })
    };
    let json = inferred(FileFormat::JsonLines, &[("a", b""), ("b", b"\n \n"), ("c", b"{\"n\": 1}\n")]);
    assert_eq!(json.unwrap(), "Int64");
    assert_eq!(inferred(FileFormat::Csv, &[("a", b""), ("b", b"n\n"), ("c", b"n\n1\n")]).unwrap(), "Int64");
    assert_eq!(inferred(FileFormat::Csv, &[("a", b""), ("b", b"n\n")]).unwrap(), "Utf8", "the header at least");
    let said = |format, files: &[(&str, &[u8])]| inferred(format, files).unwrap_err().chain();
    assert!(
        said(FileFormat::JsonLines, &[("a", b""), ("b", b"")])
            .ends_with("file=a): it is empty, or its first line is longer than 8 MiB")
    );
    let mixed = said(FileFormat::JsonLines, &[("a", b"{\"n\": 1}\n\n{\"n\": 2, \"m\": 1}\n{\"n\": {}}\n{\"n\": 1}\n")]);
    assert!(mixed.contains("column `n` of line 4 does not go with the values of lines before"), "{mixed}");
    let nested = said(FileFormat::JsonLines, &[("a", b"{\"n\": {\"m\": 1}}\n{\"n\": {\"m\": {}}}\n")]);
    assert!(nested.contains("column `n` of line 2 does not go"), "{nested}");
    for format in [FileFormat::JsonLines, FileFormat::Csv] {
        let gzip = said(format, &[("a", &[0x1f, 0x8b, 8, 0, 0])]);
        assert!(gzip.ends_with("it is compressed, and compressed files are not read: unpack it first"), "{gzip}");
    }
}

#[test]
fn small_tables_are_read_whole_within_a_limit_and_without_holes() {
    let env = ManualEnv::new(1);
    let table = |text: &str, rows_max| {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new([("t.csv", text.into())]));
        env.block_on(read_table(store, FileFormat::Csv, FilePattern::parse("t.csv").unwrap(), rows_max))
    };
    let rows = table("path,label\na.png,3\nb.png,4\n", 2).unwrap();
    assert_eq!(rows.column(1).as_primitive::<Int64Type>().values(), &[3, 4]);
    assert_eq!(table("path,label\na.png,3\nb.png,4\n", 1).unwrap_err().kind(), Kind::Invalid);
    let error = table("path,label\na.png,3\nb.png\n", 9).unwrap_err();
    assert_eq!(error.kind(), Kind::Data);
    assert!(error.chain().contains(r#""record":2"#), "{}", error.chain());
}

#[test]
fn times_come_in_the_unit_and_zone_that_are_asked_for_whatever_the_file_holds() {
    use arrow::array::{ArrayRef, TimestampNanosecondArray};
    use arrow::datatypes::{TimeUnit, TimestampMicrosecondType};
    let zoned: ArrayRef =
        Arc::new(TimestampNanosecondArray::from_iter_values([1_500_000_999, -1]).with_timezone("+00:00"));
    let rows = RecordBatch::try_from_iter([("at", zoned)]).unwrap();
    let parquet = crate::sinks::files::encode_one(&rows, &FileSinkSettings::new(SinkFormat::Parquet)).unwrap();
    let kind = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
    let csv = b"at\n1970-01-01 00:00:01.5\n".to_vec();
    let json = b"{\"at\": \"1970-01-01T01:00:01.5+01:00\"}\n{\"at\": \"yesterday\"}\n{}\n".to_vec();
    for (format, bytes, zone, expected, bad) in [
        (FileFormat::Parquet, parquet.to_vec(), Some("+00:00"), vec![Some(1_500_000), Some(-1)], 0),
        (FileFormat::Csv, csv, None, vec![Some(1_500_000)], 0),
        (FileFormat::JsonLines, json, Some("+00:00"), vec![Some(1_500_000), None], 1),
    ] {
        let store = MemoryStore::new([("a.txt", bytes)]);
        let mut job = Job::new(&store, format, "*.txt");
        job.schema = Arc::new(Schema::new(vec![Field::new("at", kind(zone), true)]));
        let mut reader = job.open(0, 1);
        let (mut times, mut letters) = (Vec::new(), 0);
        loop {
            match reader.poll_next().unwrap() {
                Read::Batch(batch) => {
                    times.extend(batch.rows()["at"].as_primitive::<TimestampMicrosecondType>().iter())
                }
                Read::DeadLetters(found) => letters += found.len(),
                Read::End => break,
                _ => assert!(job.env.step()),
            }
        }
        assert_eq!((times, letters), (expected, bad), "{format}");
    }
}

#[test]
fn tensors_written_as_bytes_are_read_as_tensors() {
    let tensor = TensorType::new(DataType::UInt8, [2, 2, 3]);
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false), tensor.field("pixels", true)]));
    let values: arrow::array::ArrayRef = Arc::new(arrow::array::UInt8Array::from_iter_values(0..120));
    let DataType::FixedSizeList(item, length) = tensor.storage() else { unreachable!() };
    let valid = (0..10).map(|place| place != 4).collect::<Vec<_>>();
    let pixels = arrow::array::FixedSizeListArray::try_new(item, length, values, Some(valid.into())).unwrap();
    let numbers = arrow::array::Int64Array::from_iter_values(0..10);
    let rows = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(numbers), Arc::new(pixels)]).unwrap();
    for tensors in [crate::sinks::files::Tensors::Bytes, crate::sinks::files::Tensors::List] {
        let settings = FileSinkSettings { tensors, ..FileSinkSettings::new(SinkFormat::Parquet) };
        let bytes = crate::sinks::files::encode_one(&rows, &settings).unwrap();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new([("a.parquet", bytes.to_vec())]));
        let pattern = FilePattern::parse("*.parquet").unwrap();
        let env = ManualEnv::new(1);
        let back = env.block_on(read_table(store, FileFormat::Parquet, pattern, 10)).unwrap();
        assert_eq!(back.schema().field(1), schema.field(1), "{tensors:?}");
        assert_eq!(back.columns(), rows.columns(), "{tensors:?}");
    }
}
