//! The real disk against its contract, in a temporary folder.

use super::*;
use futures::executor::block_on;

fn disk() -> (tempfile::TempDir, OsDisk) {
    let folder = tempfile::tempdir().unwrap();
    let disk = OsDisk::open(&folder.path().join("a/root")).unwrap();
    (folder, disk)
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[test]
fn appended_bytes_are_read_back_whole_and_in_part() {
    let (_folder, disk) = disk();
    block_on(disk.append("x/log", bytes("one"))).unwrap();
    block_on(disk.append("x/log", bytes("two"))).unwrap();
    block_on(disk.sync("x/log")).unwrap();
    block_on(disk.sync_folder("x")).unwrap();
    assert_eq!(block_on(disk.read("x/log")).unwrap().unwrap(), "onetwo");
    assert_eq!(block_on(disk.read_at("x/log", 2, 2)).unwrap().unwrap(), "et");
    assert_eq!(block_on(disk.read_at("x/log", 4, 100)).unwrap().unwrap(), "wo");
    assert_eq!(block_on(disk.read_at("x/log", 100, 1)).unwrap().unwrap(), "");
    for absent in ["x/none", "x", "x/log/below"] {
        assert!(block_on(disk.read(absent)).unwrap().is_none());
        assert!(block_on(disk.read_at(absent, 0, 1)).unwrap().is_none());
    }
    block_on(disk.truncate("x/log", 3)).unwrap();
    block_on(disk.append("x/log", bytes("!"))).unwrap();
    assert_eq!(block_on(disk.read("x/log")).unwrap().unwrap(), "one!");
}

#[test]
fn a_name_is_linked_once_and_renamed_over() {
    let (_folder, disk) = disk();
    block_on(disk.append("t/1", bytes("first"))).unwrap();
    block_on(disk.append("t/2", bytes("second"))).unwrap();
    assert!(block_on(disk.link("t/1", "f/name")).unwrap());
    assert!(!block_on(disk.link("t/2", "f/name")).unwrap());
    assert!(block_on(disk.rename("t/2", "f/name")).unwrap());
    assert!(!block_on(disk.rename("t/2", "f/name")).unwrap());
    assert_eq!(block_on(disk.read("f/name")).unwrap().unwrap(), "second");
    let names: Vec<String> = block_on(disk.list("t")).unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["1"]);
}

#[test]
fn renaming_one_name_of_a_file_over_its_other_name_leaves_one() {
    let (_folder, disk) = disk();
    block_on(disk.append("a", bytes("x"))).unwrap();
    assert!(block_on(disk.link("a", "b")).unwrap());
    assert!(block_on(disk.rename("a", "b")).unwrap());
    assert_eq!(block_on(disk.list("")).unwrap().len(), 1);
}

#[test]
fn a_renamed_file_is_not_appended_to_under_its_old_name() {
    let (_folder, disk) = disk();
    block_on(disk.append("a", bytes("old"))).unwrap();
    block_on(disk.rename("a", "b")).unwrap();
    block_on(disk.append("a", bytes("new"))).unwrap();
    assert_eq!(block_on(disk.read("b")).unwrap().unwrap(), "old");
    assert_eq!(block_on(disk.read("a")).unwrap().unwrap(), "new");
}

#[test]
fn the_version_changes_with_the_content() {
    let (_folder, disk) = disk();
    block_on(disk.append("a", bytes("one"))).unwrap();
    let before = block_on(disk.list("")).unwrap()[0].version;
    block_on(disk.append("b", bytes("two"))).unwrap();
    block_on(disk.rename("b", "a")).unwrap();
    assert_ne!(before, block_on(disk.list("")).unwrap()[0].version);
}

#[test]
fn paths_that_leave_the_root_are_refused_by_every_call() {
    let (_folder, disk) = disk();
    let refused = [
        block_on(disk.read("../x")).map(|_| ()),
        block_on(disk.read_at("/etc/passwd", 0, 1)).map(|_| ()),
        block_on(disk.append("a/../../x", bytes("x"))),
        block_on(disk.sync("..")),
        block_on(disk.sync_folder("..")),
        block_on(disk.link("a", "../b")).map(|_| ()),
        block_on(disk.rename("../a", "b")).map(|_| ()),
        block_on(disk.truncate("..", 0)),
        block_on(disk.remove("../x")),
        block_on(disk.list("../")).map(|_| ()),
        disk.lock("../lock").map(|_| ()),
    ];
    for result in refused {
        assert_eq!(result.unwrap_err().kind(), Kind::Invalid);
    }
}

#[test]
fn more_files_than_handles_can_be_appended_to() {
    let (_folder, disk) = disk();
    for round in 0..3 {
        for file in 0..40 {
            block_on(disk.append(&format!("f{file}"), bytes("x"))).unwrap();
            block_on(disk.sync(&format!("f{file}"))).unwrap();
        }
        assert_eq!(block_on(disk.read("f7")).unwrap().unwrap().len(), round + 1);
    }
}

#[test]
fn a_second_holder_is_fenced_and_told_who_holds_the_lock() {
    let (_folder, disk) = disk();
    let guard = disk.lock("job/lock").unwrap();
    let error = disk.lock("job/lock").unwrap_err();
    assert_eq!(error.kind(), Kind::Fenced);
    assert!(error.to_string().contains(&format!("held by process={}", std::process::id())), "{error}");
    drop(guard);
    disk.lock("job/lock").unwrap();
}

#[test]
fn a_full_disk_names_the_file_and_what_to_do() {
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let error = io_error("append to file", Path::new("/data/log"), full);
    assert_eq!(error.kind(), Kind::Exhausted);
    assert!(error.to_string().contains("/data/log") && error.to_string().contains("free space"), "{error}");
    let file = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let real = std::io::Write::write_all(&mut &file, b"x").unwrap_err();
    assert_eq!(io_error("append to file", Path::new("/dev/full"), real).kind(), Kind::Exhausted);
}

#[test]
fn a_file_in_the_way_of_the_root_is_the_users_to_fix() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "x").unwrap();
    assert_eq!(OsDisk::open(&folder.path().join("file")).err().unwrap().kind(), Kind::Invalid);
}

#[test]
fn inside_a_runtime_calls_run_on_its_blocking_threads() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let disk = OsDisk::open(folder.path()).unwrap();
        disk.append("a", bytes("x")).await.unwrap();
        disk.sync("a").await.unwrap();
        assert_eq!(disk.read("a").await.unwrap().unwrap(), "x");
    });
}
