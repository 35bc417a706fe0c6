//! Writing as a job does it: batches, barriers, kills between any two steps, commits cut short and repeated.

use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, UInt8Array};
use arrow::datatypes::{DataType, Field, Schema};
use bytes::Bytes;
use forebay_core::element::Epoch;
use forebay_core::operator::{Context, Drained, Identity, Operator, Restored, Room};
use forebay_core::row::SplitId;
use forebay_core::sink::Committer;
use forebay_core::testing::ManualEnv;
use forebay_core::{Batch, RowId};

use super::*;
use crate::files::{FileFormat, FilePattern, read_table};
use crate::testing_store::MemoryStore;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false), Field::new("t", DataType::Utf8, true)]))
}

fn batch(numbers: std::ops::Range<i64>) -> Batch {
    let ids: Vec<RowId> = numbers.clone().map(|n| RowId::new(SplitId(1), n as u64)).collect();
    // Text that does not compress, so that encoded sizes are predictable.
    let text = |n: i64| {
        (0..4)
            .map(|part| format!("{:016x}", forebay_core::hash::hash64(&[n as u8, (n >> 8) as u8, part])))
            .collect::<String>()
    };
    let texts: ArrayRef = Arc::new(numbers.clone().map(|n| Some(text(n))).collect::<StringArray>());
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
    Batch::new(RecordBatch::try_new(schema(), vec![numbers, texts]).unwrap(), ids).unwrap()
}

/// One job over one output folder.
struct Job {
    env: ManualEnv,
    store: MemoryStore,
    sink: FileSink,
}

// === impl Job ===

impl Job {
    fn new(format: SinkFormat, file_bytes_max: usize) -> Self {
        let store = MemoryStore::default();
        let settings = FileSinkSettings { file_bytes_max, ..FileSinkSettings::new(format) };
        let sink = FileSink::new(Arc::new(store.clone()), schema(), settings).unwrap();
        Self { env: ManualEnv::new(3), store, sink }
    }

    fn writer(&self, subtask: u16, attempt: u64, restored: Option<u64>) -> FileWriter {
        let identity = Identity { uid: "out".to_string(), subtask, parallelism: 2, groups: 8, attempt };
        let context = Context { identity, env: Arc::new(self.env.clone()), waker: std::task::Waker::noop().clone() };
        let mut writer = self.sink.writer();
        writer.open(context, Restored { epoch: restored.map(Epoch), groups: Vec::new() }).unwrap();
        writer
    }

    fn snapshot(&self, writer: &mut FileWriter, epoch: u64) -> Vec<Bytes> {
        let frozen = writer.snapshot(Epoch(epoch)).unwrap();
        self.env.block_on(frozen).unwrap().committables
    }

    fn commit(&self, epoch: u64, committables: &[Bytes]) -> Result<()> {
        self.env.block_on(self.sink.committer().commit(Epoch(epoch), committables.to_vec()))
    }

    /// Numbers in the committed files, as any reader of the folder sees them.
    fn numbers(&self) -> Vec<i64> {
        let pattern = FilePattern::parse("**/*.{parquet,jsonl}").unwrap();
        let format: FileFormat = self.sink.settings.format.name().parse().unwrap();
        let rows = self.env.block_on(read_table(Arc::new(self.store.clone()), format, pattern, 1 << 20)).unwrap();
        let column = rows.column_by_name("n").unwrap().as_any().downcast_ref::<Int64Array>().unwrap().clone();
        let mut numbers = column.values().to_vec();
        numbers.sort_unstable();
        numbers
    }

    fn staged(&self) -> Vec<String> {
        self.store.paths().into_iter().filter(|path| path.starts_with("_staging/")).collect()
    }
}

#[test]
fn rows_appear_with_the_commit_and_not_before() {
    for format in SinkFormat::ALL {
        let job = Job::new(format, 32 << 20);
        let (mut left, mut right) = (job.writer(0, 1, None), job.writer(1, 1, None));
        left.on_batch(batch(0..10)).unwrap();
        right.on_batch(batch(10..15)).unwrap();
        let mut committables = job.snapshot(&mut left, 1);
        committables.extend(job.snapshot(&mut right, 1));
        left.on_batch(batch(15..18)).unwrap();
        assert_eq!(job.store.paths(), [format!("_staging/1/1-0-1.{format}"), format!("_staging/1/1-1-1.{format}")]);
        job.commit(1, &committables).unwrap();
        assert_eq!(job.numbers(), (0..15).collect::<Vec<_>>());
        let file: Committable = Committable::decode(&committables[0]).unwrap();
        let stored = job.store.get(&format!("part-00000001-0-1.{format}")).unwrap();
        assert_eq!((file.rows, file.size_bytes), (10, stored.len() as u64));
        assert_eq!(file.xxh3, format!("{:016x}", forebay_core::hash::hash64(&stored)));
    }
}

#[test]
fn a_commit_cut_between_two_moves_is_finished_by_the_next() {
    for cut in 0..4 {
        let job = Job::new(SinkFormat::JsonLines, 50);
        let mut writer = job.writer(0, 1, None);
        (0..3).for_each(|n| writer.on_batch(batch(n..n + 1)).unwrap());
        let committables = job.snapshot(&mut writer, 1);
        assert_eq!(committables.len(), 3);
        job.store.fail_renames_after(Some(cut));
        assert_eq!(job.commit(1, &committables).is_ok(), cut == 3);
        job.store.fail_renames_after(None);
        // What the record names is kept even if a restart cleans up before it commits again.
        job.env.block_on(job.sink.committer().abort_before(9)).unwrap();
        job.commit(1, &committables).unwrap();
        job.commit(1, &committables).unwrap();
        assert_eq!(job.numbers(), [0, 1, 2]);
        assert_eq!(job.staged(), Vec::<String>::new());
    }
}

#[test]
fn a_staged_file_that_is_gone_is_corrupt_and_named() {
    let job = Job::new(SinkFormat::JsonLines, 1 << 20);
    let mut writer = job.writer(0, 1, None);
    writer.on_batch(batch(0..1)).unwrap();
    let committables = job.snapshot(&mut writer, 4);
    job.env.block_on(job.sink.store.delete(&job.staged()[0])).unwrap();
    let error = job.commit(4, &committables).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("part-00000004-0-1.jsonl"), "{error}");
}

#[test]
fn one_epoch_is_never_committed_with_other_files() {
    let job = Job::new(SinkFormat::JsonLines, 1 << 20);
    let mut writer = job.writer(0, 1, None);
    writer.on_batch(batch(0..1)).unwrap();
    let first = job.snapshot(&mut writer, 1);
    job.commit(1, &first).unwrap();
    writer.on_batch(batch(1..2)).unwrap();
    let second = job.snapshot(&mut writer, 2);
    assert_eq!(job.commit(1, &second).unwrap_err().kind(), Kind::Corrupt);
    assert_eq!(
        job.env
            .block_on({
                let committer = job.sink.committer();
                async move { committer.check_fresh().await }
            })
            .unwrap_err()
            .kind(),
        Kind::Invalid
    );
}

#[test]
fn a_restart_removes_what_no_published_epoch_names_and_nothing_else() {
    let job = Job::new(SinkFormat::JsonLines, 50);
    let mut writer = job.writer(0, 1, None);
    writer.on_batch(batch(0..1)).unwrap();
    let committed = job.snapshot(&mut writer, 1);
    job.commit(1, &committed).unwrap();
    writer.on_batch(batch(1..2)).unwrap();
    job.snapshot(&mut writer, 2);
    // Killed before epoch 2 was published: attempt 2 reads row 1 again.
    job.env.kill();
    let mut again = job.writer(0, 2, Some(2));
    again.on_batch(batch(1..2)).unwrap();
    job.env.settle();
    job.store.set("_staging/readme.txt", "not ours");
    job.env.block_on(job.sink.committer().abort_before(2)).unwrap();
    assert_eq!(job.staged(), ["_staging/2/3-0-1.jsonl", "_staging/readme.txt"]);
    let committables = job.snapshot(&mut again, 3);
    job.commit(3, &committables).unwrap();
    assert_eq!(job.numbers(), [0, 1]);
}

#[test]
fn files_roll_at_their_size_and_memory_stays_bounded() {
    for format in SinkFormat::ALL {
        let limit = 20_000;
        let job = Job::new(format, limit);
        let mut writer = job.writer(0, 1, None);
        for start in (0..4000).step_by(50) {
            let mut waits = 0;
            while writer.room() == Room::Full {
                assert!(job.env.step(), "a full writer has files on their way");
                waits += 1;
            }
            assert!(waits <= 3);
            writer.on_batch(batch(start..start + 50)).unwrap();
        }
        let committables = job.snapshot(&mut writer, 1);
        assert!(committables.len() > 5, "{format}: {}", committables.len());
        for stored in &committables {
            let file = Committable::decode(stored).unwrap();
            assert!(file.size_bytes < 2 * limit as u64, "{format}: {file:?}");
        }
        job.commit(1, &committables).unwrap();
        assert_eq!(job.numbers(), (0..4000).collect::<Vec<_>>());
    }
}

#[test]
fn a_writer_without_a_store_that_keeps_up_says_full_and_a_full_disk_fails_the_snapshot() {
    let job = Job::new(SinkFormat::JsonLines, 1);
    let mut writer = job.writer(0, 1, None);
    let mut taken = 0;
    while writer.room() == Room::Room {
        writer.on_batch(batch(taken..taken + 1)).unwrap();
        taken += 1;
    }
    assert_eq!(taken, 3);
    job.store.refuse_puts(true);
    let frozen = writer.snapshot(Epoch(1)).unwrap();
    assert_eq!(job.env.block_on(frozen).unwrap_err().kind(), Kind::Exhausted);
}

#[test]
fn drain_closes_the_open_file_and_waits_for_it() {
    let job = Job::new(SinkFormat::Parquet, 1 << 20);
    let mut writer = job.writer(0, 1, None);
    writer.on_batch(batch(0..5)).unwrap();
    assert_eq!(writer.drain().unwrap(), Drained::Pending);
    job.env.settle();
    assert_eq!(writer.drain().unwrap(), Drained::Done);
    assert_eq!(job.snapshot(&mut writer, 1).len(), 1);
    assert!(job.snapshot(&mut writer, 2).is_empty());
    job.commit(2, &[]).unwrap();
    assert!(!job.store.paths().iter().any(|path| path.starts_with("_commits")));
}

#[test]
fn columns_that_a_format_cannot_hold_are_refused_by_name() {
    let refuse = |format, field: Field| {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false), field]));
        let store = Arc::new(MemoryStore::default());
        FileSink::new(store, schema, FileSinkSettings::new(format)).err().map(|error| (error.kind(), error.chain()))
    };
    let image = forebay_core::types::image_field("photo", false);
    let (kind, why) = refuse(SinkFormat::JsonLines, image.clone()).unwrap();
    assert_eq!(kind, Kind::Invalid);
    assert!(why.contains("column=photo") && why.contains("JSON has no bytes"), "{why}");
    assert_eq!(refuse(SinkFormat::Parquet, image), None);
    let nested = DataType::List(Arc::new(Field::new("item", DataType::Binary, true)));
    assert!(refuse(SinkFormat::JsonLines, Field::new("x", nested, true)).is_some());
    let months = DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano);
    assert!(refuse(SinkFormat::Parquet, Field::new("x", months, true)).is_some());
    let settings = FileSinkSettings { compression_level: 99, ..FileSinkSettings::new(SinkFormat::Parquet) };
    assert!(FileSink::new(Arc::new(MemoryStore::default()), schema(), settings).is_err());
}

#[test]
fn dead_letters_are_written_as_json_lines() {
    let letter = forebay_core::dead_letter::DeadLetter {
        row: RowId::new(SplitId(5), 2),
        operator: "decode".to_string(),
        kind: Kind::Data,
        reason: "no \"image\"".to_string(),
        attempts: 1,
        input: "{}".to_string(),
    };
    let job = Job::new(SinkFormat::JsonLines, 1 << 20);
    let schema = forebay_core::dead_letter::schema();
    let sink =
        FileSink::new(Arc::new(job.store.clone()), schema, FileSinkSettings::new(SinkFormat::JsonLines)).unwrap();
    let job = Job { sink, ..job };
    let mut writer = job.writer(0, 1, None);
    writer.on_batch(forebay_core::dead_letter::to_batch(&[letter]).unwrap()).unwrap();
    let committables = job.snapshot(&mut writer, 1);
    job.commit(1, &committables).unwrap();
    let expected = "{\"row\":\"0000000000000005-2\",\"operator\":\"decode\",\"kind\":\"data\",\"reason\":\"no \\\"image\\\"\",\"attempts\":1,\"input\":\"{}\"}\n";
    assert_eq!(job.store.get("part-00000001-0-1.jsonl").unwrap(), expected);
}

#[test]
fn payload_columns_are_stored_plain_and_others_compressed() {
    let tensor = forebay_core::types::tensor::TensorType::new(DataType::UInt8, [100]);
    let schema = Arc::new(Schema::new(vec![
        tensor.field("pixels", false),
        forebay_core::types::image_field("photo", false),
        Field::new("label", DataType::Int64, false),
    ]));
    let DataType::FixedSizeList(item, length) = tensor.storage() else { unreachable!() };
    let values: ArrayRef = Arc::new(UInt8Array::from(vec![7; 1000]));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(arrow::array::FixedSizeListArray::try_new(item, length, values, None).unwrap()),
        Arc::new(BinaryArray::from(vec![&[1u8, 2][..]; 10])),
        Arc::new(Int64Array::from(vec![1; 10])),
    ];
    let rows = RecordBatch::try_new(schema, columns).unwrap();
    let bytes = encode_one(&rows, &FileSinkSettings::new(SinkFormat::Parquet)).unwrap();
    let file = ::parquet::file::serialized_reader::SerializedFileReader::new(bytes).unwrap();
    let metadata = ::parquet::file::reader::FileReader::metadata(&file).row_group(0).clone();
    let of = |place: usize| (metadata.column(place).compression(), metadata.column(place).dictionary_page_offset());
    let plain = ::parquet::basic::Compression::UNCOMPRESSED;
    assert_eq!((of(0), of(1)), ((plain, None), (plain, None)));
    assert_eq!(metadata.column(0).column_type(), ::parquet::basic::Type::FIXED_LEN_BYTE_ARRAY);
    assert!(matches!(of(2), (::parquet::basic::Compression::ZSTD(_), Some(_))));
}

#[test]
fn every_planted_bug_shows() {
    let run = |bug: Option<FileSinkBug>| {
        let mut job = Job::new(SinkFormat::JsonLines, 50);
        job.sink = job.sink.with_bug(bug);
        let mut writer = job.writer(0, 1, None);
        (0..2).for_each(|n| writer.on_batch(batch(n..n + 1)).unwrap());
        let committables = job.snapshot(&mut writer, 1);
        job.commit(1, &committables).unwrap();
        // The commit is repeated after a restore; row 2 is staged twice, by an attempt that was killed and by the next.
        writer.on_batch(batch(2..3)).unwrap();
        job.env.settle();
        job.commit(1, &committables).unwrap();
        let mut again = job.writer(0, 2, Some(2));
        job.env.block_on(job.sink.committer().abort_before(2)).unwrap();
        again.on_batch(batch(2..3)).unwrap();
        let committables = job.snapshot(&mut again, 3);
        job.commit(3, &committables).unwrap();
        job.numbers()
    };
    assert_eq!(run(None), [0, 1, 2]);
    assert_eq!(run(Some(FileSinkBug::CommitAtWrite)), [0, 1, 2, 2]);
    assert_eq!(run(Some(FileSinkBug::NonIdempotentCommit)), [0, 0, 1, 1, 2]);
}

#[test]
fn a_forgotten_committable_loses_rows() {
    let mut job = Job::new(SinkFormat::JsonLines, 400);
    job.sink = job.sink.with_bug(Some(FileSinkBug::CommittableForgotten));
    let mut writer = job.writer(0, 1, None);
    writer.on_batch(batch(0..10)).unwrap();
    writer.on_batch(batch(10..11)).unwrap();
    let committables = job.snapshot(&mut writer, 1);
    job.commit(1, &committables).unwrap();
    assert_eq!(job.numbers(), [10]);
}
