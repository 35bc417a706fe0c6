//! Models in real child processes: what a crash, a kill, a hang and a refusal cost.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "real processes hang in real time")]

mod support;

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use forebay_core::Kind;
use forebay_inference::call::Permit;
use forebay_inference::hosts::Host;
use forebay_inference::hosts::fake::{FakeSettings, host};
use forebay_inference::hosts::process::WorkerCommand;
use forebay_inference::service::{Service, ServiceSettings};

use support::{TokioEnv, command, shown, texts};

fn service(settings: &FakeSettings, timeout: Duration) -> Service {
    logging(settings, timeout, None)
}

fn logging(settings: &FakeSettings, timeout: Duration, log: Option<&Path>) -> Service {
    let host = std::sync::Arc::new(host(settings, command()).unwrap().logging(log.map(Path::to_path_buf)));
    Service::new(TokioEnv::shared(), host, None, ServiceSettings { timeout, ..ServiceSettings::default() })
}

async fn asked(service: &Service, first: u128, rows: &[&str]) -> Vec<String> {
    shown(&service.submit(texts(first, rows), Permit::unlimited()).await.unwrap())
}

/// How often each id was run, by the model's own log, in order of ids.
fn executions(log: &Path) -> Vec<(String, usize)> {
    let text = std::fs::read_to_string(log).unwrap();
    let mut counts = std::collections::BTreeMap::new();
    for line in text.lines() {
        *counts.entry(line.trim_start_matches('0').to_string()).or_insert(0) += 1;
    }
    counts.into_iter().collect()
}

fn once(ids: &[&str]) -> Vec<(String, usize)> {
    ids.iter().map(|id| ((*id).to_string(), 1)).collect()
}

const LONG: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_to_a_child_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let service = logging(&FakeSettings::default(), LONG, Some(&log));
    assert_eq!(asked(&service, 1, &["ab", "", "é"]).await, ["ab 2", " 0", "é 1"]);
    assert_eq!(asked(&service, 4, &["x"]).await, ["x 1"]);
    assert_eq!(executions(&log), once(&["1", "2", "3", "4"]));
    assert_eq!(service.counters().replica_restarts, 0);
}

#[tokio::test]
async fn a_host_says_what_its_model_takes_and_gives() {
    let signature = host(&FakeSettings::default(), command()).unwrap().signature().await.unwrap();
    let all: Vec<String> =
        signature.inputs.iter().chain(&signature.outputs).map(|s| format!("{} {s}", s.name)).collect();
    assert_eq!(all, ["text string[rows]", "echo string[rows]", "length int64[rows]"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_a_call_costs_only_that_request_batch() {
    let folder = tempfile::tempdir().unwrap();
    let (log, flag) = (folder.path().join("log"), folder.path().join("flag"));
    std::fs::write(&flag, "").unwrap();
    let settings = FakeSettings { kill_on: Some("die".into()), crash_flag: Some(flag), ..FakeSettings::default() };
    let service = logging(&settings, LONG, Some(&log));
    let (before, during, after) = tokio::join!(
        asked(&service, 1, &["a", "b"]),
        asked(&service, 3, &["c", "die", "d"]),
        asked(&service, 6, &["e"]),
    );
    assert_eq!(
        (before, during, after),
        (vec!["a 1".into(), "b 1".into()], vec!["c 1".into(), "die 3".into(), "d 1".into()], vec!["e 1".to_string()],)
    );
    assert_eq!(executions(&log), once(&["1", "2", "3", "4", "5", "6"]));
    let counters = service.counters();
    assert_eq!((counters.replica_restarts, counters.calls, counters.rows), (1, 6, 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_sent_ahead_of_a_call_that_kills_its_child_run_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (log, flag) = (folder.path().join("log"), folder.path().join("flag"));
    std::fs::write(&flag, "").unwrap();
    let settings = FakeSettings { kill_on: Some("die".into()), crash_flag: Some(flag), ..FakeSettings::default() };
    let service = logging(&settings, LONG, Some(&log));
    let row = |id: u128| if id == 30 { "die".to_string() } else { format!("row {id}") };
    let asked: Vec<_> = (1..=60).map(|id| service.submit(texts(id, &[&row(id)]), Permit::unlimited())).collect();
    let mut told = Vec::new();
    for rows in asked {
        told.extend(shown(&rows.await.unwrap()));
    }
    let expected: Vec<String> = (1..=60).map(row).map(|text| format!("{text} {}", text.len())).collect();
    assert_eq!(told, expected);
    let text = std::fs::read_to_string(&log).unwrap();
    let order: Vec<u128> = text.lines().map(|id| u128::from_str_radix(id, 16).unwrap()).collect();
    assert_eq!(order, (1..=60).collect::<Vec<u128>>());
    let counters = service.counters();
    assert_eq!(
        (counters.replica_restarts, counters.calls),
        (1, 62),
        "the one that died, and the one sent ahead of its end"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_always_crashes_the_model_fails_alone_and_says_why() {
    let service = service(&FakeSettings { crash_on: Some("bomb".into()), ..FakeSettings::default() }, LONG);
    let told = asked(&service, 1, &["a", "bomb", "b"]).await;
    assert_eq!((&told[0][..], &told[2][..]), ("a 1", "b 1"));
    assert!(
        told[1].starts_with("unavailable: call model process (model=fake, exit=signal 6 (SIGABRT), output="),
        "{}",
        told[1]
    );
    assert!(told[1].contains("fake model was told to crash"), "{}", told[1]);
    assert_eq!(
        service.counters().replica_restarts,
        3,
        "once with its neighbours, then twice alone, then for the last row"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_row_fails_alone_as_data() {
    let service = service(&FakeSettings { fail_on: Some("bad".into()), ..FakeSettings::default() }, LONG);
    let told = asked(&service, 1, &["a", "bad", "b"]).await;
    let reason = "data: call model process (model=fake): run fake model: text contains bad";
    assert_eq!(told, ["a 1", reason, "b 1"]);
    assert_eq!(service.counters().replica_restarts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_beside_a_refused_one_run_once() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let settings = FakeSettings { refuse_on: Some("bad".into()), ..FakeSettings::default() };
    let service = logging(&settings, LONG, Some(&log));
    let told = asked(&service, 1, &["a", "bad", "b", "bad too"]).await;
    assert_eq!(told, ["a 1", "data: text contains bad", "b 1", "data: text contains bad"]);
    assert_eq!(executions(&log), once(&["1", "2", "3", "4"]));
    assert_eq!(service.counters().calls, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_one_row_short_is_not_taken() {
    let service = service(&FakeSettings { short_answer: true, ..FakeSettings::default() }, LONG);
    assert_eq!(asked(&service, 1, &["a"]).await, ["data: model answered 0 rows to 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_hangs_is_ended_after_the_timeout() {
    let service = service(&FakeSettings { latency: LONG, ..FakeSettings::default() }, Duration::from_millis(100));
    let told = asked(&service, 1, &["a"]).await;
    assert_eq!(told, ["timeout: call replica (rows=1, timeout=100ms)"]);
    assert_eq!(service.counters().calls, 3);
}

#[tokio::test]
async fn a_call_that_is_given_up_ends_the_child() {
    let settings = FakeSettings { latency: LONG, ..FakeSettings::default() };
    let replica = host(&settings, command()).unwrap().start(0).await.unwrap();
    let call = replica.call(texts(1, &["a"]));
    assert!(tokio::time::timeout(Duration::from_millis(50), call).await.is_err());
    let error = replica.call(texts(1, &["a"])).await.unwrap_err();
    assert_eq!((error.kind(), error.chain().contains("given up")), (Kind::Unavailable, true));
}

#[tokio::test]
async fn a_program_that_is_no_worker_is_an_error_and_not_a_hang() {
    let no_such = WorkerCommand { program: "/nowhere/forebay".into(), arguments: Vec::new(), variables: Vec::new() };
    let error = host(&FakeSettings::default(), no_such).unwrap().start(0).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Invalid, "{}", error.chain());
    let other = WorkerCommand {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), "echo no; exit 3".into()],
        variables: Vec::new(),
    };
    let error = host(&FakeSettings::default(), other).unwrap().start(0).await.err().unwrap();
    assert_eq!(error.chain(), "start model process (model=fake, exit=status 3, output=no): it ended");
}

/// The first thing that a child says after it connected, with its socket.
fn child_by_hand(folder: &Path) -> (std::process::Child, std::os::unix::net::UnixStream) {
    let path = folder.join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let child = Command::new(command().program).arg("fake").arg("--socket").arg(&path).spawn().unwrap();
    (child, listener.accept().unwrap().0)
}

#[test]
fn a_child_leaves_when_its_socket_closes() {
    use forebay_inference::hosts::protocol::{Message, read_blocking, write_blocking};
    let folder = tempfile::tempdir().unwrap();
    let (mut child, mut socket) = child_by_hand(folder.path());
    write_blocking(&mut socket, &Message::Open("{}".into())).unwrap();
    assert!(matches!(read_blocking(&mut socket).unwrap(), Some(Message::Ready(_))));
    drop(socket);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_busy_child_is_killed_with_its_parent() {
    use std::io::Read;
    // A shell that starts the child in the background, says so, and waits: the parent to kill. The child holds the
    // other end of `output`, which ends only when both are gone.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let script = format!("{} fake --socket {} & wait", command().program.display(), path.display());
    let mut parent = Command::new("sh").arg("-c").arg(script).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = parent.stdout.take().unwrap();
    let (mut socket, _) = listener.accept().unwrap();
    use forebay_inference::hosts::protocol::{Message, read_blocking, write_blocking};
    write_blocking(&mut socket, &Message::Open(r#"{"latency":{"secs":3600,"nanos":0}}"#.into())).unwrap();
    assert!(matches!(read_blocking(&mut socket).unwrap(), Some(Message::Ready(_))));
    write_blocking(&mut socket, &Message::Call(texts(1, &["a"]))).unwrap();
    parent.kill().unwrap();
    parent.wait().unwrap();
    output.read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn wrong_arguments_are_told() {
    let output = Command::new(command().program).arg("fake").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr).trim(),
        "parse arguments: expected KIND --socket PATH [--log FILE]"
    );
}
